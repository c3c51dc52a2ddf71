// SPDX-License-Identifier: Apache-2.0

// The kernels of kernels.h, compiled once per target.

#if defined(TESSERA_BLAS_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_BLAS_KERNELS_INL_H_
#undef TESSERA_BLAS_KERNELS_INL_H_
#else
#define TESSERA_BLAS_KERNELS_INL_H_
#endif

#include "kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// Vectors are as long as leaves room for what else a loop holds, where they can be groups of registers: the fewer its
// instructions. What is left is done in shorter ones: it needs more registers, and takes the time of whole groups.
template <class T>
using BlasTag = Tag<T, kHasLmul ? 8 : 1>;
template <class T>
using BlasRestTag = Tag<T, kHasLmul ? 4 : 1>;

// The sum of all lanes in any order. (reduce_add has its own, and takes two instructions for each time that it halves them.)
template <class D>
TESSERA_INLINE Lane<D> sum_lanes([[maybe_unused]] D d, Vec<D> v) {
#if TESSERA_TARGET_LMUL
  return hn::ReduceSum(HwyTag<D>(), v);
#else
  return reduce_add(d, v);
#endif
}

// sum += a[i] * x[i], a[stride + i] * x[i], ..
template <class T, class Load, class... Sums>
TESSERA_INLINE void add_products(const T* a, index_t stride, const T* x, Load load_some,
                                 Sums&... sum) {
  const auto xi = load_some(x);
  ((sum = mul_add(load_some(a), xi, sum), a += stride), ...);
}

// The same for all elements from i on.
template <class D, class T, class... Sums>
TESSERA_INLINE void add_last_products(D d, index_t i, index_t n, const T* a, index_t stride,
                                      const T* x, Sums&... sum) {
  const auto step = static_cast<index_t>(lanes(d));
  const auto whole = [&](const T* p) TESSERA_LAMBDA { return load(d, p); };
  for (; i + step <= n; i += step) add_products(a + i, stride, x + i, whole, sum...);
  if (i == n) return;
  const auto few = static_cast<size_t>(n - i);
  const auto some = [&](const T* p) TESSERA_LAMBDA { return load_n(d, p, few); };
  add_products(a + i, stride, x + i, some, sum...);
}

// kRows rows at a time, as each reads x once more.
template <int kRows, class T>
TESSERA_INLINE void dot_some_rows(index_t n, const T* a, index_t stride, const T* x, T* out) {
  const BlasTag<T> d;
  const BlasRestTag<T> dr;
  const auto step = static_cast<index_t>(lanes(d));
  const auto whole = [&](const T* p) TESSERA_LAMBDA { return load(d, p); };
  index_t i = 0;
  with_accumulators<kRows>(d, [&](auto&... sum) TESSERA_LAMBDA {
    if constexpr (!kHasLmul) {
      // Two vectors of each row, for the latency of the sums; and registers are left for the rest.
      with_accumulators<kRows>(d, [&](auto&... odd) TESSERA_LAMBDA {
        for (; i + 2 * step <= n; i += 2 * step) {
          add_products(a + i, stride, x + i, whole, sum...);
          add_products(a + i + step, stride, x + i + step, whole, odd...);
        }
        ((sum = add(sum, odd)), ...);
      });
      add_last_products(dr, i, n, a, stride, x, sum...);
      i = n;
    }
    for (; i + step <= n; i += step) add_products(a + i, stride, x + i, whole, sum...);
    index_t r = 0;
    ((out[r++] = sum_lanes(d, sum)), ...);
  });
  if (i == n) return;
  with_accumulators<kRows>(dr, [&](auto&... sum) TESSERA_LAMBDA {
    add_last_products(dr, i, n, a, stride, x, sum...);
    index_t r = 0;
    ((out[r++] += sum_lanes(dr, sum)), ...);
  });
}

template <class T>
void blas_dot_rows(index_t rows, index_t n, const T* a, index_t stride, const T* x, T* out) {
  constexpr int kRows = kHasLmul ? 2 : 4;
  index_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    dot_some_rows<kRows>(n, a + r * stride, stride, x, out + r);
  }
  for (; r < rows; ++r) dot_some_rows<1>(n, a + r * stride, stride, x, out + r);
}

// sum + factor0 * a[0] + factor1 * a[stride] + ..
template <class D, class T, class Load, class... Factors>
TESSERA_INLINE Vec<D> add_scaled(D d, Vec<D> sum, const T* a, index_t stride, Load load_some,
                                 Factors... factor) {
  ((sum = mul_add_scalar(d, factor, load_some(a), sum), a += stride), ...);
  return sum;
}

