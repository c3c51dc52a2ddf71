// SPDX-License-Identifier: Apache-2.0
// Epilogues: what happens to the results of a kernel before they are stored, while they are in L1.
//
//   gemm(a, b, c, {}, epi::bias(bias) | epi::gelu());
//
// Steps run in the order they are written, in the type of the sums: f32, or f64 in an f64 GEMM. Integer
// sums become f32 first, rounded to nearest even. Every step rounds on its own. The last conversion, to
// the type of c, rounds to nearest even; to s8 and u8 it saturates, and NaN gives 0.
#ifndef TESSERA_OPS_EPILOGUE_H_
#define TESSERA_OPS_EPILOGUE_H_

#include <array>
#include <concepts>
#include <memory>
#include <string>
#include <type_traits>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/kernels/epilogue_steps.h"

namespace tessera {

// A short list of steps; refers to the memory and the functions it was made from, and owns nothing.
class Epilogue {
 public:
  static constexpr int kMaxSteps = 8;

  // Extents and strides of up to five axes.
  struct TensorShape {
    std::array<index_t, 5> extents{}, strides{};
  };

  Epilogue() = default;
  explicit Epilogue(const detail::EpilogueStep& step) : count_(1) { steps_[0] = step; }
  Epilogue(const detail::EpilogueStep& step, const TensorShape& tensor) : Epilogue(step) {
    tensor_ = tensor;
  }

  const detail::EpilogueStep* steps() const { return steps_.data(); }
  int size() const { return count_; }
  // Of the residual with more than two axes, if there is one.
  const TensorShape& tensor() const { return tensor_; }

  friend Epilogue operator|(const Epilogue& first, const Epilogue& second) {
    Epilogue both = first;
    if (first.count_ + second.count_ > kMaxSteps) {
      detail::fail("epilogue", "steps", "at most " + std::to_string(kMaxSteps),
                   std::to_string(first.count_ + second.count_));
    }
    for (int i = 0; i < second.count_; ++i) both.steps_[both.count_++] = second.steps_[i];
    if (first.has_tensor() && second.has_tensor()) {
      detail::fail("epilogue", "steps", "at most one residual of more than two axes", "two");
    }
    if (second.has_tensor()) both.tensor_ = second.tensor_;
    return both;
  }

 private:
  bool has_tensor() const {
    for (int i = 0; i < count_; ++i) {
      if (steps_[i].rank > 2) return true;
    }
    return false;
  }

