// SPDX-License-Identifier: Apache-2.0
// Windows that slide over an axis: of pooling and convolution.
#ifndef TESSERA_CORE_WINDOW_H_
#define TESSERA_CORE_WINDOW_H_

#include <array>
#include <cstddef>

#include "tessera/core/view.h"

namespace tessera {

// A window of `kernel` elements, `dilation` apart, that starts at -begin and moves by `stride`, over an axis with
// `begin` elements of padding before it and `end` behind it.
struct WindowAxis {
  index_t kernel = 1, stride = 1, dilation = 1, begin = 0, end = 0;

  // From the first to the last element of a window, both included.
  constexpr index_t reach() const { return (kernel - 1) * dilation + 1; }
};

// How many windows an axis of `extent` elements has: those that lie within the padded axis, and with `ceil_mode` one
// more that sticks out of it, if elements are left over and it starts before the padding at the end. 0 for a stride
// below 1, which functions refuse.
constexpr index_t window_count(index_t extent, const WindowAxis& w, bool ceil_mode = false) {
  const index_t room = extent + w.begin + w.end - w.reach();
  if (room < 0 || w.stride < 1) return 0;
  const index_t count = room / w.stride + 1;
  const bool more = ceil_mode && room % w.stride != 0 && count * w.stride < extent + w.begin;
  return more ? count + 1 : count;
}

namespace detail {

// The elements of one window that are within the axis: `count` of them, the first at `start`.
struct ClippedWindow {
  index_t start, count;
};

constexpr ClippedWindow clip(index_t window, index_t extent, const WindowAxis& w) {
  const index_t start = window * w.stride - w.begin;
  const index_t skipped = start < 0 ? (-start + w.dilation - 1) / w.dilation : 0;
  const index_t first = start + skipped * w.dilation;
  if (skipped >= w.kernel || first >= extent) return {0, 0};
  const index_t fit = (extent - first + w.dilation - 1) / w.dilation;
  return {first, fit < w.kernel - skipped ? fit : w.kernel - skipped};
}

// The elements of one window that are within the padded axis; no dilation.
constexpr index_t padded_count(index_t window, index_t extent, const WindowAxis& w) {
  const index_t left = extent + w.begin + w.end - window * w.stride;
  return left < w.kernel ? left : w.kernel;
}

}  // namespace detail
}  // namespace tessera

#endif  // TESSERA_CORE_WINDOW_H_
