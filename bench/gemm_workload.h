// SPDX-License-Identifier: Apache-2.0
// The operands of one GEMM case, and the check that a contender computes it.
#ifndef TESSERA_BENCH_GEMM_WORKLOAD_H_
#define TESSERA_BENCH_GEMM_WORKLOAD_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "bench/gemm_cases.h"
#include "bench/peers.h"
#include "tessera/core/scratch.h"

namespace tessera::bench {

// What a contender's result is worth.
struct GemmCheck {
  // Floats: the largest error as a share of the bound that any order of summation keeps,
  // (k + 1) u sum |a| |b|. Integers: how many of the checked elements are wrong.
  double error = 0;
  const char* verdict = "";

  bool wrong() const { return std::string_view(verdict) == "wrong"; }
};

// "ok", "exact": right. "rounds A": within what rounding A to the type of B's elements explains.
// "saturates": wrong with bytes of all values, right with those of 7 bits.
inline constexpr const char *kOk = "ok", *kExact = "exact", *kRoundsA = "rounds A",
                            *kSaturates = "saturates", *kWrong = "wrong";

// Elements with bytes behind them that some peers read.
template <class T>
struct PaddedArray {
  static constexpr index_t kPadding = 128;
  static constexpr unsigned char kPoison = 0xff;  // floats of it are NaN

  explicit PaddedArray(index_t elements)
      : size(elements), memory(tessera::detail::allocate_aligned(bytes())) {
    std::memset(memory.get(), 0, bytes());
  }
  std::size_t bytes() const { return static_cast<std::size_t>(size) * sizeof(T) + kPadding; }
  T* data() const { return reinterpret_cast<T*>(memory.get()); }
  void poison() const { std::memset(memory.get(), kPoison, bytes()); }
  // Whether nothing was written behind the elements since then.
  bool padding_is_poison() const {
    const auto* const end = reinterpret_cast<const unsigned char*>(data() + size);
    return std::all_of(end, end + kPadding, [](unsigned char x) { return x == kPoison; });
  }

