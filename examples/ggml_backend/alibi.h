// SPDX-License-Identifier: Apache-2.0
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_ALIBI_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_ALIBI_H_

#include <cmath>

#include "tessera/core/view.h"

namespace ggml_port {

// With max_bias the mask is multiplied by a slope of the head: Press et al., "Train Short, Test Long", arXiv:2108.12409.
inline float alibi_slope(float max_bias, tessera::index_t head, tessera::index_t heads) {
  if (max_bias <= 0) return 1;
  const auto power = static_cast<tessera::index_t>(1)
                     << static_cast<int>(std::floor(std::log2(static_cast<float>(heads))));
  const float n = static_cast<float>(power);
  return head < power ? std::exp2(-max_bias / n * static_cast<float>(head + 1))
                      : std::exp2(-max_bias / 2 / n * static_cast<float>(2 * (head - power) + 1));
}

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_ALIBI_H_
