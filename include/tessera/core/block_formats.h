// SPDX-License-Identifier: Apache-2.0
// Block formats: matrices whose rows are cut into blocks of a few bits per element that share their scales.
//
// Those of GGUF (Q*, IQ*, TQ*, MXFP4) have the bytes that ggml reads and writes. MXFP6 and MXFP8 are those of the OCP
// Microscaling Formats Specification v1.0, NVFP4 that of NVIDIA's Blackwell GPUs; there the order of the bytes is
// ours, since neither source fixes it. ref/block_formats.h gives the values, ops/quantize.h the conversions.
//
// In what follows "nibbles" of n bytes are 2 n codes of 4 bits: code j < n is the low half of byte j, code n + j
// its high half. All numbers are little-endian; no alignment is asked for.
#ifndef TESSERA_CORE_BLOCK_FORMATS_H_
#define TESSERA_CORE_BLOCK_FORMATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera {

enum class BlockFormat : std::uint8_t {
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kTQ1_0,
  kTQ2_0,
  kMXFP4,
  kMXFP6_E2M3,
  kMXFP6_E3M2,
  kMXFP8_E4M3,
  kMXFP8_E5M2,
  kNVFP4,
};

// An f16 at any address.
struct F16Bytes {
  std::uint8_t bytes[2];

  F16Bytes() = default;
  constexpr explicit F16Bytes(f16 x)
      : bytes{static_cast<std::uint8_t>(x.bits & 0xff), static_cast<std::uint8_t>(x.bits >> 8)} {}
  constexpr explicit operator float() const {
    return static_cast<float>(f16::from_bits(static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8)));
  }
};

// ---- 32 elements, one scale. x(j) is element j.

// x(j) = d * (q(j) - 8), q in 0..15.
struct BlockQ4_0 {
  F16Bytes d;
  std::uint8_t qs[16];  // nibbles
};

// x(j) = d * q(j) + m.
struct BlockQ4_1 {
  F16Bytes d, m;
  std::uint8_t qs[16];  // nibbles
};

// x(j) = d * (q(j) - 16), q in 0..31.
struct BlockQ5_0 {
  F16Bytes d;
  std::uint8_t qh[4];   // bit 4 of q(j) is bit j of this 32-bit number
  std::uint8_t qs[16];  // nibbles: bits 0..3
};

// x(j) = d * q(j) + m.
struct BlockQ5_1 {
  F16Bytes d, m;
  std::uint8_t qh[4];  // as in BlockQ5_0
  std::uint8_t qs[16];
};

// x(j) = d * q(j), q in -128..127; quantizers leave -128 out.
struct BlockQ8_0 {
  F16Bytes d;
  std::int8_t qs[32];
};

// x(j) = d * kIQ4NLValues[q(j)].
struct BlockIQ4_NL {
  F16Bytes d;
  std::uint8_t qs[16];  // nibbles
};

// x(j) = 2^(e - 127) * E2M1(q(j)); e = 255 is NaN.
struct BlockMXFP4 {
  std::uint8_t e;
  std::uint8_t qs[16];  // nibbles
};

// x(j) = 2^(e - 127) * E2M3(q(j)), or E3M2.
struct BlockMXFP6 {
  std::uint8_t e;
  std::uint8_t qs[24];  // code j is bits 6 j .. 6 j + 5 of this 192-bit number: 4 codes in 3 bytes
};

// x(j) = 2^(e - 127) * E4M3(qs[j]), or E5M2.
struct BlockMXFP8 {
  std::uint8_t e;
  std::uint8_t qs[32];
};

// 16 elements. x(j) = s * E2M1(q(j)), s = E4M3(d) * tensor scale rounded to f32; the latter is kept beside the matrix
// (BlockView::tensor_scale). In GGUF, four of these are one block: 4 scales, then 4 times 8 bytes of codes.
struct BlockNVFP4 {
  std::uint8_t d;
  std::uint8_t qs[8];  // nibbles: code j < 8 in the low half of byte j, code 8 + j in the high half
};

// ---- 256 elements in groups of 16 or 32 with scales of their own, which are small integers.

