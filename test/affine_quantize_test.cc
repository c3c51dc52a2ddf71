// SPDX-License-Identifier: Apache-2.0
// Affine quantization in groups, against a quantizer written from the documentation: bits, layouts, memory, threads,
// special values, errors.

#include "tessera/ops/affine_quantize.h"

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tessera/core/quantized_matrix.h"
#include "tessera/ref/affine_quantize.h"
#include "testing.h"

namespace tessera::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

enum class Content { kModerate, kWide, kAnyBits, kConstantRows, kSmallIntegers };

struct Case {
  index_t rows = 1, cols = 1, group = 1;
  int bits = 8;
  bool is_signed = true, zero_points = false;
  DType scale_type = DType::kF32;
  bool rows_share = false, groups_share = false, reversed = false;
  Scaling scaling = Scaling::kMinMax;
  bool symmetric = false, full_range = false;
  Layout layout = Layout::kRowMajor;
  Content content = Content::kModerate;
  unsigned edges = 15;
  Executor executor{};

  index_t groups() const { return (cols + group - 1) / group; }
  index_t bytes() const { return (cols * bits + 7) / 8; }
};

std::string describe(const Case& c) {
  const auto number = [](auto x) { return " " + std::to_string(x); };
  return "rows,cols,group" + number(c.rows) + number(c.cols) + number(c.group) + ", bits" +
         number(c.bits) + (c.is_signed ? " signed" : " unsigned") +
         (c.zero_points ? ", zero points" : "") + ", scales of type" +
         number(static_cast<int>(c.scale_type)) + ", shared" + number(c.rows_share) +
         number(c.groups_share) + (c.reversed ? ", reversed" : "") + ", scaling" +
         number(static_cast<int>(c.scaling)) + (c.symmetric ? ", symmetric" : "") +
         (c.full_range ? ", full range" : "") + ", layout" + number(static_cast<int>(c.layout)) +
         ", content" + number(static_cast<int>(c.content)) + ", edges" + number(c.edges);
}

void fill(Random& random, const View<float, 2>& x, Content content) {
  for (index_t i = 0; i < x.extent(0); ++i) {
    const float constant = random.value<float>(Values::kModerate);
    for (index_t j = 0; j < x.extent(1); ++j) {
      x(i, j) = content == Content::kConstantRows    ? constant
                : content == Content::kSmallIntegers ? static_cast<float>(random.below(5) - 2)
                : content == Content::kWide          ? random.value<float>(Values::kWide)
                : content == Content::kAnyBits       ? random.value<float>(Values::kAnyBits)
                                                     : random.value<float>(Values::kModerate);
    }
  }
}

// A scale as it is stored, and its bytes.
float stored(double scale, DType type, std::vector<unsigned char>& bytes) {
  if (scale == 0) scale = 1;
  const auto x = static_cast<float>(scale);
  const auto put = [&](auto y, auto least, auto largest) {
    if (static_cast<float>(y) == 0) y = least;
    if (std::isinf(static_cast<float>(y))) y = largest;
    bytes.resize(sizeof y);
    std::memcpy(bytes.data(), &y, sizeof y);
    return static_cast<float>(y);
  };
  if (type == DType::kF16) return put(f16(x), f16::from_bits(1), f16::from_bits(0x7bff));
  if (type == DType::kBF16) return put(bf16(x), bf16::from_bits(1), bf16::from_bits(0x7f7f));
  return put(x, std::numeric_limits<float>::denorm_min(), kLargest);
}

// The memory of a quantized matrix: poison where nothing is to be written.
struct Image {
  std::vector<unsigned char> codes, scales, zero_points;
  std::vector<float> scale;  // decoded, as many as there are
  std::vector<int> zero_point;
};

