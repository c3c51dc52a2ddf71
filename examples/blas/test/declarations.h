// SPDX-License-Identifier: Apache-2.0
// The functions that the tests call, and those of one type under one name each.
#ifndef TESSERA_BLAS_TEST_DECLARATIONS_H_
#define TESSERA_BLAS_TEST_DECLARATIONS_H_

#include <complex>
#include <cstdint>

#include "tessera/core/dtype.h"

#define DECLARE_CBLAS_GEMM(name, Int, From, Number)                                              \
  void name(int order, int transa, int transb, Int m, Int n, Int k, Number alpha, const From* a, \
            Int lda, const From* b, Int ldb, Number beta, void* c, Int ldc);
#define DECLARE_FORTRAN_GEMM(name, Int, From, T)                                                 \
  void name(const char*, const char*, const Int*, const Int*, const Int*, const T*, const From*, \
            const Int*, const From*, const Int*, const T*, T*, const Int*);
#define DECLARE_BATCH(t, T, Number)                                                             \
  void cblas_##t##gemm_batch(int, const int*, const int*, const int*, const int*, const int*,   \
                             const T*, const T**, const int*, const T**, const int*, const T*,  \
                             T**, const int*, int, const int*);                                 \
  void cblas_##t##gemm_batch_strided(int, int, int, int, int, int, Number, const T*, int, int,  \
                                     const T*, int, int, Number, T*, int, int, int);            \
  void t##gemm_batch_(const char*, const char*, const int*, const int*, const int*, const T*,   \
                      const T**, const int*, const T**, const int*, const T*, T**, const int*,  \
                      const int*, const int*);                                                  \
  void t##gemm_batch_strided_(const char*, const char*, const int*, const int*, const int*,     \
                              const T*, const T*, const int*, const int*, const T*, const int*, \
                              const int*, const T*, T*, const int*, const int*, const int*);
#define DECLARE_REAL(t, T)                                                                        \
  DECLARE_CBLAS_GEMM(cblas_##t##gemm, int, T, T)                                                  \
  DECLARE_CBLAS_GEMM(cblas_##t##gemm64_, std::int64_t, T, T)                                      \
  DECLARE_FORTRAN_GEMM(t##gemm_, int, T, T)                                                       \
  DECLARE_FORTRAN_GEMM(t##gemm_64_, std::int64_t, T, T)                                           \
  DECLARE_BATCH(t, T, T)                                                                          \
  void cblas_##t##gemv(int, int, int, int, T, const T*, int, const T*, int, T, T*, int);          \
  void t##gemv_(const char*, const int*, const int*, const T*, const T*, const int*, const T*,    \
                const int*, const T*, T*, const int*);                                            \
  void cblas_##t##ger(int, int, int, T, const T*, int, const T*, int, T*, int);                   \
  void t##ger_(const int*, const int*, const T*, const T*, const int*, const T*, const int*, T*,  \
               const int*);                                                                       \
  void cblas_##t##syrk(int, int, int, int, int, T, const T*, int, T, T*, int);                    \
  void t##syrk_(const char*, const char*, const int*, const int*, const T*, const T*, const int*, \
                const T*, T*, const int*);                                                        \
  void cblas_##t##trsm(int, int, int, int, int, int, int, T, const T*, int, T*, int);             \
  void t##trsm_(const char*, const char*, const char*, const char*, const int*, const int*,       \
                const T*, const T*, const int*, T*, const int*);                                  \
  void cblas_##t##trmm(int, int, int, int, int, int, int, T, const T*, int, T*, int);             \
  void t##trmm_(const char*, const char*, const char*, const char*, const int*, const int*,       \
                const T*, const T*, const int*, T*, const int*);
#define DECLARE_COMPLEX(t, T)                                            \
  DECLARE_CBLAS_GEMM(cblas_##t##gemm, int, std::complex<T>, const void*) \
  DECLARE_FORTRAN_GEMM(t##gemm_, int, std::complex<T>, std::complex<T>)  \
  DECLARE_BATCH(t, std::complex<T>, const void*)

extern "C" {
DECLARE_REAL(s, float)
DECLARE_REAL(d, double)
DECLARE_COMPLEX(c, float)
DECLARE_COMPLEX(z, double)
DECLARE_CBLAS_GEMM(cblas_sbgemm, int, tessera::bf16, float)
DECLARE_FORTRAN_GEMM(sbgemm_, int, tessera::bf16, float)
}

namespace tessera::blas::test {

template <class T>
struct Functions;

#define GEMM_FUNCTIONS(t)                             \
  static constexpr auto cblas_gemm = cblas_##t##gemm; \
  static constexpr auto gemm = t##gemm_;
#define BATCH_FUNCTIONS(t)                                                  \
  static constexpr auto cblas_gemm_batch = cblas_##t##gemm_batch;           \
  static constexpr auto cblas_gemm_strided = cblas_##t##gemm_batch_strided; \
  static constexpr auto gemm_batch = t##gemm_batch_;                        \
  static constexpr auto gemm_strided = t##gemm_batch_strided_;
#define REAL_FUNCTIONS(t, T)                            \
  template <>                                           \
  struct Functions<T> {                                 \
    GEMM_FUNCTIONS(t)                                   \
    BATCH_FUNCTIONS(t)                                  \
    static constexpr auto cblas_gemv = cblas_##t##gemv; \
    static constexpr auto gemv = t##gemv_;              \
    static constexpr auto cblas_ger = cblas_##t##ger;   \
    static constexpr auto ger = t##ger_;                \
    static constexpr auto cblas_syrk = cblas_##t##syrk; \
    static constexpr auto syrk = t##syrk_;              \
    static constexpr auto cblas_trsm = cblas_##t##trsm; \
    static constexpr auto trsm = t##trsm_;              \
    static constexpr auto cblas_trmm = cblas_##t##trmm; \
    static constexpr auto trmm = t##trmm_;              \
  };
REAL_FUNCTIONS(s, float)
REAL_FUNCTIONS(d, double)
template <>
struct Functions<std::complex<float>> {
  GEMM_FUNCTIONS(c)
  BATCH_FUNCTIONS(c)
};
template <>
struct Functions<std::complex<double>> {
  GEMM_FUNCTIONS(z)
  BATCH_FUNCTIONS(z)
};
template <>
struct Functions<bf16> {
  GEMM_FUNCTIONS(sb)
};

}  // namespace tessera::blas::test

#endif  // TESSERA_BLAS_TEST_DECLARATIONS_H_
