// SPDX-License-Identifier: Apache-2.0
#ifndef TESSERA_BENCH_NORMAL_NUMBERS_H_
#define TESSERA_BENCH_NORMAL_NUMBERS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "tessera/core/view.h"

namespace tessera::bench {

// Numbers of a standard normal distribution, the same in every run: weights and activations of networks are
// closer to it than to an even one, and scales of blocks are neither all the same nor denormal.
class NormalNumbers {
 public:
  explicit NormalNumbers(std::uint64_t seed) : state_(seed * 2 + 1) {
    for (int i = 0; i < 16; ++i) next();
  }
  float operator()() {  // Box and Muller 1958
    const double radius = std::sqrt(-2 * std::log(uniform())), angle = uniform();
    return static_cast<float>(radius * std::cos(2 * std::numbers::pi * angle));
  }
  void fill(float* x, index_t count) {
    std::generate_n(x, count, [this] { return (*this)(); });
  }

 private:
  void next() { state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17; }
  double uniform() {  // above 0, at most 1
    next();
    return static_cast<double>((state_ >> 11) + 1) * 0x1p-53;
  }
  std::uint64_t state_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_NORMAL_NUMBERS_H_
