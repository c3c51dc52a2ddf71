// SPDX-License-Identifier: Apache-2.0
// What gemm and pack accept at run time: extents, memory, packed layouts and epilogues, checked in constant time
// and before anything is written.
#ifndef TESSERA_OPS_GEMM_CHECKS_H_
#define TESSERA_OPS_GEMM_CHECKS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm_problem.h"
#include "tessera/ops/memory_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline MemoryView memory_of(const GemmOperand& x) {
  return {x.data, x.dtype, x.extents, x.strides};
}
inline MemoryView memory_of_result(const GemmProblem& p) {
  return {p.c, p.c_dtype, {p.m, p.n}, {p.c_row_stride, p.c_col_stride}};
}

inline AddressRange check_operand(const char* function, const char* argument, const GemmOperand& x,
                                  const KernelTable& kernels) {
  if (x.weights != nullptr) {
    if (x.weights->data() == nullptr && x.weights->rows() != 0 && x.weights->cols() != 0) {
      fail(function, argument, "packed weights", "some that were moved from");
    }
    if (x.weights->target() != kernels.target) {
      fail(function, argument, "weights packed for " + std::string(name(kernels.target)),
           "some packed for " + std::string(name(x.weights->target())));
    }
    return {};
  }
  if (x.packed == nullptr) return check_memory(function, argument, memory_of(x));
  const PackedLayout& layout = x.packed->layout();
  if (x.packed->data() == nullptr && layout.rows != 0 && layout.cols != 0) {
    fail(function, argument, "a packed operand", "one that was moved from");
  }
  if (layout.target != kernels.target) {
    fail(function, argument, "an operand packed for " + std::string(name(kernels.target)),
         "one packed for " + std::string(name(layout.target)));
  }
  return {};
}

inline void check_tuning(const char* function, const GemmKernels& kernels, Target target,
                         const Context* context) {
  if (context && context->gemm.tile >= kernels.tile_count) {
    fail(function, "context.gemm.tile",
         "less than " + std::to_string(kernels.tile_count) + " (the tiles of " +
             std::string(name(target)) + ")",
         std::to_string(context->gemm.tile));
  }
}

inline DType type_of_sums(DType operand) {
  return visit(operand, [](auto traits) {
    return DTypeTraits<typename decltype(traits)::Accumulator>::kDType;
  });
}

// True for operands whose packed panels keep a width of 16 bits, and are widened when they are used.
inline bool is_narrow(DType type) { return type == DType::kBF16 || type == DType::kF16; }

// Packed A of integers is for a b of s8.
inline DType packed_a_is_for(DType a) { return type_of_sums(a) == DType::kS32 ? DType::kS8 : a; }

