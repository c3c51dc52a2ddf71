// SPDX-License-Identifier: Apache-2.0
// Rows of a matrix as the tasks of a call.
#ifndef TESSERA_OPS_ROWS_H_
#define TESSERA_OPS_ROWS_H_

#include <algorithm>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"

namespace tessera::inline TESSERA_ABI::impl {

// f(i) for each row i of a matrix, on the executor of the context if there is one. Rows are shared out in runs:
// a few per thread, and none of so few elements that starting it would cost more than doing it.
template <class F>
void for_rows(const Context* context, index_t rows, index_t cols, F f) {
  constexpr index_t kElementsPerTask = 8192, kTasksPerThread = 4;
  const Executor executor = context ? context->executor : Executor{};
  const index_t run = std::max(kElementsPerTask / std::max<index_t>(cols, 1) + 1,
                               rows / (kTasksPerThread * executor.concurrency()) + 1);
  executor.parallel_for((rows + run - 1) / run, [&](index_t task) {
    for (index_t i = task * run; i < std::min(rows, (task + 1) * run); ++i) f(i);
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ROWS_H_
