// SPDX-License-Identifier: Apache-2.0
// pad: a tensor with more elements around it.
#ifndef TESSERA_OPS_PAD_H_
#define TESSERA_OPS_PAD_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ref/pad.h"

namespace tessera::inline TESSERA_ABI {

template <int Rank>
struct PadOptions {
  std::array<index_t, 2 * Rank> padding{};  // before each axis, then behind each
  PadMode mode = PadMode::kConstant;
  float value = 0;  // of kConstant
  Context* context = nullptr;
};

namespace impl {

template <class T, int Rank>
void check_pad(const View<const T, Rank>& x, const View<T, Rank>& y, const PadOptions<Rank>& o) {
  constexpr const char* kName = "pad";
  const TensorMemory mx = tensor_memory(x), my = tensor_memory(y);
  check_input_and_result(kName, mx, my);
  std::array<index_t, kMostAxes> expected = mx.extents;
  for (int i = 0; i < Rank; ++i) {
    const index_t before = o.padding[i], behind = o.padding[Rank + i];
    const bool reflects = o.mode == PadMode::kReflect;
    if (before < 0 || behind < 0 ||
        (reflects && std::max(before, behind) > std::max<index_t>(x.extent(i) - 1, 0))) {
      fail(kName, "options.padding",
           reflects
               ? "at least 0 and less than the extents " + tessera::detail::to_string(x.extents)
               : "at least 0",
           tessera::detail::to_string(o.padding));
    }
    if (__builtin_add_overflow(expected[i], before, &expected[i]) ||
        __builtin_add_overflow(expected[i], behind, &expected[i])) {
      fail(kName, "options.padding", "sizes within the address space",
           tessera::detail::to_string(o.padding));
    }
  }
  check_result_extents(kName, my, expected, ", those of the padded x");
  if (!my.is_empty() && mx.is_empty() && o.mode != PadMode::kConstant) {
    fail(kName, "x", "at least one element", "extents " + text_of(mx.extents, Rank));
  }
  if constexpr (std::is_integral_v<T>) {
    const bool fits = o.value >= static_cast<float>(std::numeric_limits<T>::min()) &&
                      o.value <= static_cast<float>(std::numeric_limits<T>::max()) &&
                      o.value == static_cast<float>(static_cast<std::int32_t>(o.value));
    if (!fits) {
      fail(kName, "options.value",
           "an integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
               std::to_string(std::numeric_limits<T>::max()),
           std::to_string(o.value));
    }
  }
}

// One row of y along the last axis, from the row of x that it copies, or of the constant alone.
template <class T>
void pad_row(const T* from, index_t from_stride, index_t extent, T* to, index_t to_stride,
             index_t count, index_t before, PadMode mode, T value) {
  const auto fill = [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) to[i * to_stride] = value;
  };
  if (from == nullptr) return fill(0, count);
  const auto outside = [&](index_t begin, index_t end) {
    if (mode == PadMode::kConstant) return fill(begin, end);
    for (index_t i = begin; i < end; ++i) {
      to[i * to_stride] = from[ref::padded_index(i, extent, before, mode) * from_stride];
    }
  };
  outside(0, before);
  if (from_stride == 1 && to_stride == 1) {
    std::copy_n(from, extent, to + before);
  } else {
    for (index_t i = 0; i < extent; ++i) to[(before + i) * to_stride] = from[i * from_stride];
  }
  outside(before + extent, count);
}

}  // namespace impl

// y = x with options.padding[i] elements before axis i and options.padding[rank + i] behind it; see PadMode for which.
//
// x: View<const T, Rank>  of up to five axes, any strides
// y: View<T, Rank>        extents of x and the padding, strides that visit no element twice; fast where the last is 1
// T: f32, bf16, f16, s8, u8
// options.value is rounded to T: of quantized tensors give the zero point. kReflect does not repeat the last element.
//
// Rows of y are shared out to the context's executor. Empty results do nothing.
//
// Errors (tessera::Error, before anything is written): padding that is negative, or of kReflect not less than the extent,
// y of other extents, an empty x of kReflect and kEdge, a value that integers of T do not have, negative extents, null
// data, sizes that overflow, y that overlaps itself or x.
template <class X, class T, int Rank>
void pad(const X& x, const View<T, Rank>& y, const PadOptions<Rank>& options) {
  static_assert(impl::kIsImageType<T>, "tessera::pad: elements must be f32, bf16, f16, s8 or u8");
  static_assert(Rank >= 1 && Rank <= 5, "tessera::pad: tensors have one to five axes");
  static_assert(std::is_convertible_v<const X&, View<const T, Rank>>,
                "tessera::pad: x must be a view of as many axes as y, and of its element type");
  const View<const T, Rank> from = x;
  impl::check_pad(from, y, options);
  index_t rows = 1;
  for (int axis = 0; axis + 1 < Rank; ++axis) rows *= y.extent(axis);
  if (rows == 0 || y.extent(Rank - 1) == 0) return;
  const auto value = static_cast<T>(options.value);
  constexpr int kLast = Rank - 1;
  const bool is_empty = impl::tensor_memory(from).is_empty();
  const impl::RowRuns runs(options.context, rows, y.extent(kLast));
  runs.run_together([&](index_t first, index_t count, index_t) {
    std::array<index_t, Rank> at{};  // of a row, which the next one is counted up from
    for (int axis = kLast; axis-- > 0; first /= y.extent(axis)) at[axis] = first % y.extent(axis);
    for (; count > 0; --count) {
      const T* source = is_empty ? nullptr : from.data;
      T* to = y.data;
      for (int axis = 0; axis < kLast; ++axis) {
        to += at[axis] * y.stride(axis);
        const index_t index =
            ref::padded_index(at[axis], from.extent(axis), options.padding[axis], options.mode);
        source = index < 0 || source == nullptr ? nullptr : source + index * from.stride(axis);
      }
      impl::pad_row(source, from.stride(kLast), from.extent(kLast), to, y.stride(kLast),
                    y.extent(kLast), options.padding[kLast], options.mode, value);
      for (int axis = kLast; axis-- > 0;) {
        if (++at[axis] < y.extent(axis)) break;
        at[axis] = 0;
      }
    }
  });
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_PAD_H_
