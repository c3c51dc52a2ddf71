// SPDX-License-Identifier: Apache-2.0
// gemm: C = alpha * A * B + beta * C for f32 and f64, and the packing of operands that are used often.
#ifndef TESSERA_OPS_GEMM_H_
#define TESSERA_OPS_GEMM_H_

#include <type_traits>

#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm_problem.h"
#include "tessera/ops/packed.h"
#if !TESSERA_COMPILED
#include "tessera/ops/gemm_driver.h"
#endif

namespace tessera::inline TESSERA_ABI {

struct GemmOptions {
  double alpha = 1;  // rounded to the element type; 0: A and B are not read
  double beta = 0;   // 0: C is not read
  Context* context = nullptr;
};

struct PackOptions {
  Context* context = nullptr;
};

// C[m, n] = alpha * A[m, k] * B[k, n] + beta * C.
//
// a: View<const T, 2> or PackedA<T>   [m, k], any strides, also zero (broadcast) and negative
// b: View<const T, 2> or PackedB<T>   [k, n], likewise
// c: View<T, 2>                       [m, n], any strides that visit no element twice
// T: float or double, the same for all three.
//
// Numerics: c(i, j) is one chain of fused multiply-adds in order of k,
//   s = beta * c(i, j) (0 if beta is 0; c itself if beta is 1);  s = fma(alpha * a(i, l), b(l, j), s)
// in T, with alpha * a(i, l) rounded to T. So the result does not depend on tiles, cache blocks,
// packing, threads, vector length or target (but for targets without FMA: has_fma()). NaN and
// infinities propagate as IEEE 754 says. k = 0 or alpha = 0 gives beta * C; empty results do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match or are negative, null
// data, sizes that overflow, a C that overlaps itself or an input, an operand packed for another
// target, scratch lent by the context that is too small.
template <class A, class B, class C>
void gemm(const A& a, const B& b, const C& c, const GemmOptions& options = {}) {
  const auto c_view = impl::output_view(c);
  using T = typename decltype(c_view)::Element;
  static_assert(!std::is_const_v<T>, "tessera::gemm: c is written, its elements must not be const");
  static_assert(std::is_same_v<std::remove_const_t<T>, float> ||
                    std::is_same_v<std::remove_const_t<T>, double>,
                "tessera::gemm: the element type of c must be float or double");
  static_assert(impl::is_operand<A, T, PackedA<T>>,
                "tessera::gemm: a must be a View<T, 2> or PackedA<T> of c's element type");
  static_assert(impl::is_operand<B, T, PackedB<T>>,
                "tessera::gemm: b must be a View<T, 2> or PackedB<T> of c's element type");
  impl::GemmProblem<T> problem{};
  problem.alpha = static_cast<T>(options.alpha);
  problem.beta = static_cast<T>(options.beta);
  impl::set_operand(problem.a, problem.packed_a, a);
  impl::set_operand(problem.b, problem.packed_b, b);
  impl::set_result(problem, c_view);
  problem.k = impl::extents_of(a)[1];
  impl::checked_gemm(problem, impl::extents_of(a), impl::extents_of(b), options.context);
}

// Packs B[k, n] for many calls of gemm(a, packed, c) with any m. It remembers target, tile (the target's
// default, or the context's) and K blocks, and is refused by a gemm on another target.
template <class B>
auto pack_b(const B& b, const PackOptions& options = {}) {
  const auto view = impl::input_view(b);
  using T = std::remove_const_t<typename decltype(view)::Element>;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>,
                "tessera::pack_b: the element type of b must be float or double");
  return impl::checked_pack_b<T>(view, options.context);
}

// Packs A[m, k] likewise, for gemm(packed, b, c) with any n.
template <class A>
auto pack_a(const A& a, const PackOptions& options = {}) {
  const auto view = impl::input_view(a);
  using T = std::remove_const_t<typename decltype(view)::Element>;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>,
                "tessera::pack_a: the element type of a must be float or double");
  return impl::checked_pack_a<T>(view, options.context);
}

// What gemm would choose for row-major operands of this size: for reports and tuning.
template <class T>
GemmPlan plan_gemm(index_t m, index_t n, index_t k, const Context* context = nullptr) {
  return impl::checked_plan<T>(m, n, k, context);
}

// How many register tiles a target has: GemmTuning::tile counts from 0 to one less.
template <class T>
int gemm_tile_count(const Context* context = nullptr) {
  return impl::checked_tile_count<T>(context);
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_GEMM_H_
