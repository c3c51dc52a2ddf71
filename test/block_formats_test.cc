// SPDX-License-Identifier: Apache-2.0
// Block formats: the small floats, the layouts against a decoder of its own, errors of quantization, special values,
// and what quantize() and dequantize() do with views, threads and wrong arguments.

#include "tessera/core/block_formats.h"

#include <algorithm>
#include <array>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "executors.h"
#include "guarded.h"
#include "random.h"
#include "tessera/core/minifloat.h"
#include "tessera/ops/quantize.h"
#include "tessera/ref/block_formats.h"
#include "testing.h"

namespace tessera::test::block_formats_test {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

// Equal bits, or both NaN.
bool identical(float a, float b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }

bool identical(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return identical(x, y); });
}

// ---- Small floats

struct SmallFloat {
  std::string name;
  int exponent, mantissa;  // bits
  double largest;
  float (*decode)(std::uint8_t);
  std::uint8_t (*encode)(float);  // saturates

  int codes() const { return 2 << (exponent + mantissa); }

  // The definition: (-1)^s * 2^max(e, 1) - bias * (e > 0 ? 1.m : 0.m); beyond `largest`, NaN.
  double value(int code) const {
    const int magnitude = code % (codes() / 2), e = magnitude >> mantissa;
    const int bias = (1 << (exponent - 1)) - 1, m = magnitude % (1 << mantissa);
    const double fraction = std::ldexp(m, -mantissa) + (e > 0 ? 1 : 0);
    double x = std::ldexp(fraction, std::max(e, 1) - bias);
    if (x > largest) x = name == "E5M2" && m == 0 ? kInfinity : kNaN;
    return code >= codes() / 2 ? -x : x;
  }
};

const SmallFloat kSmallFloats[] = {
    {"E4M3", 4, 3, 448, [](std::uint8_t c) { return static_cast<float>(fp8_e4m3::from_bits(c)); },
     [](float x) { return fp8_e4m3(x).bits; }},
    {"E5M2", 5, 2, 57344, [](std::uint8_t c) { return static_cast<float>(fp8_e5m2::from_bits(c)); },
     [](float x) { return fp8_e5m2(x).bits; }},
    {"E3M2", 3, 2, 28, e3m2_decode, e3m2_encode},
    {"E2M3", 2, 3, 7.5, e2m3_decode, e2m3_encode},
    {"E2M1", 2, 1, 6, e2m1_decode, e2m1_encode},
};

TEST_CASE("small floats: every code has its value and comes back", "[block_formats]") {
  for (const SmallFloat& f : kSmallFloats) {
    Tally tally;
    double largest = 0;
    for (int c = 0; c < f.codes(); ++c) {
      const auto code = static_cast<std::uint8_t>(c);
      const auto expected = static_cast<float>(f.value(c));
      const float x = f.decode(code);
      std::string failure;
      if (!identical(x, expected)) failure = "value " + std::to_string(x);
      if (std::isfinite(x)) {
        if (f.encode(x) != code) failure = "does not come back";
        largest = std::max(largest, static_cast<double>(x));
      } else if (std::isinf(x)) {
        if (f.decode(f.encode(x)) != std::copysign(f.largest, x)) failure = "does not saturate";
      } else if (f.decode(f.encode(x)) == x ||
                 std::signbit(f.decode(f.encode(x))) != std::signbit(x)) {
        failure = "NaN is lost, or its sign";
      }
      tally.add(failure, [&] { return f.name + " code " + std::to_string(c); });
    }
    CHECK(largest == f.largest);
  }
}

// The nearest code, the even one of two, by looking at all.
int nearest_by_search(const SmallFloat& f, float x) {
  int best = -1;
  double least = kInfinity;
  const double magnitude = std::min(std::fabs(static_cast<double>(x)), f.largest);
  for (int c = 0; c < f.codes() / 2; ++c) {
    const double v = f.value(c);
    if (!std::isfinite(v)) continue;
    const double off = std::fabs(magnitude - v);
    if (off < least || (off == least && c % 2 == 0)) {
      least = off;
      best = c;
    }
  }
  return best + (std::signbit(x) ? f.codes() / 2 : 0);
}

TEST_CASE("small floats: rounding to nearest even", "[block_formats]") {
  for (const SmallFloat& f : kSmallFloats) {
    Tally tally;
    const auto compare = [&](float x) {
      const int expected = nearest_by_search(f, x), got = f.encode(x);
      tally.add(expected == got ? "" : std::to_string(got) + ", not " + std::to_string(expected),
                [&] { return f.name + " of " + std::to_string(x); });
    };
    // Around every value and every midpoint, exactly and one unit of the last place off.
    for (int c = 0; c < f.codes() / 2; ++c) {
      if (!std::isfinite(f.value(c))) continue;
      const double next = c > 0 ? f.value(c - 1) : 0;
      for (const double v : {f.value(c), (f.value(c) + next) / 2}) {
        const auto x = static_cast<float>(v);
        for (const float y : {x, std::nextafter(x, -kMax), std::nextafter(x, kMax)}) {
          compare(y);
          compare(-y);
        }
      }
    }
    Random random;
    for (int i = 0; i < (reduced_effort() ? 2000 : 20000); ++i) {
      compare(std::ldexp(static_cast<float>(random.next() >> 40),
                         static_cast<int>(random.below(48)) - 44) *
              (i % 2 ? 1.0f : -1.0f));
    }
    for (const float x : {0x1p-126f, 0x1p-149f, 0.0f, kMax, 0x1p127f}) {
      compare(x);
      compare(-x);
    }
  }
}

