// SPDX-License-Identifier: Apache-2.0
// Resizing: bits of the specification over random problems, coordinates by their definitions, threads, errors.

#include "tessera/ops/resize.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/layout.h"
#include "tessera/ref/resize.h"
#include "testing.h"

namespace tessera::test::resize_test {

constexpr std::array kCoordinates = {Coordinates::kHalfPixel, Coordinates::kAlignCorners,
                                     Coordinates::kAsymmetric};
constexpr std::array kNearest = {NearestPixel::kRoundPreferFloor, NearestPixel::kRoundPreferCeil,
                                 NearestPixel::kFloor, NearestPixel::kCeil};

struct Memories {
  GuardedMemory x, y;
  Random random;
};

template <class T>
std::string run_case(Memories& m, const std::array<index_t, 4>& from,
                     const std::array<index_t, 4>& to, Coordinates coordinates, int nearest,
                     Order x_order, Order y_order, Values values, Context* context) {
  const Edge edge = random_edge(m.random);
  Tensor<T, 4> x(m.x, m.random, from, x_order, edge);
  x.fill(m.random, values);
  Tensor<T, 4> y(m.y, m.random, to, y_order, edge);
  std::vector<T> expected = y.copy();
  const View<T, 4> want = y.view_of(expected);
  if (nearest < 0) {
    ref::resize_bilinear2d(x.read_only(), want, coordinates);
    resize_bilinear2d(x.view(), y.view(), {.coordinates = coordinates, .context = context});
  } else {
    const NearestPixel mode = kNearest[static_cast<std::size_t>(nearest)];
    ref::resize_nearest2d(x.read_only(), want, coordinates, mode);
    resize_nearest2d(x.view(), y.view(),
                     {.coordinates = coordinates, .nearest = mode, .context = context});
  }
  return y.difference(expected);
}

TEMPLATE_TEST_CASE("resizing has the bits of its specification", "[resize]", float, bf16, f16,
                   std::int8_t, std::uint8_t) {
  for_each_target([](Target target) {
    Memories m;
    Random& random = m.random;
    StdThreads threads{3};
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(16);
    for (int i = 0; i < 500; ++i) {
      const index_t n = 1 + random.below(2);
      const index_t c = random.below(4) == 0 ? 1 + random.below(100) : 1 + random.below(12);
      const std::array<index_t, 4> from = {n, 1 + random.below(9), 1 + random.below(9), c};
      const std::array<index_t, 4> to = {n, 1 + random.below(9), 1 + random.below(20), c};
      const auto coordinates = kCoordinates[static_cast<std::size_t>(random.below(3))];
      const auto nearest = static_cast<int>(random.below(8)) - 4;
      const Order x = kOrders[static_cast<std::size_t>(random.below(4))];
      const Order y = random.below(2) != 0 ? x : kOrders[static_cast<std::size_t>(random.below(4))];
      const Values values = random.below(3) == 0 ? Values::kAnyBits : Values::kModerate;
      context.executor = i % 50 == 0 ? Executor::from_function(3, threads) : Executor();
      if (sampler.skip()) continue;
      tally.add(run_case<TestType>(m, from, to, coordinates, nearest, x, y, values, &context), [&] {
        return detail::to_string(from) + " to " + detail::to_string(to) + ", coordinates " +
               std::to_string(static_cast<int>(coordinates)) + ", nearest " +
               std::to_string(nearest) + ", " + describe(x) + " to " + describe(y);
      });
    }
  });
}

// The formulas of ONNX in f64, where that is exact enough to tell.
TEST_CASE("coordinates are those of ONNX", "[resize]") {
  for (index_t from = 1; from < 12; ++from) {
    for (index_t to = 1; to < 30; ++to) {
      for (index_t i = 0; i < to; ++i) {
        const auto [x, n, m] =
            std::array{static_cast<double>(i), static_cast<double>(from), static_cast<double>(to)};
        for (const Coordinates mode : kCoordinates) {
          const double at = mode == Coordinates::kHalfPixel    ? (x + 0.5) * n / m - 0.5
                            : mode == Coordinates::kAsymmetric ? x * n / m
                            : to == 1                          ? 0
                                                               : x * (n - 1) / (m - 1);
          const ref::Coordinate c = ref::coordinate_of(i, from, to, mode);
          CHECK(std::abs(static_cast<double>(c.numerator) / static_cast<double>(c.denominator) -
                         at) < 1e-12);
          const ref::Between b = ref::between(i, from, to, mode);
          const double inside = std::clamp(at, 0.0, n - 1);
          CHECK(std::abs(static_cast<double>(b.first) + static_cast<double>(b.weight) - inside) <
                1e-6);
          CHECK((b.weight == 0 ? b.second == b.first : b.second == b.first + 1));
        }
      }
    }
  }
  // Ties: pixel 1 of 2 from 3 pixels lies at 1.5 with kAsymmetric.
  const auto at = [](NearestPixel nearest) {
    return ref::nearest_pixel(1, 3, 2, Coordinates::kAsymmetric, nearest);
  };
  CHECK(at(NearestPixel::kRoundPreferFloor) == 1);
  CHECK(at(NearestPixel::kRoundPreferCeil) == 2);
  CHECK(at(NearestPixel::kFloor) == 1);
  CHECK(at(NearestPixel::kCeil) == 2);
}

TEST_CASE("resizing to twice the size, by hand", "[resize]") {
  const std::vector<float> x = {0, 4};
  std::vector<float> y(4);
  const auto from = nhwc(x.data(), {1, 1, 2, 1});
  const auto to = nhwc(y.data(), {1, 1, 4, 1});
  resize_bilinear2d(from, to);
  CHECK(y == std::vector<float>{0, 1, 3, 4});
  resize_bilinear2d(from, to, {.coordinates = Coordinates::kAsymmetric});
  CHECK(y == std::vector<float>{0, 2, 4, 4});
  resize_nearest2d(from, to);
  CHECK(y == std::vector<float>{0, 0, 4, 4});
}

TEST_CASE("infinities do not spread to pixels that do not read them", "[resize]") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {1, kInf, 2};
  std::vector<float> y(5);
  resize_bilinear2d(nhwc(x.data(), {1, 1, 3, 1}), nhwc(y.data(), {1, 1, 5, 1}),
                    {.coordinates = Coordinates::kAlignCorners});
  CHECK(y == std::vector<float>{1, kInf, kInf, kInf, 2});
}

