// EXPECT: tessera::gemm: b must be a View<T, 2>, mdspan-like, a PackedB<T>, or PackedWeights
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(float* p) {
  const auto m = tessera::row_major(p, {2, 2});
  tessera::gemm(m, tessera::pack_a(m), m);
}
