// SPDX-License-Identifier: Apache-2.0

// The GEMM register tile: C[R, NV vectors] stays in registers while k runs.
//
// Every element of C is one chain of fused multiply-adds in order of k, so the tile's shape, the
// vector length and the order of tiles can't change a bit of it.
//
// Tiles are whole: full vectors, no masks. gemm-inl.h stages the ragged right edge of C.

#if defined(TESSERA_KERNELS_GEMM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_GEMM_TILE_INL_H_
#undef TESSERA_KERNELS_GEMM_TILE_INL_H_
#else
#define TESSERA_KERNELS_GEMM_TILE_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/light_epilogue-inl.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// What a tile multiplies: the elements of its panels, the sums it keeps, and one step of k. An element of
// integer panels holds several parts: consecutive steps of k.

template <class T>
struct FloatProducts {
  using Element = T;
  using Sum = T;
  using PartA = T;
  using PartB = T;
  static constexpr bool kColumnSums = false;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, T a, Vec<D> b, Vec<D> sum) {
    return mul_add_scalar(d, a, b, sum);
  }
};

// Four bytes an element: A in u8 or s8, whichever the instruction takes, B in s8.
template <class A8>
struct QuadProducts {
  using Element = int32_t;
  using Sum = int32_t;
  using PartA = A8;
  using PartB = int8_t;
  static constexpr bool kColumnSums = true;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int32_t a, Vec<D> b, Vec<D> sum) {
    return dot4_i8(d, bit_cast(Repartition<A8, D>(), set(d, a)),
                   bit_cast(Repartition<int8_t, D>(), b), sum);
  }
};

// Two s16 an element, which hold s8 and u8 alike.
struct PairProducts {
  using Element = int32_t;
  using Sum = int32_t;
  using PartA = int16_t;
  using PartB = int16_t;
  static constexpr bool kColumnSums = false;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int32_t a, Vec<D> b, Vec<D> sum) {
    const Repartition<int16_t, D> dp;
    return dot2_i16(d, bit_cast(dp, set(d, a)), bit_cast(dp, b), sum);
  }
};

// One s16 an element, for a widening multiply-add with a scalar.
struct WideProducts {
  using Element = int16_t;
  using Sum = int32_t;
  using PartA = int16_t;
  using PartB = int16_t;
  static constexpr bool kColumnSums = false;
  template <class D>
  static TESSERA_INLINE Vec<D> multiply(D d, int16_t a, Vec<Rebind<int16_t, D>> b, Vec<D> sum) {
    return mul_add_scalar_wide(d, a, b, sum);
  }
};

// The same step for one element of each.
template <class P>
typename P::Sum multiply_one(typename P::Element a, typename P::Element b, typename P::Sum sum) {
  if constexpr (std::is_floating_point_v<typename P::Sum>) {
    return std::fma(a, b, sum);
  } else {
    constexpr size_t kParts = sizeof(a) / sizeof(typename P::PartA);
    typename P::PartA as[kParts];
    typename P::PartB bs[kParts];
    std::memcpy(as, &a, sizeof a);
    std::memcpy(bs, &b, sizeof b);
    for (size_t i = 0; i < kParts; ++i) sum += int32_t{as[i]} * int32_t{bs[i]};
    return sum;
  }
}

// The operands of one tile.
template <class P>
struct TileArgs {
  using Element = typename P::Element;
  using Sum = typename P::Sum;

  index_t k = 0;  // steps, of a panel element each
  // Step l of a segment is a[a_rows[i] + start of the segment + l * a_col_stride] of row i.
  const Element* a = nullptr;
  const index_t* a_rows = nullptr;
  index_t a_col_stride = 0;
  const detail::RowSegment* a_segments = nullptr;  // k steps in all
  index_t a_segment_count = 0;
  const Element* b = nullptr;  // rows `b_stride` apart
  index_t b_stride = 0;
  index_t b_ahead = 0;  // from what is read to what is prefetched
  Sum* c = nullptr;     // rows `c_stride` apart
  index_t c_stride = 0;
  const Sum* next_c = nullptr;  // C of the tile that comes next, to prefetch
  Sum* out = nullptr;           // where the sums go: C, or, after the steps, the result
  index_t out_stride = 0;
  // Steps that the sums take in their registers, and where the tile is in the result.
  const light_epilogue::Plan* plan = nullptr;
  index_t row = 0, col = 0;
  const float* next_residual = nullptr;  // of the tile that comes next, to prefetch
  Sum beta = 0;
  const Sum* column_sums = nullptr;  // kColumnSums: of B, added sum_factor times
  Sum sum_factor = 0;
};

