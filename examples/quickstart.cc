// SPDX-License-Identifier: Apache-2.0
// The program of README.md: C = A * B.

#include <cstdio>
#include <vector>
#include "tessera/tessera.h"

int main() {
  namespace ts = tessera;
  std::vector<float> a = {1, 2, 3, 4, 5, 6};  // [2, 3]
  std::vector<float> b = {1, 0, 0, 1, 1, 1};  // [3, 2]
  std::vector<float> c(4);                    // [2, 2]
  ts::gemm(ts::row_major(a, {2, 3}), ts::row_major(b, {3, 2}), ts::row_major(c, {2, 2}));
  std::printf("%g %g\n%g %g\n", c[0], c[1], c[2], c[3]);
}
