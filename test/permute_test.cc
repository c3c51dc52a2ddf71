// SPDX-License-Identifier: Apache-2.0
// Permutations of axes: bits of the specification between all layouts, every size of elements, planes around the lines of
// the cache, threads, errors.

#include "tessera/ops/permute.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/permute.h"
#include "testing.h"

namespace tessera::test::permute_test {

struct Memories {
  GuardedMemory x, y;
  Random random;
};

// Integers, so that equal bits are what is compared.
template <class T, int Rank>
std::string run_case(Memories& m, const std::array<index_t, Rank>& extents,
                     const std::array<int, Rank>& axes, Order from, Order to, Edge edge,
                     Context* context) {
  std::array<index_t, Rank> permuted{};
  for (std::size_t i = 0; i < Rank; ++i) permuted[i] = extents[static_cast<std::size_t>(axes[i])];
  Tensor<T, Rank> x(m.x, m.random, extents, from, edge);
  Tensor<T, Rank> y(m.y, m.random, permuted, to, edge);
  x.fill(m.random, Values::kAnyBits);
  std::vector<T> expected = y.copy(), x_after = x.copy();
  ref::permute(x.read_only(), y.view_of(expected), axes);
  permute(x.read_only(), y.view(), axes, {.context = context});
  return y.difference(expected) + x.difference(x_after);
}

template <class T, int Rank>
std::string random_case(Memories& m, Context* context, std::string& description) {
  Random& random = m.random;
  std::array<index_t, Rank> extents{};
  std::array<int, Rank> axes{};
  std::iota(axes.begin(), axes.end(), 0);
  for (std::size_t i = 0; i < Rank; ++i) {
    std::swap(axes[i], axes[static_cast<std::size_t>(random.below(static_cast<index_t>(i) + 1))]);
    extents[i] = random.below(4) == 0 ? 1 : 1 + random.below(Rank > 3 ? 7 : 24);
  }
  // Two that are long, as planes have them.
  if (random.below(2) != 0) {
    extents[static_cast<std::size_t>(random.below(Rank))] = 1 + random.below(140);
  }
  const auto order = [&] { return kOrders[static_cast<std::size_t>(random.below(4))]; };
  const Order from = order(), to = order();
  description = detail::to_string(extents) + " (" + describe(from) + " to " + describe(to) +
                "), axes of " + std::to_string(sizeof(T)) + " bytes:";
  for (const int axis : axes) description += " " + std::to_string(axis);
  return run_case<T, Rank>(m, extents, axes, from, to, random_edge(random), context);
}

template <class T>
std::string case_of_rank(Memories& m, Context* context, std::string& description, int i) {
  switch (i % 5) {
    case 0:
      return random_case<T, 1>(m, context, description);
    case 1:
      return random_case<T, 2>(m, context, description);
    case 2:
      return random_case<T, 3>(m, context, description);
    case 3:
      return random_case<T, 4>(m, context, description);
    default:
      return random_case<T, 5>(m, context, description);
  }
}

TEST_CASE("permute moves every element where it belongs", "[permute]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(12);
    for (int i = 0; i < 1200; ++i) {
      if (sampler.skip()) continue;
      std::string description;
      const int rank = i / 4;
      const std::string failure =
          i % 4 == 0   ? case_of_rank<std::uint8_t>(m, &context, description, rank)
          : i % 4 == 1 ? case_of_rank<std::uint16_t>(m, &context, description, rank)
          : i % 4 == 2 ? case_of_rank<std::int32_t>(m, &context, description, rank)
                       : case_of_rank<std::int64_t>(m, &context, description, rank);
      tally.add(failure, [&] { return description; });
    }
  });
}

template <class T>
void check_planes(Memories& m, Context* context) {
  Tally tally;
  Sampler sampler(24);
  for (const index_t rows : {1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 129}) {
    for (const index_t cols : {1, 2, 3, 4, 7, 8, 9, 16, 17, 32, 63, 64, 65, 127, 130}) {
      for (const Edge edge : {Edge::kStart, Edge::kEnd}) {
        if (sampler.skip()) continue;
        const Order order = (rows + cols) % 2 == 0 ? Order::kDense : Order::kApart;
        tally.add(run_case<T, 2>(m, {rows, cols}, {1, 0}, order, order, edge, context), [&] {
          return std::to_string(rows) + " x " + std::to_string(cols) + " of " +
                 std::to_string(sizeof(T)) + " bytes";
        });
      }
    }
  }
}

TEST_CASE("permute of planes around the lines of the cache", "[permute]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    check_planes<std::uint8_t>(m, &context);
    check_planes<std::uint16_t>(m, &context);
    check_planes<std::uint32_t>(m, &context);
    check_planes<std::uint64_t>(m, &context);
  });
}

