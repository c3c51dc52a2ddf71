// SPDX-License-Identifier: Apache-2.0
// Tensors as ONNX has them, and the views of Tessera over them.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_TENSOR_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_TENSOR_H_

#include <onnxruntime_c_api.h>

#include <algorithm>
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
inline constexpr ElementType kHalf = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
inline constexpr ElementType kBfloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
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
    case kHalf:
    case kBfloat:
      return 2;
    case kInt8:
    case kUint8:
    case kBool:
      return 1;
    default:
      return 0;
  }
}

// f32, or a type of 16 bits whose sums are in f32.
inline bool is_real(ElementType type) { return type == kFloat || type == kHalf || type == kBfloat; }

// Calls f with an element of the type, which is one of these.
template <class F>
void with_real(ElementType type, F&& f) {
  switch (type) {
    case kHalf:
      return f(f16());
    case kBfloat:
      return f(bf16());
    default:
      return f(float());
  }
}

// Calls f likewise; the type may also be s8 or u8. False for all others.
template <class F>
bool with_real_or_byte(ElementType type, F&& f) {
  if (is_real(type)) {
    with_real(type, f);
  } else if (type == kInt8) {
    f(std::int8_t());
  } else if (type == kUint8) {
    f(std::uint8_t());
  } else {
    return false;
  }
  return true;
}

// Calls f with a number of the size of an element.
template <class F>
void with_bits(ElementType type, F&& f) {
  switch (size_of_element(type)) {
    case 1:
      return f(std::uint8_t());
    case 2:
      return f(std::uint16_t());
    case 4:
      return f(std::uint32_t());
    default:
      return f(std::uint64_t());
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

// Elements, not owned. The shape is that of ONNX, [n, c, spatial..]; with `channels_last` memory has the channels as its last axis.
// They are dense, unless they are some of the channels of a larger tensor: then `row` says how many that has.
struct Tensor {
  void* data = nullptr;
  ElementType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  Shape shape;
  bool channels_last = false;
  index_t row = 0;  // elements from pixel to pixel; 0: the channels

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
  View<T, kRank> view = row_major(t.as<T>(), extents);
  if (t.row != 0) {
    view.strides[kRank - 2] = t.row;
    for (int i = kRank - 2; i-- > 0;) view.strides[i] = view.strides[i + 1] * view.extents[i + 1];
  }
  return view;
}

// How many axes views of any tensor have.
inline constexpr std::size_t kMostAxes = 5;

// The axes of ONNX, behind as many of extent 1 as are missing, in either layout.
template <class T>
View<T, kMostAxes> axes_view(const Tensor& t) {
  View<T, kMostAxes> view;
  view.data = t.as<T>();
  view.extents.fill(1);
  index_t stride = 1;
  const auto put = [&](std::size_t axis) {  // from the fastest in memory on
    const std::size_t at = kMostAxes - t.rank() + axis;
    view.extents[at] = static_cast<index_t>(t.shape[axis]);
    view.strides[at] = stride;
    stride *= view.extents[at];
  };
  if (t.channels_last) put(1);
  if (t.row != 0) stride = t.row;
  for (std::size_t axis = t.rank(); axis-- > 0;) {
    if (!(t.channels_last && axis == 1)) put(axis);
  }
  return view;
}

// The same, repeated along axes of extent 1 to have the extents of `shape`.
template <class T>
View<T, kMostAxes> broadcast_view(const Tensor& t, const Shape& shape) {
  View<T, kMostAxes> view = axes_view<T>(t);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t at = kMostAxes - shape.size() + i;
    const auto extent = static_cast<index_t>(shape[i]);
    if (view.extents[at] != extent) view.strides[at] = 0;
    view.extents[at] = extent;
  }
  return view;
}

// Elements [first, first + count) of an axis.
template <class T, int kRank>
View<T, kRank> part(View<T, kRank> v, std::size_t axis, index_t first, index_t count) {
  v.data += first * v.strides[axis];
  v.extents[axis] = count;
  return v;
}

// Extents that both have, as numpy has them.
inline Shape broadcast(const Shape& a, const Shape& b) {
  Shape y(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::int64_t ea = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t eb = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (ea != eb && ea != 1 && eb != 1) {
      throw std::invalid_argument("expected extents that broadcast, got " + to_string(a) + " and " +
                                  to_string(b));
    }
    y[y.size() - 1 - i] = ea == 1 ? eb : ea;
  }
  return y;
}

// Integers of a tensor of s64 or s32: extents, axes, indices.
inline bool is_index(ElementType type) { return type == kInt64 || type == kInt32; }
inline Shape integers(const Tensor& t) {
  const std::int64_t n = count(t.shape);
  if (t.type == kInt32) return {t.as<const std::int32_t>(), t.as<const std::int32_t>() + n};
  return {t.as<const std::int64_t>(), t.as<const std::int64_t>() + n};
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_TENSOR_H_
