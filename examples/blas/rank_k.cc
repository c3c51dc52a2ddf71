// SPDX-License-Identifier: Apache-2.0
// One triangle of a product with its own transpose: halves of it are rectangles, and so on.
#include <algorithm>

#include "operations.h"
#include "product.h"

namespace tessera::blas {
namespace {

constexpr index_t kBlock = 96;  // rows of a triangle that is not halved
constexpr index_t kStrip = 24;

template <class T>
void scale_triangle(const Matrix<T>& c, Triangle triangle, T beta) noexcept {
  const index_t n = c.extents[0];
  for (index_t i = 0; i < n; ++i) {
    const index_t begin = triangle == Triangle::kLower ? 0 : i;
    const index_t end = triangle == Triangle::kLower ? i + 1 : n;
    for (index_t j = begin; j < end; ++j) scale(c(i, j), beta);
  }
}

// Strips of rows, from or to the diagonal: what is thrown away is half a square at the end of each.
template <class T>
void add_block(const Matrix<const T>& a, const Matrix<T>& c, Triangle triangle, T alpha,
               T beta) noexcept {
  const index_t n = c.extents[0], k = a.extents[1];
  T sums[kStrip * kBlock];
  for (index_t row = 0; row < n; row += kStrip) {
    const index_t rows = std::min(kStrip, n - row);
    const bool lower = triangle == Triangle::kLower;
    const index_t col = lower ? 0 : row, cols = lower ? row + rows : n - row;
    multiply<T, T>(block(a, row, 0, rows, k), transposed(block(a, col, 0, cols, k)),
                   row_major(sums, {rows, cols}), alpha, T{0});
    for (index_t i = row; i < row + rows; ++i) {
      const index_t begin = lower ? 0 : i, end = lower ? i + 1 : n;
      const T* const from = sums + (i - row) * cols - col;
      for (index_t j = begin; j < end; ++j) {
        c(i, j) = beta == T{0} ? from[j] : from[j] + beta * c(i, j);
      }
    }
  }
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
  const index_t half = (n / 2 + kStrip - 1) / kStrip * kStrip, rest = n - half;
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
