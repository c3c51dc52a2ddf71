// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts: which experts a token goes to, its way there and back. The products between are gemm_grouped's.
//
//   route_to_experts(logits, weights, experts, {...});               // [tokens, k]
//   sort_by_expert(experts, offsets, order, places);                 // rows of one expert side by side
//   gather_to_experts(x, order, k, gathered);                        // [tokens * k, columns]
//   gemm_grouped(...);                                               // expert_rows(gathered, offsets, e) by its weights
//   combine_experts(results, weights, places, y);                    // [tokens, columns]
//
// No step depends on the number of threads, and a token's results don't depend on the others.
#ifndef TESSERA_OPS_MOE_H_
#define TESSERA_OPS_MOE_H_

#include <cstdint>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/moe.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct RouteOptions {
  RouterScores scores = RouterScores::kSoftmax;
  FloatView<1>
      selection_bias{};  // [experts]; added to the scores where experts are chosen, not to the weights
  index_t groups = 1, kept_groups = 1;  // experts are chosen from so many of the groups
  GroupScores group_scores = GroupScores::kSumOfTop2;
  bool renormalize = false;  // weights of a token are divided by their sum
  float scale = 1;           // of the weights, after that
  Context* context = nullptr;
};

struct CombineOptions {
  FloatView<2> base{};  // [tokens, columns]; none: 0
  Context* context = nullptr;
};

struct GatherOptions {
  Context* context = nullptr;
};

namespace impl {

struct RouteProblem {
  TensorMemory logits, weights;
  View<std::int32_t, 2> experts;
  RouteOptions options;
};

struct GatherProblem {
  TensorMemory x;
  View<const std::int32_t, 1> order;
  index_t slots;
  TensorMemory y;
  Context* context;
};

struct CombineProblem {
  TensorMemory x, weights;
  View<const std::int32_t, 2> places;
  TensorMemory y;
  CombineOptions options;
};

// Check everything, then do it. Defined in moe_driver.h.
void checked_route(const RouteProblem& problem);
void checked_sort(const View<const std::int32_t, 2>& experts, const View<std::int32_t, 1>& offsets,
                  const View<std::int32_t, 1>& order, const View<std::int32_t, 2>& places);
void checked_gather(const GatherProblem& problem);
void checked_combine(const CombineProblem& problem);

}  // namespace impl

// The k experts of each token, the best first, and their weights.
//
// logits: View<const T, 2>     [tokens, experts], any strides
// weights: View<U, 2>          [tokens, k], strides that visit no element twice
// experts: View<int32_t, 2>    [tokens, k], likewise
// T, U, and that of the bias: f32, bf16, f16 in any mix
//
// Scores are the softmax or the sigmoids of the logits, in f32 (ops/softmax.h, ops/elementwise.h). Where options.groups are
// more than one, neighbours in groups of experts / groups, only experts of the kept_groups best count (DeepSeek-V2: kMax;
// DeepSeek-V3: kSumOfTop2 with sigmoids, a selection bias, renormalize and a scale); those of the others count as -infinity. Of
// scores + bias the k largest are chosen; of equal ones, also of groups, the first; NaN is larger than all numbers. The weights
// are the scores without bias, divided by their sum in the order of the slots if options.renormalize (unless that is 0), times
// scale. Softmax of the chosen logits alone, as in Mixtral and gpt-oss, is softmax with renormalize.
//
// The same bits on every target with FMA. Tokens are shared out to the context's executor. Scratch per task: at most 16 bytes
// per expert, 8 per slot; per call 4 per expert.
//
// Errors (tessera::Error, before anything is written): extents that don't match or are negative, null data, sizes that
// overflow, groups that don't divide the experts, kept_groups that are not from 1 to groups, k above the experts of the kept
// groups, a scale that is not finite, results that overlap themselves or another operand.
template <class X, class Weights, class Experts>
void route_to_experts(const X& logits, const Weights& weights, const Experts& experts,
                      const RouteOptions& options = {}) {
  impl::checked_route({FloatView<2>(logits).memory(), MutableFloatView<2>(weights).memory(),
                       impl::as_view(experts), options});
}

