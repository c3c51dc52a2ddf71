// SPDX-License-Identifier: Apache-2.0
// Conv and ConvTranspose of f32, f16 and bf16.
#include "convolution.h"
#include "epilogue_steps.h"

#include <optional>

namespace tessera::ort {
namespace {

// What Conv and ConvTranspose share: elements of T, and the end of both, which is bias, residual and activation.
template <class T, int kRank>
class ConvLayer : public FusingKernel {
 public:
  bool writes_channels() const final { return true; }

  static bool has_types(const NodeView& node) {
    return node.is_like_first(1) && node.is_like_first(2);
  }

  template <class W, class Options>
  void run_with(Step& step, const Tensor& x, const W& w, const Shape& shape,
                const Options& options) const {
    const Tensor& y = *step.output(0, shape, Layout::kChannelsLast);
    Epilogue steps;
    const std::optional<Tensor> bias = bias_.tensor(step);
    if (bias) steps = epi::bias(View<const float, 1>(vector_view<const float>(*bias)));
    if (const Tensor* const residual = step.input(kResidualInput)) {
      steps = steps | epi::residual(channels_view<const T, kRank + 2>(*residual));
    }
    convolve<kRank>(channels_view<const T, kRank + 2>(x), w, channels_view<T, kRank + 2>(y),
                    options, steps | activation().epilogue());
  }

 protected:
  void prepare_bias(Preparation& p) { bias_.prepare(p); }

 private:
  FloatInput bias_{2};
};

template <class T, int kRank>
class RealConv : public ConvLayer<T, kRank> {
 public:
  bool read(const NodeView& node) {
    numerics_ = node.graph().settings.numerics;
    return this->has_types(node) && geometry_.read(node);
  }

  void prepare(Preparation& p) override {
    this->prepare_bias(p);
    const Tensor* const w = p.constant(1);
    if (w == nullptr) return;
    ConvOptions<kRank> options = geometry_.options();
    options.numerics = numerics_;
    filters_ = pack_filters<kRank>(channels_view<const T, kRank + 2>(*w), options);
    channels_ = w->shape[0];
    kernel_ = spatial_extents<kRank>(*w);
    p.release(1);
  }

  void run(Step& step) const override {
    if (filters_) return run_with(step, *filters_, channels_, kernel_);
    const Tensor& w = *step.dense_input(1);
    run_with(step, channels_view<const T, kRank + 2>(w), w.shape[0], spatial_extents<kRank>(w));
  }

 private:
  template <class W>
  void run_with(Step& step, const W& w, std::int64_t channels,
                const std::array<index_t, kRank>& kernel) const {
    const Tensor& x = *step.input(0);
    ConvOptions<kRank> options = geometry_.options(x, kernel, step.context());
    options.numerics = numerics_;
    ConvLayer<T, kRank>::run_with(step, x, w, geometry_.result(x, channels, kernel, options),
                                  options);
  }

  ConvGeometry<kRank> geometry_;
  Numerics numerics_{};
  std::optional<PackedFilters<T, kRank>> filters_;
  std::int64_t channels_ = 0;  // of the result
  std::array<index_t, kRank> kernel_{};
};

template <class T, int kRank>
class RealConvTranspose : public ConvLayer<T, kRank> {
 public:
  bool read(const NodeView& node) {
    if (!this->has_types(node) || !window_.read(node)) return false;
    options_.stride = window_.stride;
    options_.dilation = window_.dilation;
    options_.padding = window_.padding;
    options_.groups = static_cast<index_t>(node.integer("group", 1));
    const auto more = node.get<Shape>("output_padding");
    if (!more.empty() && more.size() != kRank) return false;
    std::copy(more.begin(), more.end(), options_.output_padding.begin());
    if (!read_extents(node)) return false;
    for (int i = 0; i < kRank; ++i) {
      if (options_.output_padding[i] >= options_.stride[i]) return false;
    }
    return true;
  }

