// SPDX-License-Identifier: Apache-2.0

// One row of activations times quantized weights, both as 8-bit integers: decoding, where weights are read from memory
// for a single product each. So they are unpacked in registers, on their way to it. (In two steps, as for more rows,
// through L1: twice the instructions on RVV, and on a Sapphire Rapids Xeon, 2026-11, 58 to 74 % of the speed of reading,
// for memory waited while codes were multiplied.) What is summed in which order: weights_gemm-inl.h.

#if defined(TESSERA_KERNELS_WEIGHTS_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_WEIGHTS_ROW_INL_H_
#undef TESSERA_KERNELS_WEIGHTS_ROW_INL_H_
#else
#define TESSERA_KERNELS_WEIGHTS_ROW_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "tessera/kernels/weights-inl.h"
#include "tessera/kernels/weights_kernels.h"
#include "tessera/kernels/weights_products-inl.h"
#include "tessera/simd/simd-inl.h"
#include "tessera/tune/arm.h"
#include "tessera/tune/generic.h"
#include "tessera/tune/riscv.h"
#include "tessera/tune/x86.h"

TESSERA_BEGIN_TARGET

using detail::WeightRow;

// What a code becomes.
enum class RowCode {
  kItself,
  kEntry,       // of a table
  kSmallEntry,  // less the offset it is within -16..16
};

template <int BITS, RowCode CODE>
struct RowFormat {
  static constexpr int kBits = BITS, kMain = detail::main_plane_bits(BITS), kUpper = BITS - kMain;
  static constexpr RowCode kCode = CODE;
  static constexpr int kParts = 8 / kMain;  // of a byte of the main plane
  // The word in part `part` of row `row` of the main plane.
  static constexpr int word(int row, int part) {
    return kMain == 4 ? row + 4 * part : kParts * row + part;
  }
};

template <int kValue>
using Constant = std::integral_constant<int, kValue>;

// A reference to one of a pack of accumulators.
template <int kIndex, class First, class... Rest>
TESSERA_INLINE auto& pick([[maybe_unused]] First& first, [[maybe_unused]] Rest&... rest) {
  if constexpr (kIndex == 0) {
    return first;
  } else {
    return pick<kIndex - 1>(rest...);
  }
}

// Lower bits of a code from `packed`, the others from the row of `upper` bits that has this word.
template <class F, int kWord, int kPart, class V, class D>
TESSERA_INLINE V unpack_code(D d, V packed, [[maybe_unused]] V upper) {
  using T = Lane<D>;
  constexpr auto kEach = static_cast<T>(0x0101010101010101ull);
  auto code = packed;
  if constexpr (F::kMain != 8) {
    if constexpr (kPart > 0) code = shr<F::kMain * kPart>(code);
    if (sizeof(T) > 1 || kPart + 1 < F::kParts) {
      code = bit_and(code, set(d, static_cast<T>(kEach * (F::kMain == 4 ? 15 : 3))));
    }
  }
  if constexpr (F::kUpper > 0) {
    constexpr int kAt = F::kUpper == 1 ? kWord : 2 * (kWord % 4);
    constexpr auto kBits = static_cast<T>(kEach * (((1 << F::kUpper) - 1) << F::kMain));
    auto bits = upper;
    if constexpr (kAt < F::kMain) bits = shl<F::kMain - kAt>(bits);
    if constexpr (kAt > F::kMain) bits = shr<kAt - F::kMain>(bits);
    code = bit_or(code, bit_and(bits, set(d, kBits)));
  }
  return code;
}

// How far ahead of the codes that are multiplied memory is asked for. On a Sapphire Rapids Xeon, 2026-11, a row times
// Q4_0, Q4_K, Q6_K and Q8_0 [4096, 4096] ran at 87, 83, 87 and 89 % of the speed of a loop that only reads, 12 KiB to
// 32 KiB ahead; at 74, 70, 65 and 83 % 4 KiB ahead, at 60, 51, 60 and 81 % without.
// Four panels in turn, 64 steps of each, as gemv-inl.h reads floats: on Zen 3, 2026-11, .75 to 1.05 of the speed of one panel
// after the other. Their places take registers, and prefetchers of several streams gain less where a line is much work.
inline constexpr index_t kRowAhead = 16384;

