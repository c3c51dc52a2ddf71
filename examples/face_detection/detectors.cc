// SPDX-License-Identifier: Apache-2.0
#include "detectors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <utility>

namespace faces {
namespace {

using Kind = Layer::Kind;
using Activation = Layer::Activation;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double area(const Face& f) {
  return std::max(f.right - f.left, 0.0) * std::max(f.bottom - f.top, 0.0);
}

// Of faces that overlap, the best.
std::vector<Face> suppress(std::vector<Face> faces, double most_overlap) {
  std::stable_sort(faces.begin(), faces.end(),
                   [](const Face& a, const Face& b) { return a.score > b.score; });
  std::vector<Face> best;
  for (const Face& face : faces) {
    const auto hides = [&](const Face& other) { return overlap(face, other) > most_overlap; };
    if (std::none_of(best.begin(), best.end(), hides)) best.push_back(face);
  }
  return best;
}

// ---- The tiny face detector

// A grid of cells, each with a box for every anchor: an offset in the cell, a size relative to the anchor, a score.
class TinyDetector final : public Detector {
 public:
  TinyDetector(const std::vector<tfjs::Tensor>& tensors, ts::Context& context)
      : Detector(architecture(), tensors, {416, {117.001f, 114.697f, 97.404f}, 255}, 0.4, context) {
  }

 private:
  static Architecture architecture() {
    Architecture a;
    a.add({.name = "conv0",
           .filter = "conv0/filters",
           .bias = "conv0/bias",
           .pads = false,
           .activation = Activation::kLeakyRelu});
    for (int i = 1; i <= 5; ++i) {
      const std::string name = "conv" + std::to_string(i);
      a.add({.name = "pool" + std::to_string(i - 1),
             .kind = Kind::kMaxPool,
             .kernel = 2,
             .stride = 2});
      a.add({.name = name + " depthwise",
             .kind = Kind::kDepthwise,
             .filter = name + "/depthwise_filter"});
      a.add({.name = name + " pointwise",
             .filter = name + "/pointwise_filter",
             .bias = name + "/bias",
             .activation = Activation::kLeakyRelu});
    }
    a.add({.name = "pool5", .kind = Kind::kMaxPool, .kernel = 2});
    a.outputs = {a.add({.name = "conv8", .filter = "conv8/filters", .bias = "conv8/bias"})};
    return a;
  }

  std::vector<Face> decode(const std::vector<Activations>& outputs,
                           double min_score) const override {
    // Width and height, in cells.
    constexpr std::array<std::array<double, 2>, 5> kAnchors = {{{1.603231, 2.094468},
                                                                {6.041143, 7.080126},
                                                                {2.882459, 3.518061},
                                                                {4.266906, 5.178857},
                                                                {9.041765, 10.66308}}};
    const Activations& y = outputs[0];
    const auto cells = static_cast<double>(y.extent(1));
    std::vector<Face> faces;
    for (index_t row = 0; row < y.extent(1); ++row) {
      for (index_t column = 0; column < y.extent(2); ++column) {
        for (std::size_t a = 0; a < kAnchors.size(); ++a) {
          const float* const box = &y(0, row, column, static_cast<index_t>(5 * a));
          const double score = sigmoid(box[4]);
          if (!(score > min_score)) continue;
          const double x = (static_cast<double>(column) + sigmoid(box[0])) / cells;
          const double center = (static_cast<double>(row) + sigmoid(box[1])) / cells;
          const double w = std::exp(box[2]) * kAnchors[a][0] / cells / 2;
          const double h = std::exp(box[3]) * kAnchors[a][1] / cells / 2;
          faces.push_back({score, x - w, center - h, x + w, center + h});
        }
      }
    }
    return faces;
  }
};

// ---- SSD on MobileNet V1

// Six feature maps of the network, each with a predictor of boxes, relative to priors of the model file, and one of
// scores of three classes, the second of which are faces.
class SsdDetector final : public Detector {
 public:
  SsdDetector(const std::vector<tfjs::Tensor>& tensors, ts::Context& context)
      : Detector(architecture(), tensors, {512, {127.5f, 127.5f, 127.5f}, 127.5f}, 0.5, context),
        priors_(find(tensors, "Output/extra_dim").values) {}

