// SPDX-License-Identifier: Apache-2.0
// Views of quantized matrices whose scales lie apart from their codes: integers with a scale per group of
// columns, and 8-bit floats with a scale per block. Plain data: pointers, extents and strides that own nothing.
#ifndef TESSERA_CORE_QUANTIZED_H_
#define TESSERA_CORE_QUANTIZED_H_

#include <array>
#include <cstdint>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/minifloat.h"
#include "tessera/core/view.h"

namespace tessera {

namespace detail {

// `From`, const where `Like` is.
template <class Like, class From>
using CopyConst = std::conditional_t<std::is_const_v<Like>, const From, From>;

constexpr index_t ceil_div(index_t x, index_t y) { return x / y + (x % y != 0); }

}  // namespace detail

// A matrix [rows, cols] of integer codes in which `group` consecutive columns of a row share a scale and a zero
// point:
//   value(i, j) = (code(i, j) - zero_point(i, j / group)) * scale(i, j / group)
// The difference is exact, the product is rounded to f32 once.
//
// Codes have 8, 4 or 2 bits, unsigned or in two's complement. Element 0 of a row is in the lowest bits of its
// first byte, the next ones in the bits above: element 2i of 4 bits in the low half of byte i, element 4i of 2
// bits in its lowest quarter. A row starts at a byte of its own, `row_bytes` after the row before it; bits past
// its last element mean nothing. Ternary codes are -1, 0 and 1 in 2 bits, signed.
//
// scales[i * scale_strides[0] + g * scale_strides[1]], strides in elements, is the scale of group g of row i,
// and zero points likewise. Strides of zero share them: {0, 0} is one scale per matrix, {1, 0} one per row. The
// last group is shorter where `group` does not divide cols; group >= cols is one per row (per channel, per
// token). Zero points are bytes, signed or unsigned like the codes, over the full range of a byte. Without any
// they are 0.
//
// Byte: const std::uint8_t, or std::uint8_t for a matrix to write.
template <class Byte>
struct BasicGroupQuantizedView {
  static_assert(std::is_same_v<std::remove_const_t<Byte>, std::uint8_t>);

  Byte* codes = nullptr;
  index_t rows = 0, cols = 0;
  index_t row_bytes = 0;
  int bits = 8;
  bool is_signed = true;
  index_t group = 0;
  detail::CopyConst<Byte, void>* scales = nullptr;  // of scale_type
  DType scale_type = DType::kF32;                   // or kF16, kBF16
  std::array<index_t, 2> scale_strides{};           // per row, per group
  Byte* zero_points = nullptr;                      // may be null
  std::array<index_t, 2> zero_point_strides{};

  // What is written can be read.
  constexpr operator BasicGroupQuantizedView<const std::uint8_t>()
      const  // NOLINT: implicit by design
    requires(!std::is_const_v<Byte>)
  {
    return {codes, rows,   cols,       row_bytes,     bits,        is_signed,
            group, scales, scale_type, scale_strides, zero_points, zero_point_strides};
  }

  // Groups in a row.
  constexpr index_t groups() const { return detail::ceil_div(cols, group); }
  // The range of codes.
  constexpr int lowest() const { return is_signed ? -(1 << (bits - 1)) : 0; }
  constexpr int highest() const { return (1 << (is_signed ? bits - 1 : bits)) - 1; }

  constexpr int code(index_t i, index_t j) const {
    const int field = codes[byte_of(i, j)] >> shift_of(j) & mask();
    return is_signed && field > highest() ? field - (1 << bits) : field;
  }
  constexpr int zero_point(index_t i, index_t g) const {
    if (zero_points == nullptr) return 0;
    const Byte byte = zero_points[i * zero_point_strides[0] + g * zero_point_strides[1]];
    return is_signed ? static_cast<std::int8_t>(byte) : byte;
  }
  float scale(index_t i, index_t g) const {
    const index_t at = i * scale_strides[0] + g * scale_strides[1];
    switch (scale_type) {
      case DType::kF16:
        return static_cast<float>(static_cast<const f16*>(scales)[at]);
      case DType::kBF16:
        return static_cast<float>(static_cast<const bf16*>(scales)[at]);
      default:
        return static_cast<const float*>(scales)[at];
    }
  }
  float value(index_t i, index_t j) const {
    const index_t g = j / group;
    return static_cast<float>(code(i, j) - zero_point(i, g)) * scale(i, g);
  }

