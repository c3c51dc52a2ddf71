// SPDX-License-Identifier: Apache-2.0

// The GEMM register tile: C[R, NV vectors] stays in registers while k runs.
//
// Every element of C is one chain of fused multiply-adds in order of k, so the tile's shape, the
// vector length and the order of tiles can't change a bit of it.
//
// Why not one tile of R rows for all edges, computing rows of zeros: at M = 8 and R = 6 half of the
// second tile would be waste. Every row count has its own instance instead.

#if defined(TESSERA_KERNELS_GEMM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_GEMM_TILE_INL_H_
#undef TESSERA_KERNELS_GEMM_TILE_INL_H_
#else
#define TESSERA_KERNELS_GEMM_TILE_INL_H_
#endif

#include <type_traits>
#include <utility>

#include "tessera/kernels/gemm_kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// The operands of one tile.
template <class T>
struct TileArgs {
  index_t k = 0;
  const T* a = nullptr;  // packed: [k][R]; in place: rows `a_stride` apart
  index_t a_stride = 0;  // in place only
  const T* b = nullptr;  // rows `b_stride` apart
  index_t b_stride = 0;
  T* c = nullptr;  // rows `c_stride` apart
  index_t c_stride = 0;
  index_t n = 0;  // columns of C, in (NV - 1, NV] vectors
  T beta = 0;
};

enum class TileForm {
  kPacked,       // A packed, full vectors of B
  kInPlace,      // rows of A in place, full vectors of B
  kInPlaceTail,  // rows of A in place, the last vector of B only up to column n
};

// The i-th of a parameter pack of references.
template <size_t kIndex, class First, class... Rest>
TESSERA_INLINE First& pick(First& first, Rest&... rest) {
  if constexpr (kIndex == 0) {
    return first;
  } else {
    return pick<kIndex - 1>(rest...);
  }
}

// Calls f(b0, .., b{NV-1}) with one row of B.
template <int NV, TileForm kForm, class D, class F, class... B>
TESSERA_INLINE void with_row_of_b(D d, const Lane<D>* b, index_t n, F&& f, B&... loaded) {
  constexpr int kNext = sizeof...(B);
  if constexpr (kNext == NV) {
    f(loaded...);
  } else {
    const auto step = static_cast<index_t>(lanes(d));
    if constexpr (kForm == TileForm::kInPlaceTail && kNext == NV - 1) {
      auto next = load_n(d, b + kNext * step, static_cast<size_t>(n - kNext * step));
      with_row_of_b<NV, kForm>(d, b, n, f, loaded..., next);
    } else {
      auto next = load(d, b + kNext * step);
      with_row_of_b<NV, kForm>(d, b, n, f, loaded..., next);
    }
  }
}

// Tile row kRow of A at step k + s, relative to the pointer at step k.
template <int R, TileForm kForm, class T>
TESSERA_INLINE T a_element(const T* a, index_t a_stride, index_t row, index_t s) {
  return kForm == TileForm::kPacked ? a[s * R + row] : a[row * a_stride + s];
}

// One step of k: the outer product of a column of A and a row of B.
template <int R, int NV, TileForm kForm, class D, size_t... kI, class... Acc>
TESSERA_INLINE void outer_product(D d, const TileArgs<Lane<D>>& args, const Lane<D>* a,
                                  const Lane<D>* b, index_t s, std::index_sequence<kI...>,
                                  Acc&... acc) {
  with_row_of_b<NV, kForm>(d, b, args.n, [&](auto&... row) TESSERA_LAMBDA {
    ((acc = mul_add_scalar(d, a_element<R, kForm>(a, args.a_stride, kI / NV, s),
                           pick<kI % NV>(row...), acc)),
     ...);
  });
}

// The same with the elements of A a step ahead: each is replaced by its successor right after use.
template <int R, TileForm kForm, bool kLast, class D, size_t... kI, class... Acc>
TESSERA_INLINE void rotated_outer_product(D d, const TileArgs<Lane<D>>& args, const Lane<D>* a,
                                          const Lane<D>* b, index_t s, Lane<D> (&column)[R],
                                          std::index_sequence<kI...>, Acc&... acc) {
  with_row_of_b<1, kForm>(d, b, args.n, [&](auto& row) TESSERA_LAMBDA {
    ((acc = mul_add_scalar(d, column[kI], row, acc),
      column[kI] = kLast ? column[kI] : a_element<R, kForm>(a, args.a_stride, kI, s + 1)),
     ...);
  });
}

