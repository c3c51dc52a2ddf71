// SPDX-License-Identifier: Apache-2.0
#include "network.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

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

Network::Network(const Architecture& architecture, const std::vector<tfjs::Tensor>& tensors,
                 const std::array<index_t, 4>& input, ts::Context& context)
    : context_(context), layers_(architecture.layers), outputs_(architecture.outputs) {
  const auto add_value = [&](const std::array<index_t, 4>& e) {
    values_.push_back({e, std::vector<float>(static_cast<std::size_t>(e[0] * e[1] * e[2] * e[3]))});
  };
  add_value(input);
  for (const Layer& layer : layers_) {
    const std::array<index_t, 4> from = values_[layer.input].extents;
    std::array<index_t, 2> kernel = {layer.kernel, layer.kernel};
    index_t channels = from[3];
    double flops_per_result = 0;
    Weights& weights = weights_.emplace_back();
    if (layer.kind != Layer::Kind::kMaxPool) {
      const tfjs::Tensor& filter = find(tensors, layer.filter);
      const bool depthwise = layer.kind == Layer::Kind::kDepthwise;
      if (filter.shape.size() != 4 || filter.shape[2] != from[3] ||
          (depthwise && filter.shape[3] != 1)) {
        throw std::runtime_error(layer.filter + ": a filter of another shape was expected");
      }
      kernel = {filter.shape[0], filter.shape[1]};
      channels = depthwise ? from[3] : filter.shape[3];
      const index_t inputs = depthwise ? 1 : from[3];
      flops_per_result = 2.0 * static_cast<double>(kernel[0] * kernel[1] * inputs);

      // Channels of the result are the last axis of both kinds of filter.
      std::vector<float> values = filter.values;
      const auto c = static_cast<std::size_t>(channels);
      weights.bias.assign(c, 0.0f);
      if (!layer.bias.empty()) weights.bias = find(tensors, layer.bias).values;
      if (!layer.batch_norm.empty()) {
        const auto part = [&](const char* name) -> const std::vector<float>& {
          return find(tensors, layer.batch_norm + name).values;
        };
        const auto &gamma = part("gamma"), &beta = part("beta"), &mean = part("moving_mean"),
                   &variance = part("moving_variance");
        for (std::size_t i = 0; i < c; ++i) {
          const double scale = gamma.at(i) / std::sqrt(static_cast<double>(variance.at(i)) + 0.001);
          weights.bias[i] = static_cast<float>(beta.at(i) - mean.at(i) * scale);
          for (std::size_t j = i; j < values.size(); j += c) {
            values[j] = static_cast<float>(values[j] * scale);
          }
        }
      }
      if (weights.bias.size() != c) {
        throw std::runtime_error(layer.bias + ": a bias per channel was expected");
      }
      // [h, w, inputs, outputs] in memory, as [outputs, h, w, inputs].
      const index_t pixel = inputs * channels;
      weights.filter = pack_filter(
          ts::View<const float, 4>(values.data(), {channels, kernel[0], kernel[1], inputs},
                                   {1, kernel[1] * pixel, pixel, channels}),
          depthwise ? channels : 1);
    }
    std::array<index_t, 4> padding{};
    std::array<index_t, 4> to = {from[0], 0, 0, channels};
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const index_t n = from[axis + 1];
      if (layer.pads) {
        const auto [before, behind] = same_padding(n, kernel[axis], layer.stride);
        padding[axis] = before;
        padding[axis + 2] = behind;
      }
      to[axis + 1] = ts::window_count(n, {.kernel = kernel[axis],
                                          .stride = layer.stride,
                                          .begin = padding[axis],
                                          .end = padding[axis + 2]});
    }
    padding_.push_back(padding);
    add_value(to);
    times_.push_back(
        {layer.name, to, 0, flops_per_result * static_cast<double>(values_.back().data.size())});
  }
}

void Network::run() {
  using Clock = std::chrono::steady_clock;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const auto start = Clock::now();
    const Activations x = values_[layer.input].view();
    const ts::View<float, 4> y = values_[i + 1].view();
    const std::array<index_t, 2> stride = {layer.stride, layer.stride};
    if (layer.kind == Layer::Kind::kMaxPool) {
      ts::max_pool2d(x, y,
                     {.kernel = {layer.kernel, layer.kernel},
                      .stride = stride,
                      .padding = padding_[i],
                      .context = &context_});
    } else {
      convolve(
          x, *weights_[i].filter, y, stride, padding_[i], context_,
          ts::epi::bias(ts::View<const float, 1>(weights_[i].bias.data(), {y.extent(3)}, {1})) |
              activation_of(layer));
    }
    times_[i].seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }
}

std::vector<Activations> Network::outputs() const {
  std::vector<Activations> views;
  for (const std::size_t value : outputs_) {
    const Value& v = values_[value];
    views.push_back(
        ts::nhwc(v.data.data(), {v.extents[0], v.extents[1], v.extents[2], v.extents[3]}));
  }
  return views;
}

}  // namespace faces
