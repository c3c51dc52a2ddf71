// SPDX-License-Identifier: Apache-2.0
// Matrices for tests: any layout, in guarded memory, every byte that is not an element poisoned.
#ifndef TESSERA_TEST_MATRIX_H_
#define TESSERA_TEST_MATRIX_H_

#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "guarded.h"
#include "random.h"
#include "tessera/core/view.h"

namespace tessera::test {

enum class Layout {
  kRowMajor,
  kColMajor,
  kRowsApart,     // rows of unit stride, a gap between them
  kColsApart,     // columns of unit stride, a gap between them
  kStrided,       // no unit stride, rows apart
  kStridedCols,   // no unit stride, columns apart
  kReversedRows,  // negative strides
  kReversedCols,
  kReversedBoth,
  kReversedColMajor,
  kSameRow,  // stride 0: one row, m times; inputs only, like those below
  kSameCol,
  kSameElement,
};

inline constexpr std::array kInputLayouts = {
    Layout::kRowMajor,     Layout::kColMajor,         Layout::kRowsApart,    Layout::kColsApart,
    Layout::kStrided,      Layout::kStridedCols,      Layout::kReversedRows, Layout::kReversedCols,
    Layout::kReversedBoth, Layout::kReversedColMajor, Layout::kSameRow,      Layout::kSameCol,
    Layout::kSameElement};
inline constexpr std::span<const Layout> kOutputLayouts{kInputLayouts.data(), 10};

inline std::array<index_t, 2> strides_of(Layout layout, index_t m, index_t n) {
  switch (layout) {
    case Layout::kRowMajor:
      return {n, 1};
    case Layout::kColMajor:
      return {1, m};
    case Layout::kRowsApart:
      return {n + 3, 1};
    case Layout::kColsApart:
      return {1, m + 5};
    case Layout::kStrided:
      return {3 * n + 1, 3};
    case Layout::kStridedCols:
      return {2, 2 * m + 3};
    case Layout::kReversedRows:
      return {-(n + 2), 1};
    case Layout::kReversedCols:
      return {n, -1};
    case Layout::kReversedBoth:
      return {-n, -1};
    case Layout::kReversedColMajor:
      return {1, -(m + 1)};
    case Layout::kSameRow:
      return {0, 1};
    case Layout::kSameCol:
      return {1, 0};
    case Layout::kSameElement:
      return {0, 0};
  }
  return {};
}

template <class T>
double as_double(T x) {
  if constexpr (sizeof(T) == 2) {
    return static_cast<float>(x);  // bf16, f16 convert explicitly
  } else {
    return static_cast<double>(x);
  }
}

// Equal bits; of NaNs, whose sign and payload IEEE 754 leaves open, any equals any.
template <class T>
bool same(T x, T y) {
  if (as_double(x) != as_double(x) && as_double(y) != as_double(y)) return true;
  return std::memcmp(&x, &y, sizeof(T)) == 0;
}

template <class T>
std::string show(T x) {
  char text[48];
  std::snprintf(text, sizeof text, "%a (%.9g)", as_double(x), as_double(x));
  return text;
}

// A matrix in guarded memory: the memory spans from its first to its last element exactly.
template <class T>
class Matrix {
 public:
  Matrix(GuardedMemory& memory, index_t rows, index_t cols, Layout layout, Edge edge)
      : memory_(memory) {
    const auto strides = strides_of(layout, rows, cols);
    index_t low = 0, high = 0;
    for (const auto& [extent, stride] :
         {std::pair{rows, strides[0]}, std::pair{cols, strides[1]}}) {
      (stride < 0 ? low : high) += extent > 0 ? (extent - 1) * stride : 0;
    }
    size_ = rows > 0 && cols > 0 ? static_cast<std::size_t>(high - low + 1) : 0;
    start_ = memory.place<T>(size_, edge);
    view_ = View<T, 2>(start_ - low, {rows, cols}, strides);
  }

  const View<T, 2>& view() const { return view_; }
  View<const T, 2> read_only() const { return view_; }

  // All elements anew.
  void fill(Random& random, Values values) {
    for (index_t i = 0; i < view_.extent(0); ++i) {
      for (index_t j = 0; j < view_.extent(1); ++j) view_(i, j) = random.value<T>(values);
    }
  }

  // A copy of elements and gaps, and a view of it like the one of this matrix.
  std::vector<T> copy() const { return {start_, start_ + size_}; }
  View<T, 2> view_of(std::vector<T>& copy) const {
    return {copy.data() + (view_.data - start_), view_.extents, view_.strides};
  }

  // Every element is the same as in `expected` (a copy), every gap and the margins are untouched.
  // Otherwise a sentence.
  std::string difference(std::vector<T>& expected) const {
    if (!memory_.margin_intact()) return "it wrote next to the matrix";
    if (size_ == 0 || std::memcmp(start_, expected.data(), size_ * sizeof(T)) == 0) return "";
    const View<T, 2> want = view_of(expected);
    for (index_t i = 0; i < view_.extent(0); ++i) {
      for (index_t j = 0; j < view_.extent(1); ++j) {
        if (!same(view_(i, j), want(i, j))) {
          return "c(" + std::to_string(i) + ", " + std::to_string(j) + ") is " + show(view_(i, j)) +
                 ", expected " + show(want(i, j));
        }
        want(i, j) = view_(i, j);  // a NaN with other bits
      }
    }
    return std::memcmp(start_, expected.data(), size_ * sizeof(T)) == 0
               ? ""
               : "it wrote into a gap between the elements";
  }

 private:
  GuardedMemory& memory_;
  std::size_t size_ = 0;
  T* start_ = nullptr;
  View<T, 2> view_;
};

}  // namespace tessera::test

#endif  // TESSERA_TEST_MATRIX_H_
