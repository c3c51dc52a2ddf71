// SPDX-License-Identifier: Apache-2.0

// Which target is this pass, and which backend serves it: macros and facts, no ops.
// Only simd-inl.h includes this file; its comment lists what is defined here.

#if defined(TESSERA_SIMD_TARGET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_SIMD_TARGET_INL_H_
#undef TESSERA_SIMD_TARGET_INL_H_
#else
#define TESSERA_SIMD_TARGET_INL_H_
#endif

#include "tessera/config.h"
#include "tessera/core/isa.h"

#if !TESSERA_XSIMD && !defined(TESSERA_SCALAR_LANES)
#include "hwy/highway.h"
#endif

#undef TESSERA_BACKEND_SCALAR
#undef TESSERA_BACKEND_XSIMD
#undef TESSERA_NAMESPACE
#undef TESSERA_BEGIN_TARGET
#undef TESSERA_END_TARGET
#undef TESSERA_ATTR
#undef TESSERA_TARGET_ID
#undef TESSERA_TARGET_FMA
#undef TESSERA_TARGET_LMUL
#undef TESSERA_TARGET_REGISTERS

// 1. Backend and namespace.

#if defined(TESSERA_SCALAR_LANES)  // the odd-tile targets, for tests
#define TESSERA_BACKEND_SCALAR 1
#define TESSERA_BACKEND_XSIMD 0
#if TESSERA_SCALAR_LANES == 3
#define TESSERA_NAMESPACE N_SCALAR3
#define TESSERA_TARGET_ID ::tessera::Target::kScalar3
#elif TESSERA_SCALAR_LANES == 5
#define TESSERA_NAMESPACE N_SCALAR5
#define TESSERA_TARGET_ID ::tessera::Target::kScalar5
#else
#error "TESSERA_SCALAR_LANES must be 3 or 5"
#endif

#elif TESSERA_XSIMD  // the architecture of the compile flags
#define TESSERA_BACKEND_SCALAR 0
#define TESSERA_BACKEND_XSIMD 1
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__)
#define TESSERA_NAMESPACE N_XSIMD_AVX512
#define TESSERA_TARGET_ID ::tessera::Target::kXsimdAvx512
#elif defined(__AVX2__) && defined(__FMA__)
#define TESSERA_NAMESPACE N_XSIMD_AVX2
#define TESSERA_TARGET_ID ::tessera::Target::kXsimdAvx2
#define TESSERA_TARGET_REGISTERS 16
#elif defined(__SSE4_2__)
#define TESSERA_NAMESPACE N_XSIMD_SSE4
#define TESSERA_TARGET_ID ::tessera::Target::kXsimdSse4
#define TESSERA_TARGET_REGISTERS 16
#define TESSERA_TARGET_FMA 0
#elif defined(__ARM_FEATURE_SVE_BITS) && __ARM_FEATURE_SVE_BITS > 0
// The length is in the name: translation units built for different lengths must not share code.
#define TESSERA_NAMESPACE TESSERA_CONCAT(N_XSIMD_SVE, __ARM_FEATURE_SVE_BITS)
#define TESSERA_TARGET_ID ::tessera::Target::kXsimdSve
#elif defined(__aarch64__)
#define TESSERA_NAMESPACE N_XSIMD_NEON64
#define TESSERA_TARGET_ID ::tessera::Target::kXsimdNeon64
#elif defined(__riscv_v_fixed_vlen)
#define TESSERA_NAMESPACE TESSERA_CONCAT(N_XSIMD_RVV, __riscv_v_fixed_vlen)
#define TESSERA_TARGET_ID ::tessera::Target::kXsimdRvv
#else
#error "tessera: xsimd needs vector flags: -msse4.2, -mavx2 -mfma, or -mrvv-vector-bits=zvl"
#endif