// What quantize is documented to write, computed without any of its code.
Image naive(const Case& c, const View<const float, 2>& x, index_t row_bytes) {
  const auto size = static_cast<std::size_t>(size_of(c.scale_type));
  const index_t rows = c.rows_share ? std::min<index_t>(c.rows, 1) : c.rows;
  const index_t groups = c.groups_share ? std::min<index_t>(c.cols, 1) : c.groups();
  Image image;
  image.codes.assign(
      static_cast<std::size_t>(c.rows > 0 ? (c.rows - 1) * row_bytes + c.bytes() : 0), kPoison);
  const int lowest = c.is_signed ? -(1 << (c.bits - 1)) : 0, highest = lowest + (1 << c.bits) - 1;
  const bool free = c.zero_points && !c.symmetric;
  const int middle = c.zero_points && !c.is_signed ? 1 << (c.bits - 1) : 0;
  const bool full = c.full_range && c.scaling != Scaling::kAbsMean;
  const int low = free || full || lowest == middle ? lowest : lowest + 1;
  for (index_t r = 0; r < rows; ++r) {
    for (index_t g = 0; g < groups; ++g) {
      double least = 0, most = 0, sum = 0;
      int count = 0;
      for (index_t i = 0; i < c.rows; ++i) {
        double row_sum = 0;
        for (index_t j = 0; j < c.cols; ++j) {
          if ((!c.rows_share && i != r) || (!c.groups_share && j / c.group != g)) continue;
          if (!std::isfinite(x(i, j))) continue;
          least = std::min(least, static_cast<double>(x(i, j)));
          most = std::max(most, static_cast<double>(x(i, j)));
          row_sum += std::fabs(static_cast<double>(x(i, j)));
          ++count;
        }
        sum += row_sum;
      }
      double scale = 0;
      if (c.scaling == Scaling::kAbsMean) {
        scale = count > 0 ? sum / count : 0;
      } else if (free) {
        scale = (most - least) / (highest - lowest);
      } else {
        scale = most / (highest - middle);
        if (low < middle) scale = std::max(scale, least / (low - middle));
      }
      std::vector<unsigned char> bytes;
      image.scale.push_back(stored(scale, c.scale_type, bytes));
      image.scales.insert(image.scales.end(), bytes.begin(), bytes.end());
      double zero = middle;
      if (free) zero = std::rint(lowest - least / static_cast<double>(image.scale.back()));
      zero = std::min<double>(std::max<double>(zero, lowest), highest);
      image.zero_point.push_back(static_cast<int>(zero));
      image.zero_points.push_back(static_cast<unsigned char>(static_cast<int>(zero)));
    }
  }
  CHECK(image.scales.size() == image.scale.size() * size);
  for (index_t i = 0; i < c.rows; ++i) {
    const index_t start = (c.reversed ? c.rows - 1 - i : i) * row_bytes;
    for (index_t b = 0; b < c.bytes(); ++b) image.codes[static_cast<std::size_t>(start + b)] = 0;
    for (index_t j = 0; j < c.cols; ++j) {
      const index_t at = (c.rows_share ? 0 : i) * groups + (c.groups_share ? 0 : j / c.group);
      const float q = x(i, j) / image.scale[static_cast<std::size_t>(at)];
      const int zero = image.zero_point[static_cast<std::size_t>(at)];
      double code = std::isnan(q) ? zero : std::rint(static_cast<double>(q)) + zero;
      code = std::min<double>(std::max<double>(code, low), highest);
      const unsigned field = static_cast<unsigned>(static_cast<int>(code)) & ((1u << c.bits) - 1);
      image.codes[static_cast<std::size_t>(start + j * c.bits / 8)] |=
          static_cast<unsigned char>(field << (j * c.bits % 8));
    }
  }
  return image;
}

struct Workspace {
  GuardedMemory src, codes, scales, zero_points;
  Random random;
};

bool holds(const void* memory, const std::vector<unsigned char>& bytes) {
  return std::equal(bytes.begin(), bytes.end(), static_cast<const unsigned char*>(memory));
}

Edge edge(const Case& c, unsigned bit) { return c.edges & bit ? Edge::kEnd : Edge::kStart; }

