// SPDX-License-Identifier: Apache-2.0
// Where the blocks of a convolution put their pixels: y and the epilogue as kernels see them.
#ifndef TESSERA_OPS_CONV_OUTPUT_H_
#define TESSERA_OPS_CONV_OUTPUT_H_

#include <algorithm>
#include <array>
#include <cstddef>

#include "tessera/kernels/gemm_kernels.h"
#include "tessera/ops/conv_checks.h"
#include "tessera/ops/conv_geometry.h"
#include "tessera/ops/conv_strip.h"

namespace tessera::inline TESSERA_ABI::impl {

// Block number `i` of a phase, along w, then h, d and n.
inline PixelBlock pixel_block(const ConvPhase& phase, index_t i, index_t height, index_t width) {
  const auto take = [&i](index_t count, index_t size) {
    const index_t blocks = (count + size - 1) / size, at = i % blocks * size;
    i /= blocks;
    return at;
  };
  PixelBlock b{};
  b.w = take(phase.axes[2].count, width);
  b.h = take(phase.axes[1].count, height);
  b.d = take(phase.axes[0].count, 1);
  b.n = i;
  b.width = std::min(width, phase.axes[2].count - b.w);
  b.height = std::min(height, phase.axes[1].count - b.h);
  return b;
}

// How many tasks suit an executor: some for each thread, as they are not equally long.
inline index_t wanted_tasks(const Executor& executor) {
  return executor.concurrency() > 1 ? 4 * executor.concurrency() : 1;
}

// Halves blocks of `height` units of pixels, as long as there are fewer than `wanted`. Returns how many there are.
inline index_t shrink_to_share(const ConvProblem& p, const ConvPhase& phase, index_t wanted,
                               index_t unit, index_t& height, index_t width) {
  const auto ceil = [](index_t count, index_t size) { return (count + size - 1) / size; };
  const auto blocks = [&] {
    return p.y.extents[0] * phase.axes[0].count * ceil(phase.axes[1].count, height * unit) *
           ceil(phase.axes[2].count, width);
  };
  while (wanted > 1 && blocks() < wanted && height > 1) height = (height + 1) / 2;
  return blocks();
}

// run(place, first task, end) for each place in scratch: equal shares of the tasks.
template <class F>
void share_tasks(const Executor& executor, index_t tasks, index_t places, F run) {
  const index_t each = (tasks + places - 1) / places;
  executor.parallel_for(places, [&](index_t place) {
    run(place, place * each, std::min((place + 1) * each, tasks));
  });
}

class ConvOutput {
 public:
  // The rows of a block, which are pixels. Row `row` of the result is the first.
  struct Rows {
    std::array<EpilogueStep, Epilogue::kMaxSteps> steps;
    GemmResult result;
    index_t row;
    std::byte* first;

    std::byte* at(index_t col) const {
      return first + col * result.col_stride * size_of(result.dtype);
    }
  };

  ConvOutput(const ConvProblem& p, const ConvPhase& phase, DType sums)
      : p_(p), phase_(phase), sums_(sums) {
    rows_follow_ = follow(p.y.strides);
    for (int i = 0; i < p.epilogue.size(); ++i) {
      const EpilogueStep& s = p.epilogue.steps()[i];
      if (s.op != EpilogueOp::kResidual) continue;
      has_residual_ = true;
      rows_follow_ &= follow(residual_tensor(p, s).strides);
    }
  }

  // Are pixels of consecutive rows of y, and of a residual, one stride apart throughout?
  bool rows_follow() const { return rows_follow_; }
  bool has_residual() const { return has_residual_; }
  // Is y just the sums?
  bool is_sums() const {
    return p_.y.strides[4] == 1 && p_.y.dtype == sums_ && p_.epilogue.size() == 0;
  }
  // Has y room for sums, until the last of them? Not where the epilogue wants to read what was there.
  bool can_hold_sums() const {
    if (p_.y.strides[4] != 1 || size_of(p_.y.dtype) != size_of(sums_)) return false;
    for (int i = 0; i < p_.epilogue.size(); ++i) {
      if (p_.epilogue.steps()[i].data == p_.y.data) return false;
    }
    return true;
  }

  Rows rows(const PixelBlock& b) const {
    const auto& axes = phase_.axes;
    const auto place = [&](const TensorExtents& s) {
      const auto out = [&axes](std::size_t i, index_t o) {
        return axes[i].out + o * axes[i].out_step;
      };
      return b.n * s[0] + out(0, b.d) * s[1] + out(1, b.h) * s[2] + out(2, b.w) * s[3];
    };
    Rows rows{};
    // Parts of transposed convolutions have no rows that could be counted: their epilogues don't ask.
    if (!p_.transposed) {
      rows.row = ((b.n * axes[0].count + b.d) * axes[1].count + b.h) * axes[2].count + b.w;
    }
    for (int i = 0; i < p_.epilogue.size(); ++i) {
      EpilogueStep& s = rows.steps[static_cast<std::size_t>(i)] = p_.epilogue.steps()[i];
      if (s.op != EpilogueOp::kResidual) continue;
      const TensorExtents strides = residual_tensor(p_, s).strides;
      s.strides = {axes[2].out_step * strides[3], strides[4]};
      s.data = offset(s.data, (place(strides) - rows.row * s.strides[0]) * size_of(s.dtype));
    }
    const index_t size = size_of(p_.y.dtype), row_stride = axes[2].out_step * p_.y.strides[3];
    rows.first = const_cast<std::byte*>(offset(p_.y.data, place(p_.y.strides) * size));
    rows.result = {rows.first - rows.row * row_stride * size,
                   p_.y.dtype,
                   row_stride,
                   p_.y.strides[4],
                   nullptr,
                   p_.epilogue.size()};
    return rows;
  }

 private:
  bool follow(const TensorExtents& strides) const {
    const auto &h = phase_.axes[1], &w = phase_.axes[2];
    return h.count <= 1 || h.out_step * strides[2] == w.count * w.out_step * strides[3];
  }

  const ConvProblem& p_;
  const ConvPhase& phase_;
  DType sums_;
  bool rows_follow_, has_residual_ = false;
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_OUTPUT_H_
