// SPDX-License-Identifier: Apache-2.0
// A tournament of register tiles and cache blocks, for each type and class of shapes, on this machine. Writes
// the winners as a profile (tessera/tune/profile.h) and prints them as rows of tune/. See --help.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gemm_workload.h"
#include "bench/options.h"
#include "bench/progress.h"
#include "bench/timing.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm.h"
#include "tessera/tune/profile.h"

namespace tessera::bench {
namespace {

using tessera::detail::ProfileRow;
using tessera::detail::ShapeClass;

constexpr char kHelp[] =
    R"(gemm_tune: finds the register tiles and cache blocks of this machine for GEMM, on one thread

  --quick        short rounds, fewer shapes: about two minutes
  --types LIST   f32,f64,s8,u8 (the default: all): the type of B. f32 serves bf16 and f16 too
  --shapes LIST  row,skinny,small,large (the default: all): one or two rows; up to 32; up to 384^3 products; more
  --output FILE  the profile that is written (tessera.profile)
  --margin X     percent that a winner must be ahead of what Tessera does by itself (2)
  --seconds X    for each type and class, about (60; with --quick 6)

Every round times all candidates in turns; the slower half is knocked out, and the rest plays longer rounds. First
tiles with depths of blocks (kc), then mc, then nc; the winner meets Tessera's own choice in a final, and that meets
its own twin, whose lead is noise. A row is written where the winner is ahead by the margin and the noise over all
shapes of the class, and behind by more than half the margin in none.

TESSERA_PROFILE=FILE makes every program of this machine use the profile. It changes no bit of any result.
TESSERA_TARGET chooses the target that is tuned.
)";

struct Options {
  bool quick = false;
  std::vector<std::string> types = {"f32", "f64", "s8", "u8"};
  std::vector<std::string> shapes = {"row", "skinny", "small", "large"};
  std::string output = "tessera.profile";
  double margin = 0.02;
  std::optional<double> seconds;

  double seconds_each() const { return seconds ? *seconds : quick ? 6 : 60; }
  double turn_seconds() const { return quick ? 4e-3 : 8e-3; }
  int rounds_of_final() const { return quick ? 15 : 41; }
};

Options parse(int argc, char** argv) {
  Options options;
  const auto among = [](const std::string& list, const std::vector<std::string>& known) {
    const std::vector<std::string> items = split(list);
    for (const std::string& item : items) {
      if (std::find(known.begin(), known.end(), item) == known.end()) {
        throw std::invalid_argument("\"" + item + "\" is none of those (--help lists them)");
      }
    }
    return items;
  };
  for (CommandLine line(argc, argv, kHelp); line.next();) {
    if (line.is("--quick")) {
      options.quick = true;
    } else if (line.is("--types")) {
      options.types = among(line.value(), Options().types);
    } else if (line.is("--shapes")) {
      options.shapes = among(line.value(), Options().shapes);
    } else if (line.is("--output")) {
      options.output = line.value();
    } else if (line.is("--margin")) {
      options.margin = 1e-2 * line.number();
    } else if (line.is("--seconds")) {
      options.seconds = line.number();
    } else {
      line.unknown();
    }
  }
  return options;
}

struct U8 {
  using A = std::uint8_t;
  using B = std::uint8_t;
  using C = std::int32_t;
  static constexpr const char* kName = "u8";
};

// What a class is tuned on. Blocks matter where several fit into K; sizes that tiles divide and others.
std::vector<GemmShape> shapes_of(ShapeClass c, bool quick) {
  std::vector<GemmShape> shapes;
  switch (c) {
    case ShapeClass::kRow:
      shapes = {{1, 1024, 1024}, {1, 4096, 1024}, {2, 2048, 2048}};
      break;
    case ShapeClass::kSkinny:
      shapes = {{8, 1024, 1024}, {24, 2048, 1024}, {8, 4096, 2048}};
      break;
    case ShapeClass::kSmall:
      shapes = {{128, 128, 128}, {256, 256, 256}, {64, 64, 64}, {196, 256, 1024}, {49, 512, 2048}};
      break;
    case ShapeClass::kLarge:
      shapes = {{512, 512, 512}, {768, 768, 1024}, {128, 4096, 1024}, {2048, 2048, 2048}};
      break;
  }
  if (quick) shapes.resize(3);
  for (const GemmShape& s : shapes) {
    if (detail::shape_class(s.m, s.n, s.k) != c) throw std::logic_error(s.name() + ": class");
  }
  return shapes;
}

std::string to_text(const TileShape& t) {
  return std::to_string(t.rows) + "x" + std::to_string(t.vectors) + "x" + std::to_string(t.lmul);
}

// What was decided for one type and class.
struct Verdict {
  GemmTuning tuning;  // all 0 and -1: what Tessera does by itself
  double speed = 1;   // relative to that
  double worst = 1;   // of all shapes
  double noise = 0;   // by how much what Tessera does by itself differed from its own twin
};

template <class Types>
class Tournament {
 public:
  Tournament(const std::vector<GemmShape>& shapes, const Options& options)
      : shapes_(shapes), options_(options) {
    for (const GemmShape& s : shapes_) fields_.push_back({std::make_unique<Work>(s), {}});
    for (Field& field : fields_) {
      const GemmOperands<Types> o = field.work->operands();
      make_run(o, {})();
      field.expected.assign(o.c, o.c + o.shape.m * o.shape.n);
    }
  }