TEST_CASE("small floats: overflow, infinity, NaN", "[block_formats]") {
  const auto e4m3 = [](float x) { return fp8_e4m3::from_float(x, Overflow::kInfinityOrNaN).bits; };
  const auto e5m2 = [](float x) { return fp8_e5m2::from_float(x, Overflow::kInfinityOrNaN).bits; };
  CHECK(e4m3(448) == 0x7e);
  CHECK(e4m3(464) == 0x7e);  // halfway to 480, and even
  CHECK(e4m3(std::nextafter(464.0f, kMax)) == 0x7f);
  CHECK(e4m3(-1e9f) == 0xff);
  CHECK(e4m3(kInfinity) == 0x7f);
  CHECK(e4m3(-kInfinity) == 0xff);
  CHECK(e5m2(57344) == 0x7b);
  CHECK(e5m2(std::nextafter(61440.0f, 0.0f)) == 0x7b);
  CHECK(e5m2(61440) == 0x7c);  // halfway to 65536, which is even
  CHECK(e5m2(-kMax) == 0xfc);
  CHECK(e5m2(kInfinity) == 0x7c);
  CHECK((e5m2(kNaN) & 0x7f) > 0x7c);
  CHECK(fp8_e4m3(1e9f).bits == 0x7e);
  CHECK(fp8_e4m3(-kInfinity).bits == 0xfe);
  CHECK(fp8_e5m2(1e9f).bits == 0x7b);
  CHECK(fp8_e5m2(-kInfinity).bits == 0xfb);
  for (const auto encode : {e2m1_encode, e2m3_encode, e3m2_encode}) CHECK(encode(kNaN) == 0);
  // All numbers, saturating or not, agree below the overflow.
  for (float x = -440; x < 440; x += 0.37f) {
    CHECK(e4m3(x) == fp8_e4m3(x).bits);
    CHECK(e5m2(x) == fp8_e5m2(x).bits);
  }
}

TEST_CASE("E8M0", "[block_formats]") {
  for (int c = 0; c < 255; ++c) {
    const auto code = static_cast<std::uint8_t>(c);
    const float x = e8m0_decode(code);
    REQUIRE(static_cast<double>(x) == std::ldexp(1.0, c - 127));
    CHECK(e8m0_floor(x) == code);
    CHECK(e8m0_floor(x * 1.5f) == code);
    CHECK(e8m0_floor(std::nextafter(x * 2, 0.0f)) == code);
  }
  CHECK(std::isnan(e8m0_decode(255)));
  CHECK(e8m0_floor(0) == 0);
  CHECK(e8m0_floor(-3) == 0);
  CHECK(e8m0_floor(0x1p-149f) == 0);
  CHECK(e8m0_floor(kInfinity) == 255);
  CHECK(e8m0_floor(kNaN) == 255);
}

// ---- Layouts

// A block as one long number, the lowest bit of the first byte first.
struct Bits {
  const std::byte* bytes;

  int operator()(int first, int count) const {
    int value = 0;
    for (int i = 0; i < count; ++i) {
      const int bit = first + i;
      value |= (std::to_integer<int>(bytes[bit / 8]) >> (bit % 8) & 1) << i;
    }
    return value;
  }
  int s8(int first) const {
    const int u = (*this)(first, 8);
    return u > 127 ? u - 256 : u;
  }
  double f16(int first) const {
    const int m = (*this)(first, 10), e = (*this)(first + 10, 5);
    const double sign = (*this)(first + 15, 1) ? -1 : 1;
    if (e == 31) return m != 0 ? kNaN : sign * kInfinity;
    return sign * std::ldexp(m + (e > 0 ? 1024 : 0), std::max(e, 1) - 25);
  }
  double e8m0(int first) const {
    const int e = (*this)(first, 8);
    return e == 255 ? kNaN : std::ldexp(1.0, e - 127);
  }
};

constexpr double kIQ4[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                           1,    13,   25,  38,  53,  69,  89,  113};

