// SPDX-License-Identifier: Apache-2.0
// What a user might run tasks on.
#ifndef TESSERA_TEST_EXECUTORS_H_
#define TESSERA_TEST_EXECUTORS_H_

#include <atomic>
#include <thread>
#include <vector>

#include "random.h"
#include "tessera/core/context.h"
#include "testing.h"

namespace tessera::test {

// New threads for each call, which take the next task when they are ready.
struct StdThreads {
  int count;
  void operator()(index_t n, TaskRef task) const {
    std::atomic<index_t> next{0};
    const auto work = [&] {
      for (index_t i = next++; i < n; i = next++) task(i);
    };
    std::vector<std::thread> threads;
    for (int t = 1; t < count; ++t) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
  }
};

// One thread, which notes how many tasks it was given first.
struct Noting {
  index_t first = 0;
  void operator()(index_t n, TaskRef task) {
    if (first == 0) first = n;
    for (index_t i = 0; i < n; ++i) task(i);
  }
};

// One thread, the last task first.
struct Reversed {
  void operator()(index_t n, TaskRef task) const {
    for (index_t i = n; i-- > 0;) task(i);
  }
};

// One thread, another order each time.
struct Shuffled {
  Random random;
  void operator()(index_t n, TaskRef task) {
    std::vector<index_t> order(static_cast<std::size_t>(n));
    for (index_t i = 0; i < n; ++i) {
      const index_t j = random.below(i + 1);
      order[static_cast<std::size_t>(i)] = order[static_cast<std::size_t>(j)];
      order[static_cast<std::size_t>(j)] = i;
    }
    for (const index_t i : order) task(i);
  }
};

// f(context) for the last of the targets: with four threads, and with sixteen, of whose tasks the last comes first.
template <class F>
void for_each_executor(F f) {
  StdThreads threads{4};
  Reversed reversed;
  for (const Executor& executor :
       {Executor::from_function(4, threads), Executor::from_function(16, reversed)}) {
    Context context;
    context.target = tested_targets().back();
    context.executor = executor;
    f(context);
  }
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_EXECUTORS_H_
