// SPDX-License-Identifier: Apache-2.0

// Loops over elements vector by vector, where the last vector may not be whole.

#if defined(TESSERA_KERNELS_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_VECTORS_INL_H_
#undef TESSERA_KERNELS_VECTORS_INL_H_
#else
#define TESSERA_KERNELS_VECTORS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "tessera/core/view.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// body.operator()<kWhole>(i, n) for vectors of n lanes of D from element i on: whole ones, and one that may not be.
template <class D, class F>
TESSERA_INLINE void for_vectors(D d, index_t begin, index_t end, F body) {
  const auto step = static_cast<index_t>(lanes(d));
  index_t i = begin;
  for (; i + step <= end; i += step) {
    body.template operator()<true>(i, static_cast<size_t>(step));
  }
  if (i < end) body.template operator()<false>(i, static_cast<size_t>(end - i));
}

// n lanes, which are all of them if kWhole.
template <bool kWhole, class D>
TESSERA_INLINE Vec<D> load_part(D d, const Lane<D>* from, size_t n) {
  if constexpr (kWhole) return load(d, from);
  return load_n(d, from, n);
}
template <bool kWhole, class D>
TESSERA_INLINE void store_part(D d, Vec<D> v, Lane<D>* to, size_t n) {
  if constexpr (kWhole) {
    store(d, v, to);
  } else {
    store_n(d, v, to, n);
  }
}

// Whether results can go past the caches, and that such as do pay off.
inline constexpr bool kStreams = !kHasLmul && !TESSERA_BACKEND_SCALAR;

// Elements before the first that stream() takes: fewer than a vector.
inline index_t before_stream(const float* y) {
  const auto at = static_cast<index_t>(reinterpret_cast<std::uintptr_t>(y) / sizeof(float));
  const auto step = static_cast<index_t>(lanes(Tag<float>()));
  return (step - at % step) % step;
}

// Whole vectors past the caches, if kStream.
template <bool kStream, bool kWhole, class D>
TESSERA_INLINE void store_result(D d, Vec<D> v, Lane<D>* to, size_t n) {
  if constexpr (kStream && kWhole) {
    stream(d, v, to);
  } else {
    store_part<kWhole>(d, v, to, n);
  }
}

// Whether to ask for lines before they are read. In-order RISC-V cores are not measured and have no baseline prefetch.
#if defined(__x86_64__) || defined(__i386__)
inline constexpr bool kPrefetch = !TESSERA_BACKEND_SCALAR;
#else
inline constexpr bool kPrefetch = false;
#endif
// The longest rows that are asked for as a whole: they are in L2 beside others.
inline constexpr index_t kMostPrefetched = 16384;

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_VECTORS_INL_H_
