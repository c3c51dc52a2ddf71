// SPDX-License-Identifier: Apache-2.0

// Chooses the SIMD backend for the target that is being compiled, and names that target.
//
// Included once per target, inside code that is itself compiled once per target. After the include
// these are right for this pass:
//
//   TESSERA_NAMESPACE     the namespace of this target, e.g. N_AVX2
//   TESSERA_BEGIN_TARGET  opens `namespace tessera::N_AVX2` with the target's instructions enabled
//   TESSERA_END_TARGET    closes it
//   TESSERA_ATTR          the target attribute, for functions outside BEGIN/END
//   TESSERA_INLINE        for functions between BEGIN and END that must not be calls
//   TESSERA_LAMBDA        for lambdas, between parameter list and body
//   TESSERA_TARGET_ID     the tessera::Target of this pass
//
// and the ops of concept.h are free functions in that namespace.

// Highway flips HWY_TARGET_TOGGLE before each target; so does dispatch.h for its scalar passes.
#if defined(TESSERA_SIMD_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_SIMD_SIMD_INL_H_
#undef TESSERA_SIMD_SIMD_INL_H_
#else
#define TESSERA_SIMD_SIMD_INL_H_
#endif

#include "tessera/simd/target-inl.h"

// A backend is not part of every pass, so a toggled guard of its own would lose count. Its guard is
// being included from here; by itself it includes this file.
#define TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/no_contraction-inl.h"
#if TESSERA_BACKEND_SCALAR
#include "tessera/simd/scalar-inl.h"
#elif TESSERA_BACKEND_XSIMD
#include "tessera/simd/xsimd-inl.h"
#else
#include "tessera/simd/hwy-inl.h"
#endif
#if !TESSERA_BACKEND_SCALAR
#include "tessera/simd/derived-inl.h"
#endif
#undef TESSERA_SIMD_BACKEND_PASS

#include "tessera/simd/accumulators-inl.h"

#endif  // TESSERA_SIMD_SIMD_INL_H_
