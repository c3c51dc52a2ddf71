// SPDX-License-Identifier: Apache-2.0
// Tensors as ONNX has them, and the views of Tessera over them.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_TENSOR_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_TENSOR_H_

#include <onnxruntime_c_api.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "tessera/tessera.h"

namespace tessera::ort {

using ElementType = ONNXTensorElementDataType;
using Shape = std::vector<std::int64_t>;

inline constexpr ElementType kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
inline constexpr ElementType kInt8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
inline constexpr ElementType kUint8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
inline constexpr ElementType kInt32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
inline constexpr ElementType kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
inline constexpr ElementType kBool = ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;

// Of the types above; 0 of all others, which no kernel takes.
inline std::size_t size_of_element(ElementType type) {
  switch (type) {
    case kFloat:
    case kInt32:
      return 4;
    case kInt64:
      return 8;
    case kInt8:
    case kUint8:
    case kBool:
      return 1;
    default:
      return 0;
  }
}

// The product of extents [first, last).
inline std::int64_t count(const Shape& shape, std::size_t first, std::size_t last) {
  std::int64_t product = 1;
  for (std::size_t i = first; i < last; ++i) product *= shape[i];
  return product;
}
inline std::int64_t count(const Shape& shape) { return count(shape, 0, shape.size()); }

inline std::string to_string(const Shape& shape) {
  std::string text = "{";
  for (const std::int64_t extent : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  }
  return text + "}";
}

// Dense elements, not owned. The shape is that of ONNX, [n, c, spatial..]; with `channels_last` memory has the channels as its
// last axis.
struct Tensor {
  void* data = nullptr;
  ElementType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  Shape shape;
  bool channels_last = false;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  std::size_t rank() const { return shape.size(); }
  std::size_t bytes() const {
    return static_cast<std::size_t>(count(shape)) * size_of_element(type);
  }
};

// The axis that an attribute means: from the end if negative.
inline std::size_t axis_of(std::int64_t axis, std::size_t rank) {
  const std::int64_t positive = axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis;
  if (positive < 0 || positive > static_cast<std::int64_t>(rank)) {
    throw std::invalid_argument("axis: expected one of " + std::to_string(rank) + ", got " +
                                std::to_string(axis));
  }
  return static_cast<std::size_t>(positive);
}

template <class T>
View<T, 1> vector_view(const Tensor& t) {
  return row_major(t.as<T>(), {count(t.shape)});
}

// [all axes before `axis`, all others].
template <class T>
View<T, 2> rows_view(const Tensor& t, std::size_t axis) {
  return row_major(t.as<T>(), {count(t.shape, 0, axis), count(t.shape, axis, t.rank())});
}

// [n, spatial.., c], in either layout.
template <class T, int kRank>
View<T, kRank> channels_view(const Tensor& t) {
  std::int64_t extents[kRank];
  for (int i = 0; i < kRank; ++i) extents[i] = t.shape[static_cast<std::size_t>(i)];
  if (!t.channels_last) return detail::channels_first(t.as<T>(), extents);
  for (int i = 1; i + 1 < kRank; ++i) extents[i] = t.shape[static_cast<std::size_t>(i + 1)];
  extents[kRank - 1] = t.shape[1];
  return row_major(t.as<T>(), extents);
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_TENSOR_H_
