// SPDX-License-Identifier: Apache-2.0
// softmax, log_softmax: of the rows of a matrix.
#ifndef TESSERA_OPS_SOFTMAX_H_
#define TESSERA_OPS_SOFTMAX_H_

#include <cstdint>
#include <span>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct SoftmaxOptions {
  float scale = 1;  // of the elements, at least 2^-100: 1 / temperature, or 1 / sqrt(head size)
  std::span<const std::int32_t> lengths{};  // of the rows: how many elements count; none: all
  Context* context = nullptr;
};

namespace impl {

struct SoftmaxProblem {
  const char* function;
  bool log;
  TensorMemory x, y;
  SoftmaxOptions options;
};

// Checks everything, then does it. Defined in softmax_driver.h.
void checked_softmax(const SoftmaxProblem& problem);

template <class X, class Y>
void softmax(const char* function, bool log, const X& x, const Y& y, const SoftmaxOptions& o) {
  const auto vx = as_view(x);
  const auto vy = as_view(y);
  static_assert(decltype(vx)::kRank == 2 && decltype(vy)::kRank == 2,
                "tessera: softmax takes views of rank 2");
  static_assert(
      kIsFloatElement<std::remove_const_t<typename decltype(vx)::Element>> &&
          kIsFloatElement<typename decltype(vy)::Element>,
      "tessera: softmax takes elements of f32, bf16 or f16, and a result that is not const");
  checked_softmax({function, log, tensor_memory(vx), tensor_memory(vy), o});
}

}  // namespace impl

// y[i, j] = e^(scale * x[i, j]) / the sum over j of e^(scale * x[i, j]).
//
// x: View<const T, 2>  [rows, cols], any strides; fast where those of cols are 1
// y: View<U, 2>        [rows, cols], strides that visit no element twice; may be x itself
// T, U: f32, bf16, f16
// options.lengths: of row i the first lengths[i] elements count; the others are not read, and their results are 0
// (of log_softmax -infinity).
//
// Numerics: in f32. With m the largest element of the row, e = 2^((x - m) * (scale / ln 2)), which is 0 where that would be
// below 2^-126.5; s = the sum of e, in 32 virtual lanes (ref/lane_sums.h); y = e * (1 / s), rounded to U. The same bits
// on every target with FMA, with any strides and number of threads. For cols up to 2^20 the error is below 2^-20 of
// the result, plus 3 * 2^-24 |x - m| scale times the result, plus the rounding to U.
//
// Elements of -infinity are masked: their results are 0, also where all are (log_softmax: -infinity). A NaN or
// +infinity makes all results of its row NaN.
//
// Rows are shared out to the context's executor. bf16, f16 and rows without unit stride take 4 * cols bytes of scratch
// per task, and so do matrices larger than the last cache, whose results are stored past it. Empty matrices do nothing.
//
// Errors (tessera::Error, before anything is written): y of other extents than x, negative extents, null data, sizes
// that overflow, y that overlaps itself, or x without being the same; a scale below 2^-100 or not finite; lengths
// below 0, above cols or not one per row.
template <class X, class Y>
void softmax(const X& x, const Y& y, const SoftmaxOptions& options = {}) {
  impl::softmax("softmax", false, x, y, options);
}

// y[i, j] = scale * x[i, j] - ln(the sum over j of e^(scale * x[i, j])).
//
// Operands, numerics and errors as above, with y = (x - m) * scale - ln s.
template <class X, class Y>
void log_softmax(const X& x, const Y& y, const SoftmaxOptions& options = {}) {
  impl::softmax("log_softmax", true, x, y, options);
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/softmax_driver.h"
#endif

#endif  // TESSERA_OPS_SOFTMAX_H_
