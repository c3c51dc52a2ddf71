// SPDX-License-Identifier: Apache-2.0
// Threads that Tessera's tasks run on. They wait actively for a while, as those of OpenMP and of the BLAS libraries do:
// waking a sleeping thread takes longer than a small product.
#ifndef TESSERA_BENCH_THREAD_POOL_H_
#define TESSERA_BENCH_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "tessera/core/context.h"

namespace tessera::bench {

class ThreadPool {
 public:
  // Of that many threads, the caller's among them, or of as many as the system starts. They wait for `pauses`, each a
  // fraction of a microsecond and more where there are more threads than processors, before they sleep.
  explicit ThreadPool(int threads, int pauses = 10000) noexcept : pauses_(pauses) {
    try {
      workers_.reserve(static_cast<std::size_t>(threads - 1));
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {  // no more threads, or no memory
    }
  }
  ~ThreadPool() {
    stop_ = true;
    start();
    for (std::thread& worker : workers_) worker.join();
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(0) .. task(tasks - 1) on all threads, and waits for them.
  void operator()(index_t tasks, TaskRef task) {
    task_ = &task;
    tasks_ = tasks;
    next_ = 0;
    busy_ = static_cast<int>(workers_.size());
    start();
    run_tasks();
    for (int i = 0; i < pauses_ && busy_ != 0; ++i) pause();
    for (int busy = busy_; busy != 0; busy = busy_) busy_.wait(busy);
  }

 private:
  void start() {
    ++generation_;
    generation_.notify_all();
  }

  // Gives its processor up now and then, in case there are more threads than processors.
  static void pause() {
    for (int i = 0; i < 64; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
    std::this_thread::yield();
  }

  void run_tasks() {
    for (index_t i = next_++; i < tasks_; i = next_++) (*task_)(i);
  }

  void work() {
    for (std::uint64_t seen = 0;;) {
      for (int i = 0; i < pauses_ && generation_ == seen; ++i) pause();
      generation_.wait(seen);
      seen = generation_;
      if (stop_) return;
      run_tasks();
      if (--busy_ == 0) busy_.notify_one();
    }
  }

  const int pauses_;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> busy_{0};
  std::atomic<index_t> next_{0};
  std::atomic<bool> stop_{false};
  const TaskRef* task_ = nullptr;
  index_t tasks_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_THREAD_POOL_H_
