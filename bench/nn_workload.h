// SPDX-License-Identifier: Apache-2.0
// The operands of one function of rows, and the check that a contender computes it.
#ifndef TESSERA_BENCH_NN_WORKLOAD_H_
#define TESSERA_BENCH_NN_WORKLOAD_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "bench/gemm_workload.h"
#include "bench/nn_contender.h"
#include "bench/normal_numbers.h"

namespace tessera::bench {

class NnWorkload {
 public:
  NnWorkload(NnOp op, index_t rows, index_t cols)
      : op_(op), rows_(rows), cols_(cols), x_(rows * cols), y_(rows * cols) {
    NormalNumbers numbers(static_cast<std::uint64_t>(cols));
    // A mean that is not 0, and weights of a softmax that differ.
    std::generate_n(x_.data(), x_.size, [&numbers] { return 0.5f + 2 * numbers(); });
  }

  NnOperands operands() const { return {op_, rows_, cols_, x_.data(), y_.data()}; }

  // That must be moved at least.
  double bytes() const { return 8.0 * static_cast<double>(x_.size); }

  // Runs once and compares up to 64 rows with f64.
  GemmCheck check(const GemmRun& run) const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (!run_into(run, y_)) return {kInfinity, kWrong};
    for (index_t i = 0; i < y_.size; ++i) {
      if (y_.data()[i] != y_.data()[i]) return {kInfinity, kWrong};
    }
    double worst = 0;
    for (const index_t i : sampled(rows_)) {
      const float *const x = x_.data() + i * cols_, *const y = y_.data() + i * cols_;
      worst = std::max(worst, op_ == NnOp::kSoftmax ? error_of_softmax(x, y) : error_of_norm(x, y));
    }
    return {worst, worst <= 1 ? kOk : kWrong};
  }

 private:
  static constexpr double kUnit = 0x1p-24;

  // As a share of what sums in any order, and an exponential that is good to four bits less than its numbers, keep.
  double error_of_softmax(const float* x, const float* y) const {
    const double largest = *std::max_element(x, x + cols_);
    double sum = 0, worst = 0;
    for (index_t j = 0; j < cols_; ++j) sum += std::exp(x[j] - largest);
    for (index_t j = 0; j < cols_; ++j) {
      const double expected = std::exp(x[j] - largest) / sum;
      const double relative = (16 + 3 * (largest - x[j]) + static_cast<double>(cols_)) * kUnit;
      worst = std::max(worst, std::abs(y[j] - expected) / (relative * expected));
    }
    return worst;
  }

  // As a share of what sums in any order keep, of the mean, and then of the squares.
  double error_of_norm(const float* x, const float* y) const {
    const auto n = static_cast<double>(cols_);
    double mean = 0, magnitude = 0, square = 0, worst = 0;
    for (index_t j = 0; j < cols_; ++j) {
      mean += x[j] / n;
      magnitude += std::abs(x[j]) / n;
    }
    if (op_ == NnOp::kRmsNorm) mean = 0;
    for (index_t j = 0; j < cols_; ++j) square += (x[j] - mean) * (x[j] - mean) / n;
    const double factor = 1 / std::sqrt(square + static_cast<double>(kNormEpsilon));
    for (index_t j = 0; j < cols_; ++j) {
      const double expected = (x[j] - mean) * factor;
      const double bound =
          (n + 8) * kUnit * (2 * std::abs(expected) + (mean == 0 ? 0 : magnitude * factor));
      worst = std::max(worst, std::abs(y[j] - expected) / (bound + 8 * kUnit));
    }
    return worst;
  }

  const NnOp op_;
  const index_t rows_, cols_;
  const PaddedArray<float> x_, y_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_NN_WORKLOAD_H_
