// SPDX-License-Identifier: Apache-2.0
// Quantized weights into the order that the kernels read (kernels/weights_kernels.h): bits, scales and mins are moved,
// never rounded.
#ifndef TESSERA_OPS_WEIGHTS_PACK_H_
#define TESSERA_OPS_WEIGHTS_PACK_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <numeric>

#include "tessera/core/block_formats.h"
#include "tessera/core/quantized.h"
#include "tessera/kernels/weights_kernels.h"
#include "tessera/ref/block_formats.h"

namespace tessera::detail {

// One column of one unit, in the numbers of its source.
struct WeightColumn {
  static constexpr index_t kMostGroups = kMostUnit / kLeastGroup;
  std::array<std::uint8_t, kMostUnit> codes;
  std::uint16_t super_scale, super_min;           // f16
  std::array<std::uint32_t, kMostGroups> scales;  // the bits that are stored, in the low bytes
  std::array<std::uint32_t, kMostGroups> mins;
};

inline void store_bits(std::byte* to, std::uint32_t bits, index_t bytes) {
  std::memcpy(to, &bits, static_cast<std::size_t>(bytes));  // little-endian, as all our targets
}

// Column j of a unit.
inline void store_column(const WeightFormat& f, const WeightColumn& c, bool by_rows,
                         std::byte* unit, index_t width, index_t j) {
  const int main_bits = main_plane_bits(f.bits), upper_bits = f.bits - main_bits;
  std::byte* const upper = unit + f.unit * main_bits / 8 * width;
  const auto store_word = [&](std::byte* row, std::uint32_t word) {
    if (!by_rows) return store_bits(row + 4 * j, word, 4);
    for (int s = 0; s < 4; ++s) row[s * width + j] = static_cast<std::byte>(word >> 8 * s);
  };
  for (index_t k = 0; k < f.unit; k += 32) {
    std::uint32_t rows[8] = {}, upper_rows[2] = {};
    for (int g = 0; g < 8; ++g) {
      std::uint32_t word = 0;
      std::memcpy(&word, c.codes.data() + k + 4 * g, 4);
      if (main_bits == 8) {
        rows[g] = word;
      } else if (main_bits == 4) {
        rows[g % 4] |= (word & 0x0f0f0f0f) << 4 * (g / 4);
      } else {
        rows[g / 4] |= (word & 0x03030303) << 2 * (g % 4);
      }
      word = word >> main_bits & (upper_bits == 2 ? 0x03030303 : 0x01010101);
      if (upper_bits == 2) upper_rows[g / 4] |= word << 2 * (g % 4);
      if (upper_bits == 1) upper_rows[0] |= word << g;
    }
    for (int r = 0; r < main_bits; ++r) {
      store_word(unit + (k / 32 * main_bits + r) * 4 * width, rows[r]);
    }
    for (int r = 0; r < upper_bits; ++r) {
      store_word(upper + (k / 32 * upper_bits + r) * 4 * width, upper_rows[r]);
    }
  }
  const auto store_rows = [&](std::byte* rows, bool super, std::uint16_t first,
                              const std::uint32_t* bits, index_t bytes) {
    if (super) {
      store_bits(rows + 2 * j, first, 2);
      rows += 2 * width;
    }
    for (index_t g = 0; g < f.groups(); ++g)
      store_bits(rows + (g * width + j) * bytes, bits[g], bytes);
  };
  std::byte* const scales = unit + f.code_bytes() * width;
  const bool super = f.scale == WeightScale::kSuper;
  store_rows(scales, super, c.super_scale, c.scales.data(),
             super ? 1 : f.scale_bytes() / f.groups());
  if (f.min == WeightMin::kNone) return;
  const bool super_min = f.min == WeightMin::kSuper;
  store_rows(scales + f.scale_bytes() * width, super_min, c.super_min, c.mins.data(),
             super_min ? 1 : 2);
}

// ---- Block formats

inline WeightFormat weight_format(const ConstBlockView& w) {
  constexpr auto kInt = WeightCode::kInteger;
  constexpr auto kF16 = WeightScale::kF16;
  constexpr auto kSuper = WeightScale::kSuper;
  constexpr auto kNone = WeightMin::kNone;
  // Entries as unsigned bytes.
  const auto shifted = [](const std::array<std::int8_t, 16>& values, int offset) {
    std::array<std::uint8_t, 16> table;
    for (std::size_t i = 0; i < 16; ++i) table[i] = static_cast<std::uint8_t>(values[i] + offset);
    return table;
  };
  const auto integers = [](int bits, int offset, WeightScale scale, WeightMin min, index_t unit,
                           index_t group) {
    WeightFormat f{kInt, scale, min, bits, offset, bits < 8};
    f.unit = unit;
    f.group = group;
    return f;
  };
  const auto floats = [](WeightCode code, int bits) {
    return WeightFormat{code, WeightScale::kE8M0, kNone, bits};
  };
  switch (w.format) {
    case BlockFormat::kQ4_0:
      return integers(4, 8, kF16, kNone, 32, 32);
    case BlockFormat::kQ4_1:
      return integers(4, 0, kF16, WeightMin::kAdded, 32, 32);
    case BlockFormat::kQ5_0:
      return integers(5, 16, kF16, kNone, 32, 32);
    case BlockFormat::kQ5_1:
      return integers(5, 0, kF16, WeightMin::kAdded, 32, 32);
    case BlockFormat::kQ8_0:
      return integers(8, 128, kF16, kNone, 32, 32);
    case BlockFormat::kQ2_K:
      return integers(2, 0, kSuper, WeightMin::kSuper, 256, 16);
    case BlockFormat::kQ3_K:
      return integers(3, 4, kSuper, kNone, 256, 16);
    case BlockFormat::kQ4_K:
      return integers(4, 0, kSuper, WeightMin::kSuper, 256, 32);
    case BlockFormat::kQ5_K:
      return integers(5, 0, kSuper, WeightMin::kSuper, 256, 32);
    case BlockFormat::kQ6_K:
      return integers(6, 32, kSuper, kNone, 256, 16);
    case BlockFormat::kTQ1_0:
    case BlockFormat::kTQ2_0:
      return integers(2, 1, kF16, kNone, 256, 256);
    case BlockFormat::kIQ4_NL:
    case BlockFormat::kIQ4_XS: {
      const bool super = w.format == BlockFormat::kIQ4_XS;
      WeightFormat f{WeightCode::kTable,        super ? kSuper : kF16, kNone, 4, 128, false,
                     shifted(kIQ4NLValues, 128)};
      if (super) f.unit = 256;
      return f;
    }
    case BlockFormat::kMXFP4:
    case BlockFormat::kNVFP4: {
      const bool nv = w.format == BlockFormat::kNVFP4;
      WeightFormat f{WeightCode::kTable,
                     nv ? WeightScale::kE4M3 : WeightScale::kE8M0,
                     kNone,
                     4,
                     12,
                     true,
                     shifted(kE2M1Doubled, 12)};
      if (nv) f.group = 16;
      f.factor = nv ? 0.5f * w.tensor_scale : 0.5f;
      return f;
    }
    case BlockFormat::kMXFP6_E2M3:
      return floats(WeightCode::kE2M3, 6);
    case BlockFormat::kMXFP6_E3M2:
      return floats(WeightCode::kE3M2, 6);
    case BlockFormat::kMXFP8_E4M3:
      return floats(WeightCode::kE4M3, 8);
    case BlockFormat::kMXFP8_E5M2:
      return floats(WeightCode::kE5M2, 8);
  }
  return {};
}

inline std::uint16_t bits_of(const F16Bytes& x) {
  return static_cast<std::uint16_t>(x.bytes[0] | x.bytes[1] << 8);
}

// One block as elements [at, at + block) of a column; its scale as that of group `group`.
inline void read_block(BlockFormat format, const std::byte* from, WeightColumn& c, index_t at,
                       std::size_t group) {
  using namespace ref::blocks;  // NOLINT: the layouts of the formats
  const auto codes = [&](int n, auto code) {
    for (int j = 0; j < n; ++j)
      c.codes[static_cast<std::size_t>(at + j)] = static_cast<std::uint8_t>(code(j));
  };
  const auto super = [&](const auto& b, int groups, auto scale) {
    c.super_scale = bits_of(b.d);
    for (int g = 0; g < groups; ++g) {
      c.scales[static_cast<std::size_t>(g)] = static_cast<std::uint32_t>(scale(g));
    }
  };
  const auto super_min = [&](const auto& b, int groups, auto min) {
    c.super_min = bits_of(b.dmin);
    for (int g = 0; g < groups; ++g)
      c.mins[static_cast<std::size_t>(g)] = static_cast<std::uint32_t>(min(g));
  };
  switch (format) {
    case BlockFormat::kQ4_0: {
      const auto b = read<BlockQ4_0>(from);
      c.scales[group] = bits_of(b.d);
      return codes(32, [&](int j) { return nibble(b.qs, 16, j); });
    }
    case BlockFormat::kQ4_1: {
      const auto b = read<BlockQ4_1>(from);
      c.scales[group] = bits_of(b.d);
      c.mins[group] = bits_of(b.m);
      return codes(32, [&](int j) { return nibble(b.qs, 16, j); });
    }
    case BlockFormat::kQ5_0: {
      const auto b = read<BlockQ5_0>(from);
      c.scales[group] = bits_of(b.d);
      return codes(32, [&](int j) { return nibble(b.qs, 16, j) | high_bit_32(b.qh, j) << 4; });
    }
    case BlockFormat::kQ5_1: {
      const auto b = read<BlockQ5_1>(from);
      c.scales[group] = bits_of(b.d);
      c.mins[group] = bits_of(b.m);
      return codes(32, [&](int j) { return nibble(b.qs, 16, j) | high_bit_32(b.qh, j) << 4; });
    }
    case BlockFormat::kQ8_0: {
      const auto b = read<BlockQ8_0>(from);
      c.scales[group] = bits_of(b.d);
      return codes(32, [&](int j) { return b.qs[j] + 128; });
    }
    case BlockFormat::kQ2_K: {
      const auto b = read<BlockQ2_K>(from);
      super(b, 16, [&](int g) { return b.scales[g] & 15; });
      super_min(b, 16, [&](int g) { return b.scales[g] >> 4; });
      return codes(256, [&](int j) { return two_bits(b.qs, j); });
    }
    case BlockFormat::kQ3_K: {
      const auto b = read<BlockQ3_K>(from);
      super(b, 16, [&](int g) { return unpack_q3_k_scale(b.scales, g) - 32; });
      return codes(256, [&](int j) { return two_bits(b.qs, j) | high_bit_256(b.hmask, j) << 2; });
    }
    case BlockFormat::kQ4_K: {
      const auto b = read<BlockQ4_K>(from);
      super(b, 8, [&](int g) { return unpack_k_scale_min(b.scales, g).scale; });
      super_min(b, 8, [&](int g) { return unpack_k_scale_min(b.scales, g).min; });
      return codes(256, [&](int j) { return k_nibble(b.qs, j); });
    }
    case BlockFormat::kQ5_K: {
      const auto b = read<BlockQ5_K>(from);
      super(b, 8, [&](int g) { return unpack_k_scale_min(b.scales, g).scale; });
      super_min(b, 8, [&](int g) { return unpack_k_scale_min(b.scales, g).min; });
      return codes(256, [&](int j) { return k_nibble(b.qs, j) | high_bit_256(b.qh, j) << 4; });
    }
    case BlockFormat::kQ6_K: {
      const auto b = read<BlockQ6_K>(from);
      super(b, 16, [&](int g) { return b.scales[g]; });
      return codes(256, [&](int j) { return q6_code(b, j); });
    }
    case BlockFormat::kIQ4_NL: {
      const auto b = read<BlockIQ4_NL>(from);
      c.scales[group] = bits_of(b.d);
      return codes(32, [&](int j) { return nibble(b.qs, 16, j); });
    }
    case BlockFormat::kIQ4_XS: {
      const auto b = read<BlockIQ4_XS>(from);
      super(b, 8, [&](int g) { return unpack_iq4_xs_scale(b, g) - 32; });
      return codes(256, [&](int j) { return nibble(b.qs + j / 32 * 16, 16, j % 32); });
    }
    case BlockFormat::kTQ1_0: {
      const auto b = read<BlockTQ1_0>(from);
      c.scales[group] = bits_of(b.d);
      return codes(256, [&](int j) {
        const TritPlace place = trit_place(j);
        return unpack_trit(place.byte < 48 ? b.qs[place.byte] : b.qh[place.byte - 48], place.digit);
      });
    }
    case BlockFormat::kTQ2_0: {
      const auto b = read<BlockTQ2_0>(from);
      c.scales[group] = bits_of(b.d);
      return codes(256, [&](int j) { return two_bits(b.qs, j); });
    }
    case BlockFormat::kMXFP4: {
      const auto b = read<BlockMXFP4>(from);
      c.scales[group] = b.e;
      return codes(32, [&](int j) { return nibble(b.qs, 16, j); });
    }
    case BlockFormat::kNVFP4: {
      const auto b = read<BlockNVFP4>(from);
      c.scales[group] = b.d;
      return codes(16, [&](int j) { return nibble(b.qs, 8, j); });
    }
    case BlockFormat::kMXFP6_E2M3:
    case BlockFormat::kMXFP6_E3M2: {
      const auto b = read<BlockMXFP6>(from);
      c.scales[group] = b.e;
      return codes(32, [&](int j) { return six_bits(b.qs, j); });
    }
    case BlockFormat::kMXFP8_E4M3:
    case BlockFormat::kMXFP8_E5M2: {
      const auto b = read<BlockMXFP8>(from);
      c.scales[group] = b.e;
      return codes(32, [&](int j) { return b.qs[j]; });
    }
  }
}

// Unit `unit` of row `row`; what lies past the end of the row stays as it is.
inline void read_unit(const ConstBlockView& w, const WeightFormat& f, index_t row, index_t unit,
                      WeightColumn& c) {
  const BlockFormatInfo block = info(w.format);
  const index_t begin = unit * f.unit, end = std::min(begin + f.unit, w.cols);
  for (index_t k = begin; k < end; k += block.block) {
    read_block(w.format, w.row(row) + k / block.block * block.bytes, c, k - begin,
               static_cast<std::size_t>((k - begin) / f.group));
  }
}

// ---- Integers in groups

// The unit that suits groups of any size; below 32 where there is none.
inline index_t unit_of_groups(index_t group, index_t cols) {
  return group >= cols ? kMostUnit : std::gcd(group, kMostUnit);
}

inline WeightFormat weight_format(const GroupQuantizedView& w) {
  WeightFormat f;
  f.scale = w.scale_type == DType::kF16    ? WeightScale::kF16
            : w.scale_type == DType::kBF16 ? WeightScale::kBF16
                                           : WeightScale::kF32;
  f.bits = w.bits;
  f.narrow = w.bits < 8;
  // Codes are stored unsigned. Those of 8 bits less 128 fit into s8.
  f.offset = w.is_signed || w.bits == 8 ? 1 << (w.bits - 1) : 0;
  const bool shifted = !w.is_signed && w.bits == 8;
  f.min = w.zero_points != nullptr || shifted ? WeightMin::kZeroPoint : WeightMin::kNone;
  f.unit = f.group = unit_of_groups(w.group, w.cols);
  return f;
}

inline void read_unit(const GroupQuantizedView& w, const WeightFormat& f, index_t row, index_t unit,
                      WeightColumn& c) {
  const index_t begin = unit * f.unit, end = std::min(begin + f.unit, w.cols);
  const int to_unsigned = w.is_signed ? 1 << (w.bits - 1) : 0;
  for (index_t k = begin; k < end; ++k) {
    c.codes[static_cast<std::size_t>(k - begin)] =
        static_cast<std::uint8_t>(w.code(row, k) + to_unsigned);
  }
  const index_t group = begin / w.group;
  const index_t at = row * w.scale_strides[0] + group * w.scale_strides[1];
  const index_t bytes = size_of(w.scale_type);
  c.scales[0] = 0;
  std::memcpy(c.scales.data(), static_cast<const std::byte*>(w.scales) + at * bytes,
              static_cast<std::size_t>(bytes));
  const int zero_point = w.zero_point(row, group) - (!w.is_signed && w.bits == 8 ? 128 : 0);
  c.mins[0] = static_cast<std::uint32_t>(zero_point);
}

// ---- 8-bit floats in blocks

inline WeightFormat weight_format(const Fp8BlockView& w) {
  WeightFormat f;
  f.code = w.format == Fp8Format::kE4M3 ? WeightCode::kE4M3 : WeightCode::kE5M2;
  f.unit = f.group = unit_of_groups(w.block_cols, w.cols);
  return f;
}

inline void read_unit(const Fp8BlockView& w, const WeightFormat& f, index_t row, index_t unit,
                      WeightColumn& c) {
  const index_t begin = unit * f.unit, end = std::min(begin + f.unit, w.cols);
  std::memcpy(c.codes.data(), w.codes + row * w.row_bytes + begin,
              static_cast<std::size_t>(end - begin));
  const float scale = w.scale(row / w.block_rows, begin / w.block_cols);
  std::memcpy(c.scales.data(), &scale, sizeof scale);
}

}  // namespace tessera::detail

#endif  // TESSERA_OPS_WEIGHTS_PACK_H_
