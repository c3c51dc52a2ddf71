// SPDX-License-Identifier: Apache-2.0
// The arguments of the routines: how the two interfaces spell options, what is wrong with a call, what a row-major
// call is in columns, and what the call does.
//
// Each struct has
//   wrong()      the first parameter that is wrong, as Fortran counts, or 0; options first, for the standard has them so
//   transpose()  a row-major call as the column-major one with the same results
//   run()        the computation
//   kOptions     how many of the first parameters are options
//   kSwapped     pairs of parameters, as CBLAS counts, that transpose() swaps
#ifndef TESSERA_BLAS_ARGUMENTS_H_
#define TESSERA_BLAS_ARGUMENTS_H_

#include <algorithm>
#include <array>
#include <cctype>
#include <complex>
#include <utility>

#include "operations.h"

namespace tessera::blas {

// An option as the capital letter of the Fortran interface, or 0 if it is none of `valid`.
constexpr char option(char letter, const char* valid) {
  for (; *valid != 0; ++valid) {
    if (letter == *valid || letter == *valid + ('a' - 'A')) return *valid;
  }
  return 0;
}
// Enumerators of CBLAS count from `first`.
constexpr char option(int value, int first, const char* valid) {
  for (int i = 0; valid[i] != 0; ++i) {
    if (value == first + i) return valid[i];
  }
  return 0;
}

struct Transpose {
  char letter;
  explicit Transpose(const char* text) : letter(option(*text, "NTC")) {}
  explicit Transpose(int value) : letter(option(value, 111, "NTC")) {}
  bool is_valid() const { return letter != 0; }
  bool yes() const { return letter != 'N'; }
  bool conjugates() const { return letter == 'C'; }
  void flip() { letter = yes() ? 'N' : 'T'; }  // of real matrices
};

struct Uplo {
  char letter;
  explicit Uplo(const char* text) : letter(option(*text, "UL")) {}
  explicit Uplo(int value) : letter(option(value, 121, "UL")) {}
  bool is_valid() const { return letter != 0; }
  void flip() { letter = letter == 'U' ? 'L' : 'U'; }
  // Of the matrix, or of its transpose.
  Triangle triangle(bool transposed = false) const {
    return (letter == 'L') != transposed ? Triangle::kLower : Triangle::kUpper;
  }
};

struct Diag {
  char letter;
  explicit Diag(const char* text) : letter(option(*text, "NU")) {}
  explicit Diag(int value) : letter(option(value, 131, "NU")) {}
  bool is_valid() const { return letter != 0; }
};

struct Side {
  char letter;
  explicit Side(const char* text) : letter(option(*text, "LR")) {}
  explicit Side(int value) : letter(option(value, 141, "LR")) {}
  bool is_valid() const { return letter != 0; }
  void flip() { letter = letter == 'L' ? 'R' : 'L'; }
};

// The first of conditions that does not hold.
class Checks {
 public:
  Checks& operator()(int parameter, bool holds) {
    if (!holds && wrong_ == 0) wrong_ = parameter;
    return *this;
  }
  int wrong() const { return wrong_; }

 private:
  int wrong_ = 0;
};

// Column-major memory as op(matrix), [rows, cols].
template <class T>
Matrix<T> matrix_of(T* data, index_t ld, Transpose op, index_t rows, index_t cols) {
  if (op.yes()) return {data, {rows, cols}, {ld, 1}};
  return {data, {rows, cols}, {1, ld}};
}
template <class T>
Matrix<T> columns_of(T* data, index_t ld, index_t rows, index_t cols) {
  return {data, {rows, cols}, {1, ld}};
}
// With a negative increment the vector starts at its end.
template <class T>
Vector<T> vector_of(T* data, index_t increment, index_t n) {
  return {increment < 0 ? data - (n - 1) * increment : data, {n}, {increment}};
}

template <class T>
inline constexpr bool is_complex = false;
template <class T>
inline constexpr bool is_complex<std::complex<T>> = true;

template <class From, class T>
struct GemmArguments {
  static constexpr int kOptions = 2;
  static constexpr std::array<int, 4> kSwapped = {4, 5, 9, 11};

  Transpose transpose_a, transpose_b;
  index_t m, n, k;
  T alpha;
  const From* a;
  index_t lda;
  const From* b;
  index_t ldb;
  T beta;
  T* c;
  index_t ldc;

  int wrong() const {
    const index_t a_rows = transpose_a.yes() ? k : m, b_rows = transpose_b.yes() ? n : k;
    return Checks()(1, transpose_a.is_valid())(2, transpose_b.is_valid())(3, m >= 0)(4, n >= 0)(
               5, k >= 0)(8, lda >= std::max<index_t>(1, a_rows))(
               10, ldb >= std::max<index_t>(1, b_rows))(13, ldc >= std::max<index_t>(1, m))
        .wrong();
  }
  void transpose() {
    std::swap(transpose_a, transpose_b);
    std::swap(m, n);
    std::swap(a, b);
    std::swap(lda, ldb);
  }
  void run() const noexcept {
    if (m == 0 || n == 0 || ((alpha == T{0} || k == 0) && beta == T{1})) return;
    const auto op_a = matrix_of(a, lda, transpose_a, m, k);
    const auto op_b = matrix_of(b, ldb, transpose_b, k, n);
    const auto result = columns_of(c, ldc, m, n);
    if constexpr (is_complex<T>) {
      using Operand = Conjugates<typename T::value_type>;
      multiply(Operand{op_a, transpose_a.conjugates()}, Operand{op_b, transpose_b.conjugates()},
               result, alpha, beta);
    } else {
      multiply<From, T>(op_a, op_b, result, alpha, beta);
    }
  }
};

template <class T>
struct GemvArguments {
  static constexpr int kOptions = 1;
  static constexpr std::array<int, 2> kSwapped = {3, 4};

