// SPDX-License-Identifier: Apache-2.0
// What the routines compute, over views: a transposed operand is a view with its strides swapped, so that there is
// one implementation for column-major and row-major, for left and right, for every transpose. None throws: where
// Tessera can't run a product (no memory left, operands that overlap in a way it refuses), plain loops do.
#ifndef TESSERA_BLAS_OPERATIONS_H_
#define TESSERA_BLAS_OPERATIONS_H_

#include <complex>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::blas {

template <class T>
using Matrix = View<T, 2>;
template <class T>
using Vector = View<T, 1>;

template <class T>
Matrix<T> block(const Matrix<T>& m, index_t row, index_t col, index_t rows, index_t cols) {
  return {&m(row, col), {rows, cols}, m.strides};
}

// c = alpha * a * b + beta * c: a is [m, k], b [k, n], c [m, n]. beta = 0 does not read c; alpha = 0 neither a nor b.
// T: float, double, std::complex of these, and from = bf16 for T = float.
template <class From, class T>
void multiply(const Matrix<const From>& a, const Matrix<const From>& b, const Matrix<T>& c, T alpha,
              T beta) noexcept;

// Operands that are conjugated as they are read.
template <class T>
struct Conjugates {
  Matrix<const std::complex<T>> matrix;
  bool conjugate = false;
};
template <class T>
void multiply(const Conjugates<T>& a, const Conjugates<T>& b, const Matrix<std::complex<T>>& c,
              std::complex<T> alpha, std::complex<T> beta) noexcept;

// y = alpha * a * x + beta * y
template <class T>
void multiply_vector(const Matrix<const T>& a, const Vector<const T>& x, const Vector<T>& y,
                     T alpha, T beta) noexcept;

// a += alpha * x * y^T
template <class T>
void add_outer(const Vector<const T>& x, const Vector<const T>& y, const Matrix<T>& a,
               T alpha) noexcept;

// The triangle of a square matrix that counts; the other is neither read nor written.
enum class Triangle { kLower, kUpper };

// The triangle of c = that of alpha * a * a^T + beta * c: a is [n, k], c [n, n].
template <class T>
void add_square(const Matrix<const T>& a, const Matrix<T>& c, Triangle triangle, T alpha,
                T beta) noexcept;

template <class T>
struct Triangular {
  Matrix<const T> matrix;  // [m, m]
  Triangle triangle;
  bool unit;  // ones on the diagonal, which is not read
};

// b = alpha * a^-1 * b and b = alpha * a * b: b is [m, n].
template <class T>
void solve(const Triangular<T>& a, const Matrix<T>& b, T alpha) noexcept;
template <class T>
void multiply_triangle(const Triangular<T>& a, const Matrix<T>& b, T alpha) noexcept;

// Prints the first problem that makes a call go on in plain loops.
void report_once(const char* what) noexcept;

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_OPERATIONS_H_
