// SPDX-License-Identifier: Apache-2.0
// Quantization to 8-bit floats in blocks, against a search for the nearest number.

#include "tessera/ops/fp8_quantize.h"

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
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tessera/ref/fp8_quantize.h"
#include "testing.h"

namespace tessera::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The finite numbers of a format, by magnitude: code c stands for values[c].
std::vector<double> magnitudes(Fp8Format format) {
  const int mantissa = format == Fp8Format::kE4M3 ? 3 : 2,
            bias = format == Fp8Format::kE4M3 ? 7 : 15;
  const int count = format == Fp8Format::kE4M3 ? 0x7f : 0x7c;
  std::vector<double> values;
  for (int code = 0; code < count; ++code) {
    const int exponent = code >> mantissa, fraction = code & ((1 << mantissa) - 1);
    values.push_back(exponent == 0
                         ? std::ldexp(fraction, 1 - bias - mantissa)
                         : std::ldexp((1 << mantissa) + fraction, exponent - bias - mantissa));
  }
  return values;
}

// The code whose number is nearest, of two the even one; saturates.
std::uint8_t nearest(float x, const std::vector<double>& values) {
  const double magnitude = std::abs(static_cast<double>(x));
  std::size_t best = 0;
  for (std::size_t c = 1; c < values.size(); ++c) {
    const double distance = std::abs(magnitude - values[c]),
                 least = std::abs(magnitude - values[best]);
    if (distance < least || (distance == least && c % 2 == 0)) best = c;
  }
  if (std::isinf(x)) best = values.size() - 1;
  return static_cast<std::uint8_t>(best | (std::signbit(x) ? 0x80u : 0u));
}

struct Case {
  index_t rows = 1, cols = 1, block_rows = 1, block_cols = 1;
  Fp8Format format = Fp8Format::kE4M3;
  bool rows_share = false, cols_share = false;
  Layout layout = Layout::kRowMajor;
  Values values = Values::kModerate;
  unsigned edges = 7;
  Executor executor{};
};

std::string describe(const Case& c) {
  const auto number = [](auto x) { return " " + std::to_string(x); };
  return "rows,cols" + number(c.rows) + number(c.cols) + ", blocks" + number(c.block_rows) +
         number(c.block_cols) + ", format" + number(static_cast<int>(c.format)) + ", shared" +
         number(c.rows_share) + number(c.cols_share) + ", layout" +
         number(static_cast<int>(c.layout)) + ", values" + number(static_cast<int>(c.values)) +
         ", edges" + number(c.edges);
}

struct Workspace {
  GuardedMemory src, codes, scales;
  Random random;
};

