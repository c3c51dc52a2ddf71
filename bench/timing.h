// SPDX-License-Identifier: Apache-2.0
// Clocks, batches and round-robin timing for machines that are not quiet.
//
// Why rounds: the clock rate and the neighbours of a shared machine change within seconds, so two programs
// timed one after the other differ by 20 % without any reason of their own. Contenders that take turns,
// a few milliseconds each, see the same weather; the ratio within a round is stable, and its median over
// many rounds more so.
#ifndef TESSERA_BENCH_TIMING_H_
#define TESSERA_BENCH_TIMING_H_

#include <ctime>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace tessera::bench {

inline double clock_seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Seconds that this thread has run: time in which it was descheduled does not count. Only for work that
// stays on the calling thread.
inline double thread_seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

// Seconds that all threads of this process have run, for others' code on one thread: if it starts a second
// one after all, it pays for it.
inline double process_seconds() { return clock_seconds(CLOCK_PROCESS_CPUTIME_ID); }

// Seconds that have passed, for work on several threads.
inline double wall_seconds() { return clock_seconds(CLOCK_MONOTONIC); }

using Clock = double (*)();

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

// Seconds per call of `run`, over `calls` calls.
template <class F>
double seconds_per_call(F&& run, std::int64_t calls, Clock clock = thread_seconds) {
  const double start = clock();
  for (std::int64_t i = 0; i < calls; ++i) run();
  return (clock() - start) / static_cast<double>(calls);
}

// How many calls of `run` take at least `seconds`. Warms up what `run` uses.
template <class F>
std::int64_t calls_for(F&& run, double seconds, Clock clock = thread_seconds) {
  run();
  std::int64_t calls = 1;
  for (;;) {
    const double each = std::max(seconds_per_call(run, calls, clock), 1e-9);
    if (each * static_cast<double>(calls) >= 0.5 * seconds) {
      return std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds / each + 0.999));
    }
    calls *= 2;
  }
}

// Runs contenders in turn. Round r times each of them once, starting with contender r: nobody always
// runs first.
class RoundRobin {
 public:
  // Before each turn everybody rests for `rest_seconds`, and the turn's contender runs once untimed: the
  // threads of the one before wait actively for a while, on processors that this one needs.
  explicit RoundRobin(Clock clock = thread_seconds, double rest_seconds = 0)
      : clock_(clock), rest_seconds_(rest_seconds) {}

  // Times `run` in batches of as many calls as take `batch_seconds`, at least one.
  void add(std::function<void()> run, double batch_seconds) {
    const std::int64_t calls = calls_for(run, batch_seconds, clock_);
    turns_.push_back({std::move(run), {}, calls, {}});
  }

  // Times single calls of `run`, each after a call of `before` that is not timed.
  void add_after(std::function<void()> before, std::function<void()> run) {
    run();
    turns_.push_back({std::move(run), std::move(before), 1, {}});
  }

  void round() {
    const std::size_t count = turns_.size();
    for (std::size_t i = 0; i < count; ++i) {
      Turn& turn = turns_[(i + rounds_) % count];
      if (rest_seconds_ > 0) {
        std::this_thread::sleep_for(std::chrono::duration<double>(rest_seconds_));
        turn.run();
      }
      if (turn.before) turn.before();
      turn.seconds.push_back(seconds_per_call(turn.run, turn.calls, clock_));
    }
    ++rounds_;
  }

  std::size_t rounds() const { return rounds_; }

  // Median seconds per call.
  double seconds(std::size_t who) const { return median(turns_[who].seconds); }

  // Seconds per call in each round.
  const std::vector<double>& samples(std::size_t who) const { return turns_[who].seconds; }

  // The latest round's seconds per call.
  double latest(std::size_t who) const { return turns_[who].seconds.back(); }

  // Median over the rounds of the speed of `who` relative to `other`: above 1, `who` is faster.
  double speed_ratio(std::size_t who, std::size_t other) const {
    return median(ratios(who, other));
  }

  // Half the distance of the quartiles of those ratios: what a ratio is uncertain by in one round.
  double ratio_spread(std::size_t who, std::size_t other) const {
    std::vector<double> r = ratios(who, other);
    std::sort(r.begin(), r.end());
    return r.size() < 4 ? 0 : 0.5 * (r[r.size() * 3 / 4] - r[r.size() / 4]);
  }

 private:
  std::vector<double> ratios(std::size_t who, std::size_t other) const {
    std::vector<double> r;
    for (std::size_t i = 0; i < rounds_; ++i) {
      r.push_back(turns_[other].seconds[i] / turns_[who].seconds[i]);
    }
    return r;
  }

  struct Turn {
    std::function<void()> run, before;
    std::int64_t calls;           // of run, timed together
    std::vector<double> seconds;  // per call, one for each round
  };

  const Clock clock_;
  const double rest_seconds_;
  std::size_t rounds_ = 0;
  std::vector<Turn> turns_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_TIMING_H_
