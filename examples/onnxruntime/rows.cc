// SPDX-License-Identifier: Apache-2.0
// Softmax, norms and rotary embeddings.
#include <cmath>

#include "kernel.h"

namespace tessera::ort {
namespace {

class Softmax : public Kernel {
 public:
  bool read(const NodeView& node) {
    // Before version 13 all axes from `axis` on are one.
    flattens_ = node.version() < 13;
    axis_ = node.integer("axis", flattens_ ? 1 : -1);
    is_log_ = node.op() == "LogSoftmax";
    return node.is_float(0) && node.rank(0) > 0;
  }

  void run(Step& step) const override {
    const Tensor& x = *step.dense_input(0);
    const Tensor& y = *step.output(0, x.shape);
    const std::size_t axis = axis_of(axis_, x.rank());
    const index_t outer = static_cast<index_t>(count(x.shape, 0, axis));
    const index_t n = static_cast<index_t>(count(x.shape, axis, flattens_ ? x.rank() : axis + 1));
    const index_t inner = flattens_ ? 1 : static_cast<index_t>(count(x.shape, axis + 1, x.rank()));
    const SoftmaxOptions options{.context = &step.context()};
    if (inner == 1) {
      return apply(row_major(x.as<const float>(), {outer, n}), row_major(y.as<float>(), {outer, n}),
                   options);
    }
    for (index_t i = 0; i < outer; ++i) {
      apply(col_major(x.as<const float>() + i * n * inner, {inner, n}),
            col_major(y.as<float>() + i * n * inner, {inner, n}), options);
    }
  }

 private:
  void apply(const View<const float, 2>& x, const View<float, 2>& y,
             const SoftmaxOptions& options) const {
    if (is_log_) {
      log_softmax(x, y, options);
    } else {
      softmax(x, y, options);
    }
  }

  bool flattens_ = false, is_log_ = false;
  std::int64_t axis_ = -1;
};

// LayerNormalization and RMSNormalization, also after a sum of two tensors.
class Norm : public Kernel {
 public:
  bool read(const NodeView& node) {
    const std::string& op = node.op();
    subtracts_mean_ = op == "LayerNormalization" || op == "SkipLayerNormalization";
    has_skip_ = op.starts_with("Skip");
    axis_ = node.integer("axis", -1);
    epsilon_ = node.get<float>("epsilon", has_skip_ ? 1e-12f : 1e-5f);
    weight_ = has_skip_ ? 2 : 1;
    const std::size_t bias_of_sum = subtracts_mean_ ? 4 : 3;
    if (has_skip_ && node.has_input(bias_of_sum)) return false;
    if (!subtracts_mean_ && node.output(1) != nullptr) return false;
    if (has_skip_ && (node.output(1) != nullptr || node.output(2) != nullptr)) return false;
    for (std::size_t i = 0; i < (subtracts_mean_ ? weight_ + 2 : weight_ + 1); ++i) {
      if (node.has_input(i) && !node.is_float(i)) return false;
    }
    return node.rank(0) > 0 && node.has_input(weight_) && has_shape_of_rows(node);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.dense_input(0);
    const std::size_t axis = axis_of(axis_, x.rank());
    const Tensor* const bias = subtracts_mean_ ? step.dense_input(weight_ + 1) : nullptr;
    const Tensor& y = *step.output(0, x.shape);
    NormOptions options{.epsilon = epsilon_, .context = &step.context()};
    options.weight = vector_view<const float>(*step.dense_input(weight_));
    if (bias != nullptr) options.bias = vector_view<const float>(*bias);
    if (has_skip_) {
      const Tensor& skip = *step.dense_input(1);
      if (skip.shape != x.shape) {
        throw std::invalid_argument("skip: expected extents " + to_string(x.shape) + ", got " +
                                    to_string(skip.shape));
      }
      options.residual = rows_view<const float>(skip, axis);
      if (const Tensor* const sum = step.output(3, x.shape))
        options.sum = rows_view<float>(*sum, axis);
    }
    const auto vx = rows_view<const float>(x, axis);
    const auto vy = rows_view<float>(y, axis);
    if (subtracts_mean_) {
      layer_norm(vx, vy, options);
      if (!has_skip_) statistics(step, x, axis);
    } else {
      rms_norm(vx, vy, options);
    }
  }

 private:
  // Weights that are repeated over a part of a row are left to the host.
  bool has_shape_of_rows(const NodeView& node) const {
    const Tensor &x = node.input(0)->tensor, &w = node.input(weight_)->tensor;
    const std::size_t axis = axis_of(axis_, x.rank());
    const auto same = [&](const Tensor& t) {
      return t.rank() == x.rank() - axis &&
             std::equal(t.shape.begin(), t.shape.end(),
                        x.shape.begin() + static_cast<index_t>(axis),
                        [](std::int64_t a, std::int64_t b) { return a == b && a >= 0; });
    };
    const bool has_bias = subtracts_mean_ && node.has_input(weight_ + 1);
    if (!node.input(weight_)->has_rank || (has_bias && !node.input(weight_ + 1)->has_rank))
      return false;
    const bool same_skip =
        !has_skip_ || (node.input(1)->has_rank && node.input(1)->tensor.shape == x.shape);
    return same_skip && same(w) && (!has_bias || same(node.input(weight_ + 1)->tensor));
  }

