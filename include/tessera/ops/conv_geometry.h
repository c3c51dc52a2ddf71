// SPDX-License-Identifier: Apache-2.0
// Which elements of x and which taps meet in an element of y, axis by axis.
#ifndef TESSERA_OPS_CONV_GEOMETRY_H_
#define TESSERA_OPS_CONV_GEOMETRY_H_

#include <algorithm>
#include <array>
#include <numeric>

#include "tessera/config.h"
#include "tessera/ops/conv_problem.h"

namespace tessera::inline TESSERA_ABI::impl {

// Output q < count of an axis is element out + q * out_step of y, and the sum over t < taps of element
// in + q * in_step + t * dilation of x times element tap + t * tap_step of the filter.
struct ConvAxis {
  index_t count, out, out_step;
  index_t in, in_step, dilation;
  index_t taps, tap, tap_step;

  // Elements of x from the first tap to the last.
  index_t span() const { return taps == 0 ? 0 : (taps - 1) * dilation + 1; }
  // Does any output read outside of x?
  bool is_padded(index_t x_extent) const {
    if (taps == 0 || count == 0) return false;
    return in < 0 || in + (count - 1) * in_step + span() > x_extent;
  }
};

// A convolution, or one of those that a transposed one is made of: its outputs are a part of y.
struct ConvPhase {
  std::array<ConvAxis, 3> axes;  // d, h, w

  bool is_empty() const {
    return std::any_of(axes.begin(), axes.end(), [](const ConvAxis& a) { return a.count == 0; });
  }
  index_t taps() const { return axes[0].taps * axes[1].taps * axes[2].taps; }
};

inline ConvAxis conv_axis(index_t y_extent, index_t kernel, index_t stride, index_t dilation,
                          index_t padding) {
  return {y_extent, 0, 1, -padding, stride, dilation, kernel, 0, 1};
}

// Outputs residue, residue + stride, .. of a transposed convolution. Of o, x is read at (o + padding - k * dilation)
// / stride for each k where that is whole: every step-th, from the last on, so that positions in x rise.
inline ConvAxis transposed_axis(index_t y_extent, index_t kernel, index_t stride, index_t dilation,
                                index_t padding, index_t residue) {
  ConvAxis axis{};
  axis.count = residue < y_extent ? (y_extent - residue + stride - 1) / stride : 0;
  axis.out = residue;
  axis.out_step = stride;
  axis.in_step = 1;
  const index_t divisor = std::gcd(stride, dilation), step = stride / divisor;
  axis.dilation = dilation / divisor;
  axis.tap_step = -step;
  for (index_t k = 0; k < std::min(step, kernel); ++k) {
    const index_t at = residue + padding - k * dilation;
    if (at % stride != 0) continue;
    axis.taps = (kernel - k + step - 1) / step;
    axis.tap = k + (axis.taps - 1) * step;
    axis.in = (residue + padding - axis.tap * dilation) / stride;
  }
  return axis;
}

// f(phase) for each part of y: one, or with a transposed convolution one for each residue of the strides.
template <class F>
void for_each_phase(const ConvProblem& p, F f) {
  const auto axis = [&p](std::size_t i, index_t residue) {
    const index_t y = p.y.extents[i + 1], k = p.w.extents[i + 1];
    return p.transposed ? transposed_axis(y, k, p.stride[i], p.dilation[i], p.pad_begin[i], residue)
                        : conv_axis(y, k, p.stride[i], p.dilation[i], p.pad_begin[i]);
  };
  const auto residues = [&p](std::size_t i) { return p.transposed ? p.stride[i] : 1; };
  for (index_t d = 0; d < residues(0); ++d) {
    for (index_t h = 0; h < residues(1); ++h) {
      for (index_t w = 0; w < residues(2); ++w) {
        f(ConvPhase{{axis(0, d), axis(1, h), axis(2, w)}});
      }
    }
  }
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_GEOMETRY_H_
