// SPDX-License-Identifier: Apache-2.0
// 8-bit operands, their zero points and their scales.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_INTEGERS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_INTEGERS_H_

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernel.h"

namespace tessera::ort {

// Calls f with an element of the type, which is s8 or u8.
template <class F>
void with_byte(ElementType type, F&& f) {
  if (type == kInt8) {
    f(std::int8_t());
  } else {
    f(std::uint8_t());
  }
}

inline std::int32_t integer_at(const Tensor& t, std::int64_t i) {
  return t.type == kInt8 ? t.as<const std::int8_t>()[i] : t.as<const std::uint8_t>()[i];
}

// One number for all, or one for each line (row or column).
struct Lines {
  const Tensor* tensor;  // null: 0
  const char* name;

  bool is_single() const { return tensor == nullptr || count(tensor->shape) == 1; }
  std::int64_t at(index_t line) const { return is_single() ? 0 : line; }
  std::int32_t integer(index_t line) const {
    return tensor == nullptr ? 0 : integer_at(*tensor, at(line));
  }
  float number(index_t line) const { return tensor->as<const float>()[at(line)]; }
  bool is_zero() const {
    if (tensor == nullptr) return true;
    for (std::int64_t i = 0; i < count(tensor->shape); ++i) {
      if (integer_at(*tensor, i) != 0) return false;
    }
    return true;
  }

  void check(index_t lines) const {
    if (!is_single() && count(tensor->shape) != lines) {
      throw std::invalid_argument(std::string(name) + ": expected 1 or " + std::to_string(lines) +
                                  " elements, got " + to_string(tensor->shape));
    }
  }
  View<const std::int32_t, 1> integers(Step& step, index_t lines) const {
    std::int32_t* const values = step.scratch_of<std::int32_t>(lines);
    for (index_t i = 0; i < lines; ++i) values[i] = integer(i);
    return row_major<const std::int32_t>(values, {lines});
  }
};

// What sums of products are multiplied by to be codes of y: scale of a * scale of b / scale of y, per column.
inline View<const float, 1> requantization(Step& step, const Lines& a, const Lines& b,
                                           const Lines& y, index_t columns) {
  float* const scales = step.scratch_of<float>(columns);
  for (index_t i = 0; i < columns; ++i) scales[i] = a.number(0) * b.number(i) / y.number(0);
  return row_major<const float>(scales, {columns});
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_INTEGERS_H_