  constexpr void set_code(index_t i, index_t j, int code) const
    requires(!std::is_const_v<Byte>)
  {
    Byte& byte = codes[byte_of(i, j)];
    byte = static_cast<Byte>((byte & ~(mask() << shift_of(j))) | (code & mask()) << shift_of(j));
  }
  constexpr void set_zero_point(index_t i, index_t g, int zero_point) const
    requires(!std::is_const_v<Byte>)
  {
    zero_points[i * zero_point_strides[0] + g * zero_point_strides[1]] =
        static_cast<Byte>(zero_point);
  }
  // Rounded to the type of the scales; scale() is what was stored.
  void set_scale(index_t i, index_t g, float scale) const
    requires(!std::is_const_v<Byte>)
  {
    const index_t at = i * scale_strides[0] + g * scale_strides[1];
    switch (scale_type) {
      case DType::kF16:
        static_cast<f16*>(scales)[at] = f16(scale);
        break;
      case DType::kBF16:
        static_cast<bf16*>(scales)[at] = bf16(scale);
        break;
      default:
        static_cast<float*>(scales)[at] = scale;
    }
  }

 private:
  constexpr int mask() const { return (1 << bits) - 1; }
  constexpr index_t byte_of(index_t i, index_t j) const { return i * row_bytes + j * bits / 8; }
  constexpr int shift_of(index_t j) const { return static_cast<int>(j * bits % 8); }
};

using GroupQuantizedView = BasicGroupQuantizedView<const std::uint8_t>;
using MutableGroupQuantizedView = BasicGroupQuantizedView<std::uint8_t>;

// Bytes that a row of codes takes at least.
constexpr index_t packed_row_bytes(index_t cols, int bits) {
  return detail::ceil_div(cols, 8 / bits);
}

// Which 8-bit float (core/minifloat.h).
enum class Fp8Format : std::uint8_t { kE4M3, kE5M2 };

constexpr float fp8_decode(std::uint8_t code, Fp8Format format) {
  return format == Fp8Format::kE4M3 ? static_cast<float>(fp8_e4m3::from_bits(code))
                                    : static_cast<float>(fp8_e5m2::from_bits(code));
}
constexpr std::uint8_t fp8_encode(float x, Fp8Format format, Overflow overflow) {
  return format == Fp8Format::kE4M3 ? fp8_e4m3::from_float(x, overflow).bits
                                    : fp8_e5m2::from_float(x, overflow).bits;
}
constexpr float fp8_largest(Fp8Format format) {
  return format == Fp8Format::kE4M3 ? 448.0f : 57344.0f;
}
// The scale that takes magnitudes up to absmax to all of the format: absmax / fp8_largest(format), but no less
// than the least positive float, and 1 for 0.
constexpr float fp8_scale(float absmax, Fp8Format format) {
  const float scale = absmax / fp8_largest(format);
  return absmax == 0 ? 1 : scale > 0 ? scale : 0x1p-149f;
}

// A matrix [rows, cols] of 8-bit floats in which blocks of block_rows x block_cols elements share an f32 scale:
//   value(i, j) = code(i, j) * scale(i / block_rows, j / block_cols), rounded to f32 once.
//
// Element (i, j) is codes[i * row_bytes + j]. Scales have strides, in elements, per row and column of blocks;
// blocks at the lower and right edge may be cut off. Typical: 128 x 128 for weights, 1 x 128 for activations
// (DeepSeek-V3 technical report, 2024, section 3.3), rows x cols for one scale per matrix.
//
// Byte: const std::uint8_t, or std::uint8_t for a matrix to write.
template <class Byte>
struct BasicFp8BlockView {
  static_assert(std::is_same_v<std::remove_const_t<Byte>, std::uint8_t>);

  Byte* codes = nullptr;
  index_t rows = 0, cols = 0;
  index_t row_bytes = 0;
  Fp8Format format = Fp8Format::kE4M3;
  index_t block_rows = 0, block_cols = 0;
  detail::CopyConst<Byte, float>* scales = nullptr;
  std::array<index_t, 2> scale_strides{};

  // What is written can be read.
  constexpr operator BasicFp8BlockView<const std::uint8_t>() const  // NOLINT: implicit by design
    requires(!std::is_const_v<Byte>)
  {
    return {codes, rows, cols, row_bytes, format, block_rows, block_cols, scales, scale_strides};
  }

  // Rows and columns of blocks.
  constexpr index_t rows_of_blocks() const { return detail::ceil_div(rows, block_rows); }
  constexpr index_t cols_of_blocks() const { return detail::ceil_div(cols, block_cols); }

  // The scale of block (r, c).
  constexpr auto& scale(index_t r, index_t c) const {
    return scales[r * scale_strides[0] + c * scale_strides[1]];
  }
  constexpr float value(index_t i, index_t j) const {
    return fp8_decode(codes[i * row_bytes + j], format) * scale(i / block_rows, j / block_cols);
  }
};

using Fp8BlockView = BasicFp8BlockView<const std::uint8_t>;
using MutableFp8BlockView = BasicFp8BlockView<std::uint8_t>;

}  // namespace tessera

#endif  // TESSERA_CORE_QUANTIZED_H_
