// SPDX-License-Identifier: Apache-2.0
// Marks what rvcount.c counts. The markers are hints (lui to register zero): no effect on hardware.
#ifndef TESSERA_BENCH_COUNT_REGION_H_
#define TESSERA_BENCH_COUNT_REGION_H_

namespace tessera::bench {

template <class F>
void count_region(F&& run) {
  asm volatile(".word 0x00001037" ::: "memory");
  run();
  asm volatile(".word 0x00002037" ::: "memory");
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_COUNT_REGION_H_
