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

// As few instructions as there are registers for, where vectors can be groups.
template <class T>
using BlasTag = Tag<T, kHasLmul ? 4 : 1>;

// Four rows at a time, as each reads x once more, and two vectors of each, for the latency of the sums.
template <class T>
void blas_dot_rows(index_t rows, index_t n, const T* a, index_t stride, const T* x, T* out) {
  const BlasTag<T> d;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t r = 0; r < rows; r += 4) {
    // Rows that are missing are the last one again.
    const auto row = [&](index_t i) { return a + (r + i < rows ? r + i : rows - 1) * stride; };
    const T *const a0 = row(0), *const a1 = row(1), *const a2 = row(2), *const a3 = row(3);
    auto s0 = zero(d), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    index_t i = 0;
    for (; !kHasLmul && i + 2 * step <= n; i += 2 * step) {
      const auto x0 = load(d, x + i), x1 = load(d, x + i + step);
      s0 = mul_add(load(d, a0 + i), x0, s0), t0 = mul_add(load(d, a0 + i + step), x1, t0);
      s1 = mul_add(load(d, a1 + i), x0, s1), t1 = mul_add(load(d, a1 + i + step), x1, t1);
      s2 = mul_add(load(d, a2 + i), x0, s2), t2 = mul_add(load(d, a2 + i + step), x1, t2);
      s3 = mul_add(load(d, a3 + i), x0, s3), t3 = mul_add(load(d, a3 + i + step), x1, t3);
    }
    for (; i + step <= n; i += step) {
      const auto x0 = load(d, x + i);
      s0 = mul_add(load(d, a0 + i), x0, s0), s1 = mul_add(load(d, a1 + i), x0, s1);
      s2 = mul_add(load(d, a2 + i), x0, s2), s3 = mul_add(load(d, a3 + i), x0, s3);
    }
    if (i < n) {
      const auto few = static_cast<size_t>(n - i);
      const auto x0 = load_n(d, x + i, few);
      s0 = mul_add(load_n(d, a0 + i, few), x0, s0), s1 = mul_add(load_n(d, a1 + i, few), x0, s1);
      s2 = mul_add(load_n(d, a2 + i, few), x0, s2), s3 = mul_add(load_n(d, a3 + i, few), x0, s3);
    }
    out[r] = reduce_add(d, add(s0, t0));
    if (r + 1 < rows) out[r + 1] = reduce_add(d, add(s1, t1));
    if (r + 2 < rows) out[r + 2] = reduce_add(d, add(s2, t2));
    if (r + 3 < rows) out[r + 3] = reduce_add(d, add(s3, t3));
  }
}

// kRows rows at a time, as each pass reads and writes the sums. Factors and pointers are a parameter pack.
template <int kRows, class T, class... Rows>
TESSERA_INLINE void add_some_rows(index_t n, const T* factors, const T* a, index_t stride, T* sums,
                                  Rows... row) {
  if constexpr (sizeof...(Rows) < kRows) {
    add_some_rows<kRows>(n, factors, a, stride, sums, row...,
                         a + static_cast<index_t>(sizeof...(Rows)) * stride);
  } else {
    const BlasTag<T> d;
    const auto step = static_cast<index_t>(lanes(d));
    index_t i = 0;
    for (; i + 2 * step <= n; i += 2 * step) {
      auto s0 = load(d, sums + i), s1 = load(d, sums + i + step);
      index_t r = 0;
      ((s0 = mul_add_scalar(d, factors[r], load(d, row + i), s0),
        s1 = mul_add_scalar(d, factors[r], load(d, row + i + step), s1), ++r),
       ...);
      store(d, s0, sums + i), store(d, s1, sums + i + step);
    }
    for (; i < n; i += step) {
      const auto few = static_cast<size_t>(n - i < step ? n - i : step);
      auto s0 = load_n(d, sums + i, few);
      index_t r = 0;
      ((s0 = mul_add_scalar(d, factors[r], load_n(d, row + i, few), s0), ++r), ...);
      store_n(d, s0, sums + i, few);
    }
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
  const BlasTag<T> d;
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
    &blas_dot_rows<T>,       &blas_add_rows<T>,        &blas_add_outer<T>,
    &blas_triangle<true, T>, &blas_triangle<false, T>, &blas_transpose<T>};

inline constexpr blas::TargetKernels kBlasKernels = {kTarget, kBlasKernelsOf<float>,
                                                     kBlasKernelsOf<double>};

TESSERA_END_TARGET

#endif  // TESSERA_BLAS_KERNELS_INL_H_
