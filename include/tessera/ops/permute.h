// SPDX-License-Identifier: Apache-2.0
// permute, copy: a tensor into another layout.
#ifndef TESSERA_OPS_PERMUTE_H_
#define TESSERA_OPS_PERMUTE_H_

#include <array>
#include <cstddef>
#include <numeric>
#include <span>
#include <type_traits>
#include <utility>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct PermuteOptions {
  Context* context = nullptr;
};

namespace impl {

struct PermuteProblem {
  const char* function;
  TensorMemory x, y;  // of any type of the size of the elements
  std::array<int, kMostAxes> axes;
  Context* context;
};

// Checks everything, then does it. Defined in permute_driver.h.
void checked_permute(const PermuteProblem& problem);

template <class X>
using ViewOf = decltype(as_view(std::declval<const X&>()));

// The memory of elements of any type, as numbers of their size.
template <class T, int Rank>
TensorMemory bits_memory(const View<T, Rank>& v) {
  static_assert(Rank >= 1 && Rank <= kMostAxes, "tessera: views of rank 1 to 5 are copied");
  static_assert(std::is_trivially_copyable_v<T> &&
                    (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8),
                "tessera: elements of 1, 2, 4 or 8 bytes are copied");
  TensorMemory t{v.data,
                 sizeof(T) == 1   ? DType::kU8
                 : sizeof(T) == 2 ? DType::kU16
                 : sizeof(T) == 4 ? DType::kU32
                                  : DType::kF64,
                 Rank,
                 {},
                 {}};
  t.extents.fill(1);
  for (int i = 0; i < Rank; ++i) {
    t.extents[static_cast<std::size_t>(i)] = v.extent(i);
    t.strides[static_cast<std::size_t>(i)] = v.stride(i);
  }
  return t;
}

template <class X, class Y>
void permute(const char* function, const X& x, const Y& y, std::span<const int> axes,
             Context* context) {
  const auto from = as_view(x);
  const auto to = as_view(y);
  using From = typename decltype(from)::Element;
  using To = typename decltype(to)::Element;
  static_assert(std::is_same_v<std::remove_const_t<From>, To>,
                "tessera: elements are copied to elements of the same type that can be written");
  static_assert(decltype(from)::kRank == decltype(to)::kRank,
                "tessera: both views have the same rank");
  PermuteProblem p{function, bits_memory(from), bits_memory(to), {}, context};
  std::iota(p.axes.begin(), p.axes.end(), 0);
  for (std::size_t i = 0; i < axes.size(); ++i) p.axes[i] = axes[i];
  checked_permute(p);
}

}  // namespace impl

// y(i, j, ...) = x with its axes in another order: axis k of y is axis axes[k] of x, as in numpy.transpose.
//
//   permute(row_major(x, {b, tokens, heads, dim}), row_major(y, {b, heads, tokens, dim}), {0, 2, 1, 3});
//
// x: View<const T, Rank>  of rank 1 to 5, any strides, also zero (broadcast) and negative
// y: View<T, Rank>        extents of x in the new order, strides that visit no element twice
// T: anything trivially copyable of 1, 2, 4 or 8 bytes. Bits are copied, so every NaN stays as it is.
//
// Fast where both have the same contiguous axis, and where each has one of its own. Shared out to the context's executor;
// no scratch. Empty tensors do nothing.
//
// Errors (tessera::Error, before anything is written): axes that are no permutation, extents that don't match or are
// negative, null data, sizes that overflow, y that overlaps itself or x.
template <class X, class Y>
void permute(const X& x, const Y& y,
             const std::array<int, static_cast<std::size_t>(impl::ViewOf<X>::kRank)>& axes,
             const PermuteOptions& options = {}) {
  impl::permute("permute", x, y, axes, options.context);
}

// The same with the axes as they are: a tensor of any strides into one of other strides.
template <class X, class Y>
  requires requires { impl::ViewOf<X>::kRank; }
void copy(const X& x, const Y& y, const PermuteOptions& options = {}) {
  impl::permute("copy", x, y, {}, options.context);
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/permute_driver.h"
#endif

#endif  // TESSERA_OPS_PERMUTE_H_