// Whether all columns of a panel are multiplied at once, so that activations, their sums and addresses are shared. On Zen 3
// (AVX2), 2026-11, with sums of pairs in s16 and bytes in place of s16, one row times Q4_K, Q4_0, Q6_K and Q8_0 from L3 is 1.5,
// 1.6, 1.25 and 1.85 times as fast as a vector of columns after the other without.
template <class P>
inline constexpr bool kWholePanel = kSumsPairs<P> || std::is_same_v<P, SignedPairs>;

template <class P>
inline constexpr int kRowVectors =
    kWholePanel<P> ? detail::GemmTiles<kTarget, float>::List::kAll[0].vectors : kWeightTile.vectors;

// sum[kSums v + h] += products of half h, of 16 steps, of the next 32 with vector v of columns; or of both halves, if
// kSums is 1.
template <class P, class F>
struct MultiplyWords {
  static constexpr bool kNarrow = F::kCode == RowCode::kItself && F::kBits < 8;
  static constexpr int kVectors = kRowVectors<P>, kLmul = kWeightTile.lmul;
  // Formats with groups of 16 steps have codes of 2, 3 and 6 bits, or narrow tables.
  static constexpr bool kHalves =
      F::kCode == RowCode::kItself ? F::kBits < 4 || F::kBits == 6 : kSumsPairs<P>;
  static constexpr int kSums = kWholePanel<P> && !kHalves ? 1 : 2;
  // Of the codes as they are multiplied.
  static int offset(const WeightFormat& f) { return f.offset - (kNarrow ? 0 : P::kWordOffset); }

  template <class D, class... Sum>
  static TESSERA_INLINE void multiply(D d, const WeightFormat& f, const CodePlanes& planes,
                                      index_t width, const typename P::Word* a, Sum&... sum) {
    if constexpr (kSumsPairs<P>) {
      const Repartition<int16_t, D> d16;
      constexpr int kMost = detail::pairs_in_s16(
          F::kCode == RowCode::kItself ? (1 << F::kBits) - 1 : detail::kMostNarrowEntry);
      with_accumulators<kSums * kVectors>(d16, [&](auto&... pairs) TESSERA_LAMBDA {
        for_words(d, f, planes, width,
                  [&](auto at, auto word, auto count, Vec<D> codes) TESSERA_LAMBDA {
                    constexpr int kAt = decltype(at)::value, kCount = decltype(count)::value;
                    auto& p = pick<kAt>(pairs...);
                    const auto product = P::multiply(d, a[decltype(word)::value], codes);
                    p = kCount % kMost == 0 ? product : add(p, product);
                    keep_sum(p);
                    if constexpr ((kCount + 1) % kMost == 0 || kCount + 1 == 8 / kSums) {
                      auto& s = pick<kAt>(sum...);
                      s = add_pairs(d, p, s);
                    }
                  });
      });
    } else {
      for_words(d, f, planes, width, [&](auto at, auto word, auto, Vec<D> codes) TESSERA_LAMBDA {
        auto& s = pick<decltype(at)::value>(sum...);
        s = P::template multiply_word<kNarrow>(d, a + decltype(word)::value * (4 / P::Sink::kPart),
                                               codes, s);
        keep_sum(s);
      });
    }
  }

 private:
  // Asks for what is kRowAhead bytes behind it, line by line: requests in bursts, of all that 32 steps take, were a
  // twentieth slower.
  template <class D>
  static TESSERA_INLINE Vec<D> load_ahead(D d, const int32_t* from, index_t at) {
    constexpr index_t kLine = 64;
    const auto bytes = static_cast<index_t>(lanes(d) * sizeof(int32_t));
    // One request for each line: known when this is compiled.
    if (kPrefetch && (!kWholePanel<P> || at * 4 % kLine < bytes)) {
      prefetch_part(reinterpret_cast<const std::byte*>(from + at) + kRowAhead, 1);
    }
    return load(d, from + at);
  }

