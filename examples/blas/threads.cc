// SPDX-License-Identifier: Apache-2.0
#include "threads.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace tessera::blas {
namespace {

// Workers look for the next task for some microseconds before they sleep, as calls come in rows.
class Pool {
 public:
  explicit Pool(int threads) noexcept {
    try {
      workers_.reserve(static_cast<std::size_t>(threads - 1));
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {  // no more threads: as many as there are
    }
  }
  ~Pool() {
    stop_ = true;
    wake();
    for (std::thread& worker : workers_) worker.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  void operator()(index_t tasks, TaskRef task) {
    task_ = &task;
    tasks_ = tasks;
    next_ = 0;
    busy_ = static_cast<int>(workers_.size());
    wake();
    run_tasks();
    for (int i = 0; i < kPauses && busy_ != 0; ++i) pause();
    for (int busy = busy_; busy != 0; busy = busy_) busy_.wait(busy);
  }

 private:
  static constexpr int kPauses = 200;

  void wake() {
    ++generation_;
    generation_.notify_all();
  }

  // There may be more threads than processors.
  static void pause() {
    for (int i = 0; i < 64; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
    std::this_thread::yield();
  }

  void run_tasks() {
    for (index_t i = next_++; i < tasks_; i = next_++) (*task_)(i);
  }

  void work() {
    for (std::uint64_t seen = 0;;) {
      for (int i = 0; i < kPauses && generation_ == seen; ++i) pause();
      generation_.wait(seen);
      seen = generation_;
      if (stop_) return;
      run_tasks();
      if (--busy_ == 0) busy_.notify_one();
    }
  }

  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> busy_{0};
  std::atomic<index_t> next_{0};
  std::atomic<bool> stop_{false};
  const TaskRef* task_ = nullptr;
  index_t tasks_ = 0;
  std::vector<std::thread> workers_;
};

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
  if (!shared.pool) shared.pool.reset(new (std::nothrow) Pool(shared.threads));
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