std::string run_case(Workspace& w, const Case& c) {
  Matrix<float> src(w.src, c.rows, c.cols, c.layout, edge(c, 1));
  fill(w.random, src.view(), c.content);
  const index_t row_bytes = c.bytes() + c.cols % 3;
  const Image expected = naive(c, src.read_only(), row_bytes);
  const std::size_t count = expected.scale.size();
  const index_t groups = c.groups_share ? 1 : c.groups();
  const std::array<index_t, 2> strides = {c.rows_share ? 0 : groups, c.groups_share ? 0 : 1};
  std::uint8_t* const codes = w.codes.place<std::uint8_t>(expected.codes.size(), edge(c, 2));
  void* const scales = c.scale_type == DType::kF32
                           ? static_cast<void*>(w.scales.place<float>(count, edge(c, 4)))
                           : static_cast<void*>(w.scales.place<std::uint16_t>(count, edge(c, 4)));
  std::uint8_t* const zeros = w.zero_points.place<std::uint8_t>(count, edge(c, 8));
  const MutableGroupQuantizedView dst = {
      .codes = codes + (c.reversed ? (c.rows - 1) * row_bytes : 0),
      .rows = c.rows,
      .cols = c.cols,
      .row_bytes = c.reversed ? -row_bytes : row_bytes,
      .bits = c.bits,
      .is_signed = c.is_signed,
      .group = c.group,
      .scales = scales,
      .scale_type = c.scale_type,
      .scale_strides = strides,
      .zero_points = c.zero_points ? zeros : nullptr,
      .zero_point_strides = strides};
  Context context;
  context.executor = c.executor;
  const AffineOptions options = {.scaling = c.scaling,
                                 .symmetric = c.symmetric,
                                 .full_range = c.full_range,
                                 .context = &context};
  const auto difference = [&]() -> std::string {
    if (!w.src.margin_intact() || !w.codes.margin_intact() || !w.scales.margin_intact() ||
        !w.zero_points.margin_intact()) {
      return "it wrote next to an array";
    }
    if (!holds(scales, expected.scales)) return "scales";
    if (c.zero_points && !holds(zeros, expected.zero_points)) return "zero points";
    if (!holds(codes, expected.codes)) return "codes";
    return "";
  };
  quantize(src.read_only(), dst, options);
  if (auto text = difference(); !text.empty()) return text;
  // With the scales that are there now, the same codes.
  std::fill_n(codes, expected.codes.size(), std::uint8_t{kPoison});
  if (c.scaling == Scaling::kMinMax) {
    AffineOptions given = options;
    given.scaling = Scaling::kGiven;
    quantize(src.read_only(), dst, given);
    if (auto text = difference(); !text.empty()) return "given: " + text;
  }
  // The specification, whose unused bits stay as they were.
  for (index_t i = 0; i < c.rows; ++i) std::fill_n(dst.codes + i * dst.row_bytes, c.bytes(), 0);
  ref::quantize(src.read_only(), dst, c.scaling, c.symmetric, c.full_range);
  if (auto text = difference(); !text.empty()) return "specification: " + text;

  Matrix<float> values(w.src, c.rows, c.cols, c.layout, edge(c, 1));
  std::vector<float> want = values.copy();
  for (index_t i = 0; i < c.rows; ++i) {
    for (index_t j = 0; j < c.cols; ++j) {
      const index_t at = (c.rows_share ? 0 : i) * groups + (c.groups_share ? 0 : j / c.group);
      const unsigned byte = dst.codes[i * dst.row_bytes + j * c.bits / 8];
      int code = static_cast<int>(byte >> (j * c.bits % 8) & ((1u << c.bits) - 1));
      if (c.is_signed && code >= 1 << (c.bits - 1)) code -= 1 << c.bits;
      values.view_of(want)(i, j) =
          static_cast<float>(code - expected.zero_point[static_cast<std::size_t>(at)]) *
          expected.scale[static_cast<std::size_t>(at)];
    }
  }
  dequantize(dst, values.view(), {.context = &context});
  if (auto text = values.difference(want); !text.empty()) return "dequantize: " + text;
  ref::dequantize(dst, values.view());
  if (auto text = values.difference(want); !text.empty()) return "ref::dequantize: " + text;
  return "";
}

