// SPDX-License-Identifier: Apache-2.0
// gated_delta_rule: linear attention with a state that forgets and is corrected, of prompts and of single tokens.
#ifndef TESSERA_OPS_GATED_DELTA_RULE_H_
#define TESSERA_OPS_GATED_DELTA_RULE_H_

#include <cstdint>
#include <optional>
#include <span>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct GatedDeltaRuleOptions {
  std::optional<float> scale{};             // of queries; none: 1 / sqrt(key size)
  bool normalize = false;                   // queries and keys to length 1 first
  float epsilon = 1e-6f;                    // added to the sum of squares with normalize
  std::span<const std::int32_t> lengths{};  // [batch]: tokens of each sequence; none: all
  Context* context = nullptr;
};

namespace impl {

struct GatedDeltaRuleProblem {
  TensorMemory q, k, v, gate, beta, state, y;
  GatedDeltaRuleOptions options;
};

// Checks everything, then does it. Defined in gated_delta_rule_driver.h.
void checked_gated_delta_rule(const GatedDeltaRuleProblem& problem);

}  // namespace impl

// For each sequence, head and token in turn, of the head's state S [key size, value size]:
//   S *= e^gate;  u = beta (v - S^T k);  S += k u^T;  y = S^T q scale
// as in Yang, Kautz, Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule", 2024. S stays in memory from
// one call to the next: a prompt in one call, in chunks or token by token gives the same bits.
//
// q, k: View<const T, 4>         [batch, tokens, key heads, key size]
// v: View<const T, 4>            [batch, tokens, heads, value size]; heads is a multiple of key heads: head h uses query and
//                                key h / (heads / key heads)
// gate, beta: View<const T, 3>   [batch, tokens, heads]; gate is the logarithm of the decay
// state: View<float, 4>          [batch, heads, key size, value size], strides that visit no element twice; read, updated
// y: View<U, 4>                  like v, strides that visit no element twice; may be v itself
// T, U: f32, bf16, f16, in any mix; any strides, fast where those of key and value size are 1
// options.lengths: of sequence b only the first lengths[b] tokens are read and written
//
// Numerics: in f32. With options.normalize q and k times 1 / sqrt(sum of squares + epsilon), the sum of fused x * x + sum
// in 32 virtual lanes (ref/lane_sums.h); then q * scale. S^T k and S^T q are chains of fused multiply-adds from 0 in order
// of the rows of S, S + k u^T is fused, v - S^T k and all other products are rounded; e^gate as in kernels/math-inl.h. y is
// rounded to U once. The same bits on every target with FMA, for any number of threads. NaN and infinities as IEEE 754
// says; they stay in the state.
//
// Sequences, heads and blocks of columns of S are shared out to the context's executor. S is read and written once per
// token, in blocks that stay in the L1 cache for all tokens. Scratch per task: about 32 KB + 16 rows of q, k, v and y in
// f32. Empty tensors do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match, heads that are no multiple of the key
// heads, lengths outside 0 to tokens, a scale that isn't finite, an epsilon that is negative or not finite, negative
// extents, null data, sizes that overflow; a state or y that overlaps itself, each other, an operand, or v without being
// the same.
template <class Q, class K, class V, class G, class B, class Y>
void gated_delta_rule(const Q& q, const K& k, const V& v, const G& gate, const B& beta,
                      const View<float, 4>& state, const Y& y,
                      const GatedDeltaRuleOptions& options = {}) {
  impl::checked_gated_delta_rule({FloatView<4>(q).memory(), FloatView<4>(k).memory(),
                                  FloatView<4>(v).memory(), FloatView<3>(gate).memory(),
                                  FloatView<3>(beta).memory(), impl::tensor_memory(state),
                                  MutableFloatView<4>(y).memory(), options});
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/gated_delta_rule_driver.h"
#endif

#endif  // TESSERA_OPS_GATED_DELTA_RULE_H_
