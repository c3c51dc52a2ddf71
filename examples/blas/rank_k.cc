// SPDX-License-Identifier: Apache-2.0
// One triangle of a product with its own transpose: rectangles by gemm, and blocks on the diagonal by gemm, too, of which
// half is thrown away.
#include <algorithm>

#include "operations.h"
#include "product.h"

namespace tessera::blas {
namespace {

constexpr index_t kBlock = 48;

// f(row, first column, last column + 1) for each row of the triangle.
template <class F>
void for_rows_of(index_t n, Triangle triangle, F f) noexcept {
  for (index_t i = 0; i < n; ++i) {
    if (triangle == Triangle::kLower) {
      f(i, index_t{0}, i + 1);
    } else {
      f(i, i, n);
    }
  }
}

template <class T>
void scale_triangle(const Matrix<T>& c, Triangle triangle, T beta) noexcept {
  for_rows_of(c.extents[0], triangle, [&](index_t i, index_t begin, index_t end) {
    for (index_t j = begin; j < end; ++j) scale(c(i, j), beta);
  });
}

template <class T>
void add_block(const Matrix<const T>& a, const Matrix<T>& c, Triangle triangle, T alpha,
               T beta) noexcept {
  const index_t n = c.extents[0];
  T square[kBlock * kBlock];
  multiply<T, T>(a, transposed(a), row_major(square, {n, n}), alpha, T{0});
  for_rows_of(n, triangle, [&](index_t i, index_t begin, index_t end) {
    for (index_t j = begin; j < end; ++j) {
      const T sum = square[i * n + j];
      c(i, j) = beta == T{0} ? sum : sum + beta * c(i, j);
    }
  });
}

}  // namespace

template <class T>
void add_square(const Matrix<const T>& a, const Matrix<T>& c, Triangle triangle, T alpha,
                T beta) noexcept {
  const index_t n = c.extents[0], k = a.extents[1];
  if (n == 0) return;
  if (c.strides[1] != 1 && c.strides[0] == 1) {  // the product is symmetric
    const auto other = triangle == Triangle::kLower ? Triangle::kUpper : Triangle::kLower;
    return add_square(a, transposed(c), other, alpha, beta);
  }
  if (k == 0 || alpha == T{0}) return scale_triangle(c, triangle, beta);
  if (n <= kBlock) return add_block(a, c, triangle, alpha, beta);
  const index_t half = (n / 2 + kBlock - 1) / kBlock * kBlock, rest = n - half;
  const auto top = block(a, 0, 0, half, k), bottom = block(a, half, 0, rest, k);
  add_square(top, block(c, 0, 0, half, half), triangle, alpha, beta);
  add_square(bottom, block(c, half, half, rest, rest), triangle, alpha, beta);
  if (triangle == Triangle::kLower) {
    multiply<T, T>(bottom, transposed(top), block(c, half, 0, rest, half), alpha, beta);
  } else {
    multiply<T, T>(top, transposed(bottom), block(c, 0, half, half, rest), alpha, beta);
  }
}

template void add_square(const Matrix<const float>&, const Matrix<float>&, Triangle, float,
                         float) noexcept;
template void add_square(const Matrix<const double>&, const Matrix<double>&, Triangle, double,
                         double) noexcept;

}  // namespace tessera::blas
