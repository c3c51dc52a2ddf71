// SPDX-License-Identifier: Apache-2.0
// Products of real matrices.
#include <type_traits>

#include "operations.h"
#include "product.h"

namespace tessera::blas {

namespace {

template <class T>
Vector<T> row_of(const Matrix<T>& m) {
  return {m.data, {m.extents[1]}, {m.strides[1]}};
}
template <class T>
Vector<T> column_of(const Matrix<T>& m) {
  return {m.data, {m.extents[0]}, {m.strides[0]}};
}

}  // namespace

template <class From, class T>
void multiply(const Matrix<const From>& a, const Matrix<const From>& b, const Matrix<T>& c, T alpha,
              T beta) noexcept {
  const index_t m = c.extents[0], n = c.extents[1];
  if (m == 0 || n == 0) return;
  if constexpr (std::is_same_v<From, T>) {
    if (n == 1) return multiply_vector<T>(a, column_of(b), column_of(c), alpha, beta);
    if (m == 1) return multiply_vector<T>(transposed(b), row_of(a), row_of(c), alpha, beta);
  }
  // Along rows of C is the way the kernels go.
  if (c.strides[1] != 1 && c.strides[0] == 1) {
    return multiply<From, T>(transposed(b), transposed(a), transposed(c), alpha, beta);
  }
  run_product<From, T>(a, b, c, alpha, beta);
}

template void multiply(const Matrix<const float>&, const Matrix<const float>&, const Matrix<float>&,
                       float, float) noexcept;
template void multiply(const Matrix<const double>&, const Matrix<const double>&,
                       const Matrix<double>&, double, double) noexcept;
template void multiply(const Matrix<const bf16>&, const Matrix<const bf16>&, const Matrix<float>&,
                       float, float) noexcept;

}  // namespace tessera::blas
