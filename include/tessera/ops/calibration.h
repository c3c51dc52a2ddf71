// SPDX-License-Identifier: Apache-2.0
// Calibration: which range of values codes should cover, from samples of a tensor, and with that which scale
// and zero point (affine_params() in core/affine.h).
//
//   the range of all batches    range.include(value_range(batch)) for each
//   its moving average          MovingAverageRange
//   without outliers            ValueHistogram::percentile()
//   with the least square error ValueHistogram::least_squares(), over several batches, or least_squares(view,
//   ..)
//
// NaN and infinities do not count anywhere. All of it is computed in f64 and in a fixed order, so that the bits
// of the results depend on the data alone.
#ifndef TESSERA_OPS_CALIBRATION_H_
#define TESSERA_OPS_CALIBRATION_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tessera/core/affine.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/memory_checks.h"

namespace tessera::inline TESSERA_ABI {

// Which ranges least_squares() tries: the full one, and parts of it down to `least`, evenly spaced.
struct ClipSearch {
  double least = 0.2;
  int steps = 80;
  Context* context = nullptr;  // the executor tries several at a time
};

namespace impl {

inline void check_samples(const char* function, const View<const float, 2>& x) {
  check_memory(function, "x", MemoryView{x.data, DType::kF32, x.extents, x.strides});
}

inline void check_search(const AffineFormat& format, const ClipSearch& search) {
  const char* const function = "least_squares";
  if (format.bits < 2 || format.bits > 8) {
    fail(function, "format.bits", "2 to 8", std::to_string(format.bits));
  }
  if (!(search.least > 0 && search.least <= 1)) {
    fail(function, "search.least", "more than 0, and 1 at most", std::to_string(search.least));
  }
  if (search.steps < 1) {
    fail(function, "search.steps", "at least 1", std::to_string(search.steps));
  }
}

// The parameters with the least error(params) among those of parts of a range; of equals, the widest.
template <class F>
AffineParams search_clip(const ValueRange& range, const AffineFormat& format,
                         const ClipSearch& search, F error) {
  const int count = search.steps + 1;
  std::vector<AffineParams> params(static_cast<std::size_t>(count));
  std::vector<double> errors(params.size());
  const Executor executor = search.context ? search.context->executor : Executor{};
  executor.parallel_for(count, [&](index_t step) {
    const auto i = static_cast<std::size_t>(step);
    const double part =
        std::fma(-(1 - search.least) / search.steps, static_cast<double>(step), 1.0);
    params[i] = affine_params(
        {static_cast<float>(range.min * part), static_cast<float>(range.max * part)}, format);
    errors[i] = error(params[i]);
  });
  return params[static_cast<std::size_t>(std::min_element(errors.begin(), errors.end()) -
                                         errors.begin())];
}

// x less the value of its code. The product is exact in f64: fused with the difference or not, the bits are the
// same.
inline double rounding_error(float x, const AffineParams& params, int low, int high) {
  const int steps = affine_code(x, params.scale, params.zero_point, low, high) - params.zero_point;
  return static_cast<double>(x) - static_cast<double>(steps) * static_cast<double>(params.scale);
}

// Those of n numbers, rounded to f32, and 0 for what is not finite.
inline void rounding_errors(const float* x, index_t stride, index_t n, AffineParams params, int low,
                            int high, float* errors) {
  for (index_t j = 0; j < n; ++j) {
    const float v = x[j * stride];
    const auto error = static_cast<float>(rounding_error(v, params, low, high));
    errors[j] = std::isfinite(v) ? error : 0;
  }
}

}  // namespace impl

// The least interval that contains 0 and all finite elements of x, a View<const float, 2> of any strides.
// Errors: negative extents, null data, sizes that overflow.
inline ValueRange value_range(const View<const float, 2>& x) {
  impl::check_samples("value_range", x);
  ValueRange range;
  for (index_t i = 0; x.extent(1) > 0 && i < x.extent(0); ++i) {
    range.include(impl::summary(&x(i, 0), x.stride(1), x.extent(1), Scaling::kMinMax).range);
  }
  return range;
}

// The scale and zero point (f32, format.zero as it says) with which the elements of x have the least sum of
// squared errors, among ranges clipped as `search` says; of equals, the widest. Costs search.steps + 1
// quantizations of x.
// Errors: as value_range; bits other than 2 to 8; search.least outside of (0, 1]; no steps.
inline AffineParams least_squares(const View<const float, 2>& x, const AffineFormat& format,
                                  const ClipSearch& search = {}) {
  impl::check_samples("least_squares", x);
  impl::check_search(format, search);
  return impl::search_clip(value_range(x), format, search, [&](const AffineParams& params) {
    double sum = 0;
    for (index_t i = 0; i < x.extent(0); ++i) {
      for (index_t first = 0; first < x.extent(1); first += impl::kCodesAtATime) {
        const index_t n = std::min(impl::kCodesAtATime, x.extent(1) - first);
        float errors[impl::kCodesAtATime];
        impl::rounding_errors(&x(i, first), x.stride(1), n, params, format.low(), format.high(),
                              errors);
        // The square of an f32 is exact, and so the same, fused with the sum or not.
        for (index_t j = 0; j < n; ++j) {
          sum += static_cast<double>(errors[j]) * static_cast<double>(errors[j]);
        }
      }
    }
    return sum;
  });
}

// The ends of the ranges of batches, averaged: range = momentum * range + (1 - momentum) * range of the batch,
// starting from the first batch. Smooths out what single batches have that others have not.
class MovingAverageRange {
 public:
  // Errors: a momentum outside of [0, 1).
  explicit MovingAverageRange(double momentum = 0.9) : momentum_(momentum) {
    if (!(momentum >= 0 && momentum < 1)) {
      detail::fail("MovingAverageRange", "momentum", "at least 0, and less than 1",
                   std::to_string(momentum));
    }
  }

