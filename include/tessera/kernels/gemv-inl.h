// SPDX-License-Identifier: Apache-2.0

// GEMM with so few rows of A that reading B is what takes the time. B is read once, from several places in turn, as the
// hardware's prefetchers like it: along a few of its rows, while C waits in L1, or along packed panels side by side.
//
// The chains are those of the register tiles: in order of k, from beta * c, so the bits are the same.

#if defined(TESSERA_KERNELS_GEMV_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_GEMV_INL_H_
#undef TESSERA_KERNELS_GEMV_INL_H_
#else
#define TESSERA_KERNELS_GEMV_INL_H_
#endif

#include <algorithm>
#include <utility>

#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/epilogue-inl.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/gemm_pack-inl.h"
#include "tessera/kernels/gemm_tile-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

using detail::GemmBlock;

// kSteps elements of a row of A and the rows of B that they multiply.
template <int kSteps, class From, class T>
struct RowsOfB {
  T scale[kSteps];
  const From* row[kSteps];
};

template <class D, class From>
TESSERA_INLINE Vec<D> widened(D d, Vec<Rebind<From, D>> v) {
  if constexpr (std::is_same_v<From, Lane<D>>) {
    return v;
  } else {
    return promote(d, Rebind<From, D>(), v);
  }
}

// c[j] += scale[0] * row[0][j], .., then scale[kSteps - 1] * row[kSteps - 1][j], for as many j as fill vectors.
template <int kSteps, int LMUL, class From, class T>
index_t add_whole_vectors(const RowsOfB<kSteps, From, T>& rows, T* c, index_t n) {
  const Tag<T, LMUL> d;
  const Rebind<From, Tag<T, LMUL>> db;
  const RowsOfB<kSteps, From, T> b =
      rows;  // in registers: the compiler can't know that C is not it
  const auto step = static_cast<index_t>(lanes(d));
  index_t j = 0;
  for (; j + step <= n; j += step) {
    auto sum = load(d, c + j);
    unrolled(std::make_integer_sequence<index_t, kSteps>(), [&](index_t s) TESSERA_LAMBDA {
      sum =
          mul_add_scalar(d, b.scale[s], widened<decltype(d), From>(d, load(db, b.row[s] + j)), sum);
    });
    store(d, sum, c + j);
  }
  return j;
}

// The same for the rest, from j on. (One register at a time: vectors that are filled up with zeros take more.)
template <int kSteps, class From, class T>
void add_last_vectors(const RowsOfB<kSteps, From, T>& b, T* c, index_t j, index_t n) {
  const Tag<T> d;
  const Rebind<From, Tag<T>> db;
  for (; j < n; j += static_cast<index_t>(lanes(d))) {
    const auto left = static_cast<size_t>(n - j);
    auto sum = load_n(d, c + j, left);
    unrolled(std::make_integer_sequence<index_t, kSteps>(), [&](index_t s) TESSERA_LAMBDA {
      sum = mul_add_scalar(d, b.scale[s],
                           widened<decltype(d), From>(d, load_n(db, b.row[s] + j, left)), sum);
    });
    store_n(d, sum, c + j, left);
  }
}

// c[j] += a[0] * B[0, j], .., then a[kSteps - 1] * B[kSteps - 1, j], for j < n.
template <int kSteps, class From, class T>
void add_products(const T* a, index_t a_stride, const From* b, index_t b_stride, T* c, index_t n) {
  RowsOfB<kSteps, From, T> rows;
  for (int s = 0; s < kSteps; ++s) {
    rows.scale[s] = a[s * a_stride];
    rows.row[s] = b + s * b_stride;
  }
  const index_t j = add_whole_vectors<kSteps, kHasLmul ? 8 : 1>(rows, c, n);
  if (j < n) add_last_vectors(rows, c, j, n);
}

// The rows of A of a block, in place or packed.
template <class T>
class RowsOfA {
 public:
  explicit RowsOfA(const GemmBlock& block)
      : block_(block), panels_(block.m, block.a_in_place ? block.m : block.a_panel) {}

  // f(pointer to row i, stride along k, i) for each.
  template <class F>
  TESSERA_INLINE void for_each(F f) const {
    const auto* a = static_cast<const T*>(block_.a);
    if (block_.a_in_place) {
      for (index_t i = 0; i < block_.m; ++i) f(a + i * block_.a_stride, 1, i);
      return;
    }
    for (index_t p = 0, i = 0; p < panels_.count(); ++p) {
      const index_t rows = panels_.rows(p);
      for (index_t r = 0; r < rows; ++r) f(a + r, rows, i + r);
      a += rows * block_.k;
      i += rows;
    }
  }

 private:
  const GemmBlock& block_;
  detail::RowPanels panels_;
};