TEST_CASE("quantize in groups writes what it says", "[affine]") {
  constexpr std::array<DType, 3> kTypes = {DType::kF32, DType::kF16, DType::kBF16};
  constexpr std::array<std::array<index_t, 2>, 13> kShapes = {{{1, 1},
                                                               {3, 2},
                                                               {2, 3},
                                                               {5, 7},
                                                               {1, 31},
                                                               {4, 32},
                                                               {2, 65},
                                                               {3, 255},
                                                               {2, 256},
                                                               {2, 257},
                                                               {1, 530},
                                                               {0, 5},
                                                               {5, 0}}};
  Workspace w;
  Tally tally;
  Sampler sampler(10);
  unsigned count = 0;
  for (const int bits : {8, 4, 2}) {
    for (const auto& [rows, cols] : kShapes) {
      for (const index_t group : {index_t{1}, index_t{3}, index_t{32}, index_t{100}, cols + 1}) {
        for (unsigned flags = 0; flags < 64; ++flags) {
          ++count;
          if (sampler.skip()) continue;
          Case c{.rows = rows, .cols = cols, .group = group, .bits = bits};
          c.is_signed = flags & 1;
          c.zero_points = flags & 2;
          c.symmetric = flags & 4;
          c.full_range = flags & 8;
          c.rows_share = flags & 16;
          c.groups_share = flags & 32;
          c.reversed = count % 5 == 0;
          c.scale_type = kTypes[count % 3];
          c.layout = kOutputLayouts[count / 3 % kOutputLayouts.size()];
          c.content = static_cast<Content>(count / 2 % 5);
          c.edges = count / 7 % 16;
          tally.add(run_case(w, c), [&] { return describe(c); });
        }
      }
    }
  }
}

TEST_CASE("ternary codes", "[affine]") {
  Workspace w;
  Tally tally;
  for (const index_t cols : {1, 5, 300}) {
    for (const index_t group : {index_t{32}, cols}) {
      for (unsigned flags = 0; flags < 8; ++flags) {
        for (int content = 0; content < 5; ++content) {
          Case c{.rows = 4, .cols = cols, .group = group, .bits = 2, .scaling = Scaling::kAbsMean};
          c.rows_share = flags & 1;
          c.groups_share = flags & 2;
          c.full_range = flags & 4;  // changes nothing
          c.content = static_cast<Content>(content);
          tally.add(run_case(w, c), [&] { return describe(c); });
        }
      }
    }
  }
  // By hand: the mean magnitude is 2, halves of it round to even.
  const std::vector<float> x = {4, -1, 1, -3, 3.5f, -0.5f, 1, 2};
  GroupQuantizedMatrix q({.rows = 1, .cols = 8, .bits = 2});
  quantize(row_major(x, {1, 8}), q.view(), {.scaling = Scaling::kAbsMean});
  CHECK(q.view().scale(0, 0) == 2);
  const std::vector<int> expected = {1, 0, 0, -1, 1, 0, 0, 1};
  for (index_t j = 0; j < 8; ++j)
    CHECK(q.view().code(0, j) == expected[static_cast<std::size_t>(j)]);
}

TEST_CASE("quantize does not depend on threads", "[affine]") {
  StdThreads threads{4};
  Reversed reversed;
  Shuffled shuffled;
  const std::array executors = {Executor::from_function(4, threads),
                                Executor::from_function(3, reversed),
                                Executor::from_function(16, shuffled)};
  Workspace w;
  Tally tally;
  for (unsigned flags = 0; flags < 16; ++flags) {
    for (const Executor& executor : executors) {
      Case c{.rows = 61, .cols = 517, .group = 32};
      c.bits = flags & 1 ? 4 : 2;
      c.zero_points = flags & 2;
      c.rows_share = flags & 4;
      c.groups_share = flags & 8;
      c.scaling = c.bits == 2 && !c.zero_points ? Scaling::kAbsMean : Scaling::kMinMax;
      c.executor = executor;
      tally.add(run_case(w, c), [&] { return describe(c); });
    }
  }
}

