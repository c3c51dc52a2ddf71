// SPDX-License-Identifier: Apache-2.0
// How gemm.h hands its arguments to the driver: operands of any type and kind as plain data, and the
// functions that tessera::compiled has in its library.
#ifndef TESSERA_OPS_GEMM_PROBLEM_H_
#define TESSERA_OPS_GEMM_PROBLEM_H_

#include <array>
#include <span>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/block_formats.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/quantized.h"
#include "tessera/core/view.h"
#include "tessera/ops/epilogue.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/packed.h"
#include "tessera/ops/zero_points.h"
#include "tessera/tune/generic.h"

namespace tessera::inline TESSERA_ABI {

// What may be chosen for speed: nothing that changes a bit of a result, or what rounds differently but keeps the
// error bounds, so that results depend on the machine and the number of threads.
enum class Numerics { kReproducible, kFast };

// What the activations, operand a, of a product with quantized weights are multiplied as.
enum class Activations {
  kFloat,  // themselves, by the values of the weights in f32
  kInt8Block32,  // integers of 8 bits, rounded by this call, with a scale for 32 consecutive elements of a row,
  kInt8Block256,  // for 256,
  kInt8Row,       // for the row (the token)
};

struct GemmOptions {
  double alpha = 1;  // rounded to the type of the sums; 0: A and B are not read
  double beta = 0;   // 0: C is not read
  Numerics numerics = Numerics::kReproducible;
  Activations activations = Activations::kFloat;  // where b is PackedWeights
  Context* context = nullptr;
};

// How one problem will be computed.
struct GemmPlan {
  Target target;
  TileShape tile;
  index_t mr, nr;      // the register tile in elements, at this thread's vector length
  index_t mc, kc, nc;  // cache blocks
  bool packs_a, packs_b;
  bool streams_b;  // few rows of A: B is read once, along its rows, without register tiles
};

namespace impl {

// An input: a view of elements, packed, or quantized weights.
struct GemmOperand {
  const void* data = nullptr;
  DType dtype{};
  Extents extents{}, strides{};
  const PackedPanels* packed = nullptr;
  const PackedWeights* weights = nullptr;
  ZeroPoints zero_points{};
};

// C[m, n] = epilogue(alpha * A[m, k] * B[k, n] + beta * C). Made by gemm.h, changed by nobody but the driver.
struct GemmProblem {
  GemmOperand a, b;
  void* c = nullptr;
  DType c_dtype{};
  index_t m = 0, n = 0, k = 0;
  index_t c_row_stride = 0, c_col_stride = 0;
  double alpha = 1, beta = 0;
  Numerics numerics{};
  Activations activations{};
  Epilogue epilogue;
};

// Check everything, then do it. Defined in gemm_driver.h.
void checked_gemm(const GemmProblem& problem, Context* context);
void checked_gemms(const char* function, std::span<const GemmProblem> problems, Context* context);
PackedPanels checked_pack_b(const GemmOperand& b, Context* context);
PackedPanels checked_pack_a(const GemmOperand& a, Context* context);
PackedWeights checked_pack_weights(const ConstBlockView& weights, Context* context);
PackedWeights checked_pack_weights(const GroupQuantizedView& weights, Context* context);
PackedWeights checked_pack_weights(const Fp8BlockView& weights, Context* context);
GemmPlan checked_plan(DType a, DType b, DType c, index_t m, index_t n, index_t k,
                      const Context* context);
int checked_tile_count(DType b, const Context* context);

template <class V>
inline constexpr bool is_view = false;
template <class T, int Rank>
inline constexpr bool is_view<View<T, Rank>> = true;

template <class V>
inline constexpr bool is_packed_a = false;
template <class T>
inline constexpr bool is_packed_a<PackedA<T>> = true;
// Quantized weights count as values in f32.
template <class V>
inline constexpr bool is_packed_b = std::is_same_v<V, PackedWeights>;
template <class T>
inline constexpr bool is_packed_b<PackedB<T>> = true;

// An operand without its zero points, if it has any.
template <class M>
struct BareOperand {
  using type = M;
  static const M& of(const M& m) { return m; }
  static constexpr bool kHasZeroPoints = false;
};
template <class M>
struct BareOperand<WithZeroPoints<M>> {
  using type = M;
  static const M& of(const WithZeroPoints<M>& m) { return m.operand(); }
  static constexpr bool kHasZeroPoints = true;
};
template <class M>
using Bare = typename BareOperand<M>::type;
template <class M>
inline constexpr bool has_zero_points = BareOperand<M>::kHasZeroPoints;
template <class M>
const Bare<M>& bare(const M& m) {
  return BareOperand<M>::of(m);
}

template <class M>
concept MatrixLike = is_view<M> || MdspanLike<M>;

// A View, or anything mdspan-like, as a View of rank `Rank`.
template <int Rank = 2, class M>
auto input_view(const M& m) {
  if constexpr (is_view<M>) {
    static_assert(M::kRank == Rank, "tessera: a matrix has rank 2, a batch of matrices rank 3");
    return m;
  } else {
    static_assert(MdspanLike<M>, "tessera: a matrix is a View<T, 2>, mdspan-like, or packed");
    return input_view<Rank>(View(m));
  }
}

template <class M>
struct ElementOfMatrix {
  using type = void;
};
template <MatrixLike M>
struct ElementOfMatrix<M> {
  using type = std::remove_const_t<typename decltype(View(std::declval<const M&>()))::Element>;
};
template <class T>
struct ElementOfMatrix<PackedA<T>> {
  using type = T;
};
template <class T>
struct ElementOfMatrix<PackedB<T>> {
  using type = T;
};
template <>
struct ElementOfMatrix<PackedWeights> {
  using type = float;
};
template <class M>
using ElementOf = typename ElementOfMatrix<M>::type;

template <class T>
inline constexpr bool is_f32_like =
    std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, f16>;
template <class T>
inline constexpr bool is_int8 = std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t>;

// The combinations of element types: sums in f64, f32 and s32.
template <class A, class B, class C>
inline constexpr bool are_gemm_types =
    (std::is_same_v<A, double> && std::is_same_v<B, double> && std::is_same_v<C, double>) ||
    (is_f32_like<A> && is_f32_like<B> && (is_f32_like<C> || is_int8<C>)) ||
    (is_int8<A> && is_int8<B> && (std::is_same_v<C, std::int32_t> || is_f32_like<C> || is_int8<C>));

template <class M>
GemmOperand operand(const M& m) {
  if constexpr (has_zero_points<M>) {
    GemmOperand x = operand(bare(m));
    x.zero_points = m.zero_points();
    return x;
  } else if constexpr (std::is_same_v<M, PackedWeights>) {
    return {nullptr, DType::kF32, {m.rows(), m.cols()}, {}, nullptr, &m};
  } else if constexpr (is_packed_a<M> || is_packed_b<M>) {
    return {nullptr, DTypeTraits<ElementOf<M>>::kDType, {m.rows(), m.cols()}, {}, &m, nullptr};
  } else {
    const auto v = input_view(m);
    return {v.data, DTypeTraits<ElementOf<M>>::kDType, v.extents, v.strides, nullptr, nullptr};
  }
}

// Matrix i of a batch.
template <class T>
View<T, 2> matrix_of(const View<T, 3>& v, index_t i) {
  return {v.data + i * v.strides[0], {v.extents[1], v.extents[2]}, {v.strides[1], v.strides[2]}};
}
template <class T>
WithZeroPoints<View<T, 2>> matrix_of(const WithZeroPoints<View<T, 3>>& m, index_t i) {
  return {matrix_of(m.operand(), i), m.zero_points().of_matrix(i)};
}
template <MdspanLike M>
auto matrix_of(const M& m, index_t i) {
  return matrix_of(input_view<3>(m), i);
}
// A packed matrix is that of the whole batch.
template <class M>
  requires is_packed_b<Bare<M>>
const M& matrix_of(const M& m, index_t) {
  return m;
}
void check_batch(const char* argument, index_t batch, index_t expected);
void check_batched_result(const std::array<index_t, 3>& extents,
                          const std::array<index_t, 3>& strides);
template <class M>
void check_batch_of_zero_points(const char* argument, const M& m, index_t expected) {
  if constexpr (has_zero_points<M>) {
    if (m.zero_points().batch >= 0) check_batch(argument, m.zero_points().batch, expected);
  }
}

template <class A, class B, class C>
constexpr void check_gemm_types() {
  static_assert(MatrixLike<A> || is_packed_a<A>,
                "tessera::gemm: a must be a View<T, 2>, mdspan-like, or a PackedA<T>, with zero "
                "points or without");
  static_assert(MatrixLike<B> || is_packed_b<B>,
                "tessera::gemm: b must be a View<T, 2>, mdspan-like, a PackedB<T>, or "
                "PackedWeights; with zero "
                "points or without");
  static_assert(MatrixLike<C>, "tessera::gemm: c must be a View<T, 2> or mdspan-like");
  static_assert(are_gemm_types<ElementOf<A>, ElementOf<B>, ElementOf<C>>,
                "tessera::gemm: no kernel for these element types: a and b of f32, bf16 and f16 "
                "give f32, bf16, "
                "f16, s8 or u8; f64 gives f64; s8 and u8 give s32, f32, bf16, f16, s8 or u8");
}

template <class A, class B, class C>
GemmProblem gemm_problem(const A& a, const B& b, const C& c, const GemmOptions& options,
                         const Epilogue& epilogue) {
  check_gemm_types<Bare<A>, Bare<B>, C>();
  const auto view = input_view(c);
  static_assert(!std::is_const_v<typename decltype(view)::Element>,
                "tessera::gemm: c is written, its elements must not be const");
  GemmProblem p;
  p.a = operand(a);
  p.b = operand(b);
  p.c = view.data;
  p.c_dtype = DTypeTraits<ElementOf<C>>::kDType;
  p.m = view.extents[0];
  p.n = view.extents[1];
  p.k = p.a.extents[1];
  p.c_row_stride = view.strides[0];
  p.c_col_stride = view.strides[1];
  p.alpha = options.alpha;
  p.beta = options.beta;
  p.numerics = options.numerics;
  p.activations = options.activations;
  p.epilogue = epilogue;
  return p;
}

}  // namespace impl
}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_GEMM_PROBLEM_H_
