// SPDX-License-Identifier: Apache-2.0
// axpby: y = a * x + b * y for f32 and f64.
//
// In the library: ops/axpby.h, and one line in tessera.h.
#ifndef TESSERA_OPS_AXPBY_H_
#define TESSERA_OPS_AXPBY_H_

#include <string>
#include <type_traits>

#include "axpby_kernels.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm_checks.h"

namespace tessera::inline TESSERA_ABI {

struct AxpbyOptions {
  double a = 1;  // rounded to the element type, as b
  double b = 0;  // 0: y is not read
  Context* context = nullptr;
};

namespace impl {

// As a matrix of one row, for the checks that all functions share.
template <class T>
MemoryView as_row(const View<T, 1>& v) {
  return {v.data, DTypeTraits<std::remove_const_t<T>>::kDType, {1, v.extent(0)}, {0, v.stride(0)}};
}

template <class T>
void check_axpby(const View<const T, 1>& x, const View<T, 1>& y) {
  const AddressRange x_range = check_memory("axpby", "x", as_row(x));  // extent, null, overflow
  const AddressRange y_range = check_memory("axpby", "y", as_row(y));
  if (x.extent(0) != y.extent(0)) {
    fail("axpby", "y", std::to_string(x.extent(0)) + " elements, as many as x",
         std::to_string(y.extent(0)));
  }
  if (overlaps_itself(as_row(y))) {
    fail("axpby", "y", "a stride that visits each element once", std::to_string(y.stride(0)));
  }
  const bool same = x.data == y.data && x.stride(0) == y.stride(0);
  if (!same && overlap(as_row(x), x_range, as_row(y), y_range)) {
    fail("axpby", "y", "x itself, or memory that does not overlap x", "a partly overlapping view");
  }
}

}  // namespace impl

// y[n] = a * x[n] + b * y[n].
//
// x: View<const T, 1>  [n], any stride, also zero (broadcast) and negative
// y: View<T, 1>        [n], any stride but zero; x itself, or memory apart from it
// T: float or double, the same for both. Fast where both strides are 1. Runs on the calling thread.
//
// Numerics: y(i) = fma(a, x(i), b * y(i)), where b = 0 starts from 0: the same bits on every target
// with FMA (has_fma()). NaN and infinities propagate as IEEE 754 says. n = 0 does nothing.
//
// Errors (tessera::Error, before anything is written): different or negative extents, null data,
// sizes that overflow, overlap, a target that this machine or build does not have.
template <class T>
void axpby(const std::type_identity_t<View<const T, 1>>& x, const View<T, 1>& y,
           const AxpbyOptions& options = {}) {
  static_assert(!std::is_const_v<T>,
                "tessera::axpby: y is written, its elements must not be const");
  static_assert(std::is_same_v<std::remove_const_t<T>, float> ||
                    std::is_same_v<std::remove_const_t<T>, double>,
                "tessera::axpby: the element type of y must be float or double");
  // In the library: the function pointers are in this table.
  const Target target = impl::kernels_for<0>("axpby", options.context).target;
  const tessera::detail::AxpbyKernels* kernels = tessera::detail::find_axpby_kernels(target);
  if (kernels == nullptr) impl::fail_target("axpby", "context.target", name(target));
  impl::check_axpby<T>(x, y);
  kernels->get<T>()(y.extent(0), static_cast<T>(options.a), x.data, x.stride(0),
                    static_cast<T>(options.b), y.data, y.stride(0));
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_AXPBY_H_
