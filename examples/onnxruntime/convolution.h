// SPDX-License-Identifier: Apache-2.0
// Convolutions of any rank and type.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_CONVOLUTION_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_CONVOLUTION_H_

#include "kernel.h"
#include "window.h"

namespace tessera::ort {

template <int kRank, class X, class W, class Y>
void convolve(const X& x, const W& w, const Y& y, const ConvOptions<kRank>& options,
              const Epilogue& epilogue = {}) {
  if constexpr (kRank == 1) {
    conv1d(x, w, y, options, epilogue);
  } else if constexpr (kRank == 2) {
    conv2d(x, w, y, options, epilogue);
  } else {
    conv3d(x, w, y, options, epilogue);
  }
}

template <int kRank, class W>
auto pack_filters(const W& w, const ConvOptions<kRank>& options) {
  if constexpr (kRank == 1) {
    return pack_conv1d(w, options);
  } else if constexpr (kRank == 2) {
    return pack_conv2d(w, options);
  } else {
    return pack_conv3d(w, options);
  }
}

template <int kRank, class X, class W, class Y>
void convolve(const X& x, const W& w, const Y& y, const ConvTransposeOptions<kRank>& options,
              const Epilogue& epilogue = {}) {
  if constexpr (kRank == 1) {
    conv_transpose1d(x, w, y, options, epilogue);
  } else if constexpr (kRank == 2) {
    conv_transpose2d(x, w, y, options, epilogue);
  } else {
    conv_transpose3d(x, w, y, options, epilogue);
  }
}

template <int kRank, class W>
auto pack_filters(const W& w, const ConvTransposeOptions<kRank>& options) {
  if constexpr (kRank == 1) {
    return pack_conv_transpose1d(w, options);
  } else if constexpr (kRank == 2) {
    return pack_conv_transpose2d(w, options);
  } else {
    return pack_conv_transpose3d(w, options);
  }
}

// What the attributes of a convolution say, and what follows from them for x and w.
template <int kRank>
struct ConvGeometry {
  Window<kRank> window;
  index_t groups = 1;

  bool read(const NodeView& node) {
    groups = static_cast<index_t>(node.integer("group", 1));
    return window.read(node);
  }

  // Without padding, which depends on x.
  ConvOptions<kRank> options() const {
    ConvOptions<kRank> o;
    o.stride = window.stride;
    o.dilation = window.dilation;
    o.groups = groups;
    return o;
  }

  ConvOptions<kRank> options(const Tensor& x, const std::array<index_t, kRank>& kernel,
                             Context& context) const {
    ConvOptions<kRank> o = options();
    o.padding = window.padding_for(spatial_extents<kRank>(x), kernel);
    o.context = &context;
    return o;
  }

  static Shape result(const Tensor& x, std::int64_t channels,
                      const std::array<index_t, kRank>& kernel, const ConvOptions<kRank>& o) {
    Shape shape = {x.shape[0], channels};
    for (int i = 0; i < kRank; ++i) {
      const index_t reach = (kernel[i] - 1) * o.dilation[i] + 1;
      const index_t room = static_cast<index_t>(x.shape[static_cast<std::size_t>(i + 2)]) +
                           o.padding[i] + o.padding[kRank + i] - reach;
      if (room < 0) throw std::invalid_argument("the kernel is larger than the padded image");
      shape.push_back(room / o.stride[i] + 1);
    }
    return shape;
  }
};

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_CONVOLUTION_H_
