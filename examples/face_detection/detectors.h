// SPDX-License-Identifier: Apache-2.0
// Two face detectors of the npm package @vladmandic/face-api: what they are made of, what they want as input, and what
// their outputs mean.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_DETECTORS_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_DETECTORS_H_

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "image.h"
#include "input.h"
#include "network.h"

namespace faces {

// Intersection over union.
double overlap(const Face& a, const Face& b);

class Detector {
 public:
  virtual ~Detector() = default;

  const Model& model() const { return model_; }
  // What a network of the model takes for this photograph.
  Tensor<float> input(const Image& image) const;
  // Runs such a network. Faces with a score above `min_score`, the best first.
  std::vector<Face> detect(const Image& image, double min_score, Network& network) const;

 protected:
  Detector(const Architecture& architecture, const std::vector<tfjs::Tensor>& tensors,
           const InputFormat& format, double most_overlap, ts::Context& context);

 private:
  // Candidates, in units of the square.
  virtual std::vector<Face> decode(const std::vector<Activations>& outputs,
                                   double min_score) const = 0;

  ts::Context& context_;
  InputFormat format_;
  double most_overlap_;
  Model model_;
};

// "tiny", the tiny face detector (a YOLO v2 of depthwise separable convolutions), or "ssd", an SSD on MobileNet V1, from
// the model files in that directory.
std::unique_ptr<Detector> make_detector(const std::string& name,
                                        const std::filesystem::path& models, ts::Context& context);

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_DETECTORS_H_
