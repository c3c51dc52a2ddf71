// SPDX-License-Identifier: Apache-2.0

// Functions of one and of two rows of f32.

#if defined(TESSERA_KERNELS_ELEMENTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_ELEMENTWISE_INL_H_
#undef TESSERA_KERNELS_ELEMENTWISE_INL_H_
#else
#define TESSERA_KERNELS_ELEMENTWISE_INL_H_
#endif

#include <cstddef>

#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"
#include "tessera/kernels/math-inl.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace elementwise {

template <UnaryOp kOp, class D>
TESSERA_INLINE Vec<D> unary_of(D d, Vec<D> x) {
  switch (kOp) {
    case UnaryOp::kRelu:
      return max(zero(d), x);
    case UnaryOp::kSilu:
      return silu(d, x);
    case UnaryOp::kGelu:
      return gelu(d, x);
    case UnaryOp::kGeluTanh:
      return gelu_tanh(d, x);
    case UnaryOp::kSigmoid:
      return sigmoid(d, x);
    case UnaryOp::kTanh:
      return tanh(d, x);
    case UnaryOp::kErf:
      return erf(d, x);
    case UnaryOp::kHardSwish:
      return hard_swish(d, x);
    case UnaryOp::kExp:
      return exp(d, x);
    case UnaryOp::kLog:
      return log(d, x);
    case UnaryOp::kSin:
      return sin(d, x);
    case UnaryOp::kCos:
      return cos(d, x);
    case UnaryOp::kSqrt:
      return sqrt(x);
    case UnaryOp::kRsqrt:
      return rsqrt(d, x);
    case UnaryOp::kAbs:
      return abs(x);
    case UnaryOp::kNeg:
      return neg(x);
    case UnaryOp::kSquare:
      return mul(x, x);
    default:
      return div(set(d, 1.0f), x);
  }
}

template <BinaryOp kOp, class V>
TESSERA_INLINE V binary_of(V a, V b) {
  switch (kOp) {
    case BinaryOp::kAdd:
      return add(a, b);
    case BinaryOp::kSub:
      return sub(a, b);
    case BinaryOp::kMul:
      return mul(a, b);
    case BinaryOp::kDiv:
      return div(a, b);
    case BinaryOp::kMin:
      return select(eq(a, a), min(a, b), a);
    default:
      return select(eq(a, a), max(a, b), a);
  }
}

// The most that leaves room for the function's constants (math-inl.h).
template <UnaryOp kOp>
constexpr int unary_lmul() {
  if (!kHasLmul) return 1;
  switch (kOp) {
    case UnaryOp::kSilu:
    case UnaryOp::kGeluTanh:
    case UnaryOp::kSigmoid:
    case UnaryOp::kExp:
      return 2;
    default:
      return kOp == UnaryOp::kRelu || kOp >= UnaryOp::kSqrt ? 8 : 1;
  }
}

template <UnaryOp kOp>
void unary(const float* x, float* y, index_t n) {
  const Tag<float, unary_lmul<kOp>()> d;
  for_vectors(d, 0, n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
    store_part<kAll>(d, unary_of<kOp>(d, load_part<kAll>(d, x + i, count)), y + i, count);
  });
}

// One pass: the function alone, into a line of L1, and a product after it took 1.1 to 1.3 times as long for silu (Zen 3, 2026-11).
template <UnaryOp kOp>
void gated(const float* gate, const float* up, float* y, index_t n) {
  const Tag<float, unary_lmul<kOp>()> d;
  for_vectors(d, 0, n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
    const auto g = unary_of<kOp>(d, load_part<kAll>(d, gate + i, count));
    store_part<kAll>(d, mul(g, load_part<kAll>(d, up + i, count)), y + i, count);
  });
}

template <BinaryOp kOp>
void binary(const float* a, const float* b, float* y, index_t n) {
  const Tag<float, kHasLmul ? 8 : 1> d;
  for_vectors(d, 0, n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
    const auto va = load_part<kAll>(d, a + i, count);
    const auto vb = load_part<kAll>(d, b + i, count);
    store_part<kAll>(d, binary_of<kOp>(va, vb), y + i, count);
  });
}

template <BinaryOp kOp>
void with_number(const float* a, float b, float* y, index_t n) {
  const Tag<float, kHasLmul ? 8 : 1> d;
  const auto vb = set(d, b);
  for_vectors(d, 0, n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
    store_part<kAll>(d, binary_of<kOp>(load_part<kAll>(d, a + i, count), vb), y + i, count);
  });
}

template <int kOp = 0>
void set_kernels(detail::NnKernels& kernels) {
  kernels.unary[kOp] = &unary<static_cast<UnaryOp>(kOp)>;
  kernels.gates[kOp] = &gated<static_cast<UnaryOp>(kOp)>;
  if constexpr (kOp < kBinaryOps) {
    kernels.binary[kOp] = &binary<static_cast<BinaryOp>(kOp)>;
    kernels.number[kOp] = &with_number<static_cast<BinaryOp>(kOp)>;
  }
  if constexpr (kOp + 1 < kUnaryOps) set_kernels<kOp + 1>(kernels);
}

}  // namespace elementwise

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_ELEMENTWISE_INL_H_
