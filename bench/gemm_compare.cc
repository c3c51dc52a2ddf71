// SPDX-License-Identifier: Apache-2.0
// Tessera beside its peers, in one process and in turns: a table of GFLOP/s, ratios and shares of the
// measured peak. See --help.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gemm_match.h"
#include "bench/peak.h"
#include "bench/peers.h"
#include "tessera/ops/gemm.h"

namespace tessera::bench {
namespace {

constexpr char kHelp[] =
    R"(gemm_compare: GEMM of Tessera and its peers, timed in turns, single-threaded

  --shapes LIST    square, other, all (the default) or MxNxK,... (N alone is NxNxN)
  --types LIST     f32,f64 (the default: both)
  --rounds N       turns of each contender (21); medians are reported
  --turn-ms X      least duration of one turn, by repeated calls (20)
  --variant LIST   one more contender: Tessera with tile=N,mc=N,kc=N,nc=N,packing=never|always;
                   may be given more than once
  --cblas NAME=FILE  one more contender: a shared library with cblas_sgemm and cblas_dgemm
  --no-peers       none but those given here
  --json FILE      also write the figures there

Ratios are medians of the ratios within each round, +- half their interquartile range.
% of peak is against a multiply-add loop in registers that takes turns with the others.
The environment variable TESSERA_TARGET chooses the target; OpenBLAS and BLIS are then limited to the same
instructions, unless OPENBLAS_CORETYPE or BLIS_ARCH_TYPE is set.
)";

struct Options {
  std::vector<GemmShape> shapes;
  std::vector<std::string> variants, libraries;
  std::string json;
  bool f32 = true, f64 = true, peers = true;
  int rounds = 21;
  double turn_seconds = 20e-3;
};

struct Row {
  GemmShape shape;
  const char* type;
  double peak_gflops;
  std::vector<GemmFigures> contenders;  // Tessera first
};

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    items.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

std::vector<GemmShape> parse_shapes(const std::string& text) {
  std::vector<GemmShape> shapes;
  const auto append = [&shapes](const std::vector<GemmShape>& list) {
    shapes.insert(shapes.end(), list.begin(), list.end());
  };
  for (const std::string& item : split(text)) {
    long m = 0, n = 0, k = 0;
    char rest = 0;
    if (item == "square" || item == "all") append(kSquareShapes);
    if (item == "other" || item == "all") append(kOtherShapes);
    if (item == "square" || item == "other" || item == "all") continue;
    const int got = std::sscanf(item.c_str(), "%ldx%ldx%ld%c", &m, &n, &k, &rest);
    if (got == 1) n = k = m;
    if ((got != 1 && got != 3) || m < 1 || n < 1 || k < 1) {
      throw std::invalid_argument("--shapes: \"" + item + "\" is no shape");
    }
    shapes.push_back({m, n, k});
  }
  return shapes;
}

Options parse(int argc, char** argv) {
  Options options;
  options.shapes = parse_shapes("all");
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) throw std::invalid_argument(flag + " needs a value");
      return argv[++i];
    };
    if (flag == "--help") {
      std::fputs(kHelp, stdout);
      std::exit(EXIT_SUCCESS);
    } else if (flag == "--shapes") {
      options.shapes = parse_shapes(value());
    } else if (flag == "--types") {
      options.f32 = options.f64 = false;
      for (const std::string& type : split(value())) {
        if (type != "f32" && type != "f64") throw std::invalid_argument("--types: f32, f64");
        (type == "f32" ? options.f32 : options.f64) = true;
      }
    } else if (flag == "--rounds") {
      options.rounds = std::max(1, std::stoi(value()));
    } else if (flag == "--turn-ms") {
      options.turn_seconds = 1e-3 * std::stod(value());
    } else if (flag == "--variant") {
      options.variants.push_back(value());
    } else if (flag == "--cblas") {
      options.libraries.push_back(value());
    } else if (flag == "--no-peers") {
      options.peers = false;
    } else if (flag == "--json") {
      options.json = value();
    } else {
      throw std::invalid_argument("unknown option " + flag + " (--help lists them)");
    }
  }
  return options;
}

template <class T>
Row measure(const GemmShape& shape, const std::vector<GemmContender>& contenders,
            const Options& options) {
  GemmMatch<T> match(shape, contenders, options.turn_seconds);
  for (int r = 0; r < options.rounds; ++r) match.round();
  Row row{shape, kTypeName<T>, match.peak_gflops(), {}};
  for (std::size_t i = 0; i < contenders.size(); ++i) row.contenders.push_back(match.figures(i));
  return row;
}

void print_header(const std::vector<GemmContender>& contenders) {
  std::printf("\n%-15s %-4s %7s | %-13s", "", "", "peak", contenders[0].name.c_str());
  for (std::size_t i = 1; i < contenders.size(); ++i) {
    std::printf(" | %-28s", contenders[i].name.c_str());
  }
  std::printf("\n%-15s %-4s %7s | %7s %5s", "m x n x k", "type", "GFLOP/s", "GFLOP/s", "peak");
  for (std::size_t i = 1; i < contenders.size(); ++i) {
    std::printf(" | %7s %5s  %-13s", "GFLOP/s", "peak", "tessera is");
  }
  std::printf("\n");
}

