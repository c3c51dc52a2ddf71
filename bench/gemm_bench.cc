// SPDX-License-Identifier: Apache-2.0
// GEMM cases for Google Benchmark: --benchmark_filter, --benchmark_format=json and so on work as usual.
// One iteration is one round in which Tessera, every peer and the peak probe take turns; the time
// that is reported is Tessera's for one call, the counters are medians. gemm_compare prints the same
// figures as a table.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/gemm_match.h"
#include "bench/peak.h"
#include "bench/peers.h"
#include "tessera/ops/gemm.h"

namespace tessera::bench {
namespace {

constexpr int kRounds = 15;
constexpr double kTurnSeconds = 20e-3;

template <class T>
void gemm_case(benchmark::State& state, const GemmShape& shape,
               const std::vector<GemmContender>& contenders) {
  GemmMatch<T> match(shape, contenders, kTurnSeconds);
  for (auto _ : state) {
    match.round();
    state.SetIterationTime(match.latest(0));
  }
  const GemmFigures ours = match.figures(0);
  state.counters["GFLOP/s"] = ours.gflops;
  state.counters["of_peak"] = ours.share_of_peak;
  for (std::size_t i = 1; i < contenders.size(); ++i) {
    const GemmFigures peer = match.figures(i);
    state.counters[contenders[i].name] = peer.gflops;
    state.counters["vs_" + contenders[i].name] = peer.ratio;
  }
}

template <class T>
void register_cases(const std::vector<GemmShape>& shapes,
                    const std::vector<GemmContender>& contenders) {
  for (const GemmShape& shape : shapes) {
    const std::string name = std::string("gemm/") + kTypeName<T> + "/" + shape.name();
    benchmark::RegisterBenchmark(
        name.c_str(),
        [shape, &contenders](benchmark::State& state) { gemm_case<T>(state, shape, contenders); })
        ->UseManualTime()
        ->Iterations(kRounds)
        ->Unit(benchmark::kMicrosecond);
  }
}

int run(int argc, char** argv) {
  std::vector<GemmShape> shapes = kSquareShapes;
  shapes.insert(shapes.end(), kOtherShapes.begin(), kOtherShapes.end());
  std::vector<std::string> missing;
  std::vector<GemmContender> contenders = {tessera_contender()};
  for (GemmContender& peer : find_peers(missing)) contenders.push_back(std::move(peer));
  register_cases<float>(shapes, contenders);
  register_cases<double>(shapes, contenders);

  for (const GemmContender& who : contenders) {
    benchmark::AddCustomContext(who.name, who.description);
  }
  benchmark::Initialize(&argc, argv);  // handles --benchmark_list_tests and --help
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;

  // On stderr, as stdout may be JSON.
  for (const std::string& line : missing) std::fprintf(stderr, "%s\n", line.c_str());
  const std::string wrong = check_contenders<float>(contenders, shapes, stderr) +
                            check_contenders<double>(contenders, shapes, stderr);
  std::fprintf(stderr, "peak of one core: f32 %.1f, f64 %.1f GFLOP/s\n",
               fma_peak_gflops<float>(peak_probe()), fma_peak_gflops<double>(peak_probe()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  std::fputs(wrong.c_str(), stderr);
  return wrong.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) { return tessera::bench::run(argc, argv); }
