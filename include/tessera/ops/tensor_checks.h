// SPDX-License-Identifier: Apache-2.0
// The memory of tensors of up to five axes: extents, null pointers, sizes that overflow, and overlap, all checked in
// constant time.
#ifndef TESSERA_OPS_TENSOR_CHECKS_H_
#define TESSERA_OPS_TENSOR_CHECKS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/ops/memory_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline constexpr int kMostAxes = 5;

// The element types of pooling, resizing and padding.
template <class T>
inline constexpr bool kIsImageType =
    std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, f16> ||
    std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t>;

// A view of anything mdspan-like.
template <class X>
constexpr auto as_view(const X& x) {
  return View(x);
}
template <class T, int Rank>
constexpr View<T, Rank> as_view(const View<T, Rank>& x) {
  return x;
}

// A tensor as its memory. Axes from `rank` on have extent 1.
struct TensorMemory {
  const void* data = nullptr;
  DType dtype{};
  int rank = 0;
  std::array<index_t, kMostAxes> extents{}, strides{};

  bool is_empty() const { return std::find(extents.begin(), extents.end(), 0) != extents.end(); }
};

// The values of an array and then `rest`, each written once: calls of few elements are mostly such work.
template <std::size_t N>
constexpr std::array<index_t, kMostAxes> padded_axes(const std::array<index_t, N>& values,
                                                     index_t rest) {
  static_assert(N <= kMostAxes);
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<index_t, kMostAxes>{(I < N ? values[std::min(I, N - 1)] : rest)...};
  }(std::make_index_sequence<kMostAxes>());
}

template <class T, int Rank>
TensorMemory tensor_memory(const View<T, Rank>& v) {
  return {v.data, DTypeTraits<std::remove_const_t<T>>::kDType, Rank, padded_axes(v.extents, 1),
          padded_axes(v.strides, 0)};
}

// The first `count` values, as text_of() of an array of that many.
template <std::size_t N>
std::string text_of(const std::array<index_t, N>& values, int count) {
  std::string text = "{";
  for (int i = 0; i < count; ++i) text.append(i > 0 ? ", " : "").append(std::to_string(values[i]));
  return text.append("}");
}

// Extents, null, overflow. Returns the addresses touched: none for an empty tensor.
inline AddressRange check_tensor(const char* function, const char* argument,
                                 const TensorMemory& t) {
  const auto extents = [&t] { return text_of(t.extents, t.rank); };
  index_t least = 1;
  for (const index_t extent : t.extents) least = std::min(least, extent);
  if (least < 0) fail(function, argument, "extents of at least 0", extents());
  if (least == 0) return {};
  if (t.data == nullptr) {
    fail(function, argument, "data for extents " + extents(), "a null pointer");
  }
  const index_t size = size_of(t.dtype);
  index_t low = 0, high = 0, elements = 8;  // sums may be wider than the elements: eight bytes
  bool overflows = false;
  for (int axis = 0; axis < t.rank; ++axis) {
    index_t reach = 0;
    overflows |= __builtin_mul_overflow(t.extents[axis] - 1, t.strides[axis], &reach) ||
                 __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high) ||
                 __builtin_mul_overflow(elements, t.extents[axis], &elements);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(t.data);
  AddressRange range;
  if (overflows || __builtin_mul_overflow(low, size, &low) ||
      __builtin_add_overflow(high, 1, &high) || __builtin_mul_overflow(high, size, &high) ||
      __builtin_add_overflow(address, low, &range.begin) ||
      __builtin_add_overflow(address, high, &range.end)) {
    fail(function, argument, "sizes within the address space",
         "extents " + extents() + ", strides " + text_of(t.strides, t.rank));
  }
  return range;
}

// True if each stride is larger than all that the axes of smaller strides reach: of dense tensors, their slices and
// permutations, no element is visited twice.
inline bool is_nested(const TensorMemory& t) {
  std::array<int, kMostAxes> order{};
  std::iota(order.begin(), order.end(), 0);
  // No standard sort: g++ 12 warns of its bounds where it inlines it.
  for (int i = 1; i < kMostAxes; ++i) {
    for (int j = i; j > 0 && std::abs(t.strides[order[j]]) < std::abs(t.strides[order[j - 1]]);
         --j) {
      std::swap(order[j], order[j - 1]);
    }
  }
  index_t reach = 0;
  for (const int axis : order) {
    if (t.extents[axis] <= 1) continue;
    if (std::abs(t.strides[axis]) <= reach) return false;
    reach += (t.extents[axis] - 1) * std::abs(t.strides[axis]);
  }
  return true;
}

