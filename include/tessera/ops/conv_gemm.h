// SPDX-License-Identifier: Apache-2.0
// Convolutions on the register tiles of GEMM, without a copy of x that has a row for each pixel (im2col).
//
// A pixel of y is a row of the product, an element of its row is a tap and a channel. Tiles read rows where they
// begin in memory, in segments: all taps along w and their channels are one, where they lie side by side. After
// Dukhan, "The Indirect Convolution Algorithm", arXiv:1907.02129, with strips (conv_strip.h) instead of a pointer for
// each pixel and tap. Few input channels need no kernel of their own: then all taps of a row are one short segment.
//
// The sums run through taps and channels in order, so nothing that is decided here changes a bit of them.
#ifndef TESSERA_OPS_CONV_GEMM_H_
#define TESSERA_OPS_CONV_GEMM_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/conv_checks.h"
#include "tessera/ops/conv_geometry.h"
#include "tessera/ops/conv_output.h"
#include "tessera/ops/conv_problem.h"
#include "tessera/ops/conv_strip.h"
#include "tessera/ops/gemm_driver.h"

namespace tessera::inline TESSERA_ABI::impl {

using tessera::detail::RowSegment;

// What all phases of a convolution have in common.
struct ConvKernels {
  const GemmKernels* gemm;
  int tile;
  index_t panel, pad;     // of packed filters: columns per panel, and what the last is padded to
  index_t most_kc;        // steps of the sums in a block, at most
  index_t in, in_padded;  // channels of x per group, and with what fills the last element of a row
  index_t out;            // channels of y per group