  // f(number of the sum, of the word, of the product among those of the sum, codes)
  template <class D, class Multiply>
  static TESSERA_INLINE void for_words(D d, const WeightFormat& f, const CodePlanes& planes,
                                       index_t width, Multiply multiply) {
    const Repartition<uint8_t, D> d8;
    const auto step = static_cast<index_t>(lanes(d));
    for_constants<F::kMain>([&](auto row) TESSERA_LAMBDA {
      for_constants<kVectors>([&](auto vector) TESSERA_LAMBDA {
        constexpr int kRow = decltype(row)::value, kVector = decltype(vector)::value;
        const auto packed = load_ahead(d, planes.main, kRow * width + kVector * step);
        for_constants<F::kParts>([&](auto part) TESSERA_LAMBDA {
          constexpr int kPart = decltype(part)::value;
          constexpr int kWord = F::word(kRow, kPart);
          auto upper = packed;
          if constexpr (F::kUpper > 0) {
            const index_t at = (F::kUpper == 1 ? 0 : kWord / 4) * width + kVector * step;
            upper = kWord % 4 == 0 ? load_ahead(d, planes.upper, at) : load(d, planes.upper + at);
          }
          auto codes = unpack_code<F, kWord, kPart>(d, packed, upper);
          if constexpr (F::kCode != RowCode::kItself) {
            const auto table = load_table16(d8, f.table.data());
            codes = bit_cast(d, table16(table, bit_cast(d8, codes)));
          }
          constexpr int kHalf = kSums == 1 ? 0 : kWord / 4;
          constexpr int kCount = kSums == 1 ? kRow * F::kParts + kPart : kWord % 4;
          multiply(Constant<kSums * kVector + kHalf>(), Constant<kWord>(), Constant<kCount>(),
                   codes);
        });
      });
    });
  }
};

// The same by rows of bytes. Products of s8 are summed in s16 as long as they are sure to fit, then in s32.
template <class P, class F>
struct MultiplyRows {
  static constexpr bool kWide = F::kBits == 8 || F::kCode == RowCode::kEntry;  // no such sums
  static constexpr int kVectors = 1, kLmul = kWeightTile.lmul, kSums = 2;
  // Products of a half after which sums are moved: 127 * the largest code * kMost < 2^15.
  static constexpr int kMost = F::kUpper > 0 ? 4 : 16;
  static int offset(const WeightFormat& f) {
    return F::kCode == RowCode::kSmallEntry ? 0 : f.offset;
  }

  template <class D, class Sum>
  static TESSERA_INLINE void multiply(D d, const WeightFormat& f, const CodePlanes& planes,
                                      index_t width, const typename P::Word* a, Sum& first,
                                      Sum& second) {
    const Rebind<int16_t, D> d16;
    const Rebind<uint8_t, D> d8;
    const Rebind<int8_t, D> ds;
    const auto* main = reinterpret_cast<const uint8_t*>(planes.main);
    [[maybe_unused]] const auto* upper = reinterpret_cast<const uint8_t*>(planes.upper);
    auto table = zero(d8);
    if constexpr (F::kCode != RowCode::kItself) {
      table = load_table16(d8, f.table.data());
      if constexpr (F::kCode == RowCode::kSmallEntry) {
        table = sub(table, set(d8, static_cast<uint8_t>(f.offset)));
      }
    }
    auto sum0 = zero(d16), sum1 = zero(d16);
    // Part `part` of `packed` and, above its bits, `bits`: product number kCount of its half since the sums were moved.
    const auto add_product = [&](auto word, auto part, auto count, Vec<decltype(d8)> packed,
                                 Vec<decltype(d8)> bits, typename P::Word x) TESSERA_LAMBDA {
      constexpr int kWord = decltype(word)::value, kCount = decltype(count)::value % kMost;
      auto code = unpack_code<F, kWord, decltype(part)::value>(d8, packed, bits);
      if constexpr (F::kCode != RowCode::kItself) code = table16(table, code);
      auto& sum = pick<kWord / 4>(first, second);
      auto& s = pick<kWord / 4>(sum0, sum1);
      if constexpr (kWide) {
        sum = mul_add_scalar_wide(d, x, promote(d16, d8, code), sum);
      } else if constexpr (kCount == 0) {
        s = mul_scalar_wide(d16, static_cast<int8_t>(x), bit_cast(ds, code));
      } else {
        s = mul_add_scalar_wide(d16, static_cast<int8_t>(x), bit_cast(ds, code), s);
      }
      if constexpr (!kWide && kCount + 1 == kMost) sum = add_wide(d, s, sum);
    };
    const auto for_parts = [&](auto f) TESSERA_LAMBDA { for_constants<F::kParts>(f); };
    if constexpr (F::kUpper == 0) {
      for_constants<F::kMain>([&](auto row) TESSERA_LAMBDA {
        for_constants<4>([&](auto byte) TESSERA_LAMBDA {  // of a word: one step
          const auto packed = load(d8, main);
          main += width;  // rather than a product with each row's number
          for_parts([&](auto part) TESSERA_LAMBDA {
            constexpr int kByte = decltype(byte)::value;
            constexpr int kWord = F::word(decltype(row)::value, decltype(part)::value);
            constexpr int kCount = F::kMain == 2 ? 4 * kByte + kWord % 4 : 4 * (kWord % 4) + kByte;
            add_product(Constant<kWord>(), part, Constant<kCount>(), packed, packed,
                        a[4 * kWord + kByte]);
          });
        });
      });
    } else {  // a loop, which must stay one: unrolled, all loads come first, and registers are spilled
      for (const auto* const end = main + 4 * width; main < end;
           ++a, main += width, upper += width) {
        const auto upper0 = load(d8, upper);
        const auto upper1 = F::kUpper == 1 ? upper0 : load(d8, upper + 4 * width);
        const uint8_t* from = main;
        for_constants<F::kMain>([&](auto row) TESSERA_LAMBDA {
          const auto packed = load(d8, from);
          from += 4 * width;
          for_parts([&](auto part) TESSERA_LAMBDA {
            constexpr int kWord = F::word(decltype(row)::value, decltype(part)::value);
            add_product(Constant<kWord>(), part, Constant<kWord % 4>(), packed,
                        kWord < 4 ? upper0 : upper1, a[4 * kWord]);
          });
        });
      }
    }
  }
};

