// SPDX-License-Identifier: Apache-2.0
// The operands of one attention, and the check that a contender computes it.
#ifndef TESSERA_BENCH_ATTENTION_WORKLOAD_H_
#define TESSERA_BENCH_ATTENTION_WORKLOAD_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "bench/attention_contender.h"
#include "bench/gemm_workload.h"
#include "bench/normal_numbers.h"
#include "tessera/core/block_formats.h"
#include "tessera/core/quantized.h"
#include "tessera/ops/quantize.h"

namespace tessera::bench {

// A result that rounding operands, weights or sums to 16 or 8 bits explains.
inline constexpr const char* kRounds = "rounds";

class AttentionWorkload {
 public:
  AttentionWorkload(const AttentionShape& shape, KvType kv)
      : shape_(shape),
        kv_(kv),
        q_(shape.queries() * shape.dim),
        out_(shape.queries() * shape.dim),
        k_(shape, kv, 1),
        v_(shape, kv, 2) {
    NormalNumbers(3).fill(q_.data(), q_.size);
    compute_expected();
  }

  AttentionOperands operands() const {
    return {shape_, kv_, q_.data(), k_.memory.data(), v_.memory.data(), out_.data()};
  }

  // Of keys and values.
  double bytes() const { return static_cast<double>(k_.memory.size + v_.memory.size); }

  // Runs once and compares the results of some queries with f64.
  GemmCheck check(const GemmRun& run) const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (!run_into(run, out_)) return {kInfinity, kWrong};
    for (index_t i = 0; i < out_.size; ++i) {
      if (out_.data()[i] != out_.data()[i]) return {kInfinity, kWrong};
    }
    double worst = 0, worst_rounded = 0;
    for (const Expected& e : expected_) {
      for (index_t c = 0; c < shape_.dim; ++c) {
        const auto i = static_cast<std::size_t>(c);
        const double error =
            std::abs(static_cast<double>(out_.data()[e.query * shape_.dim + c]) - e.values[i]);
        // Of any order of sums of f32. Where operands, weights or sums are rounded to fewer bits, a
        // 128th of the sum of magnitudes: a third of what results of 4096 keys differ by from those of other keys.
        const double bound = e.relative_bound * e.magnitudes[i];
        worst = std::max(worst, error / bound);
        worst_rounded = std::max(worst_rounded, error / (bound + 0x1p-7 * e.magnitudes[i]));
      }
    }
    return {worst, worst <= 1 ? kOk : worst_rounded <= 1 ? kRounds : kWrong};
  }

 private:
  // Keys or values as they are given, and as the numbers that they are.
  struct Rows {
    Rows(const AttentionShape& s, KvType kv, std::uint64_t seed)
        : values(s.kv_heads * s.keys * s.dim), memory(bytes_of(s, kv)) {
      const index_t rows = s.kv_heads * s.keys;
      NormalNumbers(seed).fill(values.data(), values.size);
      if (kv == KvType::kF32) {
        std::copy_n(values.data(), values.size, reinterpret_cast<float*>(memory.data()));
      } else if (kv == KvType::kF16) {
        auto* const to = reinterpret_cast<f16*>(memory.data());
        for (index_t i = 0; i < values.size; ++i) {
          to[i] = static_cast<f16>(values.data()[i]);
          values.data()[i] = static_cast<float>(to[i]);
        }
      } else {
        const auto view = row_major(values.data(), {rows, s.dim});
        const BlockView codes = blocks(BlockFormat::kQ8_0, memory.data(), rows, s.dim);
        quantize(view, codes);
        dequantize(codes, view);
      }
    }
    static index_t bytes_of(const AttentionShape& s, KvType kv) {
      const index_t row = kv == KvType::kQ8_0 ? row_bytes(BlockFormat::kQ8_0, s.dim)
                                              : s.dim * (kv == KvType::kF32 ? 4 : 2);
      return s.kv_heads * s.keys * row;
    }
    PaddedArray<float> values;
    PaddedArray<std::byte> memory;
  };

  struct Expected {
    index_t query;  // head * tokens + token
    std::vector<double> values, magnitudes;
    double relative_bound;  // of the magnitudes
  };

  void compute_expected() {
    constexpr double kUnit = 0x1p-24;
    const AttentionShape& s = shape_;
    const index_t every = std::max<index_t>(1, s.queries() / 97);  // a prime: all heads and tokens
    const double scale = 1 / std::sqrt(static_cast<double>(s.dim));
    for (index_t query = s.queries() - 1; query >= 0; query -= every) {
      const index_t head = query / s.tokens, token = query % s.tokens;
      const index_t first = head / s.group() * s.keys;
      const index_t visible = s.causal ? s.keys - s.tokens + token + 1 : s.keys;
      std::vector<double> weights;
      double largest = -std::numeric_limits<double>::infinity(), largest_magnitude = 0;
      for (index_t j = 0; j < visible; ++j) {
        double score = 0, magnitude = 0;
        for (index_t l = 0; l < s.dim; ++l) {
          const double product = static_cast<double>(q_.data()[query * s.dim + l]) *
                                 k_.values.data()[(first + j) * s.dim + l];
          score += product;
          magnitude += std::abs(product);
        }
        weights.push_back(scale * score);
        largest = std::max(largest, scale * score);
        largest_magnitude = std::max(largest_magnitude, scale * magnitude);
      }
      Expected e{query, std::vector<double>(static_cast<std::size_t>(s.dim)),
                 std::vector<double>(static_cast<std::size_t>(s.dim)), 0};
      double sum = 0;
      for (double& w : weights) sum += w = std::exp(w - largest);
      for (index_t j = 0; j < visible; ++j) {
        const double weight = weights[static_cast<std::size_t>(j)] / sum;
        for (index_t c = 0; c < s.dim; ++c) {
          const double value = weight * v_.values.data()[(first + j) * s.dim + c];
          e.values[static_cast<std::size_t>(c)] += value;
          e.magnitudes[static_cast<std::size_t>(c)] += std::abs(value);
        }
      }
      // Each step of two scores, the exponential of their difference (a few units), and the sums of all keys.
      const double of_scores = static_cast<double>(s.dim + 4) * kUnit * largest_magnitude;
      e.relative_bound = std::expm1(2 * of_scores) + static_cast<double>(2 * visible + 16) * kUnit;
      expected_.push_back(std::move(e));
    }
  }

  const AttentionShape shape_;
  const KvType kv_;
  const PaddedArray<float> q_, out_;
  const Rows k_, v_;
  std::vector<Expected> expected_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_ATTENTION_WORKLOAD_H_