// What the compiler knows of A.
enum class TileForm {
  kStrided,  // nothing
  kPacked,   // packed panel: one segment, rows side by side, column stride R
  kInPlace,  // rows in place: column stride 1
};

// x86 adds a register to any address: R offsets and one pointer serve both layouts, and one form for
// all but the full packed tiles saves compile time (constant offsets gain 1 to 4 %). Elsewhere the
// strides must be constants, or each step of k would update R pointers.
#if defined(__x86_64__) || defined(__i386__) || TESSERA_BACKEND_SCALAR
inline constexpr bool kCheapStrides = true;
#else
inline constexpr bool kCheapStrides = false;
#endif

constexpr TileForm tile_form(bool packed, bool full) {
  if (kCheapStrides && !(packed && full)) return TileForm::kStrided;
  return packed ? TileForm::kPacked : TileForm::kInPlace;
}

// Calls f(0), .., f(N - 1) without a loop: at -O2 GCC leaves such loops rolled.
template <class F, index_t... kI>
TESSERA_INLINE void unrolled(std::integer_sequence<index_t, kI...>, F&& f) {
  (f(kI), ...);
}

// Everything below is one flat expansion over the accumulators, a parameter pack of references in
// row-major order. Deeper abstractions compile to the same code, but each inlined call costs compile
// time once per accumulator, step and instance: nested helpers took 0.11 s an instance with g++ 12.

// Vector kV of a row of B; past the last vector of the tile, just any value.
template <int kV, int NV, class D>
TESSERA_INLINE Vec<D> load_b(D d, const Lane<D>* b, index_t step, Vec<D> other) {
  if constexpr (kV >= NV) {
    return other;
  } else {
    return load(d, b + kV * step);
  }
}

template <int kV, class V>
TESSERA_INLINE const V& choose(const V& v0, const V& v1, const V& v2, const V& v3) {
  static_assert(kV < 4, "tessera: a register tile has at most 4 vectors per row");
  if constexpr (kV == 0) return v0;
  if constexpr (kV == 1) return v1;
  if constexpr (kV == 2) return v2;
  if constexpr (kV == 3) return v3;
}

// Measured on Sapphire Rapids, sgemm: C +9 % at 512 to 2048, B +5 to 9 % at 1024 and 2048, where a
// panel of B exceeds L1. (B in place: the next panel of the same rows, sgemm M = 3 and 4, N = K = 4096: +50 %.)
inline constexpr index_t kPrefetchSteps = 8;  // how far ahead of k, in packed B

// Asks for R rows of C of the next tile, and of what will be added to it, a row every few steps of k: all at once, they
// would fill the line buffers and stall the loads of this tile (12 % of a 2048^3 sgemm on Sapphire Rapids). Into L2,
// as the panel of B passes through L1 before they are used.
template <int R, class P>
class NextTile {
 public:
  TESSERA_INLINE NextTile(const TileArgs<P>& args, index_t bytes)
      : row_(reinterpret_cast<const char*>(args.next_c)),
        stride_(args.c_stride * static_cast<index_t>(sizeof(typename P::Sum))),
        residual_(reinterpret_cast<const char*>(args.next_residual)),
        residual_stride_(args.plan != nullptr ? args.plan->residual_stride() * 4 : 0),
        bytes_(bytes),
        steps_(kPrefetch ? args.k / R + 1 : args.k) {}

  // How many steps of k until the next row.
  TESSERA_INLINE index_t steps() const { return steps_; }
  TESSERA_INLINE void prefetch_row() {
    if constexpr (kPrefetch) {
      if (rows_-- <= 0) return;  // short segments of k ask more often
      prefetch(row_);
      row_ += stride_;
      if (residual_ == nullptr) return;
      prefetch(residual_);
      residual_ += residual_stride_;
    }
  }

 private:
  TESSERA_INLINE void prefetch(const char* row) const {
    for (index_t l = 0; l < bytes_; l += 64) __builtin_prefetch(row + l, 0, 2);
  }

  const char* row_;
  index_t stride_;
  const char* residual_;
  index_t residual_stride_, bytes_, steps_, rows_ = R;
};

// Where the rows of A begin, in registers.
template <int R, TileForm kForm>
struct RowStarts {
  index_t at[R];

  TESSERA_INLINE explicit RowStarts(const index_t* rows) {
    unrolled(std::make_integer_sequence<index_t, R>(),
             [&](index_t i) TESSERA_LAMBDA { at[i] = kForm == TileForm::kPacked ? i : rows[i]; });
  }
};

