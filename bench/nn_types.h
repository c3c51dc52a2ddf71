// SPDX-License-Identifier: Apache-2.0
// The functions of rows that are compared, and the operands of one call.
#ifndef TESSERA_BENCH_NN_TYPES_H_
#define TESSERA_BENCH_NN_TYPES_H_

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tessera/core/view.h"

namespace tessera::bench {

// Norms are without weights.
enum class NnOp { kSoftmax, kRmsNorm, kLayerNorm };
inline constexpr std::array<const char*, 3> kNnOps = {"softmax", "rms_norm", "layer_norm"};

// Throws std::invalid_argument.
inline NnOp parse_nn_op(std::string_view text) {
  for (std::size_t i = 0; i < kNnOps.size(); ++i) {
    if (text == kNnOps[i]) return static_cast<NnOp>(i);
  }
  throw std::invalid_argument("\"" + std::string(text) +
                              "\" is none of softmax, rms_norm, layer_norm");
}

inline constexpr float kNormEpsilon = 1e-5f;

// f32, dense.
struct NnOperands {
  NnOp op;
  index_t rows, cols;
  const float* x;
  float* y;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_NN_TYPES_H_
