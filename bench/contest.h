// SPDX-License-Identifier: Apache-2.0
// Contenders of one case in turns, and what comes of it.
#ifndef TESSERA_BENCH_CONTEST_H_
#define TESSERA_BENCH_CONTEST_H_

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/gemm_match.h"
#include "bench/gemm_options.h"

namespace tessera::bench {

struct Figure {
  std::string name, mode;
  GemmCheck check;
  bool rounded = false;   // activations, to integers
  std::string details{};  // which implementation a library chose
  double seconds = 0;     // median over the rounds
  double ratio = 0;       // speed of the best of Tessera's relative to this one
  std::vector<double> samples{};

  std::string label() const { return mode.empty() ? name : name + " " + mode; }
};

struct Result {
  std::size_t rounds = 0;
  double bytes = 0;               // as given
  double read_gb_per_second = 0;  // from memory; 0 unless the case is cold
  std::vector<Figure> figures{};
};

// If the case is cold, a read of memory takes part, and flushes the caches before each turn.
class Contest {
 public:
  Contest(bool cold, MatchTools& tools, const MatchOptions& options)
      : cold_(cold), tools_(tools), options_(options), turns_(turns_for(options)) {}

  void add(const Figure& figure, const std::function<void()>& call) {
    if (cold_) {
      turns_.add_after([this] { tools_.flusher().flush(); }, call);
    } else {
      turns_.add(call, options_.turn_seconds);
    }
    result_.figures.push_back(figure);
  }

  Result play(double bytes) {
    const std::size_t count = result_.figures.size();
    if (count == 0) return {};
    if (cold_) turns_.add_after([] {}, [this] { tools_.flusher().flush(); });
    bench::play(turns_, options_);
    result_.rounds = turns_.rounds();
    result_.bytes = bytes;
    if (cold_) result_.read_gb_per_second = 1e-9 * tools_.flusher().bytes() / turns_.seconds(count);
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < count; ++i) {
      Figure& f = result_.figures[i];
      f.seconds = turns_.seconds(i);
      f.samples = turns_.samples(i);
      if (f.name == "tessera" && (!best || f.seconds < result_.figures[*best].seconds)) best = i;
    }
    for (std::size_t i = 0; i < count && best; ++i) {
      result_.figures[i].ratio = turns_.speed_ratio(*best, i);
    }
    return result_;
  }

 private:
  const bool cold_;
  MatchTools& tools_;
  const MatchOptions& options_;
  RoundRobin turns_;
  Result result_;
};

// The items of a JSON list; more(figure) is a further member of each: "name": value, and a comma.
template <class More>
void print_json_figures(const std::vector<Figure>& figures, const More& more) {
  const char* separator = "";
  for (const Figure& f : figures) {
    const std::string error = std::isfinite(f.check.error) ? std::to_string(f.check.error) : "null";
    std::printf("%s{\"name\": %s, \"mode\": %s, %s", separator, json_string(f.name).c_str(),
                json_string(f.mode).c_str(), more(f).c_str());
    std::printf("\"verdict\": %s, \"error\": %s, \"seconds\": %.4g, \"samples\": [",
                json_string(f.check.verdict).c_str(), error.c_str(), f.seconds);
    for (std::size_t i = 0; i < f.samples.size(); ++i) {
      std::printf("%s%.4g", i == 0 ? "" : ", ", f.samples[i]);
    }
    std::printf("]}");
    separator = ", ";
  }
}

inline void print_json_figures(const std::vector<Figure>& figures) {
  print_json_figures(figures, [](const Figure&) { return std::string(); });
}

// What is wrong, a line each, to stderr. Whether Tessera is: of peers it is a finding, not a failure.
class WrongResults {
 public:
  void add(const Result& result, const std::string& title) {
    for (const Figure& f : result.figures) {
      if (!f.check.wrong()) continue;
      lines_ += f.label() + ": " + f.check.verdict + ", " + title + "\n";
      ours_ = ours_ || f.name == "tessera";
    }
  }
  int report() const {
    std::fputs(lines_.c_str(), stderr);
    return ours_ ? EXIT_FAILURE : EXIT_SUCCESS;
  }

 private:
  std::string lines_;
  bool ours_ = false;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_CONTEST_H_
