// SPDX-License-Identifier: Apache-2.0
// Statistics of the rows of a matrix: which channels have outliers.
#ifndef TESSERA_OPS_ROW_STATISTICS_H_
#define TESSERA_OPS_ROW_STATISTICS_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"

namespace tessera::inline TESSERA_ABI {

// Of no elements: the identities of min and max, and 0.
struct RowStatistics {
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();
  float absmax = 0;
  double mean = 0;
  double rms = 0;  // sqrt(mean(x^2))

  bool operator==(const RowStatistics&) const = default;
};

// to[i] = the statistics of row i of x, a View<const float, 2> [rows, cols] of any strides; of columns:
// transposed(x).
//
// Sums are in f64 in order of the columns, and the square of an f32 is exact there: the bits are the same
// everywhere. A NaN makes all statistics of its row NaN; infinities count as IEEE 754 says.
// Rows are shared out to the context's executor.
//
// Errors (tessera::Error, before anything is written): negative extents, null data, sizes that overflow, a
// number of results that is not the number of rows.
inline void row_statistics(const View<const float, 2>& x, std::span<RowStatistics> to,
                           Context* context = nullptr) {
  const char* const function = "row_statistics";
  impl::check_memory(function, "x", impl::MemoryView{x.data, DType::kF32, x.extents, x.strides});
  if (static_cast<index_t>(to.size()) != x.extent(0)) {
    detail::fail(function, "to", std::to_string(x.extent(0)) + " elements (the rows of x)",
                 std::to_string(to.size()));
  }
  const index_t cols = x.extent(1);
  impl::for_rows(context, x.extent(0), cols, [&](index_t i) {
    RowStatistics s;
    double sum = 0, squares = 0;
    for (index_t j = 0; j < cols; ++j) {
      const float v = x(i, j);
      s.min = std::min(s.min, v);
      s.max = std::max(s.max, v);
      sum += static_cast<double>(v);
      squares += static_cast<double>(v) * static_cast<double>(v);
    }
    s.absmax = std::max(std::abs(s.min), std::abs(s.max));
    if (std::isnan(squares)) {  // for which min and max depend on the order
      constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
      s = {kNaN, kNaN, kNaN, kNaN, kNaN};
    } else if (cols > 0) {
      s.mean = sum / static_cast<double>(cols);
      s.rms = std::sqrt(squares / static_cast<double>(cols));
    } else {
      s = {};
    }
    to[static_cast<std::size_t>(i)] = s;
  });
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_ROW_STATISTICS_H_
