// EXPECT: tessera::gemm: a must be a View<T, 2>, mdspan-like, or a PackedA<T>
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "tessera/ops/gemm.h"

void f(const std::vector<float>& v, float* p) {
  const auto m = tessera::row_major(p, {2, 2});
  tessera::gemm(v, m, m);
}
