// SPDX-License-Identifier: Apache-2.0
// Whether this process may use AMX, the matrix unit of x86. Its registers are large, so Linux wants to be asked.
#ifndef TESSERA_DISPATCH_AMX_H_
#define TESSERA_DISPATCH_AMX_H_

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace tessera::detail {

// For the whole process, its threads to come included.
inline bool request_amx_registers() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023,
                 kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

inline bool has_amx_int8() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & (1u << 27)) == 0) return false;  // OSXSAVE
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kTiles = 3u << 17;  // their configuration and data
  if ((low & kTiles) != kTiles) return false;
  constexpr unsigned kTileInt8 = 3u << 24;  // AMX-TILE, AMX-INT8
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kTileInt8) != kTileInt8)
    return false;
  return request_amx_registers();
#else
  return false;
#endif
}

}  // namespace tessera::detail

#endif  // TESSERA_DISPATCH_AMX_H_
