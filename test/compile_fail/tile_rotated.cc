// EXPECT: tessera: a rotated register tile has one vector group per row
// SPDX-License-Identifier: Apache-2.0
#undef TESSERA_COMPILED
#define TESSERA_STATIC 1
#include "tessera/kernels/gemm-inl.h"

TESSERA_BEGIN_TARGET
constexpr size_t kSize =
    sizeof(GemmTableOf<FloatProducts<float>, TileList<TileShape{4, 2, 1, 1, true}>>);
TESSERA_END_TARGET