inline void check_epilogue(const char* function, const GemmProblem& p, const MemoryView& c,
                           const AddressRange& c_range) {
  const DType sums = type_of_sums(p.a.dtype);
  const DType steps = sums == DType::kS32 ? DType::kF32 : sums;
  if (p.epilogue.size() != 0 && p.c_dtype == DType::kS32) {
    fail(function, "epilogue", "none for c of s32, whose sums are the result",
         std::to_string(p.epilogue.size()) + " steps");
  }
  for (int i = 0; i < p.epilogue.size(); ++i) {
    const EpilogueStep& s = p.epilogue.steps()[i];
    const std::string argument = "epilogue, step " + std::to_string(i);
    if (steps == DType::kF64 && is_transcendental(s.op)) {
      fail(function, argument.c_str(),
           "steps that exist in f64 (not gelu, silu, sigmoid, tanh, hard_swish)",
           "one that does not");
    }
    if (s.op == EpilogueOp::kFunction && s.dtype != steps) {
      fail(function, argument.c_str(), "a function of " + dtype_name(steps), dtype_name(s.dtype));
    }
    if (!has_data(s.op)) continue;
    const bool per_row = s.op == EpilogueOp::kAddRow || s.op == EpilogueOp::kScaleRow;
    const bool matrix = s.op == EpilogueOp::kResidual;
    if (s.rank > 2) {
      fail(function, argument.c_str(), "a matrix of extents " + to_string(Extents{p.m, p.n}),
           "a tensor of " + std::to_string(s.rank) + " axes");
    }
    const Extents expected =
        matrix ? Extents{p.m, p.n} : Extents{per_row ? p.m : p.n, s.extents[1]};
    if (s.extents != expected) {
      fail(function, argument.c_str(),
           matrix ? "extents " + to_string(expected) : std::to_string(expected[0]) + " elements",
           matrix ? to_string(s.extents) : std::to_string(s.extents[0]));
    }
    const bool narrow = matrix && steps == DType::kF32 && is_narrow(s.dtype);
    if (s.dtype != steps && !narrow) {
      fail(function, argument.c_str(), "elements of " + dtype_name(steps), dtype_name(s.dtype));
    }
    const MemoryView x{s.data, s.dtype, matrix ? s.extents : Extents{s.extents[0], 1},
                       matrix ? s.strides : Extents{s.strides[0], 1}};
    const AddressRange range = check_memory(function, argument.c_str(), x);
    const bool is_c = matrix && s.data == p.c && s.dtype == p.c_dtype && s.strides == c.strides;
    if (!is_c && overlap(x, range, c, c_range)) {
      fail(function, argument.c_str(), "memory that does not overlap c", "an overlapping view");
    }
  }
}

// `lines`: as many of them, which the operand has. Values of s32 are read: few beside the operand.
inline void check_zero_points(const char* function, const char* argument, const GemmOperand& x,
                              index_t lines, const char* what, const MemoryView& c,
                              const AddressRange& c_range) {
  const ZeroPoints& z = x.zero_points;
  const int low = x.dtype == DType::kS8 ? -128 : 0, high = low + 255;
  const auto expect_value = [&](std::int32_t value, const std::string& where) {
    if (value >= low && value <= high) return;
    fail(function, argument,
         std::to_string(low) + " to " + std::to_string(high) + ", the values of " +
             dtype_name(x.dtype),
         std::to_string(value) + where);
  };
  if (!z.per_line) return expect_value(z.constant, "");
  if (z.count != lines) {
    fail(function, argument, std::to_string(lines) + " elements (the " + what + ")",
         std::to_string(z.count));
  }
  const MemoryView memory{z.data, z.dtype, {z.count, 1}, {z.stride, 1}};
  const AddressRange range = check_memory(function, argument, memory);
  if (overlap(memory, range, c, c_range)) {
    fail(function, argument, "memory that does not overlap c", "an overlapping view");
  }
  for (index_t i = 0; z.dtype == DType::kS32 && i < z.count; ++i) {
    expect_value(z[i], " at index " + std::to_string(i));
  }
}