  index_t depth(const ConvPhase& phase) const { return phase.taps() * in_padded; }
  index_t kc(const ConvPhase& phase) const {
    return even_blocks(depth(phase), most_kc, gemm->group);
  }
  index_t padded(index_t width) const {
    return width / panel * panel + round_up(width % panel, pad);
  }
  // Elements per padded filter of the blocks before step k of the sums.
  index_t rows_before(const ConvPhase& phase, index_t k) const {
    const index_t block = kc(phase), last = k % block;
    return k / block * gemm->panel_rows(block) + (last > 0 ? gemm->panel_rows(last) : 0);
  }
  // Bytes of the packed filters of one group.
  index_t filter_bytes(const ConvPhase& phase) const {
    return rows_before(phase, depth(phase)) * padded(out) * gemm->element_bytes;
  }
};

inline ConvKernels conv_kernels(const ConvProblem& p, const KernelTable& table,
                                const Context* context) {
  ConvKernels k{};
  k.gemm = &product_kernels(p, table);
  k.in = p.w.extents[4];
  k.in_padded = round_up(k.in, k.gemm->group);
  k.out = p.w.extents[0] / p.groups;
  const TunedBlocks* tuned = machine_profile().find(table.target, p.w.dtype, ShapeClass::kLarge);
  k.tile = tuning_of(context).tile;
  // Filters are packed before anybody knows how many pixels there will be: many. Tiles of less than 12 chains don't fill
  // the pipelines. (Zen 3, AVX2, 2026-11, 6x2 against 4x3, whose last tile has 4: 128 channels of y 4 to 6 % ahead, 32 20 %.)
  constexpr index_t kFullPipelines = 12;
  if (k.tile < 0) {
    k.tile = choose_tile(*k.gemm, 1024, std::max<index_t>(k.out, 1), tuned, kFullPipelines);
  }
  const GemmSchedule s = schedule_for_tile(*k.gemm, context, k.tile, index_t{1} << 40, tuned);
  k.panel = s.nr;
  k.pad = s.pad;
  const GemmTuning tuning = tuning_for_tile(k.tile, context, tuned);
  const GemmBlocks blocks = gemm_blocks(
      caches_of(context), static_cast<std::size_t>(k.gemm->element_bytes), s.tile->shape, s.nr);
  k.most_kc = round_up(tuning.kc > 0 ? tuning.kc : blocks.kc * k.gemm->group, k.gemm->group);
  if (p.packed) {
    const FilterLayout& layout = p.packed->layout();
    k.tile = layout.tile;
    k.panel = layout.panel;
    k.pad = layout.pad;
    k.most_kc = layout.kc;
  }
  return k;
}

inline index_t all_filter_bytes(const ConvProblem& p, const ConvKernels& k) {
  index_t bytes = 0;
  for_each_phase(p, [&](const ConvPhase& phase) { bytes += p.groups * k.filter_bytes(phase); });
  return bytes;
}

// ---- Filters

// Filter `o` as the sums run through it: taps of the phase, channels padded with zeros.
inline void gather_filter(const ConvProblem& p, const ConvKernels& kernels, const ConvPhase& phase,
                          index_t o, std::byte* to) {
  const index_t size = size_of(p.w.dtype);
  const auto& s = p.w.strides;
  const auto copy = [&](index_t d, index_t h, index_t w) {
    const auto& axes = phase.axes;
    const index_t at = o * s[0] + (axes[0].tap + d * axes[0].tap_step) * s[1] +
                       (axes[1].tap + h * axes[1].tap_step) * s[2] +
                       (axes[2].tap + w * axes[2].tap_step) * s[3];
    const auto* const from = static_cast<const std::byte*>(p.w.data) + at * size;
    if (s[4] == 1) {
      std::memcpy(to, from, static_cast<std::size_t>(kernels.in * size));
    } else {
      for (index_t i = 0; i < kernels.in; ++i) {
        std::memcpy(to + i * size, from + i * s[4] * size, static_cast<std::size_t>(size));
      }
    }
    std::memset(to + kernels.in * size, 0,
                static_cast<std::size_t>((kernels.in_padded - kernels.in) * size));
    to += kernels.in_padded * size;
  };
  for (index_t d = 0; d < phase.axes[0].taps; ++d) {
    for (index_t h = 0; h < phase.axes[1].taps; ++h) {
      for (index_t w = 0; w < phase.axes[2].taps; ++w) copy(d, h, w);
    }
  }
}

inline index_t gather_bytes(const ConvProblem& p, const ConvKernels& k) {
  index_t depth = 0;
  for_each_phase(p, [&](const ConvPhase& phase) { depth = std::max(depth, k.depth(phase)); });
  return aligned(std::min(k.panel, k.out) * depth * size_of(p.w.dtype));
}

// Panels of all phases and groups, one after the other. `gathered` has room for the filters of one panel.
inline void pack_filters_into(const ConvProblem& p, const ConvKernels& kernels, std::byte* to,
                              std::byte* gathered) {
  const index_t size = size_of(p.w.dtype);
  for_each_phase(p, [&](const ConvPhase& phase) {
    const index_t depth = kernels.depth(phase), kc = kernels.kc(phase);
    for (index_t g = 0; g < p.groups && depth > 0; ++g) {
      for (index_t j = 0; j < kernels.out; j += kernels.panel) {
        const index_t width = std::min(kernels.panel, kernels.out - j);
        const index_t padded = round_up(width, kernels.pad);
        for (index_t i = 0; i < width; ++i) {
          gather_filter(p, kernels, phase, g * kernels.out + j + i, gathered + i * depth * size);
        }
        for (index_t k = 0; k < depth; k += kc) {
          const index_t steps = std::min(kc, depth - k);
          const index_t at = kernels.rows_before(phase, k) * kernels.padded(kernels.out) +
                             j * kernels.gemm->panel_rows(steps);
          kernels.gemm->pack_b({gathered + k * size, p.w.dtype, depth, 1, width, steps, 1,
                                to + at * kernels.gemm->element_bytes, padded});
        }
      }
      to += kernels.filter_bytes(phase);
    }
  });
}

// ---- Blocks of pixels

// One phase of a convolution: what is planned once for all of its blocks.
class ConvGemmRun {
 public:
  ConvGemmRun(const ConvProblem& p, const ConvKernels& kernels, const ConvPhase& phase,
              const std::byte* filters, const Executor& executor, index_t l2)
      : p_(p),
        kernels_(kernels),
        gemm_(*kernels.gemm),
        phase_(phase),
        filters_(filters),
        executor_(executor),
        strip_(p, phase, {kernels.gemm, p.groups, kernels.in, kernels.in_padded}),
        output_(p, phase, type_of_sums(p.x.dtype)),
        in_place_(strip_.reads_in_place() && !strip_.is_padded()),
        depth_(kernels.depth(phase)),
        kc_(kernels.kc(phase)) {
    sums_in_scratch_ = !output_.is_sums() && depth_ > kc_ && !output_.can_hold_sums();
    choose_block(l2);
    choose_tasks();
    source_ = in_place_ ? strip_.strides_in_place() : strip_.strides(block_h_, block_w_);
  }

  bool in_place() const { return in_place_; }
  index_t rows_per_block() const { return block_h_ * block_w_; }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(segment_bytes() + places_ * place_bytes());
  }

  void operator()(std::byte* scratch) const {
    auto* const segments = reinterpret_cast<RowSegment*>(scratch);
    const index_t count = find_segments(segments);
    share_tasks(executor_, tasks(), places_, [&](index_t place, index_t first, index_t end) {
      std::byte* const own = scratch + segment_bytes() + place * place_bytes();
      for (index_t task = first; task < end; ++task) {
        run_task(task, {segments, static_cast<std::size_t>(count)}, own);
      }
    });
  }