template <class P, class F>
using MultiplyCodes = std::conditional_t<kByRows, MultiplyRows<P, F>, MultiplyWords<P, F>>;

template <class P, class F>
void multiply_row_panel(const WeightRow& p_in_memory) {
  using Codes = MultiplyCodes<P, F>;
  constexpr int kVectors = Codes::kVectors, kSums = Codes::kSums;
  const WeightRow p = p_in_memory;
  const WeightFormat f = *p.format;
  const Tag<float, Codes::kLmul> d;
  const Tag<int32_t, Codes::kLmul> di;
  const auto step = static_cast<index_t>(lanes(d));
  const index_t width = kWholePanel<P> ? kVectors * step : p.width;  // a constant, or not
  const index_t unit_bytes = f.unit_bytes(width);
  const index_t code_bytes = f.code_bytes() * width;
  const index_t share = (unit_bytes - code_bytes) * 32 / f.unit;
  const index_t main_step = 4 * F::kMain * width, upper_step = 4 * F::kUpper * width;
  const index_t upper_plane = f.unit / 32 * main_step;
  const index_t most_run = std::max<index_t>(p.run, 32);
  const int32_t offset = -Codes::offset(f);
  const bool has_min = f.min != WeightMin::kNone;
  struct Place {
    const typename P::Word* a;
    const int32_t* a_sum;
    const float* a_scale;
    const std::byte* unit;
  };
  Place next{static_cast<const typename P::Word*>(p.a), p.a_sums, p.a_scales, p.from};
  for (index_t k0 = 0; k0 < p.k; k0 += p.chunk) {
    const index_t depth = std::min(p.chunk, p.k - k0), block = std::min(p.block, depth);
    unpack_unit_scales(*p.format, next.unit, depth / f.unit, width, p.scales, p.mins, false);
    const Place here = next;
    for (index_t j = 0; j < width; j += kVectors * step) {
      const auto* a = here.a;
      const int32_t* a_sum = here.a_sum;
      const float* a_scale = here.a_scale;
      const std::byte* unit = here.unit;
      const std::byte* ahead = unit + code_bytes + kRowAhead;
      const auto* main = unit + j * (kByRows ? 1 : 4);
      const auto* upper = main + upper_plane;
      index_t left_of_unit = f.unit, left_of_group = f.group, at = j;
      // The next 32 steps.
      const auto multiply = [&](auto&... sum) TESSERA_LAMBDA {
        if constexpr (
            kPrefetch) {  // a part of what stands behind the codes, which ask for themselves
          if (j == 0) prefetch_part(ahead, share);
          ahead += share;
        }
        Codes::multiply(
            di, f,
            {reinterpret_cast<const int32_t*>(main), reinterpret_cast<const int32_t*>(upper)},
            width, a, sum...);
        a += 32 / P::Sink::kPart;
        main += main_step;
        upper += upper_step;
        if ((left_of_unit -= 32) == 0) {
          unit += unit_bytes;
          main = unit + j * (kByRows ? 1 : 4);
          upper = main + upper_plane;
          ahead = unit + code_bytes + kRowAhead;
          left_of_unit = f.unit;
        }
      };
      for (index_t l = 0; l < depth; l += block) {
        with_accumulators<kVectors>(d, [&](auto&... total) TESSERA_LAMBDA {
          // Those of half h, with their scales and mins.
          const auto add_sums = [&](auto half, auto&... sum) TESSERA_LAMBDA {
            for_constants<kVectors>([&](auto vector) TESSERA_LAMBDA {
              constexpr int kVector = decltype(vector)::value;
              auto& t = pick<kVector>(total...);
              const auto& s = pick<kSums * kVector + decltype(half)::value>(sum...);
              t = mul_add(from_int(s), load(d, p.scales + at + kVector * step), t);
              if (has_min) {
                const auto min = load(d, p.mins + at + kVector * step);
                t = neg_mul_add(set(d, static_cast<float>(*a_sum)), min, t);
              }
            });
            ++a_sum;
            if ((left_of_group -= p.run) == 0) {
              left_of_group = f.group;
              at += width;
            }
          };
          for (index_t k = 0; k < block; k += most_run) {
            with_accumulators<kSums * kVectors>(di, [&](auto&... sum) TESSERA_LAMBDA {
              const auto start = [&](auto half) TESSERA_LAMBDA {
                constexpr int kHalf = decltype(half)::value;
                const auto first = set(di, offset * a_sum[kHalf]);
                for_constants<kVectors>([&](auto vector) TESSERA_LAMBDA {
                  pick<kSums* decltype(vector)::value + kHalf>(sum...) = first;
                });
              };
              const Constant<0> first;
              [[maybe_unused]] const Constant<1> second;
              start(first);
              if constexpr (kSums == 2) {
                if (p.run < 32) {  // 16
                  start(second);
                  multiply(sum...);
                  add_sums(first, sum...);
                  add_sums(second, sum...);
                  return;
                }
              }
              for (index_t i = 0; i < p.run; i += 32) multiply(sum...);
              if constexpr (kSums == 2) {
                for_constants<kVectors>([&](auto vector) TESSERA_LAMBDA {
                  auto& both = pick<2 * decltype(vector)::value>(sum...);
                  both = add(both, pick<2 * decltype(vector)::value + 1>(sum...));
                });
              }
              add_sums(first, sum...);
            });
          }
          for_constants<kVectors>([&](auto vector) TESSERA_LAMBDA {
            constexpr int kVector = decltype(vector)::value;
            float* const to = p.sums + j + kVector * step;
            store(d, mul_add_scalar(d, *a_scale, pick<kVector>(total...), load(d, to)), to);
          });
          ++a_scale;
        });
      }
      next = {a, a_sum, p.a_scales + (k0 + depth) / p.block, unit};  // a block may be many chunks
    }
  }
}