inline void check_gemm(const char* function, const GemmProblem& p, const KernelTable& kernels,
                       const Context* context) {
  const AddressRange a_range = check_operand(function, "a", p.a, kernels);
  const AddressRange b_range = check_operand(function, "b", p.b, kernels);
  const MemoryView c = memory_of_result(p);
  const AddressRange c_range = check_memory(function, "c", c);
  const Extents &a = p.a.extents, &b = p.b.extents;
  if (b[0] != a[1]) {
    fail(function, "b", std::to_string(a[1]) + " rows (the columns of a)", std::to_string(b[0]));
  }
  if (p.m != a[0]) {
    fail(function, "c", std::to_string(a[0]) + " rows (the rows of a)", std::to_string(p.m));
  }
  if (p.n != b[1]) {
    fail(function, "c", std::to_string(b[1]) + " columns (the columns of b)", std::to_string(p.n));
  }
  if (p.a.packed && p.b.packed &&
      (p.a.packed->layout().tile != p.b.packed->layout().tile ||
       p.a.packed->layout().kc != p.b.packed->layout().kc)) {
    const auto text = [](const PackedLayout& l) {
      return "tile " + std::to_string(l.tile) + ", K blocks of " + std::to_string(l.kc);
    };
    fail(function, "b", "the packing of a: " + text(p.a.packed->layout()),
         text(p.b.packed->layout()));
  }
  if (p.a.packed && p.b.dtype == DType::kU8) {
    fail(function, "a", "a view where b is of u8", "a packed operand, which serves b of s8");
  }
  if (type_of_sums(p.a.dtype) == DType::kS32) {
    if (p.alpha != 1) {
      fail(function, "options.alpha", "1 for sums of integers", std::to_string(p.alpha));
    }
    if (p.beta != 0 && (p.beta != 1 || p.c_dtype != DType::kS32)) {
      fail(function, "options.beta", "0 for sums of integers, or 1 where c is s32",
           std::to_string(p.beta));
    }
  }
  if (p.beta != 0 && (p.c_dtype == DType::kS8 || p.c_dtype == DType::kU8)) {
    fail(function, "options.beta", "0 where c is s8 or u8", std::to_string(p.beta));
  }
  check_tuning(function, kernels.gemm(p.b.dtype), kernels.target, context);
  if (p.b.weights != nullptr) {
    if (p.a.packed) fail(function, "a", "a view where b is quantized weights", "a packed operand");
    const WeightFormat& f = p.b.weights->format();
    const bool integers = f.code == WeightCode::kInteger || f.code == WeightCode::kTable;
    if (!integers && p.activations != Activations::kFloat) {
      fail(function, "options.activations", "kFloat for weights of small floats", "integers");
    }
  } else if (p.activations != Activations::kFloat) {
    fail(function, "options.activations", "kFloat where b is not PackedWeights", "integers");
  }
  if (p.m == 0 || p.n == 0) return;
  if (overlaps_itself(c)) {
    fail(function, "c", "strides that visit each element once",
         "extents " + to_string(c.extents) + ", strides " + to_string(c.strides));
  }
  if (!p.a.packed && overlap(memory_of(p.a), a_range, c, c_range)) {
    fail(function, "c", "memory that does not overlap a", "an overlapping view");
  }
  if (!p.b.packed && !p.b.weights && overlap(memory_of(p.b), b_range, c, c_range)) {
    fail(function, "c", "memory that does not overlap b", "an overlapping view");
  }
  check_zero_points(function, "a.zero_points", p.a, p.m, "rows of a", c, c_range);
  check_zero_points(function, "b.zero_points", p.b, p.n, "columns of b", c, c_range);
  check_epilogue(function, p, c, c_range);
}

TESSERA_LIBRARY_FUNCTION void check_batch(const char* argument, index_t batch, index_t expected) {
  if (expected < 0) {
    fail("gemm_batched", "a", "a batch of at least 0 matrices", std::to_string(expected));
  }
  if (batch != expected) {
    fail("gemm_batched", argument, std::to_string(expected) + " matrices (the batch of a)",
         std::to_string(batch));
  }
}

// No element twice: each axis, from the one of the smallest stride on, steps over all that the ones before
// it reach. Sufficient, and true for every layout of three axes in practice.
TESSERA_LIBRARY_FUNCTION void check_batched_result(const std::array<index_t, 3>& extents,
                                                   const std::array<index_t, 3>& strides) {
  std::array<int, 3> order = {0, 1, 2};
  const auto stride = [&](int axis) { return std::abs(strides[axis]); };
  std::sort(order.begin(), order.end(), [&](int x, int y) { return stride(x) < stride(y); });
  index_t reach = 0;
  for (const int axis : order) {
    if (extents[axis] <= 1) continue;
    index_t more = 0;
    if (stride(axis) <= reach || __builtin_mul_overflow(extents[axis] - 1, stride(axis), &more) ||
        __builtin_add_overflow(reach, more, &reach)) {
      fail("gemm_batched", "c", "strides that visit each element once",
           "extents " + to_string(extents) + ", strides " + to_string(strides));
    }
  }
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_GEMM_CHECKS_H_
