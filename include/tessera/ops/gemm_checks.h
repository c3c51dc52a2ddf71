// SPDX-License-Identifier: Apache-2.0
// What gemm and pack accept at run time: extents, pointers, sizes, overlap and packed layouts, checked in
// constant time and before anything is written.
#ifndef TESSERA_OPS_GEMM_CHECKS_H_
#define TESSERA_OPS_GEMM_CHECKS_H_

#include <cstdint>
#include <numeric>
#include <string>
#include <type_traits>

#include "tessera/core/check.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm_problem.h"

namespace tessera::inline TESSERA_ABI::impl {

// The addresses [begin, end) that a view touches; fails where they don't fit the address space.
struct AddressRange {
  std::uintptr_t begin = 0, end = 0;
};

template <class T>
AddressRange address_range(const char* function, const char* argument, const View<T, 2>& v) {
  const auto overflow = [&]() {
    fail(function, argument, "sizes within the address space",
         "extents " + to_string(v.extents) + ", strides " + to_string(v.strides));
  };
  index_t low = 0, high = 0;  // offsets of the first and last element, in elements
  for (int axis = 0; axis < 2; ++axis) {
    index_t reach = 0;
    if (__builtin_mul_overflow(v.extents[axis] - 1, v.strides[axis], &reach) ||
        __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high)) {
      overflow();
    }
  }
  constexpr auto kSize = static_cast<index_t>(sizeof(T));
  index_t low_bytes = 0, high_bytes = 0, elements = 0;
  const auto address = reinterpret_cast<std::uintptr_t>(v.data);
  AddressRange range;
  if (__builtin_mul_overflow(low, kSize, &low_bytes) ||
      __builtin_add_overflow(high, 1, &high_bytes) ||
      __builtin_mul_overflow(high_bytes, kSize, &high_bytes) ||
      __builtin_mul_overflow(v.extents[0], v.extents[1], &elements) ||
      __builtin_mul_overflow(elements, kSize, &elements) ||
      __builtin_add_overflow(address, low_bytes, &range.begin) ||
      __builtin_add_overflow(address, high_bytes, &range.end)) {
    overflow();
  }
  return range;
}

// Extents, null, overflow. Returns the addresses touched: none for an empty view.
template <class T>
AddressRange check_input(const char* function, const char* argument, const View<T, 2>& v) {
  if (v.extents[0] < 0 || v.extents[1] < 0) {
    fail(function, argument, "extents of at least 0", to_string(v.extents));
  }
  if (v.extents[0] == 0 || v.extents[1] == 0) return {};
  if (v.data == nullptr) {
    fail(function, argument, "data for extents " + to_string(v.extents), "a null pointer");
  }
  return address_range(function, argument, v);
}

// Two index pairs of a rank-2 view meet iff di * s0 + dj * s1 = 0 has a solution within the extents.
template <class T>
bool overlaps_itself(const View<T, 2>& v) {
  const bool rows = v.extents[0] > 1, cols = v.extents[1] > 1;  // else the stride is never used
  if (!rows || !cols) return (rows && v.strides[0] == 0) || (cols && v.strides[1] == 0);
  const index_t s0 = std::abs(v.strides[0]), s1 = std::abs(v.strides[1]);
  if (s0 == 0 || s1 == 0) return true;
  const index_t divisor = std::gcd(s0, s1);
  return s1 / divisor < v.extents[0] && s0 / divisor < v.extents[1];
}

// Conservative where ranges intersect, but exact for blocks of one row-major or column-major matrix:
// columns of different blocks never meet.
template <class T>
bool overlap(const View<const T, 2>& x, const AddressRange& x_range, const View<T, 2>& y,
             const AddressRange& y_range) {
  if (x_range.end <= y_range.begin || y_range.end <= x_range.begin) return false;
  for (int inner = 0; inner < 2; ++inner) {
    const int outer = 1 - inner;
    const index_t pitch = y.strides[outer];
    if (x.strides[outer] != pitch || x.strides[inner] != 1 || y.strides[inner] != 1) continue;
    if (x.extents[inner] > pitch || y.extents[inner] > pitch) continue;
    const auto distance = static_cast<std::intptr_t>(reinterpret_cast<std::uintptr_t>(x.data)) -
                          static_cast<std::intptr_t>(reinterpret_cast<std::uintptr_t>(y.data));
    if (distance % static_cast<std::intptr_t>(sizeof(T)) != 0) continue;
    index_t column = distance / static_cast<std::intptr_t>(sizeof(T)) % pitch;
    if (column < 0) column += pitch;
    if (column >= y.extents[inner] && column + x.extents[inner] <= pitch) return false;
  }
  return true;
}

