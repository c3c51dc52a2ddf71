// SPDX-License-Identifier: Apache-2.0
// What convolutions accept at run time, checked in constant time and before anything is written.
#ifndef TESSERA_OPS_CONV_CHECKS_H_
#define TESSERA_OPS_CONV_CHECKS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

#include "tessera/ops/conv_problem.h"
#include "tessera/ops/gemm_checks.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

// What keeps all positions far from overflow.
inline constexpr index_t kMostPositions = index_t{1} << 31, kMostTaps = index_t{1} << 24;

// The axes that a call has, of five.
inline std::string shape_text(const TensorExtents& all, int rank) {
  std::string text = "{" + std::to_string(all[0]);
  for (std::size_t i = static_cast<std::size_t>(4 - rank); i < 5; ++i) {
    text += ", " + std::to_string(all[i]);
  }
  return text + "}";
}

// The axes that a call has, as memory.
inline TensorMemory memory_of(const ConvTensor& v, int rank) {
  TensorMemory t{v.data, v.dtype, rank + 2, {}, {}};
  t.extents.fill(1);
  for (int i = 0; i < rank + 2; ++i) {
    const auto axis = static_cast<std::size_t>(i == 0 ? 0 : 3 - rank + i);
    t.extents[static_cast<std::size_t>(i)] = v.extents[axis];
    t.strides[static_cast<std::size_t>(i)] = v.strides[axis];
  }
  return t;
}

// Strides, dilations, padding, groups: what packing and calls have in common.
inline void check_conv_options(const ConvProblem& p) {
  const auto each = [&](const char* argument, const Spatial& values, index_t least) {
    for (const index_t value : values) {
      if (value < least || value > kMostPositions) {
        fail(p.function, argument, std::to_string(least) + " to 2^31", std::to_string(value));
      }
    }
  };
  each("options.stride", p.stride, 1);
  each("options.dilation", p.dilation, 1);
  each("options.padding", p.pad_begin, 0);
  each("options.padding", p.pad_end, 0);
  each("options.output_padding", p.output_padding, 0);
  if (p.groups < 1) {
    fail(p.function, "options.groups", "at least 1", std::to_string(p.groups));
  }
  for (std::size_t i = 0; i < 3; ++i) {
    if (p.transposed && p.output_padding[i] >= p.stride[i] && p.output_padding[i] > 0) {
      fail(p.function, "options.output_padding",
           "less than the stride, " + std::to_string(p.stride[i]),
           std::to_string(p.output_padding[i]));
    }
  }
  const TensorExtents& w = p.w.extents;
  for (std::size_t i = 1; i < 4; ++i) {
    if (w[i] < 1 || w[i] > kMostTaps) {
      fail(p.function, "w", "1 to 2^24 taps along each axis", shape_text(w, p.rank));
    }
  }
  if (w[0] % p.groups != 0) {
    fail(p.function, "options.groups", "a divisor of the " + std::to_string(w[0]) + " filters of w",
         std::to_string(p.groups));
  }
}

// The extent of y along one axis.
inline index_t conv_extent(const ConvProblem& p, std::size_t axis) {
  const index_t x = p.x.extents[axis + 1], k = p.w.extents[axis + 1];
  const index_t span = (k - 1) * p.dilation[axis] + 1;
  const index_t padding = p.pad_begin[axis] + p.pad_end[axis];
  if (p.transposed) {
    return x == 0 ? 0 : (x - 1) * p.stride[axis] - padding + span + p.output_padding[axis];
  }
  const index_t room = x + padding - span;
  return room < 0 ? 0 : room / p.stride[axis] + 1;
}

inline void check_packed_filters(const ConvProblem& p, Target target) {
  const FilterLayout& layout = p.packed->layout();
  const index_t elements = layout.extents[0] * layout.extents[4];
  if (p.packed->data() == nullptr && (elements != 0 || layout.extents[1] == 0)) {
    fail(p.function, "w", "packed filters", "some that were moved from, or never packed");
  }
  if (layout.target != target) {
    fail(p.function, "w", "filters packed for " + std::string(name(target)),
         "some packed for " + std::string(name(layout.target)));
  }
  const auto same = [&](const char* argument, const std::string& packed, const std::string& got) {
    if (packed != got) fail(p.function, argument, packed + ", for which w was packed", got);
  };
  if (p.algorithm != ConvAlgorithm::kAuto) {
    same("options.algorithm", std::string(name(layout.algorithm)), std::string(name(p.algorithm)));
  }
  same("options.groups", std::to_string(layout.groups), std::to_string(p.groups));
  same("options.stride", to_string(layout.stride), to_string(p.stride));
  same("options.dilation", to_string(layout.dilation), to_string(p.dilation));
  if (layout.transposed != p.transposed) {
    fail(p.function, "w",
         p.transposed ? "filters packed for a transposed convolution"
                      : "filters packed for a convolution that is not transposed",
         "others");
  }
}

// The residual of an epilogue with all five axes. Its rank is that of the call.
inline ConvTensor residual_tensor(const ConvProblem& p, const EpilogueStep& s) {
  const auto& shape = p.epilogue.tensor();
  ConvTensor r{s.data, s.dtype, {shape.extents[0], 1, 1, 1, 1}, {shape.strides[0], 0, 0, 0, 0}};
  for (int i = 1; i < p.rank + 2; ++i) {
    const auto axis = static_cast<std::size_t>(3 - p.rank + i);
    r.extents[axis] = shape.extents[static_cast<std::size_t>(i)];
    r.strides[axis] = shape.strides[static_cast<std::size_t>(i)];
  }
  return r;
}

