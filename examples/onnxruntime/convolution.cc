// SPDX-License-Identifier: Apache-2.0
// Conv and ConvTranspose of f32.
#include "convolution.h"
#include "epilogue_steps.h"

#include <optional>

namespace tessera::ort {
namespace {

// Bias, residual and activation: the end of a convolution or of a product.
template <int kRank>
Epilogue conv_epilogue(Step& step, const Activation& activation) {
  Epilogue steps;
  if (const Tensor* const bias = step.input(2)) {
    steps = epi::bias(View<const float, 1>(vector_view<const float>(*bias)));
  }
  if (const Tensor* const residual = step.input(kResidualInput)) {
    steps = steps | epi::residual(channels_view<const float, kRank + 2>(*residual));
  }
  return steps | activation.epilogue();
}

template <int kRank>
class FloatConv : public FusingKernel {
 public:
  bool read(const NodeView& node) {
    numerics_ = node.graph().settings.numerics;
    return node.is_float(0) && node.is_float(1) && geometry_.read(node);
  }

  void prepare(Preparation& p) override {
    const Tensor* const w = p.constant(1);
    if (w == nullptr) return;
    ConvOptions<kRank> options = geometry_.options();
    options.numerics = numerics_;
    filters_ = pack_filters<kRank>(channels_view<const float, kRank + 2>(*w), options);
    set_kernel(*w);
    p.release(1);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    if (filters_) return run_with(step, x, *filters_, channels_, kernel_);
    const Tensor& w = *step.dense_input(1);
    run_with(step, x, channels_view<const float, kRank + 2>(w), w.shape[0],
             spatial_extents<kRank>(w));
  }

 private:
  void set_kernel(const Tensor& w) {
    channels_ = w.shape[0];
    kernel_ = spatial_extents<kRank>(w);
  }

  template <class W>
  void run_with(Step& step, const Tensor& x, const W& w, std::int64_t channels,
                const std::array<index_t, kRank>& kernel) const {
    ConvOptions<kRank> options = geometry_.options(x, kernel, step.context());
    options.numerics = numerics_;
    const Tensor* const y =
        step.output(0, geometry_.result(x, channels, kernel, options), Layout::kChannelsLast);
    convolve<kRank>(channels_view<const float, kRank + 2>(x), w,
                    channels_view<float, kRank + 2>(*y), options,
                    conv_epilogue<kRank>(step, activation()));
  }

  ConvGeometry<kRank> geometry_;
  Numerics numerics_{};
  std::optional<PackedFilters<float, kRank>> filters_;
  std::int64_t channels_ = 0;  // of the result
  std::array<index_t, kRank> kernel_{};
};

template <int kRank>
class FloatConvTranspose : public FusingKernel {
 public:
  bool read(const NodeView& node) {
    if (!node.is_float(0) || !node.is_float(1) || node.has("output_shape")) return false;
    if (!window_.read(node)) return false;
    options_.stride = window_.stride;
    options_.dilation = window_.dilation;
    options_.padding = window_.padding;
    options_.groups = static_cast<index_t>(node.integer("group", 1));
    const auto more = node.get<Shape>("output_padding");
    if (!more.empty() && more.size() != kRank) return false;
    std::copy(more.begin(), more.end(), options_.output_padding.begin());
    const Shape& kernel = node.input(1)->tensor.shape;
    for (int i = 0; i < kRank; ++i) {
      if (options_.output_padding[i] >= options_.stride[i]) return false;
      if (window_.auto_pad == Window<kRank>::AutoPad::kNone) continue;
      // So that there are `stride` results for each element.
      const index_t taps = static_cast<index_t>(kernel[static_cast<std::size_t>(i + 2)]);
      const index_t total =
          (taps - 1) * options_.dilation[i] + 1 - options_.stride[i] + options_.output_padding[i];
      if (taps < 1 || total < 0) return false;
      window_.set_padding(options_.padding, i, total);
    }
    return true;
  }

  void prepare(Preparation& p) override {
    const Tensor* const w = p.constant(1);
    if (w == nullptr) return;
    std::vector<float> memory(static_cast<std::size_t>(count(w->shape)));
    filters_ = pack_filters<kRank>(filters(*w, memory.data()), options_);
    channels_ = w->shape[1] * options_.groups;
    kernel_ = spatial_extents<kRank>(*w);
    p.release(1);
  }

  void run(Step& step) const override {
    if (filters_) return run_with(step, *filters_, channels_, kernel_);
    const Tensor& w = *step.dense_input(1);
    float* const memory = step.scratch_of<float>(count(w.shape));
    run_with(step, filters(w, memory), w.shape[1] * options_.groups, spatial_extents<kRank>(w));
  }

 private:
  // Weights [in, out / groups, spatial..] as [out, spatial.., in / groups], in `memory`.
  View<const float, kRank + 2> filters(const Tensor& w, float* memory) const {
    const index_t groups = options_.groups;
    const index_t in = static_cast<index_t>(w.shape[0]) / groups,
                  out = static_cast<index_t>(w.shape[1]);
    const index_t taps = static_cast<index_t>(count(w.shape, 2, w.rank()));
    for (index_t g = 0; g < groups; ++g) {
      const View<const float, 3> from(w.as<float>() + g * in * out * taps, {out, taps, in},
                                      {taps, 1, out * taps});
      copy(from, row_major(memory + g * in * out * taps, {out, taps, in}));
    }
    index_t extents[kRank + 2] = {out * groups};
    for (int i = 0; i < kRank; ++i) {
      extents[i + 1] = static_cast<index_t>(w.shape[static_cast<std::size_t>(i + 2)]);
    }
    extents[kRank + 1] = in;
    return row_major(memory, extents);
  }

  template <class W>
  void run_with(Step& step, const W& w, std::int64_t channels,
                const std::array<index_t, kRank>& kernel) const {
    const Tensor& x = *step.input(0);
    ConvTransposeOptions<kRank> options = options_;
    options.context = &step.context();
    Shape shape = {x.shape[0], channels};
    for (int i = 0; i < kRank; ++i) {
      shape.push_back((x.shape[static_cast<std::size_t>(i + 2)] - 1) * options.stride[i] -
                      options.padding[i] - options.padding[kRank + i] +
                      (kernel[i] - 1) * options.dilation[i] + 1 + options.output_padding[i]);
    }
    const Tensor* const y = step.output(0, shape, Layout::kChannelsLast);
    convolve<kRank>(channels_view<const float, kRank + 2>(x), w,
                    channels_view<float, kRank + 2>(*y), options,
                    conv_epilogue<kRank>(step, activation()));
  }

  Window<kRank> window_;
  ConvTransposeOptions<kRank> options_;
  std::optional<PackedFilters<float, kRank>> filters_;
  std::int64_t channels_ = 0;
  std::array<index_t, kRank> kernel_{};
};

}  // namespace

void add_convolutions(std::vector<Operator>& operators) {
  operators.push_back({kOnnx, "Conv", [](const NodeView& node) {
                         return make_spatial<FloatConv>(node, node.rank(1));
                       }});
  operators.push_back({kOnnx, "ConvTranspose", [](const NodeView& node) {
                         return make_spatial<FloatConvTranspose>(node, node.rank(1));
                       }});
}

}  // namespace tessera::ort