  void prepare(Preparation& p) override {
    this->prepare_bias(p);
    const Tensor* const w = p.constant(1);
    if (w == nullptr) return;
    std::vector<T> memory(static_cast<std::size_t>(count(w->shape)));
    filters_ = pack_filters<kRank>(filters(*w, memory.data(), nullptr), options_);
    channels_ = w->shape[1] * options_.groups;
    kernel_ = spatial_extents<kRank>(*w);
    p.release(1);
  }

  void run(Step& step) const override {
    if (filters_) return run_with(step, *filters_, channels_, kernel_);
    const Tensor& w = *step.dense_input(1);
    T* const memory = step.scratch_of<T>(count(w.shape));
    run_with(step, filters(w, memory, &step.context()), w.shape[1] * options_.groups,
             spatial_extents<kRank>(w));
  }

 private:
  // Where the attributes say how large the result is, the padding follows from that.
  bool read_extents(const NodeView& node) {
    const auto wanted = node.get<Shape>("output_shape");
    const bool is_same = window_.auto_pad != Window<kRank>::AutoPad::kNone;
    if (wanted.empty() && !is_same) return true;
    if (!wanted.empty() && (wanted.size() != kRank || node.rank(0) != kRank + 2)) return false;
    const Shape &x = node.input(0)->tensor.shape, &w = node.input(1)->tensor.shape;
    for (int i = 0; i < kRank; ++i) {
      const std::size_t axis = static_cast<std::size_t>(i);
      const index_t taps = static_cast<index_t>(w[axis + 2]);
      // What the last window has beyond `stride` elements for each of x: to be cut off, unless other extents are wanted.
      index_t total =
          (taps - 1) * options_.dilation[i] + 1 - options_.stride[i] + options_.output_padding[i];
      if (wanted.empty()) {
        if (total < 0) return false;  // the host has less elements than ONNX here
      } else {
        if (x[axis + 2] < 1) return false;
        total += static_cast<index_t>(x[axis + 2]) * options_.stride[i] -
                 static_cast<index_t>(wanted[axis]);
      }
      if (taps < 1) return false;
      window_.set_padding(options_.padding, i, std::max<index_t>(total, 0));
      options_.output_padding[i] -= std::min<index_t>(total, 0);
    }
    return true;
  }

  // Weights [in, out / groups, spatial..] as [out, spatial.., in / groups], in `memory`.
  View<const T, kRank + 2> filters(const Tensor& w, T* memory, Context* context) const {
    const index_t groups = options_.groups;
    const index_t in = static_cast<index_t>(w.shape[0]) / groups,
                  out = static_cast<index_t>(w.shape[1]);
    const index_t taps = static_cast<index_t>(count(w.shape, 2, w.rank()));
    for (index_t g = 0; g < groups; ++g) {
      const View<const T, 3> from(w.as<T>() + g * in * out * taps, {out, taps, in},
                                  {taps, 1, out * taps});
      copy(from, row_major(memory + g * in * out * taps, {out, taps, in}), {.context = context});
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
    ConvLayer<T, kRank>::run_with(step, x, w, shape, options);
  }

  Window<kRank> window_;
  ConvTransposeOptions<kRank> options_;
  std::optional<PackedFilters<T, kRank>> filters_;
  std::int64_t channels_ = 0;
  std::array<index_t, kRank> kernel_{};
};

// Of the type of the first input, with as many axes as the second, the filters, has.
template <template <class, int> class K>
std::unique_ptr<Kernel> make_conv(const NodeView& node) {
  std::unique_ptr<Kernel> kernel;
  if (!node.is_real(0)) return kernel;
  with_real(node.type(0), [&]<class T>(T) {
    kernel = with_spatial_axes(
        node.rank(1), [&](auto rank) { return make_if_read<K<T, decltype(rank)::value>>(node); });
  });
  return kernel;
}

}  // namespace

void add_convolutions(std::vector<Operator>& operators) {
  operators.push_back({kOnnx, "Conv", make_conv<RealConv>});
  operators.push_back({kOnnx, "ConvTranspose", make_conv<RealConvTranspose>});
}

}  // namespace tessera::ort
