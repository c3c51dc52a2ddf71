// SPDX-License-Identifier: Apache-2.0
// What elementwise.h does: checks, broadcasting, and blocks of elements shared by the threads.
#ifndef TESSERA_OPS_ELEMENTWISE_DRIVER_H_
#define TESSERA_OPS_ELEMENTWISE_DRIVER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <utility>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/ops/elementwise.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

// x with the extents of y: the last axes are matched, and those of extent 1 repeated.
inline TensorMemory broadcast(const char* function, const char* name, const TensorMemory& x,
                              const TensorMemory& y) {
  TensorMemory wide = y;
  wide.data = x.data;
  wide.dtype = x.dtype;
  wide.strides.fill(0);
  bool fits = x.rank <= y.rank;
  for (int axis = 0; fits && axis < x.rank; ++axis) {
    const int to = y.rank - x.rank + axis;
    if (x.extents[axis] == 1) continue;
    fits = x.extents[axis] == y.extents[to];
    wide.strides[to] = x.strides[axis];
  }
  if (!fits) {
    fail(function, name, "extents that broadcast to " + text_of(y.extents, y.rank) + ", those of y",
         text_of(x.extents, x.rank));
  }
  return wide;
}

// Up to three operands on common axes, the one along which y is densest last.
struct ElementwiseLoop {
  std::array<TensorMemory, 3> operands;  // a, b, y
  int count = 0;                         // of axes

  // Axes of extent 1 fall away; an axis that goes on where the next one ends becomes one with it.
  explicit ElementwiseLoop(const std::array<TensorMemory, 3>& from) : operands(from) {
    const TensorMemory& y = from[2];
    std::array<int, kMostAxes> order{};
    int n = 0;
    for (int axis = 0; axis < kMostAxes; ++axis) {
      if (y.extents[axis] != 1) order[static_cast<std::size_t>(n++)] = axis;
    }
    const auto pitch = [&](int i) {
      return std::abs(y.strides[order[static_cast<std::size_t>(i)]]);
    };
    for (int i = 1; i < n; ++i) {
      for (int j = i; j > 0 && pitch(j - 1) < pitch(j); --j) {
        std::swap(order[static_cast<std::size_t>(j)], order[static_cast<std::size_t>(j - 1)]);
      }
    }
    for (TensorMemory& t : operands) {
      t.extents.fill(1);
      t.strides.fill(0);
    }
    for (int i = 0; i < n; ++i) {
      const int axis = order[static_cast<std::size_t>(i)];
      bool joins = count > 0;
      for (std::size_t k = 0; joins && k < 3; ++k) {
        joins = operands[k].strides[count - 1] == from[k].strides[axis] * y.extents[axis];
      }
      count += joins ? 0 : 1;
      for (std::size_t k = 0; k < 3; ++k) {
        operands[k].extents[count - 1] *= y.extents[axis];
        operands[k].strides[count - 1] = from[k].strides[axis];
      }
    }
    count = std::max(count, 1);
  }

  index_t inner() const { return operands[2].extents[count - 1]; }
  index_t rows() const {
    index_t product = 1;
    for (int axis = 0; axis + 1 < count; ++axis) product *= operands[2].extents[axis];
    return product;
  }
  // Of element `first` of row `row`.
  const void* at(std::size_t k, index_t row, index_t first) const {
    const TensorMemory& t = operands[k];
    index_t to = first * t.strides[count - 1];
    for (int axis = count - 1; axis-- > 0;) {
      to += row % t.extents[axis] * t.strides[axis];
      row /= t.extents[axis];
    }
    return offset(t.data, to * size_of(t.dtype));
  }
  index_t stride(std::size_t k) const { return operands[k].strides[count - 1]; }
  bool is_f32_row(std::size_t k) const {
    return operands[k].dtype == DType::kF32 && (stride(k) == 1 || inner() == 1);
  }
};

