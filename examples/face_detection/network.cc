// SPDX-License-Identifier: Apache-2.0
#include "network.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace faces {
namespace {

// Before and behind an axis of n, for as many results as strides fit. The odd element is behind.
std::pair<index_t, index_t> same_padding(index_t n, index_t kernel, index_t stride) {
  const index_t results = (n + stride - 1) / stride;
  const index_t total = std::max<index_t>((results - 1) * stride + kernel - n, 0);
  return {total / 2, total - total / 2};
}

ts::Epilogue activation_of(const Layer& layer) {
  switch (layer.activation) {
    case Layer::Activation::kLeakyRelu:
      return ts::epi::leaky_relu(0.1);
    case Layer::Activation::kRelu6:
      return ts::epi::relu6();
    default:
      return {};
  }
}

ts::View<const float, 1> vector_view(const std::vector<float>& x) {
  return ts::View<const float, 1>(x.data(), {static_cast<index_t>(x.size())}, {1});
}

// Filter and bias of a convolution of images with `channels`.
void load_weights(const std::vector<tfjs::Tensor>& tensors, index_t channels, Step& step) {
  const Layer& layer = step.layer;
  const tfjs::Tensor& filter = find(tensors, layer.filter);
  const bool depthwise = layer.kind == Layer::Kind::kDepthwise;
  if (filter.shape.size() != 4 || filter.shape[2] != channels ||
      (depthwise && filter.shape[3] != 1)) {
    throw std::runtime_error(layer.filter + ": a filter of another shape was expected");
  }
  if (depthwise) {
    step.groups = channels;
    step.filter_extents = {channels, filter.shape[0], filter.shape[1], 1};
  } else {
    step.filter_extents = {filter.shape[3], filter.shape[0], filter.shape[1], channels};
  }
  step.filter = filter.values;
  const auto outputs = static_cast<std::size_t>(step.filter_extents[0]);
  step.bias.assign(outputs, 0.0f);
  if (!layer.bias.empty()) step.bias = find(tensors, layer.bias).values;
  if (!layer.batch_norm.empty()) {
    const auto part = [&](const char* name) -> const std::vector<float>& {
      return find(tensors, layer.batch_norm + name).values;
    };
    const auto &gamma = part("gamma"), &beta = part("beta"), &mean = part("moving_mean"),
               &variance = part("moving_variance");
    for (std::size_t i = 0; i < outputs; ++i) {
      const double scale = gamma.at(i) / std::sqrt(static_cast<double>(variance.at(i)) + 0.001);
      step.bias[i] = static_cast<float>(beta.at(i) - mean.at(i) * scale);
      for (std::size_t j = i; j < step.filter.size(); j += outputs) {
        step.filter[j] = static_cast<float>(step.filter[j] * scale);
      }
    }
  }
  if (step.bias.size() != outputs) {
    throw std::runtime_error(layer.bias + ": a bias per channel was expected");
  }
}

// The filters of a step as s8, each with a scale.
ts::PackedFilters<std::int8_t, 2> quantize_filters(const Step& step, ts::Context& context,
                                                   std::vector<float>& scales) {
  const auto [outputs, h, w, inputs] = step.filter_extents;
  const index_t taps = h * w * inputs;
  scales.resize(static_cast<std::size_t>(outputs));
  std::vector<std::uint8_t> codes(step.filter.size());
  ts::quantize(ts::View<const float, 2>(step.filter.data(), {outputs, taps}, {1, outputs}),
               {.codes = codes.data(),
                .rows = outputs,
                .cols = taps,
                .row_bytes = taps,
                .group = taps,
                .scales = scales.data(),
                .scale_strides = {1, 0}},
               {.context = &context});
  return ts::pack_conv2d(
      ts::ohwi(reinterpret_cast<const std::int8_t*>(codes.data()), {outputs, h, w, inputs}),
      step.conv_options(context));
}

}  // namespace

