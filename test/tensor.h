// SPDX-License-Identifier: Apache-2.0
// Tensors for tests: axes in any order in memory, gaps between them, in guarded memory, every byte that is not an
// element poisoned.
#ifndef TESSERA_TEST_TENSOR_H_
#define TESSERA_TEST_TENSOR_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tessera/core/view.h"

namespace tessera::test {

// How the axes of a tensor lie in memory.
enum class Order {
  kDense,          // the last axis is the fastest
  kApart,          // the same with a gap behind each axis
  kChannelsFirst,  // the last axis is the second slowest
  kAny,            // any order, gaps, any axis reversed
};

inline constexpr std::array kOrders = {Order::kDense, Order::kApart, Order::kChannelsFirst,
                                       Order::kAny};

// Dense half of the time.
inline Order random_order(Random& random) {
  return random.below(2) != 0 ? Order::kDense : kOrders[static_cast<std::size_t>(random.below(4))];
}
inline Edge random_edge(Random& random) { return random.below(2) != 0 ? Edge::kEnd : Edge::kStart; }

inline const char* describe(Order order) {
  constexpr const char* kNames[] = {"dense", "apart", "channels first", "any"};
  return kNames[static_cast<int>(order)];
}

// A tensor in guarded memory: the memory spans from its first to its last element exactly.
template <class T, int Rank>
class Tensor {
 public:
  using Extents = std::array<index_t, Rank>;

  Tensor(GuardedMemory& memory, Random& random, const Extents& extents, Order order, Edge edge)
      : memory_(memory) {
    std::array<int, Rank> axes{};  // the fastest first
    for (int i = 0; i < Rank; ++i) axes[i] = Rank - 1 - i;
    if (order == Order::kChannelsFirst && Rank > 2) {
      for (int i = 0; i + 2 < Rank; ++i) axes[i] = Rank - 2 - i;
      axes[Rank - 2] = Rank - 1;
    }
    for (int i = Rank; order == Order::kAny && i > 1; --i) {
      std::swap(axes[i - 1], axes[random.below(i)]);
    }
    view_.extents = extents;
    index_t stride = order == Order::kAny ? 1 + random.below(2) : 1, low = 0, high = 0;
    bool empty = false;
    for (const int axis : axes) {
      const bool reversed = order == Order::kAny && random.below(2) != 0;
      view_.strides[axis] = reversed ? -stride : stride;
      empty = empty || extents[axis] == 0;
      (reversed ? low : high) += (extents[axis] - 1) * view_.strides[axis];
      const bool gap = order == Order::kApart || order == Order::kAny;
      stride = stride * std::max<index_t>(extents[axis], 1) + (gap ? random.below(4) : 0);
    }
    size_ = empty ? 0 : static_cast<std::size_t>(high - low + 1);
    start_ = memory.place<T>(size_, edge);
    view_.data = start_ - (empty ? 0 : low);
  }

  const View<T, Rank>& view() const { return view_; }
  View<const T, Rank> read_only() const { return view_; }

  // All elements anew.
  void fill(Random& random, Values values) {
    for_each([&](T& element) { element = random.value<T>(values); });
  }

  // A copy of elements and gaps, and a view of it like the one of this tensor.
  std::vector<T> copy() const { return {start_, start_ + size_}; }
  View<T, Rank> view_of(std::vector<T>& copy) const {
    return {copy.data() + (view_.data - start_), view_.extents, view_.strides};
  }

  // Without the spatial axes that a call with `kSpatial` of them does not have, which are the first.
  template <int kSpatial>
  View<T, kSpatial + 2> with_spatial() const {
    View<T, kSpatial + 2> v;
    v.data = view_.data;
    for (int i = 0; i < kSpatial + 2; ++i) {
      const int axis = i == 0 ? 0 : Rank - 2 - kSpatial + i;
      v.extents[i] = view_.extents[axis];
      v.strides[i] = view_.strides[axis];
    }
    return v;
  }

  // Every element is the same as in `expected` (a copy), or is_good(element, expected, indices), and every gap and the
  // margins are untouched. Otherwise a sentence.
  template <class F>
  std::string difference(std::vector<T>& expected, F is_good) const {
    if (!memory_.margin_intact()) return "it wrote next to the tensor";
    if (size_ == 0 || std::memcmp(start_, expected.data(), size_ * sizeof(T)) == 0) return "";
    std::string text;
    for_each_index([&](T& element, const Extents& indices) {
      T& want = expected[static_cast<std::size_t>(&element - start_)];
      if (text.empty() && !same(element, want) && !is_good(element, want, indices)) {
        text = "element " + detail::to_string(indices) + " is " + show(element) + ", expected " +
               show(want);
      }
      want = element;  // a NaN with other bits
    });
    if (!text.empty()) return text;
    return std::memcmp(start_, expected.data(), size_ * sizeof(T)) == 0
               ? ""
               : "it wrote into a gap between the elements";
  }
  std::string difference(std::vector<T>& expected) const {
    return difference(expected, [](T, T, const Extents&) { return false; });
  }

  // f(element, its indices) for all, the last axis the fastest.
  template <class F>
  void for_each_index(F f) const {
    index_t count = 1;
    for (const index_t extent : view_.extents) count *= extent;
    Extents indices{};
    for (index_t i = 0; i < count; ++i) {
      index_t rest = i, offset = 0;
      for (int axis = Rank; axis-- > 0;) {
        indices[axis] = rest % view_.extent(axis);
        offset += indices[axis] * view_.stride(axis);
        rest /= view_.extent(axis);
      }
      f(view_.data[offset], indices);
    }
  }
  template <class F>
  void for_each(F f) const {
    for_each_index([&f](T& element, const Extents&) { f(element); });
  }

 private:
  GuardedMemory& memory_;
  std::size_t size_ = 0;
  T* start_ = nullptr;
  View<T, Rank> view_;
};

}  // namespace tessera::test

#endif  // TESSERA_TEST_TENSOR_H_