inline std::string matrix(index_t rows, index_t cols) {
  return std::to_string(rows) + " x " + std::to_string(cols);
}

template <class T, class PackedType>
void check_packed(const char* argument, const PackedType& packed, const KernelTable& kernels) {
  const PackedLayout& layout = packed.layout();
  if (packed.data() == nullptr && layout.rows != 0 && layout.cols != 0) {
    fail("gemm", argument, "a packed operand", "one that was moved from");
  }
  if (layout.target != kernels.target) {
    fail("gemm", argument, "an operand packed for " + std::string(name(kernels.target)),
         "one packed for " + std::string(name(layout.target)));
  }
}

template <class T>
void check_tuning(const char* function, const KernelTable& kernels, const Context* context) {
  if (context && context->gemm.tile >= kernels.gemm<T>().tile_count) {
    fail(function, "context.gemm.tile",
         "less than " + std::to_string(kernels.gemm<T>().tile_count) + " (the tiles of " +
             std::string(name(kernels.target)) + ")",
         std::to_string(context->gemm.tile));
  }
}

template <class T>
void check_gemm(const GemmProblem<T>& p, const Extents& a, const Extents& b,
                const KernelTable& kernels, const Context* context) {
  const View<T, 2> c(p.c, {p.m, p.n}, {p.c_row_stride, p.c_col_stride});
  const View<const T, 2> a_view(p.a.data, a, {p.a.row_stride, p.a.col_stride});
  const View<const T, 2> b_view(p.b.data, b, {p.b.row_stride, p.b.col_stride});
  AddressRange a_range, b_range;
  if (p.packed_a) {
    check_packed<T>("a", *p.packed_a, kernels);
  } else {
    a_range = check_input("gemm", "a", a_view);
  }
  if (p.packed_b) {
    check_packed<T>("b", *p.packed_b, kernels);
  } else {
    b_range = check_input("gemm", "b", b_view);
  }
  const AddressRange c_range = check_input("gemm", "c", c);
  if (b[0] != a[1]) {
    fail("gemm", "b", std::to_string(a[1]) + " rows (the columns of a)", std::to_string(b[0]));
  }
  if (p.m != a[0]) {
    fail("gemm", "c", std::to_string(a[0]) + " rows (the rows of a)", std::to_string(p.m));
  }
  if (p.n != b[1]) {
    fail("gemm", "c", std::to_string(b[1]) + " columns (the columns of b)", std::to_string(p.n));
  }
  if (p.packed_a && p.packed_b &&
      (p.packed_a->layout().tile != p.packed_b->layout().tile ||
       p.packed_a->layout().kc != p.packed_b->layout().kc)) {
    const auto text = [](const PackedLayout& l) {
      return "tile " + std::to_string(l.tile) + ", K blocks of " + std::to_string(l.kc);
    };
    fail("gemm", "b", "the packing of a: " + text(p.packed_a->layout()),
         text(p.packed_b->layout()));
  }
  check_tuning<T>("gemm", kernels, context);
  if (p.m == 0 || p.n == 0) return;
  if (overlaps_itself(c)) {
    fail("gemm", "c", "strides that visit each element once",
         "extents " + to_string(c.extents) + ", strides " + to_string(c.strides));
  }
  if (!p.packed_a && overlap(a_view, a_range, c, c_range)) {
    fail("gemm", "c", "memory that does not overlap a", "an overlapping view");
  }
  if (!p.packed_b && overlap(b_view, b_range, c, c_range)) {
    fail("gemm", "c", "memory that does not overlap b", "an overlapping view");
  }
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_GEMM_CHECKS_H_
