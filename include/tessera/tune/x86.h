// SPDX-License-Identifier: Apache-2.0
// Register tiles of the x86 targets: {rows, vectors, lmul, unroll, rotate, kc}.
#ifndef TESSERA_TUNE_X86_H_
#define TESSERA_TUNE_X86_H_

#include <cstdint>

#include "tessera/tune/generic.h"

namespace tessera::detail {

// 16 registers: 12 accumulators either way, enough for two FMA pipes of latency 4 to 5. 4x3 loads 7 times
// per step and 6x2 8 times: 2 to 5 % on Sapphire Rapids with AVX2 at 512 to 2048, 2026-11.
template <class T>
struct GemmTiles<Target::kSse2, T> {
  using List = TileList<TileShape{6, 2, 1, 1}>;
};
template <class T>
struct GemmTiles<Target::kSse4, T> : GemmTiles<Target::kSse2, T> {};
template <class T>
struct GemmTiles<Target::kAvx2, T> {
  using List = TileList<TileShape{4, 3, 1, 1}, TileShape{6, 2, 1, 1}>;
};
// 32 registers: 8x3 loads 11 times per 24 multiply-adds, and eight row offsets fit the integer registers.
// In L1, 14x2 is level with it; with a busy neighbour on the core's other thread it is 3 % slower, for its
// 16 loads per 28. 6x4 loads 10 times per 24 and fits rows of 64: 12 to 19 % at N = 64, level elsewhere. kc: Sapphire Rapids (48 KiB, 2 MiB), 2026-11, sgemm 2048^3 relative to OpenBLAS 0.3.21:
// 208 (the formula, B in L1) .83, 342 .92, 512 .97; at 512^3 1.07 with 256, 1.02 with 512. dgemm: 256 ahead of
// 192 and 512.
template <class T>
struct GemmTiles<Target::kAvx3, T> {
  static constexpr int kDepth = sizeof(T) == 4 ? 384 : 256;
  using List = TileList<TileShape{8, 3, 1, 1, false, kDepth}, TileShape{6, 4, 1, 1, false, kDepth}>;
};

// Integers: one tile, as each instance is another second for whoever compiles all targets.
template <>
struct GemmTiles<Target::kAvx2, std::int32_t> {
  using List = TileList<TileShape{4, 3, 1, 1}>;
};
template <>
struct GemmTiles<Target::kAvx3, std::int32_t> {
  using List = TileList<TileShape{8, 3, 1, 1}>;
};

// Only static builds for these compile float kernels of their own.
template <class T>
struct GemmTiles<Target::kAvx3Dl, T> : GemmTiles<Target::kAvx3, T> {};
template <class T>
struct GemmTiles<Target::kAvx3Zen4, T> : GemmTiles<Target::kAvx3, T> {};
template <class T>
struct GemmTiles<Target::kAvx3Spr, T> : GemmTiles<Target::kAvx3, T> {};

template <class T>
struct GemmTiles<Target::kXsimdSse4, T> : GemmTiles<Target::kSse4, T> {};
template <class T>
struct GemmTiles<Target::kXsimdAvx2, T> : GemmTiles<Target::kAvx2, T> {};
template <class T>
struct GemmTiles<Target::kXsimdAvx512, T> : GemmTiles<Target::kAvx3, T> {};

}  // namespace tessera::detail

#endif  // TESSERA_TUNE_X86_H_
