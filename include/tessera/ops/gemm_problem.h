// SPDX-License-Identifier: Apache-2.0
// How gemm.h hands its arguments to the driver: operands of any kind as plain data, and the functions that
// tessera::compiled has in its library.
#ifndef TESSERA_OPS_GEMM_PROBLEM_H_
#define TESSERA_OPS_GEMM_PROBLEM_H_

#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/packed.h"

namespace tessera::inline TESSERA_ABI {

// What gemm would choose for row-major operands of this size: for reports and tuning.
struct GemmPlan {
  Target target;
  TileShape tile;
  index_t mr, nr;      // the register tile in elements, at this thread's vector length
  index_t mc, kc, nc;  // cache blocks
  bool packs_a, packs_b;
};

namespace impl {

using namespace tessera::detail;  // NOLINT: this is the implementation's own namespace

// Element (i, j) of an operand is data[i * row_stride + j * col_stride].
template <class T>
struct Strided {
  const T* data;
  index_t row_stride, col_stride;
};

// C[m, n] = alpha * A[m, k] * B[k, n] + beta * C after all checks; packed operands have no view.
template <class T>
struct GemmProblem {
  index_t m, n, k;
  Strided<T> a, b;
  const PackedA<T>* packed_a = nullptr;
  const PackedB<T>* packed_b = nullptr;
  T* c;
  index_t c_row_stride, c_col_stride;
  T alpha, beta;
};

template <class V>
inline constexpr bool is_view = false;
template <class T, int Rank>
inline constexpr bool is_view<View<T, Rank>> = true;

// A View or anything mdspan-like, as a View of rank 2.
template <class M>
auto input_view(const M& m) {
  if constexpr (is_view<M>) {
    static_assert(M::kRank == 2, "tessera: a matrix has rank 2");
    return m;
  } else {
    static_assert(MdspanLike<M>, "tessera: a matrix is a View<T, 2>, mdspan-like, or packed");
    return input_view(View(m));
  }
}
template <class M>
auto output_view(const M& m) {
  return input_view(m);
}

template <class M>
concept MatrixLike = is_view<M> || MdspanLike<M>;

template <class M, class T, class PackedType>
constexpr bool operand_matches() {
  if constexpr (std::is_same_v<M, PackedType>) {
    return true;
  } else if constexpr (MatrixLike<M>) {
    return std::is_same_v<
        std::remove_const_t<typename decltype(input_view(std::declval<const M&>()))::Element>, T>;
  } else {
    return false;
  }
}
template <class M, class T, class PackedType>
inline constexpr bool is_operand = operand_matches<M, T, PackedType>();

template <class T, class PackedType, class M>
void set_operand(Strided<T>& source, const PackedType*& packed, const M& m) {
  if constexpr (std::is_same_v<M, PackedType>) {
    packed = &m;
  } else if constexpr (MatrixLike<M>) {
    const auto v = input_view(m);
    source = {v.data, v.strides[0], v.strides[1]};
  }
}

template <class T>
void set_result(GemmProblem<T>& p, const View<T, 2>& c) {
  p.c = c.data;
  p.m = c.extents[0];
  p.n = c.extents[1];
  p.c_row_stride = c.strides[0];
  p.c_col_stride = c.strides[1];
}

using Extents = std::array<index_t, 2>;

template <class M>
Extents extents_of(const M& m) {
  if constexpr (MatrixLike<M>) {
    return input_view(m).extents;
  } else {
    return {m.rows(), m.cols()};
  }
}

// Check everything, then do it. Defined in gemm_driver.h.
template <class T>
void checked_gemm(const GemmProblem<T>& problem, const Extents& a, const Extents& b,
                  Context* context);
template <class T>
PackedB<T> checked_pack_b(const View<const T, 2>& b, Context* context);
template <class T>
PackedA<T> checked_pack_a(const View<const T, 2>& a, Context* context);
template <class T>
GemmPlan checked_plan(index_t m, index_t n, index_t k, const Context* context);
template <class T>
int checked_tile_count(const Context* context);

#define TESSERA_GEMM_ENTRIES(EXTERN, T)                                                       \
  EXTERN template void checked_gemm<T>(const GemmProblem<T>&, const Extents&, const Extents&, \
                                       Context*);                                             \
  EXTERN template PackedB<T> checked_pack_b<T>(const View<const T, 2>&, Context*);            \
  EXTERN template PackedA<T> checked_pack_a<T>(const View<const T, 2>&, Context*);            \
  EXTERN template GemmPlan checked_plan<T>(index_t, index_t, index_t, const Context*);        \
  EXTERN template int checked_tile_count<T>(const Context*);

#if TESSERA_COMPILED
TESSERA_GEMM_ENTRIES(extern, float)
TESSERA_GEMM_ENTRIES(extern, double)
#endif

}  // namespace impl
}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_GEMM_PROBLEM_H_
