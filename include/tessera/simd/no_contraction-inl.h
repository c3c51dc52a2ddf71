// SPDX-License-Identifier: Apache-2.0

// A product that stays a product: a * b + c rounds twice unless mul_add is asked for.

#ifndef TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/simd-inl.h"
#else

#include <type_traits>

TESSERA_BEGIN_TARGET

// Returns x, a product (scalar or compiler vector), such that no later addition is fused with it.
//
// g++ fuses across statements and function calls by default (-ffp-contract=fast), and its
// intrinsics are plain operators, so even _mm256_add_ps(_mm256_mul_ps(a, b), c) becomes an FMA:
// other bits than with clang, which fuses only within an expression, and no op is one. Nothing here
// costs an instruction; it only ends the expression.
template <class V>
TESSERA_INLINE V no_contraction(V x) {
#if defined(__GNUC__) && !defined(__clang__)
  if constexpr (std::is_floating_point_v<V>) {
    // Not the builtin: g++ forgets about it when it vectorizes a loop over scalars.
#if defined(__x86_64__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#elif defined(__riscv)
    asm("" : "+f"(x));
#else
    asm("" : "+m"(x));
#endif
#if defined(__x86_64__)
  } else if constexpr (sizeof(V) == 64) {
    // For the builtin g++ 12 takes such vectors apart into 16 scalars and puts them together again:
    // the functions of math-inl.h were 2 to 8 times slower (Sapphire Rapids).
    asm("" : "+v"(x));
#endif
  } else {
    x = __builtin_assoc_barrier(x);
  }
#endif
  return x;
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_BACKEND_PASS
