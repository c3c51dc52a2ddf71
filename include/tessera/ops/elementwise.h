// SPDX-License-Identifier: Apache-2.0
// elementwise: functions of one tensor, and of two with broadcasting; gated activations (swiglu, geglu).
#ifndef TESSERA_OPS_ELEMENTWISE_H_
#define TESSERA_OPS_ELEMENTWISE_H_

#include <cstdint>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct ElementwiseOptions {
  Context* context = nullptr;
};

// Where a matrix [rows, 2 n] has the gates and what they are multiplied with.
enum class GateOrder : std::uint8_t {
  kGateFirst,   // gates in the columns [0, n), the others behind
  kGateSecond,  // the other way round
  kGateEven,    // gates in even columns, the others in odd ones
  kGateOdd,     // the other way round
};

struct GatedOptions {
  GateOrder order = GateOrder::kGateFirst;  // of one matrix that has both
  Context* context = nullptr;
};

namespace impl {

struct ElementwiseProblem {
  const char* function;
  enum class Kind { kUnary, kBinary, kGated } kind;
  UnaryOp unary;
  BinaryOp binary;
  const char *a_name, *b_name;
  TensorMemory a, b, y;  // b of kBinary and kGated
  Context* context;
};

// Checks everything, then does it. Defined in elementwise_driver.h.
void checked_elementwise(const ElementwiseProblem& problem);

template <class X>
TensorMemory float_tensor(const X& x) {
  using V = decltype(as_view(x));
  static_assert(V::kRank >= 1 && V::kRank <= 4,
                "tessera: elementwise functions take views of rank 1 to 4");
  return FloatView<V::kRank>(x).memory();
}
template <class Y>
TensorMemory float_result(const Y& y) {
  using V = decltype(as_view(y));
  static_assert(V::kRank >= 1 && V::kRank <= 4,
                "tessera: elementwise functions take views of rank 1 to 4");
  return MutableFloatView<V::kRank>(y).memory();
}

// Splits x [rows, 2 n] as `order` says. Defined in elementwise_driver.h.
void checked_gated_halves(const char* function, UnaryOp op, const TensorMemory& x,
                          const TensorMemory& y, const GatedOptions& options);

template <class G, class Up, class Y>
void gated(const char* function, UnaryOp op, const G& gate, const Up& up, const Y& y,
           const ElementwiseOptions& options) {
  checked_elementwise({function,
                       ElementwiseProblem::Kind::kGated,
                       op,
                       {},
                       "gate",
                       "up",
                       float_tensor(gate),
                       float_tensor(up),
                       float_result(y),
                       options.context});
}

template <class X, class Y>
void gated(const char* function, UnaryOp op, const X& x, const Y& y, const GatedOptions& options) {
  checked_gated_halves(function, op, FloatView<2>(x).memory(), MutableFloatView<2>(y).memory(),
                       options);
}

}  // namespace impl

// y[i] = op(x[i]) for each element.
//
// x: View<const T, 1> to 4, any strides; axes of extent 1 are repeated as in numpy, and missing first ones are added
// y: View<U, 1> to 4, of at least the rank of x, strides that visit no element twice; may be x itself
// T, U: f32, bf16, f16
//
// Numerics: in f32, rounded to U once. The bounds of the errors of exp, gelu and so on are in kernels/math-inl.h, their
// operations in ref/math.h; kSqrt and kReciprocal are exactly rounded. kSin and kCos take all floats, in radians. The same bits on every target with FMA. NaN gives
// NaN.
//
// Blocks of elements are shared out to the context's executor. Fast where an axis of all operands has stride 1, or all
// of them lie in memory in the same order. Empty tensors do nothing.
//
// Errors (tessera::Error, before anything is written): extents of x that are neither those of y nor 1, a rank of x above
// that of y, negative extents, null data, sizes that overflow, y that overlaps itself, or x without being the same.
template <class X, class Y>
void elementwise(UnaryOp op, const X& x, const Y& y, const ElementwiseOptions& options = {}) {
  impl::checked_elementwise({"elementwise",
                             impl::ElementwiseProblem::Kind::kUnary,
                             op,
                             {},
                             "x",
                             nullptr,
                             impl::float_tensor(x),
                             {},
                             impl::float_result(y),
                             options.context});
}

// y[i] = a[i] op b[i] for each element. Operands, numerics and errors as above: y must have the extents that a and b
// broadcast to.
template <class A, class B, class Y>
void elementwise(BinaryOp op, const A& a, const B& b, const Y& y,
                 const ElementwiseOptions& options = {}) {
  impl::checked_elementwise({"elementwise",
                             impl::ElementwiseProblem::Kind::kBinary,
                             {},
                             op,
                             "a",
                             "b",
                             impl::float_tensor(a),
                             impl::float_tensor(b),
                             impl::float_result(y),
                             options.context});
}

// y[i] = op(gate[i]) * up[i], both in f32, the product rounded to f32 and to U. kSilu: SwiGLU, kGelu: GeGLU, kSigmoid: GLU,
// kRelu: ReGLU (Shazeer, "GLU Variants Improve Transformer", 2020). Operands, numerics and errors as above; y may be the
// gate or up.
template <class G, class Up, class Y>
void gated(UnaryOp op, const G& gate, const Up& up, const Y& y,
           const ElementwiseOptions& options = {}) {
  impl::gated("gated", op, gate, up, y, options);
}

// The same of gates and ups in one matrix, such as one product gives: x [rows, 2 n] to y [rows, n]. Not in place, but y
// may be the gates or the ups of x as a slice of it.
//
// Errors: as above, and extents of x that are not those of y with twice as many columns.
template <class X, class Y>
void gated(UnaryOp op, const X& x, const Y& y, const GatedOptions& options = {}) {
  impl::gated("gated", op, x, y, options);
}

// gated with kSilu.
template <class G, class Up, class Y>
void swiglu(const G& gate, const Up& up, const Y& y, const ElementwiseOptions& options = {}) {
  impl::gated("swiglu", UnaryOp::kSilu, gate, up, y, options);
}
template <class X, class Y>
void swiglu(const X& x, const Y& y, const GatedOptions& options = {}) {
  impl::gated("swiglu", UnaryOp::kSilu, x, y, options);
}

// gated with kGelu.
template <class G, class Up, class Y>
void geglu(const G& gate, const Up& up, const Y& y, const ElementwiseOptions& options = {}) {
  impl::gated("geglu", UnaryOp::kGelu, gate, up, y, options);
}
template <class X, class Y>
void geglu(const X& x, const Y& y, const GatedOptions& options = {}) {
  impl::gated("geglu", UnaryOp::kGelu, x, y, options);
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/elementwise_driver.h"
#endif

#endif  // TESSERA_OPS_ELEMENTWISE_H_
