// SPDX-License-Identifier: Apache-2.0
// Convolutions with one input channel per group: each channel of x has its own filters.
//
// Rows of y are computed from rows of x where they lie; only the outputs at the left and right border, whose taps are
// partly outside, go through small strips (conv_strip.h), and rows outside are a row of zeros. Where x is not dense floats,
// blocks of rows go through a strip as floats. So do integers: products of 8 bits and their sums are exact in f32 up to
// kMostExactTaps of them.
#ifndef TESSERA_OPS_CONV_DEPTHWISE_H_
#define TESSERA_OPS_CONV_DEPTHWISE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/conv_geometry.h"
#include "tessera/ops/conv_output.h"
#include "tessera/ops/conv_problem.h"
#include "tessera/ops/conv_strip.h"
#include "tessera/ops/gemm_driver.h"

namespace tessera::inline TESSERA_ABI::impl {

inline constexpr index_t kMostExactTaps = (1 << 24) / (255 * 255);

// More filters per channel than that are a product with few columns, for which there are register tiles.
inline constexpr index_t kMostFiltersPerChannel = 8;

inline bool is_depthwise(const ConvProblem& p) {
  const TensorExtents& w = p.w.extents;
  const bool exact = type_of_sums(p.w.dtype) == DType::kF32 || w[1] * w[2] * w[3] <= kMostExactTaps;
  return w[4] == 1 && p.groups > 1 && exact && w[0] / p.groups <= kMostFiltersPerChannel;
}

inline index_t depthwise_filter_bytes(const ConvProblem& p, const ConvPhase& phase) {
  return phase.taps() * p.w.extents[0] * static_cast<index_t>(sizeof(float));
}

// Filters as [tap][channel of y], in f32.
inline void pack_depthwise_filters(const ConvProblem& p, const KernelTable& table, std::byte* to) {
  const auto& s = p.w.strides;
  const index_t size = size_of(p.w.dtype), out = p.w.extents[0];
  for_each_phase(p, [&](const ConvPhase& phase) {
    const auto tap = [&phase](std::size_t i, index_t t) {
      return phase.axes[i].tap + t * phase.axes[i].tap_step;
    };
    for (index_t d = 0; d < phase.axes[0].taps; ++d) {
      for (index_t h = 0; h < phase.axes[1].taps; ++h) {
        for (index_t w = 0; w < phase.axes[2].taps; ++w) {
          const index_t at = tap(0, d) * s[1] + tap(1, h) * s[2] + tap(2, w) * s[3];
          table.gemm_f32.convert_a(p.w.dtype, offset(p.w.data, at * size), s[0], to, out, 0);
          to += out * static_cast<index_t>(sizeof(float));
        }
      }
    }
  });
}

class ConvDepthwiseRun {
 public:
  ConvDepthwiseRun(const ConvProblem& p, const KernelTable& table, const ConvPhase& phase,
                   const std::byte* filters, const Executor& executor, const CacheSizes& caches)
      : p_(p),
        kernels_(table.gemm_f32),
        run_(table.depthwise),
        phase_(phase),
        filters_(reinterpret_cast<const float*>(filters)),
        executor_(executor),
        channels_(p.y.extents[4]),
        strip_(p, phase, {&table.gemm_f32, p.groups, 1, 1, p.w.extents[0] / p.groups}),
        output_(p, phase, DType::kF32) {
    const ConvAxis& w = axis(2);
    // Outputs all of whose taps along w are inside of x.
    first_inside_ = std::clamp<index_t>((-w.in + w.in_step - 1) / w.in_step, 0, w.count);
    const index_t last = p.x.extents[3] - w.span() - w.in;
    end_inside_ = last < 0 ? first_inside_
                           : std::clamp<index_t>(last / w.in_step + 1, first_inside_, w.count);
    // Borders are little tiles of their own: where they are many, a strip is faster.
    in_place_ = strip_.reads_in_place() && 8 * (end_inside_ - first_inside_) >= 7 * w.count;
    choose_blocks(caches);
  }

  bool in_place() const { return in_place_; }
  index_t rows_per_block() const { return block_h_ * block_w_; }
  std::size_t scratch_bytes() const { return static_cast<std::size_t>(places_ * place_bytes()); }

  void operator()(std::byte* scratch) const {
    share_tasks(executor_, blocks_, places_, [&](index_t place, index_t first, index_t end) {
      std::byte* const own = scratch + place * place_bytes();
      if (in_place_) std::memset(own + pointer_bytes(), 0, static_cast<std::size_t>(zeros_bytes()));
      for (index_t i = first; i < end; ++i) run_block(i, own);
    });
  }