// The pairs of a token and an expert in the order of the experts, those of one expert in the order of the tokens.
//
// experts: View<const int32_t, 2>  [tokens, k]
// offsets: View<int32_t, 1>        [number of experts + 1]: those of expert e are at places offsets[e] to offsets[e + 1] - 1
// order: View<int32_t, 1>          [tokens * k]: the pair at each place, token * k + slot
// places: View<int32_t, 2>         [tokens, k]: the other way round
//
// Time and memory are linear; no threads, no scratch. Errors (tessera::Error, before anything is written): an expert that is
// not from 0 to their number less 1, extents that don't match, 2^31 pairs or more, null data, sizes that overflow, results that
// overlap themselves or another operand.
template <class Experts, class Offsets, class PairOrder, class Places>
void sort_by_expert(const Experts& experts, const Offsets& offsets, const PairOrder& order,
                    const Places& places) {
  impl::checked_sort(impl::as_view(experts), impl::as_view(offsets), impl::as_view(order),
                     impl::as_view(places));
}

// y[p] = x[order[p] / k]: the tokens of each expert side by side.
//
// x: View<const T, 2>          [tokens, columns], any strides
// order: View<const int32_t, 1>  [tokens * k], of sort_by_expert
// y: View<U, 2>                [tokens * k, columns], strides that visit no element twice
// T, U: f32, bf16, f16 in any mix
//
// Numerics: elements of another type are rounded to it. Rows are shared out to the context's executor; scratch: 4 * columns
// bytes per task where types differ or strides are not 1. Errors as above.
template <class X, class PairOrder, class Y>
void gather_to_experts(const X& x, const PairOrder& order, index_t k, const Y& y,
                       const GatherOptions& options = {}) {
  impl::checked_gather({FloatView<2>(x).memory(), impl::as_view(order), k,
                        MutableFloatView<2>(y).memory(), options.context});
}

// y[t] = base[t] + weights[t, 0] * x[places[t, 0]] + weights[t, 1] * x[places[t, 1]] + ...
//
// x: View<const T, 2>             [tokens * k, columns], the results of the experts, any strides
// weights: View<const W, 2>       [tokens, k]
// places: View<const int32_t, 2>  [tokens, k], of sort_by_expert
// y: View<U, 2>                   [tokens, columns], strides that visit no element twice; may be base itself
// options.base: such as the result of shared experts, or the residual
// T, U, W and that of base: f32, bf16, f16 in any mix
//
// Numerics: in f32, one chain of fused multiply-adds in the order of the slots, from base or 0, rounded to U. The same bits on
// every target with FMA, for any number of threads and wherever the experts put their rows. Tokens are shared out to the
// context's executor; no scratch. Errors as above, and y that overlaps base without being the same.
template <class X, class Weights, class Places, class Y>
void combine_experts(const X& x, const Weights& weights, const Places& places, const Y& y,
                     const CombineOptions& options = {}) {
  impl::checked_combine({FloatView<2>(x).memory(), FloatView<2>(weights).memory(),
                         impl::as_view(places), MutableFloatView<2>(y).memory(), options});
}

// The rows of expert e: places offsets[e] to offsets[e + 1] - 1 of a matrix in the order of experts.
template <class T, class Offsets>
View<T, 2> expert_rows(const View<T, 2>& rows, const Offsets& offsets, index_t e) {
  const auto v = impl::as_view(offsets);
  return slice(rows, {index_t{v(e)}, index_t{0}}, {index_t{v(e + 1) - v(e)}, rows.extent(1)});
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/moe_driver.h"
#endif

#endif  // TESSERA_OPS_MOE_H_
