// SPDX-License-Identifier: Apache-2.0
// Attention of ONNX and MultiHeadAttention of com.microsoft.
#include "attention.h"
#include "attention_scores.h"

#include <optional>

namespace tessera::ort {
namespace {

class Attention : public Kernel {
 public:
  bool read(const NodeView& node) {
    heads_ = static_cast<index_t>(node.integer("q_num_heads", 0));
    kv_heads_ = static_cast<index_t>(node.integer("kv_num_heads", 0));
    causal_ = node.integer("is_causal", 0) != 0;
    scale_ = node.get<float>("scale", 0);
    softcap_ = node.get<float>("softcap", 0);
    masks_may_be_short_ = node.version() >= 24;
    for (std::size_t i = 0; i < 3; ++i) {
      if (!node.is_real(i) || !node.is_like_first(i)) return false;
      if (node.rank(i) != 4 && (node.rank(i) != 3 || heads_ < 1 || kv_heads_ < 1)) return false;
    }
    if (node.has_input(3) && !node.is_real(3) && node.type(3) != kBool) return false;
    if (node.has_input(4) != node.has_input(5)) return false;
    if (!node.is_like_first(4) || !node.is_like_first(5)) return false;
    // Where the first query stands in front of padding is not said.
    if (node.has_input(6) && (causal_ || node.type(6) != kInt64)) return false;
    if (node.output(3) == nullptr) return true;
    const bool has_masks = causal_ || node.has_input(3) || node.has_input(6);
    const auto stage = scores_stage(node.integer("qk_matmul_output_mode", 0), softcap_ != 0,
                                    has_masks, node.graph().settings.host_version);
    stage_ = stage.value_or(ScoresStage::kNone);
    return stage.has_value();
  }

  void run(Step& step) const override {
    with_real(step.input(0)->type, [&]<class T>(T) { run_as<T>(step); });
  }

 private:
  template <class T>
  void run_as(Step& step) const {
    const Tensor &q = *step.dense_input(0), &k = *step.dense_input(1), &v = *step.dense_input(2);
    check_heads("Q", q, heads_);
    check_heads("K", k, kv_heads_);
    check_heads("V", v, kv_heads_);
    const Tensor *const past = step.dense_input(4), *const mask = step.dense_input(3);
    const Heads<T> vq = heads_view<const T>(q, heads_);
    const Heads<T> all_keys = with_past<T>(step, heads_view<const T>(k, kv_heads_), past, 1);
    Heads<T> vk = all_keys;
    Heads<T> vv = with_past<T>(step, heads_view<const T>(v, kv_heads_), step.dense_input(5), 2);
    if (masks_may_be_short_ && mask != nullptr) {  // keys that it does not have are not seen
      const auto seen = static_cast<index_t>(mask->shape.back());
      if (seen > 1 && seen < vk.extent(2)) {
        vk = part(vk, 2, 0, seen);
        vv = part(vv, 2, 0, seen);
      }
    }
    AttentionOptions options{
        .scale = scale_, .causal = causal_, .softcap = softcap_, .context = &step.context()};
    if (const Tensor* const lengths = step.dense_input(6)) {
      options.kv_lengths = lengths_view(step, *lengths, vk.extent(2));
    }
    Shape shape = q.shape;
    shape.back() = q.rank() == 4 ? vv.extent(3) : vv.extent(3) * heads_;
    const index_t before = past == nullptr ? 0 : static_cast<index_t>(past->shape.at(2));
    attend<T>(vq, vk, vv, heads_view<T>(*step.output(0, shape), heads_), mask, before, options);
    if (stage_ == ScoresStage::kNone) return;
    const ScoresMask seen{mask, vk.extent(2), causal_, before, options.kv_lengths};
    const Tensor& scores =
        *step.output(3, {vq.extent(0), vq.extent(1), vq.extent(2), all_keys.extent(2)});
    write_scores<T>(step, vq, all_keys, seen, options, stage_, scores);
  }

  static View<const std::int32_t, 1> lengths_view(Step& step, const Tensor& lengths, index_t most) {
    const index_t batch = static_cast<index_t>(count(lengths.shape));
    std::int32_t* const values = step.scratch_of<std::int32_t>(batch);
    for (index_t b = 0; b < batch; ++b) {
      values[b] = static_cast<std::int32_t>(
          std::min<std::int64_t>(lengths.as<const std::int64_t>()[b], most));
    }
    return row_major<const std::int32_t>(values, {batch});
  }

  index_t heads_ = 0, kv_heads_ = 0;
  bool causal_ = false, masks_may_be_short_ = false;
  float scale_ = 0, softcap_ = 0;
  ScoresStage stage_ = ScoresStage::kNone;  // of the fourth result
};

// Of [batch, tokens, hidden], as the fused models of the host have it. Keys and values of other tokens may also come as [batch,
// heads, tokens, dim].
class MultiHeadAttention : public Kernel {
 public:
  bool read(const NodeView& node) {
    heads_ = static_cast<index_t>(node.integer("num_heads", 0));
    scale_ = node.get<float>("scale", 0);
    causal_ = node.integer("unidirectional", 0) != 0;
    hidden_score_ = node.get<float>("mask_filter_value", -10000.0f);
    for (std::size_t i = 0; i <= kPastValues; ++i) {
      if (!node.is_real(0) || (i != kPadding && !node.is_like_first(i))) return false;
    }
    const int rank = node.rank(1);
    if (node.rank(0) != 3 || (rank != 3 && rank != 4) || node.rank(2) != rank) return false;
    if (rank == 4 && (node.has_input(kBias) || node.has_input(kPastKeys))) return false;
    if (node.has_input(kPastKeys) != node.has_input(kPastValues)) return false;
    if (node.has_input(kPadding) && !reads_padding(node)) return false;
    for (const std::size_t i : {8, 9}) {
      if (node.has_input(i)) return false;
    }
    return heads_ > 0 && node.output(3) == nullptr;
  }

