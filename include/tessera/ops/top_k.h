// SPDX-License-Identifier: Apache-2.0
// argmax, top_k: the largest elements of rows, and where they are.
#ifndef TESSERA_OPS_TOP_K_H_
#define TESSERA_OPS_TOP_K_H_

#include <cstdint>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct TopKOptions {
  Context* context = nullptr;
};

namespace impl {

struct TopKProblem {
  const char* function;
  TensorMemory x;
  MutableFloatView<2> values;  // of argmax: none
  View<std::int32_t, 2> indices;
  Context* context;
};

// Checks everything, then does it. Defined in top_k_driver.h.
void checked_top_k(const TopKProblem& problem);

}  // namespace impl

// values[i, s], indices[i, s] = the s-th largest element of x[i] and its column.
//
// x: View<const T, 2>         [rows, cols], any strides; fast where those of cols are 1
// values: View<U, 2>          [rows, k], k from 0 to cols, strides that visit no element twice
// indices: View<int32_t, 2>   likewise
// T, U: f32, bf16, f16 in any mix; values are rounded to U.
//
// Of equal elements (-0 equals 0) the one of the smaller column comes first. NaN is larger than all numbers, and all NaN are
// equal: as in PyTorch, and what numpy.argmax does. The same on every target.
//
// Rows are shared out to the context's executor. Time: one pass over the row, as fast as it can be read once k large elements
// were met, and log k for each element that is larger than k before it: of numbers in random order k ln(cols / k). Scratch:
// 12 * k bytes per task.
//
// Errors (tessera::Error, before anything is written): extents that don't match or are negative, k above cols, 2^31 columns
// or more, null data, sizes that overflow, results that overlap themselves, each other or x.
template <class X, class Values, class Indices>
void top_k(const X& x, const Values& values, const Indices& indices,
           const TopKOptions& options = {}) {
  impl::checked_top_k(
      {"top_k", FloatView<2>(x).memory(), values, impl::as_view(indices), options.context});
}

// indices[i] = the column of the largest element of x[i]: top_k with k = 1 in less time, the first of equal ones, NaN the
// largest.
//
// x: as above, with at least one column
// indices: View<int32_t, 1>   [rows]
// No scratch. Errors as above.
template <class X, class Indices>
void argmax(const X& x, const Indices& indices, const TopKOptions& options = {}) {
  const View<std::int32_t, 1> v = impl::as_view(indices);
  impl::checked_top_k({"argmax",
                       FloatView<2>(x).memory(),
                       {},
                       {v.data, {v.extent(0), 1}, {v.stride(0), 1}},
                       options.context});
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/top_k_driver.h"
#endif

#endif  // TESSERA_OPS_TOP_K_H_
