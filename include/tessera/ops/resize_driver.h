// SPDX-License-Identifier: Apache-2.0
// What resize.h does: checks, tables of columns, and rows shared by the threads.
#ifndef TESSERA_OPS_RESIZE_DRIVER_H_
#define TESSERA_OPS_RESIZE_DRIVER_H_

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>

#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/resize.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ref/resize.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_resize(const char* function, const TensorMemory& x, const TensorMemory& y) {
  check_input_and_result(function, x, y);
  std::array<index_t, kMostAxes> expected = y.extents;
  expected[0] = x.extents[0];
  expected[3] = x.extents[3];
  check_result_extents(function, y, expected, ": n and c of x");
  if (!y.is_empty() && x.is_empty()) {
    fail(function, "x", "at least one pixel", "extents " + text_of(x.extents, x.rank));
  }
  for (const TensorMemory* t : {&x, &y}) {
    for (int axis = 1; axis < 3; ++axis) {
      if (t->extents[axis] > index_t{1} << 30) {  // coordinates are fractions of 64 bits
        fail(function, t == &x ? "x" : "y", "at most 2^30 rows and columns",
             "extents " + text_of(t->extents, t->rank));
      }
    }
  }
}

// f(image, row) for each row of y, by the threads of the context.
template <class F>
void for_image_rows(const TensorMemory& y, const Context* context, F f) {
  for_rows(context, y.extents[0] * y.extents[1], y.extents[2] * y.extents[3],
           [&](index_t i) { f(i / y.extents[1], i % y.extents[1]); });
}

// Element (n, h, 0, 0).
inline char* row_of(const TensorMemory& t, index_t n, index_t h) {
  return static_cast<char*>(const_cast<void*>(t.data)) +
         (n * t.strides[0] + h * t.strides[1]) * size_of(t.dtype);
}

inline Scratch& scratch_of(Context* context) {
  return context != nullptr ? context->scratch : detail::thread_scratch();
}

TESSERA_LIBRARY_FUNCTION void checked_resize_nearest(const TensorMemory& x, const TensorMemory& y,
                                                     const ResizeNearestOptions& options) {
  constexpr const char* kName = "resize_nearest2d";
  check_resize(kName, x, y);
  if (y.is_empty()) return;
  const index_t size = size_of(x.dtype), width = y.extents[2], channels = y.extents[3];
  auto* const columns = reinterpret_cast<index_t*>(
      scratch_of(options.context)
          .reserve(static_cast<std::size_t>(width) * sizeof(index_t), kName));
  for (index_t w = 0; w < width; ++w) {  // offsets in bytes
    columns[w] = ref::nearest_pixel(w, x.extents[2], width, options.coordinates, options.nearest) *
                 x.strides[2] * size;
  }
  const bool contiguous = channels == 1 || (x.strides[3] == 1 && y.strides[3] == 1);
  const index_t bytes = channels * size, y_step = y.strides[2] * size;
  const auto copy_row = [&](const char* from, char* to, auto copy) {
    for (index_t w = 0; w < width; ++w) copy(from + columns[w], to + w * y_step);
  };
  for_image_rows(y, options.context, [&](index_t n, index_t h) {
    const char* from = row_of(
        x, n,
        ref::nearest_pixel(h, x.extents[1], y.extents[1], options.coordinates, options.nearest));
    char* to = row_of(y, n, h);
    if (!contiguous) {
      // Channel by channel: rows are contiguous more often than not.
      for (index_t c = 0; c < channels; ++c) {
        const char* channel = from + c * x.strides[3] * size;
        char* result = to + c * y.strides[3] * size;
        if (size == 1) {
          copy_row(channel, result, [](const char* p, char* q) { *q = *p; });
        } else if (size == 2) {
          copy_row(channel, result, [](const char* p, char* q) { std::memcpy(q, p, 2); });
        } else {
          copy_row(channel, result, [](const char* p, char* q) { std::memcpy(q, p, 4); });
        }
      }
    } else if (bytes == 3) {
      copy_row(from, to, [](const char* p, char* q) { std::memcpy(q, p, 3); });
    } else if (bytes == 4) {
      copy_row(from, to, [](const char* p, char* q) { std::memcpy(q, p, 4); });
    } else if (bytes == 12) {
      copy_row(from, to, [](const char* p, char* q) { std::memcpy(q, p, 12); });
    } else {
      copy_row(from, to, [bytes](const char* p, char* q) {
        std::memcpy(q, p, static_cast<std::size_t>(bytes));
      });
    }
  });
}

// Any strides, channel by channel: rows are contiguous more often than not. The operations are those of the kernels.
template <class T>
void bilinear_row(const TensorMemory& x, const TensorMemory& y,
                  const tessera::detail::BilinearRow& row) {
  const auto* const top = static_cast<const T*>(row.top);
  const auto* const bottom = static_cast<const T*>(row.bottom);
  auto* const to = static_cast<T*>(row.y);
  for (index_t c = 0; c < row.channels; ++c) {
    const index_t offset = c * x.strides[3];
    for (index_t w = 0; w < row.pixels; ++w) {
      const index_t left = offset + row.left[w], right = offset + row.right[w];
      const auto between = [&](const T* from) {
        return ref::interpolate(static_cast<float>(from[left]), static_cast<float>(from[right]),
                                row.weights[w]);
      };
      float result = between(top);
      if (row.weight != 0) result = ref::interpolate(result, between(bottom), row.weight);
      T& element = to[w * y.strides[2] + c * y.strides[3]];
      if constexpr (std::is_integral_v<T>) {
        element = static_cast<T>(std::nearbyint(result));
      } else {
        element = static_cast<T>(result);
      }
    }
  }
}

TESSERA_LIBRARY_FUNCTION void checked_resize_bilinear(const TensorMemory& x, const TensorMemory& y,
                                                      const ResizeBilinearOptions& options) {
  constexpr const char* kName = "resize_bilinear2d";
  const auto kernel = kernels_for<kImageFamily>(kName, options.context).image.of(x.dtype).bilinear;
  check_resize(kName, x, y);
  if (y.is_empty()) return;
  const auto width = static_cast<std::size_t>(y.extents[2]);
  auto* const left = reinterpret_cast<index_t*>(
      scratch_of(options.context).reserve(width * (2 * sizeof(index_t) + sizeof(float)), kName));
  index_t* const right = left + width;
  auto* const weights = reinterpret_cast<float*>(right + width);
  for (std::size_t w = 0; w < width; ++w) {
    const ref::Between at =
        ref::between(static_cast<index_t>(w), x.extents[2], y.extents[2], options.coordinates);
    left[w] = at.first * x.strides[2];
    right[w] = at.second * x.strides[2];
    weights[w] = at.weight;
  }
  const bool contiguous = x.strides[3] == 1 && y.strides[3] == 1;
  for_image_rows(y, options.context, [&](index_t n, index_t h) {
    const ref::Between at = ref::between(h, x.extents[1], y.extents[1], options.coordinates);
    const tessera::detail::BilinearRow row = {.top = row_of(x, n, at.first),
                                              .bottom = row_of(x, n, at.second),
                                              .weight = at.weight,
                                              .left = left,
                                              .right = right,
                                              .weights = weights,
                                              .pixels = y.extents[2],
                                              .y = row_of(y, n, h),
                                              .y_step = y.strides[2],
                                              .channels = y.extents[3]};
    if (contiguous) return kernel(row);
    visit(x.dtype, [&]<class T>(DTypeTraits<T>) {
      if constexpr (kIsImageType<T>) bilinear_row<T>(x, y, row);
    });
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_RESIZE_DRIVER_H_
