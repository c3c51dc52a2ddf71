// SPDX-License-Identifier: Apache-2.0
// Products with quantized weights, and conversions to and from them: Tessera beside its peers, in one process and in
// turns. Prints tables, or lines of JSON that bench/compare makes a report of. See --help.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/comparison.h"
#include "bench/weights_contender.h"
#include "bench/weights_workload.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(weights_compare: GEMM with quantized weights, of Tessera and its peers, checked, then timed in turns

  --formats LIST   Q4_0,Q8_0,Q4_K,Q6_K,MXFP4,FP8,S4,S8 (all). FP8: E4M3, a scale per 128 x 128; S4, S8: integers,
                   a scale per row
  --rows LIST      rows of A (1,8,128,512); a single one comes with cold caches
  --size N         N = K (4096)
  --only KIND      products or conversions
  --quick          few cases and short ones
  --threads T      threads of every contender (1)
  --rounds N       turns of each contender, at most (21); medians are reported
  --turn-ms X      least duration of one turn, by repeated calls (20)
  --case-seconds X a case ends after the round in which it has taken so long (15)
  --peers LIST     of all peers only these; an empty list: none
  --json           lines of JSON instead of tables
  --list           the cases, without running them

"f32": activations are multiplied as they are. "int8": each call rounds them to 8 bits, with a scale per 32 or 256
elements or per row; the time includes that. Weights are made ready before the clock starts. Speeds are operations
per second; of one row, bytes of the weights in their own format per second. Conversions count the bytes that they
read and write, also out of cold caches, beside memcpy of as many.
)";

struct Options : ComparisonOptions {
  std::vector<const WeightsFormat*> formats;
  std::vector<index_t> rows;
  std::string only;
  index_t size = 4096;
};

Options parse(int argc, char** argv) {
  Options options;
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--formats")) {
      for (const std::string& name : split(line.value())) {
        options.formats.push_back(find_weights_format(name));
        if (options.formats.back() == nullptr) {
          throw std::invalid_argument("--formats: there is no " + name);
        }
      }
    } else if (line.is("--rows")) {
      for (const std::string& m : split(line.value())) {
        options.rows.push_back(std::max(1L, std::atol(m.c_str())));
      }
    } else if (line.is("--size")) {
      options.size = std::max(256, line.count() / 256 * 256);  // whole blocks
    } else if (line.is("--only")) {
      options.only = line.value();
      if (options.only != "products" && options.only != "conversions") {
        throw std::invalid_argument("--only: products or conversions");
      }
    } else if (!options.take(line)) {
      line.unknown();
    }
  }
  if (options.formats.empty()) {
    for (const WeightsFormat& format : kWeightsFormats) {
      if (format.quick || !options.quick) options.formats.push_back(&format);
    }
  }
  if (options.rows.empty()) {
    options.rows =
        options.quick ? std::vector<index_t>{1, 8, 128} : std::vector<index_t>{1, 8, 128, 512};
  }
  return options;
}

enum class Kind { kProduct, kQuantize, kDequantize };
constexpr const char* kKinds[] = {"product", "quantize", "dequantize"};

struct Entry {
  Kind kind;
  const WeightsFormat* format;
  GemmShape shape;  // of conversions: n x k elements

  bool cold() const { return kind != Kind::kProduct || shape.m == 1; }
  std::string title() const {
    std::string title = std::string(format->name) + " " + kKinds[static_cast<int>(kind)] + " ";
    if (kind == Kind::kProduct) title += std::to_string(shape.m) + "x";
    return title + std::to_string(shape.n) + "x" + std::to_string(shape.k) +
           (cold() ? " cold" : "");
  }
};

std::vector<Entry> entries_of(const Options& options) {
  std::vector<Entry> entries;
  const index_t size = options.size;
  for (const WeightsFormat* format : options.formats) {
    for (const index_t m : options.rows) {
      if (options.only != "conversions") {
        entries.push_back({Kind::kProduct, format, {m, size, size}});
      }
    }
  }
  for (const WeightsFormat* format : options.formats) {
    if (options.only == "products" || format->kind != WeightsFormat::kBlocks) continue;
    const GemmShape shape{0, size / 4, size};
    const std::string_view name = format->name;
    // Those whose quantizers search for the best scales differ in how long they search.
    if (name == "Q8_0" || name == "Q4_0") entries.push_back({Kind::kQuantize, format, shape});
    entries.push_back({Kind::kDequantize, format, shape});
  }
  return entries;
}

Result compare_products(const Entry& entry, const QuantizedWeights& weights,
                        const WeightsContenders& contenders, MatchTools& tools,
                        const MatchOptions& options) {
  const WeightsWorkload work(weights, entry.shape.m);
  Contest contest(entry.cold(), tools, options);
  for (const WeightsContender& who : contenders) {
    const WeightsRun run = who.prepare(work.operands());
    if (!run.run) continue;
    contest.add({who.name, who.mode, work.check(run), run.rounded != 0}, run.run.call);
  }
  return contest.play(weights.bytes());
}

// "exact": the same bits as Tessera's. "rounds": other codes for less than one number in a hundred, as where the
// quotient is close to the middle between two codes.
inline constexpr const char* kRounds = "rounds";

