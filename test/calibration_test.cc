// SPDX-License-Identifier: Apache-2.0
// Ranges, their averages and percentiles, and clipping with the least square error, against sorting and trying.

#include "tessera/ops/calibration.h"

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "matrix.h"
#include "random.h"
#include "tessera/ops/affine_quantize.h"
#include "testing.h"

namespace tessera::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The sum of a few uniform numbers, with one in a hundred ten times as large.
std::vector<float> samples(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) {
    for (int k = 0; k < 4; ++k) x[i] += static_cast<float>(random.below(2001) - 1000) / 1024;
    if (i % 100 == 17) x[i] *= 10;
  }
  return x;
}

View<const float, 2> as_row(const std::vector<float>& x) {
  return row_major(x, {std::size_t{1}, x.size()});
}

TEST_CASE("value_range", "[calibration]") {
  const std::vector<float> x = {1, -2, NAN, kInfinity, 5, -kInfinity, 3, 4};
  CHECK(value_range(as_row(x)) == ValueRange{-2, 5});
  CHECK(value_range(strided(x.data(), {2, 2}, {6, 1})) == ValueRange{-2, 4});
  CHECK(value_range(row_major(x.data() + 6, {1, 2})) == ValueRange{0, 4});
  CHECK(value_range(row_major(x.data(), {0, 5})) == ValueRange{});
  CHECK(value_range(row_major(x.data(), {5, 0})) == ValueRange{});
  for (std::size_t n = 1; n < 70; ++n) {  // around the lanes of a vector
    for (std::size_t at = 0; at < n; ++at) {
      std::vector<float> y(n, 1.0f);
      y[at] = 2;
      CHECK(value_range(as_row(y)) == ValueRange{0, 2});
      y[at] = -2;
      CHECK(value_range(as_row(y)) == ValueRange{-2, n > 1 ? 1.0f : 0.0f});
    }
  }
}

TEST_CASE("the moving average of ranges", "[calibration]") {
  MovingAverageRange average(0.75);
  CHECK(average.range() == ValueRange{});
  average.observe(as_row({-1, 8}));
  CHECK(average.range() == ValueRange{-1, 8});
  average.observe(as_row({-5, 4, NAN}));
  CHECK(average.range() == ValueRange{-2, 7});
  average.observe(as_row({3}));
  CHECK(average.range() == ValueRange{-1.5f, 6});
}

TEST_CASE("percentiles leave out what they say", "[calibration]") {
  constexpr index_t kBins = 1024;
  for (const std::uint64_t seed : {1, 2, 3}) {
    std::vector<float> x = samples(5000, seed);
    ValueHistogram histogram(kBins);
    histogram.observe(as_row(x));
    std::sort(x.begin(), x.end());
    CHECK(histogram.total() == 5000);
    CHECK(histogram.range() == ValueRange{x.front(), x.back()});
    CHECK(histogram.percentile(1) == histogram.range());
    const float reach = std::max(-x.front(), x.back());
    const float width = 2 * std::exp2(std::ceil(std::log2(reach))) / kBins;
    for (const double kept : {0.999, 0.99, 0.9, 0.5}) {
      const auto cut = static_cast<std::size_t>((1 - kept) / 2 * 5000);
      const ValueRange range = histogram.percentile(kept);
      // No more than `cut` are outside, and with another bin there would be.
      CHECK(std::lower_bound(x.begin(), x.end(), range.min) - x.begin() <=
            static_cast<index_t>(cut));
      CHECK(x.end() - std::upper_bound(x.begin(), x.end(), range.max) <= static_cast<index_t>(cut));
      CHECK(range.min + width >= std::min(x[cut], 0.0f));
      CHECK(range.max - width <= std::max(x[4999 - cut], 0.0f));
    }
  }
}

TEST_CASE("histograms do not depend on the order of batches", "[calibration]") {
  std::vector<std::vector<float>> batches;
  for (const float scale : {1e-30f, 1.0f, 0.01f, 0.0f, 700.0f}) {
    batches.push_back(samples(500, 4));
    for (float& v : batches.back()) v *= scale;
  }
  std::vector<std::size_t> order = {0, 1, 2, 3, 4};
  const AffineFormat format = {.bits = 4, .is_signed = false, .zero = ZeroPoint::kFree};
  ValueHistogram first;
  for (const std::size_t i : order) first.observe(as_row(batches[i]));
  while (std::next_permutation(order.begin(), order.end())) {
    if (order[0] + order[2] != 3) continue;  // some are enough
    ValueHistogram histogram;
    for (const std::size_t i : order) histogram.observe(as_row(batches[i]));
    CHECK(histogram.range() == first.range());
    CHECK(histogram.percentile(0.9) == first.percentile(0.9));
    CHECK(histogram.least_squares(format) == first.least_squares(format));
  }
}

