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
#include <cstdint>
#include <functional>
#include <vector>

namespace tessera::bench {

// Seconds that this thread has run: time in which it was descheduled does not count. Only for work that
// stays on the calling thread.
inline double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

// Seconds per call of `run`, over `calls` calls.
template <class F>
double seconds_per_call(F&& run, std::int64_t calls) {
  const double start = thread_seconds();
  for (std::int64_t i = 0; i < calls; ++i) run();
  return (thread_seconds() - start) / static_cast<double>(calls);
}

// How many calls of `run` take at least `seconds`. Warms up what `run` uses.
template <class F>
std::int64_t calls_for(F&& run, double seconds) {
  run();
  std::int64_t calls = 1;
  for (;;) {
    const double each = std::max(seconds_per_call(run, calls), 1e-9);
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
  // Times `run` in batches of as many calls as take `batch_seconds`, at least one.
  void add(std::function<void()> run, double batch_seconds) {
    calls_.push_back(calls_for(run, batch_seconds));
    runs_.push_back(std::move(run));
    seconds_.emplace_back();
  }

  void round() {
    const std::size_t count = runs_.size();
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t who = (i + rounds_) % count;
      seconds_[who].push_back(seconds_per_call(runs_[who], calls_[who]));
    }
    ++rounds_;
  }

  std::size_t rounds() const { return rounds_; }

  // Median seconds per call.
  double seconds(std::size_t who) const { return median(seconds_[who]); }

  double best_seconds(std::size_t who) const {
    return *std::min_element(seconds_[who].begin(), seconds_[who].end());
  }

  // The latest round's seconds per call.
  double latest(std::size_t who) const { return seconds_[who].back(); }

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
    for (std::size_t i = 0; i < rounds_; ++i) r.push_back(seconds_[other][i] / seconds_[who][i]);
    return r;
  }

  std::size_t rounds_ = 0;
  std::vector<std::function<void()>> runs_;
  std::vector<std::int64_t> calls_;
  std::vector<std::vector<double>> seconds_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_TIMING_H_
