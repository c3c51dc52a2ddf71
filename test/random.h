// SPDX-License-Identifier: Apache-2.0
// Test inputs: the same numbers with every compiler and library.
#ifndef TESSERA_TEST_RANDOM_H_
#define TESSERA_TEST_RANDOM_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace tessera::test {

// Which numbers a test draws. All have full mantissas and both signs.
enum class Values {
  kModerate,  // 2^-4 .. 2^4: error bounds hold, nothing over- or underflows
  kWide,      // most of the exponent range; sums overflow, underflow, cancel
  kAnyBits,   // every bit pattern: subnormals, infinities, NaNs of any payload
};

class Random {
 public:
  explicit Random(std::uint64_t seed = 1) : state_(seed) {}

  std::uint64_t next() {  // SplitMix64
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // In [0, n).
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n));
  }

  // Integers over their full range, whatever `values` says.
  template <class T>
  T value(Values values) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(next());
    } else if constexpr (sizeof(T) == 2) {
      return static_cast<T>(value<float>(values));
    } else {
      return float_value<T>(values);
    }
  }

 private:
  template <class T>
  T float_value(Values values) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    const auto bits = static_cast<Bits>(next());
    if (values == Values::kAnyBits) return std::bit_cast<T>(bits);
    // Sign and mantissa as they came, the exponent replaced.
    constexpr int kMantissa = std::numeric_limits<T>::digits - 1;
    constexpr int kBias = std::numeric_limits<T>::max_exponent - 1;
    const int reach = values == Values::kModerate ? 4 : kBias * 3 / 4;
    const auto exponent = static_cast<Bits>(kBias + static_cast<int>(below(2 * reach)) - reach);
    constexpr Bits kExponentMask = static_cast<Bits>(2 * kBias + 1) << kMantissa;
    return std::bit_cast<T>((bits & ~kExponentMask) | (exponent << kMantissa));
  }

  std::uint64_t state_;
};

// Any bits once in `any_bits_in` cases, wide ones once in `wide_in` of the others.
inline Values random_values(Random& random, int any_bits_in, int wide_in) {
  if (random.below(any_bits_in) == 0) return Values::kAnyBits;
  return random.below(wide_in) == 0 ? Values::kWide : Values::kModerate;
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_RANDOM_H_