// kRows rows at a time, as each pass reads and writes the sums. The factors are values, as the compiler can't know that
// `sums` is not where they lie.
template <int kRows, class T, class... Factors>
TESSERA_INLINE void add_some_rows(index_t n, const T* factors, const T* a, index_t stride, T* sums,
                                  Factors... factor) {
  if constexpr (sizeof...(Factors) < kRows) {
    add_some_rows<kRows>(n, factors, a, stride, sums, factor..., factors[sizeof...(Factors)]);
  } else {
    const auto scaled = [&](auto d, index_t i) TESSERA_LAMBDA {
      const auto whole = [&](const T* p) TESSERA_LAMBDA { return load(d, p); };
      const auto step = static_cast<index_t>(lanes(d));
      for (; i + step <= n; i += step) {
        store(d, add_scaled(d, load(d, sums + i), a + i, stride, whole, factor...), sums + i);
      }
      return i;
    };
    const BlasRestTag<T> d;
    const index_t i = scaled(d, scaled(BlasTag<T>(), 0));
    if (i == n) return;
    const auto few = static_cast<size_t>(n - i);
    const auto some = [&](const T* p) TESSERA_LAMBDA { return load_n(d, p, few); };
    store_n(d, add_scaled(d, some(sums + i), a + i, stride, some, factor...), sums + i, few);
  }
}

template <class T>
void blas_add_rows(index_t rows, index_t n, const T* factors, const T* a, index_t stride, T* sums) {
  index_t r = 0;
  for (; r + 8 <= rows; r += 8) add_some_rows<8>(n, factors + r, a + r * stride, stride, sums);
  if (r + 4 <= rows) {
    add_some_rows<4>(n, factors + r, a + r * stride, stride, sums);
    r += 4;
  }
  for (; r < rows; ++r) add_some_rows<1>(n, factors + r, a + r * stride, stride, sums);
}

template <class T>
void blas_add_outer(index_t rows, index_t n, const T* factors, const T* x, T* a, index_t stride) {
  const BlasRestTag<T> d;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t r = 0; r < rows; ++r) {
    T* const ar = a + r * stride;
    index_t i = 0;
    for (; i + 2 * step <= n; i += 2 * step) {
      store(d, mul_add_scalar(d, factors[r], load(d, x + i), load(d, ar + i)), ar + i);
      const auto next = load(d, ar + i + step);
      store(d, mul_add_scalar(d, factors[r], load(d, x + i + step), next), ar + i + step);
    }
    for (; i < n; i += step) {
      const auto few = static_cast<size_t>(n - i < step ? n - i : step);
      const auto old = load_n(d, ar + i, few);
      store_n(d, mul_add_scalar(d, factors[r], load_n(d, x + i, few), old), ar + i, few);
    }
  }
}

template <class T>
struct SmallProduct {
  index_t k;
  T alpha, beta;
  const T* a;
  index_t a_row, a_col;
  const T* b;
  index_t b_stride;
  T* c;
  index_t c_stride;
};

// As many columns as a vector has lanes, and a row of C in each accumulator.
template <class D, class T, class Load, class Store, class... Acc>
TESSERA_INLINE void small_tile(D d, const SmallProduct<T>& p, index_t row, index_t col,
                               Load load_some, Store store_some, Acc&... acc) {
  const T *a = p.a + row * p.a_row, *b = p.b + col;
  for (index_t l = 0; l < p.k; ++l, a += p.a_col, b += p.b_stride) {
    const auto bl = load_some(b);
    const T* ai = a;
    ((acc = mul_add_scalar(d, *ai, bl, acc), ai += p.a_row), ...);
  }
  T* c = p.c + row * p.c_stride + col;
  ((acc = mul_scalar(d, p.alpha, acc),
    store_some(p.beta == T{0} ? acc : mul_add_scalar(d, p.beta, load_some(c), acc), c),
    c += p.c_stride),
   ...);
}

template <int kRows, class T>
TESSERA_INLINE void small_rows(const SmallProduct<T>& p, index_t row, index_t n) {
  const Tag<T, kHasLmul ? 2 : 1> d;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t j = 0; j < n; j += step) {
    with_accumulators<kRows>(d, [&](auto&... acc) TESSERA_LAMBDA {
      if (j + step <= n) {
        small_tile(
            d, p, row, j, [&](const T* from) TESSERA_LAMBDA { return load(d, from); },
            [&](auto v, T* to) TESSERA_LAMBDA { store(d, v, to); }, acc...);
      } else {
        const auto few = static_cast<size_t>(n - j);
        small_tile(
            d, p, row, j, [&](const T* from) TESSERA_LAMBDA { return load_n(d, from, few); },
            [&](auto v, T* to) TESSERA_LAMBDA { store_n(d, v, to, few); }, acc...);
      }
    });
  }
}

