// SPDX-License-Identifier: Apache-2.0
// Products by Tessera, and plain loops for where it can't: without memory for its copies, or with operands that lie
// between each other in memory in a way that its checks don't see through.
#ifndef TESSERA_BLAS_PRODUCT_H_
#define TESSERA_BLAS_PRODUCT_H_

#include "operations.h"

namespace tessera::blas {

// x = factor * x; 0 does not read x.
template <class T>
void scale(T& x, T factor) noexcept {
  if (factor != T{1}) x = factor == T{0} ? T{0} : factor * x;
}

template <class T>
void scale(const Matrix<T>& m, T factor) noexcept {
  if (factor == T{1}) return;
  if (m.strides[1] != 1 && m.strides[0] == 1) return scale(transposed(m), factor);
  for (index_t i = 0; i < m.extents[0]; ++i) {
    for (index_t j = 0; j < m.extents[1]; ++j) scale(m(i, j), factor);
  }
}

template <class From, class T, class Read>
void multiply_plainly(const Matrix<const From>& a, const Matrix<const From>& b, const Matrix<T>& c,
                      T alpha, T beta, Read read) noexcept {
  scale(c, beta);
  if (alpha == T{0}) return;
  for (index_t i = 0; i < c.extents[0]; ++i) {
    for (index_t j = 0; j < c.extents[1]; ++j) {
      T sum{};
      for (index_t l = 0; l < a.extents[1]; ++l) sum += read(a(i, l)) * read(b(l, j));
      c(i, j) += alpha * sum;
    }
  }
}

// c = alpha * a * b + beta * c by Tessera, for a `c` with contiguous rows.
template <class From, class T>
void run_product(const Matrix<const From>& a, const Matrix<const From>& b, const Matrix<T>& c,
                 T alpha, T beta) noexcept;

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_PRODUCT_H_