TEST_CASE("resizing refuses wrong arguments and writes nothing", "[resize]") {
  std::vector<float> x(2 * 4 * 4 * 3, 1.0f), y(2 * 2 * 2 * 3, 7.0f);
  const auto from = nhwc(x.data(), {2, 4, 4, 3});
  const auto to = nhwc(y.data(), {2, 2, 2, 3});
  CHECK(error_of([&] { resize_bilinear2d(from, nhwc(y.data(), {2, 2, 2, 2})); }) ==
        "resize_bilinear2d: y: expected extents {2, 2, 2, 3}: n and c of x, got {2, 2, 2, 2}");
  CHECK(error_of([&] { resize_nearest2d(from, nhwc(y.data(), {1, 2, 2, 3})); }) ==
        "resize_nearest2d: y: expected extents {2, 2, 2, 3}: n and c of x, got {1, 2, 2, 3}");
  CHECK(error_of([&] { resize_bilinear2d(nhwc(x.data(), {2, 0, 4, 3}), to); }) ==
        "resize_bilinear2d: x: expected at least one pixel, got extents {2, 0, 4, 3}");
  CHECK(error_of([&] { resize_bilinear2d(from, nhwc(x.data() + 90, {2, 2, 2, 3})); }) ==
        "resize_bilinear2d: y: expected memory that does not overlap x, got an overlapping view");
  const index_t many[] = {2, (index_t{1} << 30) + 1, 4, 3};
  CHECK(error_of([&] { resize_nearest2d(strided(x.data(), many, {12, 0, 3, 1}), to); }) ==
        "resize_nearest2d: x: expected at most 2^30 rows and columns, got extents {2, 1073741825, "
        "4, 3}");
  std::byte little[8];
  Context context;
  context.scratch = Scratch(little);
  CHECK(error_of([&] {
          resize_bilinear2d(from, to, {.context = &context});
        }).starts_with("resize_bilinear2d: context.scratch: expected at least"));
  CHECK(y == std::vector<float>(24, 7.0f));
  resize_bilinear2d(nhwc(x.data(), {0, 4, 4, 3}), nhwc(y.data(), {0, 2, 2, 3}));
  resize_bilinear2d(from, nhwc(y.data(), {2, 0, 2, 3}));
  CHECK(y == std::vector<float>(24, 7.0f));
}

}  // namespace tessera::test::resize_test
