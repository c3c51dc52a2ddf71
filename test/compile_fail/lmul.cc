// EXPECT: use Tag<T> (LMUL 1)
// SPDX-License-Identifier: Apache-2.0
#undef TESSERA_COMPILED
#define TESSERA_STATIC 1
#include "tessera/simd/simd-inl.h"

#if TESSERA_TARGET_LMUL
#error "this target has groups; the test expects one without: use Tag<T> (LMUL 1)"
#endif
TESSERA_BEGIN_TARGET
inline size_t f() { return lanes(Tag<float, 2>()); }
TESSERA_END_TARGET
