// EXPECT: tessera: a matrix has rank 2
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(float* p) {
  const auto m = tessera::row_major(p, {2, 2});
  tessera::gemm(tessera::row_major(p, {2, 2, 2}), m, m);
}
