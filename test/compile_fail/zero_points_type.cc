// EXPECT: tessera::with_zero_points: zero points are of s32 or of the operand's type
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(tessera::View<const std::int8_t, 2> a, tessera::View<const float, 1> z) {
  tessera::with_zero_points(a, z);
}
