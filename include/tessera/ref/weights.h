// SPDX-License-Identifier: Apache-2.0
// gemm with quantized weights and activations of 8-bit integers: the specification, as loops.
#ifndef TESSERA_REF_WEIGHTS_H_
#define TESSERA_REF_WEIGHTS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tessera/core/view.h"

namespace tessera::ref {

// Weights [n, k] of integers: element (j, l) is scales(j, l / group) * codes(j, l) - mins(j, l / group).
struct WeightIntegers {
  View<const std::int16_t, 2> codes;  // [n, k]
  View<const float, 2> scales, mins;  // [n, groups]; mins of no data: none
  index_t group = 32;                 // a power of two of at least 16, at most 256
};

// A row of activations, and the scales of its blocks.
struct QuantizedActivations {
  std::vector<int> codes;
  std::vector<float> scales;
};

inline QuantizedActivations quantize_activations(const float* x, index_t stride, index_t k,
                                                 index_t block, float alpha) {
  QuantizedActivations q;
  for (index_t begin = 0; begin < k; begin += block) {
    const index_t end = std::min(k, begin + block);
    float most = 0;
    bool finite = true;
    for (index_t l = begin; l < end; ++l) {
      most = std::max(most, std::fabs(x[l * stride]));
      finite = finite && std::isfinite(x[l * stride]);
    }
    const float inverse = most > 0 ? std::min(127 / most, 3.402823466e38f) : 0;
    for (index_t l = begin; l < end; ++l) {
      q.codes.push_back(finite ? static_cast<int>(std::nearbyint(x[l * stride] * inverse)) : 0);
    }
    q.scales.push_back((finite ? most / 127 : std::nanf("")) * alpha);
  }
  return q;
}

// C[m, n] = alpha * A[m, k] * W[n, k]^T + beta * C. block: elements of A that share a scale, 32, 256 or k.
inline void gemm(const View<const float, 2>& a, const WeightIntegers& w, const View<float, 2>& c,
                 index_t block, float alpha = 1, float beta = 0) {
  constexpr index_t kLongest = 256;  // after which the scale of a longer block is applied
  const index_t k = a.extent(1);
  for (index_t i = 0; i < c.extent(0); ++i) {
    const float* const row = a.data + i * a.strides[0];
    const QuantizedActivations q =
        quantize_activations(row, a.strides[1], k, std::max(block, index_t{1}), alpha);
    for (index_t j = 0; j < c.extent(1); ++j) {
      float sum = beta == 0 ? 0 : beta * c(i, j);
      const index_t step = std::min(block, kLongest), run = std::min(step, w.group);
      for (index_t b = 0; b < k; b += step) {
        float t = 0;
        for (index_t r = b; r < std::min(k, b + step); r += run) {
          std::int32_t products = 0, codes = 0;
          for (index_t l = r; l < std::min(k, r + run); ++l) {
            const int code = q.codes[static_cast<std::size_t>(l)];
            products += code * w.codes(j, l);
            codes += code;
          }
          const index_t g = r / w.group;
          t = std::fma(static_cast<float>(products), w.scales(j, g), t);
          if (w.mins.data != nullptr) t = std::fma(-static_cast<float>(codes), w.mins(j, g), t);
        }
        sum = std::fma(t, q.scales[static_cast<std::size_t>(b / block)], sum);
      }
      c(i, j) = sum;
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_WEIGHTS_H_
