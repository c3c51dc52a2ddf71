// SPDX-License-Identifier: Apache-2.0
#include "threads.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>

#include "bench/thread_pool.h"

namespace tessera::blas {
namespace {

using Pool = bench::ThreadPool;

// Some microseconds, as calls come in rows; no longer, as the program has other threads.
constexpr int kPauses = 200;

int wanted_threads() {
  for (const char* variable : {"TESSERA_NUM_THREADS", "OMP_NUM_THREADS"}) {
    const char* const text = std::getenv(variable);
    const long count = text ? std::strtol(text, nullptr, 10) : 0;  // of "4,2" the first
    if (count > 0) return static_cast<int>(count < 1024 ? count : 1024);
  }
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof processors, &processors) != 0) return 1;
  return CPU_COUNT(&processors);
}

// Whoever sets `taken` may use the pool. A child process has no threads but the one that forked: it forgets the pool,
// whose memory it leaks, and makes its own when it needs one.
struct Shared {
  Shared() {
    pthread_atfork([] { get().take(); }, [] { get().taken = false; },
                   [] {
                     static_cast<void>(get().pool.release());
                     get().wanted = 0;
                     get().taken = false;
                   });
  }
  // Ends with the library, as dlclose() takes the code of the threads away. Calls that still come run by themselves.
  ~Shared() { take(); }
  static Shared& get();

  // Calls that would take it again and again let it go first.
  void take() {
    ++wanted;
    while (taken.exchange(true)) std::this_thread::yield();
    --wanted;
  }
  bool try_take() { return wanted == 0 && !taken.exchange(true); }

  std::atomic<bool> taken{false};
  std::atomic<int> wanted{0};
  const int threads = wanted_threads();
  std::unique_ptr<Pool> pool;
};

Shared& Shared::get() {
  static Shared shared;
  return shared;
}

// Waking the others takes as long as some hundred thousand operations.
constexpr double kWorthSharing = 4e6;

}  // namespace

Threads::Threads(double operations) noexcept {
  if (operations < kWorthSharing) return;
  Shared& shared = Shared::get();
  if (shared.threads == 1 || !shared.try_take()) return;
  thread_local Context context;
  if (!shared.pool) shared.pool.reset(new (std::nothrow) Pool(shared.threads, kPauses));
  if (!shared.pool || shared.pool->threads() == 1) {
    shared.taken = false;
    return;
  }
  context.executor = Executor::from_function(shared.pool->threads(), *shared.pool);
  context_ = &context;
}

Threads::~Threads() {
  if (context_) Shared::get().taken = false;
}

void Threads::parallel_for(index_t tasks, TaskRef task) const {
  (context_ ? context_->executor : Executor{}).parallel_for(tasks, task);
}

}  // namespace tessera::blas
