// SPDX-License-Identifier: Apache-2.0
// Images and signals: convolutions, pooling, norms of groups of channels, other sizes.
#include <algorithm>
#include <array>

#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/conv.h"
#include "tessera/ops/group_norm.h"
#include "tessera/ops/pad.h"
#include "tessera/ops/pool.h"
#include "tessera/ops/resize.h"

namespace ggml_port {
namespace {

// Those axes of a tensor, numbered as ggml does.
template <class T, std::size_t Rank>
ts::View<T, static_cast<int>(Rank)> axes(const ggml_tensor& t, const int (&order)[Rank]) {
  ts::View<T, static_cast<int>(Rank)> view(static_cast<T*>(t.data), {}, {});
  for (std::size_t i = 0; i < Rank; ++i) {
    view.extents[i] = extent(t, order[i]);
    view.strides[i] = step(t, order[i]) / static_cast<index_t>(sizeof(T));
  }
  return view;
}

// [n, h, w, c] of a tensor of width, height, channels and images, whichever of them lies densest.
template <class T>
ts::View<T, 4> images(const ggml_tensor& t) {
  return axes<T>(t, {3, 1, 0, 2});
}

bool supports_types(const ggml_tensor& op) {
  return is_float(op.src[0]) && is_f32(op.src[1]) && is_f32(&op);
}

// Whether the filter has taps along an axis, and they lie within the image and its padding. ggml has results where they don't.
bool filter_fits(const ggml_tensor& op, int axis, index_t padding, index_t dilation) {
  const index_t taps = extent(*op.src[0], axis);
  return taps > 0 && (taps - 1) * dilation < extent(*op.src[1], axis) + 2 * padding;
}

bool supports_conv_2d(const ggml_tensor& op) {
  return supports_types(op) && filter_fits(op, 0, number(op, 2), number(op, 4)) &&
         filter_fits(op, 1, number(op, 3), number(op, 5));
}

bool supports_conv_3d(const ggml_tensor& op) {
  bool fits = supports_types(op);
  for (int axis = 0; axis < 3; ++axis)
    fits = fits && filter_fits(op, axis, number(op, 3 + axis), number(op, 6 + axis));
  return fits;
}

// The stride, padding and dilation of GGML_OP_CONV_2D and GGML_OP_CONV_2D_DW: of the width, then of the height.
ts::ConvOptions<2> conv_options(Run& run, const ggml_tensor& op) {
  return {.stride = {number(op, 1), number(op, 0)},
          .dilation = {number(op, 5), number(op, 4)},
          .padding = {number(op, 3), number(op, 2), number(op, 3), number(op, 2)},
          .context = run.context()};
}

// Filters [kernel width, kernel height, channels, filters].
void conv_2d(Run& run, const ggml_tensor& op) {
  with_float(op.src[0]->type, [&]<class W>(W*) {
    ts::conv2d(images<const float>(*op.src[1]), axes<const W>(*op.src[0], {3, 1, 0, 2}),
               images<float>(op), conv_options(run, op));
  });
}

// Filters [kernel width, kernel height, 1, channels].
void conv_2d_dw(Run& run, const ggml_tensor& op) {
  ts::ConvOptions<2> options = conv_options(run, op);
  options.groups = extent(*op.src[1], 2);
  with_float(op.src[0]->type, [&]<class W>(W*) {
    ts::conv2d(images<const float>(*op.src[1]), axes<const W>(*op.src[0], {3, 1, 0, 2}),
               images<float>(op), options);
  });
}

// x [w, h, d, channels x images], filters [kw, kh, kd, channels x filters], the channels faster.
void conv_3d(Run& run, const ggml_tensor& op) {
  const ggml_tensor &w = *op.src[0], &x = *op.src[1];
  const index_t channels = number(op, 9), batch = number(op, 10), filters = number(op, 11);
  const auto split = [&]<class T>(T*, const ggml_tensor& t, index_t outer, index_t inner) {
    constexpr index_t kSize = sizeof(T);
    return ts::View<T, 5>(static_cast<T*>(t.data),
                          {outer, extent(t, 2), extent(t, 1), extent(t, 0), inner},
                          {inner * step(t, 3) / kSize, step(t, 2) / kSize, step(t, 1) / kSize,
                           step(t, 0) / kSize, step(t, 3) / kSize});
  };
  const index_t pad_w = number(op, 3), pad_h = number(op, 4), pad_d = number(op, 5);
  with_float(w.type, [&]<class W>(W*) {
    ts::conv3d(split(static_cast<const float*>(nullptr), x, batch, channels),
               split(static_cast<const W*>(nullptr), w, filters, channels),
               split(static_cast<float*>(nullptr), op, batch, filters),
               {.stride = {number(op, 2), number(op, 1), number(op, 0)},
                .dilation = {number(op, 8), number(op, 7), number(op, 6)},
                .padding = {pad_d, pad_h, pad_w, pad_d, pad_h, pad_w},
                .context = run.context()});
  });
}

// Filters [kernel width, filters, channels].
void conv_transpose_1d(Run& run, const ggml_tensor& op) {
  with_float(op.src[0]->type, [&]<class W>(W*) {
    ts::conv_transpose1d(axes<const float>(*op.src[1], {2, 0, 1}),
                         axes<const W>(*op.src[0], {1, 0, 2}), axes<float>(op, {2, 0, 1}),
                         {.stride = {number(op, 0)}, .context = run.context()});
  });
}

// Filters [kernel width, kernel height, filters, channels].
void conv_transpose_2d(Run& run, const ggml_tensor& op) {
  with_float(op.src[0]->type, [&]<class W>(W*) {
    ts::conv_transpose2d(images<const float>(*op.src[1]), axes<const W>(*op.src[0], {2, 1, 0, 3}),
                         images<float>(op),
                         {.stride = {number(op, 0), number(op, 0)}, .context = run.context()});
  });
}

bool supports_pool_2d(const ggml_tensor& op) {
  return is_f32(op.src[0]) && is_f32(&op) && number(op, 5) < number(op, 1) &&
         number(op, 6) < number(op, 2);
}

// Means are of as many elements as the window has, padding or not.
void pool_2d(Run& run, const ggml_tensor& op) {
  const std::array<index_t, 2> kernel = {number(op, 2), number(op, 1)},
                               stride = {number(op, 4), number(op, 3)};
  const std::array<index_t, 4> padding = {number(op, 6), number(op, 5), number(op, 6),
                                          number(op, 5)};
  const auto x = images<const float>(*op.src[0]);
  if (param<std::int32_t>(op, 0) == GGML_OP_POOL_MAX) {
    return ts::max_pool2d(
        x, images<float>(op),
        {.kernel = kernel, .stride = stride, .padding = padding, .context = run.context()});
  }
  ts::average_pool2d(x, images<float>(op),
                     {.kernel = kernel,
                      .stride = stride,
                      .padding = padding,
                      .count_include_pad = true,
                      .context = run.context()});
}

bool supports_pool_1d(const ggml_tensor& op) {
  return is_f32(op.src[0]) && is_f32(&op) && is_one_matrix(*op.src[0]) &&
         number(op, 3) < number(op, 1);
}

// Of each row. Means are of the elements that there are.
void pool_1d(Run& run, const ggml_tensor& op) {
  const std::array<index_t, 1> kernel = {number(op, 1)}, stride = {number(op, 2)};
  const std::array<index_t, 2> padding = {number(op, 3), number(op, 3)};
  const auto signals = []<class T>(const ts::View<T, 2>& v) {
    return ts::View<T, 3>(v.data, {1, v.extents[1], v.extents[0]}, {0, v.strides[1], v.strides[0]});
  };
  const auto x = signals(all_rows<const float>(*op.src[0]));
  const auto y = signals(all_rows<float>(op));
  if (param<std::int32_t>(op, 0) == GGML_OP_POOL_MAX) {
    return ts::max_pool1d(
        x, y, {.kernel = kernel, .stride = stride, .padding = padding, .context = run.context()});
  }
  ts::average_pool1d(
      x, y, {.kernel = kernel, .stride = stride, .padding = padding, .context = run.context()});
}

bool supports_group_norm(const ggml_tensor& op) {
  return is_f32(op.src[0]) && is_f32(&op) && op.src[0]->ne[2] % number(op, 0) == 0;
}

void group_norm(Run& run, const ggml_tensor& op) {
  ts::group_norm(images<const float>(*op.src[0]), images<float>(op), number(op, 0),
                 {.epsilon = param<float>(op, 1), .context = run.context()});
}

constexpr std::int32_t kNearest = GGML_SCALE_MODE_NEAREST, kBilinear = GGML_SCALE_MODE_BILINEAR,
                       kCornersAligned = GGML_SCALE_FLAG_ALIGN_CORNERS;

bool supports_upscale(const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const std::int32_t mode = param<std::int32_t>(op, 0);
  const bool is_known =
      mode == kNearest || mode == kBilinear || mode == (kBilinear | kCornersAligned);
  return is_known && is_f32(&x) && is_f32(&op) && x.ne[2] == op.ne[2] && x.ne[3] == op.ne[3];
}

// Channels as images of one channel each, so that one is done before the next begins: together they would be in the same few
// sets of a cache.
template <class T>
ts::View<T, 4> planes(const ggml_tensor& t) {
  const auto all = images<T>(t);
  return {all.data,
          {all.extents[0] * all.extents[3], all.extents[1], all.extents[2], 1},
          {all.strides[3], all.strides[1], all.strides[2], all.strides[3]}};
}

bool has_planes(const ggml_tensor& t) {
  return has_rows(t) && (t.ne[3] == 1 || t.nb[3] == t.nb[2] * static_cast<std::size_t>(t.ne[2]));
}

// Where each row of x becomes several of y, one is made, and copied to the others if they lie in one piece each.
void upscale_nearest(Run& run, const ts::View<const float, 4>& x, const ts::View<float, 4>& y) {
  const index_t height = x.extent(1), width = y.extent(2);
  const bool copies = y.extent(1) % height == 0 && y.extent(3) == 1 && y.stride(2) == 1;
  const index_t times = copies ? y.extent(1) / height : 1;
  ts::View<float, 4> first = y;
  first.extents[1] /= times;
  first.strides[1] *= times;
  ts::resize_nearest2d(x, first,
                       {.coordinates = ts::Coordinates::kAsymmetric,
                        .nearest = ts::NearestPixel::kFloor,
                        .context = run.context()});
  if (times == 1) return;
  run.context()->executor.parallel_for(y.extent(0), [&](index_t plane) {
    for (index_t h = 0; h < height; ++h) {
      float* const row = &first(plane, h, 0, 0);
      for (index_t i = 1; i < times; ++i) std::copy_n(row, width, row + i * y.stride(1));
    }
  });
}

void upscale(Run& run, const ggml_tensor& op) {
  const bool each = has_planes(*op.src[0]) && has_planes(op);
  const auto x = each ? planes<const float>(*op.src[0]) : images<const float>(*op.src[0]);
  const auto y = each ? planes<float>(op) : images<float>(op);
  const std::int32_t mode = param<std::int32_t>(op, 0);
  if (mode == kNearest) return upscale_nearest(run, x, y);
  ts::resize_bilinear2d(x, y,
                        {.coordinates = mode == kBilinear ? ts::Coordinates::kHalfPixel
                                                          : ts::Coordinates::kAlignCorners,
                         .context = run.context()});
}

bool supports_pad(const ggml_tensor& op) {
  const bool wraps = number(op, 8) != 0;
  return is_f32(op.src[0]) && is_f32(&op) && !wraps;
}

void pad(Run& run, const ggml_tensor& op) {
  ts::PadOptions<4> options{.context = run.context()};
  for (std::size_t i = 0; i < 4; ++i) {
    const int axis = 3 - static_cast<int>(i);
    options.padding[i] = number(op, 2 * axis);
    options.padding[4 + i] = number(op, 2 * axis + 1);
  }
  ts::pad(view4<const float>(*op.src[0]), view4<float>(op), options);
}

}  // namespace

const Op kConv2d = {supports_conv_2d, conv_2d};
const Op kConv2dDw = {supports_conv_2d, conv_2d_dw};
const Op kConv3d = {supports_conv_3d, conv_3d};
const Op kConvTranspose1d = {supports_types, conv_transpose_1d};
const Op kConvTranspose2d = {supports_types, conv_transpose_2d};
const Op kPool1d = {supports_pool_1d, pool_1d};
const Op kPool2d = {supports_pool_2d, pool_2d};
const Op kGroupNorm = {supports_group_norm, group_norm};
const Op kUpscale = {supports_upscale, upscale};
const Op kPad = {supports_pad, pad};

}  // namespace ggml_port