const tfjs::Tensor& find(const std::vector<tfjs::Tensor>& tensors, const std::string& name) {
  for (const tfjs::Tensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error("the model lacks the tensor " + name);
}

std::size_t Architecture::add(Layer layer) {
  if (layer.input == 0) layer.input = layers.size();
  layers.push_back(std::move(layer));
  return layers.size();
}

ts::View<const float, 4> Step::filter_view() const {
  const auto [outputs, h, w, inputs] = filter_extents;
  const index_t tap = inputs * outputs;
  return ts::View<const float, 4>(filter.data(), filter_extents, {1, w * tap, tap, outputs});
}

ts::ConvOptions<2> Step::conv_options(ts::Context& context) const {
  return {.stride = {layer.stride, layer.stride},
          .padding = padding,
          .groups = groups,
          .context = &context};
}

Model::Model(const Architecture& architecture, const std::vector<tfjs::Tensor>& tensors,
             const Extents& input_extents)
    : input(input_extents), outputs(architecture.outputs) {
  for (const Layer& layer : architecture.layers) {
    const Extents from = extents(layer.input);
    Step step{.layer = layer};
    std::array<index_t, 2> kernel = {layer.kernel, layer.kernel};
    step.extents = {from[0], 0, 0, from[3]};
    if (layer.kind != Layer::Kind::kMaxPool) {
      load_weights(tensors, from[3], step);
      kernel = {step.filter_extents[1], step.filter_extents[2]};
      step.extents[3] = step.filter_extents[0];
    }
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const index_t n = from[axis + 1];
      if (layer.pads) {
        const auto [before, behind] = same_padding(n, kernel[axis], layer.stride);
        step.padding[axis] = before;
        step.padding[axis + 2] = behind;
      }
      step.extents[axis + 1] = ts::window_count(n, {.kernel = kernel[axis],
                                                    .stride = layer.stride,
                                                    .begin = step.padding[axis],
                                                    .end = step.padding[axis + 2]});
    }
    // Each weight takes part once in every pixel of the result.
    step.operations = 2.0 * static_cast<double>(step.extents[0] * step.extents[1]) *
                      static_cast<double>(step.extents[2]) *
                      static_cast<double>(step.filter.size());
    steps.push_back(std::move(step));
  }
}

