// SPDX-License-Identifier: Apache-2.0
// The 16-bit floats, exhaustively, against rounding done in double.

#include "tessera/core/dtype.h"

#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

namespace tessera {
namespace {

// A format of 16 bits with `mantissa` explicit mantissa bits and smallest normal exponent `least`.
struct Format {
  int mantissa;
  int least;
  double max;  // the largest finite value
};
constexpr Format kBf16{7, -126, 0x1.fep127};
constexpr Format kF16{10, -14, 65504};

// The value that IEEE 754 rounding to nearest even gives. Scaling by powers of two is exact, and so
// is every step in double.
double round_to(Format f, float x) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), f.least);
  const double unit = std::ldexp(1.0, exponent - f.mantissa);
  const double r = std::nearbyint(double{x} / unit) * unit;
  if (std::fabs(r) > f.max) return std::copysign(std::numeric_limits<double>::infinity(), r);
  return std::copysign(r, double{x});
}

// The floats at which rounding to T changes its mind, and their neighbours.
template <class T>
std::vector<float> hard_cases() {
  std::vector<float> v;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto x = static_cast<float>(T::from_bits(static_cast<uint16_t>(bits)));
    const auto y = static_cast<float>(T::from_bits(static_cast<uint16_t>(bits + 1)));
    const auto middle = std::bit_cast<uint32_t>(x / 2 + y / 2);
    for (uint32_t u : {std::bit_cast<uint32_t>(x), middle - 1, middle, middle + 1}) {
      v.push_back(std::bit_cast<float>(u));
    }
  }
  for (uint32_t u = 0; u < 0xffff0000u; u += 65521) v.push_back(std::bit_cast<float>(u));
  return v;
}

template <class T>
void check_rounding(Format format) {
  size_t wrong = 0;
  for (float x : hard_cases<T>()) {
    const float got = static_cast<float>(T(x));
    if (std::isnan(x)) {
      wrong += !std::isnan(got) || std::signbit(got) != std::signbit(x);
    } else {
      const double want = round_to(format, x);
      wrong += double{got} != want || std::signbit(got) != std::signbit(x);
    }
  }
  CHECK(wrong == 0);
}

template <class T>
void check_round_trip() {
  size_t wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const T x = T::from_bits(static_cast<uint16_t>(bits));
    const auto wide = static_cast<float>(x);
    const T back(wide);
    if (std::isnan(wide)) {
      wrong += !std::isnan(static_cast<float>(back));
    } else {
      wrong += back.bits != x.bits;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("bf16 rounds to nearest even", "[dtype]") {
  check_round_trip<bf16>();
  check_rounding<bf16>(kBf16);
}

TEST_CASE("f16 rounds to nearest even", "[dtype]") {
  check_round_trip<f16>();
  check_rounding<f16>(kF16);
}

TEST_CASE("16-bit floats: values by their bits", "[dtype]") {
  STATIC_REQUIRE(bf16(1.0f).bits == 0x3f80);
  STATIC_REQUIRE(bf16(-2.0f).bits == 0xc000);
  STATIC_REQUIRE(bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
  STATIC_REQUIRE(bf16(std::numeric_limits<float>::denorm_min()).bits == 0);
  STATIC_REQUIRE(static_cast<float>(bf16::from_bits(1)) == 0x1p-133f);

  STATIC_REQUIRE(f16(1.0f).bits == 0x3c00);
  STATIC_REQUIRE(f16(65504.0f).bits == 0x7bff);
  STATIC_REQUIRE(f16(65519.996f).bits == 0x7bff);
  STATIC_REQUIRE(f16(65520.0f).bits == 0x7c00);
  STATIC_REQUIRE(f16(-0x1p-24f).bits == 0x8001);
  STATIC_REQUIRE(f16(0x1p-25f).bits == 0);  // a tie between 0 and the smallest
  STATIC_REQUIRE(f16(0x1.000002p-25f).bits == 1);
  STATIC_REQUIRE(static_cast<float>(f16::from_bits(0x0001)) == 0x1p-24f);
  STATIC_REQUIRE(static_cast<float>(f16::from_bits(0x03ff)) == 1023 * 0x1p-24f);
  STATIC_REQUIRE(static_cast<float>(f16::from_bits(0xfc00)) ==
                 -std::numeric_limits<float>::infinity());
}

TEST_CASE("16-bit floats: a NaN stays NaN, and becomes quiet", "[dtype]") {
  // A payload only in the bits that are cut off would be infinity without care.
  for (uint32_t u : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0x7fc00000u}) {
    const float nan = std::bit_cast<float>(u);
    const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
    CHECK((bf16(nan).bits & 0xffc0) == (sign | 0x7fc0));
    CHECK((f16(nan).bits & 0xfe00) == (sign | 0x7e00));
  }
}

TEST_CASE("element types: traits", "[dtype]") {
  STATIC_REQUIRE(sizeof(bf16) == 2);
  STATIC_REQUIRE(sizeof(f16) == 2);
  STATIC_REQUIRE(std::is_same_v<Accumulator<float>, float>);
  STATIC_REQUIRE(std::is_same_v<Accumulator<double>, double>);
  STATIC_REQUIRE(std::is_same_v<Accumulator<bf16>, float>);
  STATIC_REQUIRE(std::is_same_v<Accumulator<f16>, float>);
  STATIC_REQUIRE(std::is_same_v<Accumulator<int8_t>, int32_t>);
  STATIC_REQUIRE(Element<uint8_t>);
  STATIC_REQUIRE(!Element<bool>);
  std::string names;
  for (int i = 0; i <= static_cast<int>(DType::kU8); ++i) {
    visit(static_cast<DType>(i), [&](auto traits) {
      CHECK(traits.kDType == static_cast<DType>(i));
      names += std::string(traits.kName) + " ";
    });
  }
  CHECK(names == "f64 f32 bf16 f16 s32 u32 s16 u16 s8 u8 ");
}

}  // namespace
}  // namespace tessera
