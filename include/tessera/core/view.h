// SPDX-License-Identifier: Apache-2.0
// View: a pointer, extents and strides. It owns nothing and is passed by value.
#ifndef TESSERA_CORE_VIEW_H_
#define TESSERA_CORE_VIEW_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <ranges>
#include <string>
#include <type_traits>

#include "tessera/core/check.h"

namespace tessera {

using index_t = std::ptrdiff_t;

// Anything with the interface of std::mdspan: data_handle(), rank(), extent(i), stride(i).
template <class M>
concept MdspanLike = requires(const M& m, std::size_t i) {
  m.data_handle();
  { M::rank() } -> std::convertible_to<std::size_t>;
  { m.extent(i) } -> std::convertible_to<index_t>;
  { m.stride(i) } -> std::convertible_to<index_t>;
};

// A strided array of rank `Rank`. Element (i, j, ...) is data[i * strides[0] + j * strides[1] + ...].
// Extents and strides count elements. Strides may be zero (broadcast) or negative on inputs;
// an output must not visit an element twice.
template <class T, int Rank>
struct View {
  using Element = T;
  static constexpr int kRank = Rank;

  T* data = nullptr;
  std::array<index_t, Rank> extents{};
  std::array<index_t, Rank> strides{};

  constexpr View() = default;
  constexpr View(T* p, const std::array<index_t, Rank>& e, const std::array<index_t, Rank>& s)
      : data(p), extents(e), strides(s) {}

  // View<float> converts to View<const float>.
  template <class U>
    requires(!std::is_same_v<U, T> && std::is_convertible_v<U (*)[], T (*)[]>)
  constexpr View(const View<U, Rank>& other)  // NOLINT: implicit by design
      : data(other.data), extents(other.extents), strides(other.strides) {}

  template <MdspanLike M>
    requires(M::rank() == static_cast<std::size_t>(Rank))
  constexpr View(const M& m) : data(m.data_handle()) {  // NOLINT: implicit by design
    for (int i = 0; i < Rank; ++i) {
      extents[i] = static_cast<index_t>(m.extent(static_cast<std::size_t>(i)));
      strides[i] = static_cast<index_t>(m.stride(static_cast<std::size_t>(i)));
    }
  }

  constexpr index_t extent(int i) const { return extents[i]; }
  constexpr index_t stride(int i) const { return strides[i]; }

  template <class... I>
    requires(sizeof...(I) == Rank)
  constexpr T& operator()(I... i) const {
    index_t offset = 0;
    int axis = 0;
    ((offset += static_cast<index_t>(i) * strides[axis++]), ...);
    return data[offset];
  }
};

template <MdspanLike M>
View(const M&) -> View<std::remove_pointer_t<decltype(std::declval<M>().data_handle())>,
                       static_cast<int>(M::rank())>;

namespace detail {

template <int Rank, class I>
constexpr std::array<index_t, Rank> to_indices(const I (&values)[Rank]) {
  std::array<index_t, Rank> result{};
  for (int i = 0; i < Rank; ++i) result[i] = static_cast<index_t>(values[i]);
  return result;
}

template <std::size_t Rank>
constexpr std::array<index_t, Rank> dense_strides(const std::array<index_t, Rank>& extents,
                                                  bool last_is_fastest) {
  std::array<index_t, Rank> strides{};
  index_t stride = 1;
  for (std::size_t n = 0; n < Rank; ++n) {
    const std::size_t i = last_is_fastest ? Rank - 1 - n : n;
    strides[i] = stride;
    // Unsigned, so that absurd extents wrap here and are refused by the function that gets them.
    stride = static_cast<index_t>(static_cast<std::size_t>(stride) *
                                  static_cast<std::size_t>(extents[i]));
  }
  return strides;
}

template <std::size_t Rank>
std::string to_string(const std::array<index_t, Rank>& values) {
  std::string text = "{";
  for (std::size_t i = 0; i < Rank; ++i) text += (i ? ", " : "") + std::to_string(values[i]);
  return text + "}";
}

}  // namespace detail

// The last index is the fastest: row_major(p, {m, n}) has strides {n, 1}.
template <class T, class I, std::size_t Rank>
constexpr View<T, static_cast<int>(Rank)> row_major(T* data, const I (&extents)[Rank]) {
  const auto e = detail::to_indices<static_cast<int>(Rank)>(extents);
  return {data, e, detail::dense_strides(e, true)};
}

// The first index is the fastest: col_major(p, {m, n}) has strides {1, m}.
template <class T, class I, std::size_t Rank>
constexpr View<T, static_cast<int>(Rank)> col_major(T* data, const I (&extents)[Rank]) {
  const auto e = detail::to_indices<static_cast<int>(Rank)>(extents);
  return {data, e, detail::dense_strides(e, false)};
}

template <class T, class I, class S, std::size_t Rank>
constexpr View<T, static_cast<int>(Rank)> strided(T* data, const I (&extents)[Rank],
                                                  const S (&strides)[Rank]) {
  return {data, detail::to_indices<static_cast<int>(Rank)>(extents),
          detail::to_indices<static_cast<int>(Rank)>(strides)};
}

namespace detail {

template <class R, std::size_t Rank>
void check_size(const char* function, const R& range, const std::array<index_t, Rank>& extents) {
  std::size_t count = 1;
  for (index_t e : extents) {
    if (e < 0 || __builtin_mul_overflow(count, static_cast<std::size_t>(e), &count)) {
      fail(function, "extents", "sizes of at least 0 within the address space", to_string(extents));
    }
  }
  if (count > std::ranges::size(range)) {
    fail(function, "range",
         "at least " + std::to_string(count) + " elements for extents " + to_string(extents),
         std::to_string(std::ranges::size(range)));
  }
}

}  // namespace detail

// The same over a std::vector, std::span, std::array: its size is checked against the extents.
template <std::ranges::contiguous_range R, class I, std::size_t Rank>
constexpr auto row_major(R&& range, const I (&extents)[Rank]) {
  const auto view = row_major(std::ranges::data(range), extents);
  detail::check_size("row_major", range, view.extents);
  return view;
}

template <std::ranges::contiguous_range R, class I, std::size_t Rank>
constexpr auto col_major(R&& range, const I (&extents)[Rank]) {
  const auto view = col_major(std::ranges::data(range), extents);
  detail::check_size("col_major", range, view.extents);
  return view;
}

// Swaps the two axes; moves nothing.
template <class T>
constexpr View<T, 2> transposed(const View<T, 2>& v) {
  return {v.data, {v.extents[1], v.extents[0]}, {v.strides[1], v.strides[0]}};
}

// The block that starts at `start` and has the given extents; it must lie inside the view.
template <class T, int Rank, class I, class J>
constexpr View<T, Rank> slice(const View<T, Rank>& v, const I (&start)[Rank],
                              const J (&extents)[Rank]) {
  View<T, Rank> result(v.data, detail::to_indices<Rank>(extents), v.strides);
  const auto first = detail::to_indices<Rank>(start);
  for (int i = 0; i < Rank; ++i) {
    if (first[i] < 0 || result.extents[i] < 0 || first[i] > v.extents[i] - result.extents[i]) {
      detail::fail(
          "slice", "start, extents", "a block inside extents " + detail::to_string(v.extents),
          "start " + detail::to_string(first) + ", extents " + detail::to_string(result.extents));
    }
    result.data += first[i] * v.strides[i];
  }
  return result;
}

}  // namespace tessera

#endif  // TESSERA_CORE_VIEW_H_