// Element j of a block, from the bit numbers of everything.
float naive_value(BlockFormat format, const std::byte* block, int j, float tensor_scale) {
  using enum BlockFormat;
  const Bits b{block};
  const auto small = [&](const char* name, int code) {
    const auto* f = std::find_if(std::begin(kSmallFloats), std::end(kSmallFloats),
                                 [&](const SmallFloat& s) { return s.name == name; });
    return f->value(code);
  };
  // Bytes 16 from `start` on: elements 0..15 in the low halves, 16..31 in the high ones.
  const auto halves = [&](int start) { return b(8 * (start + j % 16) + (j % 32 < 16 ? 0 : 4), 4); };
  const int in64 = j % 64, chunk = j / 64, half = j / 128, quarter = j % 128 / 32, lane = j % 32;
  switch (format) {
    case kQ4_0:
      return static_cast<float>(b.f16(0) * (halves(2) - 8));
    case kQ4_1:
      return static_cast<float>(b.f16(0) * halves(4) + b.f16(16));
    case kQ5_0:
      return static_cast<float>(b.f16(0) * (halves(6) + 16 * b(16 + j, 1) - 16));
    case kQ5_1:
      return static_cast<float>(b.f16(0) * (halves(8) + 16 * b(32 + j, 1)) + b.f16(16));
    case kQ8_0:
      return static_cast<float>(b.f16(0) * b.s8(16 + 8 * j));
    case kQ2_K: {
      const int group = 8 * (j / 16);
      const int q = b(8 * (16 + 32 * half + lane) + 2 * quarter, 2);
      return static_cast<float>(b.f16(640) * b(group, 4) * q - b.f16(656) * b(group + 4, 4));
    }
    case kQ3_K: {
      const int q = b(8 * (32 + 32 * half + lane) + 2 * quarter, 2) + 4 * b(8 * lane + j / 32, 1);
      const int g = j / 16, low = 8 * (96 + g % 8) + (g < 8 ? 0 : 4);
      const int scale = b(low, 4) + 16 * b(8 * (104 + g % 4) + 2 * (g / 4), 2);
      return static_cast<float>(b.f16(864) * (scale - 32) * (q - 4));
    }
    case kQ4_K:
    case kQ5_K: {
      const int g = j / 32, base = 32;
      const int scale =
          g < 4 ? b(base + 8 * g, 6) : b(base + 8 * (g + 4), 4) + 16 * b(base + 8 * (g - 4) + 6, 2);
      const int min = g < 4 ? b(base + 8 * (g + 4), 6)
                            : b(base + 8 * (g + 4) + 4, 4) + 16 * b(base + 8 * g + 6, 2);
      const int codes = format == kQ4_K ? 16 : 48;
      int q = b(8 * (codes + 32 * chunk + lane) + (in64 < 32 ? 0 : 4), 4);
      if (format == kQ5_K) q += 16 * b(8 * (16 + lane) + g, 1);
      return static_cast<float>(b.f16(0) * scale * q - b.f16(16) * min);
    }
    case kQ6_K: {
      const int byte = 64 * half + (quarter % 2) * 32 + lane;
      const int q = b(8 * byte + (quarter < 2 ? 0 : 4), 4) +
                    16 * b(8 * (128 + 32 * half + lane) + 2 * quarter, 2);
      return static_cast<float>(b.f16(1664) * b.s8(8 * (192 + j / 16)) * (q - 32));
    }
    case kIQ4_NL:
      return static_cast<float>(b.f16(0) * kIQ4[halves(2)]);
    case kIQ4_XS: {
      const int g = j / 32, scale = b(32 + 4 * g, 4) + 16 * b(16 + 2 * g, 2);
      return static_cast<float>(b.f16(0) * (scale - 32) * kIQ4[halves(8 + 16 * g)]);
    }
    case kTQ1_0: {
      // The byte as a fraction of 256: its digit in base 3, after those before it are taken away.
      const int byte = j < 160 ? j % 32 : j < 240 ? 32 + (j - 160) % 16 : 48 + (j - 240) % 4;
      const int digit = j < 160 ? j / 32 : j < 240 ? (j - 160) / 16 : (j - 240) / 4;
      int fraction = b(8 * byte, 8), trit = 0;
      for (int i = 0; i <= digit; ++i) {
        trit = fraction * 3 / 256;
        fraction = fraction * 3 % 256;
      }
      return static_cast<float>(b.f16(416) * (trit - 1));
    }
    case kTQ2_0:
      return static_cast<float>(b.f16(512) * (b(8 * (32 * half + lane) + 2 * quarter, 2) - 1));
    case kMXFP4: {
      const double x = b.e8m0(0) * small("E2M1", halves(1));
      return static_cast<float>(x == 0 ? 0 : x);  // no -0
    }
    case kMXFP6_E2M3:
      return static_cast<float>(b.e8m0(0) * small("E2M3", b(8 + 6 * j, 6)));
    case kMXFP6_E3M2:
      return static_cast<float>(b.e8m0(0) * small("E3M2", b(8 + 6 * j, 6)));
    case kMXFP8_E4M3:
      return static_cast<float>(b.e8m0(0) * small("E4M3", b(8 + 8 * j, 8)));
    case kMXFP8_E5M2:
      return static_cast<float>(b.e8m0(0) * small("E5M2", b(8 + 8 * j, 8)));
    case kNVFP4: {
      const int q = b(8 * (1 + j % 8) + (j < 8 ? 0 : 4), 4);
      const auto scale = static_cast<float>(small("E4M3", b(0, 8)) / 2 * tensor_scale);
      return static_cast<float>(2 * small("E2M1", q) * scale + 0.0);
    }
  }
  return 0;
}

std::string name_of(BlockFormat format) { return std::string(info(format).name); }

TEST_CASE("block formats: values of any bytes", "[block_formats]") {
  for (const BlockFormat format : kBlockFormats) {
    const BlockFormatInfo f = info(format);
    Tally tally;
    Random random(7);
    for (int round = 0; round < 300; ++round) {
      std::vector<std::byte> block(static_cast<std::size_t>(f.bytes));
      for (std::byte& b : block) b = static_cast<std::byte>(random.next());
      const float tensor_scale = round % 3 == 0 ? 1.0f : 0.37f;
      std::vector<float> values(static_cast<std::size_t>(f.block));
      ref::dequantize_block(format, block.data(), values.data(), tensor_scale);
      std::string failure;
      for (int j = 0; j < f.block; ++j) {
        const float expected = naive_value(format, block.data(), j, tensor_scale);
        const float got = values[static_cast<std::size_t>(j)];
        // Zeros of either sign: a double loses the sign of a sum that is 0.
        if (!identical(got, expected) && !(got == 0 && expected == 0)) {
          failure = "element " + std::to_string(j) + " is " + std::to_string(got) + ", not " +
                    std::to_string(expected);
        }
      }
      tally.add(failure, [&] { return name_of(format); });
    }
  }
}

