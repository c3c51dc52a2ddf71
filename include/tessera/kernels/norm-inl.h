// SPDX-License-Identifier: Apache-2.0

// Norms of a row of f32, which is in L1 from the first of two (rms) or three passes on.
//
// Sapphire Rapids, 2026-11, in turns with oneDNN: rms of 4096 x 4096 11.0, 12.0 GB/s, of 32 x 1024 57, 59; layer norm 9.3,
// 8.4 and 43, 48. Not tried: pairs of rows. A sum is two chains of fused multiply-adds with vectors of 512 bits, pairs of rows
// would have four.

#if defined(TESSERA_KERNELS_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_NORM_INL_H_
#undef TESSERA_KERNELS_NORM_INL_H_
#else
#define TESSERA_KERNELS_NORM_INL_H_
#endif

#include <cmath>
#include <cstddef>

#include "tessera/core/view.h"
#include "tessera/kernels/lane_sums-inl.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace norm {

using detail::NormRow;

// x, less the mean where there is one.
template <bool kMean, bool kAll, class D>
TESSERA_INLINE Vec<D> centred(D d, const float* x, size_t n, float mean) {
  const auto v = load_part<kAll>(d, x, n);
  if constexpr (kMean) return sub(v, set(d, mean));
  return v;
}

inline float sum(const float* x, index_t n) {
  return lane_sum(n, [=]<bool kAll, class D>(D d, Vec<D> part, index_t i, size_t count)
                         TESSERA_LAMBDA { return add(part, load_part<kAll>(d, x + i, count)); });
}

template <bool kMean>
float squares(const float* x, index_t n, float mean) {
  return lane_sum(
      n, [=]<bool kAll, class D>(D d, Vec<D> part, index_t i, size_t count) TESSERA_LAMBDA {
        const auto v = centred<kMean, kAll>(d, x + i, count, mean);
        return mul_add(v, v, part);
      });
}

template <bool kMean, bool kWeight, bool kBias>
void scale(const NormRow& r, float mean, float factor) {
  const NormRow row = r;  // in registers: the compiler can't know that results are not it
  const Tag<float, kHasLmul ? 8 : 1> d;
  for_vectors(d, 0, row.n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
    auto v = mul_scalar(d, factor, centred<kMean, kAll>(d, row.x + i, count, mean));
    if constexpr (kWeight && kBias) {
      v = mul_add(v, load_part<kAll>(d, row.weight + i, count),
                  load_part<kAll>(d, row.bias + i, count));
    } else if constexpr (kWeight) {
      v = mul(v, load_part<kAll>(d, row.weight + i, count));
    } else if constexpr (kBias) {
      v = add(v, load_part<kAll>(d, row.bias + i, count));
    }
    store_part<kAll>(d, v, row.y + i, count);
  });
}

template <bool kMean>
void normalize(const NormRow& r) {
  const auto n = static_cast<float>(r.n);
  const float mean = kMean ? sum(r.x, r.n) / n : 0;
  const float factor = 1 / std::sqrt(squares<kMean>(r.x, r.n, mean) / n + r.epsilon);
  if (r.weight != nullptr) {
    r.bias != nullptr ? scale<kMean, true, true>(r, mean, factor)
                      : scale<kMean, true, false>(r, mean, factor);
  } else {
    r.bias != nullptr ? scale<kMean, false, true>(r, mean, factor)
                      : scale<kMean, false, false>(r, mean, factor);
  }
}

}  // namespace norm

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_NORM_INL_H_
