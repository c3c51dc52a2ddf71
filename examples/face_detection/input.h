// SPDX-License-Identifier: Apache-2.0
// A photograph, or a part of one, as the input of a network.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_INPUT_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_INPUT_H_

#include <array>

#include "image.h"
#include "network.h"

namespace faces {

// The image with as much black below it or to its right as makes it a square, resized to `side` pixels, as
// (pixel - mean) / scale.
struct InputFormat {
  index_t side;
  std::array<float, 3> mean;
  float scale;
  bool centered = false;  // half of the black is above or to the left

  Extents extents() const { return {1, side, side, 3}; }
};

Tensor<float> network_input(const Image& image, const InputFormat& format, ts::Context& context);

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_INPUT_H_