TEST_CASE("block formats: sizes and names", "[block_formats]") {
  CHECK(info(BlockFormat::kQ4_K).name == "Q4_K");
  CHECK(bits_per_weight(BlockFormat::kQ4_K) == 4.5);
  CHECK(bits_per_weight(BlockFormat::kMXFP4) == 4.25);
  CHECK(row_bytes(BlockFormat::kQ6_K, 512) == 420);
  CHECK(row_bytes(BlockFormat::kQ6_K, 0) == 0);
  CHECK_THROWS_AS(row_bytes(BlockFormat::kQ8_0, 33), Error);
  std::byte bytes[68];
  const BlockView view = blocks(BlockFormat::kQ8_0, bytes, 2, 32);
  CHECK(view.row(1) == bytes + 34);
  const ConstBlockView read_only = view;
  CHECK(read_only.data == bytes);
  CHECK(read_only.row_bytes == 34);
}

// ---- Quantization

// A bound of the root mean square error of a block whose largest magnitude is 1: half a step of the format where
// steps are equal, and what scales lose. Rounding of the scale itself to f16 is in the last digit.
double error_bound(BlockFormat format) {
  using enum BlockFormat;
  switch (format) {
    case kQ4_0:
      return 1 / 8.0 * 1.01;  // the opposite of the extreme is a whole step off
    case kQ4_1:
      return 1 / 15.0 * 1.01;
    case kQ5_0:
      return 1 / 16.0 * 1.02;
    case kQ5_1:
      return 1 / 31.0 * 1.02;
    case kQ8_0:
      return 0.5 / 127 + 0x1p-11;
    case kQ2_K:
      return 1 / 3.0 + 0.5 / 15;
    case kQ3_K:
      return 0.5 / 3.5 + 0.5 / 32;
    case kQ4_K:
      return 1 / 15.0 + 0.5 / 63;
    case kQ5_K:
      return 1 / 31.0 + 0.5 / 63;
    case kQ6_K:
      return 0.5 / 31.5 + 0.5 / 128;
    case kIQ4_NL:
      return 13.0 / 113;
    case kIQ4_XS:
      return 13.0 / 113 + 0.5 / 32;
    case kTQ1_0:
    case kTQ2_0:
      return 0.5 + 0x1p-10;
    case kMXFP4:
      return 0.25 * 1.01;  // 8 becomes 6
    case kMXFP6_E2M3:
      return 0.5 / 8;
    case kMXFP6_E3M2:
    case kMXFP8_E4M3:
    case kMXFP8_E5M2:
      return 4.0 / 32;
    case kNVFP4:
      return 1 / 6.0 * (1 + 1 / 16.0);
  }
  return 0;
}

std::vector<float> quantized(BlockFormat format, const std::vector<float>& x,
                             std::vector<std::byte>* bytes = nullptr, float tensor_scale = 1) {
  const BlockFormatInfo f = info(format);
  std::vector<std::byte> block(static_cast<std::size_t>(f.bytes));
  std::vector<float> values(x.size());
  ref::quantize_block(format, x.data(), block.data(), nullptr, tensor_scale);
  ref::dequantize_block(format, block.data(), values.data(), tensor_scale);
  if (bytes != nullptr) *bytes = block;
  return values;
}

std::vector<float> drawn(BlockFormat format, Random& random, float scale, float offset) {
  std::vector<float> x(static_cast<std::size_t>(info(format).block));
  for (float& v : x) v = scale * (random.value<float>(Values::kModerate) / 16 + offset);
  return x;
}

float largest_of(const std::vector<float>& x) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::fabs(v));
  return largest;
}

double rms(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double off = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += off * off;
  }
  return std::sqrt(sum / static_cast<double>(x.size()));
}

TEST_CASE("block formats: errors of quantization", "[block_formats]") {
  for (const BlockFormat format : kBlockFormats) {
    Tally tally;
    Random random(3);
    const auto compare = [&](const std::vector<float>& x, const char* what) {
      const float largest = largest_of(x);
      // The tensor scale of a matrix with these and larger numbers.
      const float tensor_scale = nvfp4_tensor_scale(largest * 1.7f);
      const std::vector<float> y = quantized(format, x, nullptr, tensor_scale);
      const double error = rms(x, y), bound = error_bound(format) * static_cast<double>(largest);
      tally.add(error <= bound ? "" : std::to_string(error) + " > " + std::to_string(bound),
                [&] { return name_of(format) + ", " + what; });
    };
    for (int round = 0; round < (reduced_effort() ? 20 : 100); ++round) {
      const float scale = std::ldexp(1.0f, static_cast<int>(random.below(16)) - 6);
      compare(drawn(format, random, scale, 0), "random");
      compare(drawn(format, random, scale, 1), "positive");
      compare(drawn(format, random, scale, -1), "negative");
    }
    const auto count = static_cast<std::size_t>(info(format).block);
    for (const float c : {1.0f, -1.0f, 3.3f, -0.07f, 1000.0f}) {
      compare(std::vector<float>(count, c), "constant");
      std::vector<float> one(count, 0);
      one[count / 3] = c;
      compare(one, "one number");
    }
  }
}

