// SPDX-License-Identifier: Apache-2.0
// What is wrong with a call goes to the host's xerbla_ and cblas_xerbla, with the number of the standard, and nothing is
// written.
#include <catch2/catch_test_macros.hpp>

#include <cstdarg>
#include <string>
#include <string_view>

#include "declarations.h"
#include "stored.h"

namespace {

std::string reported;

void report(std::string_view name, int parameter) {
  reported = std::string(name) + " " + std::to_string(parameter);
}

}  // namespace

extern "C" {
void xerbla_(const char* name, const int* parameter, std::size_t length) {
  report({name, length}, *parameter);
}
void cblas_xerbla(int parameter, const char* name, const char*, ...) { report(name, parameter); }
}

namespace tessera::blas::test {
namespace {

float a[64], b[64], c[64];

// What the call reports; "" if nothing.
template <class F, class... Arguments>
std::string error_of(F f, Arguments... arguments) {
  reported.clear();
  for (float& x : c) x = 7;
  f(arguments...);
  for (const float x : c) {
    if (x != 7) return "c was written";
  }
  return reported;
}

std::string gemm_error(const char* ta, const char* tb, int m, int n, int k, int lda, int ldb,
                       int ldc) {
  const float one = 1;
  return error_of(sgemm_, ta, tb, &m, &n, &k, &one, a, &lda, b, &ldb, &one, c, &ldc);
}
std::string cblas_gemm_error(int order, int ta, int tb, int m, int n, int k, int lda, int ldb,
                             int ldc) {
  return error_of(cblas_sgemm, order, ta, tb, m, n, k, 1.f, a, lda, b, ldb, 1.f, c, ldc);
}

TEST_CASE("gemm: wrong parameters", "[errors]") {
  CHECK(gemm_error("/", "N", 2, 2, 2, 2, 2, 2) == "SGEMM  1");
  CHECK(gemm_error("N", "/", 2, 2, 2, 2, 2, 2) == "SGEMM  2");
  CHECK(gemm_error("N", "N", -1, 2, 2, 2, 2, 2) == "SGEMM  3");
  CHECK(gemm_error("N", "N", 2, -1, 2, 2, 2, 2) == "SGEMM  4");
  CHECK(gemm_error("N", "N", 2, 2, -1, 2, 2, 2) == "SGEMM  5");
  CHECK(gemm_error("N", "N", 3, 2, 2, 2, 2, 3) == "SGEMM  8");
  CHECK(gemm_error("T", "N", 2, 2, 3, 2, 3, 2) == "SGEMM  8");
  CHECK(gemm_error("N", "N", 2, 2, 3, 2, 2, 2) == "SGEMM  10");
  CHECK(gemm_error("N", "C", 2, 3, 2, 2, 2, 2) == "SGEMM  10");
  CHECK(gemm_error("N", "N", 3, 2, 2, 3, 2, 2) == "SGEMM  13");
  CHECK(gemm_error("N", "N", 0, 0, 0, 0, 1, 1) == "SGEMM  8");
  CHECK(gemm_error("?", "?", -1, -1, -1, 0, 0, 0) == "SGEMM  1");
  CHECK(gemm_error("n", "t", 0, 0, 0, 1, 1, 1).empty());

  constexpr int kN = kNoTranspose, kT = kTranspose;
  CHECK(cblas_gemm_error(0, kN, kN, 2, 2, 2, 2, 2, 2) == "cblas_sgemm 1");
  for (const int order : {kRowMajor, kColumnMajor}) {
    CHECK(cblas_gemm_error(order, 0, kN, 2, 2, 2, 2, 2, 2) == "cblas_sgemm 2");
    CHECK(cblas_gemm_error(order, kN, 110, 2, 2, 2, 2, 2, 2) == "cblas_sgemm 3");
    CHECK(cblas_gemm_error(order, kN, kN, -1, 2, 2, 2, 2, 2) == "cblas_sgemm 4");
    CHECK(cblas_gemm_error(order, kN, kN, 2, -1, 2, 2, 2, 2) == "cblas_sgemm 5");
    CHECK(cblas_gemm_error(order, kN, kN, 2, 2, -1, 2, 2, 2) == "cblas_sgemm 6");
    CHECK(cblas_gemm_error(order, kN, kN, 4, 4, 4, 3, 4, 4) == "cblas_sgemm 9");
    CHECK(cblas_gemm_error(order, kN, kN, 4, 4, 4, 4, 3, 4) == "cblas_sgemm 11");
    CHECK(cblas_gemm_error(order, kN, kN, 4, 4, 4, 4, 4, 3) == "cblas_sgemm 14");
    CHECK(cblas_gemm_error(order, kT, kT, 0, 0, 0, 1, 1, 1).empty());
  }
  CHECK(cblas_gemm_error(kRowMajor, kN, kN, 4, 2, 3, 2, 2, 2) == "cblas_sgemm 9");
  CHECK(cblas_gemm_error(kColumnMajor, kT, kN, 4, 2, 3, 2, 3, 4) == "cblas_sgemm 9");
  CHECK(cblas_gemm_error(kRowMajor, kN, kN, 2, 4, 3, 3, 3, 4) == "cblas_sgemm 11");
}

TEST_CASE("other routines: wrong parameters", "[errors]") {
  const int zero = 0, one = 1, two = 2, three = 3, minus = -1;
  const float f = 1;
  CHECK(error_of(sgemv_, "/", &two, &two, &f, a, &two, b, &one, &f, c, &one) == "SGEMV  1");
  CHECK(error_of(sgemv_, "N", &three, &two, &f, a, &two, b, &one, &f, c, &one) == "SGEMV  6");
  CHECK(error_of(sgemv_, "N", &two, &two, &f, a, &two, b, &zero, &f, c, &one) == "SGEMV  8");
  CHECK(error_of(sgemv_, "N", &two, &two, &f, a, &two, b, &one, &f, c, &zero) == "SGEMV  11");
  CHECK(error_of(sger_, &two, &two, &f, a, &zero, b, &one, c, &two) == "SGER   5");
  CHECK(error_of(sger_, &three, &two, &f, a, &one, b, &one, c, &two) == "SGER   9");
  CHECK(error_of(ssyrk_, "U", "?", &two, &two, &f, a, &two, &f, c, &two) == "SSYRK  2");
  CHECK(error_of(ssyrk_, "U", "N", &three, &two, &f, a, &two, &f, c, &three) == "SSYRK  7");
  CHECK(error_of(strsm_, "?", "U", "N", "N", &two, &two, &f, a, &two, c, &two) == "STRSM  1");
  CHECK(error_of(strsm_, "L", "U", "N", "?", &two, &two, &f, a, &two, c, &two) == "STRSM  4");
  CHECK(error_of(strmm_, "R", "U", "N", "U", &two, &three, &f, a, &two, c, &two) == "STRMM  9");
  CHECK(error_of(strmm_, "L", "U", "N", "U", &minus, &three, &f, a, &two, c, &two) == "STRMM  5");
  CHECK(error_of(sbgemm_, "?", "N", &two, &two, &two, &f, static_cast<const bf16*>(nullptr), &two,
                 static_cast<const bf16*>(nullptr), &two, &f, c, &two) == "SBGEMM 1");

  constexpr int kN = kNoTranspose;
  for (const int order : {kRowMajor, kColumnMajor}) {
    CHECK(error_of(cblas_sgemv, order, 0, 2, 2, 1.f, a, 2, b, 1, 1.f, c, 1) == "cblas_sgemv 2");
    CHECK(error_of(cblas_sgemv, order, kN, -1, 2, 1.f, a, 2, b, 1, 1.f, c, 1) == "cblas_sgemv 3");
    CHECK(error_of(cblas_sgemv, order, kN, 2, -1, 1.f, a, 2, b, 1, 1.f, c, 1) == "cblas_sgemv 4");
    CHECK(error_of(cblas_sger, order, -1, 2, 1.f, a, 1, b, 1, c, 2) == "cblas_sger 2");
    CHECK(error_of(cblas_sger, order, 2, -1, 1.f, a, 1, b, 1, c, 2) == "cblas_sger 3");
    CHECK(error_of(cblas_sger, order, 2, 2, 1.f, a, 0, b, 1, c, 2) == "cblas_sger 6");
    CHECK(error_of(cblas_sger, order, 2, 2, 1.f, a, 1, b, 0, c, 2) == "cblas_sger 8");
    CHECK(error_of(cblas_ssyrk, order, 0, kN, 2, 2, 1.f, a, 2, 1.f, c, 2) == "cblas_ssyrk 2");
    CHECK(error_of(cblas_ssyrk, order, 121, kN, 2, 2, 1.f, a, 2, 1.f, c, 1) == "cblas_ssyrk 11");
    CHECK(error_of(cblas_strsm, order, 141, 121, kN, 131, -1, 2, 1.f, a, 2, c, 2) ==
          "cblas_strsm 6");
    CHECK(error_of(cblas_strsm, order, 141, 121, kN, 131, 2, -1, 1.f, a, 2, c, 2) ==
          "cblas_strsm 7");
    CHECK(error_of(cblas_strmm, order, 142, 121, kN, 131, 2, 2, 1.f, a, 1, c, 2) ==
          "cblas_strmm 10");
    CHECK(error_of(cblas_sgemm_batch_strided, order, kN, kN, 2, 2, 2, 1.f, a, 2, 4, b, 2, 4, 1.f, c,
                   1, 4, 2) == "cblas_sgemm_batch_strided 16");
    CHECK(error_of(cblas_sgemm_batch_strided, order, kN, kN, 2, 2, 2, 1.f, a, 2, 4, b, 1, 4, 1.f, c,
                   2, 4, 2) == "cblas_sgemm_batch_strided 12");
    CHECK(error_of(cblas_sgemm_batch_strided, order, kN, kN, 2, 2, 2, 1.f, a, 2, 4, b, 2, 4, 1.f, c,
                   2, 4, -1) == "cblas_sgemm_batch_strided 18");
  }
}

}  // namespace
}  // namespace tessera::blas::test
