// SPDX-License-Identifier: Apache-2.0

// Packing: rows of A, or columns of B, as panels of the elements that a register tile multiplies.

#if defined(TESSERA_KERNELS_GEMM_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_GEMM_PACK_INL_H_
#undef TESSERA_KERNELS_GEMM_PACK_INL_H_
#else
#define TESSERA_KERNELS_GEMM_PACK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

using detail::PackPanel;

// Step l of k of each of several columns, as the lower half or quarter of a word: what a Part of it would be.
template <class Part, class From, class D>
TESSERA_INLINE Vec<D> load_parts(D d, const From* from, size_t n) {
  const Rebind<From, D> df;
  const auto v = promote(Rebind<int32_t, D>(), df, load_n(df, from, n));
  constexpr int32_t kMask = sizeof(Part) == 1 ? 0xff : 0xffff;
  const auto bits = bit_and(v, set(Rebind<int32_t, D>(), kMask));
  if constexpr (!kShiftsSign<Part, From>) return bits;
  return bit_and(add(bits, set(d, 128)), set(d, kMask));
}

// `kGroup` rows of From, `stride` apart, as a row of words; rows from `left` on count as zeros.
template <int kGroup, class Part, class From>
void pack_words(const From* from, index_t stride, index_t left, int32_t* to, index_t count) {
  constexpr int kBits = 8 * static_cast<int>(sizeof(Part));
  const Tag<int32_t> d;
  for (index_t i = 0; i < count; i += static_cast<index_t>(lanes(d))) {
    const auto n = static_cast<size_t>(count - i);
    auto word = load_parts<Part>(d, from + i, n);
    if (left > 1) word = bit_or(word, shl<kBits>(load_parts<Part>(d, from + stride + i, n)));
    if constexpr (kGroup == 4) {
      if (left > 2) {
        word = bit_or(word, shl<16>(load_parts<Part>(d, from + 2 * stride + i, n)));
      }
      if (left > 3) {
        word = bit_or(word, shl<24>(load_parts<Part>(d, from + 3 * stride + i, n)));
      }
    }
    store_n(d, word, to + i, n);
  }
}

// Steps of k that are contiguous along the panel: each is a row of it, or part of one.
template <class Element, class Part>
void pack_along(const PackPanel& p, Element* to) {
  constexpr index_t kGroup = sizeof(Element) / sizeof(Part);
  for (index_t l = 0; l < p.k; l += kGroup, to += p.to_stride) {
    const void* const from = advance(p.from, p.dtype, l * p.k_stride);
    if constexpr (kGroup == 1) {
      convert_row(p.dtype, from, 1, to, p.count);
    } else if (p.dtype == DType::kU8) {
      pack_words<kGroup, Part>(static_cast<const uint8_t*>(from), p.k_stride, p.k - l, to, p.count);
    } else {
      pack_words<kGroup, Part>(static_cast<const int8_t*>(from), p.k_stride, p.k - l, to, p.count);
    }
  }
}

// All other strides: blocks of rows are converted along k and transposed.
template <class Element, class Part>
void pack_across(const PackPanel& p, Element* to) {
  constexpr index_t kGroup = sizeof(Element) / sizeof(Part);
  constexpr index_t kRows = 32, kSteps = 32;
  alignas(64) Part block[kRows][kSteps * kGroup];
  for (index_t l0 = 0; l0 * kGroup < p.k; l0 += kSteps) {
    const index_t parts = std::min(kSteps * kGroup, p.k - l0 * kGroup);
    const index_t steps = (parts + kGroup - 1) / kGroup;
    for (index_t i0 = 0; i0 < p.count; i0 += kRows) {
      const index_t rows = std::min(kRows, p.count - i0);
      for (index_t i = 0; i < rows; ++i) {
        const index_t start = (i0 + i) * p.stride + l0 * kGroup * p.k_stride;
        convert_row(p.dtype, advance(p.from, p.dtype, start), p.k_stride, block[i], parts);
        for (index_t l = parts; l < steps * kGroup; ++l) block[i][l] = Part{};
      }
      transpose(Tag<Element>(), reinterpret_cast<const Element*>(block), kSteps,
                static_cast<size_t>(rows), static_cast<size_t>(steps), to + l0 * p.to_stride + i0,
                static_cast<size_t>(p.to_stride));
    }
  }
}