using MultiplyRowPanel = void (*)(const WeightRow&);

inline bool has_small_entries(const WeightFormat& f) {
  for (const int entry : f.table) {
    if (entry - f.offset < -16 || entry - f.offset > 16) return false;
  }
  return true;
}

template <class P, bool kNarrow>
MultiplyRowPanel row_kernel(const WeightFormat& f) {
  using enum RowCode;
  if (f.code == WeightCode::kTable) {
    if (kByRows && has_small_entries(f)) return &multiply_row_panel<P, RowFormat<4, kSmallEntry>>;
    return &multiply_row_panel<P, RowFormat<4, kEntry>>;
  }
  if constexpr (!kNarrow) {
    return &multiply_row_panel<P, RowFormat<8, kItself>>;
  } else {
    switch (f.bits) {
      case 6:
        return &multiply_row_panel<P, RowFormat<6, kItself>>;
      case 5:
        return &multiply_row_panel<P, RowFormat<5, kItself>>;
      case 4:
        return &multiply_row_panel<P, RowFormat<4, kItself>>;
      case 3:
        return &multiply_row_panel<P, RowFormat<3, kItself>>;
      default:
        return &multiply_row_panel<P, RowFormat<2, kItself>>;
    }
  }
}

template <class P, bool kNarrow>
bool multiply_weight_row(const WeightRow& p) {
  const auto step = static_cast<index_t>(kRowVectors<P> * lanes(Tag<float, kWeightTile.lmul>()));
  if (kWholePanel<P> ? p.width != step : p.width < step) return false;
  row_kernel<P, kNarrow> (*p.format)(p);
  return true;
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_WEIGHTS_ROW_INL_H_
