// SPDX-License-Identifier: Apache-2.0
// Names of the functions of one and of two numbers.
#ifndef TESSERA_CORE_ELEMENTWISE_OPS_H_
#define TESSERA_CORE_ELEMENTWISE_OPS_H_

#include <cstdint>

namespace tessera {

enum class UnaryOp : std::uint8_t {
  kRelu,      // max(x, 0), NaN stays
  kSilu,      // x / (1 + e^-x)
  kGelu,      // x / 2 (1 + erf(x / sqrt(2)))
  kGeluTanh,  // its approximation by tanh
  kSigmoid,   // 1 / (1 + e^-x)
  kTanh,
  kErf,
  kHardSwish,  // x min(max(x + 3, 0), 6) / 6
  kExp,
  kLog,
  kSin,
  kCos,
  kSqrt,
  kRsqrt,  // 1 / sqrt(x)
  kAbs,
  kNeg,
  kSquare,
  kReciprocal,  // 1 / x
};
inline constexpr int kUnaryOps = 18;

enum class BinaryOp : std::uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,  // NaN if one of the two is; of zeros with either sign the second
  kMax,
};
inline constexpr int kBinaryOps = 6;

}  // namespace tessera

#endif  // TESSERA_CORE_ELEMENTWISE_OPS_H_
