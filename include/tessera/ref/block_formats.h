// SPDX-License-Identifier: Apache-2.0
// The specification of the block formats: what the bytes of a block stand for, and which bytes a block of floats
// becomes. core/block_formats.h has the layouts.
//
// Dequantization. Every value is (scale * code) with an exact product, scale itself being an exact product of
// f16 and integers, minus an exact product where the format has a min: one rounding at most, the same bits as ggml.
// IEEE 754 does the rest where a scale is an infinity or NaN. Code 8 of E2M1, minus zero, is 0 in MXFP4 and NVFP4.
//
// Quantization. All formats, for any input:
//   NaN counts as 0, except in MXFP6 and NVFP4, whose block becomes NaN, and MXFP8, where the element does;
//   infinities and numbers beyond the reach of a format become the farthest codes: scales stop at the largest
//     f16 (in MX formats at that of the largest float, in NVFP4 at the largest E4M3);
//   a scale that underflows makes all values of the block 0.
//
// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0, TQ2_0, MXFP4 give the bytes of ggml's reference quantizers, as long as those
// do not overflow; what they round and when is written at each. The others search: see block_search.h.
#ifndef TESSERA_REF_BLOCK_FORMATS_H_
#define TESSERA_REF_BLOCK_FORMATS_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tessera/core/block_formats.h"
#include "tessera/core/dtype.h"
#include "tessera/core/minifloat.h"
#include "tessera/ref/block_search.h"

