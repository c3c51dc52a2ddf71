// SPDX-License-Identifier: Apache-2.0
// What norm.h does: checks, and rows shared by the threads.
#ifndef TESSERA_OPS_NORM_DRIVER_H_
#define TESSERA_OPS_NORM_DRIVER_H_

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tessera/core/affine.h"
#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/quantized.h"
#include "tessera/core/view.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/norm.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline MemoryView as_matrix(const TensorMemory& t) {
  if (t.rank == 1) return {t.data, t.dtype, {1, t.extents[0]}, {0, t.strides[0]}};
  return {t.data, t.dtype, {t.extents[0], t.extents[1]}, {t.strides[0], t.strides[1]}};
}

inline void check_norm_codes(const NormProblem& p) {
  const MutableGroupQuantizedView& y = *p.codes;
  const bool computes_scales = p.options.scaling != Scaling::kGiven;
  std::vector<NamedMemory> memory = check_view(p.function, "y", y, computes_scales);
  check_extents(p.function, "y", "x", {y.rows, y.cols}, {p.x.extents[0], p.x.extents[1]});
  if (p.options.scaling == Scaling::kAbsMean) {
    fail(p.function, "options.scaling", "kMinMax or kGiven", "kAbsMean");
  }
  if (computes_scales && y.rows > 1 && y.scale_strides[0] == 0) {
    fail(p.function, "options.scaling", "kGiven, as rows share their scales", "kMinMax");
  }
  const NormOptions& o = p.options;
  memory.push_back({"x", as_matrix(p.x)});
  if (o.weight.is_given()) memory.push_back({"options.weight", as_matrix(o.weight.memory())});
  if (o.bias.is_given()) memory.push_back({"options.bias", as_matrix(o.bias.memory())});
  if (o.residual.is_given()) memory.push_back({"options.residual", as_matrix(o.residual.memory())});
  if (o.sum.is_given()) memory.push_back({"options.sum", as_matrix(o.sum.memory())});
  check_memory(p.function, memory);
}

inline void check_norm(const NormProblem& p) {
  const NormOptions& o = p.options;
  const NamedTensor x{"x", p.x}, y{"y", p.y}, weight{"options.weight", o.weight.memory()},
      bias{"options.bias", o.bias.memory()}, residual{"options.residual", o.residual.memory()},
      sum{"options.sum", o.sum.memory()};
  check_tensor(p.function, "x", p.x);
  const std::array<index_t, kMostAxes> columns = {p.x.extents[1], 1, 1, 1, 1};
  if (o.weight.is_given()) check_operand(p.function, weight, columns, ", the columns of x");
  if (o.bias.is_given()) check_operand(p.function, bias, columns, ", the columns of x");
  if (o.residual.is_given()) check_operand(p.function, residual, p.x.extents, ", those of x");
  check_epsilon(p.function, o.epsilon);
  const auto check_result = [&](const NamedTensor& result) {
    check_operand(p.function, result, p.x.extents, ", those of x");
    check_result_memory(p.function, result);
    check_apart(p.function, result, x, true);
    if (o.residual.is_given()) check_apart(p.function, result, residual, true);
    if (o.weight.is_given()) check_apart(p.function, result, weight, false);
    if (o.bias.is_given()) check_apart(p.function, result, bias, false);
  };
  if (o.sum.is_given()) {
    if (!o.residual.is_given()) fail(p.function, "options.sum", "a residual for it", "none");
    check_result(sum);
  }
  if (p.codes != nullptr) return check_norm_codes(p);
  check_result(y);
  if (o.sum.is_given()) check_apart(p.function, y, sum, false);
}

// Weights or bias as contiguous f32: in place or in `line`.
inline const float* f32_vector(const tessera::detail::NnKernels& kernels, const FloatView<1>& v,
                               float* line) {
  if (!v.is_given()) return nullptr;
  const TensorMemory& m = v.memory();
  if (m.dtype == DType::kF32 && (m.strides[0] == 1 || m.extents[0] == 1)) {
    return static_cast<const float*>(m.data);
  }
  kernels.load(m.dtype, m.data, m.strides[0], line, m.extents[0]);
  return line;
}

// Row i of codes, from f32.
inline void quantize_results(const MutableGroupQuantizedView& y, const float* row, index_t i,
                             Scaling scaling) {
  const AffineFormat format = affine_format(y, scaling, false, false);
  const View<const float, 2> from(row, {y.rows, y.cols}, {0, 1});
  MutableGroupQuantizedView to = y;
  if (scaling != Scaling::kGiven) {
    if (y.scale_strides[1] == 0) to.group = y.cols;
    for (index_t g = 0; g < to.groups(); ++g) {
      const index_t begin = g * to.group, n = std::min(to.group, y.cols - begin);
      set_params(to, i, g, summary(row + begin, 1, n, scaling), scaling, format);
    }
  }
  quantize_row(from, to, i, format.low(), format.high());
}

TESSERA_LIBRARY_FUNCTION void checked_norm(const NormProblem& p) {
  const NormOptions& o = p.options;
  const auto& kernels = nn_kernels_for(p.function, o.context);
  check_norm(p);
  if (p.x.is_empty()) return;
  const index_t cols = p.x.extents[1];
  const RowRuns runs(o.context, p.x.extents[0], cols);
  const bool adds = o.residual.is_given();
  const bool in_place = !adds && p.codes == nullptr && is_f32_rows(p.x) && is_f32_rows(p.y);
  const RowScratch scratch(o.context, 2 * cols, runs.tasks(), in_place ? 0 : 2 * cols, p.function);
  const float* const weight = f32_vector(kernels, o.weight, scratch.shared());
  const float* const bias = f32_vector(kernels, o.bias, scratch.shared() + cols);
  const auto kernel = p.mean ? kernels.layer_norm : kernels.rms_norm;
  runs.run([&](index_t i, index_t task) {
    float* const line = scratch.of(task);
    const float* from = load_row(kernels, p.x, i, cols, line);
    if (adds) {
      kernels.of(BinaryOp::kAdd)(from, load_row(kernels, o.residual.memory(), i, cols, line + cols),
                                 line, cols);
      from = line;
      if (o.sum.is_given()) {
        store_row(kernels, line, o.sum.memory(), i, cols);
        load_row(kernels, o.sum.memory(), i, cols, line);  // as it was rounded
      }
    }
    float* const to = p.codes != nullptr ? line : row_to_write(p.y, i, line);
    kernel({from, weight, bias, to, cols, o.epsilon});
    if (p.codes != nullptr) return quantize_results(*p.codes, to, i, o.scaling);
    store_row(kernels, to, p.y, i, cols);
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_NORM_DRIVER_H_