void print_row(const Row& row) {
  std::printf("%-15s %-4s %7.1f", row.shape.name().c_str(), row.type, row.peak_gflops);
  for (std::size_t i = 0; i < row.contenders.size(); ++i) {
    const GemmFigures& f = row.contenders[i];
    std::printf(" | %7.1f %4.0f%%", f.gflops, 100 * f.share_of_peak);
    if (i != 0) std::printf("  %5.3fx +-%.3f", f.ratio, f.ratio_spread);
  }
  std::printf("\n");
  std::fflush(stdout);
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c < ' ' ? ' ' : c;
  }
  return result + '"';
}

void write_json(const std::string& file, const std::vector<GemmContender>& contenders,
                const std::vector<ReadBandwidth>& bandwidth, const std::vector<Row>& rows) {
  std::ofstream out(file);
  out << "{\n  \"target\": " << quoted(std::string(name(active_target())))
      << ",\n  \"contenders\": {";
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    out << (i ? ", " : "") << quoted(contenders[i].name) << ": "
        << quoted(contenders[i].description);
  }
  out << "},\n  \"read_gb_per_s\": {";
  for (std::size_t i = 0; i < bandwidth.size(); ++i) {
    out << (i ? ", " : "") << quoted(bandwidth[i].level) << ": " << bandwidth[i].gb_per_second;
  }
  out << "},\n  \"rows\": [";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    out << (r ? ",\n    " : "\n    ") << "{\"m\": " << row.shape.m << ", \"n\": " << row.shape.n
        << ", \"k\": " << row.shape.k << ", \"type\": " << quoted(row.type)
        << ", \"peak_gflops\": " << row.peak_gflops << ", \"contenders\": {";
    for (std::size_t i = 0; i < row.contenders.size(); ++i) {
      const GemmFigures& f = row.contenders[i];
      out << (i ? ", " : "") << quoted(contenders[i].name) << ": {\"gflops\": " << f.gflops
          << ", \"best_gflops\": " << f.best_gflops << ", \"share_of_peak\": " << f.share_of_peak
          << ", \"tessera_ratio\": " << f.ratio << ", \"tessera_ratio_spread\": " << f.ratio_spread
          << "}";
    }
    out << "}}";
  }
  out << "\n  ]\n}\n";
  if (!out.flush()) throw std::runtime_error("cannot write " + file);
}

int run(const Options& options) {
  std::vector<std::string> missing;
  std::vector<GemmContender> contenders = {tessera_contender()};
  for (const std::string& variant : options.variants) {
    contenders.push_back(tessera_contender(variant));
  }
  for (const std::string& library : options.libraries) {
    const std::size_t equals = library.find('=');
    if (equals == std::string::npos) throw std::invalid_argument("--cblas NAME=FILE");
    contenders.push_back(cblas_contender(library.substr(0, equals), library.substr(equals + 1)));
  }
  if (options.peers) {
    for (GemmContender& peer : find_peers(missing)) contenders.push_back(std::move(peer));
  }
  for (const GemmContender& who : contenders) {
    std::printf("%s: %s\n", who.name.c_str(), who.description.c_str());
  }
  for (const std::string& line : missing) std::printf("%s\n", line.c_str());

  std::string wrong;
  if (options.f32) wrong += check_contenders<float>(contenders, options.shapes, stdout);
  if (options.f64) wrong += check_contenders<double>(contenders, options.shapes, stdout);
  std::printf("reads");
  const std::vector<ReadBandwidth> bandwidth = read_bandwidth(peak_probe());
  for (const ReadBandwidth& level : bandwidth) {
    std::printf("  %s %.1f", level.level, level.gb_per_second);
  }
  std::printf(" GB/s\n");

  print_header(contenders);
  std::vector<Row> rows;
  const bool terminal = isatty(STDERR_FILENO);
  std::size_t done = 0;
  const std::size_t all =
      options.shapes.size() * static_cast<std::size_t>(options.f32 + options.f64);
  for (const bool f32 : {true, false}) {
    if (!(f32 ? options.f32 : options.f64)) continue;
    for (const GemmShape& shape : options.shapes) {
      if (terminal) std::fprintf(stderr, "[%zu/%zu] %s\r", ++done, all, shape.name().c_str());
      rows.push_back(f32 ? measure<float>(shape, contenders, options)
                         : measure<double>(shape, contenders, options));
      print_row(rows.back());
    }
  }
  if (!options.json.empty()) write_json(options.json, contenders, bandwidth, rows);
  std::fputs(wrong.c_str(), stderr);
  return wrong.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  try {
    return tessera::bench::run(tessera::bench::parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gemm_compare: %s\n", e.what());
    return EXIT_FAILURE;
  }
}
