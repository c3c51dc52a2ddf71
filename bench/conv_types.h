// SPDX-License-Identifier: Apache-2.0
// The convolutions that are compared, and the operands of one call.
#ifndef TESSERA_BENCH_CONV_TYPES_H_
#define TESSERA_BENCH_CONV_TYPES_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/options.h"
#include "tessera/core/view.h"

namespace tessera::bench {

// One image, square like the filters, which are padded by half of their extent.
struct ConvShape {
  index_t size = 0, in = 0, out = 0, kernel = 0, stride = 1, groups = 1;

  index_t padding() const { return kernel / 2; }
  index_t out_size() const { return (size + 2 * padding() - kernel) / stride + 1; }
  index_t pixels() const { return out_size() * out_size(); }
  index_t group_in() const { return in / groups; }
  index_t taps() const { return kernel * kernel; }
  index_t depth() const { return taps() * group_in(); }  // multiply-adds of one result
  bool is_depthwise() const { return groups > 1; }

  std::array<index_t, 4> x() const { return {1, size, size, in}; }
  std::array<index_t, 4> w() const { return {out, kernel, kernel, group_in()}; }
  std::array<index_t, 4> y() const { return {1, out_size(), out_size(), out}; }
  static index_t elements(const std::array<index_t, 4>& e) { return e[0] * e[1] * e[2] * e[3]; }

  double flops() const {
    return 2.0 * static_cast<double>(pixels()) * static_cast<double>(out) *
           static_cast<double>(depth());
  }
  // As parse_conv_shape() reads it.
  std::string name() const {
    std::string text = std::to_string(size) + "x" + std::to_string(in);
    if (!is_depthwise()) text += "x" + std::to_string(out);
    text += ":" + std::to_string(kernel);
    return stride == 1 ? text : text + ":" + std::to_string(stride);
  }
};

// SIZExINxOUT:KERNEL[:STRIDE], or SIZExCHANNELS:KERNEL[:STRIDE] of a depthwise one. Throws std::invalid_argument.
inline ConvShape parse_conv_shape(const std::string& text) {
  const std::vector<std::string> parts = split(text, ':');
  std::vector<index_t> numbers;
  for (const std::string& part : parts) {
    for (const std::string& item : split(part, 'x')) numbers.push_back(std::atol(item.c_str()));
  }
  const std::size_t extents = parts.empty() ? 0 : split(parts[0], 'x').size();
  const bool right = (extents == 2 || extents == 3) && (parts.size() == 2 || parts.size() == 3) &&
                     numbers.size() == extents + parts.size() - 1 &&
                     std::all_of(numbers.begin(), numbers.end(), [](index_t n) { return n > 0; });
  if (!right) {
    throw std::invalid_argument("\"" + text + "\" is no convolution, as 56x64x64:3 is one");
  }
  ConvShape s{.size = numbers[0], .in = numbers[1], .out = numbers[extents - 1]};
  if (extents == 2) s.groups = s.in;
  s.kernel = numbers[extents];
  if (parts.size() == 3) s.stride = numbers[extents + 1];
  return s;
}

enum class ConvTypes {
  kF32,
  kFast,  // f32 with leave to use Winograd's algorithm
  kS8,    // s8 x s8 -> s8, with a scale per output channel
};
inline constexpr std::array<const char*, 3> kConvTypes = {"f32", "fast", "s8"};

// Throws std::invalid_argument.
inline ConvTypes parse_conv_types(std::string_view text) {
  for (std::size_t i = 0; i < kConvTypes.size(); ++i) {
    if (text == kConvTypes[i]) return static_cast<ConvTypes>(i);
  }
  throw std::invalid_argument("\"" + std::string(text) + "\" is none of f32, fast, s8");
}

// All dense; the memory of x and w may be read up to 128 bytes past its end. T: float or std::int8_t.
template <class T>
struct ConvOperands {
  ConvShape shape;
  bool fast;   // of floats: the order of the sums is free
  const T* x;  // [1, h, w, in]
  const T* w;  // [out, kh, kw, in / groups]
  const float*
      scales;  // [out]; of integers: what sums are multiplied by before they are rounded to T
  T* y;        // [1, oh, ow, out]
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_CONV_TYPES_H_
