// SPDX-License-Identifier: Apache-2.0
// Large floats modulo pi / 2, in integers: the part of sine and cosine that vectors leave to scalars.
#ifndef TESSERA_CORE_HALF_PI_H_
#define TESSERA_CORE_HALF_PI_H_

#include <bit>
#include <cstdint>

namespace tessera::detail {

struct HalfPi {
  float rest;              // |rest| <= pi / 4
  std::uint32_t quadrant;  // modulo 4
};

// x = rest + n pi / 2 of x >= 2^8, rest correctly rounded but for 2^-6 ulp. NaN of infinity and NaN. The same bits
// everywhere, as all but one product is done in integers.
//
// Of the bits of 2 / pi only those matter whose product with x is below 4 and above the last bit wanted: 96 of them, from
// which x's exponent says (Payne and Hanek, "Radian reduction for trigonometric functions", 1983). No float is nearer to a
// multiple of pi / 2 than 2^-30 or so, which leaves 2^-31 of `rest` as the largest relative error.
inline HalfPi modulo_half_pi(float x) {
  constexpr std::uint32_t kTwoOverPi[] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                          0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t exponent = bits >> 23;
  if (exponent >= 0xff) return {x - x, 0};
  const std::uint64_t mantissa = (bits & 0x7fffff) | 0x800000;  // x = mantissa * 2^(exponent - 150)
  // The first bit that matters stands for 2 in x * 2 / pi; 32 zeros are before the table's first.
  const std::uint32_t first = exponent - 150 + 30, word = first / 32, shift = first % 32;
  const std::uint64_t a = kTwoOverPi[word], b = kTwoOverPi[word + 1], c = kTwoOverPi[word + 2],
                      d = kTwoOverPi[word + 3];
  const std::uint64_t upper = (a << 32 | b) << shift | (c << shift) >> 32;
  const std::uint64_t lower = ((c << 32 | d) << shift) >> 32;
  const std::uint64_t product = upper * mantissa + (lower * mantissa >> 32);  // in units of 2^-62
  const std::uint64_t quadrant = (product + (std::uint64_t{1} << 61)) >> 62;
  const auto rest = static_cast<std::int64_t>(product - (quadrant << 62));
  return {static_cast<float>(static_cast<double>(rest) * 0x1.921fb54442d18p-62),
          static_cast<std::uint32_t>(quadrant)};
}

}  // namespace tessera::detail

#endif  // TESSERA_CORE_HALF_PI_H_
