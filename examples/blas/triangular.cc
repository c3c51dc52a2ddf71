// SPDX-License-Identifier: Apache-2.0
// Triangles: halves of them are rectangles, which gemm multiplies, and so on down to blocks for the first-level cache.
#include <algorithm>

#include "kernels.h"
#include "operations.h"
#include "product.h"
#include "threads.h"

namespace tessera::blas {
namespace {

constexpr index_t kBlock = 64;  // rows of a triangle that is not halved: half of 32 KiB in f64
constexpr index_t kCols = 64;   // columns that are transposed for it together

// Where to halve: in whole blocks of gemm's.
index_t half_of(index_t n) { return (n / 2 + 15) / 16 * 16; }

// A triangle as the kernels want it: lower, contiguous, what is below the diagonal times `sign`, all times `alpha`. An upper
// one is turned by 180 degrees.
template <class T>
class PackedTriangle {
 public:
  PackedTriangle(const Triangular<T>& a, T sign, T alpha) noexcept
      : n_(a.matrix.extents[0]), upper_(a.triangle == Triangle::kUpper) {
    for (index_t i = 0; i < n_; ++i) {
      for (index_t k = 0; k < i; ++k) l_[i * n_ + k] = sign * alpha * a.matrix(at(i), at(k));
      l_[i * n_ + i] = a.unit ? alpha : alpha * a.matrix(at(i), at(i));
    }
  }
  // `x`: row 0 of rows that are `stride` apart.
  template <class Kernel>
  void run(Kernel kernel, T* x, index_t stride, index_t cols) const noexcept {
    kernel(n_, l_, x + at(0) * stride, upper_ ? -stride : stride, cols);
  }

 private:
  index_t at(index_t i) const noexcept { return upper_ ? n_ - 1 - i : i; }

  T l_[kBlock * kBlock];
  index_t n_;
  bool upper_;
};

// kernel(b) for a triangle that is not halved.
template <class T, class Kernel>
void run_block(const PackedTriangle<T>& triangle, Kernel kernel, const Matrix<T>& b) noexcept {
  const index_t m = b.extents[0], n = b.extents[1];
  const Threads threads(static_cast<double>(m) * static_cast<double>(m) * static_cast<double>(n));
  const bool rows_contiguous = b.strides[1] == 1;
  const auto transpose = kernels<T>().transpose;
  // In place as many columns as leave each thread some.
  const index_t width = rows_contiguous
                            ? std::max((n / (2 * threads.count()) + kCols) / kCols * kCols, kCols)
                            : kCols;
  threads.parallel_for((n + width - 1) / width, [&](index_t task) {
    T* const first = b.data + task * width * b.strides[1];
    const index_t cols = std::min(width, n - task * width);
    if (rows_contiguous) return triangle.run(kernel, first, b.strides[0], cols);
    T rows[kBlock * kCols];
    transpose(cols, m, first, b.strides[1], rows, cols);
    triangle.run(kernel, rows, cols, cols);
    transpose(m, cols, rows, cols, first, b.strides[1]);
  });
}

// The two diagonal blocks of a triangle, and the one beside them: row 1, column 0 of a lower triangle.
template <class T>
struct Halves {
  Halves(const Triangular<T>& a, index_t half)
      : first{block(a.matrix, 0, 0, half, half), a.triangle, a.unit},
        second{block(a.matrix, half, half, rest(a, half), rest(a, half)), a.triangle, a.unit},
        beside(a.triangle == Triangle::kLower ? block(a.matrix, half, 0, rest(a, half), half)
                                              : block(a.matrix, 0, half, half, rest(a, half))) {}

  Triangular<T> first, second;
  Matrix<const T> beside;

 private:
  static index_t rest(const Triangular<T>& a, index_t half) { return a.matrix.extents[0] - half; }
};

}  // namespace

template <class T>
void solve(const Triangular<T>& a, const Matrix<T>& b, T alpha) noexcept {
  const index_t m = b.extents[0], n = b.extents[1];
  if (m == 0 || n == 0) return;
  if (alpha == T{0}) return scale(b, alpha);
  if (m <= kBlock) {
    scale(b, alpha);
    return run_block(PackedTriangle<T>(a, T{-1}, T{1}), kernels<T>().solve_rows, b);
  }
  const index_t half = half_of(m);
  const Halves<T> halves(a, half);
  const Matrix<T> top = block(b, 0, 0, half, n), bottom = block(b, half, 0, m - half, n);
  if (a.triangle == Triangle::kLower) {
    solve(halves.first, top, alpha);
    multiply<T, T>(halves.beside, top, bottom, T{-1}, alpha);
    solve(halves.second, bottom, T{1});
  } else {
    solve(halves.second, bottom, alpha);
    multiply<T, T>(halves.beside, bottom, top, T{-1}, alpha);
    solve(halves.first, top, T{1});
  }
}

template <class T>
void multiply_triangle(const Triangular<T>& a, const Matrix<T>& b, T alpha) noexcept {
  const index_t m = b.extents[0], n = b.extents[1];
  if (m == 0 || n == 0) return;
  if (alpha == T{0}) return scale(b, alpha);
  if (m <= kBlock) {
    return run_block(PackedTriangle<T>(a, T{1}, alpha), kernels<T>().multiply_rows, b);
  }
  const index_t half = half_of(m);
  const Halves<T> halves(a, half);
  const Matrix<T> top = block(b, 0, 0, half, n), bottom = block(b, half, 0, m - half, n);
  if (a.triangle == Triangle::kLower) {
    multiply_triangle(halves.second, bottom, alpha);
    multiply<T, T>(halves.beside, top, bottom, alpha, T{1});
    multiply_triangle(halves.first, top, alpha);
  } else {
    multiply_triangle(halves.first, top, alpha);
    multiply<T, T>(halves.beside, bottom, top, alpha, T{1});
    multiply_triangle(halves.second, bottom, alpha);
  }
}

template void solve(const Triangular<float>&, const Matrix<float>&, float) noexcept;
template void solve(const Triangular<double>&, const Matrix<double>&, double) noexcept;
template void multiply_triangle(const Triangular<float>&, const Matrix<float>&, float) noexcept;
template void multiply_triangle(const Triangular<double>&, const Matrix<double>&, double) noexcept;

}  // namespace tessera::blas