template <class D, size_t... kI, class... Acc>
TESSERA_INLINE void start_chains(D d, const TileArgs<Lane<D>>& args, auto vectors,
                                 std::index_sequence<kI...>, Acc&... acc) {
  constexpr int NV = decltype(vectors)::value;
  const auto step = static_cast<index_t>(lanes(d));
  const index_t tail = args.n - (NV - 1) * step;
  const auto load_c = [&](index_t row, index_t v) TESSERA_LAMBDA {
    const Lane<D>* c = args.c + row * args.c_stride + v * step;
    return v < NV - 1 || tail == step ? load(d, c) : load_n(d, c, static_cast<size_t>(tail));
  };
  if (args.beta == Lane<D>{0}) return;  // the accumulators are zero; C is not read
  if (args.beta == Lane<D>{1}) {
    ((acc = load_c(kI / NV, kI % NV)), ...);
  } else {
    const auto beta = set(d, args.beta);
    ((acc = mul(beta, load_c(kI / NV, kI % NV))), ...);
  }
}

template <class D, size_t... kI, class... Acc>
TESSERA_INLINE void store_tile(D d, const TileArgs<Lane<D>>& args, auto vectors,
                               std::index_sequence<kI...>, Acc&... acc) {
  constexpr int NV = decltype(vectors)::value;
  const auto step = static_cast<index_t>(lanes(d));
  const index_t tail = args.n - (NV - 1) * step;
  const auto store_c = [&](auto v, index_t row, index_t column, auto& value) TESSERA_LAMBDA {
    Lane<D>* c = args.c + row * args.c_stride + column * step;
    if (v || tail == step) {
      store(d, value, c);
    } else {
      store_n(d, value, c, static_cast<size_t>(tail));
    }
  };
  (store_c(std::bool_constant<(kI % NV < NV - 1)>{}, kI / NV, kI % NV, acc), ...);
}

// Calls f(0), .., f(N - 1) without a loop: at -O2 GCC leaves such loops rolled.
template <class F, index_t... kI>
TESSERA_INLINE void unrolled(std::integer_sequence<index_t, kI...>, F&& f) {
  (f(kI), ...);
}

// kUnroll steps of k per iteration: fewer pointer updates, and with packed A constant offsets.
template <int R, int NV, TileForm kForm, int kUnroll, bool kRotate, class D, class... Acc>
TESSERA_INLINE void multiply_tile(D d, const TileArgs<Lane<D>>& args, Acc&... acc) {
  using T = Lane<D>;
  constexpr auto kIndices = std::make_index_sequence<R * NV>();
  constexpr index_t kStep = kForm == TileForm::kPacked ? R : 1;
  const T* a = args.a;
  const T* b = args.b;
  index_t k = args.k;

  if constexpr (kRotate) {
    if (k == 0) return;
    T column[R];
    for (index_t i = 0; i < R; ++i) column[i] = a_element<R, kForm>(a, args.a_stride, i, 0);
    const auto next = [&](index_t s) TESSERA_LAMBDA {
      rotated_outer_product<R, kForm, false>(d, args, a, b, s, column, kIndices, acc...);
      b += args.b_stride;
    };
    for (; k > kUnroll; k -= kUnroll) {
      unrolled(std::make_integer_sequence<index_t, kUnroll>(), next);
      a += kUnroll * kStep;
    }
    for (; k > 1; --k) {
      next(0);
      a += kStep;
    }
    rotated_outer_product<R, kForm, true>(d, args, a, b, 0, column, kIndices, acc...);
  } else {
    const auto next = [&](index_t s) TESSERA_LAMBDA {
      outer_product<R, NV, kForm>(d, args, a, b, s, kIndices, acc...);
      b += args.b_stride;
    };
    for (; k >= kUnroll; k -= kUnroll) {
      unrolled(std::make_integer_sequence<index_t, kUnroll>(), next);
      a += kUnroll * kStep;
    }
    for (; k > 0; --k) {
      next(0);
      a += kStep;
    }
  }
}

template <class T, int R, int NV, int LMUL, TileForm kForm, int kUnroll, bool kRotate>
void gemm_tile(const TileArgs<T>& args_in_memory) {
  const TileArgs<T> args = args_in_memory;  // in registers: the compiler can't know that C is not it
  const Tag<T, LMUL> d;
  constexpr auto kIndices = std::make_index_sequence<R * NV>();
  constexpr auto kVectors = std::integral_constant<int, NV>();
  with_accumulators<R * NV>(d, [&](auto&... acc) TESSERA_LAMBDA {
    start_chains(d, args, kVectors, kIndices, acc...);
    multiply_tile<R, NV, kForm, kUnroll, kRotate>(d, args, acc...);
    store_tile(d, args, kVectors, kIndices, acc...);
  });
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_TILE_INL_H_
