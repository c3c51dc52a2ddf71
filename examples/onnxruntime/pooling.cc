// SPDX-License-Identifier: Apache-2.0
// MaxPool, AveragePool and their global forms, means and largest elements of some axes.
#include "kernel.h"
#include "window.h"

namespace tessera::ort {
namespace {

template <int kRank>
class Pool : public Glue {
 public:
  bool read(const NodeView& node) {
    is_average_ = node.op() == "AveragePool";
    counts_padding_ = node.integer("count_include_pad", 0) != 0;
    const auto kernel = node.get<Shape>("kernel_shape");
    if (kernel.size() != kRank || !window_.read(node)) return false;
    if (!node.is_real(0) && (is_average_ || !node.is_byte(0))) return false;
    std::copy(kernel.begin(), kernel.end(), kernel_.begin());
    for (int i = 0; i < kRank; ++i) {
      if (window_.padding[i] >= kernel_[i] || window_.padding[kRank + i] >= kernel_[i])
        return false;
      if (is_average_ && window_.dilation[i] != 1) return false;
    }
    const bool has_order = node.integer("storage_order", 0) == 0 && node.output(1) == nullptr;
    ceils_ = node.integer("ceil_mode", 0) != 0;
    return has_order;
  }

  bool writes_channels() const override { return true; }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    if (!is_average_) {
      with_real_or_byte(x.type, [&]<class T>(T) { take_largest<T>(step, x); });
    } else {
      with_real(x.type, [&]<class T>(T) { take_mean<T>(step, x); });
    }
  }

 private:
  template <class T>
  void take_mean(Step& step, const Tensor& x) const {
    AveragePoolOptions<kRank> options;
    options.count_include_pad = counts_padding_;
    const auto from = channels_view<const T, kRank + 2>(x);
    run_with<T>(step, x, options, [&](const auto& to) {
      if constexpr (kRank == 1) average_pool1d(from, to, options);
      if constexpr (kRank == 2) average_pool2d(from, to, options);
      if constexpr (kRank == 3) average_pool3d(from, to, options);
    });
  }

  template <class T>
  void take_largest(Step& step, const Tensor& x) const {
    MaxPoolOptions<kRank> options;
    options.dilation = window_.dilation;
    const auto from = channels_view<const T, kRank + 2>(x);
    run_with<T>(step, x, options, [&](const auto& to) {
      if constexpr (kRank == 1) max_pool1d(from, to, options);
      if constexpr (kRank == 2) max_pool2d(from, to, options);
      if constexpr (kRank == 3) max_pool3d(from, to, options);
    });
  }

  template <class T, class Options, class F>
  void run_with(Step& step, const Tensor& x, Options& options, F&& pool) const {
    options.kernel = kernel_;
    options.stride = window_.stride;
    options.padding = window_.padding_for(spatial_extents<kRank>(x), kernel_);
    options.ceil_mode = ceils_;
    options.context = &step.context();
    const auto extents = pooled_extents(channels_view<const T, kRank + 2>(x).extents, options);
    Shape shape = {x.shape[0], x.shape[1]};
    shape.insert(shape.end(), extents.begin() + 1, extents.end() - 1);
    pool(channels_view<T, kRank + 2>(*step.output(0, shape, Layout::kChannelsLast)));
  }

  Window<kRank> window_;
  std::array<index_t, kRank> kernel_{};
  bool is_average_ = false, counts_padding_ = false, ceils_ = false;
};

// y = the means or the largest elements of the channels of images x.
template <class X, class Y>
void pool_all(const X& x, const Y& y, bool is_average, Step& step) {
  const GlobalPoolOptions options{.context = &step.context()};
  if (is_average) {
    global_average_pool(x, y, options);
  } else {
    global_max_pool(x, y, options);
  }
}

template <int kRank>
class GlobalPool : public Glue {
 public:
  bool read(const NodeView& node) {
    is_average_ = node.op() == "GlobalAveragePool";
    return node.is_real(0);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    Shape shape = {x.shape[0], x.shape[1]};
    shape.resize(x.rank(), 1);
    const Tensor& y = *step.output(0, shape);
    with_real(x.type, [&]<class T>(T) {
      pool_all(channels_view<const T, kRank + 2>(x), row_major(y.as<T>(), {shape[0], shape[1]}),
               is_average_, step);
    });
  }

 private:
  bool is_average_ = false;
};

// ReduceMean and ReduceMax over neighbouring axes. They are an attribute, from version 18 on an input.
class Reduction : public Glue {
 public:
  bool read(const NodeView& node) {
    is_mean_ = node.op() == "ReduceMean";
    keeps_axes_ = node.integer("keepdims", 1) != 0;
    Shape axes = node.get<Shape>("axes");
    if (node.has_input(1)) {
      if (node.constant(1) == nullptr) return false;
      axes = integers(*node.constant(1));
    }
    if (node.rank(0) < 1 || axes.empty()) return false;
    for (std::int64_t& axis : axes) {
      axis = static_cast<std::int64_t>(axis_of(axis, static_cast<std::size_t>(node.rank(0))));
    }
    std::sort(axes.begin(), axes.end());
    first_ = static_cast<std::size_t>(axes.front());
    last_ = static_cast<std::size_t>(axes.back()) + 1;
    return node.is_real(0) && last_ - first_ == axes.size();
  }

  void run(Step& step) const override {
    const Tensor& given = *step.input(0);
    // The mean of all pixels is in the same order in both layouts.
    const bool of_pixels = given.channels_last && first_ == 2 && last_ == given.rank();
    const Tensor& x = of_pixels ? given : *step.dense_input(0);
    Shape shape;
    for (std::size_t i = 0; i < x.rank(); ++i) {
      const bool goes = i >= first_ && i < last_;
      if (!goes || keeps_axes_) shape.push_back(goes ? 1 : x.shape[i]);
    }
    const Tensor& y = *step.output(0, shape);
    if (count(shape) == 0) return;
    const std::int64_t middle = count(x.shape, first_, last_);
    const std::int64_t outer = of_pixels ? x.shape[0] : count(x.shape, 0, first_);
    const std::int64_t inner = of_pixels ? x.shape[1] : count(x.shape, last_, x.rank());
    with_real(x.type, [&]<class T>(T) {
      pool_all(row_major(x.as<const T>(), {outer, middle, inner}),
               row_major(y.as<T>(), {outer, inner}), is_mean_, step);
    });
  }

 private:
  bool is_mean_ = false, keeps_axes_ = true;
  std::size_t first_ = 0, last_ = 0;
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
  for (const char* op : {"ReduceMean", "ReduceMax"}) {
    operators.push_back({kOnnx, op, make_if_read<Reduction>});
  }
}

}  // namespace tessera::ort
