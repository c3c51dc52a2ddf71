// SPDX-License-Identifier: Apache-2.0
// attention: scaled dot-product attention, softmax(q k^T) v, of prompts and of single tokens.
#ifndef TESSERA_OPS_ATTENTION_H_
#define TESSERA_OPS_ATTENTION_H_

#include <cstdint>

#include "tessera/config.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/attention_problem.h"

namespace tessera::inline TESSERA_ABI {

namespace impl {

// Checks everything, then does it. Defined in attention_driver.h.
void checked_attention(const AttentionProblem& problem);

}  // namespace impl

// out[b, h, i] = the mean of the values v[b, g, j] over the keys j that query i sees, with weights softmax(score), where
// score(i, j) = scale * (q[b, h, i] . k[b, g, j]), then softcap, ALiBi and mask in this order, and g = h * kv_heads / heads:
// fewer heads of keys than of queries are grouped-query or multi-query attention.
//
// q: View<const T, 4>    [batch, heads, tokens, dim]
// k: View<const KV, 4>   [batch, kv_heads, kv_tokens, dim], or ConstBlockCacheView of any block format
// v: View<const KV2, 4>  [batch, kv_heads, kv_tokens, value_dim], likewise
// out: View<Out, 4>      [batch, heads, tokens, value_dim], strides that visit no element twice
// T, KV, KV2, Out: f32, bf16 or f16 in any mix; KV, KV2 also fp8_e4m3, fp8_e5m2 or s8, with options.k_scales and v_scales.
// Any strides; rows with a stride of 1 are faster. core/attention_layout.h has views of the usual layouts.
//
// Multi-head latent attention (MLA, DeepSeek-V2, arXiv:2405.04434): absorbed, k is the latent cache [batch, 1, kv_tokens,
// 576], v the first 512 elements of the same rows, and the scale that of the dim before absorption; unabsorbed, k and v are
// as many heads as q has, of dims 192 and 128.
//
// Numerics: scores are chains of fused multiply-adds in f32 over dim, in order, times scale * log2(e). Weights are 2^(score -
// m) with an integer m, so that sums are rescaled without rounding. Keys are summed in order in blocks of
// kAttentionBlock, counted from key 0: weights in 32 columns, j mod 32, which are added as a tree of halves, weighted values
// as chains of fused multiply-adds that go on from block to block; chunks of kAttentionChunk keys start from 0 and
// are added in order. ref/attention.h is this, as loops. So results have the same bits on every target with FMA, with
// any vector length and number of threads, and whether the queries of a sequence come in one call, in several, or one by one
// (causal, each with the keys so far). The error is about that of a plain loop in f32, or less.
//
// Scales of keys and values are factors of the scores and of the results: scale * k_scale in f64, and 1 / (the sum of the
// weights) * v_scale in f32 before the values are multiplied by it.
//
// A key of weight 0, left out or too far below the largest score (2^-127), adds nothing, also if its value is an infinity or
// NaN; keys that are left out by masks may be anything. A NaN among the scores that are seen makes the result of the query
// NaN, as does a score of +infinity. A query that sees no key gives zeros, and -infinity in log_sums.
//
// Heads, queries, and where those are few chunks of keys, are shared out to the context's executor.
//
// Errors (tessera::Error, before anything is written): extents that do not match, heads that kv_heads does not divide, a
// scale, softcap or window that is negative or no number, scales of keys or values that are not positive and finite, kv_lengths
// beyond kv_tokens, null data, negative extents, sizes that overflow, out or log_sums that overlap themselves, each other
// or an operand.
template <class Q, class K, class V, class Out>
void attention(const Q& q, const K& k, const V& v, const Out& out,
               const AttentionOptions& options = {}) {
  impl::checked_attention({.function = "attention",
                           .q = impl::attention_memory<4>(q),
                           .out = impl::attention_memory<4>(out),
                           .k = impl::key_tensor<4>(k),
                           .v = impl::key_tensor<4>(v),
                           .options = options});
}

// The same for sequences of any lengths, one after the other without padding: sequence s has the tokens
// [q_starts[s], q_starts[s + 1]) of q and out, and the keys [kv_starts[s], kv_starts[s + 1]).
//
// q: View<const T, 3>     [tokens of all, heads, dim]
// k: View<const KV, 3>    [keys of all, kv_heads, dim], v likewise
// q_starts, kv_starts: View<const int32_t, 1>  [sequences + 1], from 0 on, never falling, to the number of tokens or less
// out: View<Out, 3>       [tokens of all, heads, value_dim]; what belongs to no sequence is not written
// options: no mask and no kv_lengths; log_sums are [1, heads, tokens of all].
//
// Numerics as attention() of each sequence. Errors likewise, and starts that fall or are out of range.
template <class Q, class K, class V, class Out>
void attention_varlen(const Q& q, const K& k, const V& v, View<const std::int32_t, 1> q_starts,
                      View<const std::int32_t, 1> kv_starts, const Out& out,
                      const AttentionOptions& options = {}) {
  impl::checked_attention({.function = "attention_varlen",
                           .q = impl::attention_memory<3>(q),
                           .out = impl::attention_memory<3>(out),
                           .k = impl::key_tensor<3>(k),
                           .v = impl::key_tensor<3>(v),
                           .options = options,
                           .q_starts = q_starts,
                           .kv_starts = kv_starts});
}

// The same with keys and values in pages of a cache: token t of sequence s is token t % page_tokens of page
// block_table(s, t / page_tokens). After Kwon et al., "Efficient Memory Management for Large Language Model Serving with
// PagedAttention", arXiv:2309.06180.
//
// q: View<const T, 4>    [batch, heads, tokens, dim]
// k: View<const KV, 4>   [pages, kv_heads, page_tokens, dim], v likewise; or ConstBlockCacheView
// block_table: View<const int32_t, 2>  [batch, pages of a sequence]; entries behind kv_lengths may be anything
// out: View<Out, 4>      [batch, heads, tokens, value_dim]
// options.kv_lengths: needed.
//
// Numerics as attention() of the keys of each sequence, wherever they lie. Errors likewise, and pages that there are not.
template <class Q, class K, class V, class Out>
void attention_paged(const Q& q, const K& k, const V& v, View<const std::int32_t, 2> block_table,
                     const Out& out, const AttentionOptions& options) {
  impl::checked_attention({.function = "attention_paged",
                           .q = impl::attention_memory<4>(q),
                           .out = impl::attention_memory<4>(out),
                           .k = impl::key_tensor<4>(k),
                           .v = impl::key_tensor<4>(v),
                           .options = options,
                           .paged = true,
                           .block_table = block_table});
}

// Both: tokens of sequences one after the other, as attention_varlen has them, keys in pages. Prompts and single tokens in
// one call, as servers batch them.
template <class Q, class K, class V, class Out>
void attention_varlen_paged(const Q& q, const K& k, const V& v,
                            View<const std::int32_t, 1> q_starts,
                            View<const std::int32_t, 2> block_table, const Out& out,
                            const AttentionOptions& options) {
  impl::checked_attention({.function = "attention_varlen_paged",
                           .q = impl::attention_memory<3>(q),
                           .out = impl::attention_memory<3>(out),
                           .k = impl::key_tensor<4>(k),
                           .v = impl::key_tensor<4>(v),
                           .options = options,
                           .q_starts = q_starts,
                           .paged = true,
                           .block_table = block_table});
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/attention_driver.h"
#endif

#endif  // TESSERA_OPS_ATTENTION_H_