std::string run_case(Workspace& w, const Case& c) {
  const auto edge = [&](unsigned bit) { return c.edges & bit ? Edge::kEnd : Edge::kStart; };
  Matrix<float> src(w.src, c.rows, c.cols, c.layout, edge(1));
  src.fill(w.random, c.values);
  const auto x = src.read_only();
  const index_t block_rows_count = (c.rows + c.block_rows - 1) / c.block_rows;
  const index_t block_cols_count = (c.cols + c.block_cols - 1) / c.block_cols;
  const index_t scale_rows = c.rows_share ? 1 : block_rows_count;
  const index_t scale_cols = c.cols_share ? 1 : block_cols_count;
  const auto place_of = [&](index_t i, index_t j) {
    return static_cast<std::size_t>((c.rows_share ? 0 : i / c.block_rows) * scale_cols +
                                    (c.cols_share ? 0 : j / c.block_cols));
  };
  const std::vector<double> values = magnitudes(c.format);
  const auto count = static_cast<std::size_t>(scale_rows * scale_cols);
  std::vector<float> scales(count);
  for (index_t i = 0; i < c.rows; ++i) {
    for (index_t j = 0; j < c.cols; ++j) {
      if (std::isfinite(x(i, j))) {
        scales[place_of(i, j)] = std::max(scales[place_of(i, j)], std::abs(x(i, j)));
      }
    }
  }
  for (float& scale : scales) {
    scale = scale == 0 ? 1.0f : std::max(scale / static_cast<float>(values.back()), 0x1p-149f);
  }
  const index_t row_bytes = c.cols + c.rows % 3;
  const auto bytes = static_cast<std::size_t>((c.rows - 1) * row_bytes + c.cols);
  std::vector<std::uint8_t> codes(bytes, kPoison);
  for (index_t i = 0; i < c.rows; ++i) {
    for (index_t j = 0; j < c.cols; ++j) {
      std::uint8_t& code = codes[static_cast<std::size_t>(i * row_bytes + j)];
      code = std::isnan(x(i, j)) ? 0x7f : nearest(x(i, j) / scales[place_of(i, j)], values);
    }
  }
  MutableFp8BlockView dst = {
      .codes = w.codes.place<std::uint8_t>(bytes, edge(2)),
      .rows = c.rows,
      .cols = c.cols,
      .row_bytes = row_bytes,
      .format = c.format,
      .block_rows = c.block_rows,
      .block_cols = c.block_cols,
      .scales = w.scales.place<float>(count, edge(4)),
      .scale_strides = {c.rows_share ? 0 : scale_cols, c.cols_share ? 0 : 1}};
  Context context;
  context.executor = c.executor;
  const auto difference = [&]() -> std::string {
    if (!w.src.margin_intact() || !w.codes.margin_intact() || !w.scales.margin_intact()) {
      return "it wrote next to an array";
    }
    if (!std::equal(scales.begin(), scales.end(), dst.scales)) return "scales";
    for (std::size_t b = 0; b < bytes; ++b) {
      const bool both_nan =
          (codes[b] & 0x7f) == 0x7f && std::isnan(fp8_decode(dst.codes[b], c.format));
      if (dst.codes[b] != codes[b] && !both_nan) return "codes";
    }
    return "";
  };
  quantize(x, dst, {.context = &context});
  if (auto text = difference(); !text.empty()) return text;
  std::fill_n(dst.codes, bytes, std::uint8_t{kPoison});
  quantize(x, dst, {.given_scales = true, .context = &context});
  if (auto text = difference(); !text.empty()) return "given: " + text;
  std::fill_n(dst.codes, bytes, std::uint8_t{kPoison});
  ref::quantize(x, dst);
  if (auto text = difference(); !text.empty()) return "specification: " + text;

  Matrix<float> result(w.src, c.rows, c.cols, c.layout, edge(1));
  std::vector<float> want = result.copy();
  for (index_t i = 0; i < c.rows; ++i) {
    for (index_t j = 0; j < c.cols; ++j) {
      const std::uint8_t code = codes[static_cast<std::size_t>(i * row_bytes + j)];
      const std::size_t magnitude = code & 0x7fu;
      const double value =
          magnitude < values.size() ? values[magnitude] : std::numeric_limits<double>::quiet_NaN();
      result.view_of(want)(i, j) =
          static_cast<float>(code >= 0x80 ? -value : value) * scales[place_of(i, j)];
    }
  }
  dequantize(dst, result.view(), {.context = &context});
  if (auto text = result.difference(want); !text.empty()) return "dequantize: " + text;
  ref::dequantize(dst, result.view());
  if (auto text = result.difference(want); !text.empty()) return "ref::dequantize: " + text;
  return "";
}

TEST_CASE("quantize to 8-bit floats writes what it says", "[fp8]") {
  constexpr std::array<std::array<index_t, 2>, 6> kShapes = {
      {{1, 1}, {3, 7}, {2, 33}, {9, 130}, {5, 128}, {4, 257}}};
  constexpr std::array<std::array<index_t, 2>, 5> kBlocks = {
      {{1, 1}, {1, 128}, {2, 3}, {128, 128}, {4, 32}}};
  Workspace w;
  Tally tally;
  unsigned count = 0;
  for (const auto& [rows, cols] : kShapes) {
    for (const auto& [block_rows, block_cols] : kBlocks) {
      for (unsigned flags = 0; flags < 8; ++flags) {
        for (const Values values : {Values::kModerate, Values::kWide, Values::kAnyBits}) {
          ++count;
          Case c{.rows = rows, .cols = cols, .block_rows = block_rows, .block_cols = block_cols};
          c.format = flags & 1 ? Fp8Format::kE5M2 : Fp8Format::kE4M3;
          c.rows_share = flags & 2;
          c.cols_share = flags & 4;
          c.values = values;
          c.layout = kOutputLayouts[count % kOutputLayouts.size()];
          c.edges = count / 3 % 8;
          tally.add(run_case(w, c), [&] { return describe(c); });
        }
      }
    }
  }
}

