// EXPECT: tessera: a matrix is a View<T, 2>, mdspan-like, or packed
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "tessera/ops/gemm.h"

void f(std::vector<float>& v, float* p) {
  const auto m = tessera::row_major(p, {2, 2});
  tessera::gemm(m, m, v);
}
