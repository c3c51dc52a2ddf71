// EXPECT: tessera::pack_a: the element type of a must be f64, f32, bf16, f16, s8 or u8
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(short* p) { tessera::pack_a(tessera::row_major(p, {2, 2})); }