// run(a, k) for each segment of k.
template <TileForm kForm, class P, class F>
TESSERA_INLINE void for_each_segment(const TileArgs<P>& args, F run) {
  if constexpr (kForm == TileForm::kPacked) {
    run(args.a, args.k);
  } else {
    for (index_t s = 0; s < args.a_segment_count; ++s) {
      run(args.a + args.a_segments[s].start, args.a_segments[s].steps);
    }
  }
}

// The tile's loop over k. kUnroll steps per iteration: fewer pointer updates.
template <int R, int NV, TileForm kForm, int kUnroll, class D, class P, size_t... kI, class... Acc>
TESSERA_INLINE void multiply_tile(D d, const TileArgs<P>& args, std::index_sequence<kI...>,
                                  Acc&... acc) {
  using Element = typename P::Element;
  const Rebind<Element, D> db;
  const Element* a = args.a;
  const Element* b = args.b;
  const RowStarts<R, kForm> rows(args.a_rows);
  const index_t a_column = kForm == TileForm::kPacked    ? R
                           : kForm == TileForm::kInPlace ? 1
                                                         : args.a_col_stride;
  const auto step = static_cast<index_t>(lanes(d));
  // No register is left for the next element of A before the last use of this one.
  constexpr bool kTight = R * NV + NV + 1 >= kVectorRegisters;
  const auto multiply = [&](index_t s) TESSERA_LAMBDA {
    const auto b0 = load(db, b);
    const auto b1 = load_b<1, NV>(db, b, step, b0);
    const auto b2 = load_b<2, NV>(db, b, step, b0);
    const auto b3 = load_b<3, NV>(db, b, step, b0);
    if constexpr (kPrefetch) {
      constexpr index_t kRowBytes = NV * static_cast<index_t>(max_lanes(d) * sizeof(Element));
      const char* ahead = reinterpret_cast<const char*>(b + args.b_ahead);
      if constexpr (kRowBytes > 0) __builtin_prefetch(ahead);
      if constexpr (kRowBytes > 64) __builtin_prefetch(ahead + 64);
      if constexpr (kRowBytes > 128) __builtin_prefetch(ahead + 128);
    }
    ((acc =
          P::multiply(d, a[rows.at[kI / NV] + s * a_column], choose<kI % NV>(b0, b1, b2, b3), acc),
      keep_order < kTight && kI % NV == NV - 1 > (acc)),
     ...);
    b += args.b_stride;
  };
  NextTile<R, P> next(args, NV * step * static_cast<index_t>(sizeof(Lane<D>)));
  for_each_segment<kForm>(args, [&](const Element* start, index_t steps) TESSERA_LAMBDA {
    a = start;
    for (index_t left = steps; left > 0; left -= next.steps()) {
      next.prefetch_row();
      index_t k = left < next.steps() ? left : next.steps();
      if constexpr (kUnroll > 1) {
        for (; k >= kUnroll; k -= kUnroll) {
          unrolled(std::make_integer_sequence<index_t, kUnroll>(), multiply);
          a += kUnroll * a_column;
        }
      }
      for (; k > 0; --k) {
        multiply(0);
        a += a_column;
      }
    }
  });
}

// The same with the elements of A a step ahead: each is replaced by its successor right after use.
template <int R, TileForm kForm, int kUnroll, class D, class P, size_t... kI, class... Acc>
TESSERA_INLINE void multiply_tile_rotated(D d, const TileArgs<P>& args, std::index_sequence<kI...>,
                                          Acc&... acc) {
  using Element = typename P::Element;
  const Rebind<Element, D> db;
  const Element* b = args.b;
  const RowStarts<R, kForm> rows(args.a_rows);
  const index_t a_column = kForm == TileForm::kPacked    ? R
                           : kForm == TileForm::kInPlace ? 1
                                                         : args.a_col_stride;
  for_each_segment<kForm>(args, [&](const Element* a, index_t k) TESSERA_LAMBDA {
    if (k == 0) return;
    Element column[R] = {a[rows.at[kI]]...};
    const auto multiply = [&](index_t s) TESSERA_LAMBDA {
      const auto row = load(db, b);
      ((acc = P::multiply(d, column[kI], row, acc), keep_order<R <= 8>(acc),
        column[kI] = a[rows.at[kI] + (s + 1) * a_column]),
       ...);
      b += args.b_stride;
    };
    for (; k > kUnroll; k -= kUnroll) {
      unrolled(std::make_integer_sequence<index_t, kUnroll>(), multiply);
      a += kUnroll * a_column;
    }
    for (; k > 1; --k) {
      multiply(0);
      a += a_column;
    }
    const auto row = load(db, b);
    ((acc = P::multiply(d, column[kI], row, acc)), ...);
    b += args.b_stride;
  });
}

