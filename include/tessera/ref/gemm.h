// SPDX-License-Identifier: Apache-2.0
// The specification of gemm, as three loops.
#ifndef TESSERA_REF_GEMM_H_
#define TESSERA_REF_GEMM_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::ref {

// A result as an element of To: rounded to nearest, ties to even; integers saturate, NaN gives 0.
template <class To, class From>
To store(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_integral_v<To>) {
    if (x != x) return To{0};
    const double rounded = std::nearbyint(static_cast<double>(x));
    const double low = std::numeric_limits<To>::min(), high = std::numeric_limits<To>::max();
    return static_cast<To>(rounded < low ? low : rounded > high ? high : rounded);
  } else {
    return static_cast<To>(x);
  }
}

// C[m, n] = epilogue(alpha * A[m, k] * B[k, n] + beta * C), exactly as tessera::gemm defines it: bit for
// bit what every target with FMA computes. epilogue(x, i, j) gets and gives the type of the sums, or float
// where they are integers and C is not. Zero points, of integers: a_zero(i) and b_zero(j) give those of row i of A and
// of column j of B.
template <class A, class B, class C, class Epilogue, class AZero, class BZero>
void gemm(const View<A, 2>& a, const View<B, 2>& b, const View<C, 2>& c, double alpha, double beta,
          Epilogue epilogue, AZero a_zero, BZero b_zero) {
  using Sum = Accumulator<std::remove_const_t<A>>;
  const auto scale = static_cast<Sum>(alpha), start = static_cast<Sum>(beta);
  const index_t depth = scale == Sum{0} ? 0 : a.extent(1);
  for (index_t i = 0; i < c.extent(0); ++i) {
    for (index_t j = 0; j < c.extent(1); ++j) {
      Sum sum{0};
      if constexpr (std::is_floating_point_v<Sum> || std::is_same_v<C, Sum>) {
        if (start != Sum{0}) sum = static_cast<Sum>(c(i, j));
        if (start != Sum{0} && start != Sum{1}) sum = start * sum;
      }
      for (index_t k = 0; k < depth; ++k) {
        auto x = static_cast<Sum>(a(i, k)), y = static_cast<Sum>(b(k, j));
        if constexpr (std::is_integral_v<Sum>) {  // wraps
          x -= a_zero(i);
          y -= b_zero(j);
          sum =
              static_cast<Sum>(static_cast<std::uint32_t>(sum) + static_cast<std::uint32_t>(x * y));
        } else {
          sum = std::fma(scale == Sum{1} ? x : scale * x, y, sum);
        }
      }
      if constexpr (std::is_same_v<Sum, std::int32_t> && !std::is_same_v<C, std::int32_t>) {
        c(i, j) = store<C>(epilogue(static_cast<float>(sum), i, j));
      } else {
        c(i, j) = store<C>(epilogue(sum, i, j));
      }
    }
  }
}

template <class A, class B, class C, class Epilogue>
void gemm(const View<A, 2>& a, const View<B, 2>& b, const View<C, 2>& c, double alpha, double beta,
          Epilogue epilogue) {
  const auto none = [](index_t) { return 0; };
  gemm(a, b, c, alpha, beta, epilogue, none, none);
}

template <class A, class B, class C>
void gemm(const View<A, 2>& a, const View<B, 2>& b, const View<C, 2>& c, double alpha = 1,
          double beta = 0) {
  gemm(a, b, c, alpha, beta, [](auto x, index_t, index_t) { return x; });
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_GEMM_H_
