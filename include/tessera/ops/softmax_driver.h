// SPDX-License-Identifier: Apache-2.0
// What softmax.h does: checks, and rows shared by the threads.
#ifndef TESSERA_OPS_SOFTMAX_DRIVER_H_
#define TESSERA_OPS_SOFTMAX_DRIVER_H_

#include <cstddef>
#include <limits>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/softmax.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_softmax(const SoftmaxProblem& p) {
  check_tensor(p.function, "x", p.x);
  check_result_memory(p.function, {"y", p.y});
  check_result_extents(p.function, p.y, p.x.extents, ", those of x");
  check_apart(p.function, {"y", p.y}, {"x", p.x}, true);
  const float scale = p.options.scale;
  if (!(scale >= 0x1p-100f && scale <= std::numeric_limits<float>::max())) {
    fail(p.function, "options.scale", "a finite number of at least 2^-100", std::to_string(scale));
  }
  const index_t rows = p.x.extents[0], cols = p.x.extents[1];
  const auto count = static_cast<index_t>(p.options.lengths.size());
  if (count != 0 && count != rows) {
    fail(p.function, "options.lengths", std::to_string(rows) + " (the rows of x), or none",
         std::to_string(count));
  }
  for (const std::int32_t length : p.options.lengths) {
    if (length >= 0 && length <= cols) continue;
    fail(p.function, "options.lengths",
         "numbers from 0 to " + std::to_string(cols) + " (the columns of x)",
         std::to_string(length));
  }
}

// Elements [first, cols) of row i.
inline void fill_row(const TensorMemory& y, index_t i, index_t first, float value) {
  visit(y.dtype, [&]<class T>(DTypeTraits<T>) {
    if constexpr (kIsFloatElement<T>) {
      auto* const row = static_cast<T*>(mutable_element(y, i));
      for (index_t j = first; j < y.extents[1]; ++j) row[j * y.strides[1]] = static_cast<T>(value);
    }
  });
}

TESSERA_LIBRARY_FUNCTION void checked_softmax(const SoftmaxProblem& p) {
  Context* const context = p.options.context;
  const auto& kernels = nn_kernels_for(p.function, context);
  check_softmax(p);
  if (p.x.is_empty()) return;
  const index_t cols = p.x.extents[1];
  const RowRuns runs(context, p.x.extents[0], cols);
  const bool in_place = is_f32_rows(p.x) && is_f32_rows(p.y);
  const bool streamed = in_place && p.options.lengths.empty() && streams(p.x, p.y);
  const RowScratch scratch(context, 0, runs.tasks(), in_place && !streamed ? 0 : cols, p.function);
  const auto kernel = p.log ? kernels.log_softmax : kernels.softmax;
  if (in_place && p.options.lengths.empty()) {
    return runs.run_together([&](index_t first, index_t count, index_t task) {
      kernel({static_cast<const float*>(element(p.x, first)), p.x.strides[0],
              static_cast<float*>(mutable_element(p.y, first)), p.y.strides[0], count, cols,
              p.options.scale, streamed ? scratch.of(task) : nullptr});
    });
  }
  const float masked = p.log ? -std::numeric_limits<float>::infinity() : 0.0f;
  runs.run([&](index_t i, index_t task) {
    const index_t n =
        p.options.lengths.empty() ? cols : p.options.lengths[static_cast<std::size_t>(i)];
    float* const line = scratch.of(task);
    float* const to = row_to_write(p.y, i, line);
    kernel({load_row(kernels, p.x, i, n, line), 0, to, 0, 1, n, p.options.scale, nullptr});
    store_row(kernels, to, p.y, i, n);
    if (n < cols) fill_row(p.y, i, n, masked);
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_SOFTMAX_DRIVER_H_