TEST_CASE("bins of a histogram, by hand", "[calibration]") {
  ValueHistogram histogram(16);
  histogram.observe(as_row({1.5f, 3.5f, 5.5f, 7.5f}));  // bins of width 1
  CHECK(histogram.percentile(0.5) == ValueRange{0, 6});
  CHECK(histogram.percentile(0.49) == ValueRange{0, 6});
  CHECK(histogram.percentile(0.51) == ValueRange{0, 7.5f});
  histogram.observe(as_row({-31, 1, 1, 1}));  // of width 4
  CHECK(histogram.percentile(1) == ValueRange{-31, 7.5f});
  CHECK(histogram.percentile(0.75) == ValueRange{0, 7.5f});
  CHECK(histogram.percentile(0.5) == ValueRange{0, 4});
}

TEST_CASE("histograms of special values", "[calibration]") {
  ValueHistogram histogram;
  CHECK(histogram.percentile(0.5) == ValueRange{});
  CHECK(histogram.least_squares({}) == AffineParams{});
  histogram.observe(as_row({NAN, kInfinity, -kInfinity}));
  CHECK(histogram.total() == 0);
  histogram.observe(as_row({0, -0.0f}));
  CHECK(histogram.total() == 2);
  CHECK(histogram.percentile(0.5) == ValueRange{});
  const float largest = std::numeric_limits<float>::max();
  histogram.observe(as_row({largest, -largest, 0x1p-149f}));
  CHECK(histogram.range() == ValueRange{-largest, largest});
  CHECK(histogram.percentile(1) == ValueRange{-largest, largest});
}

// The sum of squared errors, by quantize and dequantize.
double squared_error(const std::vector<float>& x, const AffineParams& params,
                     const AffineFormat& format) {
  std::vector<std::uint8_t> codes(x.size());
  std::vector<float> y(x.size());
  float scale = params.scale;
  auto zero_point = static_cast<std::uint8_t>(params.zero_point);
  const auto n = static_cast<index_t>(x.size());
  const MutableGroupQuantizedView view = {
      .codes = codes.data(),
      .rows = 1,
      .cols = n,
      .row_bytes = n,
      .bits = format.bits,
      .is_signed = format.is_signed,
      .group = n,
      .scales = &scale,
      .zero_points = format.zero == ZeroPoint::kZero ? nullptr : &zero_point};
  quantize(as_row(x), view,
           {.scaling = Scaling::kGiven,
            .symmetric = format.zero == ZeroPoint::kMiddle,
            .full_range = format.full_range});
  dequantize(view, row_major(y, {index_t{1}, n}));
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
  }
  return sum;
}

TEST_CASE("clipping with the least square error", "[calibration]") {
  StdThreads threads{3};
  Context context;
  context.executor = Executor::from_function(3, threads);
  const std::vector<float> x = samples(3000, 5);
  ValueHistogram histogram(1 << 14);
  histogram.observe(as_row(x));
  for (const int bits : {2, 4, 8}) {
    for (const bool is_signed : {false, true}) {
      for (const ZeroPoint zero : {ZeroPoint::kMiddle, ZeroPoint::kFree}) {
        const AffineFormat format = {.bits = bits, .is_signed = is_signed, .zero = zero};
        const ClipSearch search = {.least = 0.1, .steps = 60};
        const AffineParams found = least_squares(as_row(x), format, search);
        CHECK(found ==
              least_squares(as_row(x), format, {.least = 0.1, .steps = 60, .context = &context}));
        const double error = squared_error(x, found, format);
        const ValueRange range = value_range(as_row(x));
        double best = std::numeric_limits<double>::infinity();
        for (int step = 0; step <= 60; ++step) {
          const double part = 1 - 0.015 * step;
          const AffineParams params = affine_params(
              {static_cast<float>(range.min * part), static_cast<float>(range.max * part)}, format);
          best = std::min(best, squared_error(x, params, format));
        }
        CAPTURE(bits, is_signed, static_cast<int>(zero));
        CHECK(error <= best * (1 + 1e-5));
        CHECK(error >= best * (1 - 1e-5));
        CHECK(error <= squared_error(x, affine_params(range, format), format));
        // Bins are far narrower than steps.
        CHECK(squared_error(x, histogram.least_squares(format, search), format) <= 1.02 * best);
      }
    }
  }
}

