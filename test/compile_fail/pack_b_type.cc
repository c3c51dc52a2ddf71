// EXPECT: tessera::pack_b: the element type of b must be f64, f32, bf16, f16, s8 or u8
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(short* p) { tessera::pack_b(tessera::row_major(p, {2, 2})); }
