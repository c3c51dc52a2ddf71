// SPDX-License-Identifier: Apache-2.0
// Prints the limits of one core: multiply-adds of every target that it has, and reads of every cache level.
#include <cstdio>
#include <string>

#include "bench/peak.h"
#include "tessera/dispatch/dispatch.h"

int main() {
  using namespace tessera;
  using namespace tessera::bench;
  std::printf("%-12s %12s %12s\n", "target", "f32 GFLOP/s", "f64 GFLOP/s");
  for (const Target target : available_targets()) {
    const PeakProbe& probe = peak_probe(target);
    std::printf("%-12s %12.1f %12.1f\n", std::string(name(target)).c_str(),
                fma_peak_gflops<float>(probe), fma_peak_gflops<double>(probe));
    std::fflush(stdout);
  }
  std::printf("\n%-12s %12s %12s\n", "reads from", "buffer KiB", "GB/s");
  for (const ReadBandwidth& level : read_bandwidth(peak_probe())) {
    std::printf("%-12s %12zu %12.1f\n", level.level, level.bytes / 1024, level.gb_per_second);
  }
}