TEST_CASE("permute keeps the bits of floats", "[permute]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Random random;
    const auto check = [&]<class Float, class Bits>(Float, Bits) {
      constexpr index_t kRows = 37, kCols = 41;
      std::vector<Bits> x(static_cast<std::size_t>(kRows * kCols)), y(x.size());
      for (Bits& v : x) v = random.value<Bits>(Values::kAnyBits);
      x[5] = static_cast<Bits>(sizeof(Bits) == 2 ? 0x7f81u : 0x7f800001u);  // a signalling NaN
      permute(View<const Float, 2>(reinterpret_cast<const Float*>(x.data()), {kRows, kCols},
                                   {kCols, 1}),
              View<Float, 2>(reinterpret_cast<Float*>(y.data()), {kCols, kRows}, {kRows, 1}),
              {1, 0}, {.context = &context});
      bool all = true;
      for (index_t i = 0; i < kRows * kCols; ++i) {
        all = all && y[static_cast<std::size_t>(i % kCols * kRows + i / kCols)] ==
                         x[static_cast<std::size_t>(i)];
      }
      CHECK(all);
    };
    check(float{}, std::uint32_t{});
    check(bf16{}, std::uint16_t{});
    check(double{}, std::uint64_t{});
  });
}

TEST_CASE("copy broadcasts", "[permute]") {
  const std::vector<std::int32_t> x = {1, 2, 3};
  std::vector<std::int32_t> y(12);
  copy(strided(x.data(), {2, 3, 2}, {0, 1, 0}), row_major(y, {2, 3, 2}));
  CHECK(y == std::vector<std::int32_t>{1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3});
  copy(strided(x.data() + 2, {3}, {-1}), row_major(y.data(), {3}));
  CHECK(y[0] == 3);
  CHECK(y[2] == 1);
}

TEST_CASE("permute does not depend on threads", "[permute]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    tally.add(run_case<std::uint32_t, 4>(m, {2, 50, 7, 70}, {0, 2, 3, 1}, Order::kDense,
                                         Order::kDense, Edge::kEnd, &context),
              [] { return std::string("planes"); });
    tally.add(run_case<std::uint16_t, 4>(m, {2, 50, 7, 70}, {0, 2, 1, 3}, Order::kDense,
                                         Order::kDense, Edge::kEnd, &context),
              [] { return std::string("rows"); });
    tally.add(run_case<std::uint8_t, 1>(m, {200000}, {0}, Order::kDense, Order::kDense, Edge::kEnd,
                                        &context),
              [] { return std::string("pieces of a row"); });
  });
}

TEST_CASE("permute refuses wrong arguments and writes nothing", "[permute]") {
  std::vector<float> x(24, 1.0f), y(24, 7.0f);
  const auto from = row_major(x, {2, 3, 4});
  const auto error = [&](const std::array<int, 3>& axes) {
    return error_of([&] { permute(from, row_major(y, {4, 2, 3}), axes); });
  };
  CHECK(error({2, 0, 0}) == "permute: axes: expected each of 0 to 2 once, got {2, 0, 0}");
  CHECK(error({3, 0, 1}) == "permute: axes: expected each of 0 to 2 once, got {3, 0, 1}");
  CHECK(error({-1, 0, 1}) == "permute: axes: expected each of 0 to 2 once, got {-1, 0, 1}");
  CHECK(error({0, 1, 2}) ==
        "permute: y: expected extents {2, 3, 4}, those of x in this order, got {4, 2, 3}");
  CHECK(error_of([&] { permute(from, row_major(x, {4, 2, 3}), {2, 0, 1}); }) ==
        "permute: y: expected memory that does not overlap x, got an overlapping view");
  CHECK(error_of([&] { permute(from, strided(y.data(), {4, 2, 3}, {0, 3, 1}), {2, 0, 1}); }) ==
        "permute: y: expected strides that visit each element once, each beyond the reach of the "
        "smaller, got extents {4, 2, 3}, strides {0, 3, 1}");
  CHECK(error_of([&] { copy(from, row_major(static_cast<float*>(nullptr), {2, 3, 4})); }) ==
        "copy: y: expected data for extents {2, 3, 4}, got a null pointer");
  CHECK(y == std::vector<float>(24, 7.0f));

  // Nothing to do.
  permute(row_major(x.data(), {2, 0, 4}), row_major(y.data(), {4, 2, 0}), {2, 0, 1});
  CHECK(y == std::vector<float>(24, 7.0f));
}

}  // namespace tessera::test::permute_test