// C[m, n] += A[m, k0 .. k0 + k) * B[k, n], k steps at a time: the rows of B that were read for the first
// row of C are in the caches for the others.
template <class From, class T>
void add_rows(const RowsOfA<T>& a, index_t k0, index_t k, const From* b, index_t b_stride, T* c,
              index_t c_stride, index_t n) {
  for (index_t l = 0; l < k;) {
    const index_t left = k - l, steps = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const From* const rows = b + l * b_stride;
    a.for_each([&](const T* ai, index_t a_stride, index_t i) {
      const T* const as = ai + (k0 + l) * a_stride;
      T* const ci = c + i * c_stride;
      switch (steps) {
        case 8:
          return add_products<8>(as, a_stride, rows, b_stride, ci, n);
        case 4:
          return add_products<4>(as, a_stride, rows, b_stride, ci, n);
        case 2:
          return add_products<2>(as, a_stride, rows, b_stride, ci, n);
        default:
          return add_products<1>(as, a_stride, rows, b_stride, ci, n);
      }
    });
    l += steps;
  }
}

// f(b as elements of its type)
template <class T, class F>
TESSERA_INLINE void with_type_of_b(const GemmBlock& block, const void* b, F f) {
  if constexpr (std::is_same_v<T, float>) {
    if (block.b_dtype == DType::kBF16) return f(static_cast<const bf16*>(b));
    if (block.b_dtype == DType::kF16) return f(static_cast<const f16*>(b));
  }
  f(static_cast<const T*>(b));
}

template <class T>
void add_rows(const GemmBlock& block, const RowsOfA<T>& a, const void* b, index_t b_stride, T* c,
              index_t c_stride, index_t n) {
  with_type_of_b<T>(block, b, [&](const auto* from) TESSERA_LAMBDA {
    add_rows(a, 0, block.k, from, b_stride, c, c_stride, n);
  });
}

// B with rows that are not contiguous: small blocks are transposed in L1. A row of the block is few cache
// lines of many columns, which no prefetcher follows: those of the next block are asked for.
template <class T>
void add_rows_across(const GemmBlock& block, const RowsOfA<T>& a, const void* b, T* c,
                     index_t c_stride, index_t n) {
  constexpr index_t kCols = 32, kSteps = 64;
  alignas(64) T rows[kSteps * kCols];
  const index_t element = size_of(block.b_dtype);
  for (index_t j = 0; j < n; j += kCols) {
    const index_t cols = std::min(kCols, n - j);
    for (index_t l = 0; l < block.k; l += kSteps) {
      const index_t steps = std::min(kSteps, block.k - l);
      const void* const from =
          advance(b, block.b_dtype, j * block.b_col_stride + l * block.b_stride);
      if (kPrefetch && block.b_stride == 1) {
        const auto* next = static_cast<const char*>(from) + kSteps * element;
        for (index_t i = 0; i < cols; ++i, next += block.b_col_stride * element) {
          for (index_t byte = 0; byte < kSteps * element; byte += 64) {
            __builtin_prefetch(next + byte, 0, 2);
          }
        }
      }
      pack_panel<T, T, false>(
          {from, block.b_dtype, block.b_col_stride, block.b_stride, cols, steps, 1, rows, cols});
      add_rows(a, l, steps, rows, cols, c + j, c_stride, cols);
    }
  }
}

// How many packed panels of so many vectors are read side by side. Each is a stream to the prefetchers, which run ahead of
// every one of them: on Zen 3 (AVX2), 2026-11, a core reads 15 GB/s of one stream, with prefetch instructions or
// without, 18 of two and 20 of four. One row times packed f32, f16 and bf16 [4096, 4096] from memory is 1.4 to 1.9, 1.7 and
// 1.7 times as fast as with one panel after the other.
constexpr int panels_at_once(int vectors) {
  return kHasLmul ? 1 : std::min(4, (kVectorRegisters - 4) / vectors);
}

// c += a[k] * B[k], a row of C as wide as kPanels packed panels of B, kVectors vectors each.
template <int kPanels, int kVectors, class From, class T>
void add_panels(const T* a, index_t a_stride, const From* b, index_t k, T* c) {
  const Tag<T> d;
  const Rebind<From, Tag<T>> db;
  const auto step = static_cast<index_t>(lanes(d));
  const index_t width = kVectors * step, panel = k * width;
  with_accumulators<kPanels * kVectors>(d, [&](auto&... sum) TESSERA_LAMBDA {
    const auto run = [&]<index_t... kI>(std::integer_sequence<index_t, kI...>) TESSERA_LAMBDA {
      ((sum = load(d, c + kI * step)), ...);
      for (index_t l = 0; l < k; ++l, a += a_stride, b += width) {
        ((sum = mul_add_scalar(
              d, *a,
              widened<Tag<T>, From>(d, load(db, b + kI / kVectors * panel + kI % kVectors * step)),
              sum)),
         ...);
      }
      (store(d, sum, c + kI * step), ...);
    };
    run(std::make_integer_sequence<index_t, kPanels * kVectors>());
  });
}

