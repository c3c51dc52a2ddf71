// SPDX-License-Identifier: Apache-2.0
// What a user's first program might be: fails where the product is not the right one.
#include <cstdio>
#include <vector>

#include "tessera/tessera.h"

int main() {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};  // [2, 3]
  const std::vector<float> b = {1, 2, 3, 4, 5, 6};  // [3, 2]
  std::vector<float> c(4, -1.0f);                   // [2, 2]
  tessera::gemm(tessera::row_major(a.data(), {2, 3}), tessera::row_major(b.data(), {3, 2}),
                tessera::row_major(c.data(), {2, 2}));
  std::printf("%g %g %g %g\n", c[0], c[1], c[2], c[3]);
  return c == std::vector<float>{22, 28, 49, 64} ? 0 : 1;
}