TEST_CASE("calibration has the same bits everywhere", "[calibration]") {
  Digest digest;
  ValueHistogram histogram;
  MovingAverageRange average;
  for (const std::uint64_t seed : {1, 2, 3}) {
    const std::vector<float> x = samples(2000, seed);
    histogram.observe(as_row(x));
    average.observe(as_row(x));
    for (const int bits : {2, 4, 8}) {
      digest.add(least_squares(as_row(x), {.bits = bits}).scale);
      digest.add(histogram.least_squares({.bits = bits, .zero = ZeroPoint::kFree}).scale);
    }
    digest.add(average.range().min);
    digest.add(histogram.percentile(0.99).max);
  }
  CHECK(digest.value() == 0x756d2df2d18eb161);
}

TEST_CASE("clipping of special values", "[calibration]") {
  const AffineFormat format;
  CHECK(least_squares(as_row({NAN, kInfinity}), format) == AffineParams{});
  CHECK(least_squares(as_row({127, NAN, -127, kInfinity}), format) == AffineParams{1, 0});
  std::vector<float> x = samples(3000, 6);
  const AffineParams found = least_squares(as_row(x), {.bits = 4});
  CHECK(found.scale < affine_params(value_range(as_row(x)), {.bits = 4}).scale);
  x.insert(x.end(), {NAN, kInfinity, -kInfinity});
  CHECK(least_squares(as_row(x), {.bits = 4}) == found);
  CHECK(least_squares(row_major(static_cast<const float*>(nullptr), {0, 4}), format) ==
        AffineParams{});
}

TEST_CASE("affine_params", "[calibration]") {
  const ValueRange range = {-1, 3};
  CHECK(affine_params(range, {}) == AffineParams{3.0f / 127, 0});
  CHECK(affine_params(range, {.full_range = true}) == AffineParams{3.0f / 127, 0});
  CHECK(affine_params({-3, 1}, {.full_range = true}) == AffineParams{3.0f / 128, 0});
  CHECK(affine_params(range, {.is_signed = false}) == AffineParams{3.0f / 127, 128});
  CHECK(affine_params(range, {.is_signed = false, .zero = ZeroPoint::kZero}) ==
        AffineParams{3.0f / 255, 0});
  CHECK(affine_params(range, {.is_signed = false, .zero = ZeroPoint::kFree}) ==
        AffineParams{4.0f / 255, 64});
  CHECK(affine_params(range, {.zero = ZeroPoint::kFree}) == AffineParams{4.0f / 255, -64});
  CHECK(affine_params(range, {.bits = 4, .zero = ZeroPoint::kFree}, DType::kF16) ==
        AffineParams{static_cast<float>(f16(4.0f / 15)), -4});
}

TEST_CASE("calibration refuses wrong arguments", "[calibration]") {
  const std::vector<float> x(4);
  ValueHistogram histogram;
  CHECK(error_of([&] { value_range(row_major(static_cast<const float*>(nullptr), {2, 2})); }) ==
        "value_range: x: expected data for extents {2, 2}, got a null pointer");
  CHECK(error_of([&] { value_range(row_major(x.data(), {-2, 2})); }) ==
        "value_range: x: expected extents of at least 0, got {-2, 2}");
  CHECK(error_of([] { MovingAverageRange average(1); }) ==
        "MovingAverageRange: momentum: expected at least 0, and less than 1, got 1.000000");
  CHECK(error_of([] {
          MovingAverageRange average(NAN);
        }).starts_with("MovingAverageRange: momentum"));
  CHECK(error_of([] { ValueHistogram bins(100); }) ==
        "ValueHistogram: bins: expected a power of two, at least 4, got 100");
  CHECK(error_of([] { ValueHistogram bins(-4); }).starts_with("ValueHistogram: bins"));
  CHECK(error_of([&] { (void)histogram.percentile(0); }) ==
        "ValueHistogram::percentile: kept: expected more than 0, and 1 at most, got 0.000000");
  CHECK(
      error_of([&] { (void)histogram.percentile(1.5); }).starts_with("ValueHistogram::percentile"));
  CHECK(error_of([&] { least_squares(as_row(x), {.bits = 9}); }) ==
        "least_squares: format.bits: expected 2 to 8, got 9");
  CHECK(error_of([&] { least_squares(as_row(x), {}, {.least = 0}); }) ==
        "least_squares: search.least: expected more than 0, and 1 at most, got 0.000000");
  CHECK(error_of([&] { (void)histogram.least_squares({}, {.steps = 0}); }) ==
        "least_squares: search.steps: expected at least 1, got 0");
}

}  // namespace
}  // namespace tessera::test