  void run(Step& step) const override {
    with_real(step.input(0)->type, [&]<class T>(T) { run_as<T>(step); });
  }

 private:
  static constexpr std::size_t kBias = 3, kPadding = 4, kScoresBias = 5, kPastKeys = 6,
                               kPastValues = 7;

  // Lengths of keys, one per sequence, or which keys count. One axis may also be something else, by its extent.
  static bool reads_padding(const NodeView& node) {
    const int rank = node.rank(kPadding);
    if (node.type(kPadding) != kInt32) return false;
    if (rank != 1) return rank == 2 || rank == 3;
    const std::int64_t batch = node.input(0)->tensor.shape[0];
    return batch >= 0 && node.input(kPadding)->tensor.shape[0] == batch;
  }

  template <class T>
  void run_as(Step& step) const {
    const Tensor* const bias = step.dense_input(kBias);
    index_t offset = 0;
    const auto biased = [&](std::size_t i) {
      const Tensor& x = *step.dense_input(i);
      check_heads("query, key, value", x, heads_);
      if (bias == nullptr) return heads_view<const T>(x, heads_);
      const index_t cols = static_cast<index_t>(x.shape[2]);
      if (offset + cols > count(bias->shape)) throw std::invalid_argument("bias: too short");
      const Tensor sum{step.scratch_of<T>(count(x.shape)), x.type, x.shape};
      elementwise(BinaryOp::kAdd, rows_view<const T>(x, 2),
                  View<const T, 1>(bias->as<const T>() + offset, {cols}, {1}), rows_view<T>(sum, 2),
                  {.context = &step.context()});
      offset += cols;
      return heads_view<const T>(sum, heads_);
    };
    const Heads<T> q = biased(0), new_k = biased(1), new_v = biased(2);
    const Tensor* const past = step.dense_input(kPastKeys);
    const Heads<T> k = with_past<T>(step, new_k, past, 1);
    const Heads<T> v = with_past<T>(step, new_v, step.dense_input(kPastValues), 2);
    const auto mask = scores_mask<T>(step, {q.extent(0), q.extent(1), q.extent(2), k.extent(2)});
    const Tensor& y = *step.output(0, {q.extent(0), q.extent(2), v.extent(3) * heads_});
    attend<T>(q, k, v, heads_view<T>(y, heads_), mask ? &*mask : nullptr,
              past == nullptr ? 0 : static_cast<index_t>(past->shape.at(2)),
              {.scale = scale_, .causal = causal_, .context = &step.context()});
  }

  // What is added to the scores: a bias, padding, or both.
  template <class T>
  std::optional<Tensor> scores_mask(Step& step, const std::array<index_t, 4>& extents) const {
    const Tensor *const bias = step.dense_input(kScoresBias), *const padding =
                                                                  step.dense_input(kPadding);
    if (padding == nullptr) return bias == nullptr ? std::nullopt : std::optional(*bias);
    const Tensor hidden = padding_mask(step, *padding, extents);
    if (bias == nullptr) return hidden;
    const Shape shape(extents.begin(), extents.end());
    const Tensor sum{step.scratch_of<float>(count(shape)), kFloat, shape};
    elementwise(BinaryOp::kAdd, scores_view<T>(*bias, extents), scores_view<float>(hidden, extents),
                heads_view<float>(sum, 0), {.context = &step.context()});
    return sum;
  }

  // 0 where keys count, [batch, 1, 1 or tokens, keys].
  Tensor padding_mask(Step& step, const Tensor& padding,
                      const std::array<index_t, 4>& extents) const {
    const std::int64_t batch = extents[0], keys = extents[3];
    const std::int64_t tokens = padding.rank() == 3 ? extents[2] : 1;
    const bool is_lengths = padding.rank() == 1;
    if (count(padding.shape) != (is_lengths ? batch : batch * tokens * keys)) {
      throw std::invalid_argument("key_padding_mask: expected one length per sequence or " +
                                  to_string({batch, keys}) + ", got " + to_string(padding.shape));
    }
    float* const scores = step.scratch_of<float>(batch * tokens * keys);
    const std::int32_t* const values = padding.as<const std::int32_t>();
    for (std::int64_t i = 0; i < batch * tokens * keys; ++i) {
      const bool counts = is_lengths ? i % keys < values[i / keys] : values[i] != 0;
      scores[i] = counts ? 0 : hidden_score_;
    }
    return {scores, kFloat, {batch, 1, tokens, keys}};
  }

  index_t heads_ = 0;
  bool causal_ = false;
  float scale_ = 0, hidden_score_ = 0;
};

}  // namespace

void add_attention(std::vector<Operator>& operators) {
  operators.push_back({kOnnx, "Attention", make_if_read<Attention>});
  operators.push_back({kMicrosoft, "MultiHeadAttention", make_if_read<MultiHeadAttention>});
}

}  // namespace tessera::ort
