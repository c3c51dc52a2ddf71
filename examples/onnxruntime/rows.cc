// SPDX-License-Identifier: Apache-2.0
// Softmax, norms and rotary embeddings.
#include <cmath>
#include <numeric>

#include "attention.h"
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
    return node.is_real(0) && node.rank(0) > 0;
  }

  void run(Step& step) const override {
    with_real(step.input(0)->type, [&]<class T>(T) { run_as<T>(step); });
  }

 private:
  template <class T>
  void run_as(Step& step) const {
    const Tensor& x = *step.dense_input(0);
    const Tensor& y = *step.output(0, x.shape);
    const std::size_t axis = axis_of(axis_, x.rank());
    const index_t outer = static_cast<index_t>(count(x.shape, 0, axis));
    const index_t n = static_cast<index_t>(count(x.shape, axis, flattens_ ? x.rank() : axis + 1));
    const index_t inner = flattens_ ? 1 : static_cast<index_t>(count(x.shape, axis + 1, x.rank()));
    const SoftmaxOptions options{.context = &step.context()};
    if (inner == 1) {
      return apply(row_major(x.as<const T>(), {outer, n}), row_major(y.as<T>(), {outer, n}),
                   options);
    }
    for (index_t i = 0; i < outer; ++i) {
      apply(col_major(x.as<const T>() + i * n * inner, {inner, n}),
            col_major(y.as<T>() + i * n * inner, {inner, n}), options);
    }
  }

  template <class T>
  void apply(const View<const T, 2>& x, const View<T, 2>& y, const SoftmaxOptions& options) const {
    if (is_log_) {
      log_softmax(x, y, options);
    } else {
      softmax(x, y, options);
    }
  }

  bool flattens_ = false, is_log_ = false;
  std::int64_t axis_ = -1;
};

// LayerNormalization and RMSNormalization, also after a sum of two tensors and a bias.
class Norm : public Kernel {
 public:
  bool read(const NodeView& node) {
    const std::string& op = node.op();
    subtracts_mean_ = op == "LayerNormalization" || op == "SkipLayerNormalization";
    has_skip_ = op.starts_with("Skip");
    axis_ = node.integer("axis", -1);
    epsilon_ = node.get<float>("epsilon", has_skip_ ? 1e-12f : 1e-5f);
    weight_ = has_skip_ ? 2 : 1;
    if (!subtracts_mean_ && node.output(1) != nullptr) return false;
    if (has_skip_ && (node.output(1) != nullptr || node.output(2) != nullptr)) return false;
    // Of weights the type may be another one.
    for (std::size_t i = 0; i < node.input_count(); ++i) {
      if (node.has_input(i) && !node.is_real(i)) return false;
    }
    for (std::size_t i = 1; !has_skip_ && i <= 2; ++i) {
      if (node.output(i) != nullptr && node.output(i)->tensor.type != kFloat) return false;
    }
    const bool has_types =
        !has_skip_ || (node.is_like_first(1) && node.is_like_first(bias_of_sum()));
    return has_types && node.rank(0) > 0 && node.has_input(weight_) && has_shape_of_rows(node);
  }

  void run(Step& step) const override {
    with_real(step.input(0)->type, [&]<class T>(T) { run_as<T>(step); });
  }

 private:
  std::size_t bias_of_sum() const { return subtracts_mean_ ? 4 : 3; }

  template <class T>
  void run_as(Step& step) const {
    const Tensor& x = *step.dense_input(0);
    const std::size_t axis = axis_of(axis_, x.rank());
    const Tensor& y = *step.output(0, x.shape);
    NormOptions options{.epsilon = epsilon_, .context = &step.context()};
    options.weight = float_vector(*step.dense_input(weight_));
    if (subtracts_mean_ && step.input(weight_ + 1) != nullptr) {
      options.bias = float_vector(*step.dense_input(weight_ + 1));
    }
    auto from = rows_view<const T>(x, axis);
    const auto to = rows_view<T>(y, axis);
    if (has_skip_) {
      const Tensor& skip = *step.dense_input(1);
      if (skip.shape != x.shape) {
        throw std::invalid_argument("skip: expected extents " + to_string(x.shape) + ", got " +
                                    to_string(skip.shape));
      }
      options.residual = rows_view<const T>(skip, axis);
      if (const Tensor* const sum = step.output(3, x.shape)) options.sum = rows_view<T>(*sum, axis);
      if (const Tensor* const bias = step.dense_input(bias_of_sum())) {
        const auto biased =
            row_major(step.scratch_of<T>(count(x.shape)), {from.extent(0), from.extent(1)});
        elementwise(BinaryOp::kAdd, from, vector_view<const T>(*bias), biased,
                    {.context = &step.context()});
        from = biased;
      }
    }
    if (subtracts_mean_) {
      layer_norm(from, to, options);
      if (!has_skip_) statistics<T>(step, x, axis);
    } else {
      rms_norm(from, to, options);
    }
  }

