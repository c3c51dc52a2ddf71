// SPDX-License-Identifier: Apache-2.0

// Loops over elements vector by vector, where the last vector may not be whole.

#if defined(TESSERA_KERNELS_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_VECTORS_INL_H_
#undef TESSERA_KERNELS_VECTORS_INL_H_
#else
#define TESSERA_KERNELS_VECTORS_INL_H_
#endif

#include <cstddef>

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

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_VECTORS_INL_H_