// 16 groups of 16: x = (d * scale) * q - dmin * min, q in 0..3.
struct BlockQ2_K {
  std::uint8_t scales[16];  // group i: scale in the low half of byte i, min in the high half
  std::uint8_t qs[64];      // element 128 h + 32 p + l, l < 32: bits 2 p, 2 p + 1 of byte 32 h + l
  F16Bytes d, dmin;
};

// 16 groups of 16: x = (d * (scale - 32)) * (q - 4), q in 0..7.
struct BlockQ3_K {
  std::uint8_t hmask[32];   // bit 2 of q of element 32 p + l, l < 32: bit p of byte l
  std::uint8_t qs[64];      // bits 0, 1, as in BlockQ2_K
  std::uint8_t scales[12];  // unpack_q3_k_scale()
  F16Bytes d;
};

// 8 groups of 32: x = (d * scale) * q - dmin * min, q in 0..15.
struct BlockQ4_K {
  F16Bytes d, dmin;
  std::uint8_t scales[12];  // unpack_k_scale_min()
  std::uint8_t
      qs[128];  // group 2 p: low halves of bytes 32 p .. 32 p + 31, group 2 p + 1: high halves
};

// 8 groups of 32: x = (d * scale) * q - dmin * min, q in 0..31.
struct BlockQ5_K {
  F16Bytes d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];   // bit 4 of q of element 32 p + l, l < 32: bit p of byte l
  std::uint8_t qs[128];  // bits 0..3, as in BlockQ4_K
};

// 16 groups of 16: x = (d * scale) * (q - 32), q in 0..63.
// Element 128 h + 32 p + l, l < 32, p < 4 has bits 0..3 in ql[64 h + 32 (p % 2) + l], its low half for p < 2, and
// bits 4, 5 in bits 2 p, 2 p + 1 of qh[32 h + l].
struct BlockQ6_K {
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  F16Bytes d;
};

// 8 groups of 32: x = (d * (scale - 32)) * kIQ4NLValues[q].
struct BlockIQ4_XS {
  F16Bytes d;
  std::uint8_t scales_h[2];  // bits 4, 5 of scale i: bits 2 i, 2 i + 1 of this 16-bit number
  std::uint8_t scales_l[4];  // bits 0..3: nibble i, the low half of a byte first
  std::uint8_t qs[128];      // group i: nibbles of bytes 16 i .. 16 i + 15
};

// x = d * (t - 1), t in 0..2, five to a byte: a byte of digits t0 .. t4 in base 3, t0 the most significant one, is
// the fraction n / 243, n = 81 t0 + 27 t1 + 9 t2 + 3 t3 + t4, as ceil(256 n / 243). So t0 is the carry out of
// 3 * byte, t1 that of 3 * (3 * byte mod 256), and so on: unpack_trit().
struct BlockTQ1_0 {
  std::uint8_t qs[48];  // element 32 i + l, i < 5, l < 32: digit i of byte l;
                        // element 160 + 16 i + l, i < 5, l < 16: digit i of byte 32 + l
  std::uint8_t qh[4];   // element 240 + 4 i + l, i < 4, l < 4: digit i of byte l; digit 4 is 0
  F16Bytes d;
};

// x = d * (q - 1), q in 0..2 (3 is read as 2 d).
struct BlockTQ2_0 {
  std::uint8_t qs[64];  // as in BlockQ2_K
  F16Bytes d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockMXFP4) == 17 && sizeof(BlockMXFP6) == 25 && sizeof(BlockMXFP8) == 33);
static_assert(sizeof(BlockNVFP4) == 9);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockTQ1_0) == 54 && sizeof(BlockTQ2_0) == 66);

// The values of IQ4_NL and IQ4_XS.
inline constexpr std::array<std::int8_t, 16> kIQ4NLValues = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Twice the values of E2M1. As integers, so -0 (code 8) is 0 in MXFP4 and NVFP4.
inline constexpr std::array<std::int8_t, 16> kE2M1Doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                             0, -1, -2, -3, -4, -6, -8, -12};