 private:
  static Architecture architecture() {
    Architecture a;
    const auto convolution = [&](const std::string& prefix, int i, index_t stride) {
      const std::string name = prefix + "/Conv2d_" + std::to_string(i) + "_pointwise";
      return a.add({.name = name,
                    .filter = name + "/weights",
                    .bias = name + "/convolution_bn_offset",
                    .stride = stride,
                    .activation = Activation::kRelu6});
    };
    convolution("MobilenetV1", 0, 2);
    std::vector<std::size_t> features;
    for (int i = 1; i <= 13; ++i) {
      const std::string name = "MobilenetV1/Conv2d_" + std::to_string(i) + "_depthwise";
      a.add({.name = name,
             .kind = Kind::kDepthwise,
             .filter = name + "/depthwise_weights",
             .batch_norm = name + "/BatchNorm/",
             .stride = i == 2 || i == 4 || i == 6 || i == 12 ? 2 : 1,
             .activation = Activation::kRelu6});
      const std::size_t value = convolution("MobilenetV1", i, 1);
      if (i == 11 || i == 13) features.push_back(value);
    }
    for (int i = 0; i < 8; ++i) {
      const std::size_t value = convolution("Prediction", i, i % 2 == 0 ? 1 : 2);
      if (i % 2 != 0) features.push_back(value);
    }
    for (std::size_t i = 0; i < features.size(); ++i) {
      for (const char* part : {"/BoxEncodingPredictor", "/ClassPredictor"}) {
        const std::string name = "Prediction/BoxPredictor_" + std::to_string(i) + part;
        a.outputs.push_back(a.add({.name = name,
                                   .input = features[i],
                                   .filter = name + "/weights",
                                   .bias = name + "/biases"}));
      }
    }
    return a;
  }

  std::vector<Face> decode(const std::vector<Activations>& outputs,
                           double min_score) const override {
    std::vector<Face> faces;
    std::size_t at = 0;  // the prior
    for (std::size_t map = 0; map < outputs.size(); map += 2) {
      const Activations &boxes = outputs[map], &classes = outputs[map + 1];
      const index_t count = boxes.extent(1) * boxes.extent(2) * boxes.extent(3) / 4;
      for (index_t i = 0; i < count; ++i, ++at) {
        const double score = sigmoid(classes.data[3 * i + 1]);
        if (!(score > min_score)) continue;
        const float* const prior = &priors_.at(4 * at);  // top, left, bottom, right
        const float* const box = boxes.data + 4 * i;     // y, x, h, w
        std::array<std::array<double, 2>, 2> range{};    // of y and x
        for (std::size_t axis = 0; axis < 2; ++axis) {
          const double size = static_cast<double>(prior[axis + 2]) - prior[axis];
          const double center = prior[axis] + size / 2 + box[axis] / 10.0 * size;
          const double half = std::exp(box[axis + 2] / 5.0) * size / 2;
          range[axis] = {center - half, center + half};
        }
        faces.push_back({score, range[1][0], range[0][0], range[1][1], range[0][1]});
      }
    }
    return faces;
  }

  std::vector<float> priors_;
};

}  // namespace

double overlap(const Face& a, const Face& b) {
  const Face both{0, std::max(a.left, b.left), std::max(a.top, b.top), std::min(a.right, b.right),
                  std::min(a.bottom, b.bottom)};
  const double common = area(both), all = area(a) + area(b) - common;
  return all > 0 ? common / all : 0;
}

Detector::Detector(const Architecture& architecture, const std::vector<tfjs::Tensor>& tensors,
                   const InputFormat& format, double most_overlap, ts::Context& context)
    : context_(context),
      format_(format),
      most_overlap_(most_overlap),
      model_(architecture, tensors, format.extents()) {}

Tensor<float> Detector::input(const Image& image) const {
  return network_input(image, format_, context_);
}

std::vector<Face> Detector::detect(const Image& image, double min_score, Network& network) const {
  network.run(input(image));
  std::vector<Face> faces = suppress(decode(network.outputs(), min_score), most_overlap_);
  const auto side = static_cast<double>(std::max(image.width, image.height));
  for (Face& face : faces) {
    for (double* edge : {&face.left, &face.top, &face.right, &face.bottom}) *edge *= side;
    face.left = std::max(face.left, 0.0);
    face.top = std::max(face.top, 0.0);
    face.right = std::min(face.right, static_cast<double>(image.width));
    face.bottom = std::min(face.bottom, static_cast<double>(image.height));
  }
  return faces;
}

std::unique_ptr<Detector> make_detector(const std::string& name,
                                        const std::filesystem::path& models, ts::Context& context) {
  const auto tensors = [&](const char* model) {
    return tfjs::read_model(models / (std::string(model) + "-weights_manifest.json"));
  };
  if (name == "tiny") {
    return std::make_unique<TinyDetector>(tensors("tiny_face_detector_model"), context);
  }
  if (name == "ssd")
    return std::make_unique<SsdDetector>(tensors("ssd_mobilenetv1_model"), context);
  throw std::runtime_error("expected the model tiny or ssd, got " + name);
}

}  // namespace faces