 private:
  const ConvAxis& axis(std::size_t i) const { return phase_.axes[i]; }
  void choose_blocks(const CacheSizes& caches) {
    const index_t l2 = bytes_per_thread(caches.l2);
    const index_t height = std::max<index_t>(axis(1).count, 1),
                  width = std::max<index_t>(axis(2).count, 1);
    block_w_ = width;
    block_h_ = std::min<index_t>(height, 16);
    if (!in_place_) {
      while (block_w_ > kChunk && strip_.bytes(1, block_w_) > l2 / 2) block_w_ = (block_w_ + 1) / 2;
      if (block_w_ < width) block_h_ = 1;
      while (block_h_ > 1 && strip_.bytes(block_h_, block_w_) > l2 / 4)
        block_h_ = (block_h_ + 1) / 2;
    }
    const index_t wanted = wanted_tasks(executor_);
    blocks_ = shrink_to_share(p_, phase_, wanted, 1, block_h_, block_w_);
    places_ = std::min(blocks_, wanted);
    // Rows of x under the taps, of some channels, stay in L1 from one row of y to the next. (Sapphire Rapids, 2026-11:
    // 5x5 of 672 channels, all at once: 44 GFLOP/s.)
    const auto l1 = static_cast<index_t>(caches.l1d.bytes);
    const index_t pixels = rows_of_taps() * width * std::max<index_t>(axis(2).in_step, 1);
    channels_at_a_time_ =
        std::clamp<index_t>(round_down(l1 / 2 / std::max<index_t>(pixels * 4, 1), kLine), kLine,
                            round_up(channels_, kLine));
    // Sums on their way to y do, too.
    chunk_ = std::clamp<index_t>(round_down(l1 / 4 / (channels_at_a_time_ * 4), kChunk), kChunk,
                                 round_up(width, kChunk));
  }

  // ---- Scratch of a place: pointers to rows, a row of zeros, a strip, sums

  index_t rows_of_taps() const { return axis(0).taps * axis(1).taps; }
  index_t pointer_bytes() const {
    return aligned(rows_of_taps() * static_cast<index_t>(sizeof(float*)));
  }
  // A row of zeros, as long as what kernels read of a row of x, and where in it they begin: strides may be negative.
  index_t zeros_bytes() const {
    return in_place_ ? aligned((reach(1) + reach(-1) + channels_) * 4) : 0;
  }
  index_t first_of_zeros() const { return reach(-1); }
  // How far kernels go from the first tap of a row, upwards (1) or downwards (-1).
  index_t reach(index_t sign) const {
    const StripStrides s = strip_.strides_in_place();
    return (axis(2).count - 1) * std::max<index_t>(sign * s.pixel, 0) +
           std::max<index_t>(axis(2).taps - 1, 0) * std::max<index_t>(sign * s.tap[2], 0);
  }
  index_t border() const { return std::max(first_inside_, axis(2).count - end_inside_); }
  index_t strip_bytes() const {
    return aligned(in_place_ ? strip_.bytes(1, border()) : strip_.bytes(block_h_, block_w_));
  }
  index_t sums_bytes() const {
    return output_.is_sums() ? 0 : aligned(chunk_ * channels_at_a_time_ * 4);
  }
  index_t place_bytes() const {
    return pointer_bytes() + zeros_bytes() + strip_bytes() + sums_bytes();
  }

  struct Channels {
    index_t begin, count;
  };
  struct Spaces {
    const float** rows;
    const float* zeros;  // for the first tap
    std::byte* strip;
    float* sums;
  };

  void run_block(index_t i, std::byte* scratch) const {
    Spaces s{};
    s.rows = reinterpret_cast<const float**>(scratch);
    scratch += pointer_bytes();
    s.zeros = reinterpret_cast<const float*>(scratch) + (in_place_ ? first_of_zeros() : 0);
    scratch += zeros_bytes();
    s.strip = scratch;
    s.sums = reinterpret_cast<float*>(scratch + strip_bytes());
    const PixelBlock b = pixel_block(phase_, i, block_h_, block_w_);
    if (!in_place_) {
      strip_.fill(b, block_h_, block_w_, s.strip);
      return for_channels([&](const Channels& c) { run_from_strip(b, block_h_, block_w_, c, s); });
    }
    for (index_t h = b.h; h < b.h + b.height; ++h) {
      run_in_strip({b.n, b.d, h, 0, 1, first_inside_}, s);
      run_in_strip({b.n, b.d, h, end_inside_, 1, axis(2).count - end_inside_}, s);
    }
    for_channels([&](const Channels& c) {
      for (index_t h = b.h; h < b.h + b.height; ++h) {
        run_inside({b.n, b.d, h, first_inside_, 1, end_inside_ - first_inside_}, c, s);
      }
    });
  }

