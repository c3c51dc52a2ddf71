// SPDX-License-Identifier: Apache-2.0
// The cases of gemm_compare for Google Benchmark: --benchmark_filter, --benchmark_format=json and so on work
// as usual. One iteration is one round in which Tessera, every peer and the probes take turns; the time that
// is reported is Tessera's for one call, the counters are medians.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/gemm_match.h"
#include "bench/peak.h"
#include "bench/peers.h"

namespace tessera::bench {
namespace {

constexpr int kRounds = 15;

template <class Types>
void gemm_case(benchmark::State& state, const GemmCase& gemm_case,
               const std::vector<GemmContender>& contenders, MatchTools& tools) {
  GemmMatch<Types> match(gemm_case, contenders, tools, {});
  for (auto _ : state) {
    match.round();
    state.SetIterationTime(match.latest());
  }
  const GemmResult result = match.result();
  for (const GemmFigures& f : result.figures) {
    const std::string who = contenders[f.contender].label();
    if (f.check.wrong()) state.SkipWithError((who + " is wrong").c_str());
    state.counters[who + " GFLOP/s"] = f.gflops;
    if (&f == &result.figures.front()) {
      state.counters["of_peak"] = f.share_of_peak;
    } else {
      state.counters["vs " + who] = f.ratio;
    }
  }
}

int run(int argc, char** argv) {
  std::vector<std::string> missing;
  std::vector<GemmContender> contenders = {tessera_contender(), tessera_contender(1, true)};
  for (GemmContender& peer : find_peers(1, missing)) contenders.push_back(std::move(peer));
  MatchTools tools(1);
  for_each_types([&](auto kind) {
    using Types = decltype(kind);
    if (!contenders[0].has<Types>()) return;
    for (const GemmCase& c : gemm_cases()) {
      if (!case_has_types(c, Types::kName)) continue;
      std::string name = std::string("gemm/") + Types::kName + "/" + c.group + "/" + c.shape.name();
      if (c.b_transposed) name += "/transposed";
      if (c.cold) name += "/cold";
      benchmark::RegisterBenchmark(name.c_str(),
                                   [c, &contenders, &tools](benchmark::State& state) {
                                     gemm_case<Types>(state, c, contenders, tools);
                                   })
          ->UseManualTime()
          ->Iterations(kRounds)
          ->Unit(benchmark::kMicrosecond);
    }
  });
  for (const GemmContender& who : contenders) {
    benchmark::AddCustomContext(who.label(), who.description);
  }
  benchmark::Initialize(&argc, argv);  // handles --benchmark_list_tests and --help
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;

  // On stderr, as stdout may be JSON.
  for (const std::string& line : missing) std::fprintf(stderr, "%s\n", line.c_str());
  std::fprintf(stderr, "peak of one core: f32 %.1f, f64 %.1f GFLOP/s\n",
               fma_peak_gflops<float>(peak_probe()), fma_peak_gflops<double>(peak_probe()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) { return tessera::bench::run(argc, argv); }
