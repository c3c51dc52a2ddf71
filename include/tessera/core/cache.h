// SPDX-License-Identifier: Apache-2.0
// Data cache sizes of the machine, which the cache blocks are computed from.
#ifndef TESSERA_CORE_CACHE_H_
#define TESSERA_CORE_CACHE_H_

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace tessera {

struct CacheLevel {
  std::size_t bytes = 0;  // 0: there is none, or nobody says
  int ways = 0;
  int shared_by = 1;  // hardware threads
};

struct CacheSizes {
  CacheLevel l1d, l2, l3;
  std::size_t line = 64;
  const char* source = "fallback";  // "sysfs", "cpuid" or "fallback"
};

namespace detail {

// What most cores of the last decade have at least. An unknown L2 is taken as small: blocks that are
// too small cost a few percent, blocks that overflow the cache cost half.
inline CacheSizes fallback_caches() {
  return {.l1d = {32 * 1024, 8, 1}, .l2 = {256 * 1024, 8, 1}, .l3 = {}};
}

inline CacheLevel* level_of(CacheSizes& sizes, int level, bool holds_data) {
  if (level == 1 && holds_data) return &sizes.l1d;
  return level == 2 ? &sizes.l2 : level == 3 ? &sizes.l3 : nullptr;
}

inline bool read_sysfs_text(int index, const char* file, char (&text)[64]) {
  char path[96];
  std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, file);
  std::FILE* f = std::fopen(path, "r");
  if (f == nullptr) return false;
  const bool ok = std::fgets(text, sizeof text, f) != nullptr;
  std::fclose(f);
  return ok;
}

inline long read_sysfs_number(int index, const char* file) {
  char text[64];
  if (!read_sysfs_text(index, file, text)) return 0;
  long value = 0;
  char unit = 0;
  if (std::sscanf(text, "%ld%c", &value, &unit) < 1) return 0;
  return unit == 'K' ? value * 1024 : unit == 'M' ? value * 1024 * 1024 : value;
}

// "0-3,8" lists five.
inline int count_cpu_list(const char* text) {
  int count = 0;
  while (*text >= '0' && *text <= '9') {
    int first = 0, last = 0, used = 0;
    if (std::sscanf(text, "%d-%d%n", &first, &last, &used) == 2) {
      count += last - first + 1;
    } else if (std::sscanf(text, "%d%n", &first, &used) == 1) {
      ++count;
    }
    text += used;
    if (*text == ',') ++text;
  }
  return count;
}

inline bool caches_from_sysfs(CacheSizes& sizes) {
  char text[64];
  for (int index = 0; index < 8 && read_sysfs_text(index, "type", text); ++index) {
    const bool holds_data = text[0] == 'D' || text[0] == 'U';  // Data, Unified
    CacheLevel* level =
        level_of(sizes, static_cast<int>(read_sysfs_number(index, "level")), holds_data);
    if (level == nullptr || !holds_data) continue;
    level->bytes = static_cast<std::size_t>(read_sysfs_number(index, "size"));
    level->ways = static_cast<int>(read_sysfs_number(index, "ways_of_associativity"));
    if (read_sysfs_text(index, "shared_cpu_list", text)) level->shared_by = count_cpu_list(text);
    if (const long line = read_sysfs_number(index, "coherency_line_size"); line > 0) {
      sizes.line = static_cast<std::size_t>(line);
    }
  }
  sizes.source = "sysfs";
  return sizes.l1d.bytes != 0;
}

#if defined(__x86_64__) || defined(__i386__)
// Intel leaf 4 and AMD leaf 0x8000001D have the same layout.
inline bool caches_from_cpuid(CacheSizes& sizes) {
  for (const unsigned leaf : {0x8000001Du, 4u}) {
    for (unsigned index = 0; index < 8; ++index) {
      unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
      if (!__get_cpuid_count(leaf, index, &eax, &ebx, &ecx, &edx) || (eax & 31) == 0) break;
      const bool holds_data = (eax & 31) != 2;
      CacheLevel* level = level_of(sizes, static_cast<int>((eax >> 5) & 7), holds_data);
      if (level == nullptr || !holds_data) continue;
      const std::size_t line = (ebx & 0xfff) + 1;
      level->ways = static_cast<int>((ebx >> 22) + 1);
      level->bytes = static_cast<std::size_t>(level->ways) * (((ebx >> 12) & 0x3ff) + 1) * line *
                     (static_cast<std::size_t>(ecx) + 1);
      level->shared_by = static_cast<int>(((eax >> 14) & 0xfff) + 1);
      sizes.line = line;
    }
    if (sizes.l1d.bytes != 0) break;
  }
  sizes.source = "cpuid";
  return sizes.l1d.bytes != 0;
}
#else
inline bool caches_from_cpuid(CacheSizes&) { return false; }
#endif

inline CacheSizes detect_caches() {
  CacheSizes sizes;
  if (caches_from_sysfs(sizes)) return sizes;
  sizes = {};
  if (caches_from_cpuid(sizes)) return sizes;
  return fallback_caches();
}

}  // namespace detail

// Found once: sysfs, else CPUID, else a careful guess.
inline const CacheSizes& machine_caches() {
  static const CacheSizes sizes = detail::detect_caches();
  return sizes;
}

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_H_
