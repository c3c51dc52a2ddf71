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
    case Layer::Activation::kRelu:
      return ts::epi::relu();
    case Layer::Activation::kRelu6:
      return ts::epi::relu6();
    default:
      return {};
  }
}

ts::View<const float, 1> vector_view(const std::vector<float>& x) {
  return ts::View<const float, 1>(x.data(), {static_cast<index_t>(x.size())}, {1});
}

bool is_convolution(const Layer& layer) {
  return layer.kind == Layer::Kind::kConvolution || layer.kind == Layer::Kind::kDepthwise;
}

// The elements of x that lie before `ends`.
template <class T>
ts::View<T, 4> corner(const ts::View<T, 4>& x, const Extents& ends) {
  return {x.data, ends, x.strides};
}

// Channel i becomes times scale[i], plus bias[i].
void fold(const std::vector<double>& scale, const std::vector<double>& bias, Step& step) {
  const std::size_t outputs = step.bias.size();
  for (std::size_t i = 0; i < outputs; ++i) {
    step.bias[i] = static_cast<float>(step.bias[i] * scale[i] + bias[i]);
    for (std::size_t j = i; j < step.filter.size(); j += outputs) {
      step.filter[j] = static_cast<float>(step.filter[j] * scale[i]);
    }
  }
}

// Filter and bias of a convolution of images with `channels`.
void load_weights(const std::vector<tfjs::Tensor>& tensors, index_t channels, Step& step) {
  const Layer& layer = step.layer;
  tfjs::Tensor filter = find(tensors, layer.filter);
  if (filter.shape.size() == 2) filter.shape.insert(filter.shape.begin(), {1, 1});
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
  step.filter = std::move(filter.values);
  const auto outputs = static_cast<std::size_t>(step.filter_extents[0]);
  step.bias.assign(outputs, 0.0f);
  if (!layer.bias.empty()) step.bias = find(tensors, layer.bias).values;
  if (step.bias.size() != outputs) {
    throw std::runtime_error(layer.bias + ": a bias per channel was expected");
  }
  const auto part = [&](const std::string& prefix, const char* name) {
    const std::vector<float>& values = find(tensors, prefix + name).values;
    if (values.size() != outputs) {
      throw std::runtime_error(prefix + name + ": a number per channel was expected");
    }
    return std::vector<double>(values.begin(), values.end());
  };
  if (!layer.batch_norm.empty()) {
    std::vector<double> scale = part(layer.batch_norm, "gamma"),
                        bias = part(layer.batch_norm, "beta");
    const auto mean = part(layer.batch_norm, "moving_mean"),
               variance = part(layer.batch_norm, "moving_variance");
    for (std::size_t i = 0; i < outputs; ++i) {
      scale[i] /= std::sqrt(variance[i] + 0.001);
      bias[i] -= mean[i] * scale[i];
    }
    fold(scale, bias, step);
  }
  if (!layer.scale.empty()) {
    fold(part(layer.scale, "weights"), part(layer.scale, "biases"), step);
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
    step.written = {from[0], 0, 0, from[3]};
    if (is_convolution(layer)) {
      load_weights(tensors, from[3], step);
      kernel = {step.filter_extents[1], step.filter_extents[2]};
      step.written[3] = step.filter_extents[0];
    }
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const index_t n = from[axis + 1];
      if (layer.pads) {
        const auto [before, behind] = same_padding(n, kernel[axis], layer.stride);
        step.padding[axis] = before;
        step.padding[axis + 2] = behind;
      }
      step.written[axis + 1] = ts::window_count(n, {.kernel = kernel[axis],
                                                    .stride = layer.stride,
                                                    .begin = step.padding[axis],
                                                    .end = step.padding[axis + 2]});
    }
    step.extents = step.written;
    if (layer.channels != 0) step.extents[3] = layer.channels;
    if (layer.residual != 0) step.extents = extents(layer.residual);
    for (std::size_t axis = 0; axis < 4; ++axis) {
      if (step.written[axis] > step.extents[axis]) {
        throw std::runtime_error(layer.name + ": the result is larger than its residual");
      }
    }
    // Each weight takes part once in every pixel of the result.
    step.operations = 2.0 * static_cast<double>(step.written[0] * step.written[1]) *
                      static_cast<double>(step.written[2]) *
                      static_cast<double>(step.filter.size());
    steps.push_back(std::move(step));
  }
}