// The sums over k of a packed panel of B: what a shift of A by 128 adds to the result, over 128.
TESSERA_INLINE void sum_columns(const int32_t* panel, index_t rows, index_t width, int32_t* sums) {
  const Tag<int32_t> d;
  const Repartition<uint8_t, Tag<int32_t>> du;
  const Repartition<int8_t, Tag<int32_t>> ds;
  const auto ones = set(du, uint8_t{1});
  for (index_t j = 0; j < width; j += static_cast<index_t>(lanes(d))) {
    const auto n = static_cast<size_t>(width - j);
    auto sum = zero(d);
    for (index_t l = 0; l < rows; ++l) {
      sum = dot4_i8(d, ones, bit_cast(ds, load_n(d, panel + l * width + j, n)), sum);
    }
    store_n(d, sum, sums + j, n);
  }
}

// Integers of 8 bits as floats.
template <class From>
void convert_integers(const From* from, index_t stride, float* to, index_t n, int zero_point) {
  const Tag<float, kHasLmul ? 4 : 1> d;
  const Rebind<int32_t, decltype(d)> di;
  const Rebind<From, decltype(d)> df;
  const auto zero = set(di, zero_point);
  if (stride != 1) {
    for (index_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i * stride] - zero_point);
    return;
  }
  for (index_t i = 0; i < n; i += static_cast<index_t>(lanes(d))) {
    const auto left = static_cast<size_t>(n - i);
    store_n(d, from_int(sub(promote(di, df, load_n(df, from + i, left)), zero)), to + i, left);
  }
}

template <class Part>
void convert_parts(DType dtype, const void* from, index_t stride, void* to, index_t n,
                   int zero_point) {
  auto* const parts = static_cast<Part*>(to);
  if constexpr (std::is_same_v<Part, float>) {
    if (dtype == DType::kS8) {
      return convert_integers(static_cast<const int8_t*>(from), stride, parts, n, zero_point);
    }
    if (dtype == DType::kU8) {
      return convert_integers(static_cast<const uint8_t*>(from), stride, parts, n, zero_point);
    }
  }
  convert_row(dtype, from, stride, parts, n);
  if constexpr (std::is_same_v<Part, int16_t>) {
    if (zero_point == 0) return;
    const Tag<int16_t, kHasLmul ? 8 : 1> d;
    const auto zero = set(d, static_cast<int16_t>(zero_point));
    for (index_t i = 0; i < n; i += static_cast<index_t>(lanes(d))) {
      const auto left = static_cast<size_t>(n - i);
      store_n(d, sub(load_n(d, parts + i, left), zero), parts + i, left);
    }
  }
}

template <class Element, class Part, bool kColumnSums>
void pack_panel(const PackPanel& p) {
  constexpr index_t kGroup = sizeof(Element) / sizeof(Part);
  const index_t rows = (p.k + kGroup - 1) / kGroup;
  auto* const to = static_cast<Element*>(p.to) + (kColumnSums ? p.to_stride : 0);
  constexpr DType kSame = DTypeTraits<Part>::kDType;
  if (p.stride == 1) {
    pack_along<Element, Part>(p, to);
  } else if (kGroup == 1 && p.dtype == kSame && p.k_stride == 1 && p.stride > 0) {
    transpose(Tag<Element>(), static_cast<const Element*>(p.from), static_cast<size_t>(p.stride),
              static_cast<size_t>(p.count), static_cast<size_t>(p.k), to,
              static_cast<size_t>(p.to_stride));
  } else {
    pack_across<Element, Part>(p, to);
  }
  for (index_t l = 0; p.count < p.to_stride && l < rows; ++l) {
    for (index_t i = p.count; i < p.to_stride; ++i) to[l * p.to_stride + i] = Element{};
  }
  if constexpr (kColumnSums) sum_columns(to, rows, p.to_stride, static_cast<Element*>(p.to));
  if constexpr (std::is_floating_point_v<Element>) {
    if (p.alpha == 1) return;
    const Tag<Element, kHasLmul ? 8 : 1> d;
    const auto alpha = set(d, static_cast<Element>(p.alpha));
    const index_t count = p.to_stride * p.k;
    for (index_t i = 0; i < count; i += static_cast<index_t>(lanes(d))) {
      const auto n = static_cast<size_t>(count - i);
      store_n(d, mul(alpha, load_n(d, to + i, n)), to + i, n);
    }
  }
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_PACK_INL_H_
