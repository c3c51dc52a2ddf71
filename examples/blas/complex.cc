// SPDX-License-Identifier: Apache-2.0
// Complex products as real ones. With real and imaginary parts beside each other, as they lie in memory,
//   [re(c) im(c)] = [re(a) im(a)] * [ re(b) im(b)]
//                                   [-im(b) re(b)]
// so C[m, 2n] = A[m, 2k] * E[2k, 2n], where E is made of alpha * B, and A is read in place unless it is transposed or
// conjugated. As many multiplications as the textbook's four real products, and its error bounds. (Three products
// take a quarter less of them, and lose the small one of the two parts of a result.)
#include <algorithm>

#include "operations.h"
#include "product.h"
#include "scratch.h"

namespace tessera::blas {
namespace {

constexpr index_t kDepth = 192, kCols = 192, kRows = 192;  // of blocks, in complex numbers

template <class T>
Conjugates<T> transposed(const Conjugates<T>& x) {
  return {tessera::transposed(x.matrix), x.conjugate};
}

template <class T>
std::complex<T> scaled(std::complex<T> x, bool conjugate, std::complex<T> alpha) {
  if (conjugate) x = std::conj(x);
  if (alpha == std::complex<T>(1)) return x;  // infinity * (1 + 0i) would be NaN
  return {alpha.real() * x.real() - alpha.imag() * x.imag(),
          alpha.real() * x.imag() + alpha.imag() * x.real()};
}

// Rows [k, k + depth) and columns [j, j + cols) of B as E, which is contiguous.
template <class T>
void expand(const Conjugates<T>& b, index_t k, index_t depth, index_t j, index_t cols,
            std::complex<T> alpha, T* e) {
  const index_t stride = 2 * cols;
  const bool along_rows = b.matrix.strides[1] == 1;
  const auto put = [&](index_t l, index_t col) {
    const std::complex<T> x = scaled(b.matrix(k + l, j + col), b.conjugate, alpha);
    const T re = x.real(), im = x.imag();
    T* const to = e + 2 * l * stride + 2 * col;
    to[0] = re, to[1] = im, to[stride] = -im, to[stride + 1] = re;
  };
  if (along_rows) {
    for (index_t l = 0; l < depth; ++l) {
      for (index_t col = 0; col < cols; ++col) put(l, col);
    }
  } else {
    for (index_t col = 0; col < cols; ++col) {
      for (index_t l = 0; l < depth; ++l) put(l, col);
    }
  }
}

// Rows [i, i + rows) and columns [k, k + depth) of A, contiguous.
template <class T>
void copy(const Conjugates<T>& a, index_t i, index_t rows, index_t k, index_t depth, T* to) {
  const T sign = a.conjugate ? T{-1} : T{1};
  for (index_t l = 0; l < depth; ++l) {
    for (index_t row = 0; row < rows; ++row) {
      const std::complex<T> x = a.matrix(i + row, k + l);
      to[2 * (row * depth + l)] = x.real();
      to[2 * (row * depth + l) + 1] = sign * x.imag();
    }
  }
}

// A row of complex numbers as twice as many real ones.
template <class T>
auto as_real(const Matrix<T>& m) {
  using Real =
      std::conditional_t<std::is_const_v<T>, const typename std::remove_const_t<T>::value_type,
                         typename std::remove_const_t<T>::value_type>;
  return Matrix<Real>(reinterpret_cast<Real*>(m.data), {m.extents[0], 2 * m.extents[1]},
                      {2 * m.strides[0], 1});
}

// C of one column, as two products of a real matrix with a vector. Rows of A are multiplied with what makes real parts
// and with what makes imaginary ones; columns with the real parts of B and with the imaginary ones, to be put together
// after. Returns whether there was memory. (Zen 3, cgemm of 256 x 1 x 256: by E .53 and .13 of OpenBLAS, A in columns and in rows; so
// 2.5 and 2.1.)
template <class T>
bool multiply_column(const Conjugates<T>& a, const Conjugates<T>& b,
                     const Matrix<std::complex<T>>& c, std::complex<T> alpha,
                     std::complex<T> beta) noexcept {
  const index_t m = c.extents[0], k = a.matrix.extents[1];
  const bool in_rows = a.matrix.strides[1] == 1;
  const index_t rows = in_rows ? m : 2 * m, cols = in_rows ? 2 * k : k;
  T* const x = scratch<Use::kComplex, T>(2 * (rows + cols));
  if (x == nullptr) return false;
  T *const x2 = x + cols, *const y = x2 + cols, *const y2 = y + rows;
  const T sign = a.conjugate ? T{-1} : T{1};
  for (index_t l = 0; l < k; ++l) {
    const std::complex<T> v = scaled(b.matrix(l, 0), b.conjugate, alpha);
    if (in_rows) {
      x[2 * l] = v.real(), x[2 * l + 1] = -sign * v.imag();
      x2[2 * l] = v.imag(), x2[2 * l + 1] = sign * v.real();
    } else {
      x[l] = v.real(), x2[l] = v.imag();
    }
  }
  const auto& strides = a.matrix.strides;
  const Matrix<const T> real(
      reinterpret_cast<const T*>(a.matrix.data), {rows, cols},
      {in_rows ? 2 * strides[0] : index_t{1}, in_rows ? index_t{1} : 2 * strides[1]});
  multiply_vector<T>(real, {x, {cols}, {1}}, {y, {rows}, {1}}, T{1}, T{0});
  multiply_vector<T>(real, {x2, {cols}, {1}}, {y2, {rows}, {1}}, T{1}, T{0});
  for (index_t i = 0; i < m; ++i) {
    std::complex<T>& ci = c(i, 0);
    scale(ci, beta);
    ci += in_rows
              ? std::complex<T>(y[i], y2[i])
              : std::complex<T>(y[2 * i] - sign * y2[2 * i + 1], sign * y[2 * i + 1] + y2[2 * i]);
  }
  return true;
}

}  // namespace

template <class T>
void multiply(const Conjugates<T>& a, const Conjugates<T>& b, const Matrix<std::complex<T>>& c,
              std::complex<T> alpha, std::complex<T> beta) noexcept {
  using Complex = std::complex<T>;
  const index_t m = c.extents[0], n = c.extents[1], k = a.matrix.extents[1];
  if (m == 0 || n == 0) return;
  if (k == 0 || alpha == Complex(0)) return scale(c, beta);
  if (n == 1 && multiply_column(a, b, c, alpha, beta)) return;
  if (m == 1 &&
      multiply_column(transposed(b), transposed(a), tessera::transposed(c), alpha, beta)) {
    return;
  }
  if (c.strides[1] != 1 && c.strides[0] == 1) {
    return multiply(transposed(b), transposed(a), tessera::transposed(c), alpha, beta);
  }
  const bool in_place = a.matrix.strides[1] == 1 && !a.conjugate;
  const index_t depth = std::min(k, kDepth), rows = in_place ? m : std::min(m, kRows);
  const index_t expanded = 4 * depth * std::min(n, kCols);
  T* const e = scratch<Use::kComplex, T>(expanded + (in_place ? 0 : 2 * rows * depth));
  if (beta.imag() != 0 || e == nullptr) scale(c, beta), beta = 1;
  if (e == nullptr) {
    for (index_t i = 0; i < m; ++i) {
      for (index_t j = 0; j < n; ++j) {
        Complex sum = 0;
        for (index_t l = 0; l < k; ++l) {
          const Complex x = a.matrix(i, l), y = b.matrix(l, j);
          sum += (a.conjugate ? std::conj(x) : x) * (b.conjugate ? std::conj(y) : y);
        }
        c(i, j) += alpha * sum;
      }
    }
    return;
  }
  for (index_t j = 0; j < n; j += kCols) {
    const index_t nj = std::min(kCols, n - j);
    for (index_t l = 0; l < k; l += depth) {
      const index_t kl = std::min(depth, k - l);
      expand(b, l, kl, j, nj, alpha, e);
      for (index_t i = 0; i < m; i += rows) {
        const index_t mi = std::min(rows, m - i);
        Matrix<const T> from(e + expanded, {mi, 2 * kl}, {2 * kl, 1});
        if (in_place) {
          from = as_real(block(a.matrix, i, l, mi, kl));
        } else {
          copy(a, i, mi, l, kl, e + expanded);
        }
        multiply<T, T>(from, row_major(static_cast<const T*>(e), {2 * kl, 2 * nj}),
                       as_real(block(c, i, j, mi, nj)), T{1}, l == 0 ? beta.real() : T{1});
      }
    }
  }
}

template void multiply(const Conjugates<float>&, const Conjugates<float>&,
                       const Matrix<std::complex<float>>&, std::complex<float>,
                       std::complex<float>) noexcept;
template void multiply(const Conjugates<double>&, const Conjugates<double>&,
                       const Matrix<std::complex<double>>&, std::complex<double>,
                       std::complex<double>) noexcept;

}  // namespace tessera::blas