std::vector<bool> Model::needed_in_f32() const {
  std::vector<bool> needed(steps.size() + 1);
  needed[0] = true;
  for (const std::size_t value : outputs) needed[value] = true;
  for (std::size_t i = steps.size(); i-- > 0;) {
    const Step& step = steps[i];
    needed[step.layer.residual] = true;
    if (step.written != step.extents) needed[i + 1] = true;
    if (is_convolution(step.layer)) continue;
    if (step.layer.kind != Layer::Kind::kMaxPool) needed[i + 1] = true;
    // What is no convolution does not change the type.
    if (needed[i + 1]) needed[step.layer.input] = true;
  }
  return needed;
}

Network::Network(const Model& model, const std::vector<bool>& in_f32, ts::Context& context)
    : model_(model), context_(context) {
  for (std::size_t i = 0; i < in_f32.size(); ++i) {
    values_.emplace_back(in_f32[i] ? model.extents(i) : Extents{});
  }
}

ts::View<float, 4> Network::written(std::size_t i) {
  return corner(values_[i + 1].view(), model_.steps[i].written);
}

void Network::max_pool_f32(std::size_t i, const ts::MaxPool2dOptions& options) {
  ts::max_pool2d(value(model_.steps[i].layer.input).view(), written(i), options);
}