  static FloatView<1> float_vector(const Tensor& t) {
    FloatView<1> view;
    with_real(t.type, [&]<class T>(T) { view = vector_view<const T>(t); });
    return view;
  }

  // Weights that are repeated over a part of a row are left to the host, and so are sums of other shapes.
  bool has_shape_of_rows(const NodeView& node) const {
    const Tensor& x = node.input(0)->tensor;
    const std::size_t axis = axis_of(axis_, x.rank());
    const auto is_like_rows = [&](std::size_t i) {
      if (!node.has_input(i)) return true;
      const Value& value = *node.input(i);
      return value.has_rank && value.tensor.rank() == x.rank() - axis &&
             std::equal(value.tensor.shape.begin(), value.tensor.shape.end(),
                        x.shape.begin() + static_cast<index_t>(axis),
                        [](std::int64_t a, std::int64_t b) { return a == b && a >= 0; });
    };
    if (!is_like_rows(weight_) || (subtracts_mean_ && !is_like_rows(weight_ + 1))) return false;
    if (!has_skip_) return true;
    const Value &first = *node.input(0), &skip = *node.input(1);
    return skip.has_shape(x.shape) && skip.dimension_names == first.dimension_names &&
           is_like_rows(bias_of_sum());
  }

  // The mean and 1 / standard deviation of each row, which training and few others want.
  template <class T>
  void statistics(Step& step, const Tensor& x, std::size_t axis) const {
    Shape shape = x.shape;
    std::fill(shape.begin() + static_cast<index_t>(axis), shape.end(), 1);
    const Tensor* const means = step.output(1, shape);
    const Tensor* const inverses = step.output(2, shape);
    if (means == nullptr && inverses == nullptr) return;
    const auto rows = rows_view<const T>(x, axis);
    const index_t cols = rows.extent(1);
    for (index_t i = 0; i < rows.extent(0); ++i) {
      const auto at = [&](index_t j) {
        return static_cast<double>(static_cast<float>(rows(i, j)));
      };
      double sum = 0, squares = 0;
      for (index_t j = 0; j < cols; ++j) sum += at(j);
      const double mean = sum / static_cast<double>(cols);
      for (index_t j = 0; j < cols; ++j) squares += (at(j) - mean) * (at(j) - mean);
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

class RotaryEmbedding : public Kernel {
 public:
  bool read(const NodeView& node) {
    const bool is_microsoft = node.node().domain == kMicrosoft;
    heads_ = static_cast<index_t>(node.integer("num_heads", 0));
    interleaved_ = node.integer("interleaved", 0) != 0;
    positions_ = is_microsoft ? 1 : 3;
    const std::size_t cos = is_microsoft ? 2 : 1;
    cos_ = RotaryTable(cos);
    sin_ = RotaryTable(cos + 1);
    const bool has_positions = node.has_input(positions_);
    if (has_positions && node.type(positions_) != kInt64) return false;
    if (is_microsoft && (!has_positions || node.get<float>("scale", 1) != 1)) return false;
    // Tables of whole heads say how large these are.
    const bool has_heads =
        heads_ != 0 || (is_microsoft && node.integer("rotary_embedding_dim", 0) == 0);
    if (node.rank(0) != 4 && (node.rank(0) != 3 || !has_heads)) return false;
    return node.is_real(0) && node.has_input(cos) && node.has_input(cos + 1) &&
           node.is_like_first(cos) && node.is_like_first(cos + 1) &&
           node.rank(cos) == (has_positions ? 2 : 3);
  }

  void prepare(Preparation& p) override {
    cos_.prepare(p);
    sin_.prepare(p);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.dense_input(0);
    const Tensor& y = *step.output(0, x.shape);
    const auto cos = cos_.view(step), sin = sin_.view(step);
    const index_t batch = static_cast<index_t>(x.shape[0]);
    const index_t tokens = static_cast<index_t>(x.shape[x.rank() == 4 ? 2 : 1]);
    const index_t heads = heads_ != 0 || x.rank() == 4
                              ? heads_
                              : static_cast<index_t>(x.shape[2]) / (2 * cos.extent(1));
    check_heads("x", x, heads);
    RopeOptions options{.interleaved = interleaved_, .context = &step.context()};
    if (const Tensor* const ids = step.dense_input(positions_)) {
      options.positions = positions_view(step, *ids, batch, tokens);
    } else {  // a row of the tables for each token
      std::int32_t* const rows = step.scratch_of<std::int32_t>(batch * tokens);
      std::iota(rows, rows + batch * tokens, 0);
      options.positions = row_major<const std::int32_t>(rows, {batch, tokens});
    }
    with_real(x.type, [&]<class T>(T) {
      rope(tokens_outside(heads_view<const T>(x, heads)), cos, sin,
           tokens_outside(heads_view<T>(y, heads)), options);
    });
  }

 private:
  bool interleaved_ = false;
  index_t heads_ = 0;
  std::size_t positions_ = 3;
  RotaryTable cos_{1}, sin_{2};
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
