// SPDX-License-Identifier: Apache-2.0
// What the GEMM programs' command lines have in common.
#ifndef TESSERA_BENCH_GEMM_OPTIONS_H_
#define TESSERA_BENCH_GEMM_OPTIONS_H_

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gemm_cases.h"
#include "bench/options.h"

namespace tessera::bench {

// "MxNxK" or "N", then ":t" for B transposed, ":c" for cold.
inline GemmCase parse_case(const std::string& item) {
  const std::vector<std::string> parts = split(item, ':');
  GemmCase result{.group = "given", .shape = {}};
  long m = 0, n = 0, k = 0;
  char rest = 0;
  const int got =
      parts.empty() ? 0 : std::sscanf(parts[0].c_str(), "%ldx%ldx%ld%c", &m, &n, &k, &rest);
  if (got == 1) n = k = m;
  bool good = (got == 1 || got == 3) && m >= 1 && n >= 1 && k >= 1;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (parts[i] == "t") result.b_transposed = true;
    if (parts[i] == "c") result.cold = true;
    good = good && (parts[i] == "t" || parts[i] == "c");
  }
  if (!good) throw std::invalid_argument("--shapes: \"" + item + "\" is no shape");
  result.shape = {m, n, k};
  return result;
}

// A list of groups, "all" and single cases.
inline std::vector<GemmCase> parse_cases(const std::string& list) {
  std::vector<GemmCase> cases;
  const std::vector<GemmCase> known = gemm_cases();
  for (const std::string& item : split(list)) {
    const bool group = item == "all" || std::find(std::begin(kGemmGroups), std::end(kGemmGroups),
                                                  item) != std::end(kGemmGroups);
    if (!group) cases.push_back(parse_case(item));
    for (const GemmCase& c : known) {
      if (group && (item == "all" || item == c.group)) cases.push_back(c);
    }
  }
  return cases;
}

// Names of types, in the order that they are compared in.
inline std::vector<std::string> parse_types(const std::string& list) {
  const std::vector<std::string> wanted = split(list);
  std::vector<std::string> types;
  for_each_types([&](auto kind) {
    if (std::find(wanted.begin(), wanted.end(), kind.kName) != wanted.end()) {
      types.push_back(kind.kName);
    }
  });
  if (types.size() != wanted.size()) {
    throw std::invalid_argument("--types: " + list + " is no list of f32, f64, s8, bf16, f16");
  }
  return types;
}

inline std::string json_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result + '"';
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_GEMM_OPTIONS_H_
