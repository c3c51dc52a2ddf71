// SPDX-License-Identifier: Apache-2.0
#include "recognizer.h"

#include <cmath>
#include <cstddef>
#include <string>

namespace faces {
namespace {

using Kind = Layer::Kind;

constexpr InputFormat kFormat = {150, {122.782f, 117.001f, 104.298f}, 255, true};

Architecture architecture() {
  Architecture a;
  const auto convolution = [&](const std::string& name, Layer layer) {
    layer.name = name;
    layer.filter = name + "/conv/filters";
    layer.bias = name + "/conv/bias";
    layer.scale = name + "/scale/";
    layer.activation = Layer::Activation::kRelu;
    return a.add(layer);
  };
  // Two convolutions beside their input. Those that halve the image ("down") add its means over 2 x 2 pixels, and zeros
  // for the channels that it lacks. Their convolutions, which have no padding then, may give a row and a column less.
  const auto block = [&](const std::string& name, bool down, index_t channels) {
    std::size_t residual = a.layers.size();
    const std::size_t input = residual;
    if (down) {
      residual = a.add({.name = name + "/shortcut",
                        .kind = Kind::kAveragePool,
                        .channels = channels,
                        .kernel = 2,
                        .stride = 2,
                        .pads = false});
    }
    convolution(name + "/conv1",
                {.name = {}, .input = input, .stride = down ? 2 : 1, .pads = !down});
    convolution(name + "/conv2", {.name = {}, .residual = residual});
  };
  convolution("conv32_down", {.name = {}, .stride = 2, .pads = false});
  a.add({.name = "pool", .kind = Kind::kMaxPool, .kernel = 3, .stride = 2, .pads = false});
  for (const char* name : {"conv32_1", "conv32_2", "conv32_3"}) block(name, false, 32);
  block("conv64_down", true, 64);
  for (const char* name : {"conv64_1", "conv64_2", "conv64_3"}) block(name, false, 64);
  block("conv128_down", true, 128);
  for (const char* name : {"conv128_1", "conv128_2"}) block(name, false, 128);
  block("conv256_down", true, 256);
  for (const char* name : {"conv256_1", "conv256_2"}) block(name, false, 256);
  block("conv256_down_out", true, 256);
  a.add({.name = "mean", .kind = Kind::kAveragePool, .kernel = 2, .stride = 2, .pads = false});
  a.outputs = {a.add({.name = "fc", .filter = "fc"})};
  return a;
}

}  // namespace

double distance(const Descriptor& a, const Descriptor& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - b.at(i);
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

Recognizer::Recognizer(const std::filesystem::path& models, ts::Context& context)
    : context_(context),
      model_(architecture(),
             tfjs::read_model(models / "face_recognition_model-weights_manifest.json"),
             kFormat.extents()) {}

Tensor<float> Recognizer::input(const Image& face) const {
  return network_input(face, kFormat, context_);
}

Descriptor Recognizer::describe(const Image& face, Network& network) const {
  network.run(input(face));
  const Activations y = network.outputs()[0];
  return {y.data, y.data + y.extent(3)};
}

}  // namespace faces
