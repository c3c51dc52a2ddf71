// SPDX-License-Identifier: Apache-2.0
// Marks what count_plugin.c counts. The markers are hints, which have no effect on hardware: lui to register zero, and
// hints of Arm without a meaning.
#ifndef TESSERA_BENCH_COUNT_REGION_H_
#define TESSERA_BENCH_COUNT_REGION_H_

namespace tessera::bench {

template <class F>
void count_region(F&& run) {
#if defined(__aarch64__)
  asm volatile("hint 96" ::: "memory");
  run();
  asm volatile("hint 97" ::: "memory");
#else
  asm volatile(".word 0x00001037" ::: "memory");
  run();
  asm volatile(".word 0x00002037" ::: "memory");
#endif
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_COUNT_REGION_H_
