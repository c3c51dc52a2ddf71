// SPDX-License-Identifier: Apache-2.0
// Copies, with and without a conversion: of tensors, and of chosen rows.
#include <cstring>
#include <string>
#include <type_traits>

#include "nvfp4.h"
#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/elementwise.h"
#include "tessera/ops/embedding.h"
#include "tessera/ops/permute.h"
#include "tessera/ops/quantize.h"

namespace ggml_port {
namespace {

// Calls f with a null pointer of an unsigned integer with the size of the elements.
template <class F>
void with_bits(ggml_type type, F&& f) {
  switch (ggml_type_size(type)) {
    case 1:
      return f(static_cast<std::uint8_t*>(nullptr));
    case 2:
      return f(static_cast<std::uint16_t*>(nullptr));
    case 4:
      return f(static_cast<std::uint32_t*>(nullptr));
    default:
      return f(static_cast<std::uint64_t*>(nullptr));
  }
}

// Formats whose blocks are the same bytes as ggml's own. Other blocks differ, though any reader reads them.
bool is_quantized_alike(ggml_type type) {
  return type == GGML_TYPE_Q4_0 || type == GGML_TYPE_Q4_1 || type == GGML_TYPE_Q5_0 ||
         type == GGML_TYPE_Q5_1 || type == GGML_TYPE_Q8_0;
}

bool converts(ggml_type from, ggml_type to) {
  if (from == to) return !ggml_is_quantized(from);
  if (is_float(from) && is_float(to)) return true;
  return (from == GGML_TYPE_F32 && is_quantized_alike(to)) ||
         (to == GGML_TYPE_F32 && block_format(from).has_value());
}

// A tensor with the elements of `t` in the order of `shape`: `t` has that shape, or no gaps.
ggml_tensor reshaped(const ggml_tensor& t, const ggml_tensor& shape) {
  if (ggml_are_same_shape(&t, &shape)) return t;
  ggml_tensor result = t;
  for (int i = 0; i < GGML_MAX_DIMS; ++i) result.ne[i] = shape.ne[i];
  result.nb[1] = ggml_row_size(t.type, shape.ne[0]);
  result.nb[2] = result.nb[1] * static_cast<std::size_t>(shape.ne[1]);
  result.nb[3] = result.nb[2] * static_cast<std::size_t>(shape.ne[2]);
  return result;
}

// y = x as another type of floats: times one.
template <class X, class Y>
void copy_elements(Run& run, const ts::View<const X, 4>& x, const ts::View<Y, 4>& y) {
  static constexpr float kOne = 1;
  const ts::View<const float, 4> one(&kOne, {1, 1, 1, 1}, {0, 0, 0, 0});
  ts::elementwise(ts::BinaryOp::kMul, x, one, y, {.context = run.context()});
}

// Both of one shape.
void convert(Run& run, const ggml_tensor& x, const ggml_tensor& y) {
  ts::Context* const context = run.context();
  if (x.type == y.type) {
    return with_bits(x.type, [&]<class T>(T*) {
      ts::copy(view4<const T>(x), view4<T>(y), {.context = context});
    });
  }
  if (const auto format = block_format(y.type)) {
    return for_each_matrix(x, [&](index_t i2, index_t i3) {
      std::byte* const data = bytes(y) + i2 * step(y, 2) + i3 * step(y, 3);
      ts::BlockView to = ts::blocks(*format, static_cast<void*>(data), extent(y, 1), extent(y, 0));
      to.row_bytes = step(y, 1);
      ts::quantize(matrix<const float>(x, i2, i3), to, {.context = context});
    });
  }
  if (block_format(x.type)) {
    return for_each_matrix(x, [&](index_t i2, index_t i3) {
      ts::dequantize(BlockRows(x, i2, i3).view(), matrix<float>(y, i2, i3), {.context = context});
    });
  }
  with_float(x.type, [&]<class X>(X*) {
    with_float(y.type, [&]<class Y>(Y*) { copy_elements(run, view4<const X>(x), view4<Y>(y)); });
  });
}

bool supports_copy(const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  if (!converts(x.type, op.type)) return false;
  if (ggml_are_same_shape(&x, &op))
    return (!block_format(x.type) && !block_format(op.type)) || (has_rows(x) && has_rows(op));
  const bool rows = !ggml_is_quantized(x.type) && !ggml_is_quantized(op.type);
  return rows && (ggml_is_contiguous(&x) || ggml_is_contiguous(&op));
}

void copy(Run& run, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  if (x.data == op.data && x.type == op.type) return;
  if (ggml_is_contiguous(&op)) return convert(run, x, reshaped(op, x));
  convert(run, reshaped(x, op), op);
}

bool supports_get_rows(const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  return is_f32(&op) && is_i32(op.src[1]) && has_rows(x) &&
         (is_float(x.type) || block_format(x.type)) && op.src[1]->ne[3] == 1;
}

// Only the rows that are chosen are regrouped, of a table that may be large.
void get_nvfp4_rows(Run& run, const ggml_tensor& x, const ts::View<const std::int32_t, 1>& indices,
                    const ts::View<float, 2>& y, index_t i2, index_t i3) {
  const ts::ConstBlockView table = block_rows(x, i2, i3);
  const index_t rows = indices.extent(0), row_bytes = ts::row_bytes(table.format, table.cols);
  auto* const chosen = run.scratch<std::byte>(0, static_cast<std::size_t>(rows * row_bytes));
  for (index_t i = 0; i < rows; ++i) {
    const std::int32_t id = indices(i);
    if (id < 0 || id >= table.rows) {
      throw ts::Error("GET_ROWS", "ids", "rows below " + std::to_string(table.rows),
                      std::to_string(id));
    }
    regroup_nvfp4(table.row(id), table.cols, chosen + i * row_bytes);
  }
  ts::dequantize(ts::blocks(table.format, static_cast<const void*>(chosen), rows, table.cols), y,
                 {.context = run.context()});
}

void get_rows(Run& run, const ggml_tensor& op) {
  const ggml_tensor &x = *op.src[0], &ids = *op.src[1];
  const ts::EmbeddingOptions options{.context = run.context()};
  for_each_matrix(op, [&](index_t i2, index_t i3) {
    const auto indices = row<const std::int32_t>(ids, i2, i3);
    const auto y = matrix<float>(op, i2, i3);
    if (x.type == GGML_TYPE_NVFP4) return get_nvfp4_rows(run, x, indices, y, i2, i3);
    if (block_format(x.type)) return ts::embedding(block_rows(x, i2, i3), indices, y, options);
    with_float(x.type, [&]<class T>(T*) {
      ts::embedding(matrix<const T>(x, i2, i3), indices, y, options);
    });
  });
}

bool supports_set_rows(const ggml_tensor& op) {
  const ggml_tensor &x = *op.src[0], &ids = *op.src[1];
  return is_f32(&x) && (ids.type == GGML_TYPE_I64 || ids.type == GGML_TYPE_I32) &&
         converts(x.type, op.type) && has_rows(x);
}

// Rows of x to the rows of op that ids tell: converted all at once, to where they go if they are neighbours there.
void set_rows(Run& run, const ggml_tensor& op) {
  const ggml_tensor &x = *op.src[0], &ids = *op.src[1];
  for_each_matrix(x, [&](index_t i2, index_t i3) {
    const auto id = [&](index_t i) -> std::int64_t {
      const index_t i11 = i2 % extent(ids, 1), i12 = i3 % extent(ids, 2);
      return ids.type == GGML_TYPE_I64 ? row<const std::int64_t>(ids, i11, i12)(i)
                                       : row<const std::int32_t>(ids, i11, i12)(i);
    };
    const index_t rows = extent(x, 1);
    bool are_neighbours = true;
    for (index_t i = 0; i < rows; ++i) {
      are_neighbours = are_neighbours && id(i) == id(0) + i;
      if (id(i) >= 0 && id(i) < op.ne[1]) continue;
      throw ts::Error("SET_ROWS", "ids", "rows below " + std::to_string(op.ne[1]),
                      std::to_string(id(i)));
    }
    const auto part = [&](const ggml_tensor& t, index_t at) {
      ggml_tensor p = t;
      p.data = bytes(t) + at * step(t, 1) + i2 * step(t, 2) + i3 * step(t, 3);
      p.ne[1] = rows;
      p.ne[2] = p.ne[3] = 1;
      return p;
    };
    if (are_neighbours) return convert(run, part(x, 0), part(op, id(0)));
    ggml_tensor converted = part(x, 0);
    const std::size_t size = ggml_row_size(op.type, op.ne[0]);
    if (x.type != op.type) {
      converted.type = op.type;
      converted.nb[0] = op.nb[0];
      converted.nb[1] = size;
      converted.data = run.scratch<std::byte>(0, static_cast<std::size_t>(rows) * size);
      convert(run, part(x, 0), converted);
    }
    for (index_t i = 0; i < rows; ++i)
      std::memcpy(part(op, id(i)).data, bytes(converted) + i * step(converted, 1), size);
  });
}

bool supports_concat(const ggml_tensor& op) {
  return op.src[0]->type == op.type && op.src[1]->type == op.type && !ggml_is_quantized(op.type);
}

void concat(Run& run, const ggml_tensor& op) {
  const int axis = param<std::int32_t>(op, 0);
  ggml_tensor to = op;
  for (const ggml_tensor* x : {op.src[0], op.src[1]}) {
    to.ne[axis] = x->ne[axis];
    if (!ggml_is_empty(x)) convert(run, *x, to);
    to.data = bytes(to) + extent(*x, axis) * step(op, axis);
  }
}

bool supports_repeat(const ggml_tensor& op) {
  return op.src[0]->type == op.type && !ggml_is_quantized(op.type);
}

void repeat(Run& run, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  ggml_tensor to = op;
  index_t times[GGML_MAX_DIMS];
  for (int i = 0; i < GGML_MAX_DIMS; ++i) {
    to.ne[i] = x.ne[i];
    times[i] = extent(op, i) / extent(x, i);
  }
  for (index_t i = 0; i < times[0] * times[1] * times[2] * times[3]; ++i) {
    index_t rest = i;
    to.data = op.data;
    for (int axis = 0; axis < GGML_MAX_DIMS; rest /= times[axis++]) {
      to.data = bytes(to) + rest % times[axis] * extent(x, axis) * step(op, axis);
    }
    convert(run, x, to);
  }
}

bool supports_im2col(const ggml_tensor& op) {
  return is_f32(op.src[1]) && (op.type == GGML_TYPE_F32 || op.type == GGML_TYPE_F16) &&
         has_rows(*op.src[1]);
}

// x [batch, channels, height, width] in the type of a result. Signals are images of one row.
template <class T>
ts::View<const T, 4> images_as(Run& run, const ggml_tensor& x, bool is_2d) {
  ggml_tensor t = x;
  if (!is_2d) {
    for (int axis = 3; axis > 1; --axis) {
      t.ne[axis] = x.ne[axis - 1];
      t.nb[axis] = x.nb[axis - 1];
    }
    t.ne[1] = 1;
  }
  const auto images = view4<const float>(t);
  if constexpr (std::is_same_v<T, float>) {
    return images;
  } else {
    T* const memory = run.scratch<T>(0, static_cast<std::size_t>(ggml_nelements(&x)));
    const auto result = ts::row_major(
        memory, {images.extent(0), images.extent(1), images.extent(2), images.extent(3)});
    copy_elements(run, images, result);
    return result;
  }
}

// y [batch, out height, out width, channels x kernel height x kernel width], zeros where the kernel hangs over.
void im2col(Run& run, const ggml_tensor& op) {
  const ggml_tensor &kernel = *op.src[0], &x = *op.src[1];
  const bool is_2d = number(op, 6) == 1;
  const index_t step_x = number(op, 0), step_y = is_2d ? number(op, 1) : 1, pad_x = number(op, 2),
                pad_y = is_2d ? number(op, 3) : 0;
  const index_t apart_x = number(op, 4), apart_y = is_2d ? number(op, 5) : 1;
  const index_t kernel_w = extent(kernel, 0), kernel_h = is_2d ? extent(kernel, 1) : 1;
  const index_t width = extent(x, 0), height = is_2d ? extent(x, 1) : 1,
                channels = extent(x, is_2d ? 2 : 1);
  const index_t batch = extent(x, is_2d ? 3 : 2), out_w = extent(op, 1),
                out_h = is_2d ? extent(op, 2) : 1;
  with_float(op.type, [&]<class T>(T*) {
    const ts::View<const T, 4> image = images_as<T>(run, x, is_2d);
    const index_t taps = kernel_h * kernel_w, columns = channels * taps;
    run.context()->executor.parallel_for(batch * out_h, [&](index_t task) {
      const index_t n = task / out_h, top = task % out_h * step_y - pad_y;
      T* const rows = static_cast<T*>(op.data) + task * out_w * columns;
      for (index_t c = 0; c < channels; ++c) {
        for (index_t ox = 0; ox < out_w; ++ox) {
          const index_t left = ox * step_x - pad_x;
          T* to = rows + ox * columns + c * taps;
          for (index_t ky = 0; ky < kernel_h; ++ky) {
            const index_t iy = top + ky * apart_y;
            const bool is_row = iy >= 0 && iy < height;
            const T* const line = &image(n, c, is_row ? iy : 0, 0);
            for (index_t kx = 0; kx < kernel_w; ++kx) {
              const index_t ix = left + kx * apart_x;
              *to++ = is_row && ix >= 0 && ix < width ? line[ix] : T(0.0f);
            }
          }
        }
      }
    });
  });
}

}  // namespace

const Op kCopy = {supports_copy, copy};
const Op kGetRows = {supports_get_rows, get_rows};
const Op kSetRows = {supports_set_rows, set_rows};
const Op kConcat = {supports_concat, concat};
const Op kRepeat = {supports_repeat, repeat};
const Op kIm2Col = {supports_im2col, im2col};

}  // namespace ggml_port