  // `starts` is called with the name of each stage.
  template <class Starts>
  Verdict play(const Starts& starts) {
    const double seconds = options_.seconds_each();
    starts("tiles and kc");
    GemmTuning best = knockout(tiles_and_depths(), {}, 0.5 * seconds);
    starts("mc");
    best = knockout(with_mc(best), best, 0.15 * seconds);
    starts("nc");
    best = knockout(with_nc(best), best, 0.15 * seconds);
    starts("final");
    if (same_plans(best, {})) return {};
    const std::vector<Verdict> final =
        scores({{}, best, {}}, options_.rounds_of_final(), 0.2 * seconds);
    Verdict verdict = final[1];
    verdict.noise = std::max({final[2].speed, 1 / final[2].speed, 1 / final[2].worst}) - 1;
    return verdict;
  }

  GemmPlan plan(const GemmTuning& tuning, std::size_t shape) const {
    Context context;
    context.gemm = tuning;
    const GemmShape& s = shapes_[shape];
    return plan_gemm<typename Types::A, typename Types::B, typename Types::C>(s.m, s.n, s.k,
                                                                              &context);
  }

  std::string describe(const GemmTuning& tuning) const {
    const GemmPlan p = plan(tuning, shapes_.size() - 1);
    std::string text = "tile " + to_text(p.tile);
    const auto add = [&text](const char* name, index_t value) {
      if (value > 0) text += std::string(" ") + name + " " + std::to_string(value);
    };
    add("mc", tuning.mc);
    add("kc", tuning.kc);
    add("nc", tuning.nc);
    return text;
  }

 private:
  using Work = GemmWorkload<Types>;
  struct Field {
    std::unique_ptr<Work> work;
    std::vector<typename Types::C> expected;
  };

  static std::function<void()> make_run(const GemmOperands<Types>& o, const GemmTuning& tuning) {
    const auto [m, n, k] = o.shape;
    const auto a = row_major(o.a, {m, k});
    const auto b = row_major(o.b, {k, n});
    const auto c = row_major(o.c, {m, n});
    const auto context = std::make_shared<Context>();
    context->gemm = tuning;
    return [=] { gemm(a, b, c, {.context = context.get()}); };
  }

  // Tunings that come out the same on all shapes need to be timed but once.
  bool same_plans(const GemmTuning& x, const GemmTuning& y) const {
    for (std::size_t i = 0; i < shapes_.size(); ++i) {
      const GemmPlan p = plan(x, i), q = plan(y, i);
      const auto clipped = [](index_t block, index_t extent) { return std::min(block, extent); };
      const GemmShape& s = shapes_[i];
      if (p.tile != q.tile || clipped(p.mc, s.m) != clipped(q.mc, s.m) ||
          clipped(p.kc, s.k) != clipped(q.kc, s.k) || clipped(p.nc, s.n) != clipped(q.nc, s.n)) {
        return false;
      }
    }
    return true;
  }
  void add(std::vector<GemmTuning>& pool, const GemmTuning& tuning) const {
    const auto same = [&](const GemmTuning& x) { return same_plans(x, tuning); };
    if (std::none_of(pool.begin(), pool.end(), same)) pool.push_back(tuning);
  }

  // The first of each pool is what Tessera does by itself, the yardstick of all.
  std::vector<GemmTuning> tiles_and_depths() const {
    std::vector<GemmTuning> pool = {{}};
    for (int tile = 0; tile < gemm_tile_count<typename Types::B>(); ++tile) {
      for (const index_t kc : {0, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096}) {
        add(pool, {.tile = tile, .kc = kc});
      }
    }
    return pool;
  }
  // Other blocks of one kind, in whole register tiles.
  std::vector<GemmTuning> with_blocks(const GemmTuning& best, index_t GemmTuning::* block,
                                      index_t planned, index_t multiple,
                                      std::initializer_list<double> factors) const {
    std::vector<GemmTuning> pool = {{}};
    add(pool, best);
    for (const double factor : factors) {
      GemmTuning tuning = best;
      const auto size = static_cast<index_t>(factor * static_cast<double>(planned));
      tuning.*block = std::max(size / multiple, index_t{1}) * multiple;
      add(pool, tuning);
    }
    return pool;
  }
  std::vector<GemmTuning> with_mc(const GemmTuning& best) const {
    const GemmPlan p = plan(best, shapes_.size() - 1);
    return with_blocks(best, &GemmTuning::mc, p.mc, p.mr, {0.25, 0.5, 2.0, 4.0});
  }
  std::vector<GemmTuning> with_nc(const GemmTuning& best) const {
    const GemmPlan p = plan(best, shapes_.size() - 1);
    return with_blocks(best, &GemmTuning::nc, p.nc, p.nr, {0.125, 0.25, 0.5, 2.0});
  }

