// SPDX-License-Identifier: Apache-2.0

// Sums along a row, with the same bits whatever the length of the vectors: 32 virtual lanes, element i in lane i % 32,
// and a fixed tree at the end, as ref/lane_sums.h says.

#if defined(TESSERA_KERNELS_LANE_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_LANE_SUMS_INL_H_
#undef TESSERA_KERNELS_LANE_SUMS_INL_H_
#else
#define TESSERA_KERNELS_LANE_SUMS_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "tessera/core/view.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/accumulators-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace lane_sums {

inline constexpr int kVirtualLanes = 32;

// The first vectors plus the others, until there is one.
template <class V>
TESSERA_INLINE V folded(V a) {
  return a;
}
template <class V>
TESSERA_INLINE V folded(V a, V b) {
  return add(a, b);
}
template <class V>
TESSERA_INLINE V folded(V a, V b, V c, V d) {
  return folded(add(a, c), add(b, d));
}
template <class V>
TESSERA_INLINE V folded(V a, V b, V c, V d, V e, V f, V g, V h) {
  return folded(add(a, e), add(b, f), add(c, g), add(d, h));
}

// 32 lanes in kVectors vectors. kExact: those have no other lanes.
template <int LMUL, int kVectors, bool kExact, class F>
TESSERA_INLINE float sum_in_vectors(index_t n, F fold) {
  const Tag<float, LMUL> d;
  const auto each = static_cast<index_t>(lanes(d));
  return with_accumulators<kVectors>(d, [&](auto&... sums) TESSERA_LAMBDA {
    // Elements [i + at, i + at + lanes) into one of the sums, of which the first `left` are there and its own.
    const auto fold_part = [&](auto& sum, index_t i, index_t at, index_t end) TESSERA_LAMBDA {
      if (at >= end) return;
      const auto left = static_cast<size_t>(std::min(end - at, each));
      sum = select(first_n(d, left), fold.template operator()<false>(d, sum, i + at, left), sum);
    };
    index_t i = 0;
    for (; i + kVirtualLanes <= n; i += kVirtualLanes) {
      index_t at = 0;
      if constexpr (kExact) {
        ((sums = fold.template operator()<true>(d, sums, i + at, static_cast<size_t>(each)),
          at += each),
         ...);
      } else {
        ((fold_part(sums, i, at, kVirtualLanes), at += each), ...);
      }
    }
    if (i < n) {
      index_t at = 0;
      ((fold_part(sums, i, at, n - i), at += each), ...);
    }
    if constexpr (kExact) {
      return reduce_add(d, folded(sums...));
    } else {
      float lane[kVirtualLanes];
      index_t at = 0;
      ((store_n(d, sums, lane + at,
                static_cast<size_t>(std::min<index_t>(each, kVirtualLanes - at))),
        at += each),
       ...);
      for (int half = kVirtualLanes / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
      }
      return lane[0];
    }
  });
}

}  // namespace lane_sums

// sum = fold.operator()<kAll>(d, sum, i, count) for vectors of elements [i, i + count) of n, which are all lanes where
// kAll; what it returns in other lanes does not count. Then the sum of all lanes.
//
// On RVV the 32 lanes are one register group of LMUL 4, 2 or 1, or two of LMUL 4 with vectors of 128 bits.
template <class F>
TESSERA_INLINE float lane_sum(index_t n, F fold) {
  using lane_sums::sum_in_vectors;
  constexpr size_t kMost = max_lanes(Tag<float>());
  const size_t each = lanes(Tag<float>());
  if constexpr (kHasLmul) {
    if (each == 4) return sum_in_vectors<4, 2, true>(n, fold);
    if (each == 8) return sum_in_vectors<4, 1, true>(n, fold);
    if (each == 16) return sum_in_vectors<2, 1, true>(n, fold);
    if (each == 32) return sum_in_vectors<1, 1, true>(n, fold);
    return sum_in_vectors<1, 1, false>(n, fold);
  } else if constexpr (kMost <= lane_sums::kVirtualLanes) {  // which are all that there are
    constexpr int kLanes = static_cast<int>(kMost);
    constexpr int kVectors = (lane_sums::kVirtualLanes + kLanes - 1) / kLanes;
    constexpr bool kExact = kVectors * kLanes == lane_sums::kVirtualLanes;
    return sum_in_vectors<1, kVectors, kExact>(n, fold);
  } else {  // SVE
    if (each == 4) return sum_in_vectors<1, 8, true>(n, fold);
    if (each == 8) return sum_in_vectors<1, 4, true>(n, fold);
    if (each == 16) return sum_in_vectors<1, 2, true>(n, fold);
    if (each == 32) return sum_in_vectors<1, 1, true>(n, fold);
    return sum_in_vectors<1, 1, false>(n, fold);
  }
}

// y[i, i + count) = compute.operator()<kAll>(d, i, count) for elements of n, and the sum of them as above.
//
// On RVV the sums are a loop of their own, so that functions such as powers of two, which need the most registers, are
// computed in groups of four, one at a time: clang 22 then makes constants anew where they are needed, and else spills
// them. (2026-11, instructions per element of all of softmax, VLEN 128 to 1024: 2.3, 1.3, .79, .56; as one loop, in
// groups of as many registers as 32 virtual lanes have, 4.7, 1.2, .95, .90; of at most two, 4.8, 1.7, .95, .90.)
template <class F>
TESSERA_INLINE float lane_sum_of_results(float* y, index_t n, F compute) {
  if constexpr (kHasLmul) {
    const Tag<float, kHasLmul ? 4 : 1> d;
    for_vectors(d, 0, n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
      store_part<kAll>(d, compute.template operator()<kAll>(d, i, count), y + i, count);
    });
    return lane_sum(n, [=]<bool kAll, class D>(D d, Vec<D> sum, index_t i, size_t count)
                           TESSERA_LAMBDA { return add(sum, load_part<kAll>(d, y + i, count)); });
  } else {
    return lane_sum(
        n, [=]<bool kAll, class D>(D d, Vec<D> sum, index_t i, size_t count) TESSERA_LAMBDA {
          const auto result = compute.template operator()<kAll>(d, i, count);
          store_part<kAll>(d, result, y + i, count);
          return add(sum, result);
        });
  }
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_LANE_SUMS_INL_H_
