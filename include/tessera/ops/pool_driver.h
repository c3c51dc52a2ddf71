// SPDX-License-Identifier: Apache-2.0
// What pool.h does: checks, and rows of results shared by the threads.
#ifndef TESSERA_OPS_POOL_DRIVER_H_
#define TESSERA_OPS_POOL_DRIVER_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/core/window.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/pool.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ref/pool.h"

namespace tessera::inline TESSERA_ABI::impl {

// [n, ..., c] as [n, d, h, w, c], with axes of extent 1 where there are fewer.
inline TensorMemory with_five_axes(const TensorMemory& t) {
  TensorMemory five = t;
  five.rank = kMostAxes;
  five.extents = {t.extents[0], 1, 1, 1, t.extents[t.rank - 1]};
  five.strides = {t.strides[0], 0, 0, 0, t.strides[t.rank - 1]};
  for (int axis = 1; axis + 1 < t.rank; ++axis) {
    five.extents[kMostAxes - t.rank + axis] = t.extents[axis];
    five.strides[kMostAxes - t.rank + axis] = t.strides[axis];
  }
  return five;
}

// Each option by its name: the values of all axes where one is wrong.
inline void check_windows(const PoolProblem& p) {
  constexpr index_t kMost = index_t{1} << 30;  // so that products of two fit
  const auto check = [&](const char* name, auto value, const char* expected, auto valid) {
    std::array<index_t, 3> values{};
    bool good = true;
    for (int i = 0; i < p.axes; ++i) {
      values[i] = value(p.windows[3 - p.axes + i]);
      good = good && valid(p.windows[3 - p.axes + i]) && values[i] <= kMost;
    }
    if (!good) fail(p.function, name, expected, text_of(values, p.axes));
  };
  check(
      "options.kernel", [](const WindowAxis& w) { return w.kernel; }, "extents of at least 1",
      [](const WindowAxis& w) { return w.kernel >= 1; });
  check(
      "options.stride", [](const WindowAxis& w) { return w.stride; },
      "at least 1, or 0 for that of the kernel", [](const WindowAxis& w) { return w.stride >= 1; });
  check(
      "options.dilation", [](const WindowAxis& w) { return w.dilation; }, "at least 1, or 0 for 1",
      [](const WindowAxis& w) { return w.dilation >= 1; });
  check(
      "options.padding (before)", [](const WindowAxis& w) { return w.begin; },
      "at least 0 and less than the dilated kernel",
      [](const WindowAxis& w) { return w.begin >= 0 && w.begin < w.reach(); });
  check(
      "options.padding (behind)", [](const WindowAxis& w) { return w.end; },
      "at least 0 and less than the dilated kernel",
      [](const WindowAxis& w) { return w.end >= 0 && w.end < w.reach(); });
  std::int32_t positions = 1;
  for (const WindowAxis& w : p.windows) {
    if (__builtin_mul_overflow(positions, w.kernel, &positions)) {
      fail(p.function, p.global ? "x" : "options.kernel", "windows of less than 2^31 elements",
           "more");
    }
  }
}

// Below, a vector of channels is mostly empty, and vectors along w are better.
inline constexpr index_t kLeastChannels = 4;

// A problem on five axes, its windows and its kernel.
struct PoolPlan {
  TensorMemory x, y;
  std::array<WindowAxis, 3> windows;
  bool average, count_include_pad;
  std::int32_t zero_point;
  tessera::detail::PoolKernel kernel;  // null: the loops below, for any strides
};

inline PoolPlan checked_pool_plan(const PoolProblem& problem) {
  PoolProblem p = problem;
  const auto& kernels = kernels_for<kImageFamily>(p.function, p.context).image.of(p.x.dtype);
  check_input_and_result(p.function, p.x, p.y);
  const TensorMemory x = with_five_axes(p.x), y = with_five_axes(p.y);
  std::array<index_t, kMostAxes> expected = p.y.extents;
  expected[0] = p.x.extents[0];
  expected[p.y.rank - 1] = p.x.extents[p.x.rank - 1];
  if (p.global) {
    for (int i = 0; i < 3; ++i) p.windows[i].kernel = std::max<index_t>(x.extents[i + 1], 1);
    for (WindowAxis& w : p.windows) w.stride = w.kernel;
  }
  check_windows(p);
  for (int axis = 1; !p.global && axis + 1 < p.y.rank; ++axis) {
    expected[axis] = window_count(p.x.extents[axis], p.windows[3 - p.axes + axis - 1], p.ceil_mode);
  }
  check_result_extents(p.function, p.y, expected, ", those of the pooled x");
  if (!y.is_empty() && x.is_empty()) {
    fail(p.function, "x", "at least one pixel", "extents " + text_of(p.x.extents, p.x.rank));
  }
  const bool is_signed = p.x.dtype == DType::kS8, is_unsigned = p.x.dtype == DType::kU8;
  const std::int32_t low = is_signed ? -128 : 0, high = is_signed ? 127 : is_unsigned ? 255 : 0;
  if (p.zero_point < low || p.zero_point > high) {
    std::string range = "0 for elements that are no integers";
    if (high != 0) {
      range = "a number from ";
      range.append(std::to_string(low)).append(" to ").append(std::to_string(high));
    }
    fail(p.function, "options.zero_point", range, std::to_string(p.zero_point));
  }
  index_t positions = 1;
  for (const WindowAxis& w : p.windows) positions *= w.kernel;
  tessera::detail::PoolKernel kernel = p.average ? kernels.average_pool : kernels.max_pool;
  const bool contiguous = x.strides[4] == 1 && y.strides[4] == 1;
  if (!contiguous || x.extents[4] < kLeastChannels || positions >= 1 << 16) kernel = nullptr;
  return {x, y, p.windows, p.average, p.count_include_pad, p.zero_point, kernel};
}

// Row `row` of the results, counted over n, d and h, and channels [first, first + channels) of it.
struct PoolRow {
  index_t row, first, channels;
};

// The windows of a row have d and h in common.
struct PoolRowGeometry {
  index_t x,
      y;  // offsets of the first element of the window at w = 0 without padding, and of the result
  index_t count_d, count_h;
  index_t padded;  // of d and h together, for divisors
};

inline PoolRowGeometry geometry_of(const PoolPlan& p, const PoolRow& r) {
  const index_t h = r.row % p.y.extents[2], d = r.row / p.y.extents[2] % p.y.extents[1];
  const index_t n = r.row / p.y.extents[2] / p.y.extents[1];
  const auto in_d = detail::clip(d, p.x.extents[1], p.windows[0]);
  const auto in_h = detail::clip(h, p.x.extents[2], p.windows[1]);
  return {
      .x = n * p.x.strides[0] + in_d.start * p.x.strides[1] + in_h.start * p.x.strides[2] +
           r.first * p.x.strides[4],
      .y = n * p.y.strides[0] + d * p.y.strides[1] + h * p.y.strides[2] + r.first * p.y.strides[4],
      .count_d = in_d.count,
      .count_h = in_h.count,
      .padded = detail::padded_count(d, p.x.extents[1], p.windows[0]) *
                detail::padded_count(h, p.x.extents[2], p.windows[1])};
}

inline index_t divisor_of(const PoolPlan& p, const PoolRowGeometry& g, index_t w, index_t count_w) {
  if (!p.count_include_pad) return g.count_d * g.count_h * count_w;
  return g.padded * detail::padded_count(w, p.x.extents[3], p.windows[2]);
}

// Channels are contiguous: runs of windows of the same shape. Those that padding does not clip are one run.
inline void pool_row_of_channels(const PoolPlan& p, const PoolRow& r) {
  const PoolRowGeometry g = geometry_of(p, r);
  const WindowAxis& axis = p.windows[2];
  const index_t size = size_of(p.x.dtype), width = p.x.extents[3];
  const std::array<index_t, 3> steps = {p.windows[0].dilation * p.x.strides[1],
                                        p.windows[1].dilation * p.x.strides[2],
                                        axis.dilation * p.x.strides[3]};
  index_t w = 0;
  while (w < p.y.extents[3]) {
    const auto in_w = detail::clip(w, width, axis);
    index_t pixels = 1;
    if (in_w.count == axis.kernel) {
      const index_t room = width - in_w.start - axis.reach();
      pixels = std::min(p.y.extents[3] - w, room / axis.stride + 1);
    }
    const index_t divisor = divisor_of(p, g, w, in_w.count);
    const index_t pads = divisor - g.count_d * g.count_h * in_w.count;
    p.kernel(
        {.x = static_cast<const char*>(p.x.data) + (g.x + in_w.start * p.x.strides[3]) * size,
         .count = {g.count_d, g.count_h, in_w.count},
         .stride = steps,
         .pixels = pixels,
         .x_step = axis.stride * p.x.strides[3],
         .y = static_cast<char*>(const_cast<void*>(p.y.data)) + (g.y + w * p.y.strides[3]) * size,
         .y_step = p.y.strides[3],
         .channels = r.channels,
         .divisor = static_cast<std::int32_t>(divisor),
         .start = static_cast<std::int32_t>(p.count_include_pad ? pads * p.zero_point : 0)});
    w += pixels;
  }
}

// Any strides: a block of results along w or along the channels, whichever is closer together in memory, is folded
// element by element of its windows, so that loads of one loop are near each other and its sums independent.
template <class T, bool kAverage>
void pool_row(const PoolPlan& p, const PoolRow& r) {
  using Sum =
      std::conditional_t<kAverage, std::conditional_t<std::is_integral_v<T>, std::int64_t, float>,
                         Accumulator<T>>;
  constexpr index_t kBlock = 64;
  const PoolRowGeometry g = geometry_of(p, r);
  const WindowAxis& axis = p.windows[2];
  const index_t width = p.x.extents[3], results = p.y.extents[3];
  const T* const x = static_cast<const T*>(p.x.data) + g.x;
  T* const y = static_cast<T*>(const_cast<void*>(p.y.data)) + g.y;
  const index_t sx = p.x.strides[3], sc = p.x.strides[4];
  const auto fold = [](Sum& sum, T element) {
    const auto value = static_cast<Sum>(element);
    if constexpr (kAverage) {
      sum += value;
    } else if constexpr (std::is_integral_v<T>) {
      sum = std::max(sum, value);
    } else {
      // Not with ?:, of which g++ makes a branch that can't be predicted: half as fast (Sapphire Rapids).
      const auto takes =
          -(static_cast<std::uint32_t>(value > sum) | static_cast<std::uint32_t>(value != value));
      sum = std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) & takes) |
                                 (std::bit_cast<std::uint32_t>(sum) & ~takes));
    }
  };
  const auto start = kAverage ? Sum{0} : static_cast<Sum>(ref::lowest_of<T>());
  const auto finish = [&](Sum sum, index_t w, index_t count_w) {
    if constexpr (kAverage) {
      const index_t divisor = divisor_of(p, g, w, count_w);
      if (std::is_integral_v<T> && p.count_include_pad) {
        sum += static_cast<Sum>(divisor - g.count_d * g.count_h * count_w) *
               static_cast<Sum>(p.zero_point);
      }
      return ref::average_of<T>(sum, divisor);
    } else {
      return static_cast<T>(sum);
    }
  };
  // f(offset in x) for each element of d and h.
  const auto for_rows_of_window = [&](auto f) {
    for (index_t i = 0; i < g.count_d; ++i) {
      for (index_t j = 0; j < g.count_h; ++j) {
        f(i * p.windows[0].dilation * p.x.strides[1] + j * p.windows[1].dilation * p.x.strides[2]);
      }
    }
  };
  std::array<Sum, kBlock> sums;
  if (results > 1 && (std::abs(sx) < std::abs(sc) || r.channels < kLeastChannels)) {
    for (index_t c = 0; c < r.channels; ++c) {
      for (index_t first = 0; first < results; first += kBlock) {
        const index_t n = std::min(kBlock, results - first);
        sums.fill(start);
        for_rows_of_window([&](index_t row) {
          for (index_t k = 0; k < axis.kernel; ++k) {
            // Of the windows [first, first + n), those whose element k is within the row.
            const index_t at = k * axis.dilation - axis.begin;
            const index_t low = at < 0 ? (-at + axis.stride - 1) / axis.stride : 0;
            const index_t high = at < width ? (width - 1 - at) / axis.stride + 1 : 0;
            const index_t begin = std::max(low - first, index_t{0});
            const index_t end = std::min(high - first, n);
            const T* from = x + c * sc + row + ((first + begin) * axis.stride + at) * sx;
            const index_t step = axis.stride * sx;
            for (index_t i = begin; i < end; ++i, from += step) {
              fold(sums[static_cast<std::size_t>(i)], *from);
            }
          }
        });
        for (index_t i = 0; i < n; ++i) {
          const index_t w = first + i;
          const index_t count = kAverage ? detail::clip(w, width, axis).count : 0;
          y[c * p.y.strides[4] + w * p.y.strides[3]] =
              finish(sums[static_cast<std::size_t>(i)], w, count);
        }
      }
    }
    return;
  }
  for (index_t w = 0; w < results; ++w) {
    const auto in_w = detail::clip(w, width, axis);
    for (index_t first = 0; first < r.channels; first += kBlock) {
      const index_t n = std::min(kBlock, r.channels - first);
      sums.fill(start);
      for_rows_of_window([&](index_t row) {
        for (index_t k = 0; k < in_w.count; ++k) {
          const T* from = x + row + (in_w.start + k * axis.dilation) * sx + first * sc;
          for (index_t i = 0; i < n; ++i) fold(sums[static_cast<std::size_t>(i)], from[i * sc]);
        }
      });
      for (index_t i = 0; i < n; ++i) {
        y[(first + i) * p.y.strides[4] + w * p.y.strides[3]] =
            finish(sums[static_cast<std::size_t>(i)], w, in_w.count);
      }
    }
  }
}

