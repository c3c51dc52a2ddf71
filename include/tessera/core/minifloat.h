// SPDX-License-Identifier: Apache-2.0
// Floats of 8, 6 and 4 bits, after the OCP 8-bit Floating Point Specification (OFP8) and the OCP Microscaling
// Formats Specification (MX) v1.0: the storage types fp8_e4m3 and fp8_e5m2, the codes of fewer bits, and E8M0, the
// scale of an MX block.
//
//   name   bits  sign exponent mantissa  bias  largest  smallest > 0  infinity  NaN
//   E4M3      8     1        4        3     7      448       2^-9     none      0x7f, 0xff
//   E5M2      8     1        5        2    15    57344       2^-16    0x7c      0x7d .. 0x7f, and negative
//   E3M2      6     1        3        2     3       28       2^-4     none      none
//   E2M3      6     1        2        3     1      7.5       2^-3     none      none
//   E2M1      4     1        2        1     1        6       2^-1     none      none
//   E8M0      8     0        8        0   127    2^127       2^-127   none      0xff
//
// All have subnormals but E8M0, which has no zero either. Each converts to float exactly, and from float rounding
// to nearest, ties to even.
#ifndef TESSERA_CORE_MINIFLOAT_H_
#define TESSERA_CORE_MINIFLOAT_H_

#include <bit>
#include <cstdint>
#include <limits>

namespace tessera {

// What becomes of a number beyond the largest one after rounding, and of an infinity.
enum class Overflow : std::uint8_t {
  kSaturate,       // the largest finite number of that sign
  kInfinityOrNaN,  // infinity where the type has one, else NaN; types without either saturate
};

namespace detail {

enum class Specials { kNone, kOnlyNaN, kIeee };

// Codes of a sign, kExponent and kMantissa bits, in the low bits of a byte.
template <int kExponent, int kMantissa, Specials kSpecials>
struct MiniFloat {
  static constexpr int kBits = 1 + kExponent + kMantissa;
  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr std::uint32_t kSign = 1u << (kExponent + kMantissa);
  static constexpr std::uint32_t kNaN =
      kSpecials == Specials::kIeee ? kSign - (1u << kMantissa) / 2 : kSign - 1;  // quiet
  static constexpr std::uint32_t kInfinity = kSign - (1u << kMantissa);          // of kIeee
  static constexpr std::uint32_t kLargest = kSpecials == Specials::kIeee      ? kInfinity - 1
                                            : kSpecials == Specials::kOnlyNaN ? kNaN - 1
                                                                              : kSign - 1;

  static constexpr float power_of_two(int e) {  // of a normal float
    return std::bit_cast<float>(static_cast<std::uint32_t>(e + 127) << 23);
  }

  static constexpr float decode(std::uint8_t code) {
    const std::uint32_t sign = (code & kSign) != 0 ? 0x80000000u : 0;
    const std::uint32_t a = code & (kSign - 1);
    std::uint32_t bits = 0;
    if (a > kLargest) {
      const bool infinite = kSpecials == Specials::kIeee && a == kInfinity;
      bits = infinite ? 0x7f800000u : 0x7fc00000u | (a << (23 - kMantissa));
    } else if (a < (1u << kMantissa)) {
      bits =
          std::bit_cast<std::uint32_t>(static_cast<float>(a) * power_of_two(1 - kBias - kMantissa));
    } else {
      bits = (a << (23 - kMantissa)) + (static_cast<std::uint32_t>(127 - kBias) << 23);
    }
    return std::bit_cast<float>(sign | bits);
  }

