// EXPECT: tessera::gemm: the element type of c must be float or double
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(int* p) {
  const auto m = tessera::row_major(p, {2, 2});
  tessera::gemm(m, m, m);
}
