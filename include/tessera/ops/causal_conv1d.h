// SPDX-License-Identifier: Apache-2.0
// causal_conv1d: the short depthwise convolution over time in front of state-space and linear-attention layers.
#ifndef TESSERA_OPS_CAUSAL_CONV1D_H_
#define TESSERA_OPS_CAUSAL_CONV1D_H_

#include <cstdint>
#include <span>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct CausalConv1dOptions {
  FloatView<1> bias{};  // [channels]; none: 0
  bool silu = false;    // of the results
  MutableFloatView<3>
      state{};  // [batch, width - 1, channels]: the inputs before the first; none: 0
  std::span<const std::int32_t> lengths{};  // [batch]: tokens of each sequence; none: all
  Context* context = nullptr;
};

namespace impl {

struct CausalConv1dProblem {
  TensorMemory x, weights, y;
  CausalConv1dOptions options;
};

// Checks everything, then does it. Defined in causal_conv1d_driver.h.
void checked_causal_conv1d(const CausalConv1dProblem& problem);

}  // namespace impl

// y[b, t, c] = bias[c] + the sum over k < width of weights[c, k] * x[b, t - (width - 1) + k, c], as in Mamba (Gu and Dao,
// 2023) and Gated DeltaNet (Yang et al., 2024). Inputs before the first token are those of options.state, which gets the
// last width - 1 inputs: a prompt in one call, in chunks or token by token gives the same bits.
//
// x: View<const T, 3>        [batch, tokens, channels], any strides; fast where those of channels are 1
// weights: View<const U, 2>  [channels, width], 2 <= width <= 8, any strides; of [width, channels] the transposed view
// y: View<V, 3>              like x, strides that visit no element twice
// options.state: elements of T, strides that visit no element twice; row width - 2 is the newest input
// options.lengths: of sequence b only the first lengths[b] tokens are read, written, and put into the state
// T, U, V and that of the bias: f32, bf16, f16, in any mix
//
// Numerics: one chain of fused multiply-adds in f32 from the bias on, in order of k; then x / (1 + e^-x) of it with
// options.silu (kernels/math-inl.h), rounded to V once. The same bits on every target with FMA. NaN and infinities as IEEE
// 754 says.
//
// Blocks of channels and tokens are shared out to the context's executor. Scratch: less than 400 KB per task. Empty tensors do
// nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match, a width outside 2 to 8, a state of other
// elements than x, lengths outside 0 to tokens, negative extents, null data, sizes that overflow, y or a state that
// overlaps itself, each other or an operand.
template <class X, class W, class Y>
void causal_conv1d(const X& x, const W& weights, const Y& y,
                   const CausalConv1dOptions& options = {}) {
  impl::checked_causal_conv1d({FloatView<3>(x).memory(), FloatView<2>(weights).memory(),
                               MutableFloatView<3>(y).memory(), options});
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/causal_conv1d_driver.h"
#endif

#endif  // TESSERA_OPS_CAUSAL_CONV1D_H_
