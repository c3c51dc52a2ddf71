// EXPECT: tessera::gemm: no kernel for these element types
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(int* p) {
  const auto m = tessera::row_major(p, {2, 2});
  tessera::gemm(m, m, m);
}
