// SPDX-License-Identifier: Apache-2.0
// Convolutions with one input channel per group: each channel of x has its own filters.
//
// Rows of y are computed from rows of x where they lie. Columns at the left and right border, whose taps are partly
// outside, are computed down their rows, rows outside are a row of zeros. Where x is not dense floats, blocks of rows go
// through a strip (conv_strip.h) as floats. So do integers: products of 8 bits and their sums are exact in f32 up to
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
        output_(p, phase, DType::kF32),
        inside_h_(inside(1)),
        inside_w_(inside(2)),
        in_place_(strip_.reads_in_place()) {
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
    // Rows of x under the taps, of some channels, stay in L1 from one row of y to the next. Two cache lines at least, as
    // they are fetched in pairs. (Sapphire Rapids, 2026-11: 3x3 112^2 x 32 with one line at a time 46 GFLOP/s, with two 64;
    // 5x5 7^2 x 672 with half of L1 62, with all of it 42.)
    const auto l1 = static_cast<index_t>(caches.l1d.bytes);
    const index_t pixels = rows_of_taps() * width * std::max<index_t>(axis(2).in_step, 1);
    channels_at_a_time_ =
        std::clamp<index_t>(round_down(l1 / 2 / std::max<index_t>(pixels * 4, 1), kLine), 2 * kLine,
                            std::max(round_up(channels_, kLine), 2 * kLine));
    // Sums on their way to y do, too.
    lines_ = output_.is_sums()
                 ? block_h_
                 : std::clamp<index_t>(l1 / 4 / (channels_at_a_time_ * 4 * block_w_), 1, block_h_);
  }

  // Outputs of an axis all of whose taps are inside of x.
  struct Range {
    index_t begin, end;
  };
  Range inside(std::size_t i) const {
    const ConvAxis& a = axis(i);
    const index_t begin = std::clamp<index_t>((-a.in + a.in_step - 1) / a.in_step, 0, a.count);
    const index_t last = p_.x.extents[i + 1] - a.span() - a.in;
    return {begin, last < 0 ? begin : std::clamp<index_t>(last / a.in_step + 1, begin, a.count)};
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
  index_t strip_bytes() const { return in_place_ ? 0 : aligned(strip_.bytes(block_h_, block_w_)); }
  index_t sums_bytes() const {
    return output_.is_sums() ? 0 : aligned(lines_ * block_w_ * channels_at_a_time_ * 4);
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
    if (!in_place_) strip_.fill(b, block_h_, block_w_, s.strip);
    for (index_t c = 0; c < channels_; c += channels_at_a_time_) {
      const Channels channels{c, std::min(channels_at_a_time_, channels_ - c)};
      for (index_t h = 0; h < b.height; h += lines_) {
        PixelBlock lines = b;
        lines.h += h;
        lines.height = std::min(lines_, b.height - h);
        run_lines(lines, h, channels, s);
      }
    }
  }

  // Some lines of outputs, which begin with line `h` of the strip, to y.
  void run_lines(const PixelBlock& b, index_t h, const Channels& c, const Spaces& s) const {
    ConvOutput::Rows y = output_.rows(b);
    y.result.steps = y.steps.data();
    DepthwiseBlock block{};
    block.rows = s.rows;
    block.row_count = rows_of_taps();
    block.taps = block.end_tap = axis(2).taps;
    block.channels = c.count;
    block.filters = filters_ + c.begin;
    block.filter_step = channels_;
    if (output_.is_sums()) {
      block.sums = reinterpret_cast<float*>(y.first) + c.begin;
      block.sum_step = y.result.row_stride;
      block.sum_line = axis(1).out_step * p_.y.strides[2];
    } else {
      block.sums = s.sums;
      block.sum_step = c.count;
      block.sum_line = b.width * c.count;
    }
    if (in_place_) {
      sum_in_place(b, block, c, s);
    } else {
      sum_strip(b, h, block, c, s);
    }
    if (output_.is_sums()) return;
    if (output_.rows_follow()) {
      return kernels_.finish({&y.result, y.row, c.begin, b.pixels(), c.count, s.sums});
    }
    for (index_t line = 0; line < b.height; ++line) {
      y = output_.rows({b.n, b.d, b.h + line, b.w, 1, b.width});
      y.result.steps = y.steps.data();
      kernels_.finish(
          {&y.result, y.row, c.begin, b.width, c.count, s.sums + line * block.sum_line});
    }
  }

  void sum_strip(const PixelBlock& b, index_t h, DepthwiseBlock block, const Channels& c,
                 const Spaces& s) const {
    const StripStrides strides = strip_.strides(block_h_, block_w_);
    const auto* const strip = reinterpret_cast<const float*>(s.strip) + c.begin + h * strides.row;
    for (index_t d = 0, t = 0; d < axis(0).taps; ++d) {
      for (index_t u = 0; u < axis(1).taps; ++u, ++t) {
        s.rows[t] = strip + d * strides.tap[0] + u * strides.tap[1];
      }
    }
    block.tap_step = strides.tap[2];
    block.x_step = strides.pixel;
    block.x_line = strides.row;
    block.count = b.width;
    block.lines = b.height;
    run_(block);
  }

  // Lines whose rows of taps are all inside of x are taken together, others one at a time.
  void sum_in_place(const PixelBlock& b, DepthwiseBlock block, const Channels& c,
                    const Spaces& s) const {
    const StripStrides strides = strip_.strides_in_place();
    block.tap_step = strides.tap[2];
    const index_t end = b.h + b.height;
    const index_t first_depth = axis(0).in + b.d * axis(0).in_step;
    const bool depth_inside = first_depth >= 0 && first_depth + axis(0).span() <= p_.x.extents[1];
    const index_t begin_inside = depth_inside ? std::clamp(inside_h_.begin, b.h, end) : end;
    const index_t end_inside = depth_inside ? std::clamp(inside_h_.end, begin_inside, end) : end;
    float* const sums = block.sums;
    for (index_t h = b.h; h < end; h += block.lines) {
      block.lines = h == begin_inside && h < end_inside ? end_inside - h : 1;
      block.sums = sums + (h - b.h) * block.sum_line;
      sum_columns({b.n, b.d, h, 0, block.lines, b.width}, block, strides, c, s);
    }
  }

  // Columns whose taps are all inside of x along their lines, others down the lines.
  void sum_columns(const PixelBlock& b, DepthwiseBlock block, const StripStrides& strides,
                   const Channels& c, const Spaces& s) const {
    float* const sums = block.sums;
    if (inside_w_.begin < inside_w_.end) {
      find_rows(b, axis(2).in + inside_w_.begin * axis(2).in_step, c, s);
      block.x_step = strides.pixel;
      block.x_line = strides.row;
      block.count = inside_w_.end - inside_w_.begin;
      block.sums = sums + inside_w_.begin * block.sum_step;
      run_(block);
    }
    DepthwiseBlock down = block;
    down.x_step = strides.row;
    down.count = block.lines;
    down.lines = 1;
    down.sum_step = block.sum_line;
    for (index_t w = 0; w < b.width; ++w) {
      if (w == inside_w_.begin) w = inside_w_.end;
      if (w >= b.width) break;
      const index_t at = axis(2).in + w * axis(2).in_step, dilation = axis(2).dilation;
      down.first_tap = std::min(at < 0 ? (-at + dilation - 1) / dilation : 0, down.taps);
      const index_t left = p_.x.extents[3] - at;  // elements from the first tap on
      down.end_tap = std::clamp<index_t>(left > 0 ? (left + dilation - 1) / dilation : 0,
                                         down.first_tap, down.taps);
      if (down.first_tap < down.end_tap) find_rows(b, at + down.first_tap * dilation, c, s);
      down.sums = sums + w * block.sum_step;
      run_(down);
    }
  }

  // Where the taps of the first line of `b` are that read element `w` of the rows of x.
  void find_rows(const PixelBlock& b, index_t w, const Channels& c, const Spaces& s) const {
    const auto& x = p_.x;
    const auto* const data = static_cast<const float*>(x.data);
    for (index_t i = 0, t = 0; i < axis(0).taps; ++i) {
      const index_t d = axis(0).in + b.d * axis(0).in_step + i * axis(0).dilation;
      for (index_t u = 0; u < axis(1).taps; ++u, ++t) {
        const index_t h = axis(1).in + b.h * axis(1).in_step + u * axis(1).dilation;
        const bool inside = d >= 0 && d < x.extents[1] && h >= 0 && h < x.extents[2];
        s.rows[t] = inside ? data + b.n * x.strides[0] + d * x.strides[1] + h * x.strides[2] +
                                 w * x.strides[3] + c.begin
                           : s.zeros;
      }
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
  Range inside_h_, inside_w_;
  bool in_place_;
  index_t block_h_ = 1, block_w_ = 1, blocks_ = 0, places_ = 1, lines_ = 1, channels_at_a_time_ = 1;
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_DEPTHWISE_H_
