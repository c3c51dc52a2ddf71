// SPDX-License-Identifier: Apache-2.0
// The specification of the gated delta rule: what one token does to the state of one head.
#ifndef TESSERA_REF_GATED_DELTA_RULE_H_
#define TESSERA_REF_GATED_DELTA_RULE_H_

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "tessera/core/view.h"
#include "tessera/ref/lane_sums.h"
#include "tessera/ref/math.h"

namespace tessera::ref {

// x times 1 / sqrt(sum of squares + epsilon), the sum in 32 virtual lanes.
template <bool kFused = true>
std::vector<float> l2_normalized(std::span<const float> x, float epsilon) {
  const float sum = lane_sum(static_cast<index_t>(x.size()), [x](float part, index_t i) {
    const float v = x[static_cast<std::size_t>(i)];
    return mul_add<kFused>(v, v, part);
  });
  const float factor = 1 / std::sqrt(sum + epsilon);
  std::vector<float> y;
  for (const float v : x) y.push_back(product(factor, v));
  return y;
}

// state: [query.size(), value.size()], row-major. result: one element per column. Query and key as they are used: scaled
// and normalized.
template <bool kFused = true>
void gated_delta_rule(std::span<const float> query, std::span<const float> key,
                      std::span<const float> value, float gate, float beta, std::span<float> state,
                      std::span<float> result) {
  const float decay = ref::exp<kFused>(gate);
  const std::size_t rows = query.size(), cols = value.size();
  for (float& s : state) s = product(decay, s);
  for (std::size_t j = 0; j < cols; ++j) {
    float recalled = 0, sum = 0;
    for (std::size_t i = 0; i < rows; ++i) {
      recalled = mul_add<kFused>(key[i], state[i * cols + j], recalled);
    }
    const float update = product(beta, value[j] - recalled);
    for (std::size_t i = 0; i < rows; ++i) {
      float& s = state[i * cols + j];
      s = mul_add<kFused>(key[i], update, s);
      sum = mul_add<kFused>(query[i], s, sum);
    }
    result[j] = sum;
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_GATED_DELTA_RULE_H_
