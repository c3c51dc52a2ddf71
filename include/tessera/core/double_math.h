// SPDX-License-Identifier: Apache-2.0
// log2, 2^x, sine and cosine of double with the same bits on every machine, which the functions of C libraries don't
// have. For tables: slow where there is no instruction for fused multiply-add, and exact to a few units of the last place.
#ifndef TESSERA_CORE_DOUBLE_MATH_H_
#define TESSERA_CORE_DOUBLE_MATH_H_

#include <cmath>

namespace tessera::detail {

// a * b, rounded: compilers must not fuse it with a sum.
inline double product(double a, double b) {
  volatile double p = a * b;
  return p;
}

// Of positive, finite x: ln m = 2 artanh((m - 1) / (m + 1)) of the mantissa, by its series, whose 13th term is below 2^-60
// for m within sqrt(1/2) and sqrt(2). Error < 2^-50 of the larger of 1 and the result.
inline double portable_log2(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // 1/2 <= m < 1
  if (m < 0.70710678118654752440) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), square = product(s, s);
  double sum = 0;
  for (int k = 12; k >= 0; --k) sum = std::fma(sum, square, 1.0 / (2 * k + 1));
  return std::fma(product(2 * s, 1.4426950408889634074), sum, static_cast<double>(exponent));
}

// Of |x| < 1000, by the series of e^r with |r| < 0.347, whose 17th term is below 2^-70. Relative error < 2^-51.
inline double portable_exp2(double x) {
  const double n = std::nearbyint(x), r = product(x - n, 0.69314718055994530942);
  double sum = 1;
  for (int k = 16; k >= 1; --k) sum = std::fma(sum, r / k, 1);
  return std::ldexp(sum, static_cast<int>(n));
}

struct SineCosine {
  double sine, cosine;
};

// Of |x| < 2^40: x less a multiple of pi / 2 in three parts, which is exact but for 2^-67, then the series of both.
// Error < 2^-51.
inline SineCosine portable_sine_cosine(double x) {
  const double n = std::nearbyint(product(x, 0.63661977236758134308));
  double r = std::fma(-n, 0x1.921fb54442d18p0, x);
  r = std::fma(-n, 0x1.1a62633145c07p-54, r);
  r = std::fma(n, 0x1.f1976b7ed8fbcp-110, r);
  const double square = product(r, r);
  double sine = 1, cosine = 1;
  for (int k = 20; k >= 2; k -= 2) {
    sine = std::fma(sine, -square / (k * (k + 1)), 1);
    cosine = std::fma(cosine, -square / (k * (k - 1)), 1);
  }
  sine = product(sine, r);
  switch (static_cast<long long>(n) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace tessera::detail

#endif  // TESSERA_CORE_DOUBLE_MATH_H_
