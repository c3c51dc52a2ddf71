// SPDX-License-Identifier: Apache-2.0
#include "input.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace faces {

Tensor<float> network_input(const Image& image, const InputFormat& format, ts::Context& context) {
  const index_t side = std::max(image.width, image.height);
  const index_t below = side - image.height, beside = side - image.width;
  // Of an odd number of rows or columns the larger half is behind.
  const index_t top = format.centered ? below / 2 : 0, left = format.centered ? beside / 2 : 0;
  const std::vector<float> pixels(image.pixels.begin(), image.pixels.end());
  std::vector<float> square(static_cast<std::size_t>(3 * side * side));
  const auto padded = ts::nhwc(square.data(), {index_t{1}, side, side, index_t{3}});
  ts::pad(ts::nhwc(pixels.data(), {index_t{1}, image.height, image.width, index_t{3}}), padded,
          {.padding = {0, top, left, 0, 0, below - top, beside - left, 0}, .context = &context});
  Tensor<float> result(format.extents());
  const ts::View<float, 4> x = result.view();
  ts::resize_bilinear2d(padded, x,
                        {.coordinates = ts::Coordinates::kAsymmetric, .context = &context});
  for (index_t h = 0; h < x.extent(1); ++h) {
    for (index_t w = 0; w < x.extent(2); ++w) {
      for (index_t c = 0; c < 3; ++c) {
        x(0, h, w, c) = (x(0, h, w, c) - format.mean[static_cast<std::size_t>(c)]) / format.scale;
      }
    }
  }
  return result;
}

}  // namespace faces
