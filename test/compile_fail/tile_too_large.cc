// EXPECT: tessera: a register tile of tune/ needs more vector registers than the target has
// SPDX-License-Identifier: Apache-2.0
#undef TESSERA_COMPILED
#define TESSERA_STATIC 1
#include "tessera/kernels/gemm-inl.h"

TESSERA_BEGIN_TARGET
constexpr size_t kSize = sizeof(GemmTableOf<FloatProducts<float>, TileList<TileShape{16, 4}>>);
TESSERA_END_TARGET