// Scale and min of group i < 8 of BlockQ4_K and BlockQ5_K, 0..63. The first four are the low six bits of bytes i
// and 4 + i; of the others, bits 0..3 are the halves of byte 4 + i, and bits 4, 5 the upper two of bytes i - 4 and i.
struct ScaleMin {
  int scale, min;
};
constexpr ScaleMin unpack_k_scale_min(const std::uint8_t* scales, int i) {
  if (i < 4) return {scales[i] & 63, scales[4 + i] & 63};
  return {(scales[4 + i] & 15) | (scales[i - 4] >> 6) << 4, (scales[4 + i] >> 4) | (scales[i] >> 6)
                                                                                       << 4};
}
constexpr void pack_k_scale_min(std::uint8_t* scales, int i, ScaleMin s) {
  const auto put = [&](int byte, int shift, int bits, int value) {
    const int mask = ((1 << bits) - 1) << shift;
    scales[byte] = static_cast<std::uint8_t>((scales[byte] & ~mask) | ((value << shift) & mask));
  };
  if (i < 4) {
    put(i, 0, 6, s.scale);
    put(4 + i, 0, 6, s.min);
  } else {
    put(4 + i, 0, 4, s.scale);
    put(4 + i, 4, 4, s.min);
    put(i - 4, 6, 2, s.scale >> 4);
    put(i, 6, 2, s.min >> 4);
  }
}

// Scale of group i < 16 of BlockQ3_K, 0..63 (its value is 32 less). Bits 0..3 are half i / 8 of byte i % 8, bits 4, 5
// are bits 2 (i / 4), 2 (i / 4) + 1 of byte 8 + i % 4.
constexpr int unpack_q3_k_scale(const std::uint8_t* scales, int i) {
  return ((scales[i % 8] >> 4 * (i / 8)) & 15) | ((scales[8 + i % 4] >> 2 * (i / 4)) & 3) << 4;
}

// Scale of group i < 8 of BlockIQ4_XS, 0..63 (its value is 32 less).
constexpr int unpack_iq4_xs_scale(const BlockIQ4_XS& block, int i) {
  return ((block.scales_l[i / 2] >> 4 * (i % 2)) & 15) |
         ((block.scales_h[i / 4] >> 2 * (i % 4)) & 3) << 4;
}

// Digit i < 5 of a byte of BlockTQ1_0.
constexpr int unpack_trit(std::uint8_t byte, int i) {
  constexpr int kPowers[] = {1, 3, 9, 27, 81};
  return ((byte * kPowers[i]) & 0xff) * 3 >> 8;
}

// What a block of each format holds.
struct BlockFormatInfo {
  std::string_view name;  // as in GGUF
  index_t block;          // elements
  index_t bytes;
};

constexpr BlockFormatInfo info(BlockFormat format) {
  switch (format) {
    case BlockFormat::kQ4_0:
      return {"Q4_0", 32, 18};
    case BlockFormat::kQ4_1:
      return {"Q4_1", 32, 20};
    case BlockFormat::kQ5_0:
      return {"Q5_0", 32, 22};
    case BlockFormat::kQ5_1:
      return {"Q5_1", 32, 24};
    case BlockFormat::kQ8_0:
      return {"Q8_0", 32, 34};
    case BlockFormat::kQ2_K:
      return {"Q2_K", 256, 84};
    case BlockFormat::kQ3_K:
      return {"Q3_K", 256, 110};
    case BlockFormat::kQ4_K:
      return {"Q4_K", 256, 144};
    case BlockFormat::kQ5_K:
      return {"Q5_K", 256, 176};
    case BlockFormat::kQ6_K:
      return {"Q6_K", 256, 210};
    case BlockFormat::kIQ4_NL:
      return {"IQ4_NL", 32, 18};
    case BlockFormat::kIQ4_XS:
      return {"IQ4_XS", 256, 136};
    case BlockFormat::kTQ1_0:
      return {"TQ1_0", 256, 54};
    case BlockFormat::kTQ2_0:
      return {"TQ2_0", 256, 66};
    case BlockFormat::kMXFP4:
      return {"MXFP4", 32, 17};
    case BlockFormat::kMXFP6_E2M3:
      return {"MXFP6_E2M3", 32, 25};
    case BlockFormat::kMXFP6_E3M2:
      return {"MXFP6_E3M2", 32, 25};
    case BlockFormat::kMXFP8_E4M3:
      return {"MXFP8_E4M3", 32, 33};
    case BlockFormat::kMXFP8_E5M2:
      return {"MXFP8_E5M2", 32, 33};
    case BlockFormat::kNVFP4:
      return {"NVFP4", 16, 9};
  }
  return {"unknown", 1, 0};
}

