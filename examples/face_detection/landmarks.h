// SPDX-License-Identifier: Apache-2.0
// The landmark network of the npm package @vladmandic/face-api: 68 points of a face, and the square around it that the
// recognizer wants.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_LANDMARKS_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_LANDMARKS_H_

#include <filesystem>

#include "image.h"
#include "input.h"
#include "network.h"

namespace faces {

class LandmarkDetector {
 public:
  LandmarkDetector(const std::filesystem::path& models, ts::Context& context);

  const Model& model() const { return model_; }
  // What a network of the model takes for the picture of a face.
  Tensor<float> input(const Image& face) const;
  // Runs such a network on what `face` says about the image. The square has the middle of eyes and mouth at half its
  // width and 0.43 of its height, and 0.45 of it is between eyes and mouth; as in dlib, but for turning the head upright.
  Face align(const Image& image, const Face& face, Network& network) const;

 private:
  ts::Context& context_;
  Model model_;
};

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_LANDMARKS_H_
