// SPDX-License-Identifier: Apache-2.0
// Context: where a call runs (executor), where it works (scratch), and what it is told to use.
#ifndef TESSERA_CORE_CONTEXT_H_
#define TESSERA_CORE_CONTEXT_H_

#include <memory>
#include <optional>
#include <type_traits>

#include "tessera/core/cache.h"
#include "tessera/core/isa.h"
#include "tessera/core/scratch.h"
#include "tessera/core/view.h"

namespace tessera {

// A non-owning reference to a callable `void(index_t)`; it must outlive the call it is passed to.
class TaskRef {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, TaskRef>)
  TaskRef(F&& f)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, index_t i) {
          (*static_cast<std::remove_reference_t<F>*>(object))(i);
        }) {}

  void operator()(index_t i) const { call_(object_, i); }

 private:
  void* object_;
  void (*call_)(void*, index_t);
};

// How the independent tasks of one call are run: serially (the default), or on threads that belong
// to the user. It refers to the pool, it does not own it; Tessera never starts a thread.
class Executor {
 public:
  Executor() = default;

  // Any pool with the interface of hwy::ThreadPool: NumWorkers(), Run(begin, end, f(task, worker)).
  template <class Pool>
  static Executor from_pool(Pool& pool) {
    return {static_cast<index_t>(pool.NumWorkers()), &pool, [](void* p, index_t n, TaskRef task) {
              static_cast<Pool*>(p)->Run(
                  0, static_cast<std::uint64_t>(n),
                  [&task](std::uint64_t i, auto) { task(static_cast<index_t>(i)); });
            }};
  }

  // `parallel_for(n, task)` must call task(0) .. task(n - 1), each once, in any order and on any
  // threads, and return when all are done. `concurrency`: how many it runs at a time.
  template <class F>
  static Executor from_function(index_t concurrency, F& parallel_for) {
    return {concurrency, const_cast<void*>(static_cast<const void*>(std::addressof(parallel_for))),
            [](void* f, index_t n, TaskRef task) { (*static_cast<F*>(f))(n, task); }};
  }

  index_t concurrency() const { return concurrency_; }

  void parallel_for(index_t n, TaskRef task) const {
    if (run_ == nullptr || n <= 1) {
      for (index_t i = 0; i < n; ++i) task(i);
    } else {
      run_(object_, n, task);
    }
  }

 private:
  using Run = void (*)(void* object, index_t n, TaskRef task);
  Executor(index_t concurrency, void* object, Run run)
      : concurrency_(concurrency < 1 ? 1 : concurrency), object_(object), run_(run) {}

  index_t concurrency_ = 1;
  void* object_ = nullptr;
  Run run_ = nullptr;
};

// Overrides of what GEMM chooses by itself, for tuning and tests: no setting changes a bit of the
// result. Zero or negative: choose.
struct GemmTuning {
  int tile = -1;  // index into the target's register tiles
  index_t mc = 0, kc = 0, nc = 0;
  enum class Packing { kAuto, kNever, kAlways } packing = Packing::kAuto;

  bool operator==(const GemmTuning&) const = default;
};

// One call at a time may use a Context; use one per calling thread. A call without a Context is
// single-threaded and works in thread-local scratch.
struct Context {
  Executor executor{};
  std::optional<Target> target{};      // default: active_target()
  std::optional<CacheSizes> caches{};  // default: those of this machine
  GemmTuning gemm{};
  Scratch scratch{};
};

namespace detail {

inline Scratch& thread_scratch() {
  thread_local Scratch scratch;
  return scratch;
}

}  // namespace detail
}  // namespace tessera

#endif  // TESSERA_CORE_CONTEXT_H_