  Transpose transpose_a;
  index_t m, n;
  T alpha;
  const T* a;
  index_t lda;
  const T* x;
  index_t incx;
  T beta;
  T* y;
  index_t incy;

  int wrong() const {
    return Checks()(1, transpose_a.is_valid())(2, m >= 0)(3, n >= 0)(
               6, lda >= std::max<index_t>(1, m))(8, incx != 0)(11, incy != 0)
        .wrong();
  }
  void transpose() {
    transpose_a.flip();
    std::swap(m, n);
  }
  void run() const noexcept {
    if (m == 0 || n == 0 || (alpha == T{0} && beta == T{1})) return;
    const index_t rows = transpose_a.yes() ? n : m, cols = transpose_a.yes() ? m : n;
    multiply_vector<T>(matrix_of(a, lda, transpose_a, rows, cols), vector_of(x, incx, cols),
                       vector_of(y, incy, rows), alpha, beta);
  }
};

template <class T>
struct GerArguments {
  static constexpr int kOptions = 0;
  static constexpr std::array<int, 4> kSwapped = {2, 3, 6, 8};

  index_t m, n;
  T alpha;
  const T* x;
  index_t incx;
  const T* y;
  index_t incy;
  T* a;
  index_t lda;

  int wrong() const {
    return Checks()(1, m >= 0)(2, n >= 0)(5, incx != 0)(7, incy != 0)(
               9, lda >= std::max<index_t>(1, m))
        .wrong();
  }
  void transpose() {
    std::swap(m, n);
    std::swap(x, y);
    std::swap(incx, incy);
  }
  void run() const noexcept {
    if (m == 0 || n == 0 || alpha == T{0}) return;
    add_outer<T>(vector_of(x, incx, m), vector_of(y, incy, n), columns_of(a, lda, m, n), alpha);
  }
};

template <class T>
struct SyrkArguments {
  static constexpr int kOptions = 2;
  static constexpr std::array<int, 0> kSwapped = {};

  Uplo uplo;
  Transpose transpose_a;
  index_t n, k;
  T alpha;
  const T* a;
  index_t lda;
  T beta;
  T* c;
  index_t ldc;

  int wrong() const {
    return Checks()(1, uplo.is_valid())(2, transpose_a.is_valid())(3, n >= 0)(4, k >= 0)(
               7, lda >= std::max<index_t>(1, transpose_a.yes() ? k : n))(
               10, ldc >= std::max<index_t>(1, n))
        .wrong();
  }
  void transpose() {
    uplo.flip();
    transpose_a.flip();
  }
  void run() const noexcept {
    if (n == 0 || ((alpha == T{0} || k == 0) && beta == T{1})) return;
    add_square<T>(matrix_of(a, lda, transpose_a, n, k), columns_of(c, ldc, n, n), uplo.triangle(),
                  alpha, beta);
  }
};

// Of trsm and trmm.
template <class T, void (*kOperation)(const Triangular<T>&, const Matrix<T>&, T) noexcept>
struct TriangleArguments {
  static constexpr int kOptions = 4;
  static constexpr std::array<int, 2> kSwapped = {6, 7};

  Side side;
  Uplo uplo;
  Transpose transpose_a;
  Diag diag;
  index_t m, n;
  T alpha;
  const T* a;
  index_t lda;
  T* b;
  index_t ldb;

  int wrong() const {
    return Checks()(1, side.is_valid())(2, uplo.is_valid())(3, transpose_a.is_valid())(
               4, diag.is_valid())(5, m >= 0)(6, n >= 0)(
               9, lda >= std::max<index_t>(1, side.letter == 'L' ? m : n))(
               11, ldb >= std::max<index_t>(1, m))
        .wrong();
  }
  void transpose() {
    side.flip();
    uplo.flip();
    std::swap(m, n);
  }
  // From the right it is the transpose of what its transpose does from the left.
  void run() const noexcept {
    const bool left = side.letter == 'L', turn = transpose_a.yes() == left;
    const index_t order = left ? m : n;
    const auto whole = columns_of(a, lda, order, order);
    const auto result = columns_of(b, ldb, m, n);
    kOperation({turn ? transposed(whole) : whole, uplo.triangle(turn), diag.letter == 'U'},
               left ? result : transposed(result), alpha);
  }
};
template <class T>
using TrsmArguments = TriangleArguments<T, solve<T>>;
template <class T>
using TrmmArguments = TriangleArguments<T, multiply_triangle<T>>;

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_ARGUMENTS_H_