template <class T>
GemmCheck check_conversion(const std::vector<T>& got, const std::vector<T>& expected) {
  std::size_t different = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    different += std::memcmp(&got[i], &expected[i], sizeof(T)) != 0;
  }
  const double share = static_cast<double>(different) / static_cast<double>(got.size());
  return {share, share == 0 ? kExact : share < 0.01 ? kRounds : kWrong};
}

Result compare_conversions(const Entry& entry, const QuantizedWeights& weights,
                           const WeightsContenders& contenders, MatchTools& tools,
                           const MatchOptions& options) {
  const auto [m, n, k] = entry.shape;
  const auto elements = static_cast<std::size_t>(n * k);
  const auto block_bytes = static_cast<std::size_t>(weights.bytes());
  const bool quantizes = entry.kind == Kind::kQuantize;
  const PaddedArray<float> values(n * k);
  const PaddedArray<std::byte> blocks(static_cast<index_t>(block_bytes));
  const auto copy_of = [](const auto& x) { return std::vector(x.data(), x.data() + x.size); };
  if (quantizes) NormalNumbers(1).fill(values.data(), n * k);
  std::vector<std::byte> expected_blocks;
  std::vector<float> expected_values;

  Contest contest(entry.cold(), tools, options);
  for (const WeightsContender& who : contenders) {
    if (!who.convert) continue;
    const GemmRun run = who.convert({quantizes, &weights, values.data(), blocks.data()});
    if (!run) continue;
    quantizes ? blocks.poison() : values.poison();
    run.call();
    if (quantizes && expected_blocks.empty()) expected_blocks = copy_of(blocks);
    if (!quantizes && expected_values.empty()) {
      for (index_t i = 0; i < n; ++i) {
        const std::vector<float> row = weights.row(i);
        expected_values.insert(expected_values.end(), row.begin(), row.end());
      }
    }
    const GemmCheck check = quantizes ? check_conversion(copy_of(blocks), expected_blocks)
                                      : check_conversion(copy_of(values), expected_values);
    contest.add({who.name, "", check, false}, run.call);
  }
  const double bytes = static_cast<double>(block_bytes + 4 * elements);
  const PaddedArray<std::byte> from(static_cast<index_t>(bytes / 2)), to(from.size);
  std::memset(from.data(), 1, from.bytes());
  contest.add({"memcpy", "", {0, kExact}, false},
              [&] { std::memcpy(to.data(), from.data(), static_cast<std::size_t>(to.size)); });
  return contest.play(bytes);
}

void print_json(const Entry& entry, const Result& result) {
  const GemmShape& s = entry.shape;
  std::printf("{\"record\": \"weights\", \"kind\": \"%s\", \"format\": \"%s\"",
              kKinds[static_cast<int>(entry.kind)], entry.format->name);
  std::printf(", \"m\": %td, \"n\": %td, \"k\": %td, \"cold\": %s, \"rounds\": %zu", s.m, s.n, s.k,
              entry.cold() ? "true" : "false", result.rounds);
  std::printf(", \"bytes\": %.0f, \"read_gb_per_second\": %.2f, \"results\": [", result.bytes,
              result.read_gb_per_second);
  print_json_figures(result.figures, [](const Figure& f) {
    return std::string("\"rounded\": ") + (f.rounded ? "true, " : "false, ");
  });
  std::printf("]}\n");
}

void print_table(const Entry& entry, const Result& result) {
  std::printf("\n%s: %zu rounds", entry.title().c_str(), result.rounds);
  if (entry.cold()) std::printf(", memory %.1f GB/s", result.read_gb_per_second);
  std::printf("\n  %-22s %9s %9s   %-10s %s\n", "", entry.cold() ? "GB/s" : "GOP/s",
              entry.cold() ? "of memory" : "", "tessera is", "result");
  for (const Figure& f : result.figures) {
    const double work = entry.cold() ? result.bytes : entry.shape.flops();
    const double speed = 1e-9 * work / f.seconds;
    std::printf("  %-22s %9.2f ", f.label().c_str(), speed);
    if (entry.cold()) {
      std::printf("%8.0f%%", 100 * speed / result.read_gb_per_second);
    } else {
      std::printf("%9s", "");
    }
    std::printf("   %9.3fx %s (%.2g)\n", f.ratio, f.check.verdict, f.check.error);
  }
}

int run(const Options& options) {
  std::optional<QuantizedWeights> weights;  // of the last case
  const auto play = [&](const Entry& entry, const WeightsContenders& contenders,
                        MatchTools& tools) {
    const GemmShape& s = entry.shape;
    if (!weights || &weights->format() != entry.format || weights->n() != s.n) {
      weights.emplace(*entry.format, s.n, s.k);
    }
    const auto compare = entry.kind == Kind::kProduct ? compare_products : compare_conversions;
    return compare(entry, *weights, contenders, tools, options.match);
  };
  return run_comparison(options, entries_of(options), tessera_weights(options.match.threads),
                        find_weights_peers, play);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  return tessera::bench::run_program(
      "weights_compare", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
