// SPDX-License-Identifier: Apache-2.0
// The specification of functions of one and of two numbers, in f32.
#ifndef TESSERA_REF_ELEMENTWISE_H_
#define TESSERA_REF_ELEMENTWISE_H_

#include <cmath>

#include "tessera/core/elementwise_ops.h"
#include "tessera/ref/math.h"

namespace tessera::ref {

// kFused: on targets with fused multiply-add.
template <bool kFused = true>
float unary(UnaryOp op, float x) {
  switch (op) {
    case UnaryOp::kRelu:
      return 0 > x ? 0 : x;
    case UnaryOp::kSilu:
      return silu<kFused>(x);
    case UnaryOp::kGelu:
      return gelu<kFused>(x);
    case UnaryOp::kGeluTanh:
      return gelu_tanh<kFused>(x);
    case UnaryOp::kSigmoid:
      return sigmoid<kFused>(x);
    case UnaryOp::kTanh:
      return ref::tanh<kFused>(x);
    case UnaryOp::kErf:
      return ref::erf<kFused>(x);
    case UnaryOp::kHardSwish:
      return hard_swish(x);
    case UnaryOp::kExp:
      return ref::exp<kFused>(x);
    case UnaryOp::kLog:
      return ref::log<kFused>(x);
    case UnaryOp::kSin:
      return ref::sin<kFused>(x);
    case UnaryOp::kCos:
      return ref::cos<kFused>(x);
    case UnaryOp::kSqrt:
      return std::sqrt(x);
    case UnaryOp::kRsqrt:
      return rsqrt(x);
    case UnaryOp::kAbs:
      return std::fabs(x);
    case UnaryOp::kNeg:
      return -x;
    case UnaryOp::kSquare:
      return product(x, x);
    default:
      return 1 / x;
  }
}

inline float binary(BinaryOp op, float a, float b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return product(a, b);
    case BinaryOp::kDiv:
      return a / b;
    case BinaryOp::kMin:
      return a != a || a < b ? a : b;
    default:
      return a != a || a > b ? a : b;
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_ELEMENTWISE_H_
