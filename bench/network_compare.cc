// SPDX-License-Identifier: Apache-2.0
// Whole networks: Tessera beside its peers, in one process and in turns. Prints tables, or lines of JSON that
// bench/compare makes a report of. See --help.
#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/comparison.h"
#include "bench/network_contender.h"
#include "bench/network_workload.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(network_compare: whole networks of Tessera and its peers, checked, then timed in turns

  --networks LIST  mobilenet-ssd,face-resnet (all)
  --quick          short turns
  --threads T      threads of every contender (1)
  --rounds N       turns of each contender, at most (21); medians are reported
  --turn-ms X      least duration of one turn, by repeated calls (20)
  --case-seconds X a case ends after the round in which it has taken so long (15)
  --peers LIST     of all peers only these; an empty list: none
  --json           lines of JSON instead of tables
  --list           the cases, without running them

One image, f32, random weights in the shapes of real networks: an SSD on MobileNet V1 of 512 x 512, and a ResNet of 29
layers for faces of 150 x 150. Tessera: its functions one after the other, on packed filters and [h, w, channels]. ONNX
Runtime: one model of [channels, h, w], with all of its optimizations. All outputs are compared with those of f64.
)";

struct NetworkCase {
  Network network;
  std::string title() const { return "f32 " + network.name; }
};

struct Options : ComparisonOptions {
  std::vector<NetworkCase> cases;
};

Options parse(int argc, char** argv) {
  const NetworkCase known[] = {{mobilenet_ssd()}, {face_resnet()}};
  Options options;
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--networks")) {
      for (const std::string& name : split(line.value())) {
        const auto* const found =
            std::find_if(std::begin(known), std::end(known),
                         [&](const NetworkCase& c) { return c.network.name == name; });
        if (found == std::end(known)) {
          throw std::invalid_argument("--networks: there is no " + name);
        }
        options.cases.push_back(*found);
      }
    } else if (!options.take(line)) {
      line.unknown();
    }
  }
  if (options.cases.empty()) options.cases.assign(std::begin(known), std::end(known));
  return options;
}

void print_json(const NetworkCase& c, const Result& result) {
  std::printf("{\"record\": \"network\", \"types\": \"f32\", \"network\": \"%s\"",
              c.network.name.c_str());
  std::printf(", \"flops\": %.0f, \"rounds\": %zu, \"results\": [", c.network.flops(),
              result.rounds);
  print_json_figures(result.figures);
  std::printf("]}\n");
}

void print_table(const NetworkCase& c, const Result& result) {
  std::printf("\n%s: %zu rounds\n", c.title().c_str(), result.rounds);
  std::printf("  %-12s %9s %9s   %-10s %s\n", "", "ms", "GFLOP/s", "tessera is", "result");
  for (const Figure& f : result.figures) {
    std::printf("  %-12s %9.2f %9.2f   %9.3fx %s (%.2g)\n", f.label().c_str(), 1e3 * f.seconds,
                1e-9 * c.network.flops() / f.seconds, f.ratio, f.check.verdict, f.check.error);
  }
}

int run(const Options& options) {
  const auto play = [&](const NetworkCase& c, const NetworkContenders& contenders,
                        MatchTools& tools) {
    const NetworkWorkload work(c.network);
    Contest contest(false, tools, options.match);
    for (const NetworkContender& who : contenders) {
      const GemmRun network = who.prepare(work.operands());
      contest.add({.name = who.name, .mode = "", .check = work.check(network)}, network.call);
    }
    return contest.play(0);
  };
  return run_comparison(options, options.cases, tessera_networks(options.match.threads),
                        find_network_peers, play);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  return tessera::bench::run_program(
      "network_compare", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
