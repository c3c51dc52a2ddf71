// SPDX-License-Identifier: Apache-2.0

// Packed weights, unpacked: codes as the elements that the integer kernels multiply, or values in f32; scales and
// mins in f32. A panel of a few hundred steps of k at a time, which stays in L1 while activations pass by.

#if defined(TESSERA_KERNELS_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_WEIGHTS_INL_H_
#undef TESSERA_KERNELS_WEIGHTS_INL_H_
#else
#define TESSERA_KERNELS_WEIGHTS_INL_H_
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "tessera/kernels/gemm_tile-inl.h"
#include "tessera/kernels/weights_kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

using detail::UnpackWeights;
using detail::WeightCode;
using detail::WeightFormat;
using detail::WeightMin;
using detail::WeightScale;

// A panel is as wide as a register tile where it was packed: whole vectors, unless this core's are longer.
template <class D>
TESSERA_INLINE Vec<D> load_columns(D d, const Lane<D>* from, index_t n) {
  if (kHasLmul && static_cast<size_t>(n) < lanes(d)) {
    return load_n(d, from, static_cast<size_t>(n));
  }
  return load(d, from);
}
template <class D>
TESSERA_INLINE void store_columns(D d, Vec<D> v, Lane<D>* to, index_t n) {
  if (kHasLmul && static_cast<size_t>(n) < lanes(d)) {
    return store_n(d, v, to, static_cast<size_t>(n));
  }
  store(d, v, to);
}

// f(0), .., f(N - 1) with constants of their own types.
template <class F, int... kI>
TESSERA_INLINE void for_constants(std::integer_sequence<int, kI...>, F&& f) {
  (f(std::integral_constant<int, kI>()), ...);
}
template <int N, class F>
TESSERA_INLINE void for_constants(F&& f) {
  for_constants(std::make_integer_sequence<int, N>(), f);
}

// ---- Small floats

// Sign, exponent and mantissa of the codes of 8 and 6 bits.
template <WeightCode kCode>
struct SmallFloat {
  static constexpr int kMantissa = kCode == WeightCode::kE4M3 || kCode == WeightCode::kE2M3 ? 3 : 2;
  static constexpr int kBits = kCode == WeightCode::kE4M3 || kCode == WeightCode::kE5M2 ? 8 : 6;
  static constexpr int kBias = (1 << (kBits - 2 - kMantissa)) - 1;
  static constexpr int32_t kSign = 1 << (kBits - 1);
};

// A code per lane to f32, exactly.
template <WeightCode kCode, class D>
TESSERA_INLINE Vec<D> small_float(D d, Vec<Rebind<int32_t, D>> code) {
  using F = SmallFloat<kCode>;
  const Rebind<int32_t, D> di;
  const auto magnitude = bit_and(code, set(di, F::kSign - 1));
  const auto sign = shl<32 - F::kBits>(bit_and(code, set(di, F::kSign)));
  auto x = add(shl<23 - F::kMantissa>(magnitude), set(di, (127 - F::kBias) << 23));
  // Subnormals count units of the smallest one.
  const auto unit = set(d, std::bit_cast<float>((127 + 1 - F::kBias - F::kMantissa) << 23));
  const auto subnormal = bit_cast(di, mul(from_int(magnitude), unit));
  x = select(lt(magnitude, set(di, 1 << F::kMantissa)), subnormal, x);
  if constexpr (kCode == WeightCode::kE4M3) {
    x = select(eq(magnitude, set(di, 0x7f)), set(di, 0x7fc00000), x);
  } else if constexpr (kCode == WeightCode::kE5M2) {
    x = select(lt(set(di, 0x7b), magnitude), set(di, 0x7f800000), x);
    x = select(lt(set(di, 0x7c), magnitude), set(di, 0x7fc00000), x);
  }
  return bit_cast(d, bit_or(x, sign));
}

// ---- Scales and mins

// The lanes of a row of T from column j on, as s32.
template <class T, class D>
TESSERA_INLINE Vec<D> load_integers(D d, const std::byte* row, index_t j, index_t n) {
  const Rebind<T, D> dt;
  return promote(d, dt, load_columns(dt, reinterpret_cast<const T*>(row) + j, n));
}

template <class D>
TESSERA_INLINE Vec<D> load_halves(D d, const std::byte* row, index_t j, index_t n) {
  const Rebind<f16, D> dh;
  return promote(d, dh, load_columns(dh, reinterpret_cast<const f16*>(row) + j, n));
}