// All formats, for loops over them.
inline constexpr std::array kBlockFormats = {
    BlockFormat::kQ4_0,       BlockFormat::kQ4_1,       BlockFormat::kQ5_0,
    BlockFormat::kQ5_1,       BlockFormat::kQ8_0,       BlockFormat::kQ2_K,
    BlockFormat::kQ3_K,       BlockFormat::kQ4_K,       BlockFormat::kQ5_K,
    BlockFormat::kQ6_K,       BlockFormat::kIQ4_NL,     BlockFormat::kIQ4_XS,
    BlockFormat::kTQ1_0,      BlockFormat::kTQ2_0,      BlockFormat::kMXFP4,
    BlockFormat::kMXFP6_E2M3, BlockFormat::kMXFP6_E3M2, BlockFormat::kMXFP8_E4M3,
    BlockFormat::kMXFP8_E5M2, BlockFormat::kNVFP4};

constexpr double bits_per_weight(BlockFormat format) {
  return 8.0 * static_cast<double>(info(format).bytes) / static_cast<double>(info(format).block);
}

namespace detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_block_cols(const char* function,
                                                                   BlockFormat format,
                                                                   index_t cols) {
  std::string expected = "a multiple of ";
  expected.append(std::to_string(info(format).block)).append(" (a block of ");
  expected.append(info(format).name).append("), at least 0");
  fail(function, "cols", expected, std::to_string(cols));
}

}  // namespace detail

// Bytes of a row of `cols` elements, which must be whole blocks.
constexpr index_t row_bytes(BlockFormat format, index_t cols) {
  const BlockFormatInfo f = info(format);
  if (cols < 0 || cols % f.block != 0) detail::fail_block_cols("row_bytes", format, cols);
  return cols / f.block * f.bytes;  // never more than the 4 bytes of a float per element
}

// A matrix in a block format: pointer, format, extents. It owns nothing and is passed by value. Row i is the
// `cols` elements in whole blocks from data + i * row_bytes on; rows may have gaps between them, or come in
// reverse, blocks of a row are contiguous.
template <class Byte>
struct BasicBlockView {
  Byte* data = nullptr;
  BlockFormat format = BlockFormat::kQ8_0;
  index_t rows = 0, cols = 0;
  index_t row_bytes = 0;   // from one row to the next
  float tensor_scale = 1;  // multiplies every element of kNVFP4; not used by other formats

  constexpr Byte* row(index_t i) const { return data + i * row_bytes; }

  // BlockView converts to ConstBlockView.
  constexpr operator BasicBlockView<const Byte>() const  // NOLINT: implicit by design
    requires(!std::is_const_v<Byte>)
  {
    return {data, format, rows, cols, row_bytes, tensor_scale};
  }
};

using BlockView = BasicBlockView<std::byte>;
using ConstBlockView = BasicBlockView<const std::byte>;

// Rows of whole blocks, one after the other.
inline BlockView blocks(BlockFormat format, void* data, index_t rows, index_t cols,
                        float tensor_scale = 1) {
  return {static_cast<std::byte*>(data), format, rows, cols, row_bytes(format, cols), tensor_scale};
}
inline ConstBlockView blocks(BlockFormat format, const void* data, index_t rows, index_t cols,
                             float tensor_scale = 1) {
  return {static_cast<const std::byte*>(data),
          format,
          rows,
          cols,
          row_bytes(format, cols),
          tensor_scale};
}

}  // namespace tessera

#endif  // TESSERA_CORE_BLOCK_FORMATS_H_
