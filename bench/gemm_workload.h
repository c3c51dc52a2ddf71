// SPDX-License-Identifier: Apache-2.0
// The operands of one GEMM case, and the check that a contender computes it.
#ifndef TESSERA_BENCH_GEMM_WORKLOAD_H_
#define TESSERA_BENCH_GEMM_WORKLOAD_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "bench/peers.h"
#include "tessera/core/scratch.h"

namespace tessera::bench {

struct GemmShape {
  index_t m, n, k;

  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
  std::string name() const {
    return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
  }
};

// Squares, and the shapes where a library that is tuned for squares shows it: decoding (M = 1, 8),
// prefill, a deep inner product, a narrow result. (m, n, k)
inline const std::vector<GemmShape> kSquareShapes = {
    {16, 16, 16},    {32, 32, 32},    {64, 64, 64},    {128, 128, 128},    {192, 192, 192},
    {256, 256, 256}, {384, 384, 384}, {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}};
inline const std::vector<GemmShape> kOtherShapes = {{1, 2048, 2048},   {8, 2048, 2048},
                                                    {128, 2048, 2048}, {64, 64, 8192},
                                                    {2048, 16, 2048},  {500, 500, 500}};

template <class T>
class GemmWorkload {
 public:
  // Full-range operands: signs, mantissas and exponents vary, over 2^16.
  explicit GemmWorkload(const GemmShape& s)
      : shape(s), a_(s.m * s.k), b_(s.k * s.n), c_(s.m * s.n + kGuard) {
    std::mt19937 random(static_cast<unsigned>(s.m * 31 + s.n * 7 + s.k));
    const auto fill = [&random](Matrix& x) {
      for (index_t i = 0; i < x.size; ++i) {
        const auto mantissa = static_cast<T>(random()) / T(4294967296.0) - T(0.5);
        x.data()[i] = std::ldexp(mantissa, static_cast<int>(random() % 17) - 8);
      }
    };
    fill(a_);
    fill(b_);
  }

  void run(const GemmContender& who) {
    who.gemm<T>()(shape.m, shape.n, shape.k, a_.data(), b_.data(), c_.data());
  }

  // Runs `who` once and returns its largest error as a share of the bound that any order of summation
  // keeps, (k + 1) u sum |a| |b|; above 1 it is wrong. Checks up to 64 x 64 elements, edges first.
  // Infinity where an element was left out, or memory behind C was written.
  double error(const GemmContender& who) {
    constexpr T kPoison = std::numeric_limits<T>::quiet_NaN();
    std::fill_n(c_.data(), c_.size, kPoison);
    run(who);
    const T* const c = c_.data();
    const index_t count = shape.m * shape.n;
    for (index_t i = 0; i < c_.size; ++i) {
      if ((i < count) != (c[i] == c[i])) return std::numeric_limits<double>::infinity();
    }
    // A sum in twice the precision, or what comes closest.
    using Wide = std::conditional_t<sizeof(T) == sizeof(float), double, long double>;
    double worst = 0;
    for (const index_t i : sample(shape.m)) {
      for (const index_t j : sample(shape.n)) {
        Wide sum = 0, magnitude = 0;
        for (index_t l = 0; l < shape.k; ++l) {
          const Wide product = static_cast<Wide>(a_.data()[i * shape.k + l]) *
                               static_cast<Wide>(b_.data()[l * shape.n + j]);
          sum += product;
          magnitude += std::abs(product);
        }
        const Wide unit = std::numeric_limits<T>::epsilon() / 2;
        const Wide bound = static_cast<Wide>(shape.k + 1) * unit * magnitude;
        const Wide difference = std::abs(static_cast<Wide>(c[i * shape.n + j]) - sum);
        if (difference > 0) worst = std::max(worst, static_cast<double>(difference / bound));
      }
    }
    return worst;
  }

  const GemmShape shape;

 private:
  static constexpr index_t kGuard = 64;  // elements behind C

  struct Matrix {
    explicit Matrix(index_t elements)
        : size(elements),
          memory(
              tessera::detail::allocate_aligned(static_cast<std::size_t>(elements) * sizeof(T))) {}
    T* data() const { return reinterpret_cast<T*>(memory.get()); }
    index_t size;
    tessera::detail::AlignedBytes memory;
  };

  // Up to 64 indices below `extent`: both ends and an even spread between them.
  static std::vector<index_t> sample(index_t extent) {
    constexpr index_t kMost = 64, kEnd = 8;
    std::vector<index_t> indices;
    if (extent <= kMost) {
      for (index_t i = 0; i < extent; ++i) indices.push_back(i);
      return indices;
    }
    for (index_t i = 0; i < kEnd; ++i) indices.push_back(i), indices.push_back(extent - 1 - i);
    constexpr index_t kMiddle = kMost - 2 * kEnd;
    for (index_t i = 0; i < kMiddle; ++i) {
      indices.push_back(kEnd + i * (extent - 2 * kEnd) / kMiddle);
    }
    return indices;
  }

  Matrix a_, b_, c_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_GEMM_WORKLOAD_H_
