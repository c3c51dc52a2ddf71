// SPDX-License-Identifier: Apache-2.0
// What permute.h does: checks, the fewest axes that say the same, and planes shared by the threads.
#ifndef TESSERA_OPS_PERMUTE_DRIVER_H_
#define TESSERA_OPS_PERMUTE_DRIVER_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/ops/permute.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_permute(const PermuteProblem& p) {
  check_tensor(p.function, "x", p.x);
  std::array<int, kMostAxes> sorted = p.axes;
  std::sort(sorted.begin(), sorted.end());
  for (int i = 0; i < kMostAxes; ++i) {
    if (sorted[static_cast<std::size_t>(i)] == i) continue;
    std::array<index_t, kMostAxes> axes{};
    std::copy(p.axes.begin(), p.axes.end(), axes.begin());
    fail(p.function, "axes", "each of 0 to " + std::to_string(p.x.rank - 1) + " once",
         text_of(axes, p.x.rank));
  }
  std::array<index_t, kMostAxes> extents{};
  for (std::size_t i = 0; i < extents.size(); ++i) {
    extents[i] = p.x.extents[static_cast<std::size_t>(p.axes[i])];
  }
  check_result_extents(p.function, p.y, extents, ", those of x in this order");
  check_tensor(p.function, "y", p.y);
  check_nested(p.function, {"y", p.y});
  check_apart(p.function, {"y", p.y}, {"x", p.x});
}

// The axes of a copy, of the largest steps in y first. Those of one element are left out, those that both tensors go
// through as one are one, and y is written upwards.
struct CopyAxes {
  struct Axis {
    index_t extent, x, y;  // strides
  };
  const std::byte* x;
  std::byte* y;
  index_t size;
  int count = 0;
  std::array<Axis, kMostAxes> axes{};

  explicit CopyAxes(const PermuteProblem& p)
      : x(static_cast<const std::byte*>(p.x.data)),
        y(static_cast<std::byte*>(const_cast<void*>(p.y.data))),
        size(size_of(p.x.dtype)) {
    for (std::size_t i = 0; i < axes.size(); ++i) {
      Axis axis{p.y.extents[i], p.x.strides[static_cast<std::size_t>(p.axes[i])], p.y.strides[i]};
      if (axis.extent == 1) continue;
      if (axis.y < 0) {
        x += (axis.extent - 1) * axis.x * size;
        y += (axis.extent - 1) * axis.y * size;
        axis.x = -axis.x;
        axis.y = -axis.y;
      }
      insert(axis);
    }
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      const Axis& axis = at(i);
      if (kept > 0 && at(kept - 1).x == axis.x * axis.extent &&
          at(kept - 1).y == axis.y * axis.extent) {
        at(kept - 1) = {at(kept - 1).extent * axis.extent, axis.x, axis.y};
      } else {
        at(kept++) = axis;
      }
    }
    count = kept;
    if (count == 0) at(count++) = {1, 1, 1};
  }

  Axis& at(int i) { return axes[static_cast<std::size_t>(i)]; }

  // Takes an axis out: the planes are what is left.
  Axis take(int i) {
    const Axis axis = at(i);
    for (--count; i < count; ++i) at(i) = at(i + 1);
    return axis;
  }
  index_t planes() const {
    index_t n = 1;
    for (int i = 0; i < count; ++i) n *= axes[static_cast<std::size_t>(i)].extent;
    return n;
  }
  // Where plane `index` starts.
  std::pair<const std::byte*, std::byte*> plane(index_t index) const {
    index_t from = 0, to = 0;
    for (int i = count; i-- > 0;) {
      const Axis& axis = axes[static_cast<std::size_t>(i)];
      from += index % axis.extent * axis.x;
      to += index % axis.extent * axis.y;
      index /= axis.extent;
    }
    return {x + from * size, y + to * size};
  }

 private:
  void insert(const Axis& axis) {
    int i = count++;
    for (; i > 0 && at(i - 1).y < axis.y; --i) at(i) = at(i - 1);
    at(i) = axis;
  }
};

template <class T>
void copy_strided(const std::byte* x, index_t x_stride, std::byte* y, index_t y_stride, index_t n) {
  const T* const from = reinterpret_cast<const T*>(x);
  T* const to = reinterpret_cast<T*>(y);
  for (index_t i = 0; i < n; ++i) to[i * y_stride] = from[i * x_stride];
}

inline void copy_row(const std::byte* x, index_t x_stride, std::byte* y, index_t y_stride,
                     index_t n, index_t size) {
  if (x_stride == 1 && y_stride == 1) {
    std::memcpy(y, x, static_cast<std::size_t>(n * size));
  } else if (size == 1) {
    copy_strided<std::uint8_t>(x, x_stride, y, y_stride, n);
  } else if (size == 2) {
    copy_strided<std::uint16_t>(x, x_stride, y, y_stride, n);
  } else if (size == 4) {
    copy_strided<std::uint32_t>(x, x_stride, y, y_stride, n);
  } else {
    copy_strided<std::uint64_t>(x, x_stride, y, y_stride, n);
  }
}

// Planes are cut into blocks of this many bytes of a row and of a column, which are in few pages and in L2.
inline constexpr index_t kTransposedBytes = 1024;

TESSERA_LIBRARY_FUNCTION void checked_permute(const PermuteProblem& p) {
  const auto& kernels = kernels_for<kTensorFamily>(p.function, p.context).tensor;
  check_permute(p);
  if (p.x.is_empty()) return;
  CopyAxes axes(p);
  const index_t size = axes.size;
  const CopyAxes::Axis last = axes.take(axes.count - 1);
  const auto first = axes.axes.begin();
  const auto side_by_side =
      std::find_if(first, first + axes.count, [](const auto& axis) { return axis.x == 1; });
  if (last.y == 1 && last.x > 1 && side_by_side != first + axes.count) {
    const CopyAxes::Axis cols = axes.take(static_cast<int>(side_by_side - first));
    const index_t side = kTransposedBytes / size;
    const index_t across = (cols.extent + side - 1) / side, down = (last.extent + side - 1) / side;
    const auto kernel = kernels.transpose[std::countr_zero(static_cast<unsigned>(size))];
    for_rows(p.context, axes.planes() * across * down,
             std::min(cols.extent, side) * std::min(last.extent, side), [&](index_t block) {
               const auto [x, y] = axes.plane(block / (across * down));
               const index_t i = block / across % down * side, j = block % across * side;
               kernel({x + (i * last.x + j) * size, y + (j * cols.y + i) * size, last.x, cols.y,
                       std::min(side, last.extent - i), std::min(side, cols.extent - j)});
             });
    return;
  }
  constexpr index_t kPiece = 1 << 16;
  const index_t pieces = (last.extent + kPiece - 1) / kPiece;
  for_rows(p.context, axes.planes() * pieces, std::min(last.extent, kPiece), [&](index_t i) {
    const auto [x, y] = axes.plane(i / pieces);
    const index_t j = i % pieces * kPiece;
    copy_row(x + j * last.x * size, last.x, y + j * last.y * size, last.y,
             std::min(kPiece, last.extent - j), size);
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_PERMUTE_DRIVER_H_
