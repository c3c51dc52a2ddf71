// SPDX-License-Identifier: Apache-2.0
// Convolutions on the register tiles of GEMM, without a copy of x that has a row for each pixel (im2col).
//
// A pixel of y is a row of the product, an element of its row is a tap and a channel. Tiles read rows where they
// begin in memory, in segments: all taps along w and their channels are one, where they lie side by side. What x
// does not offer as it is (padding, channels first, 16 bits, integers that the instructions want otherwise) is
// brought into a strip first: the part of x that a block of pixels needs, in scratch, a fraction of L2. After
// Dukhan, "The Indirect Convolution Algorithm", arXiv:1907.02129, with strips instead of a table of pointers.
//
// The sums run through taps and channels in order, so nothing that is decided here changes a bit of them.
#ifndef TESSERA_OPS_CONV_DRIVER_H_
#define TESSERA_OPS_CONV_DRIVER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/conv_checks.h"
#include "tessera/ops/conv_geometry.h"
#include "tessera/ops/conv_problem.h"
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
  k.gemm = &table.in_place(p.w.dtype);
  k.in = p.w.extents[4];
  k.in_padded = round_up(k.in, k.gemm->group);
  k.out = p.w.extents[0] / p.groups;
  const TunedBlocks* tuned = machine_profile().find(table.target, p.w.dtype, ShapeClass::kLarge);
  k.tile = tuning_of(context).tile;
  // Filters are packed before anybody knows how many pixels there will be: many.
  if (k.tile < 0) k.tile = choose_tile(*k.gemm, 1024, std::max<index_t>(k.out, 1), tuned);
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
  return round_up(std::min(k.panel, k.out) * depth * size_of(p.w.dtype),
                  static_cast<index_t>(kScratchAlignment));
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

// Where a block of pixels finds its rows, in parts of panel elements.
struct RowSource {
  Spatial tap;             // from one tap to the next
  index_t row, pixel;      // from one output to the next along h and w
  index_t group;           // from one group to the next
  bool taps_are_together;  // all taps along w and their channels are one segment
};

// One phase of a convolution: what is planned once for all of its blocks.
class ConvPhaseRun {
 public:
  ConvPhaseRun(const ConvProblem& p, const ConvKernels& kernels, const ConvPhase& phase,
               const std::byte* filters, const Executor& executor, index_t l2)
      : p_(p),
        kernels_(kernels),
        gemm_(*kernels.gemm),
        phase_(phase),
        filters_(filters),
        executor_(executor),
        depth_(kernels.depth(phase)),
        kc_(kernels.kc(phase)) {
    in_place_ = reads_in_place();
    for (std::size_t i = 0; i < 3; ++i) {
      steps_[i] = std::min(phase.axes[i].in_step, std::max<index_t>(phase.axes[i].span(), 1));
    }
    y_row_ = axis(2).out_step * p.y.strides[3];
    rows_are_even_ = follow_evenly(p.y.strides);
    for (int i = 0; i < p.epilogue.size(); ++i) {
      const EpilogueStep& s = p.epilogue.steps()[i];
      if (s.op == EpilogueOp::kResidual)
        rows_are_even_ &= follow_evenly(residual_tensor(p, s).strides);
    }
    to_result_ =
        p.y.strides[4] != 1 || p.y.dtype != type_of_sums(p.x.dtype) || p.epilogue.size() != 0;
    sums_in_scratch_ = to_result_ && depth_ > kc_ && !sums_fit_in_y();
    choose_block(l2);
    choose_tasks();
  }

