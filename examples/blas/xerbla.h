// SPDX-License-Identifier: Apache-2.0
// Wrong parameters are reported to the host's xerbla_ and cblas_xerbla, which a program or its BLAS defines; if there is
// none, to stderr. The call then returns: it does not end the host.
#ifndef TESSERA_BLAS_XERBLA_H_
#define TESSERA_BLAS_XERBLA_H_

namespace tessera::blas {

// A routine by its types ("s", "sb") and name ("gemm"), and whether its integers are of 64 bits, in functions with a suffix.
struct Routine {
  const char* types;
  const char* name;
  bool suffixed = false;
};

// The parameter as the standard counts it: from 1, which in CBLAS is the order.
void report_fortran(const Routine& routine, int parameter) noexcept;
void report_cblas(const Routine& routine, int parameter) noexcept;

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_XERBLA_H_