void Network::run(const Tensor<float>& input) {
  using Clock = std::chrono::steady_clock;
  values_[0] = input;
  completed(0);
  seconds_.clear();
  for (std::size_t i = 0; i < model_.steps.size(); ++i) {
    const auto start = Clock::now();
    run_step(i);
    if (!value(i + 1).is_empty()) completed(i + 1);
    seconds_.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
}

void Network::run_step(std::size_t i) {
  const Step& step = model_.steps[i];
  const auto pool_options = [&](auto options) {
    options.kernel = {step.layer.kernel, step.layer.kernel};
    options.stride = {step.layer.stride, step.layer.stride};
    options.padding = step.padding;
    options.context = &context_;
    return options;
  };
  if (step.layer.kind == Layer::Kind::kMaxPool) {
    max_pool(i, pool_options(ts::MaxPool2dOptions{}));
  } else if (step.layer.kind == Layer::Kind::kAveragePool) {
    // Channels behind those of the input are never written, and stay 0.
    ts::average_pool2d(value(step.layer.input).view(), written(i),
                       pool_options(ts::AveragePool2dOptions{}));
  } else if (step.layer.kind == Layer::Kind::kActivation) {
    // The epilogue of a product without depth.
    const Tensor<float>& x = value(step.layer.input);
    const index_t columns = step.extents[3];
    const index_t rows = static_cast<index_t>(x.data().size()) / columns;
    const auto matrix = [&](auto* data) { return ts::row_major(data, {rows, columns}); };
    ts::gemm(ts::row_major(x.data().data(), {rows, index_t{0}}),
             ts::row_major(x.data().data(), {index_t{0}, columns}),
             matrix(values_[i + 1].data().data()), {.context = &context_},
             ts::epi::residual(matrix(x.data().data())) | activation_of(step.layer));
  } else {
    ts::Epilogue epilogue = ts::epi::bias(vector_view(step.bias));
    if (step.layer.residual != 0) {
      const Activations residual = value(step.layer.residual).view();
      if (step.written != step.extents) {
        ts::pad(residual, values_[i + 1].view(), {.context = &context_});
      }
      epilogue = epilogue | ts::epi::residual(corner(residual, step.written));
    }
    convolve(i, step.conv_options(context_), epilogue | activation_of(step.layer));
  }
}

std::vector<Activations> Network::outputs() const {
  std::vector<Activations> views;
  for (const std::size_t i : model_.outputs) views.push_back(value(i).view());
  return views;
}

// ---- f32

FloatNetwork::FloatNetwork(const Model& model, ts::Context& context)
    : Network(model, std::vector<bool>(model.steps.size() + 1, true), context) {
  for (const Step& step : model.steps) {
    filters_.push_back(is_convolution(step.layer)
                           ? ts::pack_conv2d(step.filter_view(), step.conv_options(context))
                           : ts::PackedFilters<float, 2>());
  }
}

void FloatNetwork::max_pool(std::size_t i, const ts::MaxPool2dOptions& options) {
  max_pool_f32(i, options);
}

void FloatNetwork::convolve(std::size_t i, const ts::ConvOptions<2>& options,
                            const ts::Epilogue& epilogue) {
  ts::conv2d(value(model().steps[i].layer.input).view(), filters_[i], written(i), options,
             epilogue);
}

std::vector<ts::ValueRange> FloatNetwork::ranges(double kept) const {
  std::vector<ts::ValueRange> ranges;
  for (std::size_t i = 0; i <= model().steps.size(); ++i) {
    const auto n = static_cast<index_t>(value(i).data().size());
    ts::ValueHistogram histogram;
    histogram.observe(ts::View<const float, 2>(value(i).data().data(), {1, n}, {n, 1}));
    ranges.push_back(histogram.percentile(kept));
  }
  return ranges;
}

// ---- Integers

QuantizedNetwork::QuantizedNetwork(const Model& model, const std::vector<ts::ValueRange>& ranges,
                                   ts::Context& context)
    : Network(model, model.needed_in_f32(), context) {
  constexpr ts::AffineFormat kU8 = {.is_signed = false, .zero = ts::ZeroPoint::kFree};
  params_.push_back(ts::affine_params(ranges.at(0), kU8));
  std::vector<bool> read(model.steps.size() + 1);  // as codes
  for (std::size_t i = 0; i < model.steps.size(); ++i) {
    const Step& step = model.steps[i];
    const ts::AffineParams x = params_[step.layer.input];
    Weights& weights = weights_.emplace_back();
    // Pooling copies codes.
    const bool convolves = is_convolution(step.layer);
    const bool pools_codes = !convolves && value(i + 1).is_empty();
    params_.push_back(pools_codes ? x : ts::affine_params(ranges.at(i + 1), kU8));
    if (pools_codes || convolves) read[step.layer.input] = true;
    if (!convolves) continue;
    weights.filter = quantize_filters(step, context, weights.scales);
    for (float& scale : weights.scales) scale *= x.scale;
  }
  for (std::size_t i = 0; i < read.size(); ++i) {
    codes_.emplace_back(read[i] ? model.extents(i) : Extents{});
  }
}

void QuantizedNetwork::completed(std::size_t i) {
  if (codes_[i].is_empty()) return;
  const std::vector<float>& from = value(i).data();
  const auto n = static_cast<index_t>(from.size());
  auto zero_point = static_cast<std::uint8_t>(params_[i].zero_point);
  ts::quantize(ts::View<const float, 2>(from.data(), {1, n}, {n, 1}),
               {.codes = codes_[i].data().data(),
                .rows = 1,
                .cols = n,
                .row_bytes = n,
                .is_signed = false,
                .group = n,
                .scales = &params_[i].scale,
                .zero_points = &zero_point},
               {.scaling = ts::Scaling::kGiven, .context = &context()});
}

void QuantizedNetwork::max_pool(std::size_t i, const ts::MaxPool2dOptions& options) {
  if (!value(i + 1).is_empty()) return max_pool_f32(i, options);
  ts::max_pool2d(codes_[model().steps[i].layer.input].view(), codes_[i + 1].view(), options);
}

void QuantizedNetwork::convolve(std::size_t i, const ts::ConvOptions<2>& options,
                                const ts::Epilogue& epilogue) {
  const std::size_t input = model().steps[i].layer.input;
  ts::ConvOptions<2> with_zero_point = options;
  with_zero_point.x_zero_point = params_[input].zero_point;
  const auto x = codes_[input].view();
  const Weights& weights = weights_[i];
  const ts::Epilogue scaled = ts::epi::column_scale(vector_view(weights.scales)) | epilogue;
  if (value(i + 1).is_empty()) {
    const ts::AffineParams y = params_[i + 1];
    ts::conv2d(x, weights.filter, codes_[i + 1].view(), with_zero_point,
               scaled | ts::epi::requantize(1.0 / y.scale, y.zero_point));
  } else {
    ts::conv2d(x, weights.filter, written(i), with_zero_point, scaled);
  }
}

}  // namespace faces
