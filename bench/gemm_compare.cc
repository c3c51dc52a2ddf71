// SPDX-License-Identifier: Apache-2.0
// Tessera beside its peers, in one process and in turns. Prints tables, or lines of JSON that bench/compare
// makes a report of. See --help.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gemm_match.h"
#include "bench/gemm_options.h"
#include "bench/machine.h"
#include "bench/match_options.h"
#include "bench/peers.h"
#include "bench/progress.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(gemm_compare: GEMM of Tessera and its peers, checked, then timed in turns

  --shapes LIST    square, decode, batch, prefill, conv, all (the default), or MxNxK,... (N alone is NxNxN),
                   with :t for B stored transposed and :c for cold caches, as 1x4096x4096:t:c
  --types LIST     f32,f64,s8,bf16,f16 (the default: all that Tessera has)
  --filter TEXT    only cases with TEXT in "types group shape", as "f32 square 512x512x512"
  --quick          few cases and short ones
  --threads T      threads of every contender (1)
  --rounds N       turns of each contender, at most (21); medians are reported
  --turn-ms X      least duration of one turn, by repeated calls (20)
  --case-seconds X a case ends after the round in which it has taken so long (15)
  --variant LIST   one more contender: Tessera with tile=N,mc=N,kc=N,nc=N,packing=never|always;
                   may be given more than once
  --cblas NAME=FILE  one more contender: a shared library with cblas_sgemm and cblas_dgemm
  --peers LIST     of all peers only these; an empty list: none
  --json           lines of JSON instead of tables
  --list           the cases, without running them

"packed": B is reordered before the clock starts. Ratios are medians of the ratios within each round, +- half
their interquartile range. "of peak" is against a multiply-add loop in registers that takes turns with the
others, in f64 for f64 and in f32 for all other types.
The environment variable TESSERA_TARGET chooses the target; OpenBLAS, BLIS, oneDNN and libxsmm are then limited
to the same instructions, unless OPENBLAS_CORETYPE or BLIS_ARCH_TYPE is set; peers that can't be are left out.
)";

struct Options : ComparisonOptions {
  std::vector<GemmCase> cases = gemm_cases();
  std::vector<std::string> types, variants, libraries;
  std::string filter;
};

Options parse(int argc, char** argv) {
  Options options;
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--shapes")) {
      options.cases = parse_cases(line.value());
    } else if (line.is("--types")) {
      options.types = parse_types(line.value());
    } else if (line.is("--filter")) {
      options.filter = line.value();
    } else if (line.is("--variant")) {
      options.variants.push_back(line.value());
    } else if (line.is("--cblas")) {
      options.libraries.push_back(line.value());
    } else if (!options.take(line)) {
      line.unknown();
    }
  }
  return options;
}

struct Entry {
  GemmCase gemm_case;
  std::string types;
};

// What will be compared: cases by types. Types that Tessera lacks only where they were asked for.
std::vector<Entry> entries_of(const Options& options, const GemmContender& tessera) {
  std::vector<Entry> entries;
  for_each_types([&](auto kind) {
    const std::string types = kind.kName;
    const bool asked =
        std::find(options.types.begin(), options.types.end(), types) != options.types.end();
    if (options.types.empty() ? !tessera.has<decltype(kind)>() : !asked) return;
    for (const GemmCase& c : options.cases) {
      const std::string title = types + " " + c.group + " " + c.name();
      if (c.group != "given" && (!case_has_types(c, types) || (options.quick && !c.quick)))
        continue;
      if (title.find(options.filter) == std::string::npos) continue;
      entries.push_back({c, types});
    }
  });
  return entries;
}

std::vector<GemmContender> contenders_of(const Options& options,
                                         std::vector<std::string>& missing) {
  const int threads = options.match.threads;
  std::vector<GemmContender> contenders = {tessera_contender(threads),
                                           tessera_contender(threads, true)};
  for (const std::string& variant : options.variants) {
    contenders.push_back(tessera_contender(threads, false, variant));
  }
  for (const std::string& library : options.libraries) {
    const std::size_t equals = library.find('=');
    if (equals == std::string::npos) throw std::invalid_argument("--cblas NAME=FILE");
    contenders.push_back(cblas_contender(library.substr(0, equals), library.substr(equals + 1)));
  }
  options.add_peers(contenders, missing, find_peers);
  return contenders;
}

