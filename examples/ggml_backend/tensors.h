// SPDX-License-Identifier: Apache-2.0
// Tensors of ggml as views: axes in the order of views, the one that ggml counts as 0 last.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_TENSORS_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_TENSORS_H_

#include <ggml.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>

#include "tessera/core/block_formats.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace ggml_port {

namespace ts = tessera;
using ts::index_t;

inline index_t extent(const ggml_tensor& t, int axis) { return static_cast<index_t>(t.ne[axis]); }
inline index_t step(const ggml_tensor& t, int axis) { return static_cast<index_t>(t.nb[axis]); }
inline std::byte* bytes(const ggml_tensor& t) { return static_cast<std::byte*>(t.data); }

// Parameter i of an operation; number() of those that are integers.
template <class T>
T param(const ggml_tensor& op, int i) {
  static_assert(sizeof(T) == sizeof(op.op_params[0]));
  T value;
  std::memcpy(&value, &op.op_params[i], sizeof(value));
  return value;
}

inline index_t number(const ggml_tensor& op, int i) {
  return static_cast<index_t>(param<std::int32_t>(op, i));
}

// The format of blocks that Tessera has, too: the same bytes but for NVFP4 (nvfp4.h).
inline std::optional<ts::BlockFormat> block_format(ggml_type type) {
  using enum ts::BlockFormat;
  switch (type) {
    case GGML_TYPE_Q4_0:
      return kQ4_0;
    case GGML_TYPE_Q4_1:
      return kQ4_1;
    case GGML_TYPE_Q5_0:
      return kQ5_0;
    case GGML_TYPE_Q5_1:
      return kQ5_1;
    case GGML_TYPE_Q8_0:
      return kQ8_0;
    case GGML_TYPE_Q2_K:
      return kQ2_K;
    case GGML_TYPE_Q3_K:
      return kQ3_K;
    case GGML_TYPE_Q4_K:
      return kQ4_K;
    case GGML_TYPE_Q5_K:
      return kQ5_K;
    case GGML_TYPE_Q6_K:
      return kQ6_K;
    case GGML_TYPE_IQ4_NL:
      return kIQ4_NL;
    case GGML_TYPE_IQ4_XS:
      return kIQ4_XS;
    case GGML_TYPE_TQ1_0:
      return kTQ1_0;
    case GGML_TYPE_TQ2_0:
      return kTQ2_0;
    case GGML_TYPE_MXFP4:
      return kMXFP4;
    case GGML_TYPE_NVFP4:
      return kNVFP4;
    default:
      return std::nullopt;
  }
}

inline bool is_float(ggml_type type) {
  return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16;
}
inline bool is_float(const ggml_tensor* t) { return t != nullptr && is_float(t->type); }
inline bool is_f32(const ggml_tensor* t) { return t != nullptr && t->type == GGML_TYPE_F32; }
inline bool is_i32(const ggml_tensor* t) { return t != nullptr && t->type == GGML_TYPE_I32; }
inline bool has_rows(const ggml_tensor& t) { return t.nb[0] == ggml_type_size(t.type); }

// Calls f with a null pointer of the element type, one of f32, f16, bf16.
template <class F>
void with_float(ggml_type type, F&& f) {
  if (type == GGML_TYPE_F16) {
    f(static_cast<ts::f16*>(nullptr));
  } else if (type == GGML_TYPE_BF16) {
    f(static_cast<ts::bf16*>(nullptr));
  } else {
    f(static_cast<float*>(nullptr));
  }
}

// All four axes.
template <class T>
ts::View<T, 4> view4(const ggml_tensor& t) {
  constexpr index_t kSize = sizeof(T);
  return {reinterpret_cast<T*>(t.data),
          {extent(t, 3), extent(t, 2), extent(t, 1), extent(t, 0)},
          {step(t, 3) / kSize, step(t, 2) / kSize, step(t, 1) / kSize, step(t, 0) / kSize}};
}

// The matrix (i2, i3) of rows along axis 0.
template <class T>
ts::View<T, 2> matrix(const ggml_tensor& t, index_t i2 = 0, index_t i3 = 0) {
  constexpr index_t kSize = sizeof(T);
  return {reinterpret_cast<T*>(bytes(t) + i2 * step(t, 2) + i3 * step(t, 3)),
          {extent(t, 1), extent(t, 0)},
          {step(t, 1) / kSize, step(t, 0) / kSize}};
}

template <class T>
ts::View<T, 1> row(const ggml_tensor& t, index_t i1 = 0, index_t i2 = 0, index_t i3 = 0) {
  constexpr index_t kSize = sizeof(T);
  return {reinterpret_cast<T*>(bytes(t) + i1 * step(t, 1) + i2 * step(t, 2) + i3 * step(t, 3)),
          {extent(t, 0)},
          {step(t, 0) / kSize}};
}

// Whether axes 1 to 3 are one, with rows equally far apart.
inline bool is_one_matrix(const ggml_tensor& t) {
  return (t.ne[2] == 1 || t.nb[2] == t.nb[1] * static_cast<std::size_t>(t.ne[1])) &&
         (t.ne[3] == 1 || t.nb[3] == t.nb[1] * static_cast<std::size_t>(t.ne[1] * t.ne[2]));
}
template <class T>
ts::View<T, 2> all_rows(const ggml_tensor& t) {
  ts::View<T, 2> rows = matrix<T>(t);
  rows.extents[0] *= extent(t, 2) * extent(t, 3);
  return rows;
}

// Blocks of the matrix (i2, i3), where they are. See BlockRows of nvfp4.h for blocks that may have other bytes.
inline ts::ConstBlockView block_rows(const ggml_tensor& t, index_t i2 = 0, index_t i3 = 0) {
  const std::byte* const data = bytes(t) + i2 * step(t, 2) + i3 * step(t, 3);
  ts::ConstBlockView view =
      ts::blocks(*block_format(t.type), static_cast<const void*>(data), extent(t, 1), extent(t, 0));
  view.row_bytes = step(t, 1);
  return view;
}

// f(i2, i3) for all matrices.
template <class F>
void for_each_matrix(const ggml_tensor& t, F&& f) {
  for (index_t i3 = 0; i3 < extent(t, 3); ++i3) {
    for (index_t i2 = 0; i2 < extent(t, 2); ++i2) f(i2, i3);
  }
}

// Whether each extent of b is that of a or 1.
inline bool broadcasts_to(const ggml_tensor& b, const ggml_tensor& a) {
  for (int i = 0; i < GGML_MAX_DIMS; ++i) {
    if (b.ne[i] != a.ne[i] && b.ne[i] != 1) return false;
  }
  return true;
}

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_TENSORS_H_