inline void check_conv_epilogue(const ConvProblem& p, const TensorMemory& y,
                                const AddressRange& y_range) {
  if (p.epilogue.size() != 0 && p.y.dtype == DType::kS32) {
    fail(p.function, "epilogue", "none for y of s32, whose sums are the result",
         std::to_string(p.epilogue.size()) + " steps");
  }
  index_t pixels = 1;
  for (std::size_t i = 0; i < 4; ++i) pixels *= p.y.extents[i];
  for (int i = 0; i < p.epilogue.size(); ++i) {
    const EpilogueStep& s = p.epilogue.steps()[i];
    const std::string argument = "epilogue, step " + std::to_string(i);
    const bool per_row = s.op == EpilogueOp::kAddRow || s.op == EpilogueOp::kScaleRow;
    if (p.transposed && (per_row || s.op == EpilogueOp::kFunction)) {
      fail(p.function, argument, "steps that don't depend on rows, which are not made in order",
           per_row ? "a vector per row" : "a function");
    }
    if (s.op == EpilogueOp::kFunction && s.dtype != DType::kF32) {
      fail(p.function, argument, "a function of f32", dtype_name(s.dtype));
    }
    if (!has_data(s.op)) continue;
    const bool residual = s.op == EpilogueOp::kResidual;
    const bool narrow = residual && is_narrow(s.dtype);
    if (s.dtype != DType::kF32 && !narrow) {
      fail(p.function, argument, "elements of f32", dtype_name(s.dtype));
    }
    if (!residual) {
      const index_t expected = per_row ? pixels : p.y.extents[4];
      if (s.extents[0] != expected) {
        fail(p.function, argument, std::to_string(expected) + " elements",
             std::to_string(s.extents[0]));
      }
    } else if (s.rank != p.rank + 2) {
      fail(p.function, argument, "a residual with the " + std::to_string(p.rank + 2) + " axes of y",
           std::to_string(s.rank));
    }
    ConvTensor x{s.data, s.dtype, {s.extents[0], 1, 1, 1, 1}, {s.strides[0], 0, 0, 0, 0}};
    if (residual) x = residual_tensor(p, s);
    if (residual && x.extents != p.y.extents) {
      fail(p.function, argument, "extents " + shape_text(p.y.extents, p.rank) + ", those of y",
           shape_text(x.extents, p.rank));
    }
    const TensorMemory memory = memory_of(x, p.rank);
    const AddressRange range = check_tensor(p.function, argument.c_str(), memory);
    const bool is_y =
        residual && s.data == p.y.data && s.dtype == p.y.dtype && x.strides == p.y.strides;
    if (!is_y && overlap(memory, range, y, y_range)) {
      fail(p.function, argument, "memory that does not overlap y", "an overlapping view");
    }
  }
}

// What multiplies: segments are of whole groups of the input channels of a pixel.
inline const GemmKernels& product_kernels(const ConvProblem& p, const KernelTable& table) {
  return table.in_place(p.w.dtype, p.w.extents[4]);
}

inline void check_conv(const ConvProblem& p, const KernelTable& kernels, const Context* context) {
  check_conv_options(p);
  const TensorMemory x_memory = memory_of(p.x, p.rank), y_memory = memory_of(p.y, p.rank);
  check_tensor(p.function, "x", x_memory);
  const AddressRange y_range = check_tensor(p.function, "y", y_memory);
  AddressRange w_range;
  if (p.packed) {
    check_packed_filters(p, kernels.target);
  } else {
    w_range = check_tensor(p.function, "w", memory_of(p.w, p.rank));
  }
  const TensorExtents &x = p.x.extents, &w = p.w.extents, &y = p.y.extents;
  for (std::size_t i = 1; i < 4; ++i) {
    if (x[i] > kMostPositions) {
      fail(p.function, "x", "at most 2^31 elements along each spatial axis", shape_text(x, p.rank));
    }
  }
  if (x[4] != w[4] * p.groups) {
    fail(p.function, "x",
         std::to_string(w[4] * p.groups) + " channels (those of w times the groups)",
         std::to_string(x[4]));
  }
  TensorExtents expected{x[0], conv_extent(p, 0), conv_extent(p, 1), conv_extent(p, 2), w[0]};
  for (index_t& extent : expected) extent = std::max<index_t>(extent, 0);
  if (y != expected) {
    fail(p.function, "y", "extents " + shape_text(expected, p.rank), shape_text(y, p.rank));
  }
  const bool bytes = p.x.dtype == DType::kS8 || p.x.dtype == DType::kU8;
  const int low = p.x.dtype == DType::kS8 ? -128 : 0, high = p.x.dtype == DType::kS8 ? 127 : 255;
  if (bytes && (p.x_zero_point < low || p.x_zero_point > high)) {
    fail(p.function, "options.x_zero_point",
         std::to_string(low) + " to " + std::to_string(high) + ", as x is " + dtype_name(p.x.dtype),
         std::to_string(p.x_zero_point));
  }
  if (!bytes && p.x_zero_point != 0) {
    fail(p.function, "options.x_zero_point", "0 where x is not of integers",
         std::to_string(p.x_zero_point));
  }
  check_tuning(p.function, product_kernels(p, kernels), kernels.target, context);
  if (y_memory.is_empty()) return;
  check_nested(p.function, {"y", y_memory});
  check_apart(p.function, {"y", y_memory}, {"x", x_memory});
  if (w_range.meets(y_range)) {
    fail(p.function, "y", "memory that does not overlap w", "an overlapping view");
  }
  check_conv_epilogue(p, y_memory, y_range);
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_CHECKS_H_