TEST_CASE("quantize has the same bits everywhere", "[affine]") {
  Random random;
  std::vector<float> x(20 * 333);
  for (float& v : x) v = random.value<float>(Values::kModerate);
  Digest digest;
  for (const int bits : {8, 4, 2}) {
    for (const DType type : {DType::kF32, DType::kF16}) {
      for (const bool zero_points : {false, true}) {
        GroupQuantizedMatrix q({.rows = 20,
                                .cols = 333,
                                .bits = bits,
                                .group = 64,
                                .scale_type = type,
                                .has_zero_points = zero_points});
        const bool ternary = bits == 2 && !zero_points;
        quantize(row_major(x, {20, 333}), q.view(),
                 {.scaling = ternary ? Scaling::kAbsMean : Scaling::kMinMax});
        std::vector<float> y(x.size());
        dequantize(q.view(), row_major(y, {20, 333}));
        for (const float v : y) digest.add(v);
      }
    }
  }
  CHECK(digest.value() == 0x7efd7e7dae2d7c92);
}

// |x - value| <= scale (1/2 + levels u + 3 levels 2^-24): half a step; what saturates because the scale was rounded
// (by u, relative to it); and the roundings of f32 scale, quotient and value.
TEST_CASE("elements are half a step from their values", "[affine]") {
  Random random;
  std::vector<float> x(6 * 128), y(x.size());
  for (float& v : x) v = random.value<float>(Values::kModerate);
  for (int i = 0; i < 128; ++i) x[128 + static_cast<std::size_t>(i)] = 3.25f;    // constant rows
  for (int i = 0; i < 128; ++i) x[256 + static_cast<std::size_t>(i)] = -1e-20f;  // tiny for f16
  for (float& v : std::span(x).subspan(384, 128)) v = std::abs(v) + 5;           // all above zero
  const auto src = row_major(x, {6, 128});
  for (const int bits : {8, 4, 2}) {
    for (const bool is_signed : {false, true}) {
      for (unsigned flags = 0; flags < 4; ++flags) {
        for (const auto& [type, u] :
             {std::pair{DType::kF32, 0.0}, {DType::kF16, 0x1p-11}, {DType::kBF16, 0x1p-8}}) {
          GroupQuantizedMatrix q({.rows = 6,
                                  .cols = 128,
                                  .bits = bits,
                                  .is_signed = is_signed,
                                  .group = 32,
                                  .scale_type = type,
                                  .has_zero_points = true});
          quantize(src, q.view(), {.symmetric = (flags & 1) != 0, .full_range = (flags & 2) != 0});
          dequantize(q.view(), row_major(y, {6, 128}));
          const double levels = 1 << bits;
          int outside = 0;
          for (index_t i = 0; i < 6; ++i) {
            for (index_t j = 0; j < 128; ++j) {
              const auto at = static_cast<std::size_t>(i * 128 + j);
              const double scale = static_cast<double>(q.view().scale(i, j / 32));
              const double bound = scale * (0.5 + levels * (u + 3 * 0x1p-24));
              outside +=
                  !(std::abs(static_cast<double>(x[at]) - static_cast<double>(y[at])) <= bound);
            }
          }
          CAPTURE(bits, is_signed, flags, static_cast<int>(type));
          CHECK(outside == 0);
        }
      }
    }
  }
}

