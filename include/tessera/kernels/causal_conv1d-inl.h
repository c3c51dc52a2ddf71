// SPDX-License-Identifier: Apache-2.0

// Depthwise convolution along rows of channels: each vector of weights is loaded once for four rows.

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

// kRows rows of results from row `first` on.
template <int kRows>
void rows_at(const CausalConvRows& r, index_t first) {
  const CausalConvRows c = r;  // in registers: the compiler can't know that results are not it
  const Tag<float, kHasLmul ? 4 : 1> d;
  for_vectors(d, 0, c.n, [&]<bool kAll>(index_t i, size_t n) TESSERA_LAMBDA {
    with_accumulators<kRows>(d, [&](auto&... sums) TESSERA_LAMBDA {
      const auto start = load_part<kAll>(d, c.bias + i, n);
      ((sums = start), ...);
      const float* x = c.x + first * c.x_stride + i;
      const float* weight = c.weights + i;
      for (index_t k = 0; k < c.width; ++k, x += c.x_stride, weight += c.weight_stride) {
        const auto w = load_part<kAll>(d, weight, n);
        const float* input = x;
        ((sums = mul_add(w, load_part<kAll>(d, input, n), sums), input += c.x_stride), ...);
      }
      float* y = c.y + first * c.y_stride + i;
      ((store_part<kAll>(d, sums, y, n), y += c.y_stride), ...);
    });
  });
}

inline void run(const CausalConvRows& c) {
  index_t row = 0;
  for (; row + 4 <= c.rows; row += 4) rows_at<4>(c, row);
  for (; row < c.rows; ++row) rows_at<1>(c, row);
}

}  // namespace causal_conv1d

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_CAUSAL_CONV1D_INL_H_