  bool in_place() const { return in_place_; }
  index_t rows_per_block() const { return block_h_ * block_w_; }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(segment_bytes() + places_ * place_bytes());
  }

  void operator()(std::byte* scratch) const {
    auto* const segments = reinterpret_cast<RowSegment*>(scratch);
    const index_t count = find_segments(segments);
    executor_.parallel_for(places_, [&](index_t place) {
      const index_t each = (tasks() + places_ - 1) / places_;
      const index_t end = std::min((place + 1) * each, tasks());
      std::byte* const own = scratch + segment_bytes() + place * place_bytes();
      for (index_t task = place * each; task < end; ++task) {
        run_task(task, {segments, static_cast<std::size_t>(count)}, own);
      }
    });
  }

 private:
  struct Block {
    index_t n, d, h, w;     // where it begins, in outputs of this phase
    index_t height, width;  // pixels
    index_t col, cols;      // channels of y, within each group
    index_t pixels() const { return height * width; }
  };

  const ConvAxis& axis(std::size_t i) const { return phase_.axes[i]; }
  static index_t aligned(index_t bytes) {
    return round_up(bytes, static_cast<index_t>(kScratchAlignment));
  }

  // What is added to an element of x to make the byte that the kernel multiplies.
  int shift() const {
    if (gemm_.part_bytes != 1) return 0;
    const bool is_unsigned = p_.x.dtype == DType::kU8;
    return is_unsigned == gemm_.a_unsigned ? 0 : gemm_.a_unsigned ? 128 : -128;
  }

  bool reads_in_place() const {
    if (size_of(p_.x.dtype) != gemm_.part_bytes || shift() != 0) return false;
    if (p_.x.strides[4] != 1 || kernels_.in_padded != kernels_.in) return false;
    for (std::size_t i = 0; i < 3; ++i) {
      if (axis(i).is_padded(p_.x.extents[i + 1])) return false;
      if (p_.x.strides[i + 1] % gemm_.group != 0) return false;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(p_.x.data);
    return p_.x.strides[0] % gemm_.group == 0 &&
           address % static_cast<std::uintptr_t>(gemm_.element_bytes) == 0;
  }

  // Can pixels of several rows be counted on with one stride?
  bool follow_evenly(const TensorExtents& strides) const {
    return axis(1).count <= 1 ||
           axis(1).out_step * strides[2] == axis(2).count * axis(2).out_step * strides[3];
  }

  bool sums_fit_in_y() const {
    if (p_.y.strides[4] != 1 || size_of(p_.y.dtype) != gemm_.sum_bytes) return false;
    for (int i = 0; i < p_.epilogue.size(); ++i) {
      if (p_.epilogue.steps()[i].data == p_.y.data) return false;
    }
    return true;
  }

  // ---- Shapes

  index_t strip_extent(std::size_t i, index_t outputs) const {
    return outputs <= 0 || axis(i).taps == 0 ? 0 : (outputs - 1) * steps_[i] + axis(i).span();
  }
  index_t pixel_parts() const { return p_.groups * kernels_.in_padded; }
  index_t strip_bytes(index_t height, index_t width) const {
    if (in_place_) return 0;
    return axis(0).taps * strip_extent(1, height) * strip_extent(2, width) * pixel_parts() *
           gemm_.part_bytes;
  }

  // As many pixels as let the strip and the sums of one group stay in half of L2, in even parts. Not more than
  // 4096: the panels of filters, which each block reads, are shared by enough of them.
  void choose_block(index_t l2) {
    const auto bytes = [this](index_t height, index_t width) {
      return strip_bytes(height, width) + height * width * std::min<index_t>(kernels_.out, 512) * 4;
    };
    constexpr index_t kMostPixels = 4096;
    const index_t least = gemm_.tiles[kernels_.tile].shape.rows;
    const auto fits = [&](index_t height, index_t width) {
      return height * width <= least ||
             (height * width <= kMostPixels && bytes(height, width) <= l2 / 2);
    };
    const index_t height = std::max<index_t>(axis(1).count, 1),
                  width = std::max<index_t>(axis(2).count, 1);
    block_w_ = largest(width, [&](index_t w) { return fits(1, w); });
    block_w_ = even_blocks(width, block_w_, 1);
    block_h_ = 1;
    if (rows_are_even_ && block_w_ == width) {
      block_h_ = largest(height, [&](index_t h) { return fits(h, width); });
      block_h_ = even_blocks(height, block_h_, 1);
    }
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
    const index_t wanted = executor_.concurrency() > 1 ? 4 * executor_.concurrency() : 1;
    const auto blocks = [this] {
      return p_.y.extents[0] * axis(0).count * ((axis(1).count + block_h_ - 1) / block_h_) *
             ((axis(2).count + block_w_ - 1) / block_w_);
    };
    while (wanted > 1 && blocks() < wanted && block_h_ > 1) block_h_ = (block_h_ + 1) / 2;
    blocks_ = blocks();
    const index_t column_tasks = std::max<index_t>(wanted / std::max<index_t>(blocks_, 1), 1);
    cols_per_task_ = std::max<index_t>(
        even_blocks(kernels_.out, (kernels_.out + column_tasks - 1) / column_tasks, kernels_.panel),
        1);
    column_tasks_ = (kernels_.out + cols_per_task_ - 1) / cols_per_task_;
    places_ = std::min(tasks(), wanted);
  }
  index_t tasks() const { return blocks_ * column_tasks_; }

  index_t row_table_bytes() const {
    return aligned(rows_per_block() * static_cast<index_t>(sizeof(index_t)));
  }
  index_t strip_place_bytes() const { return aligned(strip_bytes(block_h_, block_w_)); }
  index_t sums_bytes() const {
    const index_t cols = std::min(cols_per_task_, kernels_.out);
    return sums_in_scratch_ ? aligned(rows_per_block() * cols * gemm_.sum_bytes) : 0;
  }
  index_t place_bytes() const { return row_table_bytes() + strip_place_bytes() + sums_bytes(); }

  // ---- Segments of k

  RowSource source() const {
    const auto& s = p_.x.strides;
    RowSource from{};
    if (in_place_) {
      for (std::size_t i = 0; i < 3; ++i) from.tap[i] = axis(i).dilation * s[i + 1];
      from.row = axis(1).in_step * s[2];
      from.pixel = axis(2).in_step * s[3];
    } else {
      const index_t pixel = pixel_parts(), row = strip_extent(2, block_w_) * pixel;
      from.tap = {strip_extent(1, block_h_) * row, axis(1).dilation * row,
                  axis(2).dilation * pixel};
      from.row = steps_[1] * row;
      from.pixel = steps_[2] * pixel;
    }
    from.group = kernels_.in_padded;
    from.taps_are_together = from.tap[2] == kernels_.in_padded;
    return from;
  }

  index_t segment_bytes() const {
    const index_t segments = phase_.taps() + depth_ / std::max<index_t>(kc_, 1) + 1;
    return aligned(segments * static_cast<index_t>(sizeof(RowSegment)));
  }

  // The segments of all blocks of k, one after the other: a block ends where its steps do. Returns their number.
  index_t find_segments(RowSegment* to) const {
    const RowSource from = source();
    const index_t taps = from.taps_are_together ? 1 : axis(2).taps;
    const index_t length = (from.taps_are_together ? axis(2).taps : 1) * kernels_.in_padded;
    index_t count = 0, left = kc_;
    if (length == 0) return 0;
    for (index_t d = 0; d < axis(0).taps; ++d) {
      for (index_t h = 0; h < axis(1).taps; ++h) {
        for (index_t w = 0; w < taps; ++w) {
          index_t start = d * from.tap[0] + h * from.tap[1] + w * from.tap[2];
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

  // ---- One block

  void run_task(index_t task, std::span<const RowSegment> segments, std::byte* scratch) const {
    Block b{};
    b.col = task % column_tasks_ * cols_per_task_;
    b.cols = std::min(cols_per_task_, kernels_.out - b.col);
    index_t block = task / column_tasks_;
    const auto take = [&block](index_t count, index_t size) {
      const index_t blocks = (count + size - 1) / size, at = block % blocks * size;
      block /= blocks;
      return at;
    };
    b.w = take(axis(2).count, block_w_);
    b.h = take(axis(1).count, block_h_);
    b.d = take(axis(0).count, 1);
    b.n = block;
    b.width = std::min(block_w_, axis(2).count - b.w);
    b.height = std::min(block_h_, axis(1).count - b.h);

    const RowSource from = source();
    auto* const rows = reinterpret_cast<index_t*>(scratch);
    for (index_t h = 0, i = 0; h < b.height; ++h) {
      for (index_t w = 0; w < b.width; ++w, ++i) {
        rows[i] = (h * from.row + w * from.pixel) / gemm_.group;
      }
    }
    const std::byte* a = nullptr;
    if (in_place_) {
      const auto& s = p_.x.strides;
      const auto position = [this](std::size_t i, index_t o) {
        return axis(i).in + o * axis(i).in_step;
      };
      a = static_cast<const std::byte*>(p_.x.data) +
          (b.n * s[0] + position(0, b.d) * s[1] + position(1, b.h) * s[2] +
           position(2, b.w) * s[3]) *
              gemm_.part_bytes;
    } else {
      std::byte* const strip = scratch + row_table_bytes();
      fill_strip(b, strip);
      a = strip;
    }
    std::byte* const sums = scratch + row_table_bytes() + strip_place_bytes();
    for (index_t g = 0; g < p_.groups; ++g) {
      multiply(b, g, a + g * from.group * gemm_.part_bytes, rows, segments, sums);
    }
  }

  // The rows of the block times the filters of group g.
  void multiply(const Block& b, index_t g, const std::byte* a, const index_t* rows,
                std::span<const RowSegment> segments, std::byte* sums) const {
    const index_t element = gemm_.element_bytes;
    const std::byte* const filters = filters_ + g * kernels_.filter_bytes(phase_);
    // The block in y: rows y_row_ apart, and the row it begins with.
    const auto place = [&](const TensorExtents& s) {
      const auto out = [this](std::size_t i, index_t o) {
        return axis(i).out + o * axis(i).out_step;
      };
      return b.n * s[0] + out(0, b.d) * s[1] + out(1, b.h) * s[2] + out(2, b.w) * s[3];
    };
    const index_t row =
        p_.transposed ? 0
                      : ((b.n * axis(0).count + b.d) * axis(1).count + b.h) * axis(2).count + b.w;
    std::array<EpilogueStep, Epilogue::kMaxSteps> steps{};
    for (int i = 0; i < p_.epilogue.size(); ++i) {
      EpilogueStep& s = steps[static_cast<std::size_t>(i)] = p_.epilogue.steps()[i];
      if (s.op != EpilogueOp::kResidual) continue;
      const TensorExtents& strides = residual_tensor(p_, s).strides;
      s.strides = {axis(2).out_step * strides[3], strides[4]};
      s.data = offset(s.data, (place(strides) - row * s.strides[0]) * size_of(s.dtype));
    }
    const index_t y_size = size_of(p_.y.dtype);
    const auto at = [&](index_t elements) {
      return const_cast<std::byte*>(offset(p_.y.data, elements * y_size));
    };
    const index_t origin = place(p_.y.strides);
    const GemmResult result{at(origin - row * y_row_), p_.y.dtype,   y_row_,
                            p_.y.strides[4],           steps.data(), p_.epilogue.size()};
    GemmBlock block{};
    block.m = b.pixels();
    block.n = b.cols;
    block.a_in_place = true;
    block.a = a;
    block.a_dtype = p_.x.dtype;
    block.a_rows = rows;
    block.b_panel = kernels_.panel;
    block.b_pad = kernels_.pad;
    block.b_dtype = type_of_sums(p_.x.dtype);
    block.row = row;
    block.col = g * kernels_.out + b.col;
    if (to_result_) block.result = &result;
    if (sums_in_scratch_) {
      block.c = sums;
      block.c_stride = b.cols;
    } else {
      block.c = at(origin + block.col * p_.y.strides[4]);
      block.c_stride = y_row_;
    }
    if (gemm_.column_sums && depth_ > 0) block.sum_factor = -(p_.x_zero_point + shift());
    const RowSegment* segment = segments.data();
    index_t k = 0;
    do {  // once also where no tap meets an element
      const index_t steps_of_k = std::min(kc_, depth_ - k);
      block.k = steps_of_k / gemm_.group;
      block.a_segments = segment;
      for (index_t left = block.k; left > 0; left -= segment++->steps) ++block.a_segment_count;
      block.b = filters + (kernels_.rows_before(phase_, k) * kernels_.padded(kernels_.out) +
                           b.col * gemm_.panel_rows(steps_of_k)) *
                              element;
      block.first = k == 0;
      block.beta = block.first ? 0 : 1;
      k += steps_of_k;
      block.last = k == depth_;
      gemm_.tiles[kernels_.tile].run(block);
      block.a_segment_count = 0;
    } while (k < depth_);
  }

  // ---- Strips of x

  // The position in x of element `r` of a strip that begins with output `o`.
  index_t position(std::size_t i, index_t o, index_t r) const {
    const ConvAxis& a = axis(i);
    const index_t span = a.span();
    if (a.in_step <= span) return a.in + o * a.in_step + r;
    return a.in + (o + r / span) * a.in_step + r % span;  // what lies between is left out
  }

  void fill_strip(const Block& b, std::byte* strip) const {
    const index_t width = strip_extent(2, block_w_), height = strip_extent(1, block_h_);
    const index_t row_bytes = width * pixel_parts() * gemm_.part_bytes;
    const index_t used = strip_extent(2, b.width);
    for (index_t t = 0; t < axis(0).taps; ++t) {
      const index_t d = axis(0).in + b.d * axis(0).in_step + t * axis(0).dilation;
      for (index_t r = 0; r < strip_extent(1, b.height); ++r) {
        fill_row(b, d, position(1, b.h, r), used, strip + (t * height + r) * row_bytes);
      }
    }
  }

  // `n` pixels of a strip along w.
  void fill_row(const Block& b, index_t d, index_t h, index_t n, std::byte* to) const {
    const index_t pixel_bytes = pixel_parts() * gemm_.part_bytes;
    const auto& x = p_.x;
    if (d < 0 || d >= x.extents[1] || h < 0 || h >= x.extents[2]) return fill_zeros(to, n);
    const auto* const row =
        static_cast<const std::byte*>(x.data) +
        (b.n * x.strides[0] + d * x.strides[1] + h * x.strides[2]) * size_of(x.dtype);
    // Runs of consecutive positions: the whole row, or a span for each output where strides leave gaps.
    const index_t run = axis(2).in_step <= axis(2).span() ? n : axis(2).span();
    for (index_t r = 0; r < n; r += run) {
      const index_t w = position(2, b.w, r), length = std::min(run, n - r);
      const index_t before = std::clamp<index_t>(-w, 0, length);
      const index_t after = std::clamp<index_t>(w + length - x.extents[3], 0, length - before);
      std::byte* const at = to + r * pixel_bytes;
      fill_zeros(at, before);
      copy_pixels(row + (w + before) * x.strides[3] * size_of(x.dtype), length - before - after,
                  at + before * pixel_bytes);
      fill_zeros(at + (length - after) * pixel_bytes, after);
    }
  }

  void fill_zeros(std::byte* to, index_t pixels) const {
    const int value = gemm_.part_bytes == 1 ? p_.x_zero_point + shift() : 0;
    std::memset(to, value, static_cast<std::size_t>(pixels * pixel_parts() * gemm_.part_bytes));
  }

  void copy_pixels(const std::byte* from, index_t n, std::byte* to) const {
    if (n == 0) return;
    const auto& s = p_.x.strides;
    const index_t size = size_of(p_.x.dtype), channels = p_.x.extents[4];
    const bool dense = kernels_.in_padded == kernels_.in;  // groups lie side by side
    const auto convert = [&](const std::byte* x, index_t stride, std::byte* parts, index_t count) {
      gemm_.convert_a(p_.x.dtype, x, stride, parts, count, p_.x_zero_point);
    };
    if (dense && s[4] == 1 && s[3] == channels) return convert(from, 1, to, n * channels);
    if (dense && gemm_.group == 1 && gemm_.part_bytes == gemm_.element_bytes &&
        p_.x_zero_point == 0 && s[4] != 1) {
      return gemm_.pack_a({from, p_.x.dtype, s[4], s[3], channels, n, 1, to, channels});
    }
    const index_t groups = dense ? 1 : p_.groups, in = dense ? channels : kernels_.in;
    for (index_t i = 0; i < n; ++i) {
      for (index_t g = 0; g < groups; ++g, to += round_up(in, gemm_.group) * gemm_.part_bytes) {
        convert(from + (i * s[3] + g * in * s[4]) * size, s[4], to, in);
        // What fills the last element meets filters of zeros: any value, but not poison of the memory before.
        std::memset(to + in * gemm_.part_bytes, 0,
                    static_cast<std::size_t>((round_up(in, gemm_.group) - in) * gemm_.part_bytes));
      }
    }
  }

  const ConvProblem& p_;
  const ConvKernels& kernels_;
  const GemmKernels& gemm_;
  const ConvPhase& phase_;
  const std::byte* filters_;
  const Executor& executor_;
  index_t depth_, kc_;
  bool in_place_ = false, rows_are_even_ = false, to_result_ = false, sums_in_scratch_ = false;
  Spatial steps_{};    // from one output to the next in a strip
  index_t y_row_ = 0;  // from one pixel of y to the next
  index_t block_h_ = 1, block_w_ = 1, blocks_ = 0;
  index_t cols_per_task_ = 1, column_tasks_ = 1, places_ = 1;
};

// f(run) for each phase that has outputs. `filters` may be null where nothing is run.
template <class F>
void for_each_run(const ConvProblem& p, const ConvKernels& kernels, const std::byte* filters,
                  const Context* context, F f) {
  const Executor executor = context ? context->executor : Executor{};
  const index_t l2 = bytes_per_thread(caches_of(context).l2);
  index_t before = 0;
  for_each_phase(p, [&](const ConvPhase& phase) {
    const std::byte* const own = filters ? filters + before : nullptr;
    before += p.groups * kernels.filter_bytes(phase);
    if (!phase.is_empty()) f(ConvPhaseRun(p, kernels, phase, own, executor, l2));
  });
}

inline bool is_empty(const TensorExtents& extents) {
  return std::any_of(extents.begin(), extents.end(), [](index_t e) { return e == 0; });
}

struct ConvWorkspace {
  index_t filters = 0, gathered = 0;  // of weights that are not packed yet
  index_t run = 0;

  index_t bytes() const { return filters + std::max(gathered, run); }
};

inline ConvWorkspace conv_workspace(const ConvProblem& p, const ConvKernels& kernels,
                                    const Context* context) {
  ConvWorkspace w;
  if (p.packed == nullptr) {
    w.filters = round_up(all_filter_bytes(p, kernels), static_cast<index_t>(kScratchAlignment));
    w.gathered = gather_bytes(p, kernels);
  }
  for_each_run(p, kernels, nullptr, context, [&](const ConvPhaseRun& run) {
    w.run = std::max(w.run, static_cast<index_t>(run.scratch_bytes()));
  });
  return w;
}

// ---- What conv.h calls

TESSERA_LIBRARY_FUNCTION void checked_conv(const ConvProblem& p, Context* context) {
  const KernelTable& table = kernels_for(p.function, context);
  check_conv(p, table, context);
  if (is_empty(p.y.extents)) return;
  const ConvKernels kernels = conv_kernels(p, table, context);
  const ConvWorkspace w = conv_workspace(p, kernels, context);
  Scratch& scratch = context ? context->scratch : thread_scratch();
  std::byte* const memory = scratch.reserve(static_cast<std::size_t>(w.bytes()), p.function);
  const std::byte* filters = memory;
  if (p.packed) {
    filters = p.packed->data();
  } else {
    pack_filters_into(p, kernels, memory, memory + w.filters);
  }
  for_each_run(p, kernels, filters, context,
               [&](const ConvPhaseRun& run) { run(memory + w.filters); });
}

TESSERA_LIBRARY_FUNCTION PackedFilterMemory checked_pack_conv(const ConvProblem& p,
                                                              Context* context) {
  const KernelTable& table = kernels_for(p.function, context);
  check_conv_options(p);
  check_tensor(p.function, "w", p.w, p.rank);
  check_tuning(p.function, table.in_place(p.w.dtype), table.target, context);
  const ConvKernels kernels = conv_kernels(p, table, context);
  const FilterLayout layout{.extents = p.w.extents,
                            .stride = p.stride,
                            .dilation = p.dilation,
                            .groups = p.groups,
                            .transposed = p.transposed,
                            .dtype = p.w.dtype,
                            .algorithm = ConvAlgorithm::kImplicitGemm,
                            .target = table.target,
                            .tile = kernels.tile,
                            .kc = kernels.most_kc,
                            .panel = kernels.panel,
                            .pad = kernels.pad};
  PackedFilterMemory packed(layout, all_filter_bytes(p, kernels));
  const AlignedBytes gathered =
      allocate_aligned(static_cast<std::size_t>(gather_bytes(p, kernels)));
  if (!is_empty(p.w.extents)) pack_filters_into(p, kernels, packed.data(), gathered.get());
  return packed;
}

TESSERA_LIBRARY_FUNCTION ConvPlan checked_conv_plan(const ConvProblem& p, Context* context) {
  const KernelTable& table = kernels_for(p.function, context);
  check_conv(p, table, context);
  const ConvKernels kernels = conv_kernels(p, table, context);
  ConvPlan plan;
  plan.target = table.target;
  plan.algorithm = ConvAlgorithm::kImplicitGemm;
  plan.tile = kernels.gemm->tiles[kernels.tile].shape;
  if (is_empty(p.y.extents)) return plan;
  plan.workspace_bytes = conv_workspace(p, kernels, context).bytes();
  for_each_run(p, kernels, nullptr, context, [&](const ConvPhaseRun& run) {
    plan.in_place = run.in_place();
    plan.rows = run.rows_per_block();
  });
  for_each_phase(p,
                 [&](const ConvPhase& phase) { plan.kc = std::max(plan.kc, kernels.kc(phase)); });
  plan.reason = plan.in_place
                    ? "x has unit stride along its channels and no padding: it is read in place"
                    : "padding, layout or type of x: strips of it are copied";
  return plan;
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_DRIVER_H_
