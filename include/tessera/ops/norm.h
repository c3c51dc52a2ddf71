// SPDX-License-Identifier: Apache-2.0
// rms_norm, layer_norm: of the rows of a matrix, with weights, a fused residual, and results of floats or codes.
#ifndef TESSERA_OPS_NORM_H_
#define TESSERA_OPS_NORM_H_

#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/quantized.h"
#include "tessera/core/view.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct NormOptions {
  FloatView<1> weight{}, bias{};  // [cols]; none: 1, 0
  float epsilon = 1e-5f;          // added to the mean square
  FloatView<2> residual{};        // [rows, cols]; if given, x + residual is normalised instead of x
  MutableFloatView<2> sum{};      // [rows, cols]; if given, gets x + residual
  Scaling scaling = Scaling::kMinMax;  // of results that are codes
  Context* context = nullptr;
};

namespace impl {

struct NormProblem {
  const char* function;
  bool mean;  // is subtracted
  TensorMemory x, y;
  const MutableGroupQuantizedView* codes;  // instead of y
  NormOptions options;
};

// Checks everything, then does it. Defined in norm_driver.h.
void checked_norm(const NormProblem& problem);

template <class X, class Y>
void norm(const char* function, bool mean, const X& x, const Y& y, const NormOptions& o) {
  const FloatView<2> from(x);
  if constexpr (std::is_convertible_v<Y, MutableGroupQuantizedView>) {
    const MutableGroupQuantizedView codes = y;
    checked_norm({function, mean, from.memory(), {}, &codes, o});
  } else {
    checked_norm({function, mean, from.memory(), MutableFloatView<2>(y).memory(), nullptr, o});
  }
}

}  // namespace impl

// y[i, j] = x[i, j] / sqrt(mean over j of x[i, j]^2 + epsilon) * weight[j] + bias[j].
//
// x: View<const T, 2>  [rows, cols], any strides; fast where those of cols are 1
// y: View<U, 2>        [rows, cols], strides that visit no element twice; may be x or the residual itself
//    or MutableGroupQuantizedView: codes, as quantize() computes them of the results in f32: with options.scaling kMinMax
//    a scale (and zero point) for each row or group of columns, with kGiven those that are there. Signed codes of 8 bits
//    with one scale per row are the activations of integer products.
// options.residual: r = x + residual is normalised. options.sum gets r, and may be x or the residual itself. What is
//    normalised then is r as it was rounded to the type of the sum: the bits of an addition and a norm one after the other.
// T, U, and those of weights, bias, residual and sum: f32, bf16, f16, in any mix.
//
// Numerics: in f32. The mean square is the sum of fused x * x + sum in 32 virtual lanes (ref/lane_sums.h), divided by
// cols; f = 1 / sqrt(mean + epsilon), all exactly rounded; y = (x * f) * weight + bias, the last product and sum fused,
// rounded to U. The same bits on every target with FMA, with any strides and number of threads. Squares overflow for
// |x| > 2^63: then results are 0. NaN and infinities make all results of their row NaN or 0, as IEEE 754 says.
//
// Rows are shared out to the context's executor. What is not f32 with unit stride is brought to it in scratch: 4 * cols
// bytes for weight and bias each, and per task twice as many. Empty matrices do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match, negative extents, null data, sizes that
// overflow, an epsilon that is negative or not finite; a result that overlaps itself, another one, weights, bias, or x
// and the residual without being the same; a sum without a residual; of codes what quantize() refuses, and kMinMax for
// rows that share their scales.
template <class X, class Y>
void rms_norm(const X& x, const Y& y, const NormOptions& options = {}) {
  impl::norm("rms_norm", false, x, y, options);
}

// y[i, j] = (x[i, j] - m) / sqrt(mean over j of (x[i, j] - m)^2 + epsilon) * weight[j] + bias[j], with m the mean of x[i].
//
// Operands, numerics and errors as above. The mean is computed first, then the squares of x - m: a large mean costs no
// digits.
template <class X, class Y>
void layer_norm(const X& x, const Y& y, const NormOptions& options = {}) {
  impl::norm("layer_norm", true, x, y, options);
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/norm_driver.h"
#endif

#endif  // TESSERA_OPS_NORM_H_
