// SPDX-License-Identifier: Apache-2.0

// Depthwise convolution: channels along the vectors, several outputs in registers, each tap's weights loaded once for all
// of them. What limits it is loads: one for each multiply-add, and one of weights for all outputs of a tile.

#if defined(TESSERA_KERNELS_DEPTHWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_DEPTHWISE_INL_H_
#undef TESSERA_KERNELS_DEPTHWISE_INL_H_
#else
#define TESSERA_KERNELS_DEPTHWISE_INL_H_
#endif

#include <utility>

#include "tessera/kernels/depthwise_kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace depthwise {

using detail::DepthwiseBlock;

using SumTag = Tag<float, kHasLmul ? 2 : 1>;

// Enough chains for two pipes of latency 4; with LMUL 2, 16 + 10 of 32 registers.
inline constexpr int kChains = 8;

template <bool kWhole, class D>
TESSERA_INLINE Vec<D> load_channels(D d, const float* p, size_t n) {
  if constexpr (kWhole) return load(d, p);
  return load_n(d, p, n);
}
template <bool kWhole, class D>
TESSERA_INLINE void store_channels(D d, Vec<D> v, float* p, size_t n) {
  if constexpr (kWhole) {
    store(d, v, p);
  } else {
    store_n(d, v, p, n);
  }
}

// kChains / kVectors outputs from i on, kVectors vectors of channels from c on; vectors are of n lanes.
template <int kVectors, bool kWhole, class D, size_t... kI, class... Acc>
TESSERA_INLINE void sum_taps(D d, const DepthwiseBlock& b, index_t i, index_t c, size_t n,
                             std::index_sequence<kI...>, Acc&... acc) {
  const auto step = static_cast<index_t>(lanes(d));
  const float* w = b.filters + c;
  for (index_t t = 0; t < b.row_count; ++t) {
    const float* x = b.rows[t] + i * b.out_step + c;
    for (index_t u = 0; u < b.taps; ++u) {
      ((acc = mul_add(load_channels<kWhole>(d,
                                            x + static_cast<index_t>(kI / kVectors) * b.out_step +
                                                static_cast<index_t>(kI % kVectors) * step,
                                            n),
                      load_channels<kWhole>(d, w + static_cast<index_t>(kI % kVectors) * step, n),
                      acc)),
       ...);
      x += b.tap_step;
      w += b.filter_stride;
    }
  }
  (store_channels<kWhole>(d, acc,
                          b.sums + (i + static_cast<index_t>(kI / kVectors)) * b.sum_stride + c +
                              static_cast<index_t>(kI % kVectors) * step,
                          n),
   ...);
}

template <int kOutputs, int kVectors, bool kWhole>
void sum_outputs(const DepthwiseBlock& block_in_memory, index_t i, index_t c, size_t n) {
  const DepthwiseBlock b =
      block_in_memory;  // in registers: the compiler can't know that sums are not it
  const SumTag d;
  with_accumulators<kOutputs * kVectors>(d, [&](auto&... acc) TESSERA_LAMBDA {
    sum_taps<kVectors, kWhole>(d, b, i, c, n, std::make_index_sequence<kOutputs * kVectors>(),
                               acc...);
  });
}

// kOutputs outputs from i on: as many vectors of channels at a time as make kChains sums.
template <int kOutputs>
void sum_columns(const DepthwiseBlock& b, index_t i) {
  constexpr int kVectors = kChains / kOutputs;
  const auto step = static_cast<index_t>(lanes(SumTag()));
  const auto whole = static_cast<size_t>(step);
  index_t c = 0;
  for (; c + kVectors * step <= b.channels; c += kVectors * step) {
    sum_outputs<kOutputs, kVectors, true>(b, i, c, whole);
  }
  for (; c + step <= b.channels; c += step) sum_outputs<kOutputs, 1, true>(b, i, c, whole);
  if (c < b.channels) {
    sum_outputs<kOutputs, 1, false>(b, i, c, static_cast<size_t>(b.channels - c));
  }
}

inline void run(const DepthwiseBlock& b) {
  index_t i = 0;
  for (; i + 8 <= b.count; i += 8) sum_columns<8>(b, i);
  if (b.count - i >= 4) sum_columns<4>(b, i), i += 4;
  if (b.count - i >= 2) sum_columns<2>(b, i), i += 2;
  if (b.count - i >= 1) sum_columns<1>(b, i);
}

}  // namespace depthwise

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_DEPTHWISE_INL_H_