  template <class F>
  void for_channels(F f) const {
    for (index_t c = 0; c < channels_; c += channels_at_a_time_) {
      f(Channels{c, std::min(channels_at_a_time_, channels_ - c)});
    }
  }

  // Outputs of a row by way of a strip of their own.
  void run_in_strip(const PixelBlock& row, const Spaces& s) const {
    if (row.width == 0) return;
    strip_.fill(row, 1, row.width, s.strip);
    for_channels([&](const Channels& c) { run_from_strip(row, 1, row.width, c, s); });
  }

  void run_from_strip(const PixelBlock& b, index_t height, index_t width, const Channels& c,
                      const Spaces& s) const {
    const StripStrides strides = strip_.strides(height, width);
    const auto* const strip = reinterpret_cast<const float*>(s.strip) + c.begin;
    for (index_t h = 0; h < b.height; ++h) {
      for (index_t d = 0, t = 0; d < axis(0).taps; ++d) {
        for (index_t u = 0; u < axis(1).taps; ++u, ++t) {
          s.rows[t] = strip + d * strides.tap[0] + u * strides.tap[1] + h * strides.row;
        }
      }
      multiply({b.n, b.d, b.h + h, b.w, 1, b.width}, c, strides, s);
    }
  }

  // The outputs of a row that read x where it lies.
  void run_inside(const PixelBlock& row, const Channels& c, const Spaces& s) const {
    if (row.width == 0) return;
    const auto& x = p_.x;
    const auto* const data = static_cast<const float*>(x.data);
    const index_t w = axis(2).in + row.w * axis(2).in_step;
    for (index_t i = 0, t = 0; i < axis(0).taps; ++i) {
      const index_t d = axis(0).in + row.d * axis(0).in_step + i * axis(0).dilation;
      for (index_t u = 0; u < axis(1).taps; ++u, ++t) {
        const index_t h = axis(1).in + row.h * axis(1).in_step + u * axis(1).dilation;
        const bool inside = d >= 0 && d < x.extents[1] && h >= 0 && h < x.extents[2];
        s.rows[t] = inside ? data + row.n * x.strides[0] + d * x.strides[1] + h * x.strides[2] +
                                 w * x.strides[3] + c.begin
                           : s.zeros;
      }
    }
    multiply(row, c, strip_.strides_in_place(), s);
  }

  // One row of outputs, whose taps begin at s.rows.
  void multiply(const PixelBlock& row, const Channels& c, const StripStrides& strides,
                const Spaces& s) const {
    ConvOutput::Rows y = output_.rows(row);
    y.result.steps = y.steps.data();
    DepthwiseBlock block{.rows = s.rows,
                         .row_count = rows_of_taps(),
                         .taps = axis(2).taps,
                         .tap_step = strides.tap[2],
                         .out_step = strides.pixel,
                         .count = row.width,
                         .channels = c.count,
                         .filters = filters_ + c.begin,
                         .filter_stride = channels_,
                         .sums = s.sums,
                         .sum_stride = c.count};
    if (output_.is_sums()) {
      block.sums = reinterpret_cast<float*>(y.first) + c.begin;
      block.sum_stride = y.result.row_stride;
      return run_(block);
    }
    for (index_t w = 0; w < row.width; w += chunk_) {
      block.count = std::min(chunk_, row.width - w);
      run_(block);
      finish_sums(kernels_, y.result, y.row + w, c.begin, block.count, c.count, s.sums);
      for (index_t t = 0; t < block.row_count; ++t) s.rows[t] += chunk_ * strides.pixel;
    }
  }

  static constexpr index_t kChunk = 8;  // outputs in registers at a time
  static constexpr index_t kLine = 16;  // floats in a cache line

  const ConvProblem& p_;
  const GemmKernels& kernels_;
  tessera::detail::DepthwiseKernel run_;
  const ConvPhase& phase_;
  const float* filters_;
  const Executor& executor_;
  index_t channels_;
  ConvStrip strip_;
  ConvOutput output_;
  index_t first_inside_ = 0, end_inside_ = 0;
  bool in_place_ = false;
  index_t block_h_ = 1, block_w_ = 1, blocks_ = 0, places_ = 1, chunk_ = 1, channels_at_a_time_ = 1;
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_DEPTHWISE_H_
