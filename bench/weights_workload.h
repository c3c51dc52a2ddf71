// SPDX-License-Identifier: Apache-2.0
// One product with quantized weights, and the check that a contender computes it.
#ifndef TESSERA_BENCH_WEIGHTS_WORKLOAD_H_
#define TESSERA_BENCH_WEIGHTS_WORKLOAD_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bench/gemm_workload.h"
#include "bench/weights_contender.h"
#include "bench/weights_types.h"

namespace tessera::bench {

class WeightsWorkload {
 public:
  // `weights` must outlive it.
  WeightsWorkload(const QuantizedWeights& weights, index_t m)
      : weights_(weights),
        shape_{m, weights.n(), weights.k()},
        rows_(sampled(m)),
        a_(m * shape_.k),
        c_(m * shape_.n) {
    NormalNumbers(static_cast<std::uint64_t>(m)).fill(a_.data(), a_.size);
    compute_expected();
  }

  WeightsOperands operands() const { return {shape_, &weights_, a_.data(), c_.data()}; }

  // Runs once and compares up to 64 x 64 elements with a sum in f64 of products with the values of the weights.
  // "rounds A": within what rounding A to integers explains, as the contender says that it does.
  GemmCheck check(const WeightsRun& run) const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (!run_into(run.run, c_)) return {kInfinity, kWrong};
    double worst = 0, worst_rounded = 0;
    for (const Expected& e : expected_) {
      const float c = c_.data()[rows_[e.row] * shape_.n + e.col];
      if (c != c) return {kInfinity, kWrong};
      const double error = std::abs(c - e.sum);
      const double bound = static_cast<double>(shape_.k + 1) * 0x1p-24 * e.magnitude;
      worst = std::max(worst, error / bound);
      if (run.rounded == 0) continue;
      worst_rounded =
          std::max(worst_rounded, error / (bound + kSigmas * deviation(e, run.rounded)));
    }
    if (worst <= 1) return {worst, kOk};
    const bool rounds = run.rounded != 0 && worst_rounded <= 1;
    return {rounds ? worst_rounded : worst, rounds ? kRoundsA : kWrong};
  }

 private:
  static constexpr index_t kBlock = 32;
  // Errors of rounding are independent, and even within half a step, which is the largest magnitude of a block
  // over 127. A bound on their sum that always holds would be 20 times as large here, and would not notice a
  // block that was left out; beyond 8 standard deviations one in 10^15 lies.
  static constexpr double kSigmas = 8;

  struct Expected {
    std::size_t row;  // index in rows_
    index_t col;
    double sum, magnitude, squares;
    std::size_t norms;  // of its weights, in norms_
  };

  // Standard deviation of what rounding A causes where `rounded` elements share a scale, which may have 11 bits.
  double deviation(const Expected& e, index_t rounded) const {
    const std::size_t blocks = static_cast<std::size_t>(blocks_of(shape_.k));
    const auto each = static_cast<std::size_t>(blocks_of(std::min(rounded, shape_.k)));
    double variance = e.squares * 0x1p-22 / 3;
    for (std::size_t first = 0; first < blocks; first += each) {
      const std::size_t count = std::min(each, blocks - first);
      const double* const largest = &largest_[e.row * blocks + first];
      const double* const norms = &norms_[e.norms + first];
      const double step = *std::max_element(largest, largest + count) / 127;
      for (std::size_t i = 0; i < count; ++i) variance += norms[i] * step * step / 12;
    }
    return std::sqrt(variance);
  }

  static index_t blocks_of(index_t elements) { return (elements + kBlock - 1) / kBlock; }

  void compute_expected() {
    const index_t k = shape_.k, blocks = blocks_of(k);
    for (const index_t i : rows_) {
      const std::size_t first = largest_.size();
      largest_.resize(first + static_cast<std::size_t>(blocks));
      for (index_t l = 0; l < k; ++l) {
        double& largest = largest_[first + static_cast<std::size_t>(l / kBlock)];
        largest = std::max(largest, std::abs(static_cast<double>(a_.data()[i * k + l])));
      }
    }
    for (const index_t j : sampled(shape_.n)) {
      const std::vector<float> w = weights_.row(j);
      const std::size_t first = norms_.size();
      norms_.resize(first + static_cast<std::size_t>(blocks));
      for (index_t l = 0; l < k; ++l) {
        norms_[first + static_cast<std::size_t>(l / kBlock)] += static_cast<double>(w[l]) * w[l];
      }
      for (std::size_t i = 0; i < rows_.size(); ++i) {
        Expected e{.row = i, .col = j, .sum = 0, .magnitude = 0, .squares = 0, .norms = first};
        for (index_t l = 0; l < k; ++l) {
          const double product = static_cast<double>(a_.data()[rows_[i] * k + l]) * w[l];
          e.sum += product;
          e.magnitude += std::abs(product);
          e.squares += product * product;
        }
        expected_.push_back(e);
      }
    }
  }

  const QuantizedWeights& weights_;
  const GemmShape shape_;
  const std::vector<index_t> rows_;
  PaddedArray<float> a_, c_;
  std::vector<double> largest_;  // magnitude in each block of the rows of A that are checked
  std::vector<double> norms_;    // squared, of each block of the rows of weights that are checked
  std::vector<Expected> expected_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_WEIGHTS_WORKLOAD_H_
