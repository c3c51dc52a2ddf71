// SPDX-License-Identifier: Apache-2.0
#include "landmarks.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

namespace faces {
namespace {

using Kind = Layer::Kind;
using Activation = Layer::Activation;

constexpr InputFormat kFormat = {112, {122.782f, 117.001f, 104.298f}, 255, true};

// Four blocks of separable convolutions, the first of which halves the image. What each of them reads is the ReLU of
// the sum of all before it.
Architecture architecture() {
  Architecture a;
  const auto separable = [&](const std::string& name, index_t stride, std::size_t residual,
                             Activation activation) {
    a.add({.name = name + " depthwise",
           .kind = Kind::kDepthwise,
           .filter = name + "/depthwise_filter",
           .stride = stride});
    return a.add({.name = name + " pointwise",
                  .filter = name + "/pointwise_filter",
                  .bias = name + "/bias",
                  .residual = residual,
                  .activation = activation});
  };
  for (int block = 0; block < 4; ++block) {
    const std::string name = "dense" + std::to_string(block) + "/conv";
    std::size_t sum = 0;
    if (block == 0) {
      sum = a.add({.name = name + "0",
                   .filter = name + "0/filters",
                   .bias = name + "0/bias",
                   .stride = 2,
                   .activation = Activation::kRelu});
    } else {
      sum = separable(name + "0", 2, 0, Activation::kRelu);
    }
    for (int i = 1; i <= 2; ++i) {
      sum = separable(name + std::to_string(i), 1, sum, Activation::kNone);
      a.add({.name = name + std::to_string(i) + " relu",
             .kind = Kind::kActivation,
             .activation = Activation::kRelu});
    }
    separable(name + "3", 1, sum, Activation::kRelu);
  }
  a.add({.name = "mean", .kind = Kind::kAveragePool, .kernel = 7, .stride = 2, .pads = false});
  a.outputs = {a.add({.name = "fc", .filter = "fc/weights", .bias = "fc/bias"})};
  return a;
}

struct Point {
  double x = 0, y = 0;
};

double distance(const Point& a, const Point& b) { return std::hypot(a.x - b.x, a.y - b.y); }

}  // namespace

LandmarkDetector::LandmarkDetector(const std::filesystem::path& models, ts::Context& context)
    : context_(context),
      model_(architecture(),
             tfjs::read_model(models / "face_landmark_68_model-weights_manifest.json"),
             kFormat.extents()) {}

Tensor<float> LandmarkDetector::input(const Image& face) const {
  return network_input(face, kFormat, context_);
}

Face LandmarkDetector::align(const Image& image, const Face& face, Network& network) const {
  const Image part = crop(image, face);
  network.run(input(part));
  const Activations y = network.outputs()[0];
  const auto width = static_cast<double>(part.width), height = static_cast<double>(part.height);
  const double side = std::max(width, height);
  // Of points first to last - 1, on the image; the network gives x and y in units of its input.
  const auto middle = [&](index_t first, index_t last) {
    Point sum;
    for (index_t i = first; i < last; ++i) {
      sum.x += y(0, 0, 0, 2 * i) * side - (side - width) / 2;
      sum.y += y(0, 0, 0, 2 * i + 1) * side - (side - height) / 2;
    }
    const auto count = static_cast<double>(last - first);
    return Point{std::floor(face.left) + sum.x / count, std::floor(face.top) + sum.y / count};
  };
  const Point left_eye = middle(36, 42), right_eye = middle(42, 48), mouth = middle(48, 68);
  const double size =
      std::floor((distance(left_eye, mouth) + distance(right_eye, mouth)) / 2 / 0.45);
  const double left =
      std::floor(std::max((left_eye.x + right_eye.x + mouth.x) / 3 - 0.5 * size, 0.0));
  const double top =
      std::floor(std::max((left_eye.y + right_eye.y + mouth.y) / 3 - 0.43 * size, 0.0));
  return {face.score, left, top, left + size, top + size};
}

}  // namespace faces
