// SPDX-License-Identifier: Apache-2.0

// Norms of groups of channels, of f32. Sums are per channel, in 32 virtual lanes over its positions: so channels that come
// one after the other are sums of rows, those side by side are sums of vectors, and both have the same bits.
//
// Sapphire Rapids, 2026-11, GB/s read and written, each counted once though x is read three times: NHWC, the loops one would
// write (g++ 12, -O3); NCHW, likewise; memcpy:
//   64 positions, 1280 channels    25, 6.5; 27, 6.8; 96
//   1024, 320                      22, 4.5; 28, 6.8; 45
//   4096, 320                      14, 3.3; 22, 5.1; 29

#if defined(TESSERA_KERNELS_GROUP_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_GROUP_NORM_INL_H_
#undef TESSERA_KERNELS_GROUP_NORM_INL_H_
#else
#define TESSERA_KERNELS_GROUP_NORM_INL_H_
#endif

#include <cstddef>

#include "tessera/core/view.h"
#include "tessera/kernels/lane_sums-inl.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace group_norm {

using detail::ChannelRow;
using detail::ChannelsRun;

inline constexpr int kLmul = kHasLmul ? 4 : 1;

// ---- A channel after the other

template <bool kWeight, bool kBias>
void normalize_row(const ChannelRow& r, float weight, float bias) {
  const Tag<float, kHasLmul ? 8 : 1> d;
  const float mean = r.mean, factor = r.factor;
  const float* const x = r.x;
  float* const y = r.y;
  for_vectors(d, 0, r.n, [&]<bool kAll>(index_t i, size_t n) TESSERA_LAMBDA {
    auto v = mul_scalar(d, factor, sub(load_part<kAll>(d, x + i, n), set(d, mean)));
    if constexpr (kWeight && kBias) {
      v = mul_add_scalar(d, weight, v, set(d, bias));
    } else if constexpr (kWeight) {
      v = mul_scalar(d, weight, v);
    } else if constexpr (kBias) {
      v = add(v, set(d, bias));
    }
    store_part<kAll>(d, v, y + i, n);
  });
}

inline void normalize_channel(const ChannelRow& r) {
  if (r.weight != nullptr) {
    r.bias != nullptr ? normalize_row<true, true>(r, *r.weight, *r.bias)
                      : normalize_row<true, false>(r, *r.weight, 0);
  } else {
    r.bias != nullptr ? normalize_row<false, true>(r, 0, *r.bias)
                      : normalize_row<false, false>(r, 0, 0);
  }
}

// ---- Channels side by side

template <bool kSquares>
void add_positions(const ChannelsRun& run, index_t first, float* sums) {
  const Tag<float, kLmul> d;
  const ChannelsRun r = run;  // in registers
  for (index_t p = 0; p < r.positions; ++p) {
    const float* const x = r.x + p * r.x_stride;
    float* const lane = sums + (first + p) % lane_sums::kVirtualLanes * r.channels;
    for_vectors(d, 0, r.channels, [&]<bool kAll>(index_t c, size_t n) TESSERA_LAMBDA {
      auto v = load_part<kAll>(d, x + c, n);
      const auto sum = load_part<kAll>(d, lane + c, n);
      if constexpr (kSquares) {
        v = sub(v, load_part<kAll>(d, r.mean + c, n));
        store_part<kAll>(d, mul_add(v, v, sum), lane + c, n);
      } else {
        store_part<kAll>(d, add(sum, v), lane + c, n);
      }
    });
  }
}

inline void add_lanes(float* sums, index_t channels) {
  const Tag<float, kLmul> d;
  for (int half = lane_sums::kVirtualLanes / 2; half > 0; half /= 2) {
    const index_t n = half * channels;
    for_vectors(d, 0, n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
      const auto upper = load_part<kAll>(d, sums + n + i, count);
      store_part<kAll>(d, add(load_part<kAll>(d, sums + i, count), upper), sums + i, count);
    });
  }
}

template <bool kWeight, bool kBias>
void normalize_rows(const ChannelsRun& run, float* to, index_t y_stride) {
  const Tag<float, kLmul> d;
  const ChannelsRun r = run;
  for (index_t p = 0; p < r.positions; ++p) {
    const float* const x = r.x + p * r.x_stride;
    float* const y = to + p * y_stride;
    for_vectors(d, 0, r.channels, [&]<bool kAll>(index_t c, size_t n) TESSERA_LAMBDA {
      auto v = sub(load_part<kAll>(d, x + c, n), load_part<kAll>(d, r.mean + c, n));
      v = mul(v, load_part<kAll>(d, r.factor + c, n));
      if constexpr (kWeight && kBias) {
        v = mul_add(v, load_part<kAll>(d, r.weight + c, n), load_part<kAll>(d, r.bias + c, n));
      } else if constexpr (kWeight) {
        v = mul(v, load_part<kAll>(d, r.weight + c, n));
      } else if constexpr (kBias) {
        v = add(v, load_part<kAll>(d, r.bias + c, n));
      }
      store_part<kAll>(d, v, y + c, n);
    });
  }
}

inline void normalize_positions(const ChannelsRun& r, float* y, index_t y_stride) {
  if (r.weight != nullptr) {
    r.bias != nullptr ? normalize_rows<true, true>(r, y, y_stride)
                      : normalize_rows<true, false>(r, y, y_stride);
  } else {
    r.bias != nullptr ? normalize_rows<false, true>(r, y, y_stride)
                      : normalize_rows<false, false>(r, y, y_stride);
  }
}

}  // namespace group_norm

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GROUP_NORM_INL_H_
