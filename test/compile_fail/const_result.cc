// EXPECT: tessera::gemm: c is written, its elements must not be const
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(const float* p) {
  const auto m = tessera::row_major(p, {2, 2});
  tessera::gemm(m, m, m);
}
