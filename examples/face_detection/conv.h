// SPDX-License-Identifier: Apache-2.0
// Convolution: that of Tessera or, until it has one, loops.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_CONV_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_CONV_H_

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tessera/tessera.h"

#if __has_include("tessera/ops/conv.h")

#include "tessera/ops/conv.h"

namespace faces {

inline auto pack_filter(const tessera::View<const float, 4>& w, tessera::index_t groups) {
  return tessera::pack_conv2d(w, {.groups = groups});
}
using PackedFilter = decltype(pack_filter(tessera::View<const float, 4>(), 1));

inline void convolve(const tessera::View<const float, 4>& x, const PackedFilter& w,
                     const tessera::View<float, 4>& y,
                     const std::array<tessera::index_t, 2>& stride,
                     const std::array<tessera::index_t, 4>& padding, tessera::Context& context,
                     const tessera::Epilogue& epilogue) {
  tessera::conv2d(x, w, y, {.stride = stride, .padding = padding, .context = &context}, epilogue);
}

}  // namespace faces

#else

namespace faces {

using tessera::index_t;

struct PackedFilter {
  std::array<index_t, 4> extents;  // [co, kh, kw, ci / groups]
  index_t groups;
  std::vector<float> taps;  // [kh, kw, ci / groups, co]
};

inline PackedFilter pack_filter(const tessera::View<const float, 4>& w, index_t groups) {
  PackedFilter packed{w.extents, groups, {}};
  for (index_t i = 0; i < w.extent(1); ++i) {
    for (index_t j = 0; j < w.extent(2); ++j) {
      for (index_t k = 0; k < w.extent(3); ++k) {
        for (index_t o = 0; o < w.extent(0); ++o) packed.taps.push_back(w(o, i, j, k));
      }
    }
  }
  return packed;
}

// One chain of multiply-adds per result; one group, or as many as channels. The epilogue runs on an identity product.
inline void convolve(const tessera::View<const float, 4>& x, const PackedFilter& w,
                     const tessera::View<float, 4>& y, const std::array<index_t, 2>& stride,
                     const std::array<index_t, 4>& padding, tessera::Context& context,
                     const tessera::Epilogue& epilogue) {
  const index_t channels = y.extent(3), inputs = w.extents[3];
  const std::vector<float> one = {1};
  std::vector<float> sums(static_cast<std::size_t>(channels));
  for (index_t h = 0; h < y.extent(1); ++h) {
    for (index_t v = 0; v < y.extent(2); ++v) {
      sums.assign(sums.size(), 0.0f);
      for (index_t i = 0; i < w.extents[1]; ++i) {
        for (index_t j = 0; j < w.extents[2]; ++j) {
          const index_t p = h * stride[0] + i - padding[0], q = v * stride[1] + j - padding[1];
          if (p < 0 || p >= x.extent(1) || q < 0 || q >= x.extent(2)) continue;
          const float* const pixel = &x(0, p, q, 0);
          const float* taps =
              &w.taps[static_cast<std::size_t>((i * w.extents[2] + j) * inputs * channels)];
          for (index_t k = 0; k < inputs; ++k, taps += channels) {
            for (index_t o = 0; o < channels; ++o) {
              sums[static_cast<std::size_t>(o)] += taps[o] * pixel[w.groups == 1 ? k : o];
            }
          }
        }
      }
      tessera::gemm(tessera::row_major(one, {1, 1}),
                    tessera::View<const float, 2>(sums.data(), {1, channels}, {channels, 1}),
                    tessera::View<float, 2>(&y(0, h, v, 0), {1, channels}, {channels, 1}),
                    {.context = &context}, epilogue);
    }
  }
}

}  // namespace faces

#endif

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_CONV_H_
