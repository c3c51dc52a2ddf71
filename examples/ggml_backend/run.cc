// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <cstdio>
#include <exception>

#include "ops.h"

namespace ggml_port {

void Run::start_threads() {
  const pid_t process = getpid();
  if (pool_ != nullptr && process_ != process) {
    // A child of a fork has the pool but none of its threads, which a destructor would wait for.
    static_cast<void>(pool_.release());
    context_.executor = {};
    pool_threads_ = 1;
  }
  process_ = process;
  if (pool_threads_ == threads_) return;
  context_.executor = {};
  pool_.reset();
  pool_threads_ = 1;
  if (threads_ > 1) {
    pool_ = std::make_unique<hwy::ThreadPool>(static_cast<std::size_t>(threads_ - 1));
    context_.executor = ts::Executor::from_pool(*pool_);
  }
  pool_threads_ = threads_;
}

ggml_status Run::compute(ggml_cgraph* graph) {
  const ggml_tensor* at = nullptr;
  try {
    start_threads();
    rope_tables_.clear();
    const int nodes = ggml_graph_n_nodes(graph);
    for (int i = 0; i < nodes; ++i) {
      at = ggml_graph_node(graph, i);
      if (ggml_is_empty(at) || (at->flags & GGML_TENSOR_FLAG_COMPUTE) == 0) continue;
      const Op* const op = find_op(at->op);
      if (op == nullptr) {
        std::fprintf(stderr, "ggml-tessera: %s: expected an operation that is supported, got %s\n",
                     at->name, ggml_op_desc(at));
        return GGML_STATUS_FAILED;
      }
      if (op->compute != nullptr) op->compute(*this, *at);
      if (abort_ != nullptr && abort_(abort_data_)) return GGML_STATUS_ABORTED;
    }
    return GGML_STATUS_SUCCESS;
  } catch (const std::bad_alloc&) {
    return GGML_STATUS_ALLOC_FAILED;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ggml-tessera: %s (%s): %s\n", at == nullptr ? "graph" : at->name,
                 at == nullptr ? "" : ggml_op_desc(at), error.what());
    return GGML_STATUS_FAILED;
  }
}

}  // namespace ggml_port