  // x: View<const float, 2>, any strides. Errors as value_range.
  void observe(const View<const float, 2>& x) {
    const ValueRange batch = value_range(x);
    const double weight = first_ ? 1 : 1 - momentum_;
    min_ = std::fma(weight, batch.min - min_, min_);
    max_ = std::fma(weight, batch.max - max_, max_);
    first_ = false;
  }

  ValueRange range() const { return {static_cast<float>(min_), static_cast<float>(max_)}; }

 private:
  double momentum_, min_ = 0, max_ = 0;
  bool first_ = true;
};

// Counts of values in bins of one width. The bins cover [-2^e, 2^e) for the least e, from -125 on, that
// suffices: larger values merge neighbouring bins, so that the counts do not depend on the order of batches.
class ValueHistogram {
 public:
  // Errors: a number of bins that is not a power of two, or less than 4.
  explicit ValueHistogram(index_t bins = 4096) {
    if (bins < 4 || !std::has_single_bit(static_cast<std::size_t>(bins))) {
      detail::fail("ValueHistogram", "bins", "a power of two, at least 4", std::to_string(bins));
    }
    counts_.resize(static_cast<std::size_t>(bins));
  }

  // x: View<const float, 2>, any strides. Errors as value_range.
  void observe(const View<const float, 2>& x) {
    const ValueRange batch = value_range(x);
    range_.include(batch);
    grow(batch.absmax());
    for (index_t i = 0; i < x.extent(0); ++i) {
      for (index_t j = 0; j < x.extent(1); ++j) {
        if (!std::isfinite(x(i, j))) continue;
        ++counts_[static_cast<std::size_t>(bin_of(x(i, j)))];
        ++total_;
      }
    }
  }

  // Of all values so far, and 0.
  const ValueRange& range() const { return range_; }
  // How many finite values there were.
  std::int64_t total() const { return total_; }

  // The range that keeps a fraction `kept` of the values: from either end, no more than (1 - kept) / 2 of them
  // are cut off, to the accuracy of a bin, of which none is cut off in part. It contains 0 and lies within
  // range().
  // Errors: a fraction outside of (0, 1].
  ValueRange percentile(double kept) const {
    if (!(kept > 0 && kept <= 1)) {
      detail::fail("ValueHistogram::percentile", "kept", "more than 0, and 1 at most",
                   std::to_string(kept));
    }
    const double most = (1 - kept) / 2 * static_cast<double>(total_);
    index_t low = 0, high = bins() - 1;
    for (double cut = count(low); low < bins() / 2 && cut <= most; cut += count(low)) ++low;
    for (double cut = count(high); high > bins() / 2 && cut <= most; cut += count(high)) --high;
    return {std::max(range_.min, static_cast<float>(std::min(edge(low), 0.0))),
            std::min(range_.max, static_cast<float>(std::max(edge(high + 1), 0.0)))};
  }

  // As the function of the same name, for the middles of the bins and their counts. Errors: likewise.
  AffineParams least_squares(const AffineFormat& format, const ClipSearch& search = {}) const {
    impl::check_search(format, search);
    return impl::search_clip(range_, format, search, [&](const AffineParams& params) {
      double sum = 0;
      for (index_t i = 0; i < bins(); ++i) {
        if (count(i) == 0) continue;
        const auto middle = static_cast<float>((edge(i) + edge(i + 1)) / 2);
        const double error = impl::rounding_error(middle, params, format.low(), format.high());
        sum = std::fma(count(i), error * error, sum);
      }
      return sum;
    });
  }

 private:
  index_t bins() const { return static_cast<index_t>(counts_.size()); }
  double count(index_t bin) const {
    return static_cast<double>(counts_[static_cast<std::size_t>(bin)]);
  }
  // Where a bin begins.
  double edge(index_t bin) const {
    return std::ldexp(static_cast<double>(bin - bins() / 2), exponent_) * 2 /
           static_cast<double>(bins());
  }
  index_t bin_of(float x) const {
    const double bin = std::floor(std::ldexp(static_cast<double>(x), -exponent_) *
                                  static_cast<double>(bins() / 2));
    return static_cast<index_t>(bin) + bins() / 2;
  }

  void grow(float absmax) {
    if (absmax == 0) return;
    int needed = 0;
    std::frexp(absmax, &needed);  // absmax < 2^needed
    for (; exponent_ < needed; ++exponent_) {
      const std::vector<std::int64_t> old(counts_);
      std::fill(counts_.begin(), counts_.end(), 0);
      for (index_t i = 0; i < bins(); ++i) {
        counts_[static_cast<std::size_t>(i / 2 + bins() / 4)] += old[static_cast<std::size_t>(i)];
      }
    }
  }

  std::vector<std::int64_t> counts_;
  std::int64_t total_ = 0;
  int exponent_ = std::numeric_limits<float>::min_exponent;
  ValueRange range_;
};

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_CALIBRATION_H_