// As many registers as the conversion of f16 leaves room for.
inline constexpr int kScaleLmul = kHasLmul ? 4 : 1;

// One scale per group, in a row of its own.
template <WeightScale kScale, class D>
TESSERA_INLINE Vec<D> load_scales(D d, const std::byte* row, index_t j, index_t n) {
  const Rebind<int32_t, D> di;
  if constexpr (kScale == WeightScale::kF32) {
    return load_columns(d, reinterpret_cast<const float*>(row) + j, n);
  } else if constexpr (kScale == WeightScale::kF16) {
    return load_halves(d, row, j, n);
  } else if constexpr (kScale == WeightScale::kBF16) {
    return bit_cast(d, shl<16>(load_integers<uint16_t>(di, row, j, n)));
  } else if constexpr (kScale == WeightScale::kE8M0) {  // 2^(e - 127); 0 is subnormal, 255 is NaN
    const auto e = load_integers<uint8_t>(di, row, j, n);
    const auto x = select(eq(e, zero(di)), set(di, 0x00400000), shl<23>(e));
    return bit_cast(d, select(eq(e, set(di, 255)), set(di, 0x7fc00000), x));
  } else {
    return small_float<WeightCode::kE4M3>(d, load_integers<uint8_t>(di, row, j, n));
  }
}

// The rows of scales, or of mins, of some units.
struct UnitRows {
  const std::byte* from;  // of the first unit
  index_t unit_bytes, units, groups, width;
};

template <WeightScale kScale>
void unpack_scales(const UnitRows& p, float factor, float* to) {
  const Tag<float, kScaleLmul> d;
  constexpr index_t kBytes = kScale == WeightScale::kF32                                   ? 4
                             : kScale == WeightScale::kF16 || kScale == WeightScale::kBF16 ? 2
                                                                                           : 1;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t u = 0; u < p.units; ++u) {
    const std::byte* row = p.from + u * p.unit_bytes;
    for (index_t g = 0; g < p.groups; ++g, row += kBytes * p.width, to += p.width) {
      for (index_t j = 0; j < p.width; j += step) {
        const index_t n = p.width - j;
        store_columns(d, mul_scalar(d, factor, load_scales<kScale>(d, row, j, n)), to + j, n);
      }
    }
  }
}

// An f16 per unit, times a small integer per group, of which there are 8 or 16: exact.
template <class T>
void unpack_super_scales(const UnitRows& p_in_memory, float* to) {
  const UnitRows p = p_in_memory;  // in registers: the compiler can't know that `to` is not it
  const Tag<float, kScaleLmul> d;
  const Tag<int32_t, kScaleLmul> di;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t u = 0; u < p.units; ++u, to += p.groups * p.width) {
    const std::byte* const rows = p.from + u * p.unit_bytes;
    for (index_t j = 0; j < p.width; j += step) {
      const index_t n = p.width - j;
      const auto super = load_halves(d, rows, j, n);
      const std::byte* row = rows + 2 * p.width;
      float* scales = to + j;
      for (index_t g = 0; g < p.groups; g += 8) {
        for_constants<8>([&](auto) TESSERA_LAMBDA {
          const auto scale = from_int(load_integers<T>(di, row, j, n));
          store_columns(d, mul(super, scale), scales, n);
          row += p.width;
          scales += p.width;
        });
      }
    }
  }
}

