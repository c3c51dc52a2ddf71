// SPDX-License-Identifier: Apache-2.0
// Register tiles and cache blocks: the formulas. The measured rows are in x86.h, arm.h and riscv.h.
#ifndef TESSERA_TUNE_GENERIC_H_
#define TESSERA_TUNE_GENERIC_H_

#include <algorithm>
#include <cstddef>

#include "tessera/core/cache.h"
#include "tessera/core/isa.h"
#include "tessera/core/view.h"

namespace tessera {

// A register tile of C: `rows` x (`vectors` groups of `lmul` registers). It counts vectors, not
// columns, so a row holds for every vector length.
struct TileShape {
  int rows;
  int vectors;
  int lmul = 1;
  int unroll = 4;  // steps of k per loop iteration
  // In-order cores: the scalars of A for step k + 1 are loaded right after their last use in step k
  // (each one a step ahead of its multiply-add). Needs vectors == 1.
  bool rotate = false;
  int kc = 0;  // depth of a cache block where one was measured; 0: by gemm_blocks()

  // Accumulators and one row of B; `broadcast`: one more for the element of A where the
  // multiply-add does not take a scalar operand.
  constexpr int registers(bool broadcast) const {
    return lmul * vectors * (rows + 1) + (broadcast ? 1 : 0);
  }
  constexpr bool operator==(const TileShape&) const = default;
};

template <TileShape... kShapes>
struct TileList {
  static constexpr int kSize = sizeof...(kShapes);
  static constexpr TileShape kAll[] = {kShapes...};
};

namespace detail {

// The tiles of a target, the default first. Specialised per target and type in the family files.
template <Target kTarget, class T>
struct GemmTiles {
  using List = TileList<TileShape{4, 1, 1, 1}>;
};

// Odd on purpose: every edge case appears in the smallest shapes.
template <class T>
struct GemmTiles<Target::kScalar3, T> {
  using List = TileList<TileShape{3, 2, 1, 1}, TileShape{5, 1, 1, 2, true}>;
};
template <class T>
struct GemmTiles<Target::kScalar5, T> {
  using List = TileList<TileShape{2, 3, 1, 3}, TileShape{7, 1, 1, 4, true}>;
};

constexpr index_t bytes_per_thread(const CacheLevel& level) {
  return static_cast<index_t>(level.bytes) / std::max(level.shared_by, 1);
}

struct GemmBlocks {
  index_t mc, kc, nc;
};

constexpr index_t round_up(index_t value, index_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr index_t round_down(index_t value, index_t multiple) {
  return std::max(value / multiple * multiple, multiple);
}

// After Low, Igual, Smith and Quintana-Orti, "Analytical Modeling Is Enough for High-Performance
// BLIS", ACM TOMS 43(2), 2016: kc such that a panel of B [kc, nr] and the panel of A that passes by
// share L1; nc such that the block of B takes half of the share of L3 that one thread has (or, without
// an L3, of L2). mc such that the block of A takes a quarter of L2, not most of it as in the paper:
// physical pages are not contiguous and some sets overflow early (Sapphire Rapids, dgemm: a quarter
// is 5 to 10 % ahead of a half at 512 to 2048).
inline GemmBlocks gemm_blocks(const CacheSizes& caches, std::size_t element, const TileShape& tile,
                              index_t nr) {
  const index_t mr = tile.rows;
  const auto size = static_cast<index_t>(element);
  const auto l1 = static_cast<index_t>(caches.l1d.bytes);
  const index_t l2 = bytes_per_thread(caches.l2), l3 = bytes_per_thread(caches.l3);
  GemmBlocks blocks;
  blocks.kc = tile.kc > 0 ? tile.kc
                          : std::clamp<index_t>(round_down(l1 / (size * (nr + mr)), 16), 128, 512);
  blocks.mc = std::max(round_down(l2 / 4 / (size * blocks.kc), mr), mr);
  blocks.nc = std::max(round_down(std::max(l3 / 2, l2 / 2) / (size * blocks.kc), nr), nr);
  blocks.nc = std::min(blocks.nc, round_up(4096, nr));
  return blocks;
}

}  // namespace detail
}  // namespace tessera

#endif  // TESSERA_TUNE_GENERIC_H_