void print_json(const GemmResult& result, const std::vector<GemmContender>& contenders) {
  const GemmCase& c = result.gemm_case;
  std::printf(
      "{\"record\": \"case\", \"types\": %s, \"group\": %s, \"m\": %td, \"n\": %td, \"k\": %td",
      json_string(result.types).c_str(), json_string(c.group).c_str(), c.shape.m, c.shape.n,
      c.shape.k);
  std::printf(", \"b_transposed\": %s, \"cold\": %s, \"rounds\": %zu",
              c.b_transposed ? "true" : "false", c.cold ? "true" : "false", result.rounds);
  std::printf(
      ", \"bytes\": %.0f, \"peak_gflops\": %.2f, \"read_gb_per_second\": %.2f, \"results\": [",
      result.bytes, result.peak_gflops, result.read_gb_per_second);
  const char* separator = "";
  for (const GemmFigures& f : result.figures) {
    const GemmContender& who = contenders[f.contender];
    const std::string error = std::isfinite(f.check.error) ? std::to_string(f.check.error) : "null";
    std::printf("%s{\"name\": %s, \"packed\": %s, \"verdict\": %s, \"error\": %s", separator,
                json_string(who.name).c_str(), who.packed ? "true" : "false",
                json_string(f.check.verdict).c_str(), error.c_str());
    std::printf(", \"seconds\": %.4g, \"gflops\": %.2f, \"gb_per_second\": %.3f", f.seconds,
                f.gflops, f.gb_per_second);
    std::printf(", \"share_of_peak\": %.4f, \"samples\": [", f.share_of_peak);
    for (std::size_t i = 0; i < f.samples.size(); ++i) {
      std::printf("%s%.4g", i == 0 ? "" : ", ", f.samples[i]);
    }
    std::printf("]}");
    separator = ", ";
  }
  std::printf("]}\n");
}

void print_table(const GemmResult& result, const std::vector<GemmContender>& contenders) {
  const GemmCase& c = result.gemm_case;
  std::printf("\n%s %s %s: %zu rounds, peak %.1f GFLOP/s", result.types.c_str(), c.group.c_str(),
              c.name().c_str(), result.rounds, result.peak_gflops);
  if (c.cold) std::printf(", memory %.1f GB/s", result.read_gb_per_second);
  std::printf("\n  %-22s %9s %8s %9s   %-17s %s\n", "", "GFLOP/s", "of peak", "GB/s",
              (contenders[result.figures[0].contender].name + " is").c_str(), "result");
  for (const GemmFigures& f : result.figures) {
    std::printf("  %-22s %9.1f %7.0f%% %9.2f   %6.3fx +- %-6.3f %s (%.2g)\n",
                contenders[f.contender].label().c_str(), f.gflops, 100 * f.share_of_peak,
                f.gb_per_second, f.ratio, f.ratio_spread, f.check.verdict, f.check.error);
  }
}

int run(const Options& options) {
  std::vector<std::string> missing;
  const std::vector<GemmContender> contenders = contenders_of(options, missing);
  const std::vector<Entry> entries = entries_of(options, contenders[0]);
  if (options.list) {
    for (const Entry& e : entries) {
      std::printf("%s %s %s\n", e.types.c_str(), e.gemm_case.group.c_str(),
                  e.gemm_case.name().c_str());
    }
    return EXIT_SUCCESS;
  }
  if (options.json) {
    print_machine_json(options.match.threads, contenders, missing, entries.size());
  } else {
    print_machine(options.match.threads, contenders, missing);
  }
  std::fflush(stdout);

  MatchTools tools(options.match.threads);
  Progress progress(entries.size());
  std::string wrong;
  bool tessera_wrong = false;  // of peers it is a finding, not a failure
  for (const Entry& entry : entries) {
    const std::string title =
        entry.types + " " + entry.gemm_case.group + " " + entry.gemm_case.name();
    progress.start(title);
    for_each_types([&](auto kind) {
      if (entry.types != kind.kName) return;
      GemmMatch<decltype(kind)> match(entry.gemm_case, contenders, tools, options.match);
      if (match.empty()) return;
      match.play();
      const GemmResult result = match.result();
      progress.clear();
      options.json ? print_json(result, contenders) : print_table(result, contenders);
      std::fflush(stdout);
      for (const GemmFigures& f : result.figures) {
        const bool ours = contenders[f.contender].name == contenders[0].name;
        const bool saturates = f.check.verdict == std::string_view(kSaturates);
        if (!f.check.wrong() && !(ours && saturates)) continue;
        wrong += contenders[f.contender].label() + ": " + f.check.verdict + ", " + title + "\n";
        tessera_wrong = tessera_wrong || ours;
      }
    });
  }
  std::fputs(wrong.c_str(), stderr);
  return tessera_wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  return tessera::bench::run_program(
      "gemm_compare", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