  index_t size;
  tessera::detail::AlignedBytes memory;
};

// Poisons c and runs once; false if memory behind c was written.
template <class T>
bool run_into(const GemmRun& run, const PaddedArray<T>& c) {
  c.poison();
  run.call();
  if (run.finish) run.finish();
  return c.padding_is_poison();
}

// Up to 64 indices below `extent`: both ends and an even spread between them.
inline std::vector<index_t> sampled(index_t extent) {
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

template <class Types>
class GemmWorkload {
 public:
  using A = typename Types::A;
  using B = typename Types::B;
  using C = typename Types::C;
  static constexpr bool kInteger = std::is_same_v<C, std::int32_t>;

  // Full range: of floats, signs, mantissas and exponents vary, over 2^16. Seven bits: bytes from -64 to 63.
  enum class Range { kFull, kSevenBits };

  explicit GemmWorkload(const GemmShape& shape, bool b_transposed = false)
      : shape_(shape),
        b_transposed_(b_transposed),
        rows_(sampled(shape.m)),
        cols_(sampled(shape.n)),
        a_(shape.m * shape.k),
        b_(shape.k * shape.n),
        c_(shape.m * shape.n) {
    fill(Range::kFull);
  }

  GemmOperands<Types> operands() const {
    return {shape_, b_transposed_, a_.data(), b_.data(), c_.data()};
  }

  // New values for A and B; whoever packed the old ones must do it again.
  void fill(Range range) {
    std::uint64_t state = static_cast<std::uint64_t>(shape_.m * 31 + shape_.n * 7 + shape_.k) | 1;
    const auto values = [&](auto& x) {
      for (index_t i = 0; i < x.size; ++i) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;  // Marsaglia's xorshift
        x.data()[i] = value<std::remove_cvref_t<decltype(x.data()[0])>>(state, range);
      }
    };
    values(a_);
    values(b_);
    compute_expected();
  }

  // Runs once and compares up to 64 x 64 elements with a sum in twice the precision. Wrong too where an
  // element was left out, or memory behind C was written.
  GemmCheck check(const GemmRun& run) {
    if (!run_into(run, c_)) return {std::numeric_limits<double>::infinity(), kWrong};
    return kInteger ? check_exact() : check_rounding();
  }

 private:
  // Twice the precision, or what comes closest.
  using Wide = std::conditional_t<kInteger, std::int64_t,
                                  std::conditional_t<sizeof(C) == 4, double, long double>>;

  template <class T>
  static T value(std::uint64_t random, Range range) {
    if constexpr (std::is_integral_v<T>) {
      const auto byte = static_cast<T>(random >> 32);
      return range == Range::kFull ? byte : static_cast<T>(byte >> 1);
    } else {
      const double mantissa = static_cast<double>(random >> 11) * 0x1p-53 - 0.5;
      const auto exponent = static_cast<int>(random % 17) - 8;
      const double power = exponent < 0 ? 1.0 / (1 << -exponent) : 1 << exponent;
      if constexpr (std::is_same_v<T, double>) return mantissa * power;
      return static_cast<T>(static_cast<float>(mantissa * power));
    }
  }

  template <class T>
  static Wide wide(T x) {
    if constexpr (sizeof(T) == 2) {
      return static_cast<Wide>(static_cast<float>(x));
    } else {
      return static_cast<Wide>(x);
    }
  }

  void compute_expected() {
    const auto [m, n, k] = shape_;
    const index_t step = b_transposed_ ? 1 : n, stride = b_transposed_ ? k : 1;
    expected_.clear();
    for (const index_t i : rows_) {
      for (const index_t j : cols_) {
        Wide sum = 0, magnitude = 0;
        for (index_t l = 0; l < k; ++l) {
          const Wide product = wide(a_.data()[i * k + l]) * wide(b_.data()[l * step + j * stride]);
          sum += product;
          magnitude += product < 0 ? -product : product;
        }
        expected_.push_back({i * n + j, sum, magnitude});
      }
    }
  }

  GemmCheck check_exact() const {
    const auto wrong = [this](const Expected& e) { return wide(c_.data()[e.index]) != e.sum; };
    const auto count = std::count_if(expected_.begin(), expected_.end(), wrong);
    return {static_cast<double>(count), count == 0 ? kExact : kWrong};
  }

  GemmCheck check_rounding() const {
    // Half a unit in the last place of C's elements, and of B's where A may be rounded to them.
    const double unit = static_cast<double>(std::numeric_limits<C>::epsilon()) / 2;
    const double unit_a = std::is_same_v<B, bf16> ? 0x1p-8 : std::is_same_v<B, f16> ? 0x1p-11 : 0;
    double worst = 0, worst_rounded = 0;
    for (const Expected& e : expected_) {
      const C c = c_.data()[e.index];
      if (c != c) return {std::numeric_limits<double>::infinity(), kWrong};
      const Wide difference = wide(c) - e.sum;
      const double error = static_cast<double>(difference < 0 ? -difference : difference);
      const double magnitude = static_cast<double>(e.magnitude);
      const double bound = static_cast<double>(shape_.k + 1) * unit * magnitude;
      if (error == 0) continue;
      worst = std::max(worst, error / bound);
      worst_rounded = std::max(worst_rounded, error / (bound + unit_a * magnitude));
    }
    return {worst, worst <= 1 ? kOk : worst_rounded <= 1 ? kRoundsA : kWrong};
  }

  struct Expected {
    index_t index;  // of the element in C
    Wide sum, magnitude;
  };

  const GemmShape shape_;
  const bool b_transposed_;
  const std::vector<index_t> rows_, cols_;
  PaddedArray<A> a_;
  PaddedArray<B> b_;
  PaddedArray<C> c_;
  std::vector<Expected> expected_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_GEMM_WORKLOAD_H_
