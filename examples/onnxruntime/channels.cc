// SPDX-License-Identifier: Apache-2.0
// Norms of channels: BatchNormalization, InstanceNormalization, GroupNormalization.
#include <cmath>

#include "kernel.h"
#include "window.h"

namespace tessera::ort {
namespace {

// With the means and variances of training: a factor and a summand for each channel.
class BatchNorm : public Glue {
 public:
  bool read(const NodeView& node) {
    epsilon_ = node.get<float>("epsilon", 1e-5f);
    for (std::size_t i = 1; i < 5; ++i) {
      if (!node.is_float(i) || node.constant(i) == nullptr) return false;
    }
    const bool is_for_channels = node.version() >= 7 && node.integer("spatial", 1) != 0;
    return is_for_channels && node.is_real(0) && node.rank(0) >= 2 &&
           node.integer("training_mode", 0) == 0 && node.output(1) == nullptr;
  }

  void prepare(Preparation& p) override {
    const auto values = [&](std::size_t i) { return p.constant(i)->as<const float>(); };
    const std::int64_t channels = count(p.constant(1)->shape);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double factor = values(1)[c] / std::sqrt(static_cast<double>(values(4)[c]) + epsilon_);
      factors_.push_back(static_cast<float>(factor));
      summands_.push_back(static_cast<float>(values(2)[c] - values(3)[c] * factor));
    }
    for (std::size_t i = 1; i < 5; ++i) p.release(i);
  }

  void run(Step& step) const override {
    const Tensor& given = *step.input(0);
    const Tensor& y = *step.output(0, given.shape, layout_of(given));
    const Tensor& x = given.channels_last == y.channels_last ? given : *step.dense_input(0);
    const auto channels = static_cast<std::int64_t>(factors_.size());
    if (x.rank() < 2 || x.shape[1] != channels) {
      throw std::invalid_argument("X: expected " + std::to_string(channels) +
                                  " channels, got extents " + to_string(x.shape));
    }
    with_real(x.type, [&]<class T>(T) {
      const ElementwiseOptions options{.context = &step.context()};
      float* const products = step.scratch_of<float>(count(x.shape));
      elementwise(BinaryOp::kMul, channels_in_middle<const T>(x, x.as<const T>()),
                  constants(x, factors_), channels_in_middle<float>(x, products), options);
      elementwise(BinaryOp::kAdd, channels_in_middle<const float>(x, products),
                  constants(x, summands_), channels_in_middle<T>(x, y.as<T>()), options);
    });
  }

 private:
  // [before, channels, behind] in memory.
  template <class T>
  static View<T, 3> channels_in_middle(const Tensor& x, T* data) {
    const std::int64_t channels = x.shape[1], pixels = count(x.shape, 2, x.rank());
    const std::int64_t before = x.channels_last ? x.shape[0] * pixels : x.shape[0];
    return row_major(data, {before, channels, x.channels_last ? 1 : pixels});
  }
  static View<const float, 3> constants(const Tensor& x, const std::vector<float>& values) {
    return {values.data(), {1, static_cast<index_t>(x.shape[1]), 1}, {0, 1, 0}};
  }

  float epsilon_ = 1e-5f;
  std::vector<float> factors_, summands_;
};

// Of the pixels of each channel, or of each group of them.
template <int kRank>
class GroupNorm : public Kernel {
 public:
  bool read(const NodeView& node) {
    is_instance_ = node.op() == "InstanceNormalization";
    groups_ = static_cast<index_t>(node.integer("num_groups", 1));
    epsilon_ = node.get<float>("epsilon", 1e-5f);
    // Before version 21 groups had weights, not channels.
    return node.is_real(0) && node.is_like_first(1) && node.is_like_first(2) &&
           (is_instance_ || node.version() >= 21);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    const Tensor& y = *step.output(0, x.shape, layout_of(x));
    with_real(x.type, [&]<class T>(T) {
      group_norm(channels_view<const T, kRank + 2>(x), channels_view<T, kRank + 2>(y),
                 is_instance_ ? static_cast<index_t>(x.shape[1]) : groups_,
                 {.weight = vector_view<const T>(*step.dense_input(1)),
                  .bias = vector_view<const T>(*step.dense_input(2)),
                  .epsilon = epsilon_,
                  .context = &step.context()});
    });
  }

 private:
  bool is_instance_ = false;
  index_t groups_ = 1;
  float epsilon_ = 1e-5f;
};

}  // namespace

void add_channels(std::vector<Operator>& operators) {
  operators.push_back({kOnnx, "BatchNormalization", make_if_read<BatchNorm>});
  for (const char* op : {"InstanceNormalization", "GroupNormalization"}) {
    operators.push_back({kOnnx, op, [](const NodeView& node) {
                           return make_spatial<GroupNorm>(node, node.rank(0));
                         }});
  }
}

}  // namespace tessera::ort
