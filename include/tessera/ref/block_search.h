// SPDX-License-Identifier: Apache-2.0
// The quantizers that search: scales, mins and codes of the K-quants, IQ4_NL and IQ4_XS.
//
// All minimise the sum of w(j) * (x(j) - value(j))^2 over a block, w being the importance, or 1. The codes of given
// scales are the nearest ones. The search goes
//   1. group by group, with real scales: the end of the codes is laid on the farthest number, a bit inside and a bit
//      outside of it; each time codes follow, and from them the least squares scale (and min). The best of these is
//      improved by turns, codes of the scale, scale of the codes, until nothing improves;
//   2. for the block: d (and dmin) such that the largest scale has the largest integer, rounded to f16. Each group
//      tries the integers next to its scale (and min), each with its own nearest codes;
//   3. d (and dmin) again by least squares, given all integers and codes; 2. and 3. as long as the error falls.
// Sums are of doubles in order of j and no product is fused with a sum, so the bytes are the same everywhere.
//
// Weights that are no positive numbers count as 0; a group whose weights are all 0 has weights of 1.
// NaN counts as 0; numbers beyond the largest scale saturate.
#ifndef TESSERA_REF_BLOCK_SEARCH_H_
#define TESSERA_REF_BLOCK_SEARCH_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "tessera/core/block_formats.h"
#include "tessera/core/dtype.h"

namespace tessera::ref::blocks {

// Returns x, a product, such that no later addition is fused with it, which g++ does across statements by default.
template <class Float>
inline Float no_fma(Float x) {
#if defined(__GNUC__) && !defined(__clang__)
#if defined(__x86_64__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#elif defined(__riscv_flen)
  asm("" : "+f"(x));
#else
  asm("" : "+m"(x));
#endif
#endif
  return x;
}

// The nearest integer in low..high, ties to even.
inline int nearest(double x, int low, int high) {
  constexpr double kMagic = 0x1.8p52;  // the units of its last place are integers
  const double y = std::clamp(no_fma(x), static_cast<double>(low), static_cast<double>(high));
  return static_cast<int>(static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(y + kMagic)));
}

// What the codes of a format stand for: integers, or the table of IQ4. kStep is how far the first guesses of a
// scale are apart.
template <int kLowest, int kHighest>
struct IntegerCodes {
  static constexpr double kLow = kLowest, kHigh = kHighest;
  static constexpr double kStep = 0.1 / kHighest;
  static constexpr int kZero = 0;  // the code nearest to 0
  static int nearest_code(double x) { return nearest(x, kLowest, kHighest); }
  static double value(int code) { return code; }
};

struct IQ4Codes {
  static constexpr double kLow = kIQ4NLValues.front(), kHigh = kIQ4NLValues.back();
  static constexpr double kStep = 0.01;
  static constexpr int kZero = 8;
  static int nearest_code(double x) {
    int code = 0;  // how many midpoints are below x
    for (int step = 8; step > 0; step /= 2) {
      const auto i = static_cast<std::size_t>(code + step);
      const double midpoint = 0.5 * (kIQ4NLValues[i - 1] + kIQ4NLValues[i]);
      if (x > midpoint) code += step;
    }
    return code;
  }
  static double value(int code) { return kIQ4NLValues[static_cast<std::size_t>(code)]; }
};

// A block's numbers and weights, as the search wants them.
template <int kCount>
struct Weighted {
  double x[kCount], w[kCount];

  Weighted(const float* values, const float* importance, int group) {
    constexpr float kMax = std::numeric_limits<float>::max();
    for (int i = 0; i < kCount; i += group) {
      bool any = false;
      for (int j = i; j < i + group; ++j) {
        x[j] = values[j] != values[j] ? 0 : std::clamp(values[j], -kMax, kMax);
        w[j] = importance == nullptr ? 1 : importance[j] > 0 ? std::min(importance[j], kMax) : 0;
        any |= w[j] > 0;
      }
      if (!any) std::fill(w + i, w + i + group, 1.0);
    }
  }
};

