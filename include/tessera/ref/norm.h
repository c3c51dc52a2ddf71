// SPDX-License-Identifier: Apache-2.0
// The specification of norms, as loops.
#ifndef TESSERA_REF_NORM_H_
#define TESSERA_REF_NORM_H_

#include <cmath>
#include <span>

#include "tessera/core/view.h"
#include "tessera/ref/lane_sums.h"
#include "tessera/ref/math.h"

namespace tessera::ref {

// y[i] = normalised x[i] * weight[i] + bias[i] in f32, what there is of them. kFused: on targets with fused multiply-add.
template <bool kFused>
float affine(float normalised, std::span<const float> weight, std::span<const float> bias,
             std::size_t i) {
  if (bias.empty()) return weight.empty() ? normalised : product(normalised, weight[i]);
  return weight.empty() ? normalised + bias[i] : mul_add<kFused>(normalised, weight[i], bias[i]);
}

// Exactly as a row of tessera::rms_norm, before it is rounded to the type of the result.
template <bool kFused = true>
void rms_norm_row(std::span<const float> x, std::span<const float> weight,
                  std::span<const float> bias, float epsilon, std::span<float> y) {
  const auto n = static_cast<index_t>(x.size());
  const float squares = lane_sum(n, [&](float sum, index_t i) {
    const float v = x[static_cast<std::size_t>(i)];
    return mul_add<kFused>(v, v, sum);
  });
  const float factor = 1 / std::sqrt(squares / static_cast<float>(n) + epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = affine<kFused>(product(x[i], factor), weight, bias, i);
  }
}

// Exactly as a row of tessera::layer_norm, likewise.
template <bool kFused = true>
void layer_norm_row(std::span<const float> x, std::span<const float> weight,
                    std::span<const float> bias, float epsilon, std::span<float> y) {
  const auto n = static_cast<index_t>(x.size());
  const float mean =
      lane_sum(n, [&](float sum, index_t i) { return sum + x[static_cast<std::size_t>(i)]; }) /
      static_cast<float>(n);
  const float squares = lane_sum(n, [&](float sum, index_t i) {
    const float v = x[static_cast<std::size_t>(i)] - mean;
    return mul_add<kFused>(v, v, sum);
  });
  const float factor = 1 / std::sqrt(squares / static_cast<float>(n) + epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = affine<kFused>(product(x[i] - mean, factor), weight, bias, i);
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_NORM_H_
