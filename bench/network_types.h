// SPDX-License-Identifier: Apache-2.0
// Networks that are compared as a whole: their layers, and the operands of one run.
#ifndef TESSERA_BENCH_NETWORK_TYPES_H_
#define TESSERA_BENCH_NETWORK_TYPES_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "tessera/core/view.h"

namespace tessera::bench {

// One square image.
struct ImageExtents {
  index_t size = 0, channels = 0;
  index_t elements() const { return size * size * channels; }
};

// Layer i makes value i + 1; value 0 is the input of the network.
struct NetworkLayer {
  enum class Kind { kConvolution, kDepthwise, kMaxPool, kAveragePool };
  enum class Activation { kNone, kRelu, kRelu6 };

  Kind kind = Kind::kConvolution;
  index_t channels =
      0;  // of the result; of an average pooling, those that x lacks are zeros; 0: those of x
  index_t kernel = 1, stride = 1;
  bool pads =
      true;  // as many results as strides fit, the odd row or column of padding at the end; or none
  Activation activation = Activation::kNone;
  std::size_t input = 0;  // a value; 0: the last one
  // Of a convolution: a value that is added before the activation, which gives the result its size; 0: none. It is not
  // negative, and is itself the result where the convolution ends before.
  std::size_t residual = 0;

  // What Network::add() finds.
  ImageExtents x{}, y{};
  index_t computed = 0;  // size of what the layer itself gives
  index_t pad_begin = 0, pad_end = 0;

  bool convolves() const { return kind == Kind::kConvolution || kind == Kind::kDepthwise; }
  index_t groups() const { return kind == Kind::kDepthwise ? x.channels : 1; }
  index_t group_in() const { return x.channels / groups(); }
  index_t taps() const { return kernel * kernel; }
  index_t depth() const { return taps() * group_in(); }  // multiply-adds of one result
  double flops() const {
    return convolves() ? 2.0 * static_cast<double>(computed * computed * y.channels) *
                             static_cast<double>(depth())
                       : 0;
  }
};

struct Network {
  std::string name;
  ImageExtents input;
  std::vector<NetworkLayer> layers{};
  std::vector<std::size_t> outputs{};  // values

  const ImageExtents& extents(std::size_t value) const {
    return value == 0 ? input : layers[value - 1].y;
  }

  // Returns the number of the layer's value.
  std::size_t add(NetworkLayer layer) {
    if (layer.input == 0) layer.input = layers.size();
    layer.x = extents(layer.input);
    if (layer.channels == 0) layer.channels = layer.x.channels;
    if (layer.pads) {
      const index_t results = (layer.x.size + layer.stride - 1) / layer.stride;
      const index_t total =
          std::max<index_t>((results - 1) * layer.stride + layer.kernel - layer.x.size, 0);
      layer.pad_begin = total / 2;
      layer.pad_end = total - layer.pad_begin;
    }
    const index_t room = layer.x.size + layer.pad_begin + layer.pad_end - layer.kernel;
    layer.computed = room / layer.stride + 1;
    layer.y = {layer.residual == 0 ? layer.computed : extents(layer.residual).size, layer.channels};
    layers.push_back(layer);
    return layers.size();
  }

  double flops() const {
    double sum = 0;
    for (const NetworkLayer& layer : layers) sum += layer.flops();
    return sum;
  }
};

// SSD on MobileNet V1 for one class, 512 x 512: features on six scales, with a predictor of boxes and of classes each.
inline Network mobilenet_ssd() {
  using Kind = NetworkLayer::Kind;
  constexpr auto kRelu6 = NetworkLayer::Activation::kRelu6;
  Network net{.name = "mobilenet-ssd", .input = {512, 3}};
  net.add({.channels = 32, .kernel = 3, .stride = 2, .activation = kRelu6});
  std::vector<std::size_t> features;
  constexpr index_t kChannels[] = {64,  128, 128, 256, 256,  512, 512,
                                   512, 512, 512, 512, 1024, 1024};
  for (int i = 1; i <= 13; ++i) {
    const bool halves = i == 2 || i == 4 || i == 6 || i == 12;
    net.add(
        {.kind = Kind::kDepthwise, .kernel = 3, .stride = halves ? 2 : 1, .activation = kRelu6});
    const std::size_t value = net.add({.channels = kChannels[i - 1], .activation = kRelu6});
    if (i == 11 || i == 13) features.push_back(value);
  }
  constexpr std::pair<index_t, index_t> kMore[] = {{256, 512}, {128, 256}, {128, 256}, {64, 128}};
  for (const auto& [narrow, wide] : kMore) {
    net.add({.channels = narrow, .activation = kRelu6});
    features.push_back(net.add({.channels = wide, .kernel = 3, .stride = 2, .activation = kRelu6}));
  }
  for (std::size_t i = 0; i < features.size(); ++i) {
    const index_t anchors = i == 0 ? 3 : 6;
    for (const index_t numbers : {4, 3}) {
      net.outputs.push_back(net.add({.channels = numbers * anchors, .input = features[i]}));
    }
  }
  return net;
}

// dlib's ResNet of 29 layers for faces, 150 x 150: blocks of two convolutions beside their input, or where they halve
// the image beside its means over 2 x 2 pixels with channels of zeros.
inline Network face_resnet() {
  using Kind = NetworkLayer::Kind;
  constexpr auto kRelu = NetworkLayer::Activation::kRelu;
  Network net{.name = "face-resnet", .input = {150, 3}};
  const auto block = [&](bool halves, index_t channels) {
    const std::size_t input = net.layers.size();
    const std::size_t residual = halves ? net.add({.kind = Kind::kAveragePool,
                                                   .channels = channels,
                                                   .kernel = 2,
                                                   .stride = 2,
                                                   .pads = false})
                                        : input;
    net.add({.channels = channels,
             .kernel = 3,
             .stride = halves ? 2 : 1,
             .pads = !halves,
             .activation = kRelu,
             .input = input});
    net.add({.channels = channels, .kernel = 3, .activation = kRelu, .residual = residual});
  };
  net.add({.channels = 32, .kernel = 7, .stride = 2, .pads = false, .activation = kRelu});
  net.add({.kind = Kind::kMaxPool, .kernel = 3, .stride = 2, .pads = false});
  for (int i = 0; i < 3; ++i) block(false, 32);
  for (int i = 0; i < 4; ++i) block(i == 0, 64);
  for (int i = 0; i < 3; ++i) block(i == 0, 128);
  for (int i = 0; i < 3; ++i) block(i == 0, 256);
  block(true, 256);
  net.add({.kind = Kind::kAveragePool, .kernel = 2, .stride = 2, .pads = false});
  net.outputs = {net.add({.channels = 128})};
  return net;
}

// All dense; memory that is read may be read up to 128 bytes past its end.
struct NetworkOperands {
  const Network* network;
  std::vector<const float*> weights;  // of each layer that convolves: [out, kh, kw, in / groups]
  std::vector<const float*> bias;     // and [out]
  const float* x;                     // [h, w, c]
  std::vector<float*> y;              // of each output: [h, w, c]
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_NETWORK_TYPES_H_
