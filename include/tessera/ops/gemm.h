// SPDX-License-Identifier: Apache-2.0
// gemm: C = epilogue(alpha * A * B + beta * C), one at a time, in batches and in groups, and the packing of
// operands that are used often.
#ifndef TESSERA_OPS_GEMM_H_
#define TESSERA_OPS_GEMM_H_

#include <span>
#include <type_traits>
#include <vector>

#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/epilogue.h"
#include "tessera/ops/gemm_problem.h"
#include "tessera/ops/packed.h"
#include "tessera/ops/zero_points.h"
#if !TESSERA_COMPILED
#include "tessera/ops/gemm_driver.h"
#endif

namespace tessera::inline TESSERA_ABI {

struct PackOptions {
  Context* context = nullptr;
};

// C[m, n] = epilogue(alpha * A[m, k] * B[k, n] + beta * C).
//
// a: View<const TA, 2> or PackedA<TA>   [m, k], any strides, also zero (broadcast) and negative
// b: View<const TB, 2> or PackedB<TB>   [k, n], likewise; or PackedWeights, quantized, see pack_weights()
// c: View<TC, 2>                        [m, n], any strides that visit no element twice
//
//   TA, TB                 sums   TC
//   f64                    f64    f64
//   f32, bf16, f16, mixed  f32    f32, bf16, f16, s8, u8
//   s8, u8, mixed          s32    s32 (without epilogue), f32, bf16, f16, s8, u8
//
// a and b of s8 and u8 may have zero points, for all or per row of A and per column of B (ops/zero_points.h):
//   gemm(with_zero_points(a, per_token), with_zero_point(b, 3), c, {}, epi::requantize(scales, 128));
//
// Numerics. Floating point: s(i, j) is one chain of fused multiply-adds in order of k,
//   s = beta * c(i, j) (0 if beta is 0; c itself if beta is 1);  s = fma(alpha * a(i, l), b(l, j), s)
// in the type of the sums, with alpha * a(i, l) rounded to it; bf16 and f16 convert to f32 exactly. So the
// result does not depend on tiles, cache blocks, packing, threads, vector length or target (but for
// targets without FMA: has_fma()). NaN and infinities propagate as IEEE 754 says. Integers: the sums of
// (a(i, l) - za(i)) * (b(l, j) - zb(j)), zero points or 0, are exact for all values; they wrap modulo 2^32, which
// k <= 33025 can't reach. alpha must be 1, and beta 0, or 1 for c of s32. beta must be 0 for c of s8 and u8.
// Then the steps of the epilogue (ops/epilogue.h), and one rounding to TC.
// Numerics::kFast: the k of products that are thin in m and n may be shared by threads, each element then being
// the sum of a few chains, as it always may be for integers.
// k = 0 or alpha = 0 gives epilogue(beta * C); empty results do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match or are negative, null
// data, sizes that overflow, a C that overlaps itself or an input, an operand packed for another
// target, scratch lent by the context that is too small, zero points that are no values of the operand's type,
// are not one per row of A or column of B, or overlap C.
template <class A, class B, class C>
void gemm(const A& a, const B& b, const C& c, const GemmOptions& options = {},
          const Epilogue& epilogue = {}) {
  impl::checked_gemm(impl::gemm_problem(a, b, c, options, epilogue), options.context);
}

// One product of gemm_grouped(): views, or packed operands.
template <class A, class B, class C>
struct GemmGroup {
  A a;
  const B* b;  // shared by several groups more often than not
  C c;
  Epilogue epilogue{};
};

// Many products of any sizes, each with its own operands: the experts of a mixture, or a batch given by
// pointers. The same as gemm(g.a, *g.b, g.c, options, g.epilogue) for each g, but threads are shared by all,
// and everything is checked before anything is written. Results must not overlap each other.
template <class A, class B, class C>
void gemm_grouped(std::span<const GemmGroup<A, B, C>> groups, const GemmOptions& options = {}) {
  std::vector<impl::GemmProblem> problems;
  problems.reserve(groups.size());
  for (const auto& g : groups) {
    if (g.b == nullptr) {
      detail::fail("gemm_grouped", "groups", "an operand b in each", "a null pointer");
    }
    problems.push_back(impl::gemm_problem(g.a, *g.b, g.c, options, g.epilogue));
  }
  impl::checked_gemms("gemm_grouped", problems, options.context);
}

// C[i] = epilogue(alpha * A[i] * B[i] + beta * C[i]) for each i of a batch.
//
// a: View<const TA, 3>                   [batch, m, k], any strides; 0 along the batch shares one matrix
// b: View<const TB, 3> or PackedB<TB>    [batch, k, n], or one packed matrix [k, n] for all
//    either with zero points: one, [m] or [n] for all matrices, or [batch, m] or [batch, n]
// c: View<TC, 3>                         [batch, m, n], strides that visit no element twice
// The epilogue is the same for each.
template <class A, class B, class C>
void gemm_batched(const A& a, const B& b, const C& c, const GemmOptions& options = {},
                  const Epilogue& epilogue = {}) {
  const auto va = impl::input_view<3>(impl::bare(a));
  const auto vc = impl::input_view<3>(c);
  impl::check_batch("c", vc.extents[0], va.extents[0]);
  if constexpr (!impl::is_packed_b<impl::Bare<B>>) {
    impl::check_batch("b", impl::input_view<3>(impl::bare(b)).extents[0], va.extents[0]);
  }
  impl::check_batch_of_zero_points("a.zero_points", a, va.extents[0]);
  impl::check_batch_of_zero_points("b.zero_points", b, va.extents[0]);
  impl::check_batched_result(vc.extents, vc.strides);
  std::vector<impl::GemmProblem> problems;
  problems.reserve(static_cast<std::size_t>(vc.extents[0]));
  for (index_t i = 0; i < vc.extents[0]; ++i) {
    problems.push_back(impl::gemm_problem(impl::matrix_of(a, i), impl::matrix_of(b, i),
                                          impl::matrix_of(vc, i), options, epilogue));
  }
  impl::checked_gemms("gemm_batched", problems, options.context);
}

// Packs B[k, n] for many calls of gemm(a, packed, c) with any m. It remembers target, tile (the target's
// default, or the context's) and K blocks, and is refused by a gemm on another target. bf16 and f16 stay
// 16 bits wide, s8 8 bits where the target multiplies bytes (elsewhere 16). Of integers the sums of the columns are
// kept, too, which zero points of A are multiplied by.
template <class B>
auto pack_b(const B& b, const PackOptions& options = {}) {
  using T = impl::ElementOf<B>;
  static_assert(impl::MatrixLike<B>, "tessera::pack_b: b must be a View<T, 2> or mdspan-like");
  static_assert(impl::are_gemm_types<T, T, T>,
                "tessera::pack_b: the element type of b must be f64, f32, bf16, f16, s8 or u8");
  return PackedB<T>(impl::checked_pack_b(impl::operand(b), options.context));
}

// Packs A[m, k] likewise, for gemm(packed, b, c) with any n. bf16 and f16 are widened to f32; s8 and u8 are
// packed for a b of s8, with the sums of the rows.
template <class A>
auto pack_a(const A& a, const PackOptions& options = {}) {
  using T = impl::ElementOf<A>;
  static_assert(impl::MatrixLike<A>, "tessera::pack_a: a must be a View<T, 2> or mdspan-like");
  static_assert(impl::are_gemm_types<T, T, T>,
                "tessera::pack_a: the element type of a must be f64, f32, bf16, f16, s8 or u8");
  return PackedA<T>(impl::checked_pack_a(impl::operand(a), options.context));
}

// Packs quantized weights W[n, k], one output feature per row as frameworks and GGUF files have them, for many calls of
// gemm(a, packed, c): C[m, n] = epilogue(alpha * A[m, k] * W^T + beta * C), a of f32, bf16 or f16, any m.
//
// weights: ConstBlockView        any block format (core/block_formats.h)
//          GroupQuantizedView    integers of 2, 4, 8 bits; a group is a multiple of 32, or all columns
//          Fp8BlockView          8-bit floats; likewise block_cols
// Nothing is rounded: bits are moved into panels for this target, which take about as many bytes as the weights did
// (TQ1_0: 2 bits an element).
//
// Numerics, options.activations:
//   kFloat         the bits of gemm(a, b, c) with b = dequantize(weights)^T in f32.
//   kInt8...       each block x of 32 or 256 elements of a row of A, or the row, becomes
//                    q = round(x * (127 / max|x|)), ties to even; scale = max|x| / 127 * alpha.
//                  Products of q with the integers of the weights are summed exactly as long as the scale of the
//                  weights is the same, s and z (of q alone); then, from t = 0 for each block, and from c = beta * C,
//                    t = fma(s, scale of the weights, t);  t = fma(-z, min of the weights, t);
//                    c = fma(t, scale of the block, c), for longer blocks for each 256 elements.
//                  A block with a NaN or an infinity makes its row of C NaN. Weights of floats (FP8, MXFP6, MXFP8)
//                  have no integers and are refused.
// Both are the same bits on every target with FMA, whatever the tiles, vectors and threads.
//
// Errors: extents that are negative or overflow, null data, cols that are no whole blocks, groups that are neither a
// multiple of 32 nor all columns.
inline PackedWeights pack_weights(const ConstBlockView& weights, const PackOptions& options = {}) {
  return impl::checked_pack_weights(weights, options.context);
}
inline PackedWeights pack_weights(const GroupQuantizedView& weights,
                                  const PackOptions& options = {}) {
  return impl::checked_pack_weights(weights, options.context);
}
inline PackedWeights pack_weights(const Fp8BlockView& weights, const PackOptions& options = {}) {
  return impl::checked_pack_weights(weights, options.context);
}

// What gemm would choose for row-major operands of this size: for reports and tuning.
template <class TA, class TB = TA,
          class TC = std::conditional_t<impl::is_int8<TA>, std::int32_t, TA>>
GemmPlan plan_gemm(index_t m, index_t n, index_t k, const Context* context = nullptr) {
  static_assert(impl::are_gemm_types<TA, TB, TC>, "tessera::plan_gemm: see gemm");
  return impl::checked_plan(DTypeTraits<TA>::kDType, DTypeTraits<TB>::kDType,
                            DTypeTraits<TC>::kDType, m, n, k, context);
}

// How many register tiles a target has for a b of T: GemmTuning::tile counts from 0 to one less.
template <class T>
int gemm_tile_count(const Context* context = nullptr) {
  return impl::checked_tile_count(DTypeTraits<T>::kDType, context);
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_GEMM_H_