// Whether a tile can take steps. Rotated ones have no register left: clang 22 spills one of RVV's 15 groups of two in the loop.
template <class P, bool kRotate>
inline constexpr bool kTakesSteps = std::is_same_v<typename P::Sum, float> && !kRotate;

// The steps of the epilogue: no visit to memory between the sums and the result. (Zen 3, 2026-11, 1x1 convolutions with
// bias, sum and ReLU: 64 to 256 channels of 56^2 42 GFLOP/s through a tile in memory, 75 so.)
template <int NV, class D, class P, size_t... kI, class... Acc>
TESSERA_INLINE void finish_in_registers(D d, const TileArgs<P>& args, std::index_sequence<kI...>,
                                        Acc&... acc) {
  using detail::EpilogueOp;
  const auto step = static_cast<index_t>(lanes(d));
  for (int i = 0; i < args.plan->count; ++i) {
    const light_epilogue::Step& s = args.plan->steps[i];
    const float* const x = s.data + args.row * s.row_stride + args.col;
    if (s.op == EpilogueOp::kAddColumn) {
      const auto x0 = load(d, x);
      const auto x1 = load_b<1, NV>(d, x, step, x0);
      const auto x2 = load_b<2, NV>(d, x, step, x0);
      const auto x3 = load_b<3, NV>(d, x, step, x0);
      ((acc = add(acc, choose<kI % NV>(x0, x1, x2, x3))), ...);
    } else if (s.op == EpilogueOp::kResidual) {
      ((acc = add(acc, load(d, x + static_cast<index_t>(kI / NV) * s.row_stride + kI % NV * step))),
       ...);
    } else if (s.op == EpilogueOp::kRelu) {
      ((acc = max(zero(d), acc)), ...);
    } else {
      const auto low = set(d, s.p0), high = set(d, s.p1);
      ((acc = min(high, max(low, acc))), ...);
    }
  }
}

template <int R, int NV, TileForm kForm, int kUnroll, bool kRotate, class D, class P, size_t... kI,
          class... Acc>
TESSERA_INLINE void update_tile(D d, const TileArgs<P>& args, std::index_sequence<kI...> indices,
                                Acc&... acc) {
  using T = Lane<D>;
  const auto step = static_cast<index_t>(lanes(d));
  T* const c = args.c;
  const index_t c_row = args.c_stride;
  if (args.beta != T{0}) {  // otherwise the chains start at zero and C is not read
    ((acc = load(d, c + static_cast<index_t>(kI / NV) * c_row + kI % NV * step)), ...);
    if (args.beta != T{1}) {
      const auto beta = set(d, args.beta);
      ((acc = mul(beta, acc)), ...);
    }
  }
  if constexpr (P::kColumnSums) {
    if (args.sum_factor != 0) {
      const auto factor = set(d, args.sum_factor);
      ((acc = add(acc, mul(factor, load(d, args.column_sums + kI % NV * step)))), ...);
    }
  }
  if constexpr (kRotate) {
    multiply_tile_rotated<R, kForm, kUnroll>(d, args, indices, acc...);
  } else {
    multiply_tile<R, NV, kForm, kUnroll>(d, args, indices, acc...);
  }
  if constexpr (kTakesSteps<P, kRotate>) {
    if (args.plan != nullptr) finish_in_registers<NV>(d, args, indices, acc...);
  }
  T* const out = args.out;
  (store(d, acc, out + static_cast<index_t>(kI / NV) * args.out_stride + kI % NV * step), ...);
}

template <class P, int R, int NV, int LMUL, TileForm kForm, int kUnroll, bool kRotate>
void gemm_tile(const TileArgs<P>& args_in_memory) {
  const TileArgs<P> args =
      args_in_memory;  // in registers: the compiler can't know that C is not it
  const Tag<typename P::Sum, LMUL> d;
  constexpr auto kIndices = std::make_index_sequence<R * NV>();
  with_accumulators<R * NV>(d, [&](auto&... acc) TESSERA_LAMBDA {
    update_tile<R, NV, kForm, kUnroll, kRotate>(d, args, kIndices, acc...);
  });
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_TILE_INL_H_