TEST_CASE("block formats: zeros and numbers below all scales", "[block_formats]") {
  for (const BlockFormat format : kBlockFormats) {
    INFO(name_of(format));
    const auto count = static_cast<std::size_t>(info(format).block);
    for (const float x : {0.0f, -0.0f}) {
      for (const float y : quantized(format, std::vector<float>(count, x))) CHECK(y == 0);
    }
    for (const float x : {0x1p-149f, -0x1p-149f, 0x1.5p-130f, -0x1p-126f}) {
      // MX scales reach that far; those of f16 and E4M3 don't.
      std::vector<float> row(count, 0);
      row[1] = x;
      const bool mx = name_of(format).starts_with("MX");
      for (const float y : quantized(format, row)) {
        CHECK((y == 0 || (mx && std::fabs(y) <= std::fabs(x) * 1.5f)));
      }
    }
  }
}

TEST_CASE("block formats: infinities and overflow saturate", "[block_formats]") {
  for (const BlockFormat format : kBlockFormats) {
    const auto count = static_cast<std::size_t>(info(format).block);
    for (const float big : {kInfinity, kMax, 1e30f, 1e8f}) {
      for (const float sign : {1.0f, -1.0f}) {
        INFO(name_of(format) << ", " << sign * big);
        Random random(5);
        std::vector<float> x = drawn(format, random, 1, 0);
        x[count / 2] = sign * big;
        x[count - 1] = sign * big;
        const std::vector<float> y = quantized(format, x);
        const float extreme = y[count / 2];
        CHECK(std::isfinite(extreme));
        CHECK(extreme * sign > 2000);
        CHECK(y[count - 1] == extreme);
        for (const float v : y) CHECK((std::isfinite(v) && std::fabs(v) <= std::fabs(extreme)));
        // Both at once.
        x[0] = -sign * big;
        const std::vector<float> both = quantized(format, x);
        for (const float v : both) CHECK(std::isfinite(v));
        CHECK(both[0] * both[count / 2] <= 0);
      }
    }
  }
}

TEST_CASE("block formats: NaN", "[block_formats]") {
  using enum BlockFormat;
  for (const BlockFormat format : kBlockFormats) {
    INFO(name_of(format));
    const auto count = static_cast<std::size_t>(info(format).block);
    Random random(9);
    std::vector<float> x = drawn(format, random, 1, 0);
    x[3] = 0;
    std::vector<std::byte> with_zero, with_nan;
    quantized(format, x, &with_zero);
    x[3] = kNaN;
    const std::vector<float> y = quantized(format, x, &with_nan);
    if (format == kMXFP6_E2M3 || format == kMXFP6_E3M2 || format == kNVFP4) {
      for (const float v : y) CHECK(v != v);
    } else if (format == kMXFP8_E4M3 || format == kMXFP8_E5M2) {
      for (std::size_t i = 0; i < count; ++i) CHECK((y[i] != y[i]) == (i == 3));
    } else {
      CHECK(with_zero == with_nan);
    }
    for (const float v : quantized(format, std::vector<float>(count, kNaN))) {
      CHECK((v == 0 || (v != v && name_of(format).find("FP") != std::string::npos)));
    }
  }
}

TEST_CASE("block formats: any bits quantize to something", "[block_formats]") {
  for (const BlockFormat format : kBlockFormats) {
    Random random(11);
    for (int round = 0; round < 40; ++round) {
      std::vector<float> x(static_cast<std::size_t>(info(format).block));
      for (float& v : x) v = random.value<float>(round % 2 ? Values::kAnyBits : Values::kWide);
      std::vector<std::byte> first, second;
      const std::vector<float> y = quantized(format, x, &first);
      CHECK(identical(y, quantized(format, x, &second)));
      CHECK(first == second);
      if (round % 2 == 0) {
        for (const float v : y) CHECK(std::isfinite(v));
      }
    }
  }
}

TEST_CASE("block formats: importance moves the error", "[block_formats]") {
  using enum BlockFormat;
  for (const BlockFormat format : {kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K, kIQ4_NL, kIQ4_XS}) {
    INFO(name_of(format));
    const auto count = static_cast<std::size_t>(info(format).block);
    Random random(13);
    double with = 0, without = 0;
    std::vector<float> importance(count, 0.001f);
    for (std::size_t i = 0; i < count; i += 5) importance[i] = 100;
    for (int round = 0; round < 20; ++round) {
      const std::vector<float> x = drawn(format, random, 1, 0);
      std::vector<std::byte> block(static_cast<std::size_t>(info(format).bytes));
      std::vector<float> y(count);
      ref::quantize_block(format, x.data(), block.data(), importance.data());
      ref::dequantize_block(format, block.data(), y.data());
      const std::vector<float> plain = quantized(format, x);
      for (std::size_t i = 0; i < count; i += 5) {
        with += std::pow(static_cast<double>(x[i] - y[i]), 2);
        without += std::pow(static_cast<double>(x[i] - plain[i]), 2);
      }
    }
    CHECK(with < 0.8 * without);
    // Weights that are no weights count as none; all the same are the default.
    const std::vector<float> x = drawn(format, random, 1, 0);
    std::vector<std::byte> plain, odd(static_cast<std::size_t>(info(format).bytes));
    quantized(format, x, &plain);
    for (const float w : {0.0f, -1.0f, kNaN, 1.0f}) {
      ref::quantize_block(format, x.data(), odd.data(), std::vector<float>(count, w).data());
      CHECK(odd == plain);
    }
  }
}