TESSERA_LIBRARY_FUNCTION void checked_elementwise(const ElementwiseProblem& p) {
  using Kind = ElementwiseProblem::Kind;
  const auto& kernels = nn_kernels_for(p.function, p.context);
  const bool two = p.kind != Kind::kUnary;
  const NamedTensor y{"y", p.y};
  const AddressRange a_range = check_tensor(p.function, p.a_name, p.a);
  const AddressRange b_range = two ? check_tensor(p.function, p.b_name, p.b) : AddressRange{};
  const AddressRange y_range = check_tensor(p.function, y.name, p.y);
  check_nested(p.function, y);
  const TensorMemory a = broadcast(p.function, p.a_name, p.a, p.y);
  const TensorMemory b = two ? broadcast(p.function, p.b_name, p.b, p.y) : p.y;
  check_apart(p.function, y, y_range, {p.a_name, p.a}, a_range, true);
  if (two) check_apart(p.function, y, y_range, {p.b_name, p.b}, b_range, true);
  if (p.y.is_empty()) return;

  const ElementwiseLoop loop({a, b, p.y});
  constexpr index_t kBlock = 1024;  // elements whose copies stay in L1
  const index_t blocks = (loop.inner() + kBlock - 1) / kBlock;
  const RowRuns runs(p.context, loop.rows() * blocks, std::min(kBlock, loop.inner()));
  runs.run([&](index_t i, index_t) {
    const index_t row = i / blocks, first = i % blocks * kBlock;
    const index_t n = std::min(kBlock, loop.inner() - first);
    alignas(64) float lines[2][kBlock];
    const auto load = [&](std::size_t k) {
      const void* from = loop.at(k, row, first);
      if (loop.is_f32_row(k)) return static_cast<const float*>(from);
      kernels.load(loop.operands[k].dtype, from, loop.stride(k), lines[k], n);
      return static_cast<const float*>(lines[k]);
    };
    void* const result = const_cast<void*>(loop.at(2, row, first));
    const bool direct = loop.is_f32_row(2);
    float* const to = direct ? static_cast<float*>(result) : lines[0];
    const float* const from = load(0);
    if (p.kind == Kind::kUnary) {
      kernels.of(p.unary)(from, to, n);
    } else if (p.kind == Kind::kGated) {
      kernels.gated(p.unary)(from, load(1), to, n);
    } else if (loop.stride(1) != 0) {
      kernels.of(p.binary)(from, load(1), to, n);
    } else {
      kernels.load(loop.operands[1].dtype, loop.at(1, row, first), 1, lines[1], 1);
      kernels.with_number(p.binary)(from, lines[1][0], to, n);
    }
    if (!direct) kernels.store(to, p.y.dtype, result, loop.stride(2), n);
  });
}

TESSERA_LIBRARY_FUNCTION void checked_gated_halves(const char* function, UnaryOp op,
                                                   const TensorMemory& x, const TensorMemory& y,
                                                   const GatedOptions& options) {
  check_tensor(function, "x", x);
  const index_t n = y.extents[1];
  if (n < 0 || n > x.extents[1] || x.extents[1] - n != n || x.extents[0] != y.extents[0]) {
    fail(function, "x",
         "extents " + text_of(y.extents, 2) + ", those of y, with twice as many columns",
         text_of(x.extents, 2));
  }
  TensorMemory gate = x, up = x;
  const bool pairs = options.order == GateOrder::kGateEven || options.order == GateOrder::kGateOdd;
  for (TensorMemory* t : {&gate, &up}) {
    t->extents[1] = n;
    if (pairs) t->strides[1] *= 2;
  }
  const bool gate_first =
      options.order == GateOrder::kGateFirst || options.order == GateOrder::kGateEven;
  TensorMemory& second = gate_first ? up : gate;
  if (!x.is_empty()) {
    second.data = offset(x.data, (pairs ? 1 : n) * x.strides[1] * size_of(x.dtype));
  }
  checked_elementwise({function,
                       ElementwiseProblem::Kind::kGated,
                       op,
                       {},
                       "x (gate)",
                       "x (up)",
                       gate,
                       up,
                       y,
                       options.context});
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ELEMENTWISE_DRIVER_H_
