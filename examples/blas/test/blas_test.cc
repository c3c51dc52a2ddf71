// SPDX-License-Identifier: Apache-2.0
// Random cases of all routines through both interfaces, against loops in a wider type.
#include <catch2/catch_template_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "declarations.h"
#include "stored.h"
#include "testing.h"

namespace tessera::blas::test {
namespace {

using tessera::test::Sampler;
using tessera::test::Tally;

// Around the blocks of the routines (16, 24, 64, 96, 128), and none at all.
index_t draw_size(Random& random) {
  constexpr index_t kSizes[] = {0, 1, 2, 3, 5, 8, 15, 17, 25, 33, 48, 63, 65, 97, 131};
  const index_t size = kSizes[random.below(std::size(kSizes))];
  return size > 33 && random.below(2) ? random.below(33) : size;
}
template <class T>
T draw_factor(Random& random) {
  switch (random.below(4)) {
    case 0:
      return T(0);
    case 1:
      return T(1);
    default:
      return draw<T>(random);
  }
}
index_t draw_increment(Random& random) {
  const index_t size = 1 + random.below(3);
  return random.below(2) ? size : -size;
}
const char* letter_of(int enumerator) {
  switch (enumerator) {
    case kNoTranspose:
    case 131:
      return enumerator == 131 ? "n" : "N";
    case kTranspose:
      return "t";
    case kConjugate:
      return "C";
    case 121:
      return "u";
    case 122:
      return "L";
    case 132:
      return "U";
    case 141:
      return "l";
    default:
      return "R";
  }
}
// Fortran is for columns.
bool uses_fortran(Random& random, int order) { return order == kColumnMajor && random.below(2); }

template <class T>
T conjugate_if(T x, bool conjugate) {
  if constexpr (requires { x.imag(); }) {
    return conjugate ? std::conj(x) : x;
  } else {
    return x;
  }
}

// On every target, `cases` times, or a part of them under an emulator.
template <class F>
void for_random_cases(int cases, F f) {
  tessera::test::for_each_target([&](Target target) {
    set_active_target(name(target));
    Tally tally;
    Random random(static_cast<std::uint64_t>(target) + 7);
    Sampler sampler(5);
    for (int i = 0; i < cases; ++i) {
      if (!sampler.skip()) f(random, tally);
    }
  });
  set_active_target("");
}

template <class T>
Stored<T> make_operand(Random& random, bool transposed, index_t rows, index_t cols, int order) {
  return Stored<T>(random, transposed ? cols : rows, transposed ? rows : cols, order,
                   random.below(2) * 3);
}

// From: elements of the inputs, T: of the result.
template <class From, class T>
void test_gemm(Random& random, Tally& tally) {
  const int order = random.below(2) ? kRowMajor : kColumnMajor;
  const int ta = kNoTranspose + static_cast<int>(random.below(3));
  const int tb = kNoTranspose + static_cast<int>(random.below(3));
  const int m = static_cast<int>(draw_size(random)), n = static_cast<int>(draw_size(random));
  const int k = static_cast<int>(draw_size(random));
  const T alpha = draw_factor<T>(random), beta = draw_factor<T>(random);
  auto a = make_operand<From>(random, ta != kNoTranspose, m, k, order);
  auto b = make_operand<From>(random, tb != kNoTranspose, k, n, order);
  Stored<T> c(random, m, n, order, random.below(2) * 5);
  if (alpha != T(0)) a.fill(random), b.fill(random);  // else poison, as which they must not be read
  a.keep(), b.keep(), c.keep();
  if (beta != T(0)) c.fill(random);

  using F = Functions<From>;
  const int lda = a.ld(), ldb = b.ld(), ldc = c.ld();
  if (uses_fortran(random, order)) {
    F::gemm(letter_of(ta), letter_of(tb), &m, &n, &k, &alpha, a.data(), &lda, b.data(), &ldb, &beta,
            c.data(), &ldc);
  } else if constexpr (requires { T().imag(); }) {
    F::cblas_gemm(order, ta, tb, m, n, k, &alpha, a.data(), lda, b.data(), ldb, &beta, c.data(),
                  ldc);
  } else {
    F::cblas_gemm(order, ta, tb, m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(), ldc);
  }

  std::string failure;
  c.for_each([&](T result, index_t i, index_t j) {
    Sum<Wide<T>> sum;
    if (beta != T(0)) sum.add(wide(beta) * wide(c.before(i, j)));
    for (index_t l = 0; alpha != T(0) && l < k; ++l) {
      const From x = ta == kNoTranspose ? a(i, l) : a(l, i);
      const From y = tb == kNoTranspose ? b(l, j) : b(j, l);
      sum.add(wide(alpha) * Wide<T>(wide(conjugate_if(x, ta == kConjugate))) *
              Wide<T>(wide(conjugate_if(y, tb == kConjugate))));
    }
    if (failure.empty()) failure = difference(result, sum, 2 * k + 6);
  });
  if (!a.intact() || !b.intact()) failure += " an input has changed";
  if (!c.others_intact([](index_t, index_t) { return true; })) failure += " wrote between rows";
  tally.add(failure, [&] {
    return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + ", " +
           letter_of(ta) + letter_of(tb) + (order == kRowMajor ? " rows" : " columns");
  });
}

TEMPLATE_TEST_CASE("gemm", "[gemm]", float, double, std::complex<float>, std::complex<double>) {
  for_random_cases(
      400, [](Random& random, Tally& tally) { test_gemm<TestType, TestType>(random, tally); });
}
TEST_CASE("gemm of bf16", "[gemm]") {
  for_random_cases(200,
                   [](Random& random, Tally& tally) { test_gemm<bf16, float>(random, tally); });
}

TEMPLATE_TEST_CASE("gemv and ger", "[level2]", float, double) {
  using T = TestType;
  using F = Functions<T>;
  for_random_cases(400, [](Random& random, Tally& tally) {
    const int order = random.below(2) ? kRowMajor : kColumnMajor;
    const int trans = kNoTranspose + static_cast<int>(random.below(3));
    int m = static_cast<int>(draw_size(random)), n = static_cast<int>(draw_size(random));
    // Now and then longer than the longest vectors, of eight registers of 1024 bits.
    if (random.below(4) == 0) (random.below(2) ? m : n) = static_cast<int>(250 + random.below(300));
    const T alpha = draw_factor<T>(random), beta = draw_factor<T>(random);
    const bool turned = trans != kNoTranspose, fortran = uses_fortran(random, order);
    const bool is_ger = random.below(2);
    const index_t rows = turned && !is_ger ? n : m, cols = turned && !is_ger ? m : n;
    Stored<T> a(random, m, n, order, random.below(2) * 3);
    StoredVector<T> x(random, is_ger ? m : cols, draw_increment(random));
    StoredVector<T> y(random, is_ger ? n : rows, draw_increment(random));
    if (alpha != T{0} || is_ger) a.fill(random), x.fill(random);
    a.keep(), x.keep(), y.keep();
    if (beta != T{0} || is_ger) y.fill(random);
    const int lda = a.ld(), incx = x.increment(), incy = y.increment();
    std::string failure;
    if (is_ger) {
      if (fortran) {
        F::ger(&m, &n, &alpha, x.data(), &incx, y.data(), &incy, a.data(), &lda);
      } else {
        F::cblas_ger(order, m, n, alpha, x.data(), incx, y.data(), incy, a.data(), lda);
      }
      a.for_each([&](T result, index_t i, index_t j) {
        Sum<Wide<T>> sum;
        sum.add(wide(a.before(i, j)));
        sum.add(wide(alpha) * wide(x(i)) * wide(y(j)));
        if (failure.empty()) failure = difference(result, sum, 4);
      });
      if (!x.intact() || !y.intact()) failure += " an input has changed";
      if (!a.others_intact([](index_t, index_t) { return true; })) failure += " wrote outside";
    } else {
      if (fortran) {
        F::gemv(letter_of(trans), &m, &n, &alpha, a.data(), &lda, x.data(), &incx, &beta, y.data(),
                &incy);
      } else {
        F::cblas_gemv(order, trans, m, n, alpha, a.data(), lda, x.data(), incx, beta, y.data(),
                      incy);
      }
      for (index_t i = 0; i < rows && failure.empty() && cols > 0; ++i) {
        Sum<Wide<T>> sum;
        if (beta != T{0}) sum.add(wide(beta) * wide(y.before(i)));
        for (index_t l = 0; alpha != T{0} && l < cols; ++l) {
          sum.add(wide(alpha) * wide(turned ? a(l, i) : a(i, l)) * wide(x(l)));
        }
        failure = difference(y(i), sum, 2 * cols + 6);
      }
      if (cols == 0 && !y.intact()) failure += " y was written";
      if (!a.intact() || !x.intact()) failure += " an input has changed";
      if (!y.gaps_intact()) failure += " wrote outside";
    }
    tally.add(failure, [&] {
      return std::string(is_ger ? "ger " : "gemv ") + letter_of(trans) + " " + std::to_string(m) +
             "x" + std::to_string(n) + ", increments " + std::to_string(incx) + ", " +
             std::to_string(incy) + (order == kRowMajor ? " rows" : " columns");
    });
  });
}

TEMPLATE_TEST_CASE("syrk writes its triangle", "[syrk]", float, double) {
  using T = TestType;
  using F = Functions<T>;
  for_random_cases(300, [](Random& random, Tally& tally) {
    const int order = random.below(2) ? kRowMajor : kColumnMajor;
    const int uplo = 121 + static_cast<int>(random.below(2));
    const int trans = kNoTranspose + static_cast<int>(random.below(3));
    const int n = static_cast<int>(draw_size(random)), k = static_cast<int>(draw_size(random));
    const T alpha = draw_factor<T>(random), beta = draw_factor<T>(random);
    auto a = make_operand<T>(random, trans != kNoTranspose, n, k, order);
    Stored<T> c(random, n, n, order, random.below(2) * 3);
    if (alpha != T{0}) a.fill(random);
    a.keep();
    const auto counts = [&](index_t i, index_t j) { return uplo == 121 ? i <= j : i >= j; };
    c.for_each([&](T& x, index_t i, index_t j) {  // the other triangle stays poison
      if (beta != T{0} && counts(i, j)) x = draw<T>(random);
    });
    c.keep();
    const int lda = a.ld(), ldc = c.ld();
    if (uses_fortran(random, order)) {
      F::syrk(letter_of(uplo), letter_of(trans), &n, &k, &alpha, a.data(), &lda, &beta, c.data(),
              &ldc);
    } else {
      F::cblas_syrk(order, uplo, trans, n, k, alpha, a.data(), lda, beta, c.data(), ldc);
    }
    std::string failure;
    c.for_each([&](T result, index_t i, index_t j) {
      if (!counts(i, j) || !failure.empty()) return;
      Sum<Wide<T>> sum;
      if (beta != T{0}) sum.add(wide(beta) * wide(c.before(i, j)));
      for (index_t l = 0; alpha != T{0} && l < k; ++l) {
        sum.add(wide(alpha) * wide(trans == kNoTranspose ? a(i, l) : a(l, i)) *
                wide(trans == kNoTranspose ? a(j, l) : a(l, j)));
      }
      failure = difference(result, sum, 2 * k + 6);
    });
    if (!a.intact()) failure += " the input has changed";
    if (!c.others_intact(counts)) failure += " wrote beside the triangle";
    tally.add(failure, [&] {
      return std::to_string(n) + "x" + std::to_string(k) + " " + letter_of(uplo) +
             letter_of(trans) + (order == kRowMajor ? " rows" : " columns");
    });
  });
}

// op(A) * X or X * op(A), of both routines: trmm makes its result of X, and trsm X of the result.
TEMPLATE_TEST_CASE("trsm and trmm", "[triangle]", float, double) {
  using T = TestType;
  using F = Functions<T>;
  for_random_cases(600, [](Random& random, Tally& tally) {
    const int order = random.below(2) ? kRowMajor : kColumnMajor;
    const int side = 141 + static_cast<int>(random.below(2));
    const int uplo = 121 + static_cast<int>(random.below(2));
    const int trans = kNoTranspose + static_cast<int>(random.below(3));
    const int diag = 131 + static_cast<int>(random.below(2));
    const int m = static_cast<int>(draw_size(random)), n = static_cast<int>(draw_size(random));
    const T alpha = draw_factor<T>(random);
    const bool left = side == 141, unit = diag == 132, solves = random.below(2);
    const index_t size = left ? m : n;
    Stored<T> a(random, size, size, order, random.below(2) * 3);
    Stored<T> b(random, m, n, order, random.below(2) * 3);
    // Poison beside the triangle, and on a diagonal of ones. Diagonals dominate, or the solution would grow without bounds.
    a.for_each([&](T& x, index_t i, index_t j) {
      if (uplo == 121 ? i < j : i > j) x = draw<T>(random) / static_cast<T>(16 * size);
      if (i == j && !unit) x = draw<T>(random) + T{2} * (random.below(2) ? T{16} : T{-16});
    });
    a.keep(), b.keep();
    if (alpha != T{0}) b.fill(random);
    const auto op = [&](index_t i, index_t j) {
      if (trans != kNoTranspose) std::swap(i, j);
      if (i == j) return unit ? Wide<T>(1) : wide(a(i, j));
      return (uplo == 121 ? i < j : i > j) ? wide(a(i, j)) : Wide<T>(0);
    };
    const int lda = a.ld(), ldb = b.ld();
    if (uses_fortran(random, order)) {
      const auto run = solves ? F::trsm : F::trmm;
      run(letter_of(side), letter_of(uplo), letter_of(trans), letter_of(diag), &m, &n, &alpha,
          a.data(), &lda, b.data(), &ldb);
    } else {
      const auto run = solves ? F::cblas_trsm : F::cblas_trmm;
      run(order, side, uplo, trans, diag, m, n, alpha, a.data(), lda, b.data(), ldb);
    }
    std::string failure;
    b.for_each([&](T result, index_t i, index_t j) {
      if (!failure.empty()) return;
      Sum<Wide<T>> sum;
      for (index_t l = 0; alpha != T{0} && l < size; ++l) {
        const Wide<T> t = left ? op(i, l) : op(l, j);
        if (t == Wide<T>(0)) continue;  // poison times zero
        const T x = solves ? (left ? b(l, j) : b(i, l)) : (left ? b.before(l, j) : b.before(i, l));
        sum.add((solves ? Wide<T>(1) : wide(alpha)) * t * wide(x));
      }
      if (!solves) {
        failure = difference(result, sum, 2 * size + 6);
      } else if (alpha == T{0}) {
        failure = result == T{0} ? "" : "not 0";
      } else {  // the residual, as of a backward stable solution
        const Wide<T> right = wide(alpha) * wide(b.before(i, j));
        sum.magnitude += std::abs(static_cast<double>(right));
        sum.value -= right;
        failure = difference(T{0}, sum, 2 * size + 6);
      }
    });
    if (!a.intact()) failure += " the triangle has changed";
    if (!b.others_intact([](index_t, index_t) { return true; })) failure += " wrote between rows";
    tally.add(failure, [&] {
      return std::string(solves ? "trsm " : "trmm ") + letter_of(side) + letter_of(uplo) +
             letter_of(trans) + letter_of(diag) + " " + std::to_string(m) + "x" +
             std::to_string(n) + (order == kRowMajor ? " rows" : " columns");
    });
  });
}

// Two groups, of two and three products, through all four functions, against gemm.
TEMPLATE_TEST_CASE("batches are products", "[batch]", float, double, std::complex<float>,
                   std::complex<double>) {
  using T = TestType;
  using F = Functions<T>;
  Random random;
  constexpr int kM[] = {5, 7}, kN[] = {9, 3}, kK[] = {4, 17}, kSizes[] = {2, 3}, kLd = 20;
  constexpr int kGroups = 2, kMatrix = 20 * 20;
  const T alpha[] = {draw<T>(random), T(1)}, beta[] = {T(0), draw<T>(random)};
  const int lds[] = {kLd, kLd};
  std::vector<T> a(5 * kMatrix), b(a), start(a);
  for (auto* v : {&a, &b, &start}) {
    for (T& x : *v) x = draw<T>(random);
  }
  for (const int order : {kRowMajor, kColumnMajor}) {
    for (const bool fortran : {false, true}) {
      if (fortran && order == kRowMajor) continue;
      const int ta[] = {kTranspose, kNoTranspose}, tb[] = {kNoTranspose, kConjugate};
      std::vector<T> expected = start, c = start;
      std::array<const T*, 5> as, bs;
      std::array<T*, 5> cs, es;
      for (std::size_t i = 0; i < 5; ++i) {
        as[i] = a.data() + i * kMatrix, bs[i] = b.data() + i * kMatrix;
        cs[i] = c.data() + i * kMatrix, es[i] = expected.data() + i * kMatrix;
      }
      const auto gemm = [&](int g, const T* x, const T* y, T* z) {
        if constexpr (requires { T().imag(); }) {
          F::cblas_gemm(order, ta[g], tb[g], kM[g], kN[g], kK[g], &alpha[g], x, kLd, y, kLd,
                        &beta[g], z, kLd);
        } else {
          F::cblas_gemm(order, ta[g], tb[g], kM[g], kN[g], kK[g], alpha[g], x, kLd, y, kLd, beta[g],
                        z, kLd);
        }
      };
      for (std::size_t i = 0; i < 5; ++i) gemm(i < 2 ? 0 : 1, as[i], bs[i], es[i]);
      if (fortran) {
        F::gemm_batch("TN", "NC", kM, kN, kK, alpha, as.data(), lds, bs.data(), lds, beta,
                      cs.data(), lds, &kGroups, kSizes);
      } else {
        F::cblas_gemm_batch(order, ta, tb, kM, kN, kK, alpha, as.data(), lds, bs.data(), lds, beta,
                            cs.data(), lds, kGroups, kSizes);
      }
      CHECK(c == expected);

      c = expected = start;
      for (std::size_t i = 0; i < 3; ++i) gemm(1, as[i], bs[i], es[i]);
      const int stride = kMatrix, count = 3;
      if (fortran) {
        F::gemm_strided("N", "C", &kM[1], &kN[1], &kK[1], &alpha[1], a.data(), &kLd, &stride,
                        b.data(), &kLd, &stride, &beta[1], c.data(), &kLd, &stride, &count);
      } else if constexpr (requires { T().imag(); }) {
        F::cblas_gemm_strided(order, kNoTranspose, kConjugate, kM[1], kN[1], kK[1], &alpha[1],
                              a.data(), kLd, stride, b.data(), kLd, stride, &beta[1], c.data(), kLd,
                              stride, count);
      } else {
        F::cblas_gemm_strided(order, kNoTranspose, kConjugate, kM[1], kN[1], kK[1], alpha[1],
                              a.data(), kLd, stride, b.data(), kLd, stride, beta[1], c.data(), kLd,
                              stride, count);
      }
      CHECK(c == expected);
      CHECK(c != start);
    }
  }
}

TEST_CASE("integers of 64 bits", "[gemm]") {
  Random random;
  const std::int64_t m = 3, n = 4, k = 5;
  std::vector<double> a(15), b(20), c(12), d(12), e(12);
  for (auto* v : {&a, &b}) {
    for (double& x : *v) x = draw<double>(random);
  }
  const double alpha = 1, beta = 0;
  cblas_dgemm(kColumnMajor, kNoTranspose, kNoTranspose, 3, 4, 5, 1, a.data(), 3, b.data(), 5, 0,
              c.data(), 3);
  cblas_dgemm64_(kColumnMajor, kNoTranspose, kNoTranspose, m, n, k, 1, a.data(), m, b.data(), k, 0,
                 d.data(), m);
  dgemm_64_("n", "n", &m, &n, &k, &alpha, a.data(), &m, b.data(), &k, &beta, e.data(), &m);
  CHECK(c == d);
  CHECK(c == e);
  CHECK(c[0] != 0);
}

// As LAPACK calls it: all operands are blocks of one matrix, B transposed. Also a column and a row of the matrix.
TEST_CASE("blocks of one matrix", "[gemm]") {
  Random random;
  constexpr int kLd = 150, kM = 60, kK = 50;
  std::vector<double> memory(kLd * kLd);
  for (double& x : memory) x = draw<double>(random);
  const std::vector<double> before = memory;
  const auto at = [&](std::vector<double>& v, int i, int j) { return v.data() + i + j * kLd; };
  std::vector<double> copy = before, other = before;
  cblas_dgemm(kColumnMajor, kNoTranspose, kTranspose, kM, 40, kK, -1, at(memory, 80, 0), kLd,
              at(memory, 50, 0), kLd, 1, at(memory, 80, 50), kLd);
  cblas_dgemm(kColumnMajor, kNoTranspose, kTranspose, kM, 40, kK, -1, at(copy, 80, 0), kLd,
              at(copy, 50, 0), kLd, 1, at(other, 80, 50), kLd);
  CHECK(memory == other);
  memory = other = before;
  cblas_dgemv(kColumnMajor, kNoTranspose, kM, kK, -1, at(memory, 80, 0), kLd, at(memory, 50, 0),
              kLd, 1, at(memory, 80, 50), 1);
  cblas_dgemv(kColumnMajor, kNoTranspose, kM, kK, -1, at(copy, 80, 0), kLd, at(copy, 50, 0), kLd, 1,
              at(other, 80, 50), 1);
  CHECK(memory == other);
}

}  // namespace
}  // namespace tessera::blas::test