// ---- quantize(), dequantize()

constexpr index_t kRows = 3;

struct Case {
  BlockFormat format;
  index_t cols, bytes;
  std::vector<float> x;             // [kRows, cols]
  std::vector<std::byte> expected;  // rows without gaps
  std::vector<float> values;

  explicit Case(BlockFormat f, index_t blocks_per_row = 3)
      : format(f), cols(info(f).block * blocks_per_row), bytes(row_bytes(f, cols)) {
    Random random(17);
    x.resize(static_cast<std::size_t>(kRows * cols));
    for (float& v : x) v = random.value<float>(Values::kModerate);
    expected.resize(static_cast<std::size_t>(kRows * bytes));
    values.resize(x.size());
    for (index_t i = 0; i < kRows * blocks_per_row; ++i) {
      std::byte* const block = expected.data() + i * info(f).bytes;
      ref::quantize_block(f, x.data() + i * info(f).block, block, nullptr, 0.5f);
      ref::dequantize_block(f, block, values.data() + i * info(f).block, 0.5f);
    }
  }
};

TEST_CASE("quantize and dequantize: views", "[block_formats]") {
  GuardedMemory memory_x, memory_b;
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    for (const BlockFormat format : kBlockFormats) {
      INFO(name_of(format));
      const Case c(format);
      for (const Edge edge : {Edge::kStart, Edge::kEnd}) {
        for (const index_t gap : {index_t{0}, index_t{5}}) {
          for (const index_t stride : {index_t{1}, index_t{3}, index_t{-1}}) {
            const index_t pitch = c.cols * std::abs(stride) + gap, row = c.bytes + gap;
            // Memory for all rows, without the gap behind the last element.
            const auto x_size =
                static_cast<std::size_t>(2 * pitch + (c.cols - 1) * std::abs(stride) + 1);
            const auto b_size = static_cast<std::size_t>(2 * row + c.bytes);
            auto* x = memory_x.place<float>(x_size, edge);
            auto* b = memory_b.place<std::byte>(b_size, edge);
            float* const first = stride < 0 ? x + (c.cols - 1) : x;
            const View<float, 2> vx = strided(first, {kRows, c.cols}, {pitch, stride});
            for (index_t i = 0; i < kRows; ++i) {
              for (index_t j = 0; j < c.cols; ++j) {
                vx(i, j) = c.x[static_cast<std::size_t>(i * c.cols + j)];
              }
            }
            const std::vector<float> before(x, x + x_size);
            const BlockView vb{b, format, kRows, c.cols, row, 0.5f};
            quantize(vx, vb, {.context = &context});
            CHECK(identical(before, std::vector<float>(x, x + x_size)));
            for (index_t i = 0; i < kRows; ++i) {
              CHECK(std::memcmp(b + i * row, c.expected.data() + i * c.bytes,
                                static_cast<std::size_t>(c.bytes)) == 0);
            }
            for (index_t i = 0; i + 1 < kRows; ++i) {
              for (index_t j = c.bytes; j < row; ++j) CHECK(b[i * row + j] == std::byte{kPoison});
            }

            x = memory_x.place<float>(x_size, edge);
            dequantize(vb, vx, {.context = &context});
            std::size_t untouched = 0;
            for (std::size_t i = 0; i < x_size; ++i) untouched += bits_of(x[i]) == 0xffffffffu;
            CHECK(untouched == x_size - static_cast<std::size_t>(kRows * c.cols));
            bool same = true;
            for (index_t i = 0; i < kRows; ++i) {
              for (index_t j = 0; j < c.cols; ++j) {
                same &= identical(vx(i, j), c.values[static_cast<std::size_t>(i * c.cols + j)]);
              }
            }
            CHECK(same);
            CHECK(memory_x.margin_intact());
            CHECK(memory_b.margin_intact());
          }
        }
      }
    }
  });
}

// A row with every kind of block that kernels treat differently, in a long sequence of ordinary ones.
std::vector<float> mixed_row(Random& random, index_t cols) {
  std::vector<float> x(static_cast<std::size_t>(cols));
  for (index_t i = 0; i < cols; i += 32) {
    const auto kind = random.below(24);
    const float scale = std::ldexp(1.0f, static_cast<int>(random.below(40)) - 20);
    for (index_t j = i; j < i + 32; ++j) {
      float& v = x[static_cast<std::size_t>(j)];
      v = scale * random.value<float>(Values::kModerate);
      if (kind == 0) v = random.value<float>(Values::kAnyBits);
      if (kind == 1) v = 0;
      if (kind == 2)
        v = std::bit_cast<float>(static_cast<std::uint32_t>(random.next() >> 43));  // subnormal
      if (kind == 3) v = static_cast<float>(random.below(255) - 127) / 2 + (j == i ? 127 : 0);
      if (kind == 4) v = j == i ? 127.0f : random.below(2) ? 0.49999997f : -0.5f;
      if (kind == 5) v = random.below(2) ? scale : -scale;
      if (kind == 6) v = j == i + 9 ? 127 * 65504.0f : v;
      if (kind == 7) v = j == i + 9 ? -8 * 65510.0f : v;
      if (kind == 8 && j == i + 20) v = kNaN;
      if (kind == 9 && j == i + 31) v = -kInfinity;
      if (kind == 10) v = -std::fabs(v);
      if (kind == 11) v = j == i + 1 ? -16.0f : static_cast<float>(random.below(31) - 15);
    }
  }
  return x;
}

