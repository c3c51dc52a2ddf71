// SPDX-License-Identifier: Apache-2.0
// The threads of the BLAS: as many as TESSERA_NUM_THREADS says, else OMP_NUM_THREADS, else as there are processors that
// this process may run on. They are started by the first call that is worth sharing.
#ifndef TESSERA_BLAS_THREADS_H_
#define TESSERA_BLAS_THREADS_H_

#include "tessera/core/context.h"

namespace tessera::blas {

// The threads, for one call: other calls at the same time, and calls from one of these threads, run by themselves.
// `operations`: the work of the call; a small one does not wake anybody.
class Threads {
 public:
  explicit Threads(double operations) noexcept;
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  // For a call of Tessera; null where it is to run on this thread.
  Context* context() const noexcept { return context_; }

  // task(0) .. task(tasks - 1), which must not throw.
  void parallel_for(index_t tasks, TaskRef task) const;
  index_t count() const noexcept { return context_ ? context_->executor.concurrency() : 1; }

 private:
  Context* context_ = nullptr;
};

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_THREADS_H_
