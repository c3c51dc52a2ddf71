// SPDX-License-Identifier: Apache-2.0
// The specification of gemm, as three loops.
#ifndef TESSERA_REF_GEMM_H_
#define TESSERA_REF_GEMM_H_

#include <cmath>
#include <type_traits>

#include "tessera/core/view.h"

namespace tessera::ref {

// C[m, n] = alpha * A[m, k] * B[k, n] + beta * C, exactly as tessera::gemm defines it: bit for bit
// what every target with FMA computes.
template <class A, class B, class T>
void gemm(const View<A, 2>& a, const View<B, 2>& b, const View<T, 2>& c,
          std::type_identity_t<T> alpha = 1, std::type_identity_t<T> beta = 0) {
  const index_t depth = alpha == T{0} ? 0 : a.extent(1);
  for (index_t i = 0; i < c.extent(0); ++i) {
    for (index_t j = 0; j < c.extent(1); ++j) {
      T sum = beta == T{0} ? T{0} : beta == T{1} ? c(i, j) : beta * c(i, j);
      for (index_t k = 0; k < depth; ++k) {
        const T scaled = alpha == T{1} ? a(i, k) : alpha * a(i, k);
        sum = std::fma(scaled, b(k, j), sum);
      }
      c(i, j) = sum;
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_GEMM_H_
