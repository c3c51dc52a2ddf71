// SPDX-License-Identifier: Apache-2.0
// What the programs that compare contenders are told on the command line: how long they play, and with whom.
#ifndef TESSERA_BENCH_MATCH_OPTIONS_H_
#define TESSERA_BENCH_MATCH_OPTIONS_H_

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/gemm_match.h"
#include "bench/options.h"

namespace tessera::bench {

struct ComparisonOptions {
  MatchOptions match;
  std::optional<std::vector<std::string>> peers;  // only these; none given: all
  bool quick = false, json = false, list = false;

  // Takes the flag that `line` is at, if it is one of these.
  bool take(CommandLine& line) {
    if (line.is("--quick")) {
      quick = true;
      match.rounds = 9;
      match.turn_seconds = 5e-3;
      match.seconds = 4;
    } else if (line.is("--threads")) {
      match.threads = line.count();
    } else if (line.is("--rounds")) {
      match.rounds = line.count();
    } else if (line.is("--turn-ms")) {
      match.turn_seconds = 1e-3 * line.number();
    } else if (line.is("--case-seconds")) {
      match.seconds = line.number();
    } else if (line.is("--peers")) {
      peers = split(line.value());
    } else if (line.is("--json")) {
      json = true;
    } else if (line.is("--list")) {
      list = true;
    } else {
      return false;
    }
    return true;
  }

  // Appends those of find(threads, missing) that are wanted; looks for none if none is.
  template <class Contender, class Find>
  void add_peers(std::vector<Contender>& contenders, std::vector<std::string>& missing,
                 const Find& find) const {
    if (peers && peers->empty()) return;
    for (Contender& peer : find(match.threads, missing)) {
      if (!peers || std::find(peers->begin(), peers->end(), peer.name) != peers->end()) {
        contenders.push_back(std::move(peer));
      }
    }
  }
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_MATCH_OPTIONS_H_
