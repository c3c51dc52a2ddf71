// SPDX-License-Identifier: Apache-2.0
// Tensors of five axes for tests: any layout, in guarded memory, every byte that is not an element poisoned.
#ifndef TESSERA_TEST_TENSOR_H_
#define TESSERA_TEST_TENSOR_H_

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tessera/core/view.h"

namespace tessera::test {

using Axes = std::array<index_t, 5>;

enum class TensorLayout {
  kChannelsLast,
  kChannelsFirst,
  kAny,  // axes in any order, some backwards, gaps between them
};

// Strides of a layout; kAny draws them.
inline Axes tensor_strides(TensorLayout layout, const Axes& extents, Random& random) {
  std::array<std::size_t, 5> order = {4, 3, 2, 1, 0};  // the fastest first
  if (layout == TensorLayout::kChannelsFirst) order = {3, 2, 1, 4, 0};
  const bool any = layout == TensorLayout::kAny;
  if (any) {
    for (std::size_t i = 4; i > 0; --i) {
      std::swap(order[i], order[static_cast<std::size_t>(random.below(static_cast<int>(i) + 1))]);
    }
  }
  Axes strides{};
  index_t stride = any ? 1 + random.below(2) : 1;
  for (const std::size_t axis : order) {
    strides[axis] = any && random.below(4) == 0 ? -stride : stride;
    stride *= std::max<index_t>(extents[axis], 1);
    if (any) stride += random.below(3);
  }
  return strides;
}

// The memory spans from the first to the last element exactly.
template <class T>
class Tensor {
 public:
  Tensor(GuardedMemory& memory, const Axes& extents, const Axes& strides, Edge edge)
      : memory_(memory) {
    index_t low = 0, high = 0;
    size_ = 1;
    for (std::size_t i = 0; i < 5; ++i) {
      (strides[i] < 0 ? low : high) += extents[i] > 0 ? (extents[i] - 1) * strides[i] : 0;
      if (extents[i] == 0) size_ = 0;
    }
    if (size_ != 0) size_ = static_cast<std::size_t>(high - low + 1);
    start_ = memory.place<T>(size_, edge);
    view_ = View<T, 5>(start_ - low, extents, strides);
  }

  const View<T, 5>& view() const { return view_; }
  View<const T, 5> read_only() const { return view_; }

  // Without the spatial axes that a call of rank `kRank` does not have, which are the first.
  template <int kRank>
  View<T, kRank + 2> of_rank() const {
    View<T, kRank + 2> v;
    v.data = view_.data;
    for (int i = 0; i < kRank + 2; ++i) {
      const int axis = i == 0 ? 0 : 3 - kRank + i;
      v.extents[i] = view_.extents[axis];
      v.strides[i] = view_.strides[axis];
    }
    return v;
  }

  // f(element, its indices) for each element.
  template <class F>
  static void for_each(const View<T, 5>& v, F f) {
    Axes i{};
    for (i[0] = 0; i[0] < v.extents[0]; ++i[0]) {
      for (i[1] = 0; i[1] < v.extents[1]; ++i[1]) {
        for (i[2] = 0; i[2] < v.extents[2]; ++i[2]) {
          for (i[3] = 0; i[3] < v.extents[3]; ++i[3]) {
            for (i[4] = 0; i[4] < v.extents[4]; ++i[4]) f(v(i[0], i[1], i[2], i[3], i[4]), i);
          }
        }
      }
    }
  }

  void fill(Random& random, Values values) {
    for_each(view_, [&](T& x, const Axes&) { x = random.value<T>(values); });
  }

  // A copy of elements and gaps, and a view of it like the one of this tensor.
  std::vector<T> copy() const { return {start_, start_ + size_}; }
  View<T, 5> view_of(std::vector<T>& copy) const {
    return {copy.data() + (view_.data - start_), view_.extents, view_.strides};
  }

  // Every element is the same as in `expected` (a copy), or `is_good(got, expected, indices)`; gaps and margins are
  // untouched. Otherwise a sentence.
  template <class F>
  std::string difference(std::vector<T>& expected, F is_good) const {
    if (!memory_.margin_intact()) return "it wrote next to the tensor";
    if (size_ == 0 || std::memcmp(start_, expected.data(), size_ * sizeof(T)) == 0) return "";
    std::string text;
    const View<T, 5> want = view_of(expected);
    for_each(view_, [&](T& got, const Axes& i) {
      T& x = want(i[0], i[1], i[2], i[3], i[4]);
      if (text.empty() && !same(got, x) && !is_good(got, x, i)) {
        text = "element " + detail::to_string(i) + " is " + show(got) + ", expected " + show(x);
      }
      x = got;
    });
    if (!text.empty()) return text;
    return std::memcmp(start_, expected.data(), size_ * sizeof(T)) == 0
               ? ""
               : "it wrote into a gap between the elements";
  }
  std::string difference(std::vector<T>& expected) const {
    return difference(expected, [](T, T, const Axes&) { return false; });
  }

 private:
  GuardedMemory& memory_;
  std::size_t size_ = 0;
  T* start_ = nullptr;
  View<T, 5> view_;
};

}  // namespace tessera::test

#endif  // TESSERA_TEST_TENSOR_H_
