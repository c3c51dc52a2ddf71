// SPDX-License-Identifier: Apache-2.0
// Activations as the CPU backend rounds them for weights in blocks of 32: to 8 bits, with a scale of 16. Tessera's products keep
// scales of 32 bits, which differ by up to 2^-11 of them.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_ACTIVATIONS_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_ACTIVATIONS_H_

#include <algorithm>
#include <cmath>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace ggml_port {

namespace ts = tessera;

// to[i] = code of x[i] times the scale as an f16, of n <= 32 elements. Rounding that again to 8 bits gives the same codes,
// one of which is 127 or -127, and this scale: 127 times it is exact. What f16 can't hold stays as it is.
inline void round_activations(const float* x, float* to, ts::index_t n) {
  constexpr ts::index_t kLanes = 8;  // of loops that compilers make vectors of
  constexpr float kToInteger = 0x1.8p23f;
  float most[kLanes] = {};
  ts::index_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (ts::index_t l = 0; l < kLanes; ++l) {
      const float magnitude = std::fabs(x[i + l]);
      most[l] = most[l] < magnitude ? magnitude : most[l];
    }
  }
  for (; i < n; ++i) most[0] = std::max(most[0], std::fabs(x[i]));
  const float greatest = *std::max_element(most, most + kLanes);
  const auto scale = static_cast<float>(ts::f16(greatest / 127));
  if (!std::isfinite(scale)) {
    std::copy_n(x, n, to);
    return;
  }
  const float inverse = greatest > 0 ? std::min(127 / greatest, 3.402823466e38f) : 0;
  for (ts::index_t l = 0; l < n; ++l) {
    to[l] = ((x[l] * inverse + kToInteger) - kToInteger) * scale;  // ties to even
  }
}

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_ACTIVATIONS_H_