template <class T>
void blas_multiply_small(index_t m, index_t n, index_t k, T alpha, const T* a, index_t a_row,
                         index_t a_col, const T* b, index_t b_stride, T beta, T* c,
                         index_t c_stride) {
  const SmallProduct<T> p = {k, alpha, beta, a, a_row, a_col, b, b_stride, c, c_stride};
  index_t row = 0;
  for (; row + 8 <= m; row += 8) small_rows<8>(p, row, n);
  for (; row + 3 <= m; row += 3) small_rows<3>(p, row, n);
  for (; row < m; ++row) small_rows<1>(p, row, n);
}

// A strip of X, as many columns as the accumulators have lanes. Solving goes down the rows and multiplying up, so that
// what a row is made of is solved already, or not yet overwritten.
template <bool kSolve, class D, class T, class Load, class Store, class... Acc>
TESSERA_INLINE void triangle_strip(D d, index_t n, const T* l, T* x, index_t stride, Load load_some,
                                   Store store_some, Acc&... acc) {
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t row = 0; row < n; ++row) {
    const index_t i = kSolve ? row : n - 1 - row;
    const T* const li = l + i * n;
    T* const xi = x + i * stride;
    index_t at = 0;
    ((acc = load_some(xi + at), at += step), ...);
    if constexpr (!kSolve) ((acc = mul_scalar(d, li[i], acc)), ...);
    for (index_t k = 0; k < i; ++k) {
      const T* const xk = x + k * stride;
      at = 0;
      ((acc = mul_add_scalar(d, li[k], load_some(xk + at), acc), at += step), ...);
    }
    if constexpr (kSolve) {
      const auto pivot = set(d, li[i]);
      ((acc = div(acc, pivot)), ...);
    }
    at = 0;
    ((store_some(acc, xi + at), at += step), ...);
  }
}

// Strips of kVectors vectors as long as there are such; returns the columns done.
template <bool kSolve, int kVectors, class D, class T>
TESSERA_INLINE index_t triangle_strips(D d, index_t n, const T* l, T* x, index_t stride,
                                       index_t begin, index_t width) {
  const index_t strip = kVectors * static_cast<index_t>(lanes(d));
  index_t j = begin;
  for (; j + strip <= width; j += strip) {
    with_accumulators<kVectors>(d, [&](auto&... acc) TESSERA_LAMBDA {
      triangle_strip<kSolve>(
          d, n, l, x + j, stride, [&](const T* p) TESSERA_LAMBDA { return load(d, p); },
          [&](auto v, T* p) TESSERA_LAMBDA { store(d, v, p); }, acc...);
    });
  }
  return j;
}

template <bool kSolve, class T>
void blas_triangle(index_t n, const T* l, T* x, index_t stride, index_t width) {
  const Tag<T, kHasLmul ? 2 : 1> d;
  index_t j = triangle_strips<kSolve, 8>(d, n, l, x, stride, 0, width);
  j = triangle_strips<kSolve, 3>(d, n, l, x, stride, j, width);
  j = triangle_strips<kSolve, 1>(d, n, l, x, stride, j, width);
  if (j == width) return;
  const auto few = static_cast<size_t>(width - j);
  with_accumulators<1>(d, [&](auto& acc) TESSERA_LAMBDA {
    triangle_strip<kSolve>(
        d, n, l, x + j, stride, [&](const T* p) TESSERA_LAMBDA { return load_n(d, p, few); },
        [&](auto v, T* p) TESSERA_LAMBDA { store_n(d, v, p, few); }, acc);
  });
}

template <class T>
void blas_transpose(index_t rows, index_t cols, const T* from, index_t from_stride, T* to,
                    index_t to_stride) {
  transpose(Tag<T>(), from, static_cast<size_t>(from_stride), static_cast<size_t>(rows),
            static_cast<size_t>(cols), to, static_cast<size_t>(to_stride));
}

template <class T>
inline constexpr blas::Kernels<T> kBlasKernelsOf = {
    &blas_dot_rows<T>,       &blas_add_rows<T>,        &blas_add_outer<T>, &blas_multiply_small<T>,
    &blas_triangle<true, T>, &blas_triangle<false, T>, &blas_transpose<T>};

inline constexpr blas::TargetKernels kBlasKernels = {kTarget, kBlasKernelsOf<float>,
                                                     kBlasKernelsOf<double>};

TESSERA_END_TARGET

#endif  // TESSERA_BLAS_KERNELS_INL_H_
