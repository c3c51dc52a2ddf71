// SPDX-License-Identifier: Apache-2.0
// What group_norm.h does: checks, and images and groups shared by the threads.
#ifndef TESSERA_OPS_GROUP_NORM_DRIVER_H_
#define TESSERA_OPS_GROUP_NORM_DRIVER_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/group_norm.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_group_norm(const GroupNormProblem& p) {
  constexpr const char* kName = "group_norm";
  const GroupNormOptions& o = p.options;
  const index_t channels = p.x.extents[p.x.rank - 1];
  const NamedTensor x{"x", p.x}, y{"y", p.y}, weight{"options.weight", o.weight.memory()},
      bias{"options.bias", o.bias.memory()};
  check_tensor(kName, "x", p.x);
  if (p.groups < 1 || channels % p.groups != 0) {
    fail(kName, "groups", "a divisor of " + std::to_string(channels) + " (the channels of x)",
         std::to_string(p.groups));
  }
  const std::array<index_t, kMostAxes> one_each = {channels, 1, 1, 1, 1};
  if (o.weight.is_given()) check_operand(kName, weight, one_each, ", the channels of x");
  if (o.bias.is_given()) check_operand(kName, bias, one_each, ", the channels of x");
  check_epsilon(kName, o.epsilon);
  check_operand(kName, y, p.x.extents, ", those of x");
  check_result_memory(kName, y);
  check_apart(kName, y, x, true);
  if (o.weight.is_given()) check_apart(kName, y, weight);
  if (o.bias.is_given()) check_apart(kName, y, bias);
}

// The positions of an image in order, as runs of neighbours that are one stride apart in both tensors.
class PositionRuns {
 public:
  index_t length = 1, count = 1;

  PositionRuns(const TensorMemory& x, const TensorMemory& y) {
    for (int axis = x.rank - 2; axis >= 1; --axis) {
      const index_t extent = x.extents[axis];
      if (extent == 1) continue;
      if (axis_ == 0) axis_ = axis;
      if (count == 1 && continues(x, axis) && continues(y, axis)) {
        length *= extent;
      } else {
        count *= extent;
      }
    }
  }

  index_t positions() const { return count * length; }

  // Elements from one position of a run to the next.
  index_t stride(const TensorMemory& t) const { return axis_ == 0 ? 0 : t.strides[axis_]; }

  // The positions of a channel are contiguous f32.
  bool is_row(const TensorMemory& t) const {
    return t.dtype == DType::kF32 && count == 1 && (stride(t) == 1 || length == 1);
  }

  // Elements from the first position of the image to that of a run.
  index_t start(const TensorMemory& t, index_t run) const {
    index_t rest = run * length, elements = 0;
    for (int axis = t.rank - 2; axis >= 1; --axis) {
      elements += rest % t.extents[axis] * t.strides[axis];
      rest /= t.extents[axis];
    }
    return elements;
  }

 private:
  // A step along `axis` goes on where the run so far ends.
  bool continues(const TensorMemory& t, int axis) const {
    return t.strides[axis] == length * stride(t);
  }

  int axis_ = 0;  // the fastest spatial one of more than one element
};

// What the tasks of group_norm share.
struct GroupNormWork {
  const GroupNormProblem& p;
  const NnKernels& rows;
  const TensorKernels& kernels;
  PositionRuns runs;
  const float *weight, *bias;
  index_t channels, each;  // of each group

  const std::byte* at(const TensorMemory& t, index_t image, index_t run, index_t channel) const {
    const index_t elements =
        image * t.strides[0] + runs.start(t, run) + channel * t.strides[t.rank - 1];
    return offset(t.data, elements * size_of(t.dtype));
  }
  float count() const { return static_cast<float>(runs.positions() * each); }
  float factor(float squares) const { return 1 / std::sqrt(squares / count() + p.options.epsilon); }
};

// ---- A channel after the other

// A whole channel as contiguous f32: in place, or in `line`.
inline const float* load_channel(const GroupNormWork& w, index_t image, index_t c, float* line) {
  const TensorMemory& x = w.p.x;
  const index_t stride = w.runs.stride(x), n = w.runs.length;
  const auto run = [&](index_t i) { return w.at(x, image, i, c); };
  if (w.runs.is_row(x)) return reinterpret_cast<const float*>(run(0));
  for (index_t i = 0; i < w.runs.count; ++i) w.rows.load(x.dtype, run(i), stride, line + i * n, n);
  return line;
}

