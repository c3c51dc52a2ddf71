// EXPECT: tessera::gemm: no kernel for these element types
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(float* p, double* q) {
  const auto m = tessera::row_major(q, {2, 2});
  tessera::gemm(tessera::pack_a(tessera::row_major(p, {2, 2})), m, m);
}
