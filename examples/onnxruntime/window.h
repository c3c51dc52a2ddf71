// SPDX-License-Identifier: Apache-2.0
// The attributes of windows that slide over images: kernels, strides, dilations, padding.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_WINDOW_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_WINDOW_H_

#include <algorithm>
#include <array>
#include <string>

#include "graph.h"
#include "kernel.h"
#include "tensor.h"

namespace tessera::ort {

template <int kRank>
struct Window {
  using Spatial = std::array<index_t, kRank>;
  enum class AutoPad { kNone, kSameUpper, kSameLower };

  Spatial stride, dilation;
  std::array<index_t, 2 * kRank> padding{};  // of AutoPad::kNone
  AutoPad auto_pad = AutoPad::kNone;

  // False: there is something that Tessera does not do.
  bool read(const NodeView& node) {
    const auto lists = [&](const char* name, auto& values, std::int64_t otherwise) {
      values.fill(static_cast<index_t>(otherwise));
      const auto given = node.get<Shape>(name);
      if (given.empty()) return true;
      if (given.size() != values.size()) return false;
      std::copy(given.begin(), given.end(), values.begin());
      return std::all_of(values.begin(), values.end(), [](index_t v) { return v >= 0; });
    };
    if (!lists("strides", stride, 1) || !lists("dilations", dilation, 1) ||
        !lists("pads", padding, 0)) {
      return false;
    }
    const std::string pad = node.get<std::string>("auto_pad", "NOTSET");
    if (pad == "VALID") padding.fill(0);
    if (pad == "SAME_UPPER") auto_pad = AutoPad::kSameUpper;
    if (pad == "SAME_LOWER") auto_pad = AutoPad::kSameLower;
    return true;
  }

  index_t reach(const Spatial& kernel, int axis) const {
    return (kernel[axis] - 1) * dilation[axis] + 1;
  }

  // `total` elements on both sides of an axis, as the attribute shares them out.
  void set_padding(std::array<index_t, 2 * kRank>& result, int axis, index_t total) const {
    const index_t less = total / 2;
    result[axis] = auto_pad == AutoPad::kSameUpper ? less : total - less;
    result[kRank + axis] = total - result[axis];
  }

  // For an image of these extents.
  std::array<index_t, 2 * kRank> padding_for(const Spatial& image, const Spatial& kernel) const {
    if (auto_pad == AutoPad::kNone) return padding;
    std::array<index_t, 2 * kRank> result{};
    for (int i = 0; i < kRank; ++i) {
      const index_t windows = (image[i] + stride[i] - 1) / stride[i];
      set_padding(result, i,
                  std::max<index_t>(0, (windows - 1) * stride[i] + reach(kernel, i) - image[i]));
    }
    return result;
  }
};

// The extents of x, [n, c, spatial..], that are spatial.
template <int kRank>
std::array<index_t, kRank> spatial_extents(const Tensor& x) {
  std::array<index_t, kRank> result;
  for (int i = 0; i < kRank; ++i) {
    result[i] = static_cast<index_t>(x.shape[static_cast<std::size_t>(i + 2)]);
  }
  return result;
}

// f(the number of spatial axes of x, [n, c, spatial..], as a constant) for x of `rank` axes; null where no kernel has so many.
template <class F>
std::unique_ptr<Kernel> with_spatial_axes(int rank, F&& f) {
  switch (rank) {
    case 3:
      return f(std::integral_constant<int, 1>());
    case 4:
      return f(std::integral_constant<int, 2>());
    case 5:
      return f(std::integral_constant<int, 3>());
    default:
      return nullptr;
  }
}

// A kernel for windows of as many axes as x, [n, c, spatial..], has, or null.
template <template <int> class KernelOf>
std::unique_ptr<Kernel> make_spatial(const NodeView& node, int rank) {
  return with_spatial_axes(
      rank, [&](auto axes) { return make_if_read<KernelOf<decltype(axes)::value>>(node); });
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_WINDOW_H_
