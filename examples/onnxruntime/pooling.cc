// SPDX-License-Identifier: Apache-2.0
// MaxPool, AveragePool and their global forms, of f32.
#include "kernel.h"
#include "window.h"

namespace tessera::ort {
namespace {

template <int kRank>
class Pool : public Kernel {
 public:
  bool read(const NodeView& node) {
    is_average_ = node.op() == "AveragePool";
    counts_padding_ = node.integer("count_include_pad", 0) != 0;
    const auto kernel = node.get<Shape>("kernel_shape");
    if (kernel.size() != kRank || !window_.read(node) || !node.is_float(0)) return false;
    std::copy(kernel.begin(), kernel.end(), kernel_.begin());
    for (int i = 0; i < kRank; ++i) {
      if (window_.padding[i] >= kernel_[i] || window_.padding[kRank + i] >= kernel_[i])
        return false;
      if (is_average_ && window_.dilation[i] != 1) return false;
    }
    const bool has_order = node.integer("storage_order", 0) == 0 && node.output(1) == nullptr;
    return has_order && node.integer("ceil_mode", 0) == 0;
  }

  bool is_glue() const override { return true; }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    const auto from = channels_view<const float, kRank + 2>(x);
    if (is_average_) {
      AveragePoolOptions<kRank> options;
      options.count_include_pad = counts_padding_;
      return run_with(step, x, from, options, [&](const auto& to) {
        if constexpr (kRank == 1) average_pool1d(from, to, options);
        if constexpr (kRank == 2) average_pool2d(from, to, options);
        if constexpr (kRank == 3) average_pool3d(from, to, options);
      });
    }
    MaxPoolOptions<kRank> options;
    options.dilation = window_.dilation;
    run_with(step, x, from, options, [&](const auto& to) {
      if constexpr (kRank == 1) max_pool1d(from, to, options);
      if constexpr (kRank == 2) max_pool2d(from, to, options);
      if constexpr (kRank == 3) max_pool3d(from, to, options);
    });
  }

 private:
  template <class Options, class F>
  void run_with(Step& step, const Tensor& x, const View<const float, kRank + 2>& from,
                Options& options, F&& pool) const {
    options.kernel = kernel_;
    options.stride = window_.stride;
    options.padding = window_.padding_for(spatial_extents<kRank>(x), kernel_);
    options.context = &step.context();
    const auto extents = pooled_extents(from.extents, options);
    Shape shape = {x.shape[0], x.shape[1]};
    shape.insert(shape.end(), extents.begin() + 1, extents.end() - 1);
    pool(channels_view<float, kRank + 2>(*step.output(0, shape, Layout::kChannelsLast)));
  }

  Window<kRank> window_;
  std::array<index_t, kRank> kernel_{};
  bool is_average_ = false, counts_padding_ = false;
};

template <int kRank>
class GlobalPool : public Kernel {
 public:
  bool read(const NodeView& node) {
    is_average_ = node.op() == "GlobalAveragePool";
    return node.is_float(0);
  }

  bool is_glue() const override { return true; }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    Shape shape = {x.shape[0], x.shape[1]};
    shape.resize(x.rank(), 1);
    const auto y = row_major(step.output(0, shape)->as<float>(), {shape[0], shape[1]});
    const auto from = channels_view<const float, kRank + 2>(x);
    const GlobalPoolOptions options{.context = &step.context()};
    if (is_average_) {
      global_average_pool(from, y, options);
    } else {
      global_max_pool(from, y, options);
    }
  }

 private:
  bool is_average_ = false;
};

}  // namespace

void add_pooling(std::vector<Operator>& operators) {
  for (const char* op : {"MaxPool", "AveragePool"}) {
    operators.push_back(
        {kOnnx, op, [](const NodeView& node) { return make_spatial<Pool>(node, node.rank(0)); }});
  }
  for (const char* op : {"GlobalMaxPool", "GlobalAveragePool"}) {
    operators.push_back({kOnnx, op, [](const NodeView& node) {
                           return make_spatial<GlobalPool>(node, node.rank(0));
                         }});
  }
}

}  // namespace tessera::ort
