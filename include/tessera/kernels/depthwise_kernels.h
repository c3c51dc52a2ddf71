// SPDX-License-Identifier: Apache-2.0
// The interface of the depthwise kernel: plain data.
#ifndef TESSERA_KERNELS_DEPTHWISE_KERNELS_H_
#define TESSERA_KERNELS_DEPTHWISE_KERNELS_H_

#include "tessera/core/view.h"

namespace tessera::detail {

// Outputs along w of a convolution with one filter for each channel:
//   sums[i * sum_stride + c] = sum over rows t and taps u of
//     rows[t][i * out_step + u * tap_step + c] * filters[(t * taps + u) * filter_stride + c],
// a chain of fused multiply-adds from 0 in this order.
struct DepthwiseBlock {
  const float* const* rows;
  index_t row_count, taps;
  index_t tap_step, out_step;
  index_t count, channels;
  const float* filters;
  index_t filter_stride;
  float* sums;
  index_t sum_stride;
};

using DepthwiseKernel = void (*)(const DepthwiseBlock&);

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_DEPTHWISE_KERNELS_H_