namespace tessera::ref {
namespace blocks {

template <class Block>
Block read(const std::byte* from) {
  Block block;
  std::memcpy(&block, from, sizeof(block));
  return block;
}

template <class Block>
void write(const Block& block, std::byte* to) {
  std::memcpy(to, &block, sizeof(block));
}

// Code j of the nibbles of n bytes.
inline int nibble(const std::uint8_t* qs, int n, int j) {
  return j < n ? qs[j] & 15 : qs[j - n] >> 4;
}
inline void put_nibble(std::uint8_t* qs, int n, int j, int code) {
  qs[j % n] = static_cast<std::uint8_t>(qs[j % n] | code << (j < n ? 0 : 4));
}

// Two bits of element j, where a block of 256 has them: bits 2 p, 2 p + 1 of byte 32 h + l, j = 128 h + 32 p + l.
inline int two_bits(const std::uint8_t* qs, int j) {
  return (qs[j / 128 * 32 + j % 32] >> 2 * (j / 32 % 4)) & 3;
}
inline void put_two_bits(std::uint8_t* qs, int j, int code) {
  std::uint8_t& byte = qs[j / 128 * 32 + j % 32];
  byte = static_cast<std::uint8_t>(byte | code << 2 * (j / 32 % 4));
}

// One bit of element j: bit j / 32 of byte j % 32 of 256 elements, bit j % 8 of byte j / 8 of 32.
inline int high_bit_256(const std::uint8_t* qh, int j) { return (qh[j % 32] >> j / 32) & 1; }
inline int high_bit_32(const std::uint8_t* qh, int j) { return (qh[j / 8] >> j % 8) & 1; }
inline void put_high_bit_256(std::uint8_t* qh, int j, int bit) {
  qh[j % 32] = static_cast<std::uint8_t>(qh[j % 32] | bit << j / 32);
}
inline void put_high_bit_32(std::uint8_t* qh, int j, int bit) {
  qh[j / 8] = static_cast<std::uint8_t>(qh[j / 8] | bit << j % 8);
}

// Nibble of element j of 256, in groups of 32 whose halves share bytes: BlockQ4_K, BlockQ5_K.
inline int k_nibble(const std::uint8_t* qs, int j) { return nibble(qs + j / 64 * 32, 32, j % 64); }

// Bits of element j of BlockQ6_K.
inline int q6_code(const BlockQ6_K& b, int j) {
  const int h = j / 128, p = j / 32 % 4, l = j % 32;
  const std::uint8_t low = b.ql[64 * h + 32 * (p % 2) + l];
  return (p < 2 ? low & 15 : low >> 4) | ((b.qh[32 * h + l] >> 2 * p) & 3) << 4;
}
inline void put_q6_code(BlockQ6_K& b, int j, int code) {
  const int h = j / 128, p = j / 32 % 4, l = j % 32;
  std::uint8_t &low = b.ql[64 * h + 32 * (p % 2) + l], &high = b.qh[32 * h + l];
  low = static_cast<std::uint8_t>(low | (code & 15) << (p < 2 ? 0 : 4));
  high = static_cast<std::uint8_t>(high | code >> 4 << 2 * p);
}

// Code j of BlockMXFP6.
inline std::uint8_t six_bits(const std::uint8_t* qs, int j) {
  const int bit = 6 * j, byte = bit / 8;
  const int pair = qs[byte] | (bit % 8 > 2 ? qs[byte + 1] << 8 : 0);
  return static_cast<std::uint8_t>((pair >> bit % 8) & 63);
}
inline void put_six_bits(std::uint8_t* qs, int j, int code) {
  const int bit = 6 * j, byte = bit / 8, shifted = code << bit % 8;
  qs[byte] = static_cast<std::uint8_t>(qs[byte] | shifted);
  if (shifted > 255) qs[byte + 1] = static_cast<std::uint8_t>(qs[byte + 1] | shifted >> 8);
}

// Where element j of BlockTQ1_0 is: digit `digit` of byte `byte` of qs and qh together.
struct TritPlace {
  int byte, digit;
};
constexpr TritPlace trit_place(int j) {
  if (j < 160) return {j % 32, j / 32};
  if (j < 240) return {32 + j % 16, (j - 160) / 16};
  return {48 + j % 4, (j - 240) / 4};
}

// The largest float that becomes a finite f16.
inline constexpr float kLargestToF16 = std::bit_cast<float>(0x477fefffu);

inline float clamp_scale(float d) { return std::clamp(d, -kLargestToF16, kLargestToF16); }
inline F16Bytes scale_bytes(float d) { return F16Bytes(f16(clamp_scale(d))); }

// 1 / d; 0 where there is none.
inline float inverse(float d) {
  const float id = d != 0 ? 1 / d : 0;
  return std::isinf(id) ? 0 : id;
}

inline float without_nan(float x) { return x != x ? 0 : x; }
inline float without_infinity(float x) {
  constexpr float kMax = std::numeric_limits<float>::max();
  return std::clamp(x, -kMax, kMax);
}

// Truncates to 0..largest.
inline int truncated(float x, int largest) {
  return static_cast<int>(std::clamp(x, 0.0f, static_cast<float>(largest)));
}
// Rounds to nearest, ties away from zero, to -largest..largest. -0.5 ulp: 0.49999997 must not become 1.
inline int rounded_away(float x, int largest) {
  const float limit = static_cast<float>(largest);
  return static_cast<int>(std::clamp(x + std::copysign(0x1.fffffep-2f, x), -limit, limit));
}

inline float largest_magnitude(const float* x, int n) {
  float largest = 0;
  for (int j = 0; j < n; ++j) largest = std::max(largest, std::fabs(without_nan(x[j])));
  return largest;
}

// Q4_0, Q5_0: the number farthest from zero, the first of several, becomes the lowest code, so that its
// magnitude is exact. q(j) = trunc(x(j) * (1 / d) + half + 0.5).
template <class Block>
Block quantize_to_lowest(const float* x, int half) {
  Block block{};
  float largest = 0, extreme = 0;
  for (int j = 0; j < 32; ++j) {
    const float v = without_nan(x[j]);
    if (std::fabs(v) > largest) largest = std::fabs(extreme = v);
  }
  const float d = clamp_scale(extreme / static_cast<float>(-half)), id = inverse(d);
  block.d = scale_bytes(d);
  for (int j = 0; j < 32; ++j) {
    const float y = no_fma(without_nan(x[j]) * id) + (static_cast<float>(half) + 0.5f);
    const int code = truncated(y, 2 * half - 1);
    put_nibble(block.qs, 16, j, code & 15);
    if constexpr (requires { block.qh; }) put_high_bit_32(block.qh, j, code >> 4);
  }
  return block;
}

// Q4_1, Q5_1: m is the smallest number, d a `steps`-th of the range.
// q(j) = trunc((x(j) - m) * (1 / d) + 0.5), m and d not yet rounded to f16.
template <class Block>
Block quantize_range(const float* x, int steps) {
  Block block{};
  float low = std::numeric_limits<float>::infinity(), high = -low;
  for (int j = 0; j < 32; ++j) {
    low = std::min(low, without_nan(x[j]));
    high = std::max(high, without_nan(x[j]));
  }
  low = clamp_scale(low);
  const float d = clamp_scale((without_infinity(high) - low) / static_cast<float>(steps));
  const float id = inverse(d);
  block.d = scale_bytes(d);
  block.m = scale_bytes(low);
  for (int j = 0; j < 32; ++j) {
    const float y = no_fma((without_infinity(without_nan(x[j])) - low) * id) + 0.5f;
    const int code = truncated(y, steps);
    put_nibble(block.qs, 16, j, code & 15);
    if constexpr (requires { block.qh; }) put_high_bit_32(block.qh, j, code >> 4);
  }
  return block;
}

// d = max |x| / 127, q(j) = x(j) * (1 / d) rounded, ties away from zero.
inline BlockQ8_0 quantize_q8_0(const float* x) {
  BlockQ8_0 block;
  const float d = clamp_scale(largest_magnitude(x, 32) / 127), id = inverse(d);
  block.d = scale_bytes(d);
  for (int j = 0; j < 32; ++j) {
    const float y = no_fma(without_nan(x[j]) * id);
    block.qs[j] = static_cast<std::int8_t>(rounded_away(y, 127));
  }
  return block;
}

// TQ*: d = max |x|, t(j) = 1 + x(j) * (1 / d) rounded, ties away from zero.
inline F16Bytes quantize_ternary(const float* x, std::uint8_t* trits) {
  const float d = clamp_scale(largest_magnitude(x, 256)), id = inverse(d);
  for (int j = 0; j < 256; ++j) {
    const float y = no_fma(without_nan(x[j]) * id);
    trits[j] = static_cast<std::uint8_t>(1 + rounded_away(y, 1));
  }
  return scale_bytes(d);
}

inline BlockTQ1_0 quantize_tq1_0(const float* x) {
  BlockTQ1_0 block;
  std::uint8_t trits[256];
  block.d = quantize_ternary(x, trits);
  int numbers[52] = {};
  constexpr int kWeights[] = {81, 27, 9, 3, 1};
  for (int j = 0; j < 256; ++j) {
    const TritPlace place = trit_place(j);
    numbers[place.byte] += trits[j] * kWeights[place.digit];
  }
  const auto fraction = [](int n) { return static_cast<std::uint8_t>((n * 256 + 242) / 243); };
  for (int i = 0; i < 48; ++i) block.qs[i] = fraction(numbers[i]);
  for (int i = 0; i < 4; ++i) block.qh[i] = fraction(numbers[48 + i]);
  return block;
}

inline BlockTQ2_0 quantize_tq2_0(const float* x) {
  BlockTQ2_0 block{};
  std::uint8_t trits[256];
  block.d = quantize_ternary(x, trits);
  for (int j = 0; j < 256; ++j) put_two_bits(block.qs, j, trits[j]);
  return block;
}

// floor(log2(x)) of a positive number.
inline int floor_log2(float x) { return std::ilogb(x); }

// The same with log2(x) rounded to float first, as ggml computes it: numbers a few units of the last place below a
// power of two 2^k count as 2^k, because log2 is flatter there than floats near k are dense. Below a k with 2^p <=
// |k| < 2^(p + 1) these lie 2^(p - 23) apart, half as much below 1, 2, 4 ...; log2(1 - t) is -t / ln 2 for small t.
inline int floor_rounded_log2(float x) {
  int k = 0;
  const double t = 1 - std::frexp(static_cast<double>(x), &k);  // x = 2^k (1 - t), 0 < t <= 1 / 2
  if (k == 0) return k - 1;
  int p = std::ilogb(static_cast<double>(k));
  if (k > 0 && k == 1 << p) --p;
  return t < 0x1.62e42fefa39efp-1 * std::ldexp(1.0, p - 24) ? k : k - 1;
}

// The largest number gets the largest exponent of E2M1, 2^2: if it is above 6 * 2^(e - 127), it saturates.
// q(j) is the nearest code; ties go to the one nearer to zero. No code is -0. The scale stops where values would
// overflow.
inline BlockMXFP4 quantize_mxfp4(const float* x) {
  BlockMXFP4 block{};
  const float largest = without_infinity(largest_magnitude(x, 32));
  const int e = largest > 0 ? std::clamp(floor_rounded_log2(largest) - 2 + 127, 0, 252) : 0;
  block.e = static_cast<std::uint8_t>(e);
  const float half = e8m0_decode(block.e) * 0.5f;  // as kE2M1Doubled
  constexpr float kMidpoints[] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
  for (int j = 0; j < 32; ++j) {
    const float v = without_nan(x[j]);
    int code = 0;
    for (const float m : kMidpoints) code += std::fabs(v) > m * half;
    put_nibble(block.qs, 16, j, code != 0 && v < 0 ? code | 8 : code);
  }
  return block;
}

// The scale of a block of MXFP6 and MXFP8, whose elements have the largest exponent `largest_exponent`: the largest
// number gets that (OCP MX v1.0, 6.3). inverse_scale becomes 1 / scale, a power of two.
inline std::uint8_t mx_scale(const float* x, int largest_exponent, float* inverse_scale) {
  const float largest = without_infinity(largest_magnitude(x, 32));
  const int e = largest > 0 ? std::max(0, floor_log2(largest) - largest_exponent + 127) : 0;
  *inverse_scale = std::ldexp(1.0f, 127 - e);
  return static_cast<std::uint8_t>(e);
}

inline bool any_nan(const float* x, int n) {
  return std::any_of(x, x + n, [](float v) { return v != v; });
}

// Codes round to nearest even, and saturate.
template <class Encode>
BlockMXFP6 quantize_mxfp6(const float* x, int largest_exponent, Encode encode) {
  BlockMXFP6 block{};
  float inverse_scale = 0;
  block.e = mx_scale(x, largest_exponent, &inverse_scale);
  if (any_nan(x, 32)) {
    block.e = 0xff;
    return block;
  }
  for (int j = 0; j < 32; ++j) put_six_bits(block.qs, j, encode(x[j] * inverse_scale));
  return block;
}

template <class Float8>
BlockMXFP8 quantize_mxfp8(const float* x, int largest_exponent) {
  BlockMXFP8 block;
  float inverse_scale = 0;
  block.e = mx_scale(x, largest_exponent, &inverse_scale);
  for (int j = 0; j < 32; ++j) {
    block.qs[j] = Float8::from_float(x[j] * inverse_scale, Overflow::kSaturate).bits;
  }
  return block;
}

// d = max |x| / 6 / tensor_scale and x(j) / (d * tensor_scale), rounded to nearest even, saturate.
inline BlockNVFP4 quantize_nvfp4(const float* x, float tensor_scale) {
  BlockNVFP4 block{};
  if (any_nan(x, 16)) {
    block.d = 0x7f;
    return block;
  }
  const fp8_e4m3 d(without_infinity(largest_magnitude(x, 16)) / 6 / tensor_scale);
  block.d = d.bits;
  const float scale = static_cast<float>(d) * tensor_scale;
  for (int j = 0; j < 16 && scale > 0; ++j) {
    const std::uint8_t code = e2m1_encode(x[j] / scale);
    put_nibble(block.qs, 8, j, code == 8 ? 0 : code);
  }
  return block;
}

}  // namespace blocks

// The values of one block, info(format).block of them. tensor_scale: of kNVFP4.
inline void dequantize_block(BlockFormat format, const std::byte* block, float* out,
                             float tensor_scale = 1) {
  using namespace blocks;  // NOLINT: the implementation's own namespace
  const auto value = [](auto x) { return static_cast<float>(x); };
  switch (format) {
    case BlockFormat::kQ4_0: {
      const auto b = read<BlockQ4_0>(block);
      for (int j = 0; j < 32; ++j) out[j] = value(b.d) * value(nibble(b.qs, 16, j) - 8);
      return;
    }
    case BlockFormat::kQ4_1: {
      const auto b = read<BlockQ4_1>(block);
      for (int j = 0; j < 32; ++j) out[j] = value(b.d) * value(nibble(b.qs, 16, j)) + value(b.m);
      return;
    }
    case BlockFormat::kQ5_0: {
      const auto b = read<BlockQ5_0>(block);
      for (int j = 0; j < 32; ++j) {
        const int q = nibble(b.qs, 16, j) | high_bit_32(b.qh, j) << 4;
        out[j] = value(b.d) * value(q - 16);
      }
      return;
    }
    case BlockFormat::kQ5_1: {
      const auto b = read<BlockQ5_1>(block);
      for (int j = 0; j < 32; ++j) {
        const int q = nibble(b.qs, 16, j) | high_bit_32(b.qh, j) << 4;
        out[j] = value(b.d) * value(q) + value(b.m);
      }
      return;
    }
    case BlockFormat::kQ8_0: {
      const auto b = read<BlockQ8_0>(block);
      for (int j = 0; j < 32; ++j) out[j] = value(b.d) * value(b.qs[j]);
      return;
    }
    case BlockFormat::kQ2_K: {
      const auto b = read<BlockQ2_K>(block);
      for (int j = 0; j < 256; ++j) {
        const int scales = b.scales[j / 16];
        const float scale = value(b.d) * value(scales & 15),
                    min = value(b.dmin) * value(scales >> 4);
        out[j] = scale * value(two_bits(b.qs, j)) - min;
      }
      return;
    }
    case BlockFormat::kQ3_K: {
      const auto b = read<BlockQ3_K>(block);
      for (int j = 0; j < 256; ++j) {
        const float scale = value(b.d) * value(unpack_q3_k_scale(b.scales, j / 16) - 32);
        out[j] = scale * value((two_bits(b.qs, j) | high_bit_256(b.hmask, j) << 2) - 4);
      }
      return;
    }
    case BlockFormat::kQ4_K: {
      const auto b = read<BlockQ4_K>(block);
      for (int j = 0; j < 256; ++j) {
        const ScaleMin s = unpack_k_scale_min(b.scales, j / 32);
        const float scale = value(b.d) * value(s.scale), min = value(b.dmin) * value(s.min);
        out[j] = scale * value(k_nibble(b.qs, j)) - min;
      }
      return;
    }
    case BlockFormat::kQ5_K: {
      const auto b = read<BlockQ5_K>(block);
      for (int j = 0; j < 256; ++j) {
        const ScaleMin s = unpack_k_scale_min(b.scales, j / 32);
        const float scale = value(b.d) * value(s.scale), min = value(b.dmin) * value(s.min);
        out[j] = scale * value(k_nibble(b.qs, j) | high_bit_256(b.qh, j) << 4) - min;
      }
      return;
    }
    case BlockFormat::kQ6_K: {
      const auto b = read<BlockQ6_K>(block);
      for (int j = 0; j < 256; ++j) {
        const float scale = value(b.d) * value(b.scales[j / 16]);
        out[j] = scale * value(q6_code(b, j) - 32);
      }
      return;
    }
    case BlockFormat::kIQ4_NL: {
      const auto b = read<BlockIQ4_NL>(block);
      for (int j = 0; j < 32; ++j) {
        out[j] = value(b.d) * value(kIQ4NLValues[static_cast<std::size_t>(nibble(b.qs, 16, j))]);
      }
      return;
    }
    case BlockFormat::kIQ4_XS: {
      const auto b = read<BlockIQ4_XS>(block);
      for (int j = 0; j < 256; ++j) {
        const float scale = value(b.d) * value(unpack_iq4_xs_scale(b, j / 32) - 32);
        const int q = nibble(b.qs + j / 32 * 16, 16, j % 32);
        out[j] = scale * value(kIQ4NLValues[static_cast<std::size_t>(q)]);
      }
      return;
    }
    case BlockFormat::kTQ1_0: {
      const auto b = read<BlockTQ1_0>(block);
      for (int j = 0; j < 256; ++j) {
        const TritPlace place = trit_place(j);
        const std::uint8_t byte = place.byte < 48 ? b.qs[place.byte] : b.qh[place.byte - 48];
        out[j] = value(b.d) * value(unpack_trit(byte, place.digit) - 1);
      }
      return;
    }
    case BlockFormat::kTQ2_0: {
      const auto b = read<BlockTQ2_0>(block);
      for (int j = 0; j < 256; ++j) out[j] = value(b.d) * value(two_bits(b.qs, j) - 1);
      return;
    }
    case BlockFormat::kMXFP4: {
      const auto b = read<BlockMXFP4>(block);
      const float half = e8m0_decode(b.e) * 0.5f;
      for (int j = 0; j < 32; ++j) {
        out[j] = half * value(kE2M1Doubled[static_cast<std::size_t>(nibble(b.qs, 16, j))]);
      }
      return;
    }
    case BlockFormat::kMXFP6_E2M3:
    case BlockFormat::kMXFP6_E3M2: {
      const auto b = read<BlockMXFP6>(block);
      for (int j = 0; j < 32; ++j) {
        const std::uint8_t q = six_bits(b.qs, j);
        out[j] = e8m0_decode(b.e) *
                 (format == BlockFormat::kMXFP6_E2M3 ? e2m3_decode(q) : e3m2_decode(q));
      }
      return;
    }
    case BlockFormat::kMXFP8_E4M3:
    case BlockFormat::kMXFP8_E5M2: {
      const auto b = read<BlockMXFP8>(block);
      for (int j = 0; j < 32; ++j) {
        out[j] = e8m0_decode(b.e) * (format == BlockFormat::kMXFP8_E4M3
                                         ? value(fp8_e4m3::from_bits(b.qs[j]))
                                         : value(fp8_e5m2::from_bits(b.qs[j])));
      }
      return;
    }
    case BlockFormat::kNVFP4: {
      const auto b = read<BlockNVFP4>(block);
      const float half = value(fp8_e4m3::from_bits(b.d)) * (0.5f * tensor_scale);
      for (int j = 0; j < 16; ++j) {
        out[j] = half * value(kE2M1Doubled[static_cast<std::size_t>(nibble(b.qs, 8, j))]);
      }
      return;
    }
  }
}

// info(format).block floats as one block. importance: null, or as many weights of the squared errors, which the
// formats that search use (block_search.h). tensor_scale: of kNVFP4, a positive number.
inline void quantize_block(BlockFormat format, const float* x, std::byte* block,
                           const float* importance = nullptr, float tensor_scale = 1) {
  using namespace blocks;  // NOLINT: the implementation's own namespace
  switch (format) {
    case BlockFormat::kQ4_0:
      return write(quantize_to_lowest<BlockQ4_0>(x, 8), block);
    case BlockFormat::kQ4_1:
      return write(quantize_range<BlockQ4_1>(x, 15), block);
    case BlockFormat::kQ5_0:
      return write(quantize_to_lowest<BlockQ5_0>(x, 16), block);
    case BlockFormat::kQ5_1:
      return write(quantize_range<BlockQ5_1>(x, 31), block);
    case BlockFormat::kQ8_0:
      return write(quantize_q8_0(x), block);
    case BlockFormat::kQ2_K: {
      BlockQ2_K b{};
      const auto found = search_scales_and_mins<16, 3, 15>(x, importance);
      b.d = F16Bytes(found.d);
      b.dmin = F16Bytes(found.dmin);
      for (int i = 0; i < 16; ++i) {
        b.scales[i] = static_cast<std::uint8_t>(found.groups[i].scale | found.groups[i].min << 4);
      }
      for (int j = 0; j < 256; ++j) put_two_bits(b.qs, j, found.codes[j]);
      return write(b, block);
    }
    case BlockFormat::kQ3_K: {
      BlockQ3_K b{};
      const auto found = search_scales<16, IntegerCodes<-4, 3>, -32, 31>(x, importance);
      b.d = F16Bytes(found.d);
      for (int i = 0; i < 16; ++i) {
        const int s = found.scales[i] + 32;
        b.scales[i % 8] = static_cast<std::uint8_t>(b.scales[i % 8] | (s & 15) << 4 * (i / 8));
        b.scales[8 + i % 4] =
            static_cast<std::uint8_t>(b.scales[8 + i % 4] | s >> 4 << 2 * (i / 4));
      }
      for (int j = 0; j < 256; ++j) {
        const int q = found.codes[j] + 4;
        put_two_bits(b.qs, j, q & 3);
        put_high_bit_256(b.hmask, j, q >> 2);
      }
      return write(b, block);
    }
    case BlockFormat::kQ4_K: {
      BlockQ4_K b{};
      const auto found = search_scales_and_mins<32, 15, 63>(x, importance);
      b.d = F16Bytes(found.d);
      b.dmin = F16Bytes(found.dmin);
      for (int i = 0; i < 8; ++i) pack_k_scale_min(b.scales, i, found.groups[i]);
      for (int j = 0; j < 256; ++j) put_nibble(b.qs + j / 64 * 32, 32, j % 64, found.codes[j]);
      return write(b, block);
    }
    case BlockFormat::kQ5_K: {
      BlockQ5_K b{};
      const auto found = search_scales_and_mins<32, 31, 63>(x, importance);
      b.d = F16Bytes(found.d);
      b.dmin = F16Bytes(found.dmin);
      for (int i = 0; i < 8; ++i) pack_k_scale_min(b.scales, i, found.groups[i]);
      for (int j = 0; j < 256; ++j) {
        put_nibble(b.qs + j / 64 * 32, 32, j % 64, found.codes[j] & 15);
        put_high_bit_256(b.qh, j, found.codes[j] >> 4);
      }
      return write(b, block);
    }
    case BlockFormat::kQ6_K: {
      BlockQ6_K b{};
      const auto found = search_scales<16, IntegerCodes<-32, 31>, -128, 127>(x, importance);
      b.d = F16Bytes(found.d);
      for (int i = 0; i < 16; ++i) b.scales[i] = static_cast<std::int8_t>(found.scales[i]);
      for (int j = 0; j < 256; ++j) put_q6_code(b, j, found.codes[j] + 32);
      return write(b, block);
    }
    case BlockFormat::kIQ4_NL: {
      BlockIQ4_NL b{};
      const auto found = search_scale<32, IQ4Codes>(x, importance);
      b.d = F16Bytes(found.d);
      for (int j = 0; j < 32; ++j) put_nibble(b.qs, 16, j, found.codes[j]);
      return write(b, block);
    }
    case BlockFormat::kIQ4_XS: {
      BlockIQ4_XS b{};
      const auto found = search_scales<32, IQ4Codes, -32, 31>(x, importance);
      b.d = F16Bytes(found.d);
      for (int i = 0; i < 8; ++i) {
        const int s = found.scales[i] + 32;
        b.scales_l[i / 2] = static_cast<std::uint8_t>(b.scales_l[i / 2] | (s & 15) << 4 * (i % 2));
        b.scales_h[i / 4] = static_cast<std::uint8_t>(b.scales_h[i / 4] | s >> 4 << 2 * (i % 4));
      }
      for (int j = 0; j < 256; ++j) put_nibble(b.qs + j / 32 * 16, 16, j % 32, found.codes[j]);
      return write(b, block);
    }
    case BlockFormat::kTQ1_0:
      return write(quantize_tq1_0(x), block);
    case BlockFormat::kTQ2_0:
      return write(quantize_tq2_0(x), block);
    case BlockFormat::kMXFP4:
      return write(quantize_mxfp4(x), block);
    case BlockFormat::kMXFP6_E2M3:
      return write(quantize_mxfp6(x, 2, e2m3_encode), block);
    case BlockFormat::kMXFP6_E3M2:
      return write(quantize_mxfp6(x, 4, e3m2_encode), block);
    case BlockFormat::kMXFP8_E4M3:
      return write(quantize_mxfp8<fp8_e4m3>(x, 8), block);
    case BlockFormat::kMXFP8_E5M2:
      return write(quantize_mxfp8<fp8_e5m2>(x, 15), block);
    case BlockFormat::kNVFP4:
      return write(quantize_nvfp4(x, tensor_scale), block);
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_BLOCK_FORMATS_H_
