// SPDX-License-Identifier: Apache-2.0
// What the operations of one backend work with: threads, memory, and tables that several of them share.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_RUN_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_RUN_H_

#include <ggml-backend.h>
#include <hwy/contrib/thread_pool/thread_pool.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "rope_tables.h"
#include "tessera/core/context.h"

namespace ggml_port {

namespace ts = tessera;

class Run {
 public:
  ts::Context* context() { return &context_; }
  RopeTables& rope_tables() { return rope_tables_; }
  // Valid until the next call with the same number.
  template <class T>
  T* scratch(int number, std::size_t count) {
    auto& memory = scratch_[number];
    if (memory.size() * sizeof(double) < count * sizeof(T))
      memory.resize(count * sizeof(T) / sizeof(double) + 1);
    return reinterpret_cast<T*>(memory.data());
  }

  void set_threads(int threads) { threads_ = threads < 1 ? 1 : threads; }
  void set_abort(ggml_abort_callback callback, void* data) {
    abort_ = callback, abort_data_ = data;
  }

  // ggml calls from any thread, one at a time.
  ggml_status compute(ggml_cgraph* graph);

 private:
  void start_threads();

  ts::Context context_{};
  std::unique_ptr<hwy::ThreadPool> pool_{};
  pid_t process_ = 0;  // that the pool's threads are in
  int threads_ = 1, pool_threads_ = 1;
  ggml_abort_callback abort_ = nullptr;
  void* abort_data_ = nullptr;
  RopeTables rope_tables_{};
  std::vector<double> scratch_[3];
};

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_RUN_H_