  // Speeds relative to the first of the pool: of each shape the median of the ratios within a round, of all the
  // geometric mean.
  //
  // One shape after the other. Why not all in each round: whoever comes first after another shape finds cold
  // caches, in every other round of a pair the same one, and the median of an odd number of rounds takes that side:
  // a tuning beat its own twin by 39 % (one row, 2026-11).
  std::vector<Verdict> scores(const std::vector<GemmTuning>& pool, int rounds, double seconds) {
    constexpr int kLeastRounds = 4;
    std::vector<Verdict> result;
    for (const GemmTuning& tuning : pool) result.push_back({.tuning = tuning, .worst = 1e9});
    const double share = 1.0 / static_cast<double>(fields_.size());
    for (const Field& field : fields_) {
      const double start = wall_seconds();
      RoundRobin turns;
      for (const GemmTuning& tuning : pool) {
        const std::function<void()> run = make_run(field.work->operands(), tuning);
        check(field, tuning, run);
        turns.add(run, options_.turn_seconds());
      }
      for (int round = 0; round < rounds; ++round) {
        if (round >= kLeastRounds && wall_seconds() - start > share * seconds) break;
        turns.round();
      }
      for (std::size_t i = 0; i < pool.size(); ++i) {
        const double ratio = turns.speed_ratio(i, 0);
        result[i].speed *= std::pow(ratio, share);
        result[i].worst = std::min(result[i].worst, ratio);
      }
    }
    return result;
  }

  void check(const Field& field, const GemmTuning& tuning, const std::function<void()>& run) const {
    const GemmOperands<Types> o = field.work->operands();
    const std::size_t bytes = field.expected.size() * sizeof *o.c;
    std::memset(o.c, 0xff, bytes);
    run();
    if (std::memcmp(o.c, field.expected.data(), bytes) == 0) return;
    throw std::runtime_error(
        "a tuning changes the result, which is a bug of Tessera: " + std::string(Types::kName) +
        " " + o.shape.name() + ", " + describe(tuning));
  }

  // The winner of a pool. The incumbent, if it is there, loses only to who is clearly faster: else every stage would
  // add a setting that is but noise.
  GemmTuning knockout(std::vector<GemmTuning> pool, const GemmTuning& incumbent, double seconds) {
    int phases = 0;
    for (std::size_t left = pool.size(); left > 2; left = survivors(left)) ++phases;
    const auto points = [&](const Verdict& v) {
      const GemmTuning &x = v.tuning, &y = incumbent;
      const bool same = x.tile == y.tile && x.mc == y.mc && x.kc == y.kc && x.nc == y.nc;
      return same ? 1.01 * v.speed : v.speed;
    };
    for (int rounds = 5; pool.size() > 2; rounds *= 2) {
      std::vector<Verdict> verdicts = scores(pool, rounds, seconds / phases);
      std::stable_sort(verdicts.begin() + 1, verdicts.end(),
                       [&](const Verdict& x, const Verdict& y) { return points(x) > points(y); });
      verdicts.resize(survivors(pool.size()));
      pool.clear();
      for (const Verdict& v : verdicts) pool.push_back(v.tuning);
    }
    return pool.back();
  }
  // The yardstick and half of the others.
  static std::size_t survivors(std::size_t pool) { return 1 + pool / 2; }

