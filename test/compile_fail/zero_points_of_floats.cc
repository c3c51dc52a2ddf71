// EXPECT: tessera::with_zero_points: only operands of s8 and u8 have zero points
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(tessera::View<const float, 2> a) { tessera::with_zero_point(a, 3); }
