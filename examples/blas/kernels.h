// SPDX-License-Identifier: Apache-2.0
// What BLAS needs beside gemm, compiled for every target: products with vectors, and triangles small enough for the
// caches of first level.
#ifndef TESSERA_BLAS_KERNELS_H_
#define TESSERA_BLAS_KERNELS_H_

#include <type_traits>

#include "tessera/core/isa.h"
#include "tessera/core/view.h"

namespace tessera::blas {

template <class T>
struct Kernels {
  // out[r] = the sum over i of a[r * stride + i] * x[i], for r < rows, i < n.
  void (*dot_rows)(index_t rows, index_t n, const T* a, index_t stride, const T* x, T* out);
  // sums[i] += the sum over r of factors[r] * a[r * stride + i]
  void (*add_rows)(index_t rows, index_t n, const T* factors, const T* a, index_t stride, T* sums);
  // a[r * stride + i] += factors[r] * x[i]
  void (*add_outer)(index_t rows, index_t n, const T* factors, const T* x, T* a, index_t stride);
  // c = alpha * a * b + beta * c for matrices of a few elements: a[i * a_row + l * a_col] for i < m, l < k; rows of b and c
  // are contiguous, `b_stride` and `c_stride` apart. beta = 0 does not read c.
  void (*multiply_small)(index_t m, index_t n, index_t k, T alpha, const T* a, index_t a_row,
                         index_t a_col, const T* b, index_t b_stride, T beta, T* c,
                         index_t c_stride);
  // X[n, width], rows of contiguous elements, `stride` (of either sign) apart, becomes L^-1 X. `l` is [n, n], row-major:
  // the elements of L on the diagonal, their negatives below; what is above is not read.
  void (*solve_rows)(index_t n, const T* l, T* x, index_t stride, index_t width);
  // X becomes L X; `l` has the elements of L themselves.
  void (*multiply_rows)(index_t n, const T* l, T* x, index_t stride, index_t width);
  // to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < cols.
  void (*transpose)(index_t rows, index_t cols, const T* from, index_t from_stride, T* to,
                    index_t to_stride);
};

struct TargetKernels {
  Target target;
  Kernels<float> f32;
  Kernels<double> f64;
};

// Those of the active target.
const TargetKernels& target_kernels() noexcept;

template <class T>
const Kernels<T>& kernels() noexcept {
  if constexpr (std::is_same_v<T, float>) {
    return target_kernels().f32;
  } else {
    return target_kernels().f64;
  }
}

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_KERNELS_H_
