// SPDX-License-Identifier: Apache-2.0

// Depthwise convolution: channels along the vectors, several outputs in registers, each tap's weights loaded once for all
// of them. What limits it is loads: one for each multiply-add, and one of weights for kOutputs.

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

// Enough chains for two pipes of latency 4; with LMUL 2, 16 + 4 of 32 registers.
inline constexpr index_t kOutputs = 8;

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

// Outputs i .. i + kCount, n channels from c on.
template <bool kWhole, class D, size_t... kI, class... Acc>
TESSERA_INLINE void sum_taps(D d, const DepthwiseBlock& b, index_t i, index_t c, size_t n,
                             std::index_sequence<kI...>, Acc&... acc) {
  const float* w = b.filters + c;
  const index_t step = b.out_step;
  for (index_t t = 0; t < b.row_count; ++t) {
    const float* x = b.rows[t] + i * step + c;
    for (index_t u = 0; u < b.taps; ++u) {
      const auto weights = load_channels<kWhole>(d, w, n);
      ((acc = mul_add(load_channels<kWhole>(d, x + static_cast<index_t>(kI) * step, n), weights,
                      acc)),
       ...);
      x += b.tap_step;
      w += b.filter_stride;
    }
  }
  (store_channels<kWhole>(d, acc, b.sums + (i + static_cast<index_t>(kI)) * b.sum_stride + c, n),
   ...);
}

template <int kCount, bool kWhole>
void sum_outputs(const DepthwiseBlock& block_in_memory, index_t i, index_t c, size_t n) {
  const DepthwiseBlock b =
      block_in_memory;  // in registers: the compiler can't know that sums are not it
  const SumTag d;
  with_accumulators<kCount>(d, [&](auto&... acc) TESSERA_LAMBDA {
    sum_taps<kWhole>(d, b, i, c, n, std::make_index_sequence<kCount>(), acc...);
  });
}

template <bool kWhole>
void sum_channels(const DepthwiseBlock& b, index_t c, size_t n) {
  index_t i = 0;
  for (; i + kOutputs <= b.count; i += kOutputs) sum_outputs<kOutputs, kWhole>(b, i, c, n);
  if (b.count - i >= 4) sum_outputs<4, kWhole>(b, i, c, n), i += 4;
  if (b.count - i >= 2) sum_outputs<2, kWhole>(b, i, c, n), i += 2;
  if (b.count - i >= 1) sum_outputs<1, kWhole>(b, i, c, n);
}

inline void run(const DepthwiseBlock& b) {
  const auto step = static_cast<index_t>(lanes(SumTag()));
  index_t c = 0;
  for (; c + step <= b.channels; c += step) sum_channels<true>(b, c, static_cast<size_t>(step));
  if (c < b.channels) sum_channels<false>(b, c, static_cast<size_t>(b.channels - c));
}

}  // namespace depthwise

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_DEPTHWISE_INL_H_
