// SPDX-License-Identifier: Apache-2.0
// A layer of a vision network: README.md shows this program.

#include <cstdio>
#include <vector>
#include "tessera/tessera.h"

int main() {
  namespace ts = tessera;
  std::vector<float> image(3 * 6 * 6), weights(8 * 3 * 3 * 3), bias(8, 0.5f), result(3 * 3 * 8);
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i % 7);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 5) - 2;

  const auto x = ts::nchw(image.data(), {1, 3, 6, 6});    // channels first, as PyTorch has them
  const auto w = ts::oihw(weights.data(), {8, 3, 3, 3});  // 8 filters of 3 x 3 x 3
  const auto y = ts::nhwc(result.data(), {1, 3, 3, 8});   // channels last
  const ts::ConvOptions<2> options{.stride = {2, 2}, .padding = {1, 1, 1, 1}};
  const auto packed = ts::pack_conv2d(w, options);  // once, for many images
  ts::conv2d(x, packed, y, options, ts::epi::bias(ts::row_major(bias, {8})) | ts::epi::relu());
  for (int channel = 0; channel < 8; ++channel) std::printf("%5g", y(0, 1, 1, channel));
  std::printf("\n");
}
