// SPDX-License-Identifier: Apache-2.0
// What one core can do at most: fused multiply-adds per second and bytes read per second, measured in the
// same process as whatever is compared with it.
#ifndef TESSERA_BENCH_PEAK_H_
#define TESSERA_BENCH_PEAK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tessera/core/cache.h"
#include "tessera/core/isa.h"

namespace tessera::bench {

// The probes of one target.
struct PeakProbe {
  Target target;
  // Runs at least `fmas` fused multiply-adds of elements (not of vectors) in registers; returns how
  // many it ran.
  std::int64_t (*fma_f32)(std::int64_t fmas);
  std::int64_t (*fma_f64)(std::int64_t fmas);
  // Reads `bytes` bytes once, front to back, with the widest loads.
  void (*read)(const std::byte* data, std::size_t bytes);
};

// The probe of the target that Tessera uses by default or was told to use; of another by name.
const PeakProbe& peak_probe();
const PeakProbe& peak_probe(Target target);

// GFLOP/s of one core (a multiply-add counts two): the best of `trials` runs of a few milliseconds.
template <class T>
double fma_peak_gflops(const PeakProbe& probe, int trials = 20);

struct ReadBandwidth {
  const char* level;  // "L1", "L2", "L3", "DRAM"
  std::size_t bytes;  // size of the buffer that was read over and over
  double gb_per_second;
};

// Size of a buffer that does not stay in any cache: four times the last level, but at most 1 GiB.
std::size_t dram_probe_bytes(const CacheSizes& caches);

// One entry per cache level that exists, and memory. The buffers fill half of a level, so that they
// stay in it; memory is read through a buffer of dram_probe_bytes().
std::vector<ReadBandwidth> read_bandwidth(const PeakProbe& probe,
                                          const CacheSizes& caches = machine_caches());

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_PEAK_H_