 private:
  // Channels of y, within each group.
  struct Columns {
    index_t begin, count;
  };

  const ConvAxis& axis(std::size_t i) const { return phase_.axes[i]; }
  // As many pixels as let what tiles read again and again stay in half of L2, in even parts: the strip, or a block of k of
  // it, and the results, and what is added to them. Not more than 4096: the panels of filters, which each block reads, are
  // shared by enough of them.
  void choose_block(index_t l2) {
    const Block whole = largest_block(l2, false), parts = largest_block(l2, true);
    // Filters come from L3 once for each block; in parts the strip does, too, once for each tap.
    const auto pixels = [](const Block& b) { return b.height * b.width; };
    const index_t all = axis(1).count * axis(2).count;
    const auto loads = [&](const Block& b) {
      return (all + pixels(b) - 1) / std::max<index_t>(pixels(b), 1) * kernels_.out;
    };
    const bool in_parts = loads(parts) + all < loads(whole);
    block_h_ = in_parts ? parts.height : whole.height;
    block_w_ = in_parts ? parts.width : whole.width;
  }

  struct Block {
    index_t height, width;
  };
  Block largest_block(index_t l2, bool in_parts) const {
    // What is added to results is read once: the lines of it that two panels of filters share cost less than filters that
    // come from L3 more often.
    const bool stays = kernels_.filter_bytes(phase_) <= l2 / 4;
    const index_t adds = output_.has_residual() && stays ? 2 : 1;
    const auto bytes = [&](index_t height, index_t width) {
      const index_t pixels = height * width, part = pixels * kc_ * gemm_.part_bytes;
      const index_t strip = in_place_ ? part : strip_.bytes(height, width);
      return (in_parts ? std::min(strip, part) : strip) +
             adds * pixels * std::min<index_t>(kernels_.out, 512) * 4;
    };
    constexpr index_t kMostPixels = 4096;
    const index_t least = gemm_.tiles[kernels_.tile].shape.rows;
    const auto fits = [&](index_t height, index_t width) {
      return height * width <= least ||
             (height * width <= kMostPixels && bytes(height, width) <= l2 / 2);
    };
    const index_t height = std::max<index_t>(axis(1).count, 1),
                  width = std::max<index_t>(axis(2).count, 1);
    Block block{1, largest(width, [&](index_t w) { return fits(1, w); })};
    block.width = even_blocks(width, block.width, 1);
    if (output_.rows_follow() && block.width == width) {
      block.height = largest(height, [&](index_t h) { return fits(h, width); });
      block.height = even_blocks(height, block.height, 1);
    }
    return block;
  }

