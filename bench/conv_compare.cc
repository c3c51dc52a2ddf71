// SPDX-License-Identifier: Apache-2.0
// Convolutions: Tessera beside its peers, in one process and in turns. Prints tables, or lines of JSON that
// bench/compare makes a report of. See --help.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/comparison.h"
#include "bench/conv_contender.h"
#include "bench/conv_workload.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(conv_compare: convolutions of Tessera and its peers, checked, then timed in turns

  --convs LIST     f32,fast,s8 (all). fast: f32 where the order of the sums is free; s8: s8 x s8 -> s8, with a scale
                   per output channel
  --layers LIST    SIZExINxOUT:KERNEL[:STRIDE], or SIZExCHANNELS:KERNEL[:STRIDE] of a depthwise one; square images and
                   filters, padded by half of the latter (those of some networks)
  --quick          short turns
  --threads T      threads of every contender (1)
  --rounds N       turns of each contender, at most (21); medians are reported
  --turn-ms X      least duration of one turn, by repeated calls (20)
  --case-seconds X a case ends after the round in which it has taken so long (15)
  --peers LIST     of all peers only these; an empty list: none
  --json           lines of JSON instead of tables
  --list           the cases, without running them

One image. Weights are made ready before the clock starts. Activations are [h, w, channels]; libraries that only have
[channels, h, w] get and give that instead, at no cost. Speeds are operations per second of the sums as they are
defined, also where Winograd's algorithm needs fewer.
)";

struct ConvCase {
  ConvTypes types;
  ConvShape shape;

  const char* types_name() const { return kConvTypes[static_cast<std::size_t>(types)]; }
  std::string title() const { return std::string(types_name()) + " " + shape.name(); }
};

// ResNet's, the first of them with three channels, and depthwise ones of MobileNet and EfficientNet.
std::vector<ConvCase> standard_cases() {
  struct Layers {
    ConvTypes types;
    std::vector<const char*> shapes;
  };
  const Layers all[] = {
      {ConvTypes::kF32,
       {"56x64x64:3", "28x128x128:3", "14x256x256:3", "56x64x256:1", "224x3x64:7:2", "112x32:3",
        "14x672:5"}},
      {ConvTypes::kFast, {"56x64x64:3", "28x128x128:3", "14x256x256:3"}},
      {ConvTypes::kS8, {"56x64x64:3", "28x128x128:3", "56x64x256:1", "112x32:3"}}};
  std::vector<ConvCase> cases;
  for (const Layers& layers : all) {
    for (const char* shape : layers.shapes)
      cases.push_back({layers.types, parse_conv_shape(shape)});
  }
  return cases;
}

struct Options : ComparisonOptions {
  std::vector<ConvTypes> types;
  std::vector<ConvShape> layers;
};

Options parse(int argc, char** argv) {
  Options options;
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--convs")) {
      for (const std::string& name : split(line.value())) {
        options.types.push_back(parse_conv_types(name));
      }
    } else if (line.is("--layers")) {
      for (const std::string& shape : split(line.value())) {
        options.layers.push_back(parse_conv_shape(shape));
      }
    } else if (!options.take(line)) {
      line.unknown();
    }
  }
  return options;
}

std::vector<ConvCase> cases_of(const Options& options) {
  const auto wanted = [&](ConvTypes types) {
    return options.types.empty() ||
           std::find(options.types.begin(), options.types.end(), types) != options.types.end();
  };
  std::vector<ConvCase> cases;
  if (options.layers.empty()) {
    for (const ConvCase& c : standard_cases()) {
      if (wanted(c.types)) cases.push_back(c);
    }
    return cases;
  }
  for (const ConvTypes types : {ConvTypes::kF32, ConvTypes::kFast, ConvTypes::kS8}) {
    for (const ConvShape& shape : options.layers) {
      if (wanted(types)) cases.push_back({types, shape});
    }
  }
  return cases;
}

template <class T>
Result compare(const ConvCase& c, const ConvContenders& contenders, MatchTools& tools,
               const MatchOptions& options) {
  const ConvWorkload<T> work(c.shape, c.types == ConvTypes::kFast);
  Contest contest(false, tools, options);
  for (const ConvContender& who : contenders) {
    const ConvRun conv = who.prepare(work.operands());
    if (!conv.run) continue;
    contest.add(
        {.name = who.name, .mode = "", .check = work.check(conv.run), .details = conv.details},
        conv.run.call);
  }
  return contest.play(0);
}

void print_json(const ConvCase& c, const Result& result) {
  const ConvShape& s = c.shape;
  std::printf("{\"record\": \"conv\", \"types\": \"%s\", \"layer\": \"%s\"", c.types_name(),
              s.name().c_str());
  std::printf(", \"size\": %td, \"in\": %td, \"out\": %td, \"kernel\": %td, \"stride\": %td",
              s.size, s.in, s.out, s.kernel, s.stride);
  std::printf(", \"groups\": %td, \"flops\": %.0f, \"rounds\": %zu, \"results\": [", s.groups,
              s.flops(), result.rounds);
  print_json_figures(result.figures, [](const Figure& f) {
    return "\"details\": " + json_string(f.details) + ", ";
  });
  std::printf("]}\n");
}

void print_table(const ConvCase& c, const Result& result) {
  std::printf("\n%s: %zu rounds\n", c.title().c_str(), result.rounds);
  std::printf("  %-12s %9s   %-10s %s\n", "", c.types == ConvTypes::kS8 ? "GOP/s" : "GFLOP/s",
              "tessera is", "result");
  for (const Figure& f : result.figures) {
    std::printf("  %-12s %9.2f   %9.3fx %s (%.2g) %s\n", f.label().c_str(),
                1e-9 * c.shape.flops() / f.seconds, f.ratio, f.check.verdict, f.check.error,
                f.details.c_str());
  }
}

int run(const Options& options) {
  const auto play = [&](const ConvCase& c, const ConvContenders& contenders, MatchTools& tools) {
    const auto compare_types = c.types == ConvTypes::kS8 ? compare<std::int8_t> : compare<float>;
    return compare_types(c, contenders, tools, options.match);
  };
  return run_comparison(options, cases_of(options), tessera_conv(options.match.threads),
                        find_conv_peers, play);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  return tessera::bench::run_program(
      "conv_compare", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
