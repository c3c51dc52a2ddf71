// SPDX-License-Identifier: Apache-2.0
// rope_frequencies, rope_table: the angles of rotary embeddings, also for contexts longer than those of training.
#ifndef TESSERA_OPS_ROPE_TABLE_H_
#define TESSERA_OPS_ROPE_TABLE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/double_math.h"
#include "tessera/core/view.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"

namespace tessera::inline TESSERA_ABI {

// How angles of positions beyond the trained ones are kept within what was trained.
enum class RopeScaling : std::uint8_t {
  kNone,
  kLinear,  // all frequencies / factor (Chen et al., "Position Interpolation", 2023)
  kNtk,     // the base * factor^(dims / (dims - 2)): high frequencies stay
  kYarn,  // by frequency: high ones stay, low ones / factor, between them a ramp (Peng et al., "YaRN", 2023)
  kLlama3,  // the same with another ramp, that of the Llama 3.1 models
};

struct RopeFrequencyOptions {
  index_t dims = 0;  // that are rotated: even
  double base = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;                     // by which contexts are longer than the trained ones
  double original_context = 0;           // trained positions: of kYarn, kLlama3
  double beta_fast = 32, beta_slow = 1;  // of kYarn: turns within original_context
  double low_freq_factor = 1, high_freq_factor = 4;  // of kLlama3: likewise
};

namespace impl {

inline void check_rope_frequencies(const RopeFrequencyOptions& o) {
  const char* const function = "rope_frequencies";
  const auto check = [&](bool good, const char* name, const char* expected, double got) {
    if (!good) fail(function, name, expected, std::to_string(got));
  };
  constexpr double kMost = 1e30;
  if (o.dims < 0 || o.dims % 2 != 0) {
    fail(function, "options.dims", "an even number of at least 0", std::to_string(o.dims));
  }
  check(o.base > 1 && o.base < kMost, "options.base", "a number above 1, and below 1e30", o.base);
  check(o.factor >= 1 && o.factor < kMost, "options.factor", "at least 1, and below 1e30",
        o.factor);
  if (o.scaling == RopeScaling::kNtk && o.dims == 2) {
    fail(function, "options.dims", "at least 4 for kNtk", "2");
  }
  if (o.scaling == RopeScaling::kYarn || o.scaling == RopeScaling::kLlama3) {
    check(o.original_context >= 1 && o.original_context < kMost, "options.original_context",
          "at least 1, and below 1e30", o.original_context);
  }
  if (o.scaling == RopeScaling::kYarn) {
    check(o.beta_slow > 0 && o.beta_slow < kMost, "options.beta_slow", "a positive number",
          o.beta_slow);
    check(o.beta_fast >= o.beta_slow && o.beta_fast < kMost, "options.beta_fast",
          "at least beta_slow", o.beta_fast);
  }
  if (o.scaling == RopeScaling::kLlama3) {
    check(o.low_freq_factor > 0 && o.low_freq_factor < kMost, "options.low_freq_factor",
          "a positive number", o.low_freq_factor);
    check(o.high_freq_factor > o.low_freq_factor && o.high_freq_factor < kMost,
          "options.high_freq_factor", "more than low_freq_factor", o.high_freq_factor);
  }
}

inline constexpr double kTwoPi = 6.2831853071795864769;

// The index of the pair that turns so many times within the trained context.
inline double yarn_index(const RopeFrequencyOptions& o, double turns) {
  const double octaves =
      portable_log2(o.original_context / product(turns, kTwoPi)) / portable_log2(o.base);
  return product(static_cast<double>(o.dims) / 2, octaves);
}

// What is left of a frequency that is scaled in part: `kept` of itself, the rest / factor.
inline double mixed(double frequency, double kept, double factor) {
  return std::fma(frequency, kept, product(frequency / factor, 1 - kept));
}

}  // namespace impl

// The angle per position of each of dims / 2 pairs: base^(-2 i / dims), scaled. In f64, with the same bits everywhere.
//
// Errors (tessera::Error): dims that are odd or negative, a base not above 1, a factor below 1, and parameters of the
// scaling that make no sense.
inline std::vector<double> rope_frequencies(const RopeFrequencyOptions& o) {
  using impl::mixed;
  impl::check_rope_frequencies(o);
  const index_t pairs = o.dims / 2;
  const auto dims = static_cast<double>(o.dims);
  double log_base = detail::portable_log2(o.base);
  if (o.scaling == RopeScaling::kNtk && pairs > 0) {
    log_base = std::fma(detail::portable_log2(o.factor), dims / (dims - 2), log_base);
  }
  double low = 0, high = 0;
  if (o.scaling == RopeScaling::kYarn) {
    low = std::max(std::floor(impl::yarn_index(o, o.beta_fast)), 0.0);
    high = std::min(std::ceil(impl::yarn_index(o, o.beta_slow)), dims - 1);
    if (low == high) high += 0.001;
  }
  std::vector<double> frequencies;
  for (index_t i = 0; i < pairs; ++i) {
    double f = detail::portable_exp2(detail::product(-2 * static_cast<double>(i) / dims, log_base));
    if (o.scaling == RopeScaling::kLinear) {
      f /= o.factor;
    } else if (o.scaling == RopeScaling::kYarn) {
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      f = mixed(f, 1 - ramp, o.factor);
    } else if (o.scaling == RopeScaling::kLlama3) {
      const double turns = detail::product(o.original_context, f) / impl::kTwoPi;
      const double ramp = (turns - o.low_freq_factor) / (o.high_freq_factor - o.low_freq_factor);
      f = mixed(f, std::clamp(ramp, 0.0, 1.0), o.factor);
    }
    frequencies.push_back(f);
  }
  return frequencies;
}

// By which YaRN multiplies queries and keys: 0.1 ln(factor) + 1, the scale of rope_table.
inline double yarn_attention_factor(double factor) {
  return std::fma(detail::portable_log2(factor), 0.1 * 0.69314718055994530942, 1.0);
}

struct RopeTableOptions {
  index_t first_position = 0;  // of row 0
  double scale = 1;            // of all results: YaRN's attention factor
  Context* context = nullptr;
};

// cos[p, i], sin[p, i] = scale * the cosine and sine of (first_position + p) * frequencies[i].
//
// cos, sin: View<float, 2>  [positions, dims / 2], any strides that visit no element twice
//
// Numerics: in f64, angles rounded once, then cosine and sine with errors below 2^-51, rounded to f32. The same bits
// everywhere, without C library functions that differ.
//
// Rows are shared out to the context's executor. Empty tables do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match, negative extents, null data, sizes that
// overflow, cos and sin that overlap themselves or each other, a scale that is not finite, angles of 2^40 and more.
inline void rope_table(std::span<const double> frequencies, const View<float, 2>& cos,
                       const View<float, 2>& sin, const RopeTableOptions& options = {}) {
  const char* const function = "rope_table";
  std::vector<impl::NamedMemory> memory = {
      {"cos", {cos.data, DType::kF32, cos.extents, cos.strides}, true},
      {"sin", {sin.data, DType::kF32, sin.extents, sin.strides}, true}};
  impl::check_memory(function, memory);
  const auto pairs = static_cast<index_t>(frequencies.size());
  if (cos.extent(1) != pairs) {
    detail::fail(function, "cos", std::to_string(pairs) + " columns (the frequencies)",
                 std::to_string(cos.extent(1)));
  }
  impl::check_extents(function, "sin", "cos", sin.extents, cos.extents);
  if (!std::isfinite(options.scale)) {
    detail::fail(function, "options.scale", "a finite number", std::to_string(options.scale));
  }
  const double last = std::max(
      std::fabs(static_cast<double>(options.first_position)),
      std::fabs(static_cast<double>(options.first_position) + static_cast<double>(cos.extent(0))));
  for (const double f : frequencies) {
    if (!(std::fabs(f) * last < 0x1p40)) {
      detail::fail(function, "frequencies", "angles below 2^40", std::to_string(f));
    }
  }
  impl::for_rows(options.context, cos.extent(0), pairs, [&](index_t p) {
    const auto position = static_cast<double>(options.first_position + p);
    for (index_t i = 0; i < pairs; ++i) {
      const detail::SineCosine of = detail::portable_sine_cosine(
          detail::product(position, frequencies[static_cast<std::size_t>(i)]));
      cos(p, i) = static_cast<float>(detail::product(of.cosine, options.scale));
      sin(p, i) = static_cast<float>(detail::product(of.sine, options.scale));
    }
  });
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_ROPE_TABLE_H_
