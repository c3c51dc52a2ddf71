// SPDX-License-Identifier: Apache-2.0
// View and the functions that make one.

#include "tessera/core/view.h"

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace tessera {
namespace {

using Shape2 = std::array<index_t, 2>;

TEST_CASE("row_major, col_major, strided", "[view]") {
  std::vector<float> v(24);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
  const auto rows = row_major(v.data(), {4, 6});
  CHECK(rows.extents == Shape2{4, 6});
  CHECK(rows.strides == Shape2{6, 1});
  CHECK(rows(2, 3) == 15);
  const auto cols = col_major(v.data(), {4, 6});
  CHECK(cols.strides == Shape2{1, 4});
  CHECK(cols(2, 3) == 14);
  const auto any = strided(v.data() + 23, {2, 3}, {-10, -2});
  CHECK(any.extent(0) == 2);
  CHECK(any.extent(1) == 3);
  CHECK(any.stride(0) == -10);
  CHECK(any.stride(1) == -2);
  CHECK(any(1, 2) == 9);
  any(1, 2) = 7;
  CHECK(v[9] == 7);
  const auto cube = row_major(v.data(), {2, 3, 4});
  CHECK(cube.strides == std::array<index_t, 3>{12, 4, 1});
  CHECK(cube(1, 2, 3) == 23);
  CHECK(col_major(v.data(), {2, 3, 4}).strides == std::array<index_t, 3>{1, 2, 6});
  CHECK(row_major(v.data(), {24}).strides == std::array<index_t, 1>{1});
}

TEST_CASE("extents of any integer type", "[view]") {
  float x[6];
  const unsigned m = 2;
  const std::size_t n = 3;
  const std::int16_t k = 2;
  CHECK(row_major(x, {m, m}).extents == Shape2{2, 2});
  CHECK(row_major(x, {n, n - 1}).extents == Shape2{3, 2});
  CHECK(col_major(x, {k, k}).extents == Shape2{2, 2});
}

TEST_CASE("views of vectors, spans and arrays are checked against their size", "[view]") {
  std::vector<float> v(12);
  const std::vector<float>& cv = v;
  std::array<double, 6> a{};
  int c[4] = {};
  const auto view = row_major(v, {3, 4});
  STATIC_REQUIRE(std::is_same_v<decltype(view), const View<float, 2>>);
  CHECK(view.data == v.data());
  const auto const_view = row_major(cv, {3, 4});
  STATIC_REQUIRE(std::is_same_v<decltype(const_view), const View<const float, 2>>);
  CHECK(col_major(a, {2, 3}).data == a.data());
  CHECK(row_major(std::span(v).subspan(4), {2, 4}).data == v.data() + 4);
  CHECK(row_major(c, {2, 2}).data == c);
  CHECK(row_major(v, {0, 1000}).extents == Shape2{0, 1000});
  try {
    row_major(v, {3, 5});
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(std::string(e.what()) ==
          "row_major: range: expected at least 15 elements for extents {3, 5}, got 12");
  }
  CHECK_THROWS_AS(col_major(v, {13, 1}), Error);
  CHECK_THROWS_AS(row_major(std::span<const float>(v).first(3), {2, 2}), Error);
}

// 2^33 * 2^31 elements are 2^64: a product that wraps is 0, and would fit any range.
TEST_CASE("the size of a range is compared without overflow", "[view]") {
  std::vector<float> v(12);
  CHECK_THROWS_AS(row_major(v, {index_t{1} << 33, index_t{1} << 31}), Error);
  CHECK_THROWS_AS(row_major(v, {index_t{1} << 32, index_t{1} << 32}), Error);
  CHECK_THROWS_AS(row_major(v, {-1, -1}), Error);
  CHECK_THROWS_AS(row_major(v, {-1, 4}), Error);
}

TEST_CASE("transposed swaps the axes", "[view]") {
  float x[6] = {0, 1, 2, 3, 4, 5};
  const auto v = row_major(x, {2, 3});
  const auto t = transposed(v);
  CHECK(t.extents == Shape2{3, 2});
  CHECK(t.strides == Shape2{1, 3});
  for (index_t i = 0; i < 2; ++i) {
    for (index_t j = 0; j < 3; ++j) CHECK(&t(j, i) == &v(i, j));
  }
  CHECK(transposed(t).strides == v.strides);
}

TEST_CASE("slice", "[view]") {
  std::vector<int> x(60);
  const auto v = row_major(x.data(), {6, 10});
  const auto s = slice(v, {2, 3}, {3, 4});
  CHECK(s.extents == Shape2{3, 4});
  CHECK(s.strides == v.strides);
  CHECK(&s(0, 0) == &v(2, 3));
  CHECK(&s(2, 3) == &v(4, 6));
  CHECK(slice(v, {6, 10}, {0, 0}).extents == Shape2{0, 0});
  CHECK(&slice(slice(v, {1, 1}, {5, 9}), {1, 2}, {1, 1})(0, 0) == &v(2, 3));
  CHECK(&slice(transposed(v), {3, 2}, {4, 3})(3, 2) == &v(4, 6));
  for (const auto& [start, extents] : {std::pair{Shape2{4, 0}, Shape2{3, 1}},
                                       {Shape2{0, 7}, Shape2{1, 4}},
                                       {Shape2{-1, 0}, Shape2{1, 1}},
                                       {Shape2{0, 0}, Shape2{1, -1}},
                                       {Shape2{7, 0}, Shape2{0, 0}},
                                       {Shape2{1, 1}, Shape2{PTRDIFF_MAX, 1}},
                                       {Shape2{PTRDIFF_MAX, 0}, Shape2{1, 1}}}) {
    const index_t s2[] = {start[0], start[1]}, e2[] = {extents[0], extents[1]};
    CHECK_THROWS_AS(slice(v, s2, e2), Error);
  }
  try {
    slice(v, {4, 0}, {3, 1});
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(std::string(e.what()) ==
          "slice: start, extents: expected a block inside extents {6, 10}, got start {4, 0}, "
          "extents {3, 1}");
  }
}

TEST_CASE("views convert to views of const, not back", "[view]") {
  STATIC_REQUIRE(std::is_convertible_v<View<float, 2>, View<const float, 2>>);
  STATIC_REQUIRE(!std::is_convertible_v<View<const float, 2>, View<float, 2>>);
  STATIC_REQUIRE(!std::is_convertible_v<View<float, 2>, View<double, 2>>);
  STATIC_REQUIRE(!std::is_convertible_v<View<float, 2>, View<const float, 3>>);
  STATIC_REQUIRE(std::is_trivially_copyable_v<View<float, 2>>);
  float x[2] = {};
  const View<const float, 2> v = row_major(x, {1, 2});
  CHECK(v.data == x);
}

// std::mdspan is C++23: what has its interface converts.
template <class T, std::size_t kRank>
struct Span {
  T* pointer;
  std::array<int, kRank> extents, strides;
  T* data_handle() const { return pointer; }
  static constexpr std::size_t rank() { return kRank; }
  int extent(std::size_t i) const { return extents[i]; }
  int stride(std::size_t i) const { return strides[i]; }
};

TEST_CASE("anything like std::mdspan converts to a view", "[view]") {
  STATIC_REQUIRE(MdspanLike<Span<float, 2>>);
  STATIC_REQUIRE(!MdspanLike<std::vector<float>>);
  STATIC_REQUIRE(!std::is_convertible_v<Span<float, 3>, View<float, 2>>);
  float x[6] = {};
  const Span<float, 2> span{x, {2, 3}, {1, 2}};
  const View<float, 2> v = span;
  CHECK(v.data == x);
  CHECK(v.extents == Shape2{2, 3});
  CHECK(v.strides == Shape2{1, 2});
  const View deduced(Span<const float, 3>{x, {1, 2, 3}, {6, 3, 1}});
  STATIC_REQUIRE(std::is_same_v<decltype(deduced), const View<const float, 3>>);
  CHECK(deduced.extents == std::array<index_t, 3>{1, 2, 3});
}

TEST_CASE("views work in constant expressions", "[view]") {
  static constexpr float kCells[] = {1, 2, 3, 4, 5, 6};
  constexpr auto kView = row_major(&kCells[0], {2, 3});
  STATIC_REQUIRE(kView(1, 2) == 6);
  STATIC_REQUIRE(transposed(kView)(2, 1) == 6);
  STATIC_REQUIRE(View<float, 2>().data == nullptr);
  STATIC_REQUIRE(View<float, 2>().extents == Shape2{0, 0});
}

}  // namespace
}  // namespace tessera