inline void norm_channels(const GroupNormWork& w, index_t image, index_t group, float* line) {
  const index_t first = group * w.each, end = first + w.each, positions = w.runs.positions();
  const TensorMemory& y = w.p.y;
  float sum = 0, squares = 0;
  for (index_t c = first; c < end; ++c) {
    sum += w.kernels.channel_sum(load_channel(w, image, c, line), positions);
  }
  const float mean = sum / w.count();
  for (index_t c = first; c < end; ++c) {
    squares += w.kernels.channel_squares(load_channel(w, image, c, line), positions, mean);
  }
  const float factor = w.factor(squares);
  const index_t stride = w.runs.stride(y), n = w.runs.length;
  const bool in_place = w.runs.is_row(y);
  for (index_t c = first; c < end; ++c) {
    const auto run = [&](index_t i) { return const_cast<std::byte*>(w.at(y, image, i, c)); };
    float* const to = in_place ? reinterpret_cast<float*>(run(0)) : line;
    w.kernels.normalize_channel({load_channel(w, image, c, line), to, positions, mean, factor,
                                 w.weight != nullptr ? w.weight + c : nullptr,
                                 w.bias != nullptr ? w.bias + c : nullptr});
    if (in_place) continue;
    for (index_t i = 0; i < w.runs.count; ++i)
      w.rows.store(line + i * n, y.dtype, run(i), stride, n);
  }
}

// ---- Channels side by side

// Channels of a task, unless they are all: at least four lines of the cache. And how many are summed at once, their 32 sums
// being in L2. (4096 positions of 320 channels, Sapphire Rapids, 2026-11: 14 GB/s; 128 and 256 at once 9.6 and 12; 64 channels
// a task 7.2.)
inline constexpr index_t kChannelsOfTask = 64, kChannelsAtOnce = 512;

// Scratch of a block of n channels: sums of some, then of all means, factors, a position of x and of y.
inline index_t sums_of(index_t n) { return 32 * std::min(n, kChannelsAtOnce); }
inline index_t channels_scratch(index_t n) { return sums_of(n) + 4 * n; }

// f(run of positions as f32, index of its first, run) for all of them.
template <class F>
void for_positions(const GroupNormWork& w, index_t image, index_t channel, index_t n, float* line,
                   F f) {
  const TensorMemory& x = w.p.x;
  const index_t stride = w.runs.stride(x);
  for (index_t i = 0; i < w.runs.count; ++i) {
    const std::byte* const from = w.at(x, image, i, channel);
    if (x.dtype == DType::kF32) {
      f(reinterpret_cast<const float*>(from), stride, w.runs.length, i, index_t{0});
      continue;
    }
    for (index_t j = 0; j < w.runs.length; ++j) {
      w.rows.load(x.dtype, offset(from, j * stride * size_of(x.dtype)), 1, line, n);
      f(line, index_t{0}, index_t{1}, i, j);
    }
  }
}