TEST_CASE("quantize and dequantize: kernels have the bits of the specification",
          "[block_formats]") {
  using enum BlockFormat;
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    Random random(23);
    for (const BlockFormat format : {kQ8_0, kQ4_0, kQ4_K, kQ6_K}) {
      INFO(name_of(format));
      const BlockFormatInfo f = info(format);
      const bool quantizes = format == kQ8_0 || format == kQ4_0;
      for (int round = 0; round < (reduced_effort() ? 10 : 60); ++round) {
        const index_t count = 1 + random.below(100), cols = count * f.block;
        const std::vector<float> x = mixed_row(random, cols);
        std::vector<std::byte> expected(static_cast<std::size_t>(count * f.bytes));
        std::vector<std::byte> got(expected.size());
        if (quantizes) {
          for (index_t i = 0; i < count; ++i) {
            ref::quantize_block(format, x.data() + i * f.block, expected.data() + i * f.bytes);
          }
          quantize(row_major(x, {index_t{1}, cols}), blocks(format, got.data(), 1, cols),
                   {.context = &context});
          const auto wrong = std::mismatch(got.begin(), got.end(), expected.begin()).first;
          INFO("block " << (wrong - got.begin()) / f.bytes << " of " << count << ", byte "
                        << (wrong - got.begin()) % f.bytes);
          CHECK(wrong == got.end());
        }
        if (!quantizes || round % 2 == 0) {
          for (std::byte& b : expected) b = static_cast<std::byte>(random.next());
        }
        std::vector<float> values(x.size()), same(x.size());
        for (index_t i = 0; i < count; ++i) {
          ref::dequantize_block(format, expected.data() + i * f.bytes, values.data() + i * f.block);
        }
        dequantize(blocks(format, static_cast<const std::byte*>(expected.data()), 1, cols),
                   row_major(same, {index_t{1}, cols}), {.context = &context});
        CHECK(identical(values, same));
      }
    }
  });
}

TEST_CASE("quantize and dequantize: rows in reverse, rows of blocks used twice",
          "[block_formats]") {
  const Case c(BlockFormat::kQ5_K);
  std::vector<std::byte> b(c.expected.size());
  BlockView reversed = blocks(c.format, b.data(), kRows, c.cols, 0.5f);
  reversed.data = reversed.row(kRows - 1);
  reversed.row_bytes = -reversed.row_bytes;
  quantize(row_major(c.x, {kRows, c.cols}), reversed);
  for (index_t i = 0; i < kRows; ++i) {
    CHECK(std::memcmp(reversed.row(i), c.expected.data() + i * c.bytes,
                      static_cast<std::size_t>(c.bytes)) == 0);
  }
  std::vector<float> x(c.x.size());
  ConstBlockView same_row = reversed;
  same_row.row_bytes = 0;
  dequantize(same_row, row_major(x, {kRows, c.cols}));
  for (index_t i = 0; i < kRows * c.cols; ++i) {
    CHECK(x[static_cast<std::size_t>(i)] == c.values[static_cast<std::size_t>(i % c.cols)]);
  }
}

TEST_CASE("quantize and dequantize: threads", "[block_formats]") {
  const index_t rows = 5, cols = 256 * 67;
  Random random(19);
  std::vector<float> x(static_cast<std::size_t>(rows * cols));
  for (float& v : x) v = random.value<float>(Values::kModerate);
  for (const BlockFormat format :
       {BlockFormat::kQ8_0, BlockFormat::kQ4_0, BlockFormat::kQ6_K, BlockFormat::kNVFP4}) {
    INFO(name_of(format));
    const auto run = [&](Context* context) {
      std::vector<std::byte> b(static_cast<std::size_t>(rows * row_bytes(format, cols)));
      std::vector<float> y(x.size());
      const BlockView view = blocks(format, b.data(), rows, cols, 0.25f);
      quantize(row_major(x, {rows, cols}), view, {.context = context});
      dequantize(view, row_major(y, {rows, cols}), {.context = context});
      return std::pair(b, y);
    };
    const auto expected = run(nullptr);
    const StdThreads threads{3};
    const Reversed reversed;
    Shuffled shuffled;
    Noting noting;
    Context context;
    context.executor = Executor::from_function(3, threads);
    CHECK(run(&context) == expected);
    context.executor = Executor::from_function(3, reversed);
    CHECK(run(&context) == expected);
    context.executor = Executor::from_function(7, shuffled);
    CHECK(run(&context) == expected);
    context.executor = Executor::from_function(4, noting);
    CHECK(run(&context) == expected);
    CHECK(noting.first > 1);
  }
}

