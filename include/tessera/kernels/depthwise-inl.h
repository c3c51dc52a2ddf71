// SPDX-License-Identifier: Apache-2.0

// Depthwise convolution: channels along the vectors, several outputs in registers, each tap's weights loaded once for all
// of them: one load for each multiply-add, and one of weights for all outputs of a tile.

#if defined(TESSERA_KERNELS_DEPTHWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_DEPTHWISE_INL_H_
#undef TESSERA_KERNELS_DEPTHWISE_INL_H_
#else
#define TESSERA_KERNELS_DEPTHWISE_INL_H_
#endif

#include <utility>

#include "tessera/kernels/depthwise_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace depthwise {

using detail::DepthwiseBlock;

using SumTag = Tag<float, kHasLmul ? 2 : 1>;

// Enough chains for two pipes of latency 4; with LMUL 2, 16 + 10 of 32 registers.
inline constexpr int kChains = 8;

// kChains / kVectors outputs from i on, kVectors vectors of channels from c on; vectors are of n lanes.
template <int kVectors, bool kWhole, bool kBorder, class D, size_t... kI, class... Acc>
TESSERA_INLINE void sum_taps(D d, const DepthwiseBlock& b, index_t line, index_t i, index_t c,
                             size_t n, std::index_sequence<kI...>, Acc&... acc) {
  const auto step = static_cast<index_t>(lanes(d));
  const float* w = b.filters + c;
  const index_t start = line * b.x_line + i * b.x_step + c;
  const auto add_tap = [&](auto x) TESSERA_LAMBDA {
    ((acc = mul_add(x(static_cast<index_t>(kI / kVectors), static_cast<index_t>(kI % kVectors)),
                    load_part<kWhole>(d, w + static_cast<index_t>(kI % kVectors) * step, n), acc)),
     ...);
    w += b.filter_step;
  };
  for (index_t t = 0; t < b.row_count; ++t) {
    const float* x = b.rows[t] + start;
    const auto from_x = [&](index_t output, index_t v) TESSERA_LAMBDA {
      return load_part<kWhole>(d, x + output * b.x_step + v * step, n);
    };
    if constexpr (kBorder) {
      for (index_t u = 0; u < b.taps; ++u) {
        if (u < b.first_tap || u >= b.end_tap) {
          add_tap([&](index_t, index_t) TESSERA_LAMBDA { return zero(d); });
        } else {
          add_tap(from_x);
          x += b.tap_step;
        }
      }
    } else {
      for (index_t u = 0; u < b.taps; ++u, x += b.tap_step) add_tap(from_x);
    }
  }
  float* const sums = b.sums + line * b.sum_line + i * b.sum_step + c;
  (store_part<kWhole>(d, acc,
                      sums + static_cast<index_t>(kI / kVectors) * b.sum_step +
                          static_cast<index_t>(kI % kVectors) * step,
                      n),
   ...);
}

template <int kOutputs, int kVectors, bool kWhole, bool kBorder>
TESSERA_INLINE void sum_outputs(const DepthwiseBlock& b, index_t line, index_t i, index_t c,
                                size_t n) {
  const SumTag d;
  with_accumulators<kOutputs * kVectors>(d, [&](auto&... acc) TESSERA_LAMBDA {
    sum_taps<kVectors, kWhole, kBorder>(d, b, line, i, c, n,
                                        std::make_index_sequence<kOutputs * kVectors>(), acc...);
  });
}

// kOutputs outputs from i on, kVectors vectors of channels at a time from c on, then fewer.
template <int kOutputs, int kVectors, bool kBorder>
TESSERA_INLINE void sum_channels(const DepthwiseBlock& b, index_t line, index_t i, index_t c) {
  const auto step = static_cast<index_t>(lanes(SumTag()));
  const auto whole = static_cast<size_t>(step);
  for (; c + kVectors * step <= b.channels; c += kVectors * step) {
    sum_outputs<kOutputs, kVectors, true, kBorder>(b, line, i, c, whole);
  }
  if constexpr (kVectors > 1) {
    if (c < b.channels) sum_channels<kOutputs, kVectors / 2, kBorder>(b, line, i, c);
  } else if (c < b.channels) {
    sum_outputs<kOutputs, 1, false, kBorder>(b, line, i, c, static_cast<size_t>(b.channels - c));
  }
}

// kOutputs outputs from i on. A function of its own: all of them in one take compilers minutes with sanitizers.
template <int kOutputs, bool kBorder>
void sum_outputs(const DepthwiseBlock& block_in_memory, index_t line, index_t i) {
  const DepthwiseBlock b =
      block_in_memory;  // in registers: the compiler can't know that sums are not it
  sum_channels<kOutputs, kChains / kOutputs, kBorder>(b, line, i, 0);
}

// Some outputs are computed twice where that takes fewer steps.
template <bool kBorder>
void sum_line(const DepthwiseBlock& b, index_t line) {
  index_t i = 0;
  for (; b.count - i >= 8; i += 8) sum_outputs<8, kBorder>(b, line, i);
  if (b.count - i > 4) {
    if (b.count >= 8) return sum_outputs<8, kBorder>(b, line, b.count - 8);
    sum_outputs<4, kBorder>(b, line, i);
    i += 4;
  }
  if (b.count - i > 2 && b.count >= 4) return sum_outputs<4, kBorder>(b, line, b.count - 4);
  if (b.count - i >= 2) sum_outputs<2, kBorder>(b, line, i), i += 2;
  if (b.count > i) sum_outputs<1, kBorder>(b, line, i);
}

inline void run(const DepthwiseBlock& b) {
  const bool border = b.first_tap > 0 || b.end_tap < b.taps;
  for (index_t line = 0; line < b.lines; ++line) {
    border ? sum_line<true>(b, line) : sum_line<false>(b, line);
  }
}

}  // namespace depthwise

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_DEPTHWISE_INL_H_
