// SPDX-License-Identifier: Apache-2.0
// How far a matrix is from what it should be: the usual measures of quantization.
#ifndef TESSERA_OPS_QUANTIZATION_ERROR_H_
#define TESSERA_OPS_QUANTIZATION_ERROR_H_

#include <cmath>
#include <limits>

#include "tessera/config.h"
#include "tessera/core/view.h"
#include "tessera/ops/memory_checks.h"

namespace tessera::inline TESSERA_ABI {

struct QuantizationError {
  double max_abs = 0;                                       // the largest |x - y|
  double rms = 0;                                           // sqrt(mean((x - y)^2))
  double snr_db = std::numeric_limits<double>::infinity();  // 10 log10(sum(x^2) / sum((x - y)^2))
  double cosine = 1;                                        // sum(x y) / sqrt(sum(x^2) sum(y^2))
};

// The distance of `actual` y from `expected` x, both View<const float, 2> [rows, cols] of any strides.
//
// In f64: each sum is one chain of fused multiply-adds, row by row, so that its bits are the same everywhere;
// it cannot overflow. Without any error snr_db is infinity, also where x is 0 or there are no elements; where
// only x is 0 it is -infinity. cosine is 1 where x and y are both 0 (or there are no elements), 0 where one of
// them is, and its magnitude exceeds 1 by no more than rounding. An element that is NaN or infinite in x or y
// makes all four NaN.
//
// Errors (tessera::Error): extents that don't match or are negative, null data, sizes that overflow.
inline QuantizationError quantization_error(const View<const float, 2>& expected,
                                            const View<const float, 2>& actual) {
  const char* const function = "quantization_error";
  impl::NamedMemory memory[] = {
      {"expected", {expected.data, DType::kF32, expected.extents, expected.strides}},
      {"actual", {actual.data, DType::kF32, actual.extents, actual.strides}}};
  impl::check_memory(function, memory);
  impl::check_extents(function, "actual", "expected", actual.extents, expected.extents);
  QuantizationError e;
  double xx = 0, yy = 0, xy = 0, dd = 0;
  for (index_t i = 0; i < expected.extent(0); ++i) {
    for (index_t j = 0; j < expected.extent(1); ++j) {
      const double x = expected(i, j), y = actual(i, j), d = x - y;
      xx = std::fma(x, x, xx);
      yy = std::fma(y, y, yy);
      xy = std::fma(x, y, xy);
      dd = std::fma(d, d, dd);
      e.max_abs = std::fmax(e.max_abs, std::abs(d));
    }
  }
  if (!std::isfinite(dd)) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {nan, nan, nan, nan};
  }
  const double count =
      static_cast<double>(expected.extent(0)) * static_cast<double>(expected.extent(1));
  if (dd > 0) {
    e.rms = std::sqrt(dd / count);
    e.snr_db = 10 * std::log10(xx / dd);
  }
  if (xx > 0 || yy > 0) e.cosine = xx > 0 && yy > 0 ? xy / (std::sqrt(xx) * std::sqrt(yy)) : 0;
  return e;
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_QUANTIZATION_ERROR_H_
