// SPDX-License-Identifier: Apache-2.0
// One GEMM case: checked, then played in rounds by Tessera, its peers and the probes of what the machine can
// do at most.
#ifndef TESSERA_BENCH_GEMM_MATCH_H_
#define TESSERA_BENCH_GEMM_MATCH_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/gemm_cases.h"
#include "bench/gemm_workload.h"
#include "bench/peak.h"
#include "bench/peers.h"
#include "bench/thread_pool.h"
#include "bench/timing.h"

namespace tessera::bench {

struct MatchOptions {
  int threads = 1;
  // Least duration of a turn of a case that is not cold, by repeated calls.
  double turn_seconds = 20e-3;
  int rounds = 21;  // at most
  int least_rounds = 5;
  double seconds = 15;  // a case ends after the round in which it has taken so long
};

// Turns as many threads take them, and their rounds as the options say.
inline RoundRobin turns_for(const MatchOptions& options) {
  constexpr double kRestSeconds = 40e-3;  // OpenBLAS's threads wait for 2^26 cycles
  if (options.threads == 1) return RoundRobin(process_seconds);
  return RoundRobin(wall_seconds, kRestSeconds);
}
inline void play(RoundRobin& turns, const MatchOptions& options) {
  const double start = wall_seconds();
  while (static_cast<int>(turns.rounds()) < options.rounds) {
    turns.round();
    const bool late = wall_seconds() - start > options.seconds;
    if (late && static_cast<int>(turns.rounds()) >= options.least_rounds) break;
  }
}

struct GemmFigures {
  std::size_t contender;  // index in the list that the match was given
  GemmCheck check;
  double seconds;                // per call: median over the rounds
  double gflops, gb_per_second;  // at the median; the bytes are those that must be moved at least
  double share_of_peak;  // of flops; median over the rounds, against the probe of the same round
  double ratio, ratio_spread;   // speed of the first contender relative to this one
  std::vector<double> samples;  // seconds per call in each round
};

struct GemmResult {
  GemmCase gemm_case;
  std::string types;
  std::size_t rounds = 0;
  double bytes = 0;               // that must be moved at least
  double peak_gflops = 0;         // of f32 for all but f64
  double read_gb_per_second = 0;  // from memory; 0 unless the case is cold
  std::vector<GemmFigures> figures{};
};

// Memory far larger than the caches. Reading it flushes them, and shows what a streaming read can do.
class CacheFlusher {
 public:
  explicit CacheFlusher(ThreadPool& pool)
      : pool_(pool),
        bytes_(dram_probe_bytes(machine_caches())),
        memory_(tessera::detail::allocate_aligned(bytes_)) {
    // Pages that were never written share one of zeros.
    std::fill_n(memory_.get(), bytes_, std::byte{1});
  }

  void flush() {
    const auto threads = static_cast<std::size_t>(pool_.threads());
    const std::size_t part = bytes_ / threads / 4096 * 4096;
    const auto read = [&](index_t i) {
      peak_probe().read(memory_.get() + static_cast<std::size_t>(i) * part, part);
    };
    pool_(static_cast<index_t>(threads), read);
  }
  double bytes() const { return static_cast<double>(bytes_); }

 private:
  ThreadPool& pool_;
  std::size_t bytes_;
  tessera::detail::AlignedBytes memory_;
};

// What matches share: threads for the probes, and the memory that flushes caches once it is needed.
struct MatchTools {
  explicit MatchTools(int threads) : pool(threads) {}
  CacheFlusher& flusher() {
    if (!flusher_) flusher_.emplace(pool);
    return *flusher_;
  }
  ThreadPool pool;