TEST_CASE("quantize of special values", "[affine]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  GroupQuantizedMatrix s8({.rows = 1, .cols = 5}),
      u8({.rows = 1, .cols = 5, .is_signed = false, .has_zero_points = true});
  const auto codes = [](const GroupQuantizedMatrix& q) {
    std::vector<int> result;
    for (index_t j = 0; j < 5; ++j) result.push_back(q.view().code(0, j));
    return result;
  };
  const auto run = [&](const std::vector<float>& x) {
    quantize(row_major(x, {1, 5}), s8.view());
    quantize(row_major(x, {1, 5}), u8.view());
  };
  SECTION("NaN becomes zero, infinities saturate, and neither counts for the scale") {
    run({nan, kInfinity, -kInfinity, 127, -63.5f});
    CHECK(s8.view().scale(0, 0) == 1);
    CHECK(codes(s8) == std::vector<int>{0, 127, -127, 127, -64});
    CHECK(u8.view().scale(0, 0) == static_cast<float>(190.5 / 255));
    CHECK(u8.view().zero_point(0, 0) == 85);
    CHECK(codes(u8) == std::vector<int>{85, 255, 0, 255, 0});
  }
  SECTION("zeros have a scale of 1") {
    run({0, -0.0f, 0, 0, 0});
    CHECK(s8.view().scale(0, 0) == 1);
    CHECK(codes(s8) == std::vector<int>(5));
    CHECK(u8.view().scale(0, 0) == 1);
    CHECK(codes(u8) == std::vector<int>(5, u8.view().zero_point(0, 0)));
  }
  SECTION("nothing finite") {
    run({nan, kInfinity, -kInfinity, nan, nan});
    CHECK(s8.view().scale(0, 0) == 1);
    CHECK(codes(s8) == std::vector<int>{0, 127, -127, 0, 0});
  }
  SECTION("the ends of the range of floats") {
    run({kLargest, -kLargest, kLargest / 4, 0, 1});
    CHECK(codes(s8) == std::vector<int>{127, -127, 32, 0, 0});
    CHECK(u8.view().scale(0, 0) == static_cast<float>(2 * static_cast<double>(kLargest) / 255));
    CHECK(codes(u8)[3] == u8.view().zero_point(0, 0));
  }
  SECTION("the least floats") {
    run({0x1p-149f, -0x1p-149f, 0, 0, 0});
    CHECK(s8.view().scale(0, 0) == 0x1p-149f);
    CHECK(codes(s8) == std::vector<int>{1, -1, 0, 0, 0});
  }
  SECTION("given scales of 0, NaN, infinity and less than 0") {
    const std::vector<float> x = {1, -1, 0, nan, 1000};
    const auto with = [&](float scale) {
      s8.view().set_scale(0, 0, scale);
      quantize(row_major(x, {1, 5}), s8.view(), {.scaling = Scaling::kGiven});
      return codes(s8);
    };
    CHECK(with(0) == std::vector<int>{127, -127, 0, 0, 127});
    CHECK(with(nan) == std::vector<int>(5));
    CHECK(with(kInfinity) == std::vector<int>(5));
    CHECK(with(-1) == std::vector<int>{-1, 1, 0, 0, -127});
  }
}

TEST_CASE("given zero points may lie outside of the codes", "[affine]") {
  GroupQuantizedMatrix q(
      {.rows = 1, .cols = 3, .bits = 4, .is_signed = false, .has_zero_points = true});
  q.view().set_scale(0, 0, 1);
  q.view().set_zero_point(0, 0, 16);
  const std::vector<float> x = {-1, -16, 3};
  quantize(row_major(x, {1, 3}), q.view(), {.scaling = Scaling::kGiven});
  CHECK(q.view().code(0, 0) == 15);
  CHECK(q.view().code(0, 1) == 0);
  CHECK(q.view().code(0, 2) == 15);
  CHECK(q.view().value(0, 1) == -16);
}

TEST_CASE("inputs of dequantize may share anything", "[affine]") {
  const std::vector<std::uint8_t> codes = {0x21, 0x43};
  const float scale = 0.5f;
  const GroupQuantizedView src = {
      .codes = codes.data(), .rows = 3, .cols = 4, .bits = 4, .group = 2, .scales = &scale};
  std::vector<float> y(12);
  dequantize(src, row_major(y, {3, 4}));
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 4; ++j) {
      CHECK(y[static_cast<std::size_t>(4 * i + j)] == static_cast<float>(j + 1) / 2);
    }
  }
}