  const std::vector<GemmShape> shapes_;
  const Options& options_;
  std::vector<Field> fields_;
};

#if defined(__x86_64__) || defined(__i386__)
constexpr char kRowsFile[] = "tune/x86.h";
#elif defined(__aarch64__)
constexpr char kRowsFile[] = "tune/arm.h";
#else
constexpr char kRowsFile[] = "tune/riscv.h";
#endif

// The tiles of the target with the winner of large products first, as tune/ lists them. A depth there counts
// elements of packed panels, which hold several steps of k where they are bytes.
template <class Types>
std::string tune_row(const Verdict& verdict) {
  const Target target = active_target();
  const auto& kernels =
      impl::find_table<detail::kGemmFamily>(target)->gemm(DTypeTraits<typename Types::B>::kDType);
  std::vector<TileShape> tiles;
  for (int i = 0; i < kernels.tile_count; ++i) tiles.push_back(kernels.tiles[i].shape);
  const auto favourite = tiles.begin() + std::max(verdict.tuning.tile, 0);
  if (verdict.tuning.kc > 0) {
    favourite->kc = static_cast<int>((verdict.tuning.kc + kernels.group - 1) / kernels.group);
  }
  std::rotate(tiles.begin(), favourite, favourite + 1);
  std::string text = "  using List = TileList<";
  for (const TileShape& t : tiles) {
    if (&t != &tiles.front()) text += ", ";
    text += "TileShape{" + std::to_string(t.rows) + ", " + std::to_string(t.vectors) + ", " +
            std::to_string(t.lmul) + ", " + std::to_string(t.unroll);
    if (t.rotate || t.kc > 0) text += t.rotate ? ", true" : ", false";
    if (t.kc > 0) text += ", " + std::to_string(t.kc);
    text += "}";
  }
  return text + ">;\n";
}

std::string percent(double speed) {
  char text[32];
  std::snprintf(text, sizeof text, "%+.1f %%", 100 * (speed - 1));
  return text;
}

struct Report {
  std::vector<ProfileRow> rows;
  std::string tune_rows;
};

template <class Types>
void tune(ShapeClass shapes, const Options& options, Progress& progress, Report& report) {
  const std::string title = std::string(Types::kName) + " " + std::string(detail::name(shapes));
  const std::vector<GemmShape> sizes = shapes_of(shapes, options.quick);
  Tournament<Types> tournament(sizes, options);
  const Verdict v =
      tournament.play([&](const char* stage) { progress.start(title + ", " + stage); });
  progress.clear();
  const bool won = v.speed >= 1 + options.margin + v.noise && v.worst >= 1 - 0.5 * options.margin;
  std::printf("%-10s %s", title.c_str(), tournament.describe({}).c_str());
  if (v.tuning.tile < 0) {
    std::printf(" stays: nothing is faster\n");
  } else if (!won) {
    std::printf(" stays: best of the others %s, %s (worst shape %s, noise %s)\n",
                tournament.describe(v.tuning).c_str(), percent(v.speed).c_str(),
                percent(v.worst).c_str(), percent(1 + v.noise).c_str());
  } else {
    std::printf(" -> %s: %s (worst shape %s, noise %s)\n", tournament.describe(v.tuning).c_str(),
                percent(v.speed).c_str(), percent(v.worst).c_str(), percent(1 + v.noise).c_str());
  }
  std::fflush(stdout);
  if (!won) return;
  const GemmPlan p = tournament.plan(v.tuning, sizes.size() - 1);
  report.rows.push_back({active_target(), DTypeTraits<typename Types::B>::kDType, shapes, p.tile,
                         p.nr / p.tile.vectors, v.tuning.mc, v.tuning.kc, v.tuning.nc});
  if (shapes != ShapeClass::kLarge) return;
  report.tune_rows += "// " + std::string(Types::kName) + ": " + percent(v.speed) + "\n";
  report.tune_rows += tune_row<Types>(v);
}

int run(const Options& options) {
  std::printf("%s, target %s\n", std::string(detail::cpu_name().text()).c_str(),
              std::string(name(active_target())).c_str());
  constexpr std::size_t kStages = 4;
  Progress progress(options.types.size() * options.shapes.size() * kStages);
  Report report;
  const auto tune_type = [&](auto types) {
    using Types = decltype(types);
    const auto has = [](const auto& list, std::string_view item) {
      return std::find(list.begin(), list.end(), item) != list.end();
    };
    if (!has(options.types, Types::kName)) return;
    for (const ShapeClass c :
         {ShapeClass::kRow, ShapeClass::kSkinny, ShapeClass::kSmall, ShapeClass::kLarge}) {
      if (has(options.shapes, detail::name(c))) tune<Types>(c, options, progress, report);
    }
  };
  tune_type(F32());
  tune_type(F64());
  tune_type(S8());
  tune_type(U8());

  if (!report.tune_rows.empty()) {
    std::printf("\n// %s, %s: large products. Other classes, mc and nc have no place there.\n%s",
                kRowsFile, std::string(name(active_target())).c_str(), report.tune_rows.c_str());
  }
  std::ofstream file(options.output, std::ios::binary);
  file << detail::profile_text(detail::kVersion, detail::cpu_name().text(), report.rows);
  file.close();
  if (!file) throw std::runtime_error("can't write " + options.output);
  std::printf("\n%s: %zu rows. Use it with TESSERA_PROFILE=%s\n", options.output.c_str(),
              report.rows.size(), options.output.c_str());
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  unsetenv("TESSERA_PROFILE");  // what Tessera does by itself is the yardstick
  return tessera::bench::run_program(
      "gemm_tune", [&] { return tessera::bench::run(tessera::bench::parse(argc, argv)); });
}