// f(vectors of a packed panel of `block`, as a constant)
template <class T, TileShape... kShapes, class F>
TESSERA_INLINE void with_panel_vectors(const GemmBlock& block, TileList<kShapes...>, F f) {
  const auto vectors = block.b_panel / static_cast<index_t>(lanes(Tag<T>()));
  ((vectors == kShapes.vectors ? f(std::integral_constant<int, kShapes.vectors>()) : void()), ...);
}
template <class T, class F>
TESSERA_INLINE void with_panel_vectors(const GemmBlock& block, F f) {
  if constexpr (!kHasLmul) {
    with_panel_vectors<T>(block, typename detail::GemmTiles<kTarget, T>::List(), f);
  }
}

// How many whole panels of B a row of A is multiplied by at once, of the next `columns`; 0: no kernel does that.
template <class T>
index_t panels_side_by_side(const GemmBlock& block, index_t columns) {
  index_t panels = 0;
  if (block.m == 1 && !block.b_in_place && columns >= block.b_panel) {
    with_panel_vectors<T>(block, [&](auto vectors) TESSERA_LAMBDA {
      panels = panels_at_once(decltype(vectors)::value);
      if (panels * block.b_panel > columns) panels = 1;
    });
  }
  return panels;
}

template <class T>
void add_panels(const GemmBlock& block, index_t panels, const RowsOfA<T>& a, const void* b, T* c) {
  a.for_each([&](const T* row, index_t stride, index_t) TESSERA_LAMBDA {
    with_panel_vectors<T>(block, [&](auto vectors) TESSERA_LAMBDA {
      constexpr int kVectors = decltype(vectors)::value;
      with_type_of_b<T>(block, b, [&](const auto* from) TESSERA_LAMBDA {
        if (panels == 1) return add_panels<1, kVectors>(row, stride, from, block.k, c);
        add_panels<panels_at_once(kVectors), kVectors>(row, stride, from, block.k, c);
      });
    });
  });
}

// All of `block`, a strip of columns at a time. Unlike for the tiles, B may be of 16 bits in place, and of any
// strides (b_col_stride); packed panels are read as they are.
template <class T>
void multiply_few_rows(const GemmBlock& block) {
  constexpr index_t kStage = 16 * 1024 / sizeof(T);
  alignas(64) T stage[kStage];
  const bool staged = block.result != nullptr && block.first && block.last;
  // One row: as far along the rows of B as C stays in L1. More: eight rows of B stay there as well.
  const index_t most = std::min(kStage / block.m, block.m == 1 ? index_t{2048} : index_t{512});
  const index_t panel = block.b_in_place ? block.n : block.b_panel;
  const RowsOfA<T> a(block);
  for (index_t j = 0, cols = 0; j < block.n; j += cols) {
    const index_t in_panel = j % panel, width = std::min(panel, block.n - j + in_panel);
    cols = std::min(most, width - in_panel);
    const index_t panels = in_panel == 0 ? panels_side_by_side<T>(block, block.n - j) : 0;
    if (panels > 0) cols = panels * panel;
    T* const c = staged ? stage : static_cast<T*>(block.c) + j;
    const index_t c_stride = staged ? cols : block.c_stride;
    const SumTile<T> sums{c, c_stride, block.m, cols, block.row, block.col + j};
    const auto beta = static_cast<T>(block.beta);
    if (beta == T{0}) {
      for (index_t i = 0; i < block.m; ++i) std::fill_n(c + i * c_stride, cols, T{0});
    } else {
      if (block.result != nullptr && block.first) start_tile(*block.result, sums);
      if (beta != T{1}) {
        const auto factor = set(SumTag<T>(), beta);
        map_tile(sums, [&](Vec<SumTag<T>> v) TESSERA_LAMBDA { return mul(factor, v); });
      }
    }
    if (panels > 0) {
      add_panels(block, panels, a, advance(block.b, block.b_dtype, j * block.k), c);
    } else if (!block.b_in_place) {
      const index_t at = (j - in_panel) * block.k + in_panel;
      add_rows(block, a, advance(block.b, block.b_dtype, at), detail::round_up(width, block.b_pad),
               c, c_stride, cols);
    } else {
      const void* const b = advance(block.b, block.b_dtype, j * block.b_col_stride);
      if (block.b_col_stride == 1) {
        add_rows(block, a, b, block.b_stride, c, c_stride, cols);
      } else {
        add_rows_across(block, a, b, c, c_stride, cols);
      }
    }
    if (block.result != nullptr && block.last) finish_tile(*block.result, sums);
  }
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMV_INL_H_
