// EXPECT: tessera::pack_a: the element type of a must be float or double
// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/gemm.h"

void f(unsigned char* p) { tessera::pack_a(tessera::row_major(p, {2, 2})); }