inline f16 to_scale(double d) {
  constexpr double kMax = 65504;
  return f16(static_cast<float>(std::clamp(d, -kMax, kMax)));
}

// ---- Formats without mins: x = scale * value(code).

struct Sums {
  double xv = 0, vv = 0;  // of w * x * value, w * value^2

  void add(double w, double x, double value) {
    const double wv = w * value;
    xv += no_fma(wv * x);
    vv += no_fma(wv * value);
  }
  // The best scale, and how much of the sum of w * x^2 it takes away.
  double scale() const { return vv > 0 ? xv / vv : 0; }
  double gain() const { return vv > 0 ? xv * (xv / vv) : 0; }
};

template <class Codes>
Sums sums_at(const double* x, const double* w, int n, double inverse_scale) {
  Sums sums;
  for (int j = 0; j < n; ++j) {
    sums.add(w[j], x[j], Codes::value(Codes::nearest_code(x[j] * inverse_scale)));
  }
  return sums;
}

// Step 1.
template <class Codes>
double fit_scale(const double* x, const double* w, int n) {
  double extreme = 0;
  for (int j = 0; j < n; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  if (extreme == 0) return 0;
  Sums best;
  for (const double end : {Codes::kLow, Codes::kHigh}) {
    for (int k = -9; k <= 9; ++k) {
      const double inside = no_fma(Codes::kStep * k);
      const Sums sums = sums_at<Codes>(x, w, n, end * (1 + inside) / extreme);
      if (sums.gain() > best.gain()) best = sums;
    }
  }
  for (int turn = 0; turn < 8 && best.scale() != 0; ++turn) {
    const Sums sums = sums_at<Codes>(x, w, n, 1 / best.scale());
    if (!(sums.gain() > best.gain())) break;
    best = sums;
  }
  return best.scale();
}

// The nearest codes of a scale, and their error.
template <class Codes>
double assign(const double* x, const double* w, int n, double scale, std::int8_t* codes) {
  const double inverse = scale != 0 ? 1 / scale : 0;
  double error = 0;
  for (int j = 0; j < n; ++j) {
    const int code = scale != 0 ? Codes::nearest_code(x[j] * inverse) : Codes::kZero;
    const double off = x[j] - no_fma(scale * Codes::value(code));
    error += no_fma(w[j] * no_fma(off * off));
    codes[j] = static_cast<std::int8_t>(code);
  }
  return error;
}

template <int kGroup>
struct FoundScale {
  f16 d;
  std::int8_t codes[kGroup];
};

// A block that is one group.
template <int kGroup, class Codes>
FoundScale<kGroup> search_scale(const float* values, const float* importance) {
  const Weighted<kGroup> in(values, importance, kGroup);
  FoundScale<kGroup> found{};
  found.d = to_scale(fit_scale<Codes>(in.x, in.w, kGroup));
  assign<Codes>(in.x, in.w, kGroup, static_cast<double>(static_cast<float>(found.d)), found.codes);
  return found;
}

template <int kGroup>
struct FoundScales {
  f16 d;
  double error = std::numeric_limits<double>::infinity();
  int scales[256 / kGroup];
  std::int8_t codes[256];
};

// A block of 256 in groups with integer scales kLowest..kHighest.
template <int kGroup, class Codes, int kLowest, int kHighest>
FoundScales<kGroup> search_scales(const float* values, const float* importance) {
  constexpr int kGroups = 256 / kGroup;
  const Weighted<256> in(values, importance, kGroup);
  double scales[kGroups], extreme = 0;
  for (int i = 0; i < kGroups; ++i) {
    scales[i] = fit_scale<Codes>(in.x + i * kGroup, in.w + i * kGroup, kGroup);
    if (std::fabs(scales[i]) > std::fabs(extreme)) extreme = scales[i];
  }

  const auto with = [&](double wanted_d) {  // step 2
    FoundScales<kGroup> found{};
    found.d = to_scale(wanted_d);
    found.error = 0;
    const auto d = static_cast<double>(static_cast<float>(found.d));
    for (int i = 0; i < kGroups; ++i) {
      const double *x = in.x + i * kGroup, *w = in.w + i * kGroup;
      const int middle = d != 0 ? nearest(scales[i] / d, kLowest, kHighest) : 0;
      double least = std::numeric_limits<double>::infinity();
      for (int s = middle - 1; s <= middle + 1; ++s) {
        if (s < kLowest || s > kHighest) continue;
        std::int8_t codes[kGroup];
        const double error = assign<Codes>(x, w, kGroup, d * s, codes);
        if (error < least) {
          least = error;
          found.scales[i] = s;
          std::copy(codes, codes + kGroup, found.codes + i * kGroup);
        }
      }
      found.error += least;
    }
    return found;
  };

  FoundScales<kGroup> best = with(extreme / kLowest);
  for (int turn = 0; turn < 4; ++turn) {  // step 3
    Sums sums;
    for (int j = 0; j < 256; ++j) {
      sums.add(in.w[j], in.x[j], best.scales[j / kGroup] * Codes::value(best.codes[j]));
    }
    const FoundScales<kGroup> found = with(sums.scale());
    if (!(found.error < best.error)) break;
    best = found;
  }
  return best;
}

// ---- Formats with mins: x = scale * code - min, code in 0..kSteps, scale and min at least 0.

struct RealScaleMin {
  double scale = 0, min = 0;
};

// The least squares scale and min of numbers x as scale * a - min * b, neither negative.
struct SumsWithMin {
  double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;

  void add(double w, double x, double a, double b) {
    const double wa = w * a, wb = w * b;
    aa += no_fma(wa * a);
    ab += no_fma(wa * b);
    bb += no_fma(wb * b);
    xa += no_fma(wa * x);
    xb += no_fma(wb * x);
  }
  RealScaleMin solve() const {
    const double determinant = no_fma(aa * bb) - no_fma(ab * ab);
    if (determinant > 0) {
      const double scale = (no_fma(xa * bb) - no_fma(xb * ab)) / determinant;
      const double min = (no_fma(xa * ab) - no_fma(xb * aa)) / determinant;
      if (scale >= 0 && min >= 0) return {scale, min};
    }
    const RealScaleMin no_min{aa > 0 ? std::max(0.0, xa / aa) : 0, 0};
    const RealScaleMin no_scale{0, bb > 0 ? std::max(0.0, -xb / bb) : 0};
    return gain(no_min) >= gain(no_scale) ? no_min : no_scale;
  }
  // How much of the sum of w * x^2 they take away.
  double gain(const RealScaleMin& s) const {
    return no_fma(s.scale * (no_fma(2 * xa) - no_fma(s.scale * aa))) -
           no_fma(s.min * (no_fma(2 * xb) + no_fma(s.min * bb))) + no_fma(2 * s.scale * s.min * ab);
  }
};

template <int kSteps>
SumsWithMin sums_at(const double* x, const double* w, int n, double inverse_scale, double min) {
  SumsWithMin sums;
  for (int j = 0; j < n; ++j) {
    sums.add(w[j], x[j], nearest((x[j] + min) * inverse_scale, 0, kSteps), 1);
  }
  return sums;
}

// Step 1.
template <int kSteps>
RealScaleMin fit_scale_and_min(const double* x, const double* w, int n) {
  double low = 0, high = 0;
  for (int j = 0; j < n; ++j) {
    low = std::min(low, x[j]);
    high = std::max(high, x[j]);
  }
  RealScaleMin best;
  double most = 0;
  const auto consider = [&](double inverse_scale, double min) {
    const SumsWithMin sums = sums_at<kSteps>(x, w, n, inverse_scale, min);
    const RealScaleMin s = sums.solve();
    const double gain = sums.gain(s);
    if (!(gain > most)) return false;
    most = gain;
    best = s;
    return true;
  };
  if (high == low) return best;
  for (int k = -10; k <= 14; ++k) {
    consider((kSteps + no_fma(0.1 * k)) / (high - low), -low);
  }
  for (int turn = 0; turn < 8 && best.scale > 0; ++turn) {
    if (!consider(1 / best.scale, best.min)) break;
  }
  return best;
}

template <int kSteps>
double assign(const double* x, const double* w, int n, const RealScaleMin& s, std::int8_t* codes) {
  const double inverse = s.scale > 0 ? 1 / s.scale : 0;
  double error = 0;
  for (int j = 0; j < n; ++j) {
    const int code = nearest((x[j] + s.min) * inverse, 0, kSteps);
    const double off = x[j] - (no_fma(s.scale * code) - s.min);
    error += no_fma(w[j] * no_fma(off * off));
    codes[j] = static_cast<std::int8_t>(code);
  }
  return error;
}

template <int kGroup>
struct FoundScalesAndMins {
  f16 d, dmin;
  double error = std::numeric_limits<double>::infinity();
  ScaleMin groups[256 / kGroup];
  std::int8_t codes[256];
};

// A block of 256 in groups with integer scales and mins 0..kLargest.
template <int kGroup, int kSteps, int kLargest>
FoundScalesAndMins<kGroup> search_scales_and_mins(const float* values, const float* importance) {
  constexpr int kGroups = 256 / kGroup;
  const Weighted<256> in(values, importance, kGroup);
  RealScaleMin groups[kGroups], largest;
  for (int i = 0; i < kGroups; ++i) {
    groups[i] = fit_scale_and_min<kSteps>(in.x + i * kGroup, in.w + i * kGroup, kGroup);
    largest.scale = std::max(largest.scale, groups[i].scale);
    largest.min = std::max(largest.min, groups[i].min);
  }

  const auto with = [&](const RealScaleMin& wanted) {  // step 2
    FoundScalesAndMins<kGroup> found{};
    found.d = to_scale(wanted.scale);
    found.dmin = to_scale(wanted.min);
    found.error = 0;
    const auto d = static_cast<double>(static_cast<float>(found.d));
    const auto dmin = static_cast<double>(static_cast<float>(found.dmin));
    for (int i = 0; i < kGroups; ++i) {
      const double *x = in.x + i * kGroup, *w = in.w + i * kGroup;
      const int scale = d != 0 ? nearest(groups[i].scale / d, 0, kLargest) : 0;
      const int min = dmin != 0 ? nearest(groups[i].min / dmin, 0, kLargest) : 0;
      double least = std::numeric_limits<double>::infinity();
      for (int s = std::max(0, scale - 1); s <= std::min(kLargest, scale + 1); ++s) {
        for (int m = std::max(0, min - 1); m <= std::min(kLargest, min + 1); ++m) {
          std::int8_t codes[kGroup];
          const double error = assign<kSteps>(x, w, kGroup, {d * s, dmin * m}, codes);
          if (error < least) {
            least = error;
            found.groups[i] = {s, m};
            std::copy(codes, codes + kGroup, found.codes + i * kGroup);
          }
        }
      }
      found.error += least;
    }
    return found;
  };

  FoundScalesAndMins<kGroup> best = with({largest.scale / kLargest, largest.min / kLargest});
  for (int turn = 0; turn < 4; ++turn) {  // step 3
    SumsWithMin sums;
    for (int j = 0; j < 256; ++j) {
      const ScaleMin& group = best.groups[j / kGroup];
      sums.add(in.w[j], in.x[j], group.scale * best.codes[j], group.min);
    }
    const FoundScalesAndMins<kGroup> found = with(sums.solve());
    if (!(found.error < best.error)) break;
    best = found;
  }
  return best;
}

}  // namespace tessera::ref::blocks

#endif  // TESSERA_REF_BLOCK_SEARCH_H_
