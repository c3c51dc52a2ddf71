// SPDX-License-Identifier: Apache-2.0
// Scores of attention as a result of their own. attention() itself never has all of them at a time.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_ATTENTION_SCORES_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_ATTENTION_SCORES_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "attention.h"

namespace tessera::ort {

// How far scores have come: scaled products; those after softcap and masks; after softmax.
enum class ScoresStage { kNone, kProducts, kMasked, kWeights };

// What the attribute qk_matmul_output_mode means; none where that is not clear. In ONNX before 1.22 masks came before softcap,
// and modes 1 and 2 were the scores after the first and after the second. Now softcap comes first, as in Tessera. Which of the two a
// host has is known of those before 1.26 only.
inline std::optional<ScoresStage> scores_stage(std::int64_t mode, bool has_softcap, bool has_masks,
                                               int host_version) {
  if (mode == 0) return ScoresStage::kProducts;
  if (mode == 3) return ScoresStage::kWeights;
  if ((mode != 1 && mode != 2) || (has_softcap && has_masks)) return {};
  if (mode == 2 || (!has_softcap && !has_masks)) return ScoresStage::kMasked;
  if (host_version >= 26) return {};
  return has_masks ? ScoresStage::kMasked : ScoresStage::kProducts;
}

// Which keys are seen, and what is added to their scores. Masks may have less keys than there are: those are the ones that count.
struct ScoresMask {
  const Tensor* mask = nullptr;  // may be null
  index_t keys = 0;              // that count
  bool causal = false;           // query i sees the keys [0, past + i]
  index_t past = 0;
  View<const std::int32_t, 1> lengths{};  // of each sequence, or nothing
};

// c(b, h) = q(b, h) k(b, h)^T, [batch, heads, tokens, keys], times `scale`, and bounded by `softcap` if that is not 0.
template <class T, class C>
void multiply_heads(Step& step, const Heads<T>& q, const Heads<T>& k, const View<C, 4>& c,
                    float scale, float softcap) {
  using Matrix = View<const T, 2>;
  Epilogue steps;
  if (softcap != 0) steps = epi::scale(1 / softcap) | epi::tanh() | epi::scale(softcap);
  std::vector<Matrix> keys;
  std::vector<GemmGroup<Matrix, Matrix, View<C, 2>>> groups;
  keys.reserve(static_cast<std::size_t>(c.extent(0) * c.extent(1)));
  for (index_t b = 0; b < c.extent(0); ++b) {
    for (index_t h = 0; h < c.extent(1); ++h) {
      const index_t group = h * k.extent(1) / q.extent(1);
      keys.push_back({&k(b, group, 0, 0), {k.extent(3), k.extent(2)}, {k.stride(3), k.stride(2)}});
      const Matrix queries{&q(b, h, 0, 0), {q.extent(2), q.extent(3)}, {q.stride(2), q.stride(3)}};
      groups.push_back(
          {queries, &keys.back(), row_major(&c(b, h, 0, 0), {c.extent(2), c.extent(3)}), steps});
    }
  }
  gemm_grouped<Matrix, Matrix, View<C, 2>>(groups, {.alpha = scale, .context = &step.context()});
}

inline constexpr float kHiddenScore = -std::numeric_limits<float>::infinity();

// Adds the elements of a mask, or hides where it is false.
template <class M>
void add_mask(Step& step, const View<float, 4>& scores, const View<const M, 4>& mask) {
  if constexpr (!std::is_same_v<M, bool>) {
    elementwise(BinaryOp::kAdd, scores, mask, scores, {.context = &step.context()});
  } else {
    for (index_t b = 0; b < scores.extent(0); ++b) {
      for (index_t h = 0; h < scores.extent(1); ++h) {
        for (index_t i = 0; i < scores.extent(2); ++i) {
          for (index_t j = 0; j < scores.extent(3); ++j) {
            if (!mask(b, h, i, j)) scores(b, h, i, j) = kHiddenScore;
          }
        }
      }
    }
  }
}

// Hides the keys behind those that count, whatever the mask says.
inline void hide_behind(const View<float, 4>& scores, const ScoresMask& m) {
  for (index_t b = 0; b < scores.extent(0); ++b) {
    const index_t count =
        m.lengths.data == nullptr ? m.keys : std::min<index_t>(m.keys, m.lengths(b));
    for (index_t h = 0; h < scores.extent(1); ++h) {
      for (index_t i = 0; i < scores.extent(2); ++i) {
        const index_t seen = m.causal ? std::min(count, m.past + i + 1) : count;
        float* const row = &scores(b, h, i, 0);
        std::fill(row + seen, row + scores.extent(3), kHiddenScore);
      }
    }
  }
}

// The scores of attention with q and k at a stage, in `to`, [batch, heads, tokens, keys].
template <class T>
void write_scores(Step& step, const Heads<T>& q, const Heads<T>& k, const ScoresMask& mask,
                  const AttentionOptions& options, ScoresStage stage, const Tensor& to) {
  const float scale = options.scale != 0
                          ? options.scale
                          : static_cast<float>(1 / std::sqrt(static_cast<double>(q.extent(3))));
  if (stage == ScoresStage::kProducts) {
    return multiply_heads<T>(step, q, k, heads_view<T>(to, 0), scale, 0);
  }
  Tensor scores = to;
  if (to.type != kFloat) scores = {step.scratch_of<float>(count(to.shape)), kFloat, to.shape};
  const auto s = heads_view<float>(scores, 0);
  multiply_heads<T>(step, q, k, s, scale, options.softcap);
  if (mask.mask != nullptr) {
    const auto counted = part(s, 3, 0, mask.keys);
    with_mask(*mask.mask, counted.extents,
              [&]<class M>(const View<const M, 4>& added) { add_mask(step, counted, added); });
  }
  hide_behind(s, mask);
  if (stage == ScoresStage::kWeights) {
    softmax(rows_view<const float>(scores, 3), rows_view<T>(to, 3), {.context = &step.context()});
  } else if (to.type != kFloat) {
    std::transform(scores.as<float>(), scores.as<float>() + count(to.shape), to.as<T>(),
                   [](float x) { return static_cast<T>(x); });
  }
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_ATTENTION_SCORES_H_
