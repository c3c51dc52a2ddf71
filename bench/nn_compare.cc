// SPDX-License-Identifier: Apache-2.0
// Functions of rows: Tessera beside its peers, in one process and in turns. Prints tables, or lines of JSON that
// bench/compare makes a report of. See --help.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bench/comparison.h"
#include "bench/nn_contender.h"
#include "bench/nn_workload.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(nn_compare: softmax and norms of Tessera and its peers, checked, then timed in turns

  --functions LIST softmax,rms_norm,layer_norm (all)
  --matrices LIST  ROWSxCOLS (32x1024,4096x4096)
  --quick          short turns
  --threads T      threads of every contender (1)
  --rounds N       turns of each contender, at most (21); medians are reported
  --turn-ms X      least duration of one turn, by repeated calls (20)
  --case-seconds X a case ends after the round in which it has taken so long (15)
  --peers LIST     of all peers only these; an empty list: none
  --json           lines of JSON instead of tables
  --list           the cases, without running them

f32, each row for itself, not in place; norms without weights (ONNX Runtime, which has none, multiplies by ones).
Speeds are bytes read and written per second, beside memcpy of as many.
)";

struct NnCase {
  NnOp op;
  index_t rows, cols;

  const char* op_name() const { return kNnOps[static_cast<std::size_t>(op)]; }
  std::string matrix() const { return std::to_string(rows) + "x" + std::to_string(cols); }
  std::string title() const { return std::string(op_name()) + " " + matrix(); }
};

struct Options : ComparisonOptions {
  std::vector<NnOp> ops;
  std::vector<std::pair<index_t, index_t>> matrices;
};

Options parse(int argc, char** argv) {
  Options options;
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--functions")) {
      for (const std::string& name : split(line.value())) options.ops.push_back(parse_nn_op(name));
    } else if (line.is("--matrices")) {
      for (const std::string& text : split(line.value())) {
        const std::vector<std::string> extents = split(text, 'x');
        const index_t rows = extents.size() == 2 ? std::atol(extents[0].c_str()) : 0;
        const index_t cols = extents.size() == 2 ? std::atol(extents[1].c_str()) : 0;
        if (rows < 1 || cols < 1) {
          throw std::invalid_argument("\"" + text + "\" is no matrix, as 32x1024 is one");
        }
        options.matrices.emplace_back(rows, cols);
      }
    } else if (!options.take(line)) {
      line.unknown();
    }
  }
  if (options.ops.empty()) options.ops = {NnOp::kSoftmax, NnOp::kRmsNorm, NnOp::kLayerNorm};
  if (options.matrices.empty()) options.matrices = {{32, 1024}, {4096, 4096}};
  return options;
}

Result compare(const NnCase& c, const NnContenders& contenders, MatchTools& tools,
               const MatchOptions& options) {
  const NnWorkload work(c.op, c.rows, c.cols);
  const NnOperands operands = work.operands();
  Contest contest(false, tools, options);
  for (const NnContender& who : contenders) {
    const GemmRun run = who.prepare(operands);
    if (!run) continue;
    contest.add({.name = who.name, .mode = "", .check = work.check(run)}, run.call);
  }
  // On one thread whatever the others have.
  contest.add({.name = "memcpy", .mode = "", .check = {0, kExact}}, [&] {
    std::memcpy(operands.y, operands.x, static_cast<std::size_t>(c.rows * c.cols) * sizeof(float));
  });
  return contest.play(work.bytes());
}

void print_json(const NnCase& c, const Result& result) {
  std::printf("{\"record\": \"nn\", \"function\": \"%s\", \"matrix\": \"%s\"", c.op_name(),
              c.matrix().c_str());
  std::printf(", \"rows\": %td, \"cols\": %td, \"bytes\": %.0f, \"rounds\": %zu, \"results\": [",
              c.rows, c.cols, result.bytes, result.rounds);
  print_json_figures(result.figures);
  std::printf("]}\n");
}

void print_table(const NnCase& c, const Result& result) {
  std::printf("\n%s: %zu rounds\n", c.title().c_str(), result.rounds);
  std::printf("  %-12s %9s   %-10s %s\n", "", "GB/s", "tessera is", "result");
  for (const Figure& f : result.figures) {
    std::printf("  %-12s %9.2f   %9.3fx %s (%.2g)\n", f.label().c_str(),
                1e-9 * result.bytes / f.seconds, f.ratio, f.check.verdict, f.check.error);
  }
}

int run(const Options& options) {
  std::vector<NnCase> cases;
  for (const NnOp op : options.ops) {
    for (const auto& [rows, cols] : options.matrices) cases.push_back({op, rows, cols});
  }
  const auto play = [&](const NnCase& c, const NnContenders& contenders, MatchTools& tools) {
    return compare(c, contenders, tools, options.match);
  };
  return run_comparison(options, cases, tessera_nn(options.match.threads), find_nn_peers, play);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  return tessera::bench::run_program(
      "nn_compare", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