inline void pool_row(const PoolPlan& p, const PoolRow& r) {
  if (p.kernel != nullptr) return pool_row_of_channels(p, r);
  const auto run = [&]<class T>(DTypeTraits<T>) {
    if constexpr (kIsImageType<T>) {
      p.average ? pool_row<T, true>(p, r) : pool_row<T, false>(p, r);
    }
  };
  visit(p.x.dtype, run);
}

TESSERA_LIBRARY_FUNCTION void checked_pool(const PoolProblem& problem) {
  const PoolPlan plan = checked_pool_plan(problem);
  if (plan.y.is_empty()) return;
  const index_t rows = plan.y.extents[0] * plan.y.extents[1] * plan.y.extents[2];
  const index_t channels = plan.x.extents[4];
  index_t work = plan.y.extents[3];  // per row and channel
  for (const WindowAxis& w : plan.windows) work *= w.kernel;
  // Few rows, such as those of whole images, are shared out by blocks of channels.
  constexpr index_t kChannelsPerTask = 64;
  const index_t threads = problem.context != nullptr ? problem.context->executor.concurrency() : 1;
  const index_t wanted = threads == 1 ? 1 : (4 * threads + rows - 1) / rows;
  const index_t blocks = std::clamp<index_t>(wanted, 1, channels / kChannelsPerTask + 1);
  const index_t each = (channels + blocks - 1) / blocks;
  for_rows(problem.context, rows * blocks, work * each, [&](index_t i) {
    const index_t first = i % blocks * each;
    const index_t count = std::min(each, channels - first);
    if (count > 0) pool_row(plan, {i / blocks, first, count});
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_POOL_DRIVER_H_
