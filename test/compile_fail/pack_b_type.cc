// EXPECT: tessera::pack_b: the element type of b must be float or double
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(short* p) { tessera::pack_b(tessera::row_major(p, {2, 2})); }