  // The largest of 1..most that `fits`, which smaller ones do where it does.
  template <class F>
  static index_t largest(index_t most, F fits) {
    index_t low = 1, high = most;
    while (low < high) {
      const index_t middle = low + (high - low + 1) / 2;
      if (fits(middle)) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  // Threads share batches and rows, smaller ones if need be, then channels.
  void choose_tasks() {
    const index_t wanted = wanted_tasks(executor_);
    blocks_ = shrink_to_share(p_, phase_, wanted, 1, block_h_, block_w_);
    const index_t parts = std::max<index_t>(wanted / std::max<index_t>(blocks_, 1), 1);
    cols_per_task_ = even_blocks(kernels_.out, (kernels_.out + parts - 1) / parts, kernels_.panel);
    column_tasks_ = (kernels_.out + cols_per_task_ - 1) / cols_per_task_;
    places_ = std::min(tasks(), wanted);
  }
  index_t tasks() const { return blocks_ * column_tasks_; }

  // ---- Scratch: segments, and for each place row starts, a strip, sums

  index_t segment_bytes() const {
    const index_t segments = phase_.taps() + depth_ / std::max<index_t>(kc_, 1) + 1;
    return aligned(segments * static_cast<index_t>(sizeof(RowSegment)));
  }
  index_t rows_bytes() const {
    return aligned(rows_per_block() * static_cast<index_t>(sizeof(index_t)));
  }
  index_t strip_bytes() const { return in_place_ ? 0 : aligned(strip_.bytes(block_h_, block_w_)); }
  index_t sums_bytes() const {
    const index_t cols = std::min(cols_per_task_, kernels_.out);
    return sums_in_scratch_ ? aligned(rows_per_block() * cols * gemm_.sum_bytes) : 0;
  }
  index_t place_bytes() const { return rows_bytes() + strip_bytes() + sums_bytes(); }

  // The segments of all blocks of k, one after the other: a block ends where its steps do. Returns their number.
  index_t find_segments(RowSegment* to) const {
    const bool together = source_.tap[2] == kernels_.in_padded;  // taps along w and their channels
    const index_t taps = together ? 1 : axis(2).taps;
    const index_t length = (together ? axis(2).taps : 1) * kernels_.in_padded;
    index_t count = 0, left = kc_;
    if (length == 0) return 0;
    for (index_t d = 0; d < axis(0).taps; ++d) {
      for (index_t h = 0; h < axis(1).taps; ++h) {
        for (index_t w = 0; w < taps; ++w) {
          index_t start = d * source_.tap[0] + h * source_.tap[1] + w * source_.tap[2];
          for (index_t rest = length; rest > 0;) {
            const index_t steps = std::min(rest, left);
            to[count++] = {start / gemm_.group, steps / gemm_.group};
            start += steps;
            rest -= steps;
            left -= steps;
            if (left == 0) left = kc_;
          }
        }
      }
    }
    return count;
  }

  void run_task(index_t task, std::span<const RowSegment> segments, std::byte* scratch) const {
    const index_t col = task % column_tasks_ * cols_per_task_;
    const Columns columns{col, std::min(cols_per_task_, kernels_.out - col)};
    const PixelBlock b = pixel_block(phase_, task / column_tasks_, block_h_, block_w_);
    auto* const rows = reinterpret_cast<index_t*>(scratch);
    for (index_t h = 0, i = 0; h < b.height; ++h) {
      for (index_t w = 0; w < b.width; ++w, ++i) {
        rows[i] = (h * source_.row + w * source_.pixel) / gemm_.group;
      }
    }
    std::byte* const strip = scratch + rows_bytes();
    if (!in_place_) strip_.fill(b, block_h_, block_w_, strip);
    const std::byte* const a = in_place_ ? strip_.place_in_x(b) : strip;
    for (index_t g = 0; g < p_.groups; ++g) {
      multiply(b, g, columns, a + g * kernels_.in_padded * gemm_.part_bytes, rows, segments,
               strip + strip_bytes());
    }
  }

  // The rows of the block times the filters of group g.
  void multiply(const PixelBlock& b, index_t g, const Columns& columns, const std::byte* a,
                const index_t* rows, std::span<const RowSegment> segments, std::byte* sums) const {
    const std::byte* const filters = filters_ + g * kernels_.filter_bytes(phase_);
    ConvOutput::Rows y = output_.rows(b);
    y.result.steps = y.steps.data();
    GemmBlock block{};
    block.m = b.pixels();
    block.n = columns.count;
    block.a_in_place = true;
    block.a = a;
    block.a_dtype = p_.x.dtype;
    block.a_rows = rows;
    block.b_panel = kernels_.panel;
    block.b_pad = kernels_.pad;
    block.b_dtype = type_of_sums(p_.x.dtype);
    block.row = y.row;
    block.col = g * kernels_.out + columns.begin;
    if (!output_.is_sums()) block.result = &y.result;
    if (sums_in_scratch_) {
      block.c = sums;
      block.c_stride = columns.count;
    } else {
      block.c = y.at(block.col);
      block.c_stride = y.result.row_stride;
    }
    if (gemm_.column_sums && depth_ > 0) {
      const int shift = StripFormat{&gemm_, 1, 1, 1}.shift(p_.x.dtype);
      block.sum_factor = -(p_.x_zero_point + shift);
    }
    const RowSegment* segment = segments.data();
    index_t k = 0;
    do {  // once also where no tap meets an element
      const index_t steps = std::min(kc_, depth_ - k);
      block.k = steps / gemm_.group;
      block.a_segments = segment;
      block.a_segment_count = 0;
      for (index_t left = block.k; left > 0; left -= segment++->steps) ++block.a_segment_count;
      const index_t before = kernels_.rows_before(phase_, k) * kernels_.padded(kernels_.out);
      block.b = filters + (before + columns.begin * gemm_.panel_rows(steps)) * gemm_.element_bytes;
      block.first = k == 0;
      block.beta = block.first ? 0 : 1;
      k += steps;
      block.last = k == depth_;
      gemm_.tiles[kernels_.tile].run(block);
    } while (k < depth_);
  }

  const ConvProblem& p_;
  const ConvKernels& kernels_;
  const GemmKernels& gemm_;
  const ConvPhase& phase_;
  const std::byte* filters_;
  const Executor& executor_;
  ConvStrip strip_;
  ConvOutput output_;
  bool in_place_, sums_in_scratch_ = false;
  index_t depth_, kc_;
  StripStrides source_{};
  index_t block_h_ = 1, block_w_ = 1, blocks_ = 0;
  index_t cols_per_task_ = 1, column_tasks_ = 1, places_ = 1;
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_GEMM_H_
