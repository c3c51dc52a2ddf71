// SPDX-License-Identifier: Apache-2.0
// The face recognition network of the npm package @vladmandic/face-api: numbers that are close together for pictures of
// one person.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_RECOGNIZER_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_RECOGNIZER_H_

#include <filesystem>
#include <vector>

#include "image.h"
#include "input.h"
#include "network.h"

namespace faces {

using Descriptor = std::vector<float>;  // 128 numbers

// Euclidean.
double distance(const Descriptor& a, const Descriptor& b);

// A ResNet of 29 layers, as dlib's. Faces are not turned upright before, so that distances are larger than they could
// be.
class Recognizer {
 public:
  Recognizer(const std::filesystem::path& models, ts::Context& context);

  const Model& model() const { return model_; }
  // What a network of the model takes for the picture of a face.
  Tensor<float> input(const Image& face) const;
  // Runs such a network.
  Descriptor describe(const Image& face, Network& network) const;

 private:
  ts::Context& context_;
  Model model_;
};

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_RECOGNIZER_H_