TEST_CASE("quantize to 8-bit floats does not depend on threads", "[fp8]") {
  StdThreads threads{4};
  Shuffled shuffled;
  Workspace w;
  Tally tally;
  for (const Executor& executor :
       {Executor::from_function(4, threads), Executor::from_function(16, shuffled)}) {
    for (const bool share : {false, true}) {
      Case c{.rows = 70, .cols = 300, .block_rows = 32, .block_cols = 128};
      c.rows_share = c.cols_share = share;
      c.executor = executor;
      tally.add(run_case(w, c), [&] { return describe(c); });
    }
  }
}

TEST_CASE("8-bit floats of special values", "[fp8]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {kInfinity, -kInfinity, nan, 1000, 0};
  std::vector<std::uint8_t> codes(5);
  float scale = 1;
  MutableFp8BlockView dst = {.codes = codes.data(),
                             .rows = 1,
                             .cols = 5,
                             .row_bytes = 5,
                             .block_rows = 1,
                             .block_cols = 5,
                             .scales = &scale};
  const auto run = [&](Fp8Format format, Overflow overflow) {
    dst.format = format;
    quantize(row_major(x, {1, 5}), dst, {.given_scales = true, .overflow = overflow});
    return codes;
  };
  using Codes = std::vector<std::uint8_t>;
  CHECK(run(Fp8Format::kE4M3, Overflow::kSaturate) == Codes{0x7e, 0xfe, 0x7f, 0x7e, 0});
  CHECK(run(Fp8Format::kE4M3, Overflow::kInfinityOrNaN) == Codes{0x7f, 0xff, 0x7f, 0x7f, 0});
  const Codes ieee = run(Fp8Format::kE5M2, Overflow::kInfinityOrNaN);
  CHECK(ieee[0] == 0x7c);
  CHECK(ieee[1] == 0xfc);
  CHECK(std::isnan(fp8_decode(ieee[2], Fp8Format::kE5M2)));
  CHECK(ieee[3] == 0x64);  // 1024
  quantize(row_major(x, {1, 5}), dst);
  CHECK(scale == 1000.0f / 57344);
}

TEST_CASE("8-bit floats: wrong arguments are refused", "[fp8]") {
  std::vector<float> x(12, 1.0f), y(12);
  std::vector<std::uint8_t> codes(12);
  std::vector<float> scales(4);
  const MutableFp8BlockView good = {.codes = codes.data(),
                                    .rows = 3,
                                    .cols = 4,
                                    .row_bytes = 4,
                                    .block_rows = 2,
                                    .block_cols = 2,
                                    .scales = scales.data(),
                                    .scale_strides = {2, 1}};
  MutableFp8BlockView dst = good;
  const auto refused = [&] { return error_of([&] { quantize(row_major(x, {3, 4}), dst); }); };
  dst.rows = 2;
  CHECK(refused() == "quantize: dst: expected extents {3, 4}, those of src, got {2, 4}");
  dst.rows = -1;
  CHECK(refused() == "quantize: dst: expected rows and cols of at least 0, got {-1, 4}");
  dst = good;
  dst.block_cols = 0;
  CHECK(refused() == "quantize: dst.block_rows, block_cols: expected at least 1, got {2, 0}");
  dst = good;
  dst.row_bytes = 3;
  CHECK(refused() == "quantize: dst.row_bytes: expected at least 4 for as many columns, got 3");
  dst = good;
  dst.scales = nullptr;
  CHECK(refused() == "quantize: dst.scales: expected data for extents {2, 2}, got a null pointer");
  dst = good;
  dst.scale_strides = {1, 1};
  CHECK(refused() ==
        "quantize: dst.scales: expected strides that visit each element once, got extents {2, 2}, "
        "strides {1, 1}");
  dst = good;
  dst.scales = x.data();
  CHECK(refused() ==
        "quantize: dst.scales: expected memory that does not overlap src, got an overlapping view");
  dst = good;
  CHECK(error_of([&] { dequantize(dst, row_major(y, {4, 3})); }) ==
        "dequantize: dst: expected extents {3, 4}, those of src, got {4, 3}");
  CHECK(x == std::vector<float>(12, 1.0f));
  CHECK(y == std::vector<float>(12));
  CHECK(codes == std::vector<std::uint8_t>(12));
  CHECK(scales == std::vector<float>(4));
}

}  // namespace
}  // namespace tessera::test