  static constexpr std::uint8_t encode(float x, Overflow overflow) {
    const auto u = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (u >> 31) != 0 ? kSign : 0;
    std::uint32_t a = u & 0x7fffffffu;
    if (a > 0x7f800000u) {
      if constexpr (kSpecials == Specials::kNone) return 0;
      constexpr std::uint32_t kPayload = (1u << kMantissa) - 1;
      return static_cast<std::uint8_t>(sign | kNaN | ((a >> (23 - kMantissa)) & kPayload));
    }
    if (a < std::bit_cast<std::uint32_t>(power_of_two(1 - kBias))) {
      // A multiple of the smallest number, which is the unit of the last place of this float:
      // adding it rounds.
      constexpr float kUnit = power_of_two(1 - kBias - kMantissa + 23);
      const float rounded = std::bit_cast<float>(a) + kUnit;
      return static_cast<std::uint8_t>(
          sign | (std::bit_cast<std::uint32_t>(rounded) - std::bit_cast<std::uint32_t>(kUnit)));
    }
    constexpr int kDropped = 23 - kMantissa;
    if (a != 0x7f800000u) a += (1u << (kDropped - 1)) - 1 + ((a >> kDropped) & 1u);
    a = (a >> kDropped) - (static_cast<std::uint32_t>(127 - kBias) << kMantissa);
    if (a > kLargest) {
      a = overflow == Overflow::kSaturate || kSpecials == Specials::kNone ? kLargest
          : kSpecials == Specials::kIeee                                  ? kInfinity
                                                                          : kNaN;
    }
    return static_cast<std::uint8_t>(sign | a);
  }
};

using E4M3 = MiniFloat<4, 3, Specials::kOnlyNaN>;
using E5M2 = MiniFloat<5, 2, Specials::kIeee>;
using E3M2 = MiniFloat<3, 2, Specials::kNone>;
using E2M3 = MiniFloat<2, 3, Specials::kNone>;
using E2M1 = MiniFloat<2, 1, Specials::kNone>;

}  // namespace detail

// E4M3 ("fn": all exponents are finite). A storage type like bf16 (core/dtype.h): compute in float.
// A NaN keeps its sign.
struct fp8_e4m3 {
  std::uint8_t bits;

  fp8_e4m3() = default;
  constexpr explicit fp8_e4m3(float x)  // saturates
      : bits(detail::E4M3::encode(x, Overflow::kSaturate)) {}
  constexpr explicit operator float() const { return detail::E4M3::decode(bits); }

  static constexpr fp8_e4m3 from_float(float x, Overflow overflow = Overflow::kSaturate) {
    return from_bits(detail::E4M3::encode(x, overflow));
  }
  static constexpr fp8_e4m3 from_bits(std::uint8_t bits) {
    fp8_e4m3 x{};
    x.bits = bits;
    return x;
  }
};

// E5M2, the upper half of f16. As fp8_e4m3.
struct fp8_e5m2 {
  std::uint8_t bits;

  fp8_e5m2() = default;
  constexpr explicit fp8_e5m2(float x)  // saturates
      : bits(detail::E5M2::encode(x, Overflow::kSaturate)) {}
  constexpr explicit operator float() const { return detail::E5M2::decode(bits); }

  static constexpr fp8_e5m2 from_float(float x, Overflow overflow = Overflow::kSaturate) {
    return from_bits(detail::E5M2::encode(x, overflow));
  }
  static constexpr fp8_e5m2 from_bits(std::uint8_t bits) {
    fp8_e5m2 x{};
    x.bits = bits;
    return x;
  }
};

// The codes of 4 and 6 bits, in the low bits of a byte; decode ignores the others. They saturate, and NaN, which
// they lack, becomes 0.
constexpr float e2m1_decode(std::uint8_t code) { return detail::E2M1::decode(code & 0x0f); }
constexpr float e2m3_decode(std::uint8_t code) { return detail::E2M3::decode(code & 0x3f); }
constexpr float e3m2_decode(std::uint8_t code) { return detail::E3M2::decode(code & 0x3f); }
constexpr std::uint8_t e2m1_encode(float x) { return detail::E2M1::encode(x, Overflow::kSaturate); }
constexpr std::uint8_t e2m3_encode(float x) { return detail::E2M3::encode(x, Overflow::kSaturate); }
constexpr std::uint8_t e3m2_encode(float x) { return detail::E3M2::encode(x, Overflow::kSaturate); }

// 2^(code - 127): the exponent of a float, but for code 0, where floats are subnormal. 0xff is NaN.
constexpr float e8m0_decode(std::uint8_t code) {
  if (code == 0xff) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<std::uint32_t>(code) << 23);
}

// The largest power of two that is not above x. Numbers below 2^-127 become 2^-127, as do zero and negative ones;
// infinity and NaN become NaN.
constexpr std::uint8_t e8m0_floor(float x) {
  if (x <= 0) return 0;
  return static_cast<std::uint8_t>((std::bit_cast<std::uint32_t>(x) >> 23) & 0xffu);
}

}  // namespace tessera

#endif  // TESSERA_CORE_MINIFLOAT_H_