// Conservative where ranges intersect, but exact for slices of the last axis of one tensor, such as the branches
// of a network that write side by side.
inline bool overlap(const TensorMemory& x, const AddressRange& x_range, const TensorMemory& y,
                    const AddressRange& y_range) {
  if (!x_range.meets(y_range)) return false;
  if (x.dtype != y.dtype) return true;
  index_t pitch = 0;  // of the memory between one run of elements and the next
  for (const TensorMemory* t : {&x, &y}) {
    const int last = t->rank - 1;
    if (t->extents[last] > 1 && t->strides[last] != 1) return true;
    for (int axis = 0; axis < last; ++axis) {
      if (t->extents[axis] > 1) pitch = std::gcd(pitch, std::abs(t->strides[axis]));
    }
  }
  const index_t size = size_of(x.dtype), nx = x.extents[x.rank - 1], ny = y.extents[y.rank - 1];
  const auto distance = static_cast<std::intptr_t>(reinterpret_cast<std::uintptr_t>(x.data)) -
                        static_cast<std::intptr_t>(reinterpret_cast<std::uintptr_t>(y.data));
  if (pitch == 0 || nx > pitch || ny > pitch || distance % size != 0) return true;
  index_t column = distance / size % pitch;  // of x, where y starts at 0
  if (column < 0) column += pitch;
  return column < ny || column + nx > pitch;
}

// The same elements, in the same memory: an operation in place.
inline bool is_same_memory(const TensorMemory& x, const TensorMemory& y) {
  return x.data == y.data && x.dtype == y.dtype && x.extents == y.extents && x.strides == y.strides;
}

// By reference, as tensors are some size: one that is a temporary must not outlive it.
struct NamedTensor {
  const char* name;
  const TensorMemory& memory;
};

// A result has each element once.
inline void check_nested(const char* function, const NamedTensor& y) {
  const TensorMemory& t = y.memory;
  if (t.is_empty() || is_nested(t)) return;
  fail(function, y.name,
       "strides that visit each element once, each beyond the reach of the smaller",
       "extents " + text_of(t.extents, t.rank) + ", strides " + text_of(t.strides, t.rank));
}

// A result does not overlap another tensor; their addresses are what check_tensor() says. in_place: the two may be the very
// same memory.
inline void check_apart(const char* function, const NamedTensor& y, const AddressRange& y_range,
                        const NamedTensor& x, const AddressRange& x_range, bool in_place = false) {
  if (!x_range.meets(y_range)) return;
  if (in_place && is_same_memory(x.memory, y.memory)) return;
  if (!overlap(x.memory, x_range, y.memory, y_range)) return;
  std::string expected = "memory that does not overlap ";
  expected.append(x.name);
  if (in_place) expected.append(", or is the same");
  fail(function, y.name, expected, "an overlapping view");
}
inline void check_apart(const char* function, const NamedTensor& y, const NamedTensor& x,
                        bool in_place = false) {
  check_apart(function, y, check_tensor(function, y.name, y.memory), x,
              check_tensor(function, x.name, x.memory), in_place);
}

// An input and a result: of each all of the above.
inline void check_input_and_result(const char* function, const TensorMemory& x,
                                   const TensorMemory& y) {
  check_tensor(function, "x", x);
  check_tensor(function, "y", y);
  check_nested(function, {"y", y});
  check_apart(function, {"y", y}, {"x", x});
}

// A result has these extents, which `why` explains.
inline void check_result_extents(const char* function, const TensorMemory& y,
                                 const std::array<index_t, kMostAxes>& expected, const char* why) {
  if (y.extents == expected) return;
  fail(function, "y", "extents " + text_of(expected, y.rank) + why, text_of(y.extents, y.rank));
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_TENSOR_CHECKS_H_
