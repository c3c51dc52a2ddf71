// SPDX-License-Identifier: Apache-2.0
#include "bench/peak.h"

#include <algorithm>
#include <vector>

// Targets that add no float instructions to the next slower one use its probe.
#if defined(__x86_64__) || defined(__i386__)
#define HWY_DISABLED_TARGETS \
  (HWY_SSE2 | HWY_SSSE3 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak-inl.h"
#include "tessera/config.h"      // before Highway: the targets to compile for
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "bench/peak-inl.h"
#include "bench/timing.h"
#include "tessera/core/scratch.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {
namespace {

// The slowest first. Constants: nothing here runs code of a target that this machine may not have.
constexpr const PeakProbe* kProbes[] = {
#if HWY_TARGETS & (HWY_EMU128 | HWY_SCALAR)
    &HWY_NAMESPACE::kPeakProbe,  // the static target is the slowest one
#endif
#if HWY_TARGETS & HWY_SSE4
    &N_SSE4::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_AVX2
    &N_AVX2::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_AVX3
    &N_AVX3::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_NEON_WITHOUT_AES
    &N_NEON_WITHOUT_AES::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_NEON
    &N_NEON::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_SVE
    &N_SVE::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_SVE2
    &N_SVE2::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_SVE_256
    &N_SVE_256::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_SVE2_128
    &N_SVE2_128::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_RVV
    &N_RVV::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_LSX
    &N_LSX::kPeakProbe,
#endif
#if HWY_TARGETS & HWY_LASX
    &N_LASX::kPeakProbe,
#endif
};

constexpr std::size_t kMega = std::size_t{1} << 20;

// GB/s of reading the first `bytes` of `data` over and over: the best of a few timings.
double read_gb_per_second(const PeakProbe& probe, const std::byte* data, std::size_t bytes) {
  const auto pass = [&] { probe.read(data, bytes); };
  const std::int64_t calls = calls_for(pass, 5e-3);
  double best = 1e30;
  for (int trial = 0; trial < 10; ++trial) best = std::min(best, seconds_per_call(pass, calls));
  return static_cast<double>(bytes) / best * 1e-9;
}

}  // namespace

const PeakProbe& peak_probe(Target target) {
  const PeakProbe* best = kProbes[0];
  for (const PeakProbe* probe : kProbes) {
    if (probe->target <= target) best = probe;
  }
  return *best;
}

const PeakProbe& peak_probe() { return peak_probe(active_target()); }

template <class T>
double fma_peak_gflops(const PeakProbe& probe, int trials) {
  const auto fma = sizeof(T) == sizeof(float) ? probe.fma_f32 : probe.fma_f64;
  std::int64_t fmas = 1 << 16;
  double best = 0;
  for (int trial = 0; trial < trials;) {
    const double start = thread_seconds();
    const std::int64_t done = fma(fmas);
    const double seconds = thread_seconds() - start;
    if (seconds < 3e-3) {
      fmas *= 2;  // too short to time
      continue;
    }
    best = std::max(best, 2e-9 * static_cast<double>(done) / seconds);
    ++trial;
  }
  return best;
}
template double fma_peak_gflops<float>(const PeakProbe&, int);
template double fma_peak_gflops<double>(const PeakProbe&, int);

std::size_t dram_probe_bytes(const CacheSizes& caches) {
  const std::size_t last = std::max({caches.l1d.bytes, caches.l2.bytes, caches.l3.bytes});
  return std::clamp(4 * last, 64 * kMega, 1024 * kMega);
}

std::vector<ReadBandwidth> read_bandwidth(const PeakProbe& probe, const CacheSizes& caches) {
  std::vector<ReadBandwidth> result;
  const std::size_t l1 = caches.l1d.bytes, l2 = caches.l2.bytes;
  const std::size_t l3 =
      caches.l3.bytes / static_cast<std::size_t>(std::max(caches.l3.shared_by, 1));
  if (l1 != 0) result.push_back({"L1", l1 / 2, 0});
  if (l2 != 0) result.push_back({"L2", l2 / 2, 0});
  // A huge L3 belongs to many cores, whatever a virtual machine says: no more than well beyond L2.
  if (l3 > l2) result.push_back({"L3", std::min(l3 / 2, std::max(4 * l2, 16 * kMega)), 0});
  result.push_back({"DRAM", dram_probe_bytes(caches), 0});

  const std::size_t most = result.back().bytes;
  const auto memory = tessera::detail::allocate_aligned(most);
  std::fill_n(memory.get(), most,
              std::byte{1});  // pages that were never written share one of zeros
  for (ReadBandwidth& level : result) {
    level.gb_per_second = read_gb_per_second(probe, memory.get(), level.bytes);
  }
  return result;
}

}  // namespace tessera::bench
