// SPDX-License-Identifier: Apache-2.0
// Attention: Tessera beside its peers, in one process and in turns. Prints tables, or lines of JSON that
// bench/compare makes a report of. See --help.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/attention_contender.h"
#include "bench/attention_workload.h"
#include "bench/comparison.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(attention_compare: attention of Tessera and its peers, checked, then timed in turns

  --attention LIST TOKENSxKEYS:DIM[:HEADS/KV_HEADS][:causal], of the last tokens of one sequence (prompts of 512 and
                   2048 tokens with heads of 64 and 128, and one token with 4096 keys; 32/8 heads)
  --kv LIST        types of keys and values: f32,f16,q8_0 (of one token all, of more f32). q8_0: blocks of 32 codes
                   of 8 bits
  --quick          short turns
  --threads T      threads of every contender (1)
  --rounds N       turns of each contender, at most (21); medians are reported
  --turn-ms X      least duration of one turn, by repeated calls (20)
  --case-seconds X a case ends after the round in which it has taken so long (15)
  --peers LIST     of all peers only these; an empty list: none
  --json           lines of JSON instead of tables
  --list           the cases, without running them

Queries and results are f32. Speeds are operations per second, 4 * dim for each pair of a query and a key that it
sees; of one token, out of cold caches, bytes of keys and values per second beside what memory can be read with.
Masks, copies of heads for libraries that don't share them, and other layouts are made before the clock starts.
)";

struct AttentionCase {
  AttentionShape shape;
  KvType kv;

  const char* kv_name() const { return kKvTypes[static_cast<std::size_t>(kv)]; }
  bool cold() const { return shape.tokens == 1; }
  std::string title() const { return std::string(kv_name()) + " " + shape.name(); }
};

struct Options : ComparisonOptions {
  std::vector<AttentionShape> shapes;
  std::vector<KvType> kv;
};

Options parse(int argc, char** argv) {
  Options options;
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--attention")) {
      for (const std::string& shape : split(line.value())) {
        options.shapes.push_back(parse_attention_shape(shape));
      }
    } else if (line.is("--kv")) {
      for (const std::string& name : split(line.value())) {
        options.kv.push_back(parse_kv_type(name));
      }
    } else if (!options.take(line)) {
      line.unknown();
    }
  }
  if (options.shapes.empty()) {
    for (const index_t dim : {64, 128}) {
      for (const index_t tokens : {512, 2048}) {
        for (const bool causal : {false, true}) {
          options.shapes.push_back(
              {.tokens = tokens, .keys = tokens, .dim = dim, .causal = causal});
        }
      }
    }
    options.shapes.push_back({.tokens = 1, .keys = 4096, .dim = 128});
  }
  return options;
}

std::vector<AttentionCase> cases_of(const Options& options) {
  std::vector<AttentionCase> cases;
  for (const AttentionShape& shape : options.shapes) {
    std::vector<KvType> types = options.kv;
    if (types.empty()) types = {KvType::kF32, KvType::kF16, KvType::kQ8_0};
    if (options.kv.empty() && shape.tokens > 1) types = {KvType::kF32};
    for (const KvType kv : types) {
      const index_t block = kv == KvType::kQ8_0 ? info(BlockFormat::kQ8_0).block : 1;
      if (shape.dim % block == 0) cases.push_back({shape, kv});
    }
  }
  return cases;
}

Result compare(const AttentionCase& c, const AttentionContenders& contenders, MatchTools& tools,
               const MatchOptions& options) {
  const AttentionWorkload work(c.shape, c.kv);
  Contest contest(c.cold(), tools, options);
  for (const AttentionContender& who : contenders) {
    const GemmRun run = who.prepare(work.operands());
    if (!run) continue;
    contest.add({.name = who.name, .mode = "", .check = work.check(run)}, run.call);
  }
  return contest.play(work.bytes());
}

void print_json(const AttentionCase& c, const Result& result) {
  const AttentionShape& s = c.shape;
  std::printf("{\"record\": \"attention\", \"kv\": \"%s\", \"shape\": \"%s\"", c.kv_name(),
              s.name().c_str());
  std::printf(", \"tokens\": %td, \"keys\": %td, \"dim\": %td, \"heads\": %td, \"kv_heads\": %td",
              s.tokens, s.keys, s.dim, s.heads, s.kv_heads);
  std::printf(", \"causal\": %s, \"cold\": %s, \"flops\": %.0f, \"bytes\": %.0f",
              s.causal ? "true" : "false", c.cold() ? "true" : "false", s.flops(), result.bytes);
  std::printf(", \"rounds\": %zu, \"read_gb_per_second\": %.2f, \"results\": [", result.rounds,
              result.read_gb_per_second);
  print_json_figures(result.figures);
  std::printf("]}\n");
}

void print_table(const AttentionCase& c, const Result& result) {
  std::printf("\n%s: %zu rounds", c.title().c_str(), result.rounds);
  if (c.cold()) std::printf(", memory %.1f GB/s", result.read_gb_per_second);
  std::printf("\n  %-12s %9s %9s   %-10s %s\n", "", c.cold() ? "GB/s" : "GFLOP/s",
              c.cold() ? "of memory" : "", "tessera is", "result");
  for (const Figure& f : result.figures) {
    const double speed = 1e-9 * (c.cold() ? result.bytes : c.shape.flops()) / f.seconds;
    std::printf("  %-12s %9.2f ", f.label().c_str(), speed);
    if (c.cold()) {
      std::printf("%8.0f%%", 100 * speed / result.read_gb_per_second);
    } else {
      std::printf("%9s", "");
    }
    std::printf("   %9.3fx %s (%.2g)\n", f.ratio, f.check.verdict, f.check.error);
  }
}

int run(const Options& options) {
  const auto play = [&](const AttentionCase& c, const AttentionContenders& contenders,
                        MatchTools& tools) { return compare(c, contenders, tools, options.match); };
  return run_comparison(options, cases_of(options), tessera_attention(options.match.threads),
                        find_attention_peers, play);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  return tessera::bench::run_program(
      "attention_compare", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