// The scales and mins of `units` units. Zero points stay themselves for values in f32, where the difference of the
// integers is exact; elsewhere they become mins: scale * zero point.
inline void unpack_unit_scales(const WeightFormat& f, const std::byte* from, index_t units,
                               index_t width, float* scales, float* mins, bool keep_zero_points) {
  const Tag<float, kScaleLmul> d;
  UnitRows rows{from + f.code_bytes() * width, f.unit_bytes(width), units, f.groups(), width};
  switch (f.scale) {
    case WeightScale::kF32:
      unpack_scales<WeightScale::kF32>(rows, f.factor, scales);
      break;
    case WeightScale::kF16:
      unpack_scales<WeightScale::kF16>(rows, f.factor, scales);
      break;
    case WeightScale::kBF16:
      unpack_scales<WeightScale::kBF16>(rows, f.factor, scales);
      break;
    case WeightScale::kE8M0:
      unpack_scales<WeightScale::kE8M0>(rows, f.factor, scales);
      break;
    case WeightScale::kE4M3:
      unpack_scales<WeightScale::kE4M3>(rows, f.factor, scales);
      break;
    case WeightScale::kSuper:
      unpack_super_scales<int8_t>(rows, scales);
      break;
  }
  rows.from += f.scale_bytes() * width;
  if (f.min == WeightMin::kNone) return;
  if (f.min == WeightMin::kSuper) return unpack_super_scales<uint8_t>(rows, mins);
  const auto step = static_cast<index_t>(lanes(d));
  const index_t count = rows.groups * width;
  for (index_t u = 0; u < units; ++u, rows.from += rows.unit_bytes) {
    for (index_t i = 0; i < count; i += step) {
      const index_t n = count - i, at = u * count + i;
      if (f.min == WeightMin::kAdded) {
        store_columns(d, neg(load_halves(d, rows.from, i, n)), mins + at, n);
        continue;
      }
      auto min = from_int(load_integers<int16_t>(Tag<int32_t, kScaleLmul>(), rows.from, i, n));
      if (!keep_zero_points) min = mul(load_columns(d, scales + at, n), min);
      store_columns(d, min, mins + at, n);
    }
  }
}

// ---- Codes, in two steps, so that formats and uses of them add up instead of multiplying: 32 steps of k become words
// of unsigned bytes in L1, and those what is wanted.

// Where the planes have 32 steps of k.
struct CodePlanes {
  const int32_t* main;
  const int32_t* upper;  // the bits above
};

// to[8, width] = the words of 32 steps.
template <int kBits, bool kTable>
void unpack_words(const WeightFormat& format, const CodePlanes& planes, index_t width,
                  int32_t* to) {
  constexpr int kMain = detail::main_plane_bits(kBits), kUpper = kBits - kMain, kPerRow = 8 / kMain;
  const Tag<int32_t, kHasLmul && !kTable ? 4 : 1> d;  // tables: only within one register
  const Repartition<uint8_t, decltype(d)> d8;
  const auto mask = set(d, kMain == 4 ? 0x0f0f0f0f : 0x03030303);
  for (index_t j = 0; j < width; j += static_cast<index_t>(lanes(d))) {
    const index_t n = width - j;
    const auto upper = [&](index_t row) TESSERA_LAMBDA {
      return load_columns(d, planes.upper + row * width + j, n);
    };
    for_constants<kMain>([&](auto row) TESSERA_LAMBDA {
      constexpr int kRow = decltype(row)::value;
      const auto packed = load_columns(d, planes.main + kRow * width + j, n);
      for_constants<kPerRow>([&](auto part) TESSERA_LAMBDA {
        constexpr int kPart = decltype(part)::value;
        constexpr int kWord = kMain == 4 ? kRow + 4 * kPart : kPerRow * kRow + kPart;
        auto codes = packed;
        if constexpr (kMain != 8) codes = bit_and(shr<kMain * kPart>(packed), mask);
        if constexpr (kUpper == 1) {
          codes = bit_or(codes, shl<kMain>(bit_and(shr<kWord>(upper(0)), set(d, 0x01010101))));
        } else if constexpr (kUpper == 2) {
          const auto bits = shr<2 * (kWord % 4)>(upper(kWord / 4));
          codes = bit_or(codes, shl<kMain>(bit_and(bits, set(d, 0x03030303))));
        }
        if constexpr (kTable) {
          const auto table = load_table16(d8, format.table.data());
          codes = bit_cast(d, table16(table, bit_cast(d8, codes)));
        }
        store_columns(d, codes, to + kWord * width + j, n);
      });
    });
  }
}

using UnpackWords = void (*)(const WeightFormat&, const CodePlanes&, index_t, int32_t*);

inline UnpackWords words_of(const WeightFormat& f) {
  if (f.code == WeightCode::kTable) return &unpack_words<4, true>;
  switch (f.bits) {
    case 8:
      return &unpack_words<8, false>;
    case 6:
      return &unpack_words<6, false>;
    case 5:
      return &unpack_words<5, false>;
    case 4:
      return &unpack_words<4, false>;
    case 3:
      return &unpack_words<3, false>;
    default:
      return &unpack_words<2, false>;
  }
}

