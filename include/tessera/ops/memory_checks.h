// SPDX-License-Identifier: Apache-2.0
// The memory of matrices: extents, null pointers, sizes that overflow, and overlap, all checked in constant
// time.
#ifndef TESSERA_OPS_MEMORY_CHECKS_H_
#define TESSERA_OPS_MEMORY_CHECKS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <span>
#include <string>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::inline TESSERA_ABI::impl {

using namespace tessera::detail;  // NOLINT: this is the implementation's own namespace

using Extents = std::array<index_t, 2>;

inline const std::byte* offset(const void* p, index_t bytes) {
  return static_cast<const std::byte*>(p) + bytes;
}

inline std::string dtype_name(DType type) {
  return visit(type, [](auto traits) { return std::string(decltype(traits)::kName); });
}

// A matrix as its memory.
struct MemoryView {
  const void* data;
  DType dtype;
  Extents extents, strides;
};

// The addresses [begin, end) that a view touches; fails where they don't fit the address space.
struct AddressRange {
  std::uintptr_t begin = 0, end = 0;

  bool meets(const AddressRange& other) const { return begin < other.end && other.begin < end; }
};

inline AddressRange address_range(const char* function, const char* argument, const MemoryView& v) {
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
  const index_t size = size_of(v.dtype);
  index_t low_bytes = 0, high_bytes = 0, elements = 0;
  const auto address = reinterpret_cast<std::uintptr_t>(v.data);
  AddressRange range;
  // Sums and packed copies may be wider than the elements: eight bytes at most.
  if (__builtin_mul_overflow(low, size, &low_bytes) ||
      __builtin_add_overflow(high, 1, &high_bytes) ||
      __builtin_mul_overflow(high_bytes, size, &high_bytes) ||
      __builtin_mul_overflow(v.extents[0], v.extents[1], &elements) ||
      __builtin_mul_overflow(elements, index_t{8}, &elements) ||
      __builtin_add_overflow(address, low_bytes, &range.begin) ||
      __builtin_add_overflow(address, high_bytes, &range.end)) {
    overflow();
  }
  return range;
}

// Extents, null, overflow. Returns the addresses touched: none for an empty view.
inline AddressRange check_memory(const char* function, const char* argument, const MemoryView& v) {
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
inline bool overlaps_itself(const MemoryView& v) {
  const bool rows = v.extents[0] > 1, cols = v.extents[1] > 1;  // else the stride is never used
  if (!rows || !cols) return (rows && v.strides[0] == 0) || (cols && v.strides[1] == 0);
  const index_t s0 = std::abs(v.strides[0]), s1 = std::abs(v.strides[1]);
  if (s0 == 0 || s1 == 0) return true;
  const index_t divisor = std::gcd(s0, s1);
  return s1 / divisor < v.extents[0] && s0 / divisor < v.extents[1];
}

// Whether elements of x and y may be the same, for x and y whose lines of contiguous elements are the same distance apart.
inline bool lines_meet(const MemoryView& x, const MemoryView& y) {
  for (int inner = 0; inner < 2; ++inner) {
    const int outer = 1 - inner;
    const index_t pitch = y.strides[outer], size = size_of(x.dtype);
    if (x.strides[outer] != pitch || x.strides[inner] != 1 || y.strides[inner] != 1) continue;
    if (x.extents[inner] > pitch || y.extents[inner] > pitch) continue;
    const auto distance = static_cast<std::intptr_t>(reinterpret_cast<std::uintptr_t>(x.data)) -
                          static_cast<std::intptr_t>(reinterpret_cast<std::uintptr_t>(y.data));
    if (distance % size != 0) continue;
    index_t column = distance / size % pitch;
    if (column < 0) column += pitch;
    if (column >= y.extents[inner] && column + x.extents[inner] <= pitch) return false;
  }
  return true;
}

// Conservative where ranges intersect, but exact for blocks of one row-major or column-major matrix, transposed or not:
// columns of different blocks never meet.
inline bool overlap(const MemoryView& x, const AddressRange& x_range, const MemoryView& y,
                    const AddressRange& y_range) {
  if (!x_range.meets(y_range)) return false;
  if (x.dtype != y.dtype) return true;
  const MemoryView x_transposed{
      x.data, x.dtype, {x.extents[1], x.extents[0]}, {x.strides[1], x.strides[0]}};
  return lines_meet(x, y) && lines_meet(x_transposed, y);
}

// A piece of memory that an argument refers to.
struct NamedMemory {
  std::string name;
  MemoryView view;
  bool written = false;
  AddressRange range{};
};

// Rows of contiguous elements as rows of bytes, so that arrays of other types can be seen to lie between them.
inline MemoryView as_bytes(const MemoryView& v) {
  if (v.extents[1] > 1 && v.strides[1] != 1) return v;
  const index_t size = size_of(v.dtype);
  return {v.data, DType::kU8, {v.extents[0], v.extents[1] * size}, {v.strides[0] * size, 1}};
}

// Null, overflow, and what is written must be apart from everything else. Fills in the ranges.
inline void check_memory(const char* function, std::span<NamedMemory> memory) {
  for (NamedMemory& m : memory) m.range = check_memory(function, m.name.c_str(), m.view);
  for (const NamedMemory& m : memory) {
    if (m.written && m.range.begin != m.range.end && overlaps_itself(m.view)) {
      fail(function, m.name, "strides that visit each element once",
           "extents " + to_string(m.view.extents) + ", strides " + to_string(m.view.strides));
    }
    for (const NamedMemory& other : memory) {
      if (&other != &m && m.written &&
          overlap(as_bytes(other.view), other.range, as_bytes(m.view), m.range)) {
        fail(function, m.name, "memory that does not overlap " + other.name, "an overlapping view");
      }
    }
  }
}

inline void check_extents(const char* function, const std::string& name,
                          const std::string& other_name, const Extents& extents,
                          const Extents& other) {
  if (extents == other) return;
  fail(function, name, "extents " + to_string(other) + ", those of " + other_name,
       to_string(extents));
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_MEMORY_CHECKS_H_