// Each row is followed by its scale.
TEST_CASE("scales may lie between the rows of codes", "[affine]") {
  constexpr int kCols = 12, kPitch = 16;
  std::vector<float> memory(4 * 3), x(3 * kCols), y(x.size());
  Random random;
  for (float& v : x) v = random.value<float>(Values::kModerate);
  const MutableGroupQuantizedView dst = {.codes = reinterpret_cast<std::uint8_t*>(memory.data()),
                                         .rows = 3,
                                         .cols = kCols,
                                         .row_bytes = kPitch,
                                         .group = kCols,
                                         .scales = memory.data() + kCols / 4,
                                         .scale_strides = {kPitch / 4, 1}};
  GroupQuantizedMatrix apart({.rows = 3, .cols = kCols});
  quantize(row_major(x, {3, kCols}), dst);
  quantize(row_major(x, {3, kCols}), apart.view());
  for (index_t i = 0; i < 3; ++i) {
    for (index_t j = 0; j < kCols; ++j) CHECK(dst.value(i, j) == apart.view().value(i, j));
  }
}

TEST_CASE("quantize and dequantize refuse wrong arguments and write nothing", "[affine]") {
  const std::vector<float> x(12, 1.0f);
  GroupQuantizedMatrix q({.rows = 3, .cols = 4, .bits = 4, .group = 2, .has_zero_points = true});
  View<const float, 2> src = row_major(x, {3, 4});
  MutableGroupQuantizedView dst = q.view();
  AffineOptions options;
  const auto refused = [&] {
    const std::string text = error_of([&] { quantize(src, dst, options); });
    for (index_t i = 0; i < 3; ++i) {
      for (index_t g = 0; g < 2; ++g) {
        CHECK(q.view().scale(i, g) == 0);
        CHECK(q.view().code(i, 2 * g) == 0);
      }
    }
    return text;
  };
  SECTION("extents") {
    src = row_major(x, {4, 3});
    CHECK(refused() == "quantize: dst: expected extents {4, 3}, those of src, got {3, 4}");
    src = row_major(x, {3, 4});
    dst.rows = -1;
    CHECK(refused() == "quantize: dst: expected rows and cols of at least 0, got {-1, 4}");
  }
  SECTION("bits, group, type of scales") {
    dst.bits = 3;
    CHECK(refused() == "quantize: dst.bits: expected 8, 4 or 2, got 3");
    dst.bits = 4;
    dst.group = 0;
    CHECK(refused() == "quantize: dst.group: expected at least 1, got 0");
    dst.group = 2;
    dst.scale_type = DType::kF64;
    CHECK(refused().starts_with("quantize: dst.scale_type: expected kF32, kF16 or kBF16, got"));
  }
  SECTION("null") {
    src.data = nullptr;
    CHECK(refused() == "quantize: src: expected data for extents {3, 4}, got a null pointer");
    src.data = x.data();
    dst.scales = nullptr;
    CHECK(refused() ==
          "quantize: dst.scales: expected data for extents {3, 2}, got a null pointer");
    dst = q.view();
    dst.codes = nullptr;
    CHECK(refused() == "quantize: dst.codes: expected data for extents {3, 2}, got a null pointer");
  }
  SECTION("rows that overlap") {
    dst.row_bytes = 1;
    CHECK(refused() ==
          "quantize: dst.row_bytes: expected at least 2 for 4 columns of 4 bits, got 1");
    dst.row_bytes = -1;
    CHECK(refused().starts_with("quantize: dst.row_bytes: expected at least 2"));
  }
  SECTION("scales that overlap each other") {
    dst.scale_strides = dst.zero_point_strides = {1, 1};
    CHECK(
        refused() ==
        "quantize: dst.scales: expected strides that visit each element once, got extents {3, 2}, "
        "strides {1, 1}");
  }
  SECTION("zero points shared otherwise than scales") {
    dst.zero_point_strides = {0, 1};
    CHECK(refused() ==
          "quantize: dst.zero_point_strides: expected zeros where scale_strides has them: {2, 1}, "
          "got {0, 1}");
  }
  SECTION("sizes that overflow") {
    src.strides[0] = std::numeric_limits<index_t>::max() / 2;
    CHECK(refused().starts_with("quantize: src: expected sizes within the address space"));
    src = row_major(x, {3, 4});
    dst.scale_strides[0] = std::numeric_limits<index_t>::max() / 4;
    CHECK(refused().starts_with("quantize: dst.scales: expected sizes within the address space"));
  }
  SECTION("codes in the memory of others") {
    std::vector<float> mine(12, 1.0f);
    src = row_major(mine, {3, 4});
    dst.codes = reinterpret_cast<std::uint8_t*>(mine.data());
    CHECK(
        refused() ==
        "quantize: dst.codes: expected memory that does not overlap src, got an overlapping view");
    CHECK(mine == x);
    src = row_major(x, {3, 4});
    dst = q.view();
    dst.zero_points = dst.codes + 1;
    CHECK(refused() ==
          "quantize: dst.codes: expected memory that does not overlap "
          "dst.zero_points, got an overlapping view");
  }
  SECTION("absmean of other codes than ternary ones") {
    options.scaling = Scaling::kAbsMean;
    CHECK(refused() ==
          "quantize: options.scaling: expected kMinMax or kGiven, as kAbsMean is for signed codes "
          "of 2 bits without zero points, got kAbsMean");
  }
  SECTION("dequantize") {
    std::vector<float> y(12);
    CHECK(error_of([&] { dequantize(q.view(), row_major(y, {4, 3})); }) ==
          "dequantize: dst: expected extents {3, 4}, those of src, got {4, 3}");
    CHECK(error_of([&] { dequantize(q.view(), strided(y.data(), {3, 4}, {1, 1})); }) ==
          "dequantize: dst: expected strides that visit each element once, got extents {3, 4}, "
          "strides {1, 1}");
    CHECK(error_of([&] {
            dequantize(q.view(), row_major(static_cast<float*>(nullptr), {3, 4}));
          }) == "dequantize: dst: expected data for extents {3, 4}, got a null pointer");
    GroupQuantizedView broken = q.view();
    broken.bits = 1;
    CHECK(error_of([&] { dequantize(broken, row_major(y, {3, 4})); }) ==
          "dequantize: src.bits: expected 8, 4 or 2, got 1");
    broken = q.view();
    broken.scales = y.data();
    CHECK(error_of([&] { dequantize(broken, row_major(y, {3, 4})); }) ==
          "dequantize: dst: expected memory that does not overlap src.scales, got an overlapping "
          "view");
  }
}

TEST_CASE("a quantized matrix refuses layouts that do not exist", "[affine]") {
  const auto refused = [](const GroupQuantizedLayout& layout) {
    return error_of([&] { GroupQuantizedMatrix q(layout); });
  };
  CHECK(refused({.rows = -1}) == "GroupQuantizedMatrix: layout.rows: expected at least 0, got -1");
  CHECK(refused({.cols = -1}) == "GroupQuantizedMatrix: layout.cols: expected at least 0, got -1");
  CHECK(refused({.group = -1}) ==
        "GroupQuantizedMatrix: layout.group: expected at least 0, got -1");
  CHECK(refused({.bits = 5}) == "GroupQuantizedMatrix: layout.bits: expected 8, 4 or 2, got 5");
  CHECK(refused({.scale_type = DType::kS8})
            .starts_with("GroupQuantizedMatrix: layout.scale_type: expected kF32, kF16 or kBF16"));
  CHECK(refused({.rows = index_t{1} << 40, .cols = index_t{1} << 40})
            .starts_with("GroupQuantizedMatrix: layout: expected sizes within the address space"));
  CHECK(refused({}) == "no error");
}

}  // namespace
}  // namespace tessera::test
