// SPDX-License-Identifier: Apache-2.0
// Tessera alone over many sizes: lines of JSON with the seconds of each, in which bench/compare --sweep looks
// for cliffs. See --help.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "bench/gemm_options.h"
#include "bench/gemm_workload.h"
#include "bench/peers.h"
#include "bench/timing.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(gemm_sweep: GEMM of Tessera over many sizes

  --types LIST   f32,f64,s8,bf16,f16 (the default: all that Tessera has)
  --series TEXT  only series with TEXT in their names
  --packed       with B packed before the clock starts
  --passes N     over all sizes of a series (5); medians are reported
  --turn-ms X    least duration of one measurement, by repeated calls (2)
)";

struct Options {
  std::vector<std::string> types;
  std::string series;
  bool packed = false;
  int passes = 5;
  double turn_seconds = 2e-3;
};

// Shapes that differ in one extent, or in all of a square.
struct Series {
  std::string name;
  std::vector<GemmShape> shapes;
  bool b_transposed = false;
};

// Every size up to `dense`, then each multiple of `step` up to `last` with its neighbours: register tiles end
// at multiples of small numbers, cache blocks of larger ones.
std::vector<index_t> sizes(index_t dense, index_t step, index_t last) {
  std::set<index_t> all;
  for (index_t n = 1; n <= dense; ++n) all.insert(n);
  for (index_t n = step; n <= last; n += step) {
    for (const index_t near : {n - 1, n, n + 1}) all.insert(near);
  }
  return {all.begin(), all.end()};
}

std::vector<Series> all_series() {
  std::vector<Series> result;
  const auto add = [&result](const char* name, const std::vector<index_t>& extents, auto shape,
                             bool b_transposed = false) {
    result.push_back({name, {}, b_transposed});
    for (const index_t x : extents) result.back().shapes.push_back(shape(x));
  };
  using N = index_t;
  add("square", sizes(72, 16, 512), [](N x) { return GemmShape{x, x, x}; });
  add("m, n = k = 256", sizes(72, 64, 512), [](N x) { return GemmShape{x, 256, 256}; });
  add("n, m = k = 256", sizes(136, 64, 512), [](N x) { return GemmShape{256, x, 256}; });
  add("k, m = n = 128", sizes(72, 64, 2048), [](N x) { return GemmShape{128, 128, x}; });
  add("n, m = 1, k = 1024", sizes(136, 128, 2048), [](N x) { return GemmShape{1, x, 1024}; });
  add("k, m = 1, n = 1024", sizes(72, 128, 2048), [](N x) { return GemmShape{1, 1024, x}; });
  add(
      "n, m = 1, k = 1024, B^T", sizes(72, 128, 2048), [](N x) { return GemmShape{1, x, 1024}; },
      true);
  add(
      "k, m = 1, n = 1024, B^T", sizes(136, 128, 2048), [](N x) { return GemmShape{1, 1024, x}; },
      true);
  add("m = n = k around powers of two", {511, 512, 513, 767, 768, 769, 1023, 1024, 1025},
      [](N x) { return GemmShape{x, x, x}; });
  return result;
}

template <class Types>
void sweep(const Series& series, const GemmContender& tessera, const Options& options) {
  struct Point {
    std::unique_ptr<GemmWorkload<Types>> work;
    GemmRun run;
    std::int64_t calls;
    std::vector<double> seconds;
  };
  std::vector<Point> points;
  for (const GemmShape& shape : series.shapes) {
    Point p{std::make_unique<GemmWorkload<Types>>(shape, series.b_transposed), {}, 0, {}};
    p.run = tessera.prepare(p.work->operands());
    p.calls = calls_for(p.run.call, options.turn_seconds);
    points.push_back(std::move(p));
  }
  // Whole passes, so that a slow moment of the machine is a moment of all sizes or an outlier of a few.
  for (int pass = 0; pass < options.passes; ++pass) {
    for (Point& p : points) {
      p.run.call();  // into the caches
      p.seconds.push_back(seconds_per_call(p.run.call, p.calls));
    }
  }
  std::printf("{\"record\": \"series\", \"types\": %s, \"name\": %s, \"packed\": %s, \"points\": [",
              json_string(Types::kName).c_str(), json_string(series.name).c_str(),
              options.packed ? "true" : "false");
  for (std::size_t i = 0; i < points.size(); ++i) {
    const GemmShape& s = series.shapes[i];
    std::printf("%s[%td, %td, %td, %.5g]", i == 0 ? "" : ", ", s.m, s.n, s.k,
                median(points[i].seconds));
  }
  std::printf("]}\n");
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options options;
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--types")) {
      options.types = parse_types(line.value());
    } else if (line.is("--series")) {
      options.series = line.value();
    } else if (line.is("--packed")) {
      options.packed = true;
    } else if (line.is("--passes")) {
      options.passes = line.count();
    } else if (line.is("--turn-ms")) {
      options.turn_seconds = 1e-3 * line.number();
    } else {
      line.unknown();
    }
  }
  return options;
}

int run(const Options& options) {
  const GemmContender tessera = tessera_contender(1, options.packed);
  std::printf("{\"record\": \"machine\", \"target\": %s}\n",
              json_string(name(active_target())).c_str());
  for_each_types([&](auto kind) {
    const auto& types = options.types;
    if (!types.empty() && std::find(types.begin(), types.end(), kind.kName) == types.end()) return;
    if (!tessera.has<decltype(kind)>()) return;
    for (const Series& series : all_series()) {
      if (series.name.find(options.series) == std::string::npos) continue;
      std::fprintf(stderr, "%s %s: %zu sizes\n", kind.kName, series.name.c_str(),
                   series.shapes.size());
      sweep<decltype(kind)>(series, tessera, options);
    }
  });
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  return tessera::bench::run_program(
      "gemm_sweep", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