  // The mean and 1 / standard deviation of each row, which training and few others want.
  void statistics(Step& step, const Tensor& x, std::size_t axis) const {
    Shape shape = x.shape;
    std::fill(shape.begin() + static_cast<index_t>(axis), shape.end(), 1);
    const Tensor* const means = step.output(1, shape);
    const Tensor* const inverses = step.output(2, shape);
    if (means == nullptr && inverses == nullptr) return;
    const auto rows = rows_view<const float>(x, axis);
    const index_t cols = rows.extent(1);
    for (index_t i = 0; i < rows.extent(0); ++i) {
      double sum = 0, squares = 0;
      for (index_t j = 0; j < cols; ++j) sum += rows(i, j);
      const double mean = sum / static_cast<double>(cols);
      for (index_t j = 0; j < cols; ++j) squares += (rows(i, j) - mean) * (rows(i, j) - mean);
      if (means != nullptr) means->as<float>()[i] = static_cast<float>(mean);
      if (inverses != nullptr) {
        const double variance = squares / static_cast<double>(cols);
        inverses->as<float>()[i] = static_cast<float>(1 / std::sqrt(variance + epsilon_));
      }
    }
  }

  bool subtracts_mean_ = false, has_skip_ = false;
  std::size_t weight_ = 1;
  std::int64_t axis_ = -1;
  float epsilon_ = 1e-5f;
};

// Positions as indices; `batch` sequences of `tokens`.
View<const std::int32_t, 2> positions_view(Step& step, const Tensor& ids, index_t batch,
                                           index_t tokens) {
  std::int32_t* const positions = step.scratch_of<std::int32_t>(batch * tokens);
  const std::int64_t* const from = ids.as<const std::int64_t>();
  const bool is_offset = count(ids.shape) == 1 && batch * tokens != 1;  // of the first token
  if (!is_offset && count(ids.shape) != batch * tokens) {
    throw std::invalid_argument("position_ids: expected one per token, got " +
                                to_string(ids.shape));
  }
  for (index_t i = 0; i < batch * tokens; ++i) {
    positions[i] = static_cast<std::int32_t>(is_offset ? from[0] + i % tokens : from[i]);
  }
  return row_major<const std::int32_t>(positions, {batch, tokens});
}

class RotaryEmbedding : public Kernel {
 public:
  bool read(const NodeView& node) {
    is_microsoft_ = node.node().domain == kMicrosoft;
    heads_ = static_cast<index_t>(node.integer("num_heads", 0));
    interleaved_ = node.integer("interleaved", 0) != 0;
    const std::int64_t dims = node.integer("rotary_embedding_dim", 0);
    positions_ = is_microsoft_ ? 1 : 3;
    cos_ = is_microsoft_ ? 2 : 1;
    const bool has_positions = node.has_input(positions_);
    if (has_positions && node.type(positions_) != kInt64) return false;
    if (is_microsoft_ && (!has_positions || node.integer("is_packed_batching", 0) != 0))
      return false;
    if (is_microsoft_ && (dims != 0 || node.get<float>("scale", 1) != 1)) return false;
    if (node.rank(0) != 4 && (node.rank(0) != 3 || heads_ == 0)) return false;
    return node.is_float(0) && node.is_float(cos_) && node.is_float(cos_ + 1) &&
           node.rank(cos_) == (has_positions ? 2 : 3);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.dense_input(0);
    const Tensor &cos = *step.dense_input(cos_), &sin = *step.dense_input(cos_ + 1);
    const Tensor& y = *step.output(0, x.shape);
    const index_t batch = static_cast<index_t>(x.shape[0]);
    const bool heads_outside = x.rank() == 4;
    const index_t tokens = static_cast<index_t>(x.shape[heads_outside ? 2 : 1]);
    RopeOptions options{.interleaved = interleaved_, .context = &step.context()};
    if (const Tensor* const ids = step.dense_input(positions_)) {
      options.positions = positions_view(step, *ids, batch, tokens);
    } else {  // a row of the tables for each token
      std::int32_t* const rows = step.scratch_of<std::int32_t>(batch * tokens);
      for (index_t i = 0; i < batch * tokens; ++i) rows[i] = static_cast<std::int32_t>(i);
      options.positions = row_major<const std::int32_t>(rows, {batch, tokens});
    }
    rope(tokens_first_view<const float>(x), rows_view<const float>(cos, cos.rank() - 1),
         rows_view<const float>(sin, sin.rank() - 1), tokens_first_view<float>(y), options);
  }

 private:
  // [batch, tokens, heads, dim].
  template <class T>
  View<T, 4> tokens_first_view(const Tensor& x) const {
    const index_t batch = static_cast<index_t>(x.shape[0]);
    if (x.rank() == 3) {
      const index_t tokens = static_cast<index_t>(x.shape[1]);
      return row_major(x.as<T>(),
                       {batch, tokens, heads_, static_cast<index_t>(x.shape[2]) / heads_});
    }
    return tokens_first(x.as<T>(), {x.shape[0], x.shape[1], x.shape[2], x.shape[3]});
  }

  bool is_microsoft_ = false, interleaved_ = false;
  index_t heads_ = 0;
  std::size_t positions_ = 3, cos_ = 1;
};

}  // namespace

void add_rows(std::vector<Operator>& operators) {
  for (const char* op : {"Softmax", "LogSoftmax"})
    operators.push_back({kOnnx, op, make_if_read<Softmax>});
  for (const char* op :
       {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}) {
    operators.push_back({kOnnx, op, make_if_read<Norm>});
  }
  for (const char* op : {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}) {
    operators.push_back({kMicrosoft, op, make_if_read<Norm>});
  }
  for (const std::string_view domain : {kOnnx, kMicrosoft}) {
    operators.push_back({domain, "RotaryEmbedding", make_if_read<RotaryEmbedding>});
  }
}

}  // namespace tessera::ort
