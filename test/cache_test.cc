// SPDX-License-Identifier: Apache-2.0
// Cache sizes, and the GEMM blocks that follow from them.

#include "tessera/core/cache.h"

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "tessera/tune/generic.h"

namespace tessera {
namespace {

void check_plausible(const CacheSizes& sizes) {
  CHECK(sizes.l1d.bytes >= 4 * 1024);
  CHECK(sizes.l1d.bytes <= 4 * 1024 * 1024);
  CHECK(sizes.line >= 16);
  CHECK(sizes.line <= 512);
  CHECK((sizes.line & (sizes.line - 1)) == 0);
  for (const CacheLevel& level : {sizes.l1d, sizes.l2, sizes.l3}) {
    CHECK(level.shared_by >= 1);
    CHECK(level.ways >= 0);
  }
  if (sizes.l2.bytes != 0) CHECK(sizes.l2.bytes >= sizes.l1d.bytes);
}

TEST_CASE("the caches of this machine are plausible, and found once", "[cache]") {
  check_plausible(machine_caches());
  CHECK(&machine_caches() == &machine_caches());
}

TEST_CASE("each source is plausible by itself", "[cache]") {
  CacheSizes sizes;
  if (detail::caches_from_sysfs(sizes)) {
    CHECK(std::string(sizes.source) == "sysfs");
    check_plausible(sizes);
  }
  sizes = {};
  if (detail::caches_from_cpuid(sizes)) {
    CHECK(std::string(sizes.source) == "cpuid");
    check_plausible(sizes);
  }
  check_plausible(detail::fallback_caches());
  CHECK(std::string(detail::fallback_caches().source) == "fallback");
}

TEST_CASE("lists of CPUs are counted", "[cache]") {
  CHECK(detail::count_cpu_list("0\n") == 1);
  CHECK(detail::count_cpu_list("0-3\n") == 4);
  CHECK(detail::count_cpu_list("0-3,8\n") == 5);
  CHECK(detail::count_cpu_list("1,3,5-6,100-103") == 8);
  CHECK(detail::count_cpu_list("") == 0);
}

// Machines that say little or nonsense must still get blocks that work.
TEST_CASE("blocks are valid for any caches", "[cache]") {
  const std::size_t sizes[] = {0, 1, 1024, 32 * 1024, 48 * 1024 + 3, 1 << 20, std::size_t{1} << 40};
  for (const std::size_t l1 : sizes) {
    for (const std::size_t l2 : sizes) {
      for (const std::size_t l3 : sizes) {
        for (const int shared : {0, 1, 128}) {
          for (const auto& [mr, nr] :
               std::vector<std::pair<index_t, index_t>>{{6, 16}, {7, 128}, {15, 3}}) {
            const CacheSizes caches{
                .l1d = {l1, 8, shared}, .l2 = {l2, 8, shared}, .l3 = {l3, 8, shared}};
            const TileShape tile{static_cast<int>(mr), 1};
            const detail::GemmBlocks blocks = detail::gemm_blocks(caches, 4, tile, nr);
            const bool good = blocks.kc >= 1 && blocks.mc >= mr && blocks.mc % mr == 0 &&
                              blocks.nc >= nr && blocks.nc % nr == 0;
            CAPTURE(l1, l2, l3, shared, mr, nr, blocks.mc, blocks.kc, blocks.nc);
            CHECK(good);
          }
        }
      }
    }
  }
}

TEST_CASE("blocks fit the caches they are for", "[cache]") {
  const CacheSizes caches{
      .l1d = {32 * 1024, 8, 1}, .l2 = {512 * 1024, 8, 1}, .l3 = {8 * 1024 * 1024, 16, 1}};
  for (const std::size_t element : {4, 8}) {
    const detail::GemmBlocks blocks = detail::gemm_blocks(caches, element, TileShape{6, 2}, 16);
    const auto bytes = [&](index_t rows, index_t cols) {
      return static_cast<std::size_t>(rows * cols) * element;
    };
    CHECK(bytes(blocks.kc, 16) + bytes(blocks.kc, 6) <= caches.l1d.bytes);  // a panel of each
    CHECK(bytes(blocks.mc, blocks.kc) <= caches.l2.bytes);
    CHECK(bytes(blocks.nc, blocks.kc) <= caches.l3.bytes);
    CHECK(blocks.kc >= 64);  // long enough to pay for loading and storing C
    CHECK(blocks.mc >= 4 * 6);
  }
}

}  // namespace
}  // namespace tessera