#else  // Highway's target of this pass
#define TESSERA_BACKEND_XSIMD 0
#define TESSERA_NAMESPACE HWY_NAMESPACE
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
// Ours instead of Highway's emulation, whose MulAdd rounds twice.
#define TESSERA_BACKEND_SCALAR 1
#define TESSERA_TARGET_ID ::tessera::Target::kScalar
#else
#define TESSERA_BACKEND_SCALAR 0
#if !HWY_NATIVE_FMA
#define TESSERA_TARGET_FMA 0
#endif
#if HWY_TARGET == HWY_SSE2
#define TESSERA_TARGET_ID ::tessera::Target::kSse2
#define TESSERA_TARGET_REGISTERS 16
#elif HWY_TARGET == HWY_SSSE3
#define TESSERA_TARGET_ID ::tessera::Target::kSsse3
#define TESSERA_TARGET_REGISTERS 16
#elif HWY_TARGET == HWY_SSE4
#define TESSERA_TARGET_ID ::tessera::Target::kSse4
#define TESSERA_TARGET_REGISTERS 16
#elif HWY_TARGET == HWY_AVX2
#define TESSERA_TARGET_ID ::tessera::Target::kAvx2
#define TESSERA_TARGET_REGISTERS 16
#elif HWY_TARGET == HWY_AVX3
#define TESSERA_TARGET_ID ::tessera::Target::kAvx3
#elif HWY_TARGET == HWY_AVX3_DL
#define TESSERA_TARGET_ID ::tessera::Target::kAvx3Dl
#elif HWY_TARGET == HWY_AVX3_ZEN4
#define TESSERA_TARGET_ID ::tessera::Target::kAvx3Zen4
#elif HWY_TARGET == HWY_AVX3_SPR
#define TESSERA_TARGET_ID ::tessera::Target::kAvx3Spr
#elif HWY_TARGET == HWY_NEON_WITHOUT_AES
#define TESSERA_TARGET_ID ::tessera::Target::kNeonWithoutAes
#elif HWY_TARGET == HWY_NEON
#define TESSERA_TARGET_ID ::tessera::Target::kNeon
#elif HWY_TARGET == HWY_NEON_BF16
#define TESSERA_TARGET_ID ::tessera::Target::kNeonBf16
#elif HWY_TARGET == HWY_SVE
#define TESSERA_TARGET_ID ::tessera::Target::kSve
#elif HWY_TARGET == HWY_SVE2
#define TESSERA_TARGET_ID ::tessera::Target::kSve2
#elif HWY_TARGET == HWY_SVE_256
#define TESSERA_TARGET_ID ::tessera::Target::kSve256
#elif HWY_TARGET == HWY_SVE2_128
#define TESSERA_TARGET_ID ::tessera::Target::kSve2_128
#elif HWY_TARGET == HWY_RVV
#define TESSERA_TARGET_ID ::tessera::Target::kRvv
#define TESSERA_TARGET_LMUL 1
#elif HWY_TARGET == HWY_LSX
#define TESSERA_TARGET_ID ::tessera::Target::kLsx
#elif HWY_TARGET == HWY_LASX
#define TESSERA_TARGET_ID ::tessera::Target::kLasx
#else
#error \
    "Highway target without an entry in core/isa.h: disable it in config.h or add it there and here"
#endif
#endif
#endif

// 2. What follows from the backend.

#if TESSERA_BACKEND_SCALAR || TESSERA_BACKEND_XSIMD
#define TESSERA_BEGIN_TARGET \
  namespace tessera {        \
  namespace TESSERA_NAMESPACE {
#define TESSERA_END_TARGET \
  }                        \
  }
#define TESSERA_ATTR
#else
#define TESSERA_BEGIN_TARGET    \
  namespace tessera {           \
  namespace TESSERA_NAMESPACE { \
  HWY_BEFORE_NAMESPACE();
#define TESSERA_END_TARGET \
  }                        \
  }                        \
  HWY_AFTER_NAMESPACE();
#define TESSERA_ATTR HWY_ATTR
#endif

#ifndef TESSERA_TARGET_FMA
#define TESSERA_TARGET_FMA 1
#endif
#ifndef TESSERA_TARGET_LMUL
#define TESSERA_TARGET_LMUL 0
#endif
#ifndef TESSERA_TARGET_REGISTERS
#define TESSERA_TARGET_REGISTERS 32
#endif

#ifndef TESSERA_INLINE  // the same in every pass
#define TESSERA_INLINE inline __attribute__((always_inline))
// Both attributes are needed: a lambda does not inherit the target of its function, and clang would
// otherwise call it and keep everything that it captures, or takes by reference, in memory.
#define TESSERA_LAMBDA TESSERA_ATTR __attribute__((always_inline))
#endif

// 3. Facts. (Not between BEGIN and END: clang warns of a target attribute that meets no function.)

namespace tessera::TESSERA_NAMESPACE {

inline constexpr Target kTarget = TESSERA_TARGET_ID;

// Architectural vector registers: the budget of a register tile.
inline constexpr int kVectorRegisters = TESSERA_TARGET_REGISTERS;

// False where mul_add rounds twice, so that results differ from all other targets.
inline constexpr bool kHasFma = TESSERA_TARGET_FMA;

// True where Tag<T, LMUL> accepts LMUL 2, 4, 8 (groups of registers).
inline constexpr bool kHasLmul = TESSERA_TARGET_LMUL;

}  // namespace tessera::TESSERA_NAMESPACE

#endif  // TESSERA_SIMD_TARGET_INL_H_
