// SPDX-License-Identifier: Apache-2.0

// A register tile without arrays.
//
// Vectors of RVV and SVE have no size: they cannot be array elements, members or captures by value.
// What every target does have is local variables, so N accumulators are N locals, made by recursion
// and handed on as a parameter pack of references. When all is inlined, no reference and no stack
// slot is left.

#if defined(TESSERA_SIMD_ACCUMULATORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_SIMD_ACCUMULATORS_INL_H_
#undef TESSERA_SIMD_ACCUMULATORS_INL_H_
#else
#define TESSERA_SIMD_ACCUMULATORS_INL_H_
#endif

#include "tessera/simd/target-inl.h"

TESSERA_BEGIN_TARGET

// Calls f(acc0, acc1, ..., acc{N-1}), each a reference to its own vector of zeros, and returns what
// f returns. f must be always_inline: a lambda with TESSERA_LAMBDA.
template <int N, class D, class F, class... Acc>
TESSERA_INLINE decltype(auto) with_accumulators(D d, F&& f, Acc&... acc) {
  constexpr int kMissing = N - static_cast<int>(sizeof...(Acc));
  if constexpr (kMissing == 0) {
    return f(acc...);
  } else if constexpr (kMissing >= 8) {  // eight at a time: the depth is what costs compile time
    auto a0 = zero(d), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
    return with_accumulators<N>(d, f, acc..., a0, a1, a2, a3, a4, a5, a6, a7);
  } else {
    auto next = zero(d);
    return with_accumulators<N>(d, f, acc..., next);
  }
}

// Keeps loads that come later in the source behind the computation of v: emits nothing. For the tiles of
// LMUL 4 on RVV, which leave no register free: clang 22 otherwise loads the rows of B of several steps of
// k first and spills accumulators (sgemm 256^3 with A in place, VLEN 256: .211 instructions per multiply-add
// instead of .091). Not for 15 rows of LMUL 2: it keeps those in order by itself, and spills with this. On
// AVX2, clang 19 loads elements of A ahead and spills one of the 4x3 tile.
template <bool kKeep, class V>
TESSERA_INLINE void keep_order([[maybe_unused]] V& v) {
#if TESSERA_TARGET_LMUL
  if constexpr (kKeep) __asm__ volatile("" : "+vr"(v) : : "memory");
#elif defined(__clang__) && defined(__x86_64__) && !TESSERA_BACKEND_SCALAR && !TESSERA_BACKEND_XSIMD
  if constexpr (kKeep) __asm__ volatile("" : "+x"(v.raw) : : "memory");
#endif
}

// Keeps a sum of integers in the order of the source: emits nothing. GCC 12 otherwise adds products in pairs, which wait for
// each other on the stack.
template <class V>
TESSERA_INLINE void keep_sum([[maybe_unused]] V& v) {
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !TESSERA_BACKEND_SCALAR && \
    !TESSERA_BACKEND_XSIMD
  __asm__("" : "+v"(v.raw));
#endif
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_ACCUMULATORS_INL_H_
