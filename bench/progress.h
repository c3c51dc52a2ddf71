// SPDX-License-Identifier: Apache-2.0
// How far a long run is, on stderr.
#ifndef TESSERA_BENCH_PROGRESS_H_
#define TESSERA_BENCH_PROGRESS_H_

#include <unistd.h>

#include <cstdio>
#include <string>

#include "bench/timing.h"

namespace tessera::bench {

// A bar that rewrites itself on a terminal, a line per case elsewhere.
class Progress {
 public:
  explicit Progress(std::size_t all) : all_(all), terminal_(isatty(STDERR_FILENO) != 0) {}

  void start(const std::string& what) {
    const double share = static_cast<double>(done_) / static_cast<double>(all_);
    const double seconds = wall_seconds() - start_;
    if (!terminal_) {
      std::fprintf(stderr, "[%zu/%zu] %s\n", done_ + 1, all_, what.c_str());
    } else {
      constexpr int kWidth = 30;
      const int filled = static_cast<int>(share * kWidth);
      std::fprintf(stderr, "\r\033[K[%s%s] %zu/%zu", std::string(filled, '#').c_str(),
                   std::string(kWidth - filled, '.').c_str(), done_ + 1, all_);
      if (done_ != 0) std::fprintf(stderr, ", about %.0f s left", seconds / share - seconds);
      std::fprintf(stderr, ": %s", what.c_str());
    }
    ++done_;
  }
  // Before anything else is written.
  void clear() const {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  const std::size_t all_;
  const bool terminal_;
  const double start_ = wall_seconds();
  std::size_t done_ = 0;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_PROGRESS_H_