inline void norm_block(const GroupNormWork& w, index_t image, index_t group, index_t groups,
                       float* scratch) {
  const index_t first = group * w.each, n = groups * w.each;
  float *const sums = scratch, *const mean = sums + sums_of(n), *const factor = mean + n,
               *const from_line = factor + n, *const to_line = from_line + n;
  const float* const weight = w.weight != nullptr ? w.weight + first : nullptr;
  const float* const bias = w.bias != nullptr ? w.bias + first : nullptr;
  // The sums of the channels, and of each group f(its sum) for all of its channels.
  const auto reduce = [&](auto kernel, float* to, auto f) {
    for (index_t c = 0; c < n; c += kChannelsAtOnce) {
      const index_t count = std::min(kChannelsAtOnce, n - c);
      std::fill_n(sums, 32 * count, 0.0f);
      for_positions(w, image, first + c, count, from_line,
                    [&](const float* x, index_t stride, index_t positions, index_t run, index_t j) {
                      kernel({x, stride, positions, count, mean + c, nullptr, nullptr, nullptr},
                             run * w.runs.length + j, sums);
                    });
      w.kernels.add_lanes(sums, count);
      std::copy_n(sums, count, to + c);
    }
    for (index_t g = 0; g < groups; ++g) {
      float sum = 0;
      for (index_t c = 0; c < w.each; ++c) sum += to[g * w.each + c];
      std::fill_n(to + g * w.each, w.each, f(sum));
    }
  };
  reduce(w.kernels.add_positions, mean, [&](float sum) { return sum / w.count(); });
  reduce(w.kernels.add_squares, factor, [&](float squares) { return w.factor(squares); });
  const TensorMemory& y = w.p.y;
  const index_t y_stride = w.runs.stride(y), y_channel = y.strides[y.rank - 1];
  const bool in_place = y.dtype == DType::kF32 && (y_channel == 1 || w.channels == 1);
  for_positions(w, image, first, n, from_line,
                [&](const float* x, index_t stride, index_t positions, index_t run, index_t j) {
                  std::byte* const to = const_cast<std::byte*>(
                      offset(w.at(y, image, run, first), j * y_stride * size_of(y.dtype)));
                  if (in_place) {
                    return w.kernels.normalize_positions(
                        {x, stride, positions, n, mean, factor, weight, bias},
                        reinterpret_cast<float*>(to), y_stride);
                  }
                  for (index_t i = 0; i < positions; ++i) {
                    w.kernels.normalize_positions(
                        {x + i * stride, 0, 1, n, mean, factor, weight, bias}, to_line, 0);
                    w.rows.store(to_line, y.dtype, to + i * y_stride * size_of(y.dtype), y_channel,
                                 n);
                  }
                });
}

// Weight or bias as contiguous f32: in place or in `line`.
inline const float* contiguous_f32(const NnKernels& kernels, const FloatView<1>& v, float* line) {
  if (!v.is_given()) return nullptr;
  const TensorMemory& m = v.memory();
  if (m.dtype == DType::kF32 && m.strides[0] == 1) return static_cast<const float*>(m.data);
  kernels.load(m.dtype, m.data, m.strides[0], line, m.extents[0]);
  return line;
}

TESSERA_LIBRARY_FUNCTION void checked_group_norm(const GroupNormProblem& p) {
  constexpr const char* kName = "group_norm";
  Context* const context = p.options.context;
  const KernelTable& kernels = kernels_for < kNnFamily | kTensorFamily > (kName, context);
  check_group_norm(p);
  if (p.x.is_empty()) return;
  const index_t channels = p.x.extents[p.x.rank - 1], each = channels / p.groups;
  const PositionRuns runs(p.x, p.y);
  // One channel, one position: both ways are the same, and rows of positions are the simpler one.
  const bool side_by_side =
      p.x.strides[p.x.rank - 1] == 1 && channels > 1 && !(runs.count == 1 && runs.stride(p.x) == 1);
  // All channels, unless there would be fewer tasks than threads: rows of positions are read from end to end.
  const index_t images = p.x.extents[0],
                threads = context != nullptr ? context->executor.concurrency() : 1,
                parts = (threads + images - 1) / images;
  const index_t groups = side_by_side
                             ? std::min(p.groups, std::max((kChannelsOfTask + each - 1) / each,
                                                           (p.groups + parts - 1) / parts))
                             : index_t{1};
  const index_t blocks = (p.groups + groups - 1) / groups;
  const RowRuns tasks(context, images * blocks, groups * each * runs.positions());
  const index_t line = runs.is_row(p.x) && runs.is_row(p.y) ? 0 : runs.positions();
  const index_t floats = side_by_side ? channels_scratch(groups * each) : line;
  const RowScratch scratch(context, 2 * channels, tasks.tasks(), floats, kName);
  const GroupNormWork work{p,
                           kernels.nn,
                           kernels.tensor,
                           runs,
                           contiguous_f32(kernels.nn, p.options.weight, scratch.shared()),
                           contiguous_f32(kernels.nn, p.options.bias, scratch.shared() + channels),
                           channels,
                           each};
  tasks.run([&](index_t i, index_t task) {
    const index_t image = i / blocks, group = i % blocks * groups;
    if (side_by_side) {
      norm_block(work, image, group, std::min(groups, p.groups - group), scratch.of(task));
    } else {
      norm_channels(work, image, group, scratch.of(task));
    }
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_GROUP_NORM_DRIVER_H_