template <class F>
std::string refusal(F call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST_CASE("quantize and dequantize: wrong arguments", "[block_formats]") {
  std::vector<float> x(4 * 64, 1);
  std::vector<std::byte> b(4 * 68, std::byte{0x11});
  const auto untouched_x = x;
  const auto untouched_b = b;
  const View<float, 2> vx = row_major(x, {4, 64});
  const BlockView vb = blocks(BlockFormat::kQ8_0, b.data(), 4, 64);
  const auto both = [&](const View<float, 2>& wx, const BlockView& wb,
                        const std::string& quantizing, const std::string& dequantizing) {
    CHECK(refusal([&] { quantize(wx, wb); }) == quantizing);
    CHECK(refusal([&] { dequantize(wb, wx); }) == dequantizing);
  };
  const auto with = [&](auto change) {
    BlockView v = vb;
    change(v);
    return v;
  };

  both(row_major(x, {3, 64}), vb,
       "quantize: dst: expected extents {3, 64}, those of src, got {4, 64}",
       "dequantize: dst: expected extents {4, 64}, those of src, got {3, 64}");
  both(row_major(x, {4, 32}), vb,
       "quantize: dst: expected extents {4, 32}, those of src, got {4, 64}",
       "dequantize: dst: expected extents {4, 64}, those of src, got {4, 32}");
  both(vx, with([](BlockView& v) { v.cols = 63; }),
       "quantize: dst.cols: expected a multiple of 32 (a block of Q8_0), got 63",
       "dequantize: src.cols: expected a multiple of 32 (a block of Q8_0), got 63");
  both(vx, with([](BlockView& v) { v.format = BlockFormat::kQ4_K; }),
       "quantize: dst.cols: expected a multiple of 256 (a block of Q4_K), got 64",
       "dequantize: src.cols: expected a multiple of 256 (a block of Q4_K), got 64");
  both(vx, with([](BlockView& v) { v.rows = -1; }),
       "quantize: dst: expected extents of at least 0, got {-1, 64}",
       "dequantize: src: expected extents of at least 0, got {-1, 64}");
  both(vx, with([](BlockView& v) { v.data = nullptr; }),
       "quantize: dst: expected data for extents {4, 64}, got a null pointer",
       "dequantize: src: expected data for extents {4, 64}, got a null pointer");
  both(vx, with([](BlockView& v) { v.format = static_cast<BlockFormat>(99); }),
       "quantize: dst.format: expected a BlockFormat, got 99",
       "dequantize: src.format: expected a BlockFormat, got 99");
  both(View<float, 2>(nullptr, {4, 64}, {64, 1}), vb,
       "quantize: src: expected data for extents {4, 64}, got a null pointer",
       "dequantize: dst: expected data for extents {4, 64}, got a null pointer");
  both(View<float, 2>(x.data(), {4, -64}, {64, 1}), vb,
       "quantize: src: expected extents of at least 0, got {4, -64}",
       "dequantize: dst: expected extents of at least 0, got {4, -64}");
  both(vx, with([](BlockView& v) { v.row_bytes = std::numeric_limits<index_t>::max() / 2; }),
       "quantize: dst: expected sizes within the address space, got 4 rows of 64 columns, "
       "4611686018427387903 bytes apart",
       "dequantize: src: expected sizes within the address space, got 4 rows of 64 columns, "
       "4611686018427387903 bytes apart");
  const auto in_x = with([&](BlockView& v) { v.data = reinterpret_cast<std::byte*>(&x[10]); });
  both(vx, in_x,
       "quantize: dst: expected memory that does not overlap src, got an overlapping view",
       "dequantize: dst: expected memory that does not overlap src, got an overlapping view");
  for (const float scale : {0.0f, -1.0f, kInfinity, kNaN}) {
    const auto nvfp4 = with([&](BlockView& v) {
      v.format = BlockFormat::kNVFP4;
      v.tensor_scale = scale;
    });
    const std::string rest =
        ".tensor_scale: expected a positive, finite number, got " + std::to_string(scale);
    both(vx, nvfp4, "quantize: dst" + rest, "dequantize: src" + rest);
  }
  const auto dense = with([](BlockView& v) { v.row_bytes = 67; });
  CHECK(refusal([&] { quantize(vx, dense); }) ==
        "quantize: dst.row_bytes: expected at least 68, the bytes of a row, got 67");
  CHECK(refusal([&] { dequantize(vb, strided(x.data(), {4, 64}, {0, 1})); }) ==
        "dequantize: dst: expected strides that visit each element once, got {0, 1}");
  const std::vector<float> importance(63, 1);
  CHECK(refusal([&] { quantize(vx, vb, {.importance = importance}); }) ==
        "quantize: options.importance: expected none, or 64 numbers, one per column, got 63");
  CHECK(refusal([&] { blocks(BlockFormat::kQ4_K, b.data(), 1, 100); }) ==
        "row_bytes: cols: expected a multiple of 256 (a block of Q4_K), at least 0, got 100");
  CHECK(x == untouched_x);
  CHECK(b == untouched_b);

  // Nothing to do.
  quantize(row_major(x, {0, 64}), with([](BlockView& v) {
             v.rows = 0;
             v.data = nullptr;
           }));
  dequantize(with([](BlockView& v) { v.cols = 0; }), View<float, 2>(nullptr, {4, 0}, {0, 1}));
}

}  // namespace tessera::test::block_formats_test