  std::array<detail::EpilogueStep, kMaxSteps> steps_{};
  int count_ = 0;
  TensorShape tensor_;
};

namespace detail {

inline Epilogue simple_step(EpilogueOp op, double p0 = 0, double p1 = 0) {
  EpilogueStep step;
  step.op = op;
  step.p = {p0, p1};
  return Epilogue(step);
}

template <class T, int Rank>
Epilogue data_step(EpilogueOp op, const View<T, Rank>& v) {
  EpilogueStep step;
  step.op = op;
  step.dtype = DTypeTraits<std::remove_const_t<T>>::kDType;
  step.rank = Rank;
  step.data = v.data;
  if constexpr (Rank > 2) {
    Epilogue::TensorShape shape;
    for (int i = 0; i < Rank; ++i) {
      shape.extents[i] = v.extents[i];
      shape.strides[i] = v.strides[i];
    }
    return Epilogue(step, shape);
  } else {
    for (int i = 0; i < Rank; ++i) {
      step.extents[i] = v.extents[i];
      step.strides[i] = v.strides[i];
    }
    return Epilogue(step);
  }
}

}  // namespace detail

// Vectors are of the type of the sums, with any stride; the matrix of residual() is f32, bf16 or f16 (f64
// in an f64 GEMM), and may be c itself, but must not overlap it otherwise.
namespace epi {

// + x[j], x of [n].
template <class T>
Epilogue bias(const View<T, 1>& x) {
  return detail::data_step(detail::EpilogueOp::kAddColumn, x);
}
// + x[i], x of [m].
template <class T>
Epilogue row_bias(const View<T, 1>& x) {
  return detail::data_step(detail::EpilogueOp::kAddRow, x);
}
// + x(i, j), x of [m, n]; of a convolution, x has the axes of its result.
template <class T, int Rank>
  requires(Rank >= 2 && Rank <= 5)
Epilogue residual(const View<T, Rank>& x) {
  return detail::data_step(detail::EpilogueOp::kResidual, x);
}
// * s
inline Epilogue scale(double s) { return detail::simple_step(detail::EpilogueOp::kScale, s); }
// * x[j]: per output channel.
template <class T>
Epilogue column_scale(const View<T, 1>& x) {
  return detail::data_step(detail::EpilogueOp::kScaleColumn, x);
}
// * x[i]: per token.
template <class T>
Epilogue row_scale(const View<T, 1>& x) {
  return detail::data_step(detail::EpilogueOp::kScaleRow, x);
}

// Activations; NaN stays NaN. relu(-0) is -0.
inline Epilogue relu() { return detail::simple_step(detail::EpilogueOp::kRelu); }
// x < low ? low : x > high ? high : x
inline Epilogue clamp(double low, double high) {
  return detail::simple_step(detail::EpilogueOp::kClamp, low, high);
}
inline Epilogue relu6() { return clamp(0, 6); }
// x < 0 ? slope * x : x
inline Epilogue leaky_relu(double slope) {
  return detail::simple_step(detail::EpilogueOp::kLeakyRelu, slope);
}
// The functions of kernels/math-inl.h, which states their error bounds. f32 only.
inline Epilogue gelu() { return detail::simple_step(detail::EpilogueOp::kGelu); }  // by erf
inline Epilogue gelu_tanh() { return detail::simple_step(detail::EpilogueOp::kGeluTanh); }
inline Epilogue silu() { return detail::simple_step(detail::EpilogueOp::kSilu); }
inline Epilogue sigmoid() { return detail::simple_step(detail::EpilogueOp::kSigmoid); }
inline Epilogue tanh() { return detail::simple_step(detail::EpilogueOp::kTanh); }
inline Epilogue hard_swish() { return detail::simple_step(detail::EpilogueOp::kHardSwish); }

// round(x * scale) + zero_point, ties to even: for c of s8 or u8, where storing saturates.
inline Epilogue requantize(double scale, int zero_point = 0) {
  return detail::simple_step(detail::EpilogueOp::kRequantize, scale, zero_point);
}

// round(x * scales[j]) + zero_point: per output channel. The product is rounded to f32 once, so it is QLinearMatMul of
// ONNX, as ONNX Runtime and XNNPACK compute it in f32, for scales of (scale of a) * (scale of b) / (scale of c).
template <class T>
Epilogue requantize(const View<T, 1>& scales, int zero_point = 0) {
  return column_scale(scales) | requantize(1, zero_point);
}

// Calls f(EpilogueTile<T>) for tiles of the result, T being the type of the sums; f changes the values in
// place. Tiles come in any order, from several threads at a time, and each element is in exactly one. `f`
// is referred to and must outlive the call. A function for a single target can use its instructions:
// examples/fused_epilogue.
template <class T = float, class F>
  requires std::invocable<F&, EpilogueTile<T>>
Epilogue function(F& f) {
  detail::EpilogueStep step;
  step.op = detail::EpilogueOp::kFunction;
  step.dtype = DTypeTraits<T>::kDType;
  step.state = const_cast<void*>(static_cast<const void*>(std::addressof(f)));
  step.function = [](void* state, const void* tile) {
    (*static_cast<F*>(state))(*static_cast<const EpilogueTile<T>*>(tile));
  };
  return Epilogue(step);
}

}  // namespace epi
}  // namespace tessera

#endif  // TESSERA_OPS_EPILOGUE_H_