TESSERA_INLINE void prefetch_part(const std::byte* from, index_t bytes) {
  if constexpr (kPrefetch) {
    for (index_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
  }
}

// f(step, planes) for each 32 steps.
template <class F>
TESSERA_INLINE void for_each_32_steps(const UnpackWeights& p, F f) {
  const WeightFormat& format = *p.format;
  const int main_bits = detail::main_plane_bits(format.bits);
  const index_t unit_bytes = format.unit_bytes(p.width);
  for (index_t k = 0; k < p.k; k += 32) {
    const index_t unit = (p.k0 + k) / format.unit, at = (p.k0 + k) % format.unit / 32;
    const auto* const planes = reinterpret_cast<const int32_t*>(p.from + unit * unit_bytes);
    const auto* const upper = planes + format.unit / 32 * main_bits * p.width;
    // What the next call will read, which may be part of the same unit. The other half is asked for while this one's
    // codes are multiplied.
    const index_t share = unit_bytes * 32 / format.unit, next = p.k0 + p.k + k;
    prefetch_part(p.from + next / format.unit * unit_bytes + next % format.unit / 32 * share,
                  share / 2);
    f(k, CodePlanes{planes + at * main_bits * p.width,
                    upper + at * (format.bits - main_bits) * p.width});
  }
}

// Sinks: what words become for the integer kernels.

// They stay as they are: the kernel subtracts the offset from its sums.
struct UnsignedBytes {
  using Element = int32_t;
  static constexpr index_t kPart = 4;
  static constexpr bool kOffset = true;
};

struct SignedBytes {
  using Element = int32_t;
  static constexpr index_t kPart = 4;
  static constexpr bool kOffset = false;
  static constexpr int kLmul = 1;
  template <class D>
  static TESSERA_INLINE void store(D d, int32_t* to, index_t, index_t n, Vec<D> word, int offset) {
    const Repartition<int8_t, D> d8;
    const auto bytes = sub(bit_cast(d8, word), set(d8, static_cast<int8_t>(offset)));
    store_columns(d, bit_cast(d, bytes), to, n);
  }
};

// Two s16 an element.
struct Pairs {
  using Element = int32_t;
  static constexpr index_t kPart = 2;
  static constexpr bool kOffset = false;
  static constexpr int kLmul = 1;
  // Of the four bytes of a word.
  template <class D>
  static TESSERA_INLINE Vec<D> first(D d, Vec<D> word) {
    return bit_or(bit_and(word, set(d, 0xff)), bit_and(shl<8>(word), set(d, 0xff0000)));
  }
  template <class D>
  static TESSERA_INLINE Vec<D> second(D d, Vec<D> word) {
    return bit_or(bit_and(shr<16>(word), set(d, 0xff)), bit_and(shr<8>(word), set(d, 0xff0000)));
  }
  template <class D>
  static TESSERA_INLINE void store(D d, int32_t* to, index_t width, index_t n, Vec<D> word,
                                   int offset) {
    const Repartition<int16_t, D> d16;
    const auto offsets = set(d16, static_cast<int16_t>(offset));
    store_columns(d, bit_cast(d, sub(bit_cast(d16, first(d, word)), offsets)), to, n);
    store_columns(d, bit_cast(d, sub(bit_cast(d16, second(d, word)), offsets)), to + width, n);
  }
};

// A byte an element, by rows.
struct SingleBytes {
  using Element = uint8_t;
  static constexpr index_t kPart = 1;
  static constexpr bool kOffset = true;
};

// Vectors of bytes that are consecutive columns, where words would cost more to take apart.
inline constexpr bool kByRows = kHasLmul;

template <class Sink>
void unpack_integers(const UnpackWeights& p) {
  const WeightFormat& f = *p.format;
  const UnpackWords unpack = words_of(f);
  for_each_32_steps(p, [&](index_t k, const CodePlanes& planes) TESSERA_LAMBDA {
    auto* to = static_cast<typename Sink::Element*>(p.codes) + k / Sink::kPart * p.width;
    if constexpr (Sink::kOffset) {
      unpack(f, planes, p.width, reinterpret_cast<int32_t*>(to));
    } else {
      unpack(f, planes, p.width, p.words);
      const Tag<int32_t, Sink::kLmul> d;
      const auto step = static_cast<index_t>(lanes(d));
      for (index_t g = 0; g < 8; ++g, to += 4 / Sink::kPart * p.width) {
        const int32_t* const words = p.words + g * p.width;
        for (index_t j = 0; j < p.width; j += step) {
          const index_t n = p.width - j;
          Sink::store(d, to + j, p.width, n, load_columns(d, words + j, n), f.offset);
        }
      }
    }
  });
  unpack_unit_scales(f, p.from + p.k0 / f.unit * f.unit_bytes(p.width), (p.k + f.unit - 1) / f.unit,
                     p.width, p.scales, p.mins, false);
}

// ---- Values

// The word of four steps to rows of values, with the scales and mins of its group.
template <WeightCode kCode, WeightMin kMin>
void convert_word(const int32_t* words, int32_t offset, const float* scales, const float* mins,
                  index_t width, float* to) {
  const Tag<float> d;
  const Tag<int32_t> di;
  const auto offsets = set(di, offset);
  for (index_t j = 0; j < width; j += static_cast<index_t>(lanes(d))) {
    const index_t n = width - j;
    const auto code_of = [&](auto part) TESSERA_LAMBDA {
      if constexpr (kByRows) {
        const Rebind<uint8_t, Tag<int32_t>> d8;
        const auto* const bytes = reinterpret_cast<const uint8_t*>(words);
        return promote(di, d8, load_columns(d8, bytes + part * width + j, n));
      } else {
        const auto word = load_columns(di, words + j, n);
        return bit_and(shr<8 * decltype(part)::value>(word), set(di, 0xff));
      }
    };
    const auto scale = load_columns(d, scales + j, n);
    for_constants<4>([&](auto part) TESSERA_LAMBDA {
      const auto code = code_of(part);
      auto value = zero(d);
      if constexpr (kCode != WeightCode::kInteger) {
        value = mul(small_float<kCode>(d, code), scale);
      } else if constexpr (kMin == WeightMin::kNone) {
        value = mul(from_int(sub(code, offsets)), scale);
      } else {
        const auto min = load_columns(d, mins + j, n);
        const auto x = from_int(sub(code, offsets));
        value =
            kMin == WeightMin::kZeroPoint ? mul(sub(x, min), scale) : mul_add(x, scale, neg(min));
      }
      store_columns(d, value, to + part * width + j, n);
    });
  }
}

using ConvertWord = void (*)(const int32_t*, int32_t, const float*, const float*, index_t, float*);

inline ConvertWord values_of(const WeightFormat& f) {
  switch (f.code) {
    case WeightCode::kE4M3:
      return &convert_word<WeightCode::kE4M3, WeightMin::kNone>;
    case WeightCode::kE5M2:
      return &convert_word<WeightCode::kE5M2, WeightMin::kNone>;
    case WeightCode::kE3M2:
      return &convert_word<WeightCode::kE3M2, WeightMin::kNone>;
    case WeightCode::kE2M3:
      return &convert_word<WeightCode::kE2M3, WeightMin::kNone>;
    default:
      break;
  }
  if (f.min == WeightMin::kNone) return &convert_word<WeightCode::kInteger, WeightMin::kNone>;
  if (f.min == WeightMin::kZeroPoint) {
    return &convert_word<WeightCode::kInteger, WeightMin::kZeroPoint>;
  }
  return &convert_word<WeightCode::kInteger, WeightMin::kSuper>;
}

inline void unpack_floats(const UnpackWeights& p) {
  const WeightFormat& f = *p.format;
  const UnpackWords unpack = words_of(f);
  const ConvertWord convert = values_of(f);
  const index_t unit_bytes = f.unit_bytes(p.width);
  index_t unpacked = -1;
  for_each_32_steps(p, [&](index_t k, const CodePlanes& planes) TESSERA_LAMBDA {
    const index_t unit = (p.k0 + k) / f.unit, at = (p.k0 + k) % f.unit;
    if (unit != unpacked) {
      unpack_unit_scales(f, p.from + unit * unit_bytes, 1, p.width, p.scales, p.mins, true);
      unpacked = unit;
    }
    unpack(f, planes, p.width, p.words);
    for (index_t g = 0; g < 8; ++g) {
      const index_t group = (at + 4 * g) / f.group * p.width;
      convert(p.words + g * p.width, f.offset, p.scales + group, p.mins + group, p.width,
              static_cast<float*>(p.codes) + (k + 4 * g) * p.width);
    }
  });
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_WEIGHTS_INL_H_
