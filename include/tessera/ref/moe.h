// SPDX-License-Identifier: Apache-2.0
// The specification of the routing of a mixture of experts, as loops.
#ifndef TESSERA_REF_MOE_H_
#define TESSERA_REF_MOE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "tessera/core/moe.h"
#include "tessera/core/view.h"
#include "tessera/ref/math.h"
#include "tessera/ref/softmax.h"
#include "tessera/ref/top_k.h"

namespace tessera::ref {

struct Router {
  RouterScores scores = RouterScores::kSoftmax;
  std::span<const float> selection_bias{};  // one per expert, or none
  index_t groups = 1, kept_groups = 1;
  GroupScores group_scores = GroupScores::kSumOfTop2;
  bool renormalize = false;
  float scale = 1;
};

// The experts of a token, one in each slot, and their weights before they are rounded. Exactly as tessera::route_to_experts.
template <bool kFused = true>
void route_token(std::span<const float> logits, const Router& router,
                 std::span<std::int32_t> experts, std::span<float> weights) {
  const auto count = static_cast<index_t>(logits.size());
  std::vector<float> scores(logits.size());
  if (router.scores == RouterScores::kSoftmax) {
    softmax_row<false, kFused>(View<const float, 1>(logits.data(), {count}, {1}),
                               View<float, 1>(scores.data(), {count}, {1}), 1, count);
  } else {
    for (std::size_t e = 0; e < scores.size(); ++e) scores[e] = sigmoid<kFused>(logits[e]);
  }
  std::vector<float> selection = scores;
  for (std::size_t e = 0; e < router.selection_bias.size(); ++e) {
    selection[e] += router.selection_bias[e];
  }
  const auto first_of = [](const float* x, index_t n, index_t k) {
    return top_k_row(View<const float, 1>(x, {n}, {1}), k);
  };
  if (router.kept_groups < router.groups) {
    const index_t each = count / router.groups;
    std::vector<float> group_scores;
    for (index_t g = 0; g < router.groups; ++g) {
      const float* const group = selection.data() + g * each;
      const bool two = router.group_scores == GroupScores::kSumOfTop2 && each > 1;
      const auto top = first_of(group, each, two ? 2 : 1);
      group_scores.push_back(two ? group[top[0]] + group[top[1]] : group[top[0]]);
    }
    const auto order = first_of(group_scores.data(), router.groups, router.groups);
    for (index_t i = router.kept_groups; i < router.groups; ++i) {
      for (index_t e = 0; e < each; ++e) {
        const index_t expert = order[static_cast<std::size_t>(i)] * each + e;
        selection[static_cast<std::size_t>(expert)] = -std::numeric_limits<float>::infinity();
      }
    }
  }
  const auto chosen = first_of(selection.data(), count, static_cast<index_t>(experts.size()));
  float sum = 0;
  for (std::size_t s = 0; s < experts.size(); ++s) {
    experts[s] = chosen[s];
    weights[s] = scores[static_cast<std::size_t>(chosen[s])];
    sum += weights[s];
  }
  for (float& weight : weights) {
    if (router.renormalize && sum != 0) weight = weight / sum;
    weight = product(weight, router.scale);
  }
}

// One element of a result of tessera::combine_experts: base plus the weighted elements, in the order of the slots.
template <bool kFused = true>
float combine(float base, std::span<const float> weights, std::span<const float> elements) {
  float sum = base;
  for (std::size_t s = 0; s < weights.size(); ++s) {
    sum = mul_add<kFused>(weights[s], elements[s], sum);
  }
  return sum;
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_MOE_H_
