// SPDX-License-Identifier: Apache-2.0

// What the products with quantized weights are made of on each target.

#if defined(TESSERA_KERNELS_WEIGHTS_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_WEIGHTS_PRODUCTS_INL_H_
#undef TESSERA_KERNELS_WEIGHTS_PRODUCTS_INL_H_
#else
#define TESSERA_KERNELS_WEIGHTS_PRODUCTS_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "tessera/kernels/gemm_tile-inl.h"
#include "tessera/kernels/weights-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// multiply: one word of activations times a vector of words of weights, as a sink of weights-inl.h stores them.
// multiply_word: four steps; of activations, times a vector of words of bytes, as they are unpacked, less
// kWordOffset where they are not narrow.

// Weights as unsigned bytes, activations as signed ones.
struct UnsignedQuads {
  using Sink = UnsignedBytes;
  using Word = int32_t;  // of activations
  using PartA = int8_t;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int32_t a, Vec<D> b, Vec<D> sum) {
    return dot4_i8(d, bit_cast(Repartition<uint8_t, D>(), b),
                   bit_cast(Repartition<int8_t, D>(), set(d, a)), sum);
  }
  static constexpr int kWordOffset = 0;
  template <bool, class D>
  static TESSERA_INLINE Vec<D> multiply_word(D d, const Word* a, Vec<D> word, Vec<D> sum) {
    return multiply(d, *a, word, sum);
  }
};

template <class D>
using Pairs16 = Vec<Repartition<int16_t, D>>;

// sum + sums of pairs.
template <class D>
TESSERA_INLINE Vec<D> add_pairs(D d, Pairs16<D> pairs, Vec<D> sum) {
  return dot2_i16(d, pairs, set(Repartition<int16_t, D>(), int16_t{1}), sum);
}

// The same for narrow weights, of which s16 hold the sums of several words: WeightFormat::words_in_s16. (Rather than move
// those of each word to s32: on Zen 3, 2026-11, four rows times Q4_K 1.13 times as fast.)
struct NarrowQuads {
  using Sink = UnsignedBytes;
  using Word = int32_t;  // of activations
  using PartA = int8_t;
  static constexpr int kWordOffset = 0;
  template <class D>
  static TESSERA_INLINE Pairs16<D> multiply(D d, int32_t a, Vec<D> b) {
    return dot2_i8(Repartition<int16_t, D>(), bit_cast(Repartition<uint8_t, D>(), b),
                   bit_cast(Repartition<int8_t, D>(), set(d, a)));
  }
};

// Weights as signed bytes, where there is no instruction for four products.
struct SignedPairs {
  using Sink = SignedBytes;
  using Word = int32_t;  // of activations, which are at least -127
  using PartA = int8_t;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int32_t a, Vec<D> b, Vec<D> sum) {
    const Repartition<int8_t, D> d8;
    const Repartition<int16_t, D> d16;
    return add_pairs(d, dot2_i8(d16, bit_cast(d8, b), bit_cast(d8, set(d, a))), sum);
  }
  static constexpr int kWordOffset = 128;
  template <bool, class D>
  static TESSERA_INLINE Vec<D> multiply_word(D d, const Word* a, Vec<D> word, Vec<D> sum) {
    const Repartition<int8_t, D> d8;
    const auto bytes = sub(bit_cast(d8, word), set(d8, int8_t{-128}));
    return multiply(d, *a, bit_cast(d, bytes), sum);
  }
};

// Weights as signed bytes.
struct SignedQuads {
  using Sink = SignedBytes;
  using Word = int32_t;  // of activations
  using PartA = int8_t;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int32_t a, Vec<D> b, Vec<D> sum) {
    return QuadProducts<int8_t>::multiply(d, a, b, sum);
  }
  // Bytes less 128, unless they are narrow.
  static constexpr int kWordOffset = 128;
  template <bool kNarrow, class D>
  static TESSERA_INLINE Vec<D> multiply_word(D d, const Word* a, Vec<D> word, Vec<D> sum) {
    const Repartition<int8_t, D> d8;
    if constexpr (kNarrow) return multiply(d, *a, word, sum);
    const auto bytes = sub(bit_cast(d8, word), set(d8, int8_t{-128}));
    return multiply(d, *a, bit_cast(d, bytes), sum);
  }
};

// Two s16 a word.
struct WeightPairs {
  using Sink = Pairs;
  using Word = int32_t;  // of activations
  using PartA = int16_t;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int32_t a, Vec<D> b, Vec<D> sum) {
    return PairProducts::multiply(d, a, b, sum);
  }
  static constexpr int kWordOffset = 0;
  template <bool, class D>
  static TESSERA_INLINE Vec<D> multiply_word(D d, const Word* a, Vec<D> word, Vec<D> sum) {
    sum = multiply(d, a[0], Pairs::first(d, word), sum);
    return multiply(d, a[1], Pairs::second(d, word), sum);
  }
};

// One byte of weights at a time, widened.
struct WeightSingles {
  using Sink = SingleBytes;
  using Word = int16_t;  // of activations
  using PartA = int16_t;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int16_t a, Vec<Rebind<int16_t, D>> b, Vec<D> sum) {
    return WideProducts::multiply(d, a, b, sum);
  }
};

#if TESSERA_BACKEND_SCALAR || TESSERA_BACKEND_XSIMD
using WeightsOfBytes = WeightPairs;
using WeightsOf7Bits = WeightPairs;
#elif HWY_TARGET == HWY_RVV
using WeightsOfBytes = WeightSingles;
using WeightsOf7Bits = WeightSingles;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
using WeightsOfBytes = UnsignedQuads;
using WeightsOf7Bits = UnsignedQuads;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
using WeightsOfBytes = SignedPairs;
using WeightsOf7Bits = NarrowQuads;
#elif HWY_TARGET == HWY_NEON_BF16 || HWY_TARGET_IS_SVE
using WeightsOfBytes = SignedQuads;
using WeightsOf7Bits = SignedQuads;
#else
using WeightsOfBytes = WeightPairs;
using WeightsOf7Bits = WeightPairs;
#endif

// Whether sums of pairs stay in s16 for some words.
template <class P>
inline constexpr bool kSumsPairs = std::is_same_v<P, NarrowQuads>;

// ---- Register tiles

// Sums of a run and of a block for each element of the tile, and a row of B.
struct WeightTile {
  int rows, vectors, lmul;
};
inline constexpr WeightTile kWeightTile = TESSERA_BACKEND_SCALAR   ? WeightTile{2, 1, 1}
                                          : kHasLmul               ? WeightTile{3, 1, 4}
                                          : kVectorRegisters >= 32 ? WeightTile{4, 3, 1}
                                                                   : WeightTile{4, 1, 1};

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_WEIGHTS_PRODUCTS_INL_H_
