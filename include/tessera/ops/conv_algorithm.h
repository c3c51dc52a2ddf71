// SPDX-License-Identifier: Apache-2.0
// The algorithms of convolutions, by name.
#ifndef TESSERA_OPS_CONV_ALGORITHM_H_
#define TESSERA_OPS_CONV_ALGORITHM_H_

#include <optional>
#include <string_view>

namespace tessera {

// How a convolution is computed. All give the same bits, except for Winograd's, which are used for
// Numerics::kFast only.
enum class ConvAlgorithm {
  kAuto,  // chosen by the shape and the target
  // Register tiles of GEMM that read their rows where they lie in x, or in a padded strip of it.
  kImplicitGemm,
  kDepthwise,  // vectors of channels; for groups of one channel of x
  // F(2x2, 3x3) and larger, for 3x3 filters of floats with stride and dilation 1 and one group. The last is never
  // chosen but asked for: its errors are the largest.
  kWinograd2,
  kWinograd4,
  kWinograd6,
};

constexpr std::string_view name(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::kImplicitGemm:
      return "implicit_gemm";
    case ConvAlgorithm::kDepthwise:
      return "depthwise";
    case ConvAlgorithm::kWinograd2:
      return "winograd2";
    case ConvAlgorithm::kWinograd4:
      return "winograd4";
    case ConvAlgorithm::kWinograd6:
      return "winograd6";
    case ConvAlgorithm::kAuto:
      break;
  }
  return "auto";
}

// The algorithm of that name, if there is one.
constexpr std::optional<ConvAlgorithm> parse_conv_algorithm(std::string_view text) {
  for (int i = 0; i <= static_cast<int>(ConvAlgorithm::kWinograd6); ++i) {
    const auto a = static_cast<ConvAlgorithm>(i);
    if (text == name(a)) return a;
  }
  return std::nullopt;
}

}  // namespace tessera

#endif  // TESSERA_OPS_CONV_ALGORITHM_H_
