// SPDX-License-Identifier: Apache-2.0
// What a comparison says first: the machine, the contenders, and what is missing.
#ifndef TESSERA_BENCH_MACHINE_H_
#define TESSERA_BENCH_MACHINE_H_

#include <sys/utsname.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "bench/gemm_options.h"
#include "bench/peak.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {

inline std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) {
      return line.substr(line.find(": ") + 2);
    }
  }
  utsname system{};
  return uname(&system) == 0 ? system.machine : "?";
}

#if defined(__clang__)
inline constexpr char kCompiler[] = "clang " __clang_version__;
#else
inline constexpr char kCompiler[] = "g++ " __VERSION__;
#endif

template <class Contender>
void print_machine_json(int threads, const std::vector<Contender>& contenders,
                        const std::vector<std::string>& missing, std::size_t cases) {
  const CacheSizes& caches = machine_caches();
  std::printf("{\"record\": \"machine\", \"processor\": %s, \"compiler\": %s, \"target\": %s",
              json_string(processor()).c_str(), json_string(kCompiler).c_str(),
              json_string(name(active_target())).c_str());
  std::printf(", \"threads\": %d, \"cases\": %zu", threads, cases);
  std::printf(", \"caches\": {\"L1\": %zu, \"L2\": %zu, \"L3\": %zu}", caches.l1d.bytes,
              caches.l2.bytes, caches.l3.bytes);
  std::printf(", \"peak_gflops\": {\"f32\": %.1f, \"f64\": %.1f}, \"read_gb_per_second\": {",
              fma_peak_gflops<float>(peak_probe()), fma_peak_gflops<double>(peak_probe()));
  const char* separator = "";
  for (const ReadBandwidth& level : read_bandwidth(peak_probe())) {
    std::printf("%s%s: %.1f", separator, json_string(level.level).c_str(), level.gb_per_second);
    separator = ", ";
  }
  std::printf("}, \"contenders\": [");
  separator = "";
  for (const Contender& who : contenders) {
    std::printf("%s{\"name\": %s", separator, json_string(who.name).c_str());
    if constexpr (requires { who.packed; }) {
      std::printf(", \"packed\": %s", who.packed ? "true" : "false");
    } else if constexpr (requires { who.mode; }) {
      std::printf(", \"mode\": %s", json_string(who.mode).c_str());
    }
    std::printf(", \"description\": %s}", json_string(who.description).c_str());
    separator = ", ";
  }
  std::printf("], \"missing\": [");
  separator = "";
  for (const std::string& line : missing) {
    std::printf("%s%s", separator, json_string(line).c_str());
    separator = ", ";
  }
  std::printf("]}\n");
}

template <class Contender>
void print_machine(int threads, const std::vector<Contender>& contenders,
                   const std::vector<std::string>& missing) {
  for (const Contender& who : contenders) {
    std::printf("%s: %s\n", who.label().c_str(), who.description.c_str());
  }
  for (const std::string& line : missing) std::printf("%s\n", line.c_str());
  std::printf("%d thread%s; of one core: f32 %.1f, f64 %.1f GFLOP/s, reads", threads,
              threads == 1 ? "" : "s", fma_peak_gflops<float>(peak_probe()),
              fma_peak_gflops<double>(peak_probe()));
  for (const ReadBandwidth& level : read_bandwidth(peak_probe())) {
    std::printf("  %s %.1f", level.level, level.gb_per_second);
  }
  std::printf(" GB/s\n");
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_MACHINE_H_
