// SPDX-License-Identifier: Apache-2.0
// The operands of one convolution, and the check that a contender computes it.
#ifndef TESSERA_BENCH_CONV_WORKLOAD_H_
#define TESSERA_BENCH_CONV_WORKLOAD_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "bench/conv_contender.h"
#include "bench/gemm_workload.h"
#include "bench/normal_numbers.h"

namespace tessera::bench {

template <class T>
class ConvWorkload {
 public:
  explicit ConvWorkload(const ConvShape& shape, bool fast = false)
      : shape_(shape),
        fast_(fast),
        x_(ConvShape::elements(shape.x())),
        w_(ConvShape::elements(shape.w())),
        y_(ConvShape::elements(shape.y())),
        scales_(shape.out) {
    NormalNumbers numbers(static_cast<std::uint64_t>(shape.size + shape.out));
    fill(numbers, x_);
    fill(numbers, w_);
    // Results of integers fill their range: a quarter of the largest is the deviation of a sum.
    const float step =
        128 / (4 * kDeviation * kDeviation * std::sqrt(static_cast<float>(shape.depth())));
    for (index_t o = 0; o < shape.out; ++o) {
      scales_.data()[o] = step * (1 + 0.5f * std::sin(static_cast<float>(o)));
    }
    compute_expected();
  }

  ConvOperands<T> operands() const {
    return {shape_, fast_, x_.data(), w_.data(), scales_.data(), y_.data()};
  }

  // Runs once and compares up to 64 x 64 elements with a sum in twice the precision.
  GemmCheck check(const GemmRun& run) const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (!run_into(run, y_)) return {kInfinity, kWrong};
    double worst = 0;
    index_t different = 0;
    for (const Expected& e : expected_) {
      const T y = y_.data()[e.index];
      if constexpr (std::is_integral_v<T>) {
        different += y != e.result(scales_.data()[e.index % shape_.out]) ? 1 : 0;
      } else {
        if (y != y) return {kInfinity, kWrong};
        // Of any order of summation; Winograd's transforms stay below it too, as far as they are chosen.
        const double bound = static_cast<double>(shape_.depth() + 1) * 0x1p-24 * e.magnitude;
        worst = std::max(worst, std::abs(y - e.sum) / bound);
      }
    }
    if (std::is_integral_v<T>) {
      return {static_cast<double>(different), different == 0 ? kExact : kWrong};
    }
    return {worst, worst <= 1 ? kOk : kWrong};
  }

 private:
  static constexpr float kDeviation = 40;  // of integers

  struct Expected {
    index_t index;  // in y
    double sum, magnitude;

    // One rounding of the product to f32, one to an integer.
    T result(float scale) const {
      const float scaled = std::nearbyint(static_cast<float>(sum) * scale);
      return static_cast<T>(std::clamp(scaled, -128.0f, 127.0f));
    }
  };

  static void fill(NormalNumbers& numbers, const PaddedArray<T>& array) {
    std::generate_n(array.data(), array.size, [&numbers] {
      if constexpr (!std::is_integral_v<T>) return numbers();
      return static_cast<T>(std::clamp(std::nearbyint(kDeviation * numbers()), -128.0f, 127.0f));
    });
  }

  void compute_expected() {
    const ConvShape& s = shape_;
    const index_t width = s.out_size(), group_in = s.group_in(), group_out = s.out / s.groups;
    for (const index_t pixel : sampled(s.pixels())) {
      const index_t top = pixel / width * s.stride - s.padding(),
                    left = pixel % width * s.stride - s.padding();
      for (const index_t o : sampled(s.out)) {
        Expected e{.index = pixel * s.out + o, .sum = 0, .magnitude = 0};
        for (index_t tap = 0; tap < s.taps(); ++tap) {
          const index_t h = top + tap / s.kernel, w = left + tap % s.kernel;
          if (h < 0 || h >= s.size || w < 0 || w >= s.size) continue;
          const T* const x = x_.data() + (h * s.size + w) * s.in + o / group_out * group_in;
          const T* const weights = w_.data() + (o * s.taps() + tap) * group_in;
          for (index_t i = 0; i < group_in; ++i) {
            const double product = static_cast<double>(x[i]) * weights[i];
            e.sum += product;
            e.magnitude += std::abs(product);
          }
        }
        expected_.push_back(e);
      }
    }
  }

  const ConvShape shape_;
  const bool fast_;
  const PaddedArray<T> x_, w_, y_;
  const PaddedArray<float> scales_;
  std::vector<Expected> expected_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_CONV_WORKLOAD_H_