void Network::run(const Tensor<float>& input) {
  using Clock = std::chrono::steady_clock;
  set_input(input);
  seconds_.clear();
  for (std::size_t i = 0; i < model_.steps.size(); ++i) {
    const Step& step = model_.steps[i];
    const auto start = Clock::now();
    if (step.layer.kind == Layer::Kind::kMaxPool) {
      max_pool(i, {.kernel = {step.layer.kernel, step.layer.kernel},
                   .stride = {step.layer.stride, step.layer.stride},
                   .padding = step.padding,
                   .context = &context_});
    } else {
      convolve(i, step.conv_options(context_),
               ts::epi::bias(vector_view(step.bias)) | activation_of(step.layer));
    }
    seconds_.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
}

// ---- f32

FloatNetwork::FloatNetwork(const Model& model, ts::Context& context) : Network(model, context) {
  values_.emplace_back(model.input);
  for (const Step& step : model.steps) {
    values_.emplace_back(step.extents);
    filters_.push_back(step.layer.kind == Layer::Kind::kMaxPool
                           ? ts::PackedFilters<float, 2>()
                           : ts::pack_conv2d(step.filter_view(), step.conv_options(context)));
  }
}

void FloatNetwork::set_input(const Tensor<float>& input) { values_[0] = input; }

void FloatNetwork::max_pool(std::size_t i, const ts::MaxPool2dOptions& options) {
  ts::max_pool2d(values_[model().steps[i].layer.input].view(), values_[i + 1].view(), options);
}

void FloatNetwork::convolve(std::size_t i, const ts::ConvOptions<2>& options,
                            const ts::Epilogue& bias_and_activation) {
  ts::conv2d(values_[model().steps[i].layer.input].view(), filters_[i], values_[i + 1].view(),
             options, bias_and_activation);
}

std::vector<Activations> FloatNetwork::outputs() const {
  std::vector<Activations> views;
  for (const std::size_t value : model().outputs) views.push_back(values_[value].view());
  return views;
}

std::vector<ts::ValueRange> FloatNetwork::ranges(double kept) const {
  std::vector<ts::ValueRange> ranges;
  for (const Tensor<float>& value : values_) {
    const auto n = static_cast<index_t>(value.data().size());
    ts::ValueHistogram histogram;
    histogram.observe(ts::View<const float, 2>(value.data().data(), {1, n}, {n, 1}));
    ranges.push_back(histogram.percentile(kept));
  }
  return ranges;
}

// ---- Integers

QuantizedNetwork::QuantizedNetwork(const Model& model, const std::vector<ts::ValueRange>& ranges,
                                   ts::Context& context)
    : Network(model, context) {
  constexpr ts::AffineFormat kU8 = {.is_signed = false, .zero = ts::ZeroPoint::kFree};
  params_.push_back(ts::affine_params(ranges.at(0), kU8));
  values_.emplace_back(model.input);
  for (std::size_t i = 0; i < model.steps.size(); ++i) {
    const Step& step = model.steps[i];
    const ts::AffineParams x = params_[step.layer.input];
    Weights& weights = weights_.emplace_back();
    // Pooling copies codes.
    const bool pools = step.layer.kind == Layer::Kind::kMaxPool;
    params_.push_back(pools ? x : ts::affine_params(ranges.at(i + 1), kU8));
    values_.emplace_back(step.extents);
    if (pools) continue;
    weights.filter = quantize_filters(step, context, weights.scales);
    for (float& scale : weights.scales) scale *= x.scale;
  }
  for (const std::size_t value : model.outputs) outputs_.emplace_back(model.extents(value));
}

void QuantizedNetwork::set_input(const Tensor<float>& input) {
  const auto n = static_cast<index_t>(input.data().size());
  auto zero_point = static_cast<std::uint8_t>(params_[0].zero_point);
  ts::quantize(ts::View<const float, 2>(input.data().data(), {1, n}, {n, 1}),
               {.codes = values_[0].data().data(),
                .rows = 1,
                .cols = n,
                .row_bytes = n,
                .is_signed = false,
                .group = n,
                .scales = &params_[0].scale,
                .zero_points = &zero_point},
               {.scaling = ts::Scaling::kGiven, .context = &context()});
}

void QuantizedNetwork::max_pool(std::size_t i, const ts::MaxPool2dOptions& options) {
  ts::max_pool2d(values_[model().steps[i].layer.input].view(), values_[i + 1].view(), options);
}

void QuantizedNetwork::convolve(std::size_t i, const ts::ConvOptions<2>& options,
                                const ts::Epilogue& bias_and_activation) {
  const std::size_t input = model().steps[i].layer.input;
  ts::ConvOptions<2> with_zero_point = options;
  with_zero_point.x_zero_point = params_[input].zero_point;
  const auto x = values_[input].view();
  const Weights& weights = weights_[i];
  const ts::Epilogue epilogue =
      ts::epi::column_scale(vector_view(weights.scales)) | bias_and_activation;
  const std::vector<std::size_t>& outputs = model().outputs;
  const auto output = std::find(outputs.begin(), outputs.end(), i + 1);
  if (output != outputs.end()) {
    const auto at = static_cast<std::size_t>(output - outputs.begin());
    ts::conv2d(x, weights.filter, outputs_[at].view(), with_zero_point, epilogue);
  } else {
    const ts::AffineParams y = params_[i + 1];
    ts::conv2d(x, weights.filter, values_[i + 1].view(), with_zero_point,
               epilogue | ts::epi::requantize(1.0 / y.scale, y.zero_point));
  }
}

std::vector<Activations> QuantizedNetwork::outputs() const {
  std::vector<Activations> views;
  for (const Tensor<float>& output : outputs_) views.push_back(output.view());
  return views;
}

}  // namespace faces
