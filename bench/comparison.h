// SPDX-License-Identifier: Apache-2.0
// What the programs that play contests have in common: contenders, the machine, one case after the other.
#ifndef TESSERA_BENCH_COMPARISON_H_
#define TESSERA_BENCH_COMPARISON_H_

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/contest.h"
#include "bench/gemm_match.h"
#include "bench/machine.h"
#include "bench/match_options.h"
#include "bench/progress.h"

namespace tessera::bench {

// Prints each case as print_json(case, result) or print_table(case, result) do, or with --list its title() only.
// find_peers(threads, missing) gives contenders besides ours; play(case, contenders, tools) the result, without figures if
// nobody takes part. Fails if a result of Tessera is wrong.
template <class Case, class Contender, class FindPeers, class Play>
int run_comparison(const ComparisonOptions& options, const std::vector<Case>& cases,
                   std::vector<Contender> contenders, const FindPeers& find_peers,
                   const Play& play) {
  if (options.list) {
    for (const Case& c : cases) std::printf("%s\n", c.title().c_str());
    return EXIT_SUCCESS;
  }
  const int threads = options.match.threads;
  std::vector<std::string> missing;
  options.add_peers(contenders, missing, find_peers);
  if (options.json) {
    print_machine_json(threads, contenders, missing, cases.size());
  } else {
    print_machine(threads, contenders, missing);
  }
  std::fflush(stdout);

  MatchTools tools(threads);
  Progress progress(cases.size());
  WrongResults wrong;
  for (const Case& c : cases) {
    progress.start(c.title());
    const Result result = play(c, contenders, tools);
    if (result.figures.empty()) continue;
    progress.clear();
    options.json ? print_json(c, result) : print_table(c, result);
    std::fflush(stdout);
    wrong.add(result, c.title());
  }
  return wrong.report();
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_COMPARISON_H_
