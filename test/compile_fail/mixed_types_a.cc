// EXPECT: tessera::gemm: no kernel for these element types
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(double* p, float* q) {
  tessera::gemm(tessera::row_major(p, {2, 2}), tessera::row_major(q, {2, 2}),
                tessera::row_major(q, {2, 2}));
}
