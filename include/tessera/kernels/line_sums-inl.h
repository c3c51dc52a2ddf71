// SPDX-License-Identifier: Apache-2.0

// Sums over k of the rows of A, or the columns of B: what zero points of the other operand are multiplied by.

#if defined(TESSERA_KERNELS_LINE_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_LINE_SUMS_INL_H_
#undef TESSERA_KERNELS_LINE_SUMS_INL_H_
#else
#define TESSERA_KERNELS_LINE_SUMS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

using detail::LineSums;

// Four bytes to a lane of 32 bits, by a product with ones.
template <class From>
int32_t sum_bytes(const From* from, index_t n) {
  const Tag<int32_t> d;
  const Repartition<From, Tag<int32_t>> df;
  const auto add_bytes = [&](Vec<Tag<int32_t>> sum, Vec<decltype(df)> v) TESSERA_LAMBDA {
    if constexpr (std::is_same_v<From, uint8_t>) {
      return dot4_i8(d, v, set(Repartition<int8_t, Tag<int32_t>>(), int8_t{1}), sum);
    } else {
      return dot4_i8(d, set(Repartition<uint8_t, Tag<int32_t>>(), uint8_t{1}), v, sum);
    }
  };
  const auto step = static_cast<index_t>(lanes(df));
  auto even = zero(d), odd = zero(d);
  index_t i = 0;
  for (; i + 2 * step <= n; i += 2 * step) {
    even = add_bytes(even, load(df, from + i));
    odd = add_bytes(odd, load(df, from + i + step));
  }
  for (; i < n; i += step) {
    even = add_bytes(even, load_n(df, from + i, static_cast<size_t>(n - i)));
  }
  return reduce_add(d, add(even, odd));
}

// sums[j] += from[j] + from[j + stride] + .. of kRows rows.
template <int kRows, class From>
void add_byte_rows(const From* from, index_t stride, int16_t* sums, index_t n) {
  const Tag<int16_t, kHasLmul ? 4 : 1> d;
  const Rebind<From, Tag<int16_t, kHasLmul ? 4 : 1>> df;
  const auto step = static_cast<index_t>(lanes(d));
  index_t j = 0;
  for (; j + step <= n; j += step) {
    auto sum = load(d, sums + j);
    for (int r = 0; r < kRows; ++r) {
      sum = add(sum, promote(d, df, load(df, from + r * stride + j)));
    }
    store(d, sum, sums + j);
  }
  if (j == n) return;
  const auto left = static_cast<size_t>(n - j);
  auto sum = load_n(d, sums + j, left);
  for (int r = 0; r < kRows; ++r) {
    sum = add(sum, promote(d, df, load_n(df, from + r * stride + j, left)));
  }
  store_n(d, sum, sums + j, left);
}

// Lines side by side: along them, in 16 bits for as many steps of k as these hold.
template <class From>
void sum_side_by_side(const From* from, const LineSums& s) {
  constexpr index_t kSteps = 128;  // of at most 255
  constexpr index_t kLines = 512;
  const Tag<int32_t> d;
  const Rebind<int16_t, Tag<int32_t>> dp;
  std::fill_n(s.sums, s.count, 0);
  for (index_t k = 0; k < s.k; k += kSteps) {
    const index_t steps = std::min(kSteps, s.k - k);
    for (index_t j = 0; j < s.count; j += kLines) {
      const index_t n = std::min(kLines, s.count - j);
      const From* row = from + k * s.k_stride + j;
      int16_t part[kLines];
      std::fill_n(part, n, int16_t{0});
      index_t l = 0;
      for (; l + 8 <= steps; l += 8, row += 8 * s.k_stride) {
        add_byte_rows<8>(row, s.k_stride, part, n);
      }
      for (; l < steps; ++l, row += s.k_stride) add_byte_rows<1>(row, s.k_stride, part, n);
      for (index_t i = 0; i < n; i += static_cast<index_t>(lanes(d))) {
        const auto left = static_cast<size_t>(n - i);
        const auto more = promote(d, dp, load_n(dp, part + i, left));
        store_n(d, add(load_n(d, s.sums + j + i, left), more), s.sums + j + i, left);
      }
    }
  }
}

template <class From>
void sum_lines(const From* from, const LineSums& s) {
  if (s.stride == 1 && s.k_stride != 1) return sum_side_by_side(from, s);
  constexpr index_t kRun = 512;
  From run[kRun];
  for (index_t i = 0; i < s.count; ++i, from += s.stride) {
    if (s.k_stride == 1) {
      s.sums[i] = sum_bytes(from, s.k);
      continue;
    }
    uint32_t sum = 0;
    for (index_t k = 0; k < s.k; k += kRun) {
      const index_t n = std::min(kRun, s.k - k);
      convert_row(from + k * s.k_stride, s.k_stride, run, n);
      sum += static_cast<uint32_t>(sum_bytes(run, n));
    }
    s.sums[i] = static_cast<int32_t>(sum);
  }
}

inline void sum_lines(const LineSums& s) {
  if (s.dtype == DType::kU8) return sum_lines(static_cast<const uint8_t*>(s.from), s);
  sum_lines(static_cast<const int8_t*>(s.from), s);
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_LINE_SUMS_INL_H_
