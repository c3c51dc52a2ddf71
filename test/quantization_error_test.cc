// SPDX-License-Identifier: Apache-2.0
// Measures of error, and statistics of rows.

#include "tessera/ops/quantization_error.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "random.h"
#include "tessera/ops/row_statistics.h"

namespace tessera::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

QuantizationError error_between(const std::vector<float>& x, const std::vector<float>& y) {
  return quantization_error(row_major(x, {std::size_t{1}, x.size()}),
                            row_major(y, {std::size_t{1}, y.size()}));
}

TEST_CASE("measures of error, by hand", "[error]") {
  const QuantizationError e = error_between({3, 4, 0, 0}, {3, 4, 0, 0.5f});
  CHECK(e.max_abs == 0.5);
  CHECK(e.rms == 0.25);
  CHECK(e.snr_db == 20);
  CHECK(std::abs(e.cosine - 5 / std::sqrt(25.25)) < 1e-15);
  const QuantizationError opposite = error_between({1, -2}, {-1, 2});
  CHECK(std::abs(opposite.cosine + 1) < 1e-15);
  CHECK(opposite.max_abs == 4);
}

TEST_CASE("measures of error against long double", "[error]") {
  Random random;
  std::vector<float> x(3 * 7 * 40), y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = random.value<float>(Values::kModerate);
    y[i] = x[i] + random.value<float>(Values::kModerate) / 64;
  }
  // A view with gaps, columns first.
  const auto vx = strided(x.data(), {7, 40}, {3, 21}), vy = strided(y.data(), {7, 40}, {3, 21});
  long double xx = 0, yy = 0, xy = 0, dd = 0, largest = 0;
  for (index_t i = 0; i < 7; ++i) {
    for (index_t j = 0; j < 40; ++j) {
      const long double a = vx(i, j), b = vy(i, j);
      xx += a * a, yy += b * b, xy += a * b, dd += (a - b) * (a - b);
      largest = std::max(largest, std::abs(a - b));
    }
  }
  const QuantizationError e = quantization_error(vx, vy);
  const auto close = [](double actual, long double expected) {
    return std::abs(actual - static_cast<double>(expected)) <= 1e-12 * std::abs(actual);
  };
  CHECK(e.max_abs == static_cast<double>(largest));
  CHECK(close(e.rms, std::sqrt(dd / 280)));
  CHECK(close(e.snr_db, 10 * std::log10(xx / dd)));
  CHECK(close(e.cosine, xy / std::sqrt(xx * yy)));
}

TEST_CASE("measures of error of special values", "[error]") {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto is = [](const QuantizationError& e, double max_abs, double rms, double snr_db,
                     double cosine) {
    return e.max_abs == max_abs && e.rms == rms && e.snr_db == snr_db && e.cosine == cosine;
  };
  CHECK(is(error_between({}, {}), 0, 0, infinity, 1));
  CHECK(is(error_between({0, 0}, {0, -0.0f}), 0, 0, infinity, 1));
  CHECK(is(error_between({2, 0}, {2, 0}), 0, 0, infinity, 1));
  CHECK(is(error_between({0, 0}, {2, 0}), 2, std::sqrt(2.0), -infinity, 0));
  CHECK(is(error_between({2, 0}, {0, 0}), 2, std::sqrt(2.0), 0, 0));
  const float largest = std::numeric_limits<float>::max();
  CHECK(error_between({largest}, {-largest}).max_abs == 2 * static_cast<double>(largest));
  CHECK(is(error_between({0x1p-149f}, {0x1p-149f}), 0, 0, infinity, 1));
  for (const float special : {NAN, kInfinity, -kInfinity}) {
    for (const auto& e :
         {error_between({1, special}, {1, 1}), error_between({1, 1, 2}, {special, 1, 2}),
          error_between({special, 3}, {special, 3})}) {
      CHECK(std::isnan(e.max_abs));
      CHECK(std::isnan(e.rms));
      CHECK(std::isnan(e.snr_db));
      CHECK(std::isnan(e.cosine));
    }
  }
}

TEST_CASE("measures of error refuse wrong arguments", "[error]") {
  const std::vector<float> x(6);
  CHECK(error_of([&] { quantization_error(row_major(x, {2, 3}), row_major(x, {3, 2})); }) ==
        "quantization_error: actual: expected extents {2, 3}, those of expected, got {3, 2}");
  CHECK(error_of([&] {
          quantization_error(row_major(static_cast<const float*>(nullptr), {2, 3}),
                             row_major(x, {2, 3}));
        }) == "quantization_error: expected: expected data for extents {2, 3}, got a null pointer");
}

TEST_CASE("statistics of rows", "[error]") {
  StdThreads threads{3};
  Context context;
  context.executor = Executor::from_function(3, threads);
  const std::vector<float> x = {3, -4, 0, 0, 1, 1, 1, 1, NAN, 0, 2, 1, kInfinity, 1, -2, 0};
  std::vector<RowStatistics> s(4);
  row_statistics(row_major(x, {4, 4}), s, &context);
  CHECK(s[0] == RowStatistics{-4, 3, 4, -0.25, 2.5});
  CHECK(s[1] == RowStatistics{1, 1, 1, 1, 1});
  CHECK(std::isnan(s[2].min));
  CHECK(std::isnan(s[2].max));
  CHECK(std::isnan(s[2].absmax));
  CHECK(std::isnan(s[2].mean));
  CHECK(std::isnan(s[2].rms));
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(s[3] == RowStatistics{-2, kInfinity, kInfinity, infinity, infinity});

  row_statistics(slice(transposed(row_major(x, {4, 4})), {0, 0}, {4, 2}), s);
  CHECK(s[0] == RowStatistics{1, 3, 3, 2, std::sqrt(5.0)});
  CHECK(s[1] == RowStatistics{-4, 1, 4, -1.5, std::sqrt(8.5)});
  row_statistics(row_major(x, {4, 0}), s);
  CHECK(s[3] == RowStatistics{kInfinity, -kInfinity, 0, 0, 0});

  CHECK(error_of([&] { row_statistics(row_major(x, {2, 8}), s); }) ==
        "row_statistics: to: expected 2 elements (the rows of x), got 4");
  CHECK(error_of([&] { row_statistics(row_major(x.data(), {-1, 8}), s); }) ==
        "row_statistics: x: expected extents of at least 0, got {-1, 8}");
}

TEST_CASE("statistics of rows do not depend on threads", "[error]") {
  Random random;
  std::vector<float> x(500 * 100);
  for (float& v : x) v = random.value<float>(Values::kModerate);
  StdThreads threads{4};
  Context context;
  context.executor = Executor::from_function(4, threads);
  std::vector<RowStatistics> serial(500), parallel(500);
  row_statistics(row_major(x, {500, 100}), serial);
  row_statistics(row_major(x, {500, 100}), parallel, &context);
  CHECK(serial == parallel);
}

}  // namespace
}  // namespace tessera::test
