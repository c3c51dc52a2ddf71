// SPDX-License-Identifier: Apache-2.0
// Rows of a matrix as the tasks of a call.
#ifndef TESSERA_OPS_ROWS_H_
#define TESSERA_OPS_ROWS_H_

#include <algorithm>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"

namespace tessera::inline TESSERA_ABI::impl {

// Rows are shared out in runs: a few per thread, and none of so few elements that starting it would cost more than
// doing it.
struct RowRuns {
  Executor executor;
  index_t rows, each;

  RowRuns(const Context* context, index_t row_count, index_t cols)
      : executor(context ? context->executor : Executor{}), rows(row_count) {
    constexpr index_t kElementsPerTask = 8192, kTasksPerThread = 4;
    each = std::max(kElementsPerTask / std::max<index_t>(cols, 1) + 1,
                    rows / (kTasksPerThread * executor.concurrency()) + 1);
  }

  index_t tasks() const { return (rows + each - 1) / each; }

  // f(first, count, task) for each run, of the rows [first, first + count), on the executor of the context if there is one.
  template <class F>
  void run_together(F f) const {
    executor.parallel_for(
        tasks(), [&](index_t task) { f(task * each, std::min(rows - task * each, each), task); });
  }

  // f(i, task) for each row i.
  template <class F>
  void run(F f) const {
    run_together([&](index_t first, index_t count, index_t task) {
      for (index_t i = first; i < first + count; ++i) f(i, task);
    });
  }
};

// f(i) for each row i of a matrix.
template <class F>
void for_rows(const Context* context, index_t rows, index_t cols, F f) {
  RowRuns(context, rows, cols).run([&](index_t i, index_t) { f(i); });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ROWS_H_
