// SPDX-License-Identifier: Apache-2.0

// Depthwise convolution along rows of channels.

#if defined(TESSERA_KERNELS_CAUSAL_CONV1D_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_CAUSAL_CONV1D_INL_H_
#undef TESSERA_KERNELS_CAUSAL_CONV1D_INL_H_
#else
#define TESSERA_KERNELS_CAUSAL_CONV1D_INL_H_
#endif

#include <cstddef>

#include "tessera/core/view.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/accumulators-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace causal_conv1d {

using detail::CausalConvRows;

// Taps from kTap on. x: element i of the inputs of the first tap of the first row.
template <bool kAll, int kWidth, int kTap = 0, class D, class... V>
TESSERA_INLINE void add_taps(const CausalConvRows& c, D d, const float* x, index_t i, size_t n,
                             V&... sums) {
  if constexpr (kTap < kWidth) {
    const auto w = load_part<kAll>(d, c.weights + kTap * c.weight_stride + i, n);
    const float* input = x + kTap * c.x_stride;
    ((sums = mul_add(w, load_part<kAll>(d, input, n), sums), input += c.x_stride), ...);
    add_taps<kAll, kWidth, kTap + 1>(c, d, x, i, n, sums...);
  }
}

// kRows rows of results from row `first` on. Taps are unrolled, so that compilers load each row of inputs once. LMUL 2: four
// rows of results, as many of inputs and the weights fit the registers.
template <int kWidth, int kRows>
void rows_at(const CausalConvRows& r, index_t first) {
  const CausalConvRows c = r;  // in registers: the compiler can't know that results are not it
  const Tag<float, kHasLmul ? 2 : 1> d;
  for_vectors(d, 0, c.n, [&]<bool kAll>(index_t i, size_t n) TESSERA_LAMBDA {
    with_accumulators<kRows>(d, [&](auto&... sums) TESSERA_LAMBDA {
      const auto start = load_part<kAll>(d, c.bias + i, n);
      ((sums = start), ...);
      add_taps<kAll, kWidth>(c, d, c.x + first * c.x_stride + i, i, n, sums...);
      float* y = c.y + first * c.y_stride + i;
      ((store_part<kAll>(d, sums, y, n), y += c.y_stride), ...);
    });
  });
}

// Of 2 to 8 taps.
template <int kWidth = 2>
void run(const CausalConvRows& c) {
  if constexpr (kWidth < 8) {
    if (c.width != kWidth) return run<kWidth + 1>(c);
  }
  // Four rows load the weights once, which saves instructions on RVV. On x86 they are slower than one at a time: as many
  // more streams in the same sets of L1 (Sapphire Rapids, 2026-11, 64 x 1024 in L2: 30 GB/s, 1 row 41, 2 rows 35).
  constexpr int kRows = kHasLmul ? 4 : 1;
  index_t row = 0;
  for (; row + kRows <= c.rows; row += kRows) rows_at<kWidth, kRows>(c, row);
  for (; row < c.rows; ++row) rows_at<kWidth, 1>(c, row);
}

}  // namespace causal_conv1d

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_CAUSAL_CONV1D_INL_H_