 private:
  std::optional<CacheFlusher> flusher_;
};

template <class Types>
class GemmMatch {
 public:
  // `contenders` and `tools` must outlive the match. Those that can't do the case don't take part.
  GemmMatch(const GemmCase& gemm_case, const std::vector<GemmContender>& contenders,
            MatchTools& tools, const MatchOptions& options)
      : case_(gemm_case),
        options_(options),
        work_(gemm_case.shape, gemm_case.b_transposed),
        turns_(turns_for(options)) {
    const std::vector<GemmCheck> narrow = check_seven_bits(contenders);
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      const GemmRun run = contenders[i].prepare(work_.operands());
      if (!run) continue;
      GemmCheck check = work_.check(run);
      if (GemmWorkload<Types>::kInteger && check.wrong() && !narrow[i].wrong()) {
        check.verdict = kSaturates;
      }
      add(run.call, tools);
      entries_.push_back({i, check});
    }
    add_probes(tools);
  }
  GemmMatch(const GemmMatch&) = delete;
  GemmMatch& operator=(const GemmMatch&) = delete;

  void round() { turns_.round(); }

  void play() { bench::play(turns_, options_); }

  // Seconds per call in the latest round, of the first contender that takes part.
  double latest() const { return turns_.latest(0); }
  bool empty() const { return entries_.empty(); }

  GemmResult result() const {
    GemmResult result{.gemm_case = case_, .types = Types::kName, .rounds = turns_.rounds()};
    const double flops = case_.shape.flops();
    result.bytes = least_bytes<Types>(case_.shape);
    result.peak_gflops = 1e-9 * peak_flops_ / turns_.seconds(peak_);
    if (case_.cold) result.read_gb_per_second = 1e-9 * read_bytes_ / turns_.seconds(read_);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const double seconds = turns_.seconds(i);
      result.figures.push_back({.contender = entries_[i].contender,
                                .check = entries_[i].check,
                                .seconds = seconds,
                                .gflops = 1e-9 * flops / seconds,
                                .gb_per_second = 1e-9 * result.bytes / seconds,
                                .share_of_peak = turns_.speed_ratio(i, peak_) * flops / peak_flops_,
                                .ratio = turns_.speed_ratio(0, i),
                                .ratio_spread = turns_.ratio_spread(0, i),
                                .samples = turns_.samples(i)});
    }
    return result;
  }

 private:
  struct Entry {
    std::size_t contender;
    GemmCheck check;
  };

  void add(const std::function<void()>& call, MatchTools& tools) {
    if (case_.cold) {
      turns_.add_after([&tools] { tools.flusher().flush(); }, call);
    } else {
      turns_.add(call, options_.turn_seconds);
    }
  }

  void add_probes(MatchTools& tools) {
    const PeakProbe& probe = peak_probe();
    const auto fma = std::is_same_v<Types, F64> ? probe.fma_f64 : probe.fma_f32;
    peak_ = entries_.size();
    peak_flops_ = 2.0 * static_cast<double>(fma(kPeakFmas)) * tools.pool.threads();
    const auto run = [fma, &tools] {
      tools.pool(tools.pool.threads(), [fma](index_t) { fma(kPeakFmas); });
    };
    turns_.add(run, 0.25 * options_.turn_seconds);
    if (!case_.cold) return;
    read_ = peak_ + 1;
    read_bytes_ = tools.flusher().bytes();
    turns_.add_after([] {}, [&tools] { tools.flusher().flush(); });
  }

  // Of integers only: what comes out where nothing can saturate.
  std::vector<GemmCheck> check_seven_bits(const std::vector<GemmContender>& contenders) {
    std::vector<GemmCheck> checks(contenders.size());
    if constexpr (GemmWorkload<Types>::kInteger) {
      work_.fill(GemmWorkload<Types>::Range::kSevenBits);
      for (std::size_t i = 0; i < contenders.size(); ++i) {
        if (const GemmRun run = contenders[i].prepare(work_.operands()))
          checks[i] = work_.check(run);
      }
      work_.fill(GemmWorkload<Types>::Range::kFull);
    }
    return checks;
  }

  static constexpr std::int64_t kPeakFmas = 1 << 20;

  const GemmCase case_;
  const MatchOptions options_;
  GemmWorkload<Types> work_;
  RoundRobin turns_;
  std::vector<Entry> entries_;
  std::size_t peak_ = 0, read_ = 0;
  double peak_flops_ = 0, read_bytes_ = 0;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_GEMM_MATCH_H_
