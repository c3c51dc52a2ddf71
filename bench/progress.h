// SPDX-License-Identifier: Apache-2.0
// How far a long run is, on stderr.
#ifndef TESSERA_BENCH_PROGRESS_H_
#define TESSERA_BENCH_PROGRESS_H_

#include <unistd.h>

#include <cstdio>
#include <string>

#include "bench/timing.h"

namespace tessera::bench {

struct ProgressOptions {
  bool lines = true;  // where stderr is no terminal: a line per step, or nothing
  double seconds_apart =
      0;  // least time between two drawings of the bar, for steps that are many and short
};

// A bar that rewrites itself on a terminal, and is gone at the end.
class Progress {
 public:
  explicit Progress(std::size_t all, const ProgressOptions& options = {})
      : all_(all), options_(options), terminal_(isatty(STDERR_FILENO) != 0) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  // The next step, before it is done.
  void start(const std::string& what) {
    const std::size_t done = done_++;
    const double share = static_cast<double>(done) / static_cast<double>(all_);
    const double now = wall_seconds();
    if (!terminal_) {
      if (options_.lines) std::fprintf(stderr, "[%zu/%zu] %s\n", done + 1, all_, what.c_str());
      return;
    }
    if (done != 0 && now - drawn_ < options_.seconds_apart) return;
    drawn_ = now;
    constexpr int kWidth = 30;
    const int filled = static_cast<int>(share * kWidth);
    std::fprintf(stderr, "\r\033[K[%s%s] %zu/%zu", std::string(filled, '#').c_str(),
                 std::string(kWidth - filled, '.').c_str(), done + 1, all_);
    const double seconds = now - start_;
    if (done != 0) std::fprintf(stderr, ", about %.0f s left", seconds / share - seconds);
    std::fprintf(stderr, ": %s", what.c_str());
  }
  // Before anything else is written.
  void clear() const {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  const std::size_t all_;
  const ProgressOptions options_;
  const bool terminal_;
  const double start_ = wall_seconds();
  double drawn_ = 0;
  std::size_t done_ = 0;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_PROGRESS_H_
