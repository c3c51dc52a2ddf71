// SPDX-License-Identifier: Apache-2.0
// The interface of the depthwise kernel: plain data.
#ifndef TESSERA_KERNELS_DEPTHWISE_KERNELS_H_
#define TESSERA_KERNELS_DEPTHWISE_KERNELS_H_

#include "tessera/core/view.h"

namespace tessera::detail {

// Outputs of a convolution with one filter for each channel, in lines:
//   sums[h * sum_line + i * sum_step + c] = sum over rows t and taps u of
//     rows[t][h * x_line + i * x_step + (u - first_tap) * tap_step + c] * filters[(t * taps + u) * filter_step + c],
// a chain of fused multiply-adds from 0 in this order. Taps outside of [first_tap, end_tap) meet zeros: nothing is read.
struct DepthwiseBlock {
  const float* const* rows;
  index_t row_count, taps;
  index_t first_tap, end_tap;
  index_t tap_step, x_step, x_line;
  index_t count, lines, channels;
  const float* filters;
  index_t filter_step;
  float* sums;
  index_t sum_step, sum_line;
};

using DepthwiseKernel = void (*)(const DepthwiseBlock&);

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_DEPTHWISE_KERNELS_H_
