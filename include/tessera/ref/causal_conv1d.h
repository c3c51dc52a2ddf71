// SPDX-License-Identifier: Apache-2.0
// The specification of one output of a depthwise causal convolution.
#ifndef TESSERA_REF_CAUSAL_CONV1D_H_
#define TESSERA_REF_CAUSAL_CONV1D_H_

#include <cstddef>
#include <span>

#include "tessera/ref/math.h"

namespace tessera::ref {

// bias + the sum of weights[k] * inputs[k], one chain of fused multiply-adds in order of the taps, the oldest input first.
template <bool kFused = true>
float causal_conv1d(std::span<const float> inputs, std::span<const float> weights, float bias,
                    bool use_silu) {
  float sum = bias;
  for (std::size_t k = 0; k < weights.size(); ++k) {
    sum = mul_add<kFused>(weights[k], inputs[k], sum);
  }
  return use_silu ? silu<kFused>(sum) : sum;
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_CAUSAL_CONV1D_H_
