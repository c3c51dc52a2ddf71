// SPDX-License-Identifier: Apache-2.0
// Wrong parameters are reported to the host's xerbla_ and cblas_xerbla, which a program or its BLAS defines; if there is
// none, to stderr. The call then returns: it does not end the host.
#ifndef TESSERA_BLAS_XERBLA_H_
#define TESSERA_BLAS_XERBLA_H_

#include <span>

namespace tessera::blas {

// A routine by its types ("s", "sb") and name ("gemm"), and whether its integers are of 64 bits, in functions with a suffix.
struct Routine {
  const char* types;
  const char* name;
  bool suffixed = false;
};

// The parameter as the standard counts it, from 1.
void report_fortran(const Routine& routine, int parameter) noexcept;

// Likewise, the order being 1. Of row-major calls `parameter` is that of the column-major call that it stands for,
// where those of `swapped`, in pairs, have changed places.
void report_cblas(const Routine& routine, int parameter, bool row_major,
                  std::span<const int> swapped) noexcept;

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_XERBLA_H_
