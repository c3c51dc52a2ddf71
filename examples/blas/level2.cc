// SPDX-License-Identifier: Apache-2.0
// Products of a matrix with a vector, and of two vectors.
#include <algorithm>

#include "kernels.h"
#include "operations.h"
#include "product.h"
#include "scratch.h"
#include "threads.h"

namespace tessera::blas {
namespace {

// Vectors with contiguous elements: themselves, or copies. `y` is read only where `reads_y`.
template <class T>
class Contiguous {
 public:
  Contiguous(const Vector<const T>& x, const Vector<T>& y, bool reads_y) noexcept
      : x_(x.data), y_(y.data), to_(y) {
    const index_t n = x.extents[0], m = y.extents[0];
    const bool copy_x = x.strides[0] != 1 && n > 1;
    copy_y_ = y.strides[0] != 1 && m > 1;
    if (!copy_x && !copy_y_) return;
    T* memory = scratch<Use::kVectors, T>(n + m);
    ok_ = memory != nullptr;
    if (!ok_) return;
    if (copy_x) {
      for (index_t i = 0; i < n; ++i) memory[i] = x(i);
      x_ = memory;
    }
    if (copy_y_) {
      y_ = memory + n;
      for (index_t i = 0; reads_y && i < m; ++i) y_[i] = y(i);
    }
  }
  // What was computed, to where it belongs.
  void store_y() const noexcept {
    for (index_t i = 0; copy_y_ && i < to_.extents[0]; ++i) to_(i) = y_[i];
  }

  explicit operator bool() const noexcept { return ok_; }
  const T* x() const noexcept { return x_; }
  T* y() const noexcept { return y_; }

 private:
  const T* x_;
  T* y_;
  Vector<T> to_;
  bool copy_y_ = false, ok_ = true;
};

constexpr index_t kRows = 128;  // of a task

// f(first row, number of rows) for all rows, shared by the threads.
template <class F>
void for_rows(index_t rows, index_t cols, F f) noexcept {
  const Threads threads(2.0 * static_cast<double>(rows) * static_cast<double>(cols));
  threads.parallel_for((rows + kRows - 1) / kRows, [&](index_t task) {
    const index_t row = task * kRows;
    f(row, std::min(kRows, rows - row));
  });
}

// y = alpha * a * x + beta * y for an `a` with contiguous rows.
template <class T>
void dot_rows(const Matrix<const T>& a, const T* x, T* y, T alpha, T beta) noexcept {
  const Kernels<T>& kernel = kernels<T>();
  for_rows(a.extents[0], a.extents[1], [&](index_t row, index_t rows) {
    T sums[kRows];
    const bool is_result = alpha == T{1} && beta == T{0};
    kernel.dot_rows(rows, a.extents[1], &a(row, 0), a.strides[0], x, is_result ? y + row : sums);
    for (index_t i = 0; !is_result && i < rows; ++i) {
      const T product = alpha * sums[i];
      T& yi = y[row + i];
      yi = beta == T{0} ? product : product + beta * yi;
    }
  });
}

// Likewise for contiguous columns. A strip of y stays in the first-level cache while all columns pass.
template <class T>
void add_columns(const Matrix<const T>& a, const T* x, T* y, T alpha, T beta) noexcept {
  constexpr index_t kStrip = 2048, kFactors = 64;
  const Kernels<T>& kernel = kernels<T>();
  const index_t m = a.extents[0], n = a.extents[1];
  const Threads threads(2.0 * static_cast<double>(m) * static_cast<double>(n));
  const index_t strip = std::clamp((m / threads.count() + kRows) / kRows * kRows, kRows, kStrip);
  threads.parallel_for((m + strip - 1) / strip, [&](index_t task) {
    const index_t row = task * strip, rows = std::min(strip, m - row);
    if (beta == T{0}) {
      std::fill_n(y + row, rows, T{0});
    } else if (beta != T{1}) {
      for (index_t i = row; i < row + rows; ++i) y[i] *= beta;
    }
    if (alpha == T{1}) return kernel.add_rows(n, rows, x, &a(row, 0), a.strides[1], y + row);
    for (index_t j = 0; j < n; j += kFactors) {
      T factors[kFactors];
      const index_t cols = std::min(kFactors, n - j);
      for (index_t l = 0; l < cols; ++l) factors[l] = alpha * x[j + l];
      kernel.add_rows(cols, rows, factors, &a(row, j), a.strides[1], y + row);
    }
  });
}

}  // namespace

template <class T>
void multiply_vector(const Matrix<const T>& a, const Vector<const T>& x, const Vector<T>& y,
                     T alpha, T beta) noexcept {
  const index_t m = a.extents[0], n = a.extents[1];
  const Matrix<const T> x_column(x.data, {n, 1}, {x.strides[0], a.strides[1]});
  const Matrix<T> y_column(y.data, {m, 1}, {y.strides[0], a.strides[1]});
  if (n == 0 || alpha == T{0}) return scale(y_column, beta);
  const Contiguous<T> vectors(x, y, beta != T{0});
  if (!vectors) {
    return multiply_plainly(a, x_column, y_column, alpha, beta, [](T v) { return v; });
  }
  if (a.strides[1] == 1) {
    dot_rows(a, vectors.x(), vectors.y(), alpha, beta);
  } else {
    add_columns(a, vectors.x(), vectors.y(), alpha, beta);
  }
  vectors.store_y();
}

template <class T>
void add_outer(const Vector<const T>& x, const Vector<const T>& y, const Matrix<T>& a,
               T alpha) noexcept {
  if (a.strides[1] != 1) return add_outer<T>(y, x, transposed(a), alpha);
  const Kernels<T>& kernel = kernels<T>();
  const index_t m = a.extents[0], n = a.extents[1];
  const T* row = y.data;
  if (y.strides[0] != 1) {
    T* const copy = scratch<Use::kVectors, T>(n);
    if (copy == nullptr) {
      return multiply_plainly<T, T>({x.data, {m, 1}, {x.strides[0], 1}},
                                    {y.data, {1, n}, {1, y.strides[0]}}, a, alpha, T{1},
                                    [](T v) { return v; });
    }
    for (index_t j = 0; j < n; ++j) copy[j] = y(j);
    row = copy;
  }
  for_rows(m, n, [&](index_t first, index_t rows) {
    T factors[kRows];
    for (index_t i = 0; i < rows; ++i) factors[i] = alpha * x(first + i);
    kernel.add_outer(rows, n, factors, row, &a(first, 0), a.strides[0]);
  });
}

template void multiply_vector(const Matrix<const float>&, const Vector<const float>&,
                              const Vector<float>&, float, float) noexcept;
template void multiply_vector(const Matrix<const double>&, const Vector<const double>&,
                              const Vector<double>&, double, double) noexcept;
template void add_outer(const Vector<const float>&, const Vector<const float>&,
                        const Matrix<float>&, float) noexcept;
template void add_outer(const Vector<const double>&, const Vector<const double>&,
                        const Matrix<double>&, double) noexcept;

}  // namespace tessera::blas
