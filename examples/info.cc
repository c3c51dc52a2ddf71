// SPDX-License-Identifier: Apache-2.0
// What Tessera found on this machine and what it will use: CPU features, targets, vector lengths,
// caches, register tiles, cache blocks.
//
//   info            all of that
//   info --targets  the names of the targets that run here, one a line, the slowest first

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tessera/tessera.h"

namespace {

namespace ts = tessera;
using ts::index_t;

// ---- The CPU, in the words of the operating system

// The value of the first line of /proc/cpuinfo that starts with `key`; "" where there is none.
std::string cpuinfo(std::string_view key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (line.starts_with(key) && colon != std::string::npos) {
      return line.substr(std::min(colon + 2, line.size()));
    }
  }
  return {};
}

// The features that have to do with vectors.
std::string vector_features() {
#if defined(__riscv)
  return cpuinfo("isa");
#elif defined(__aarch64__)
  constexpr std::string_view kOfInterest[] = {"asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve",
                                              "sve2",  "svebf16", "svei8mm", "sme",  "sme2"};
  std::istringstream all(cpuinfo("Features"));
#else
  constexpr std::string_view kOfInterest[] = {
      "sse4_1",   "sse4_2",   "avx",      "f16c",     "fma",         "avx2",        "avx_vnni",
      "avx512f",  "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
      "amx_tile", "amx_int8", "amx_bf16", "lsx",      "lasx"};
  std::istringstream all(cpuinfo("flags"));
#endif
#if !defined(__riscv)
  std::string found;
  for (std::string feature; all >> feature;) {
    if (std::find(std::begin(kOfInterest), std::end(kOfInterest), feature) !=
        std::end(kOfInterest)) {
      if (!found.empty()) found += ' ';
      found += feature;
    }
  }
  return found;
#endif
}

void print_cpu() {
  std::string model = cpuinfo("model name");
  if (model.empty()) model = cpuinfo("uarch");
  const std::string features = vector_features();
  std::printf("CPU        %s, %u threads\n", model.empty() ? "(no name)" : model.c_str(),
              std::thread::hardware_concurrency());
  if (!features.empty()) std::printf("features   %s\n", features.c_str());
}

// ---- Caches

std::string bytes(double count) {
  char text[32];
  const bool mib = count >= 1024 * 1024;
  std::snprintf(text, sizeof text, "%.4g %s", count / (mib ? 1024 * 1024 : 1024),
                mib ? "MiB" : "KiB");
  return text;
}

void print_caches() {
  const ts::CacheSizes& caches = ts::machine_caches();
  std::printf("caches     ");
  const auto print = [](const char* name, const ts::CacheLevel& level) {
    if (level.bytes == 0) return;
    std::printf("%s %s (%d ways, %d thread%s), ", name,
                bytes(static_cast<double>(level.bytes)).c_str(), level.ways, level.shared_by,
                level.shared_by == 1 ? "" : "s");
  };
  print("L1d", caches.l1d);
  print("L2", caches.l2);
  print("L3", caches.l3);
  std::printf("lines of %zu bytes; from %s\n", caches.line, caches.source);
}

// ---- Targets and tiles

// The register tiles in elements, e.g. "6x16 4x24"; the lanes of a vector register go to `lanes`.
template <class T>
std::string tiles(ts::Target target, index_t& lanes) {
  ts::Context context;
  context.target = target;
  std::string text;
  for (int tile = 0; tile < ts::gemm_tile_count<T>(&context); ++tile) {
    context.gemm.tile = tile;
    const ts::GemmPlan plan = ts::plan_gemm<T>(1024, 1024, 1024, &context);
    lanes = plan.nr / plan.tile.vectors / plan.tile.lmul;
    if (tile != 0) text += ' ';
    text.append(std::to_string(plan.mr)).append("x").append(std::to_string(plan.nr));
  }
  return text;
}

void print_targets() {
  std::printf("\n  %-12s %-5s %-11s %-22s %s\n", "target", "FMA", "vector", "tiles for float",
              "tiles for double");
  const ts::Target active = ts::active_target();
  for (const ts::Target target : ts::available_targets()) {
    index_t lanes = 0;
    const std::string f64 = tiles<double>(target, lanes), f32 = tiles<float>(target, lanes);
    std::printf("%s %-12s %-5s %4td bits   %-22s %s\n", target == active ? ">" : " ",
                std::string(ts::name(target)).c_str(), ts::has_fma(target) ? "yes" : "no",
                32 * lanes, f32.c_str(), f64.c_str());
  }
  std::printf("> is used, unless TESSERA_TARGET, set_active_target() or a Context name another.\n");
}

template <class T>
void print_blocks(const char* type) {
  const ts::GemmPlan plan = ts::plan_gemm<T>(4096, 4096, 4096);
  std::printf("  %-12s A %4td x %-4td %-10s  B %4td x %-4td %s\n", type, plan.mc, plan.kc,
              bytes(static_cast<double>(plan.mc * plan.kc) * sizeof(T)).c_str(), plan.kc, plan.nc,
              bytes(static_cast<double>(plan.kc * plan.nc) * sizeof(T)).c_str());
}

void print_plan(index_t m, index_t n, index_t k) {
  const ts::GemmPlan plan = ts::plan_gemm<float>(m, n, k);
  std::printf("  %3td x %4td x %-4td  tile %tdx%td, A %s, B %s\n", m, n, k, plan.mr, plan.nr,
              plan.packs_a ? "packed" : "in place", plan.packs_b ? "packed" : "in place");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--targets") {
      for (const ts::Target target : ts::available_targets()) {
        std::printf("%s\n", std::string(ts::name(target)).c_str());
      }
      return 0;
    }
    if (argc > 1) {
      std::fprintf(stderr, "usage: info [--targets]\n");
      return 2;
    }
    ts::active_target();  // an unknown TESSERA_TARGET is refused before anything is printed
    std::printf("Tessera    %d.%d.%d\n", TESSERA_VERSION_MAJOR, TESSERA_VERSION_MINOR,
                TESSERA_VERSION_PATCH);
    print_cpu();
    print_caches();
    print_targets();
    std::printf("\n  cache blocks of large products\n");
    print_blocks<float>("float");
    print_blocks<double>("double");
    std::printf("\n  what gemm does for floats, m x n x k\n");
    for (const index_t m : {1, 8, 64, 512}) print_plan(m, 4096, 4096);
    for (const index_t size : {64, 512}) print_plan(size, size, size);
    return 0;
  } catch (const ts::Error& error) {
    std::fprintf(stderr, "info: %s\n", error.what());
    return 1;
  }
}
