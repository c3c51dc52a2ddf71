// SPDX-License-Identifier: Apache-2.0
// One GEMM case played in rounds by Tessera, its peers and the FMA peak probe.
#ifndef TESSERA_BENCH_GEMM_MATCH_H_
#define TESSERA_BENCH_GEMM_MATCH_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/gemm_workload.h"
#include "bench/peak.h"
#include "bench/peers.h"
#include "bench/timing.h"

namespace tessera::bench {

template <class T>
constexpr const char* kTypeName = sizeof(T) == sizeof(float) ? "f32" : "f64";

struct GemmFigures {
  double gflops, best_gflops;  // median and best round
  double share_of_peak;        // median over the rounds, against the probe of the same round
  double ratio, ratio_spread;  // speed of the first contender relative to this one
};

template <class T>
class GemmMatch {
 public:
  // `contenders` must outlive the match. A turn lasts at least `turn_seconds`.
  GemmMatch(const GemmShape& shape, const std::vector<GemmContender>& contenders,
            double turn_seconds)
      : work_(shape) {
    const PeakProbe& probe = peak_probe();
    const auto fma = sizeof(T) == sizeof(float) ? probe.fma_f32 : probe.fma_f64;
    for (const GemmContender& who : contenders) {
      turns_.add([this, &who] { work_.run(who); }, turn_seconds);
    }
    peak_ = contenders.size();
    peak_flops_ = 2.0 * static_cast<double>(fma(kPeakFmas));
    turns_.add([fma] { fma(kPeakFmas); }, 0.25 * turn_seconds);
  }
  GemmMatch(const GemmMatch&) = delete;
  GemmMatch& operator=(const GemmMatch&) = delete;

  void round() { turns_.round(); }

  // Seconds per call in the latest round.
  double latest(std::size_t who) const { return turns_.latest(who); }

  double peak_gflops() const { return 1e-9 * peak_flops_ / turns_.seconds(peak_); }

  GemmFigures figures(std::size_t who) const {
    const double flops = work_.shape.flops();
    return {.gflops = 1e-9 * flops / turns_.seconds(who),
            .best_gflops = 1e-9 * flops / turns_.best_seconds(who),
            .share_of_peak = turns_.speed_ratio(who, peak_) * flops / peak_flops_,
            .ratio = turns_.speed_ratio(0, who),
            .ratio_spread = turns_.ratio_spread(0, who)};
  }

 private:
  static constexpr std::int64_t kPeakFmas = 1 << 20;

  GemmWorkload<T> work_;
  RoundRobin turns_;
  std::size_t peak_ = 0;
  double peak_flops_ = 0;
};

// The largest error of each contender over `shapes`, as a share of the bound (GemmWorkload::error),
// printed as one line to `out`. Returns one line for each that is wrong.
template <class T>
std::string check_contenders(const std::vector<GemmContender>& contenders,
                             const std::vector<GemmShape>& shapes, std::FILE* out) {
  std::string wrong;
  std::vector<double> worst(contenders.size(), 0);
  for (const GemmShape& shape : shapes) {
    GemmWorkload<T> work(shape);
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      const double error = work.error(contenders[i]);
      worst[i] = std::max(worst[i], error);
      if (!(error <= 1)) {
        wrong += contenders[i].name + " is wrong at " + shape.name() + " " + kTypeName<T> + "\n";
      }
    }
  }
  std::fprintf(out, "%s: largest error, of the bound (k+1) u |A||B|:", kTypeName<T>);
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    std::fprintf(out, "  %s %.3f", contenders[i].name.c_str(), worst[i]);
  }
  std::fprintf(out, "\n");
  return wrong;
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_GEMM_MATCH_H_
