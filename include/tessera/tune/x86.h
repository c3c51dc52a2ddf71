// SPDX-License-Identifier: Apache-2.0
// Register tiles of the x86 targets: {rows, vectors, lmul, unroll}.
#ifndef TESSERA_TUNE_X86_H_
#define TESSERA_TUNE_X86_H_

#include "tessera/tune/generic.h"

namespace tessera::detail {

// 16 registers: 6x2 is 12 accumulators, enough for two FMA pipes of latency 4 to 5.
template <class T>
struct GemmTiles<Target::kSse2, T> {
  using List = TileList<TileShape{6, 2, 1, 1}>;
};
template <class T>
struct GemmTiles<Target::kSse4, T> {
  using List = TileList<TileShape{6, 2, 1, 1}, TileShape{4, 3, 1, 1}>;
};
template <class T>
struct GemmTiles<Target::kAvx2, T> {
  using List = TileList<TileShape{6, 2, 1, 1}, TileShape{4, 3, 1, 1}>;
};
// 32 registers: 8x3 loads 11 times per 24 multiply-adds, and eight row pointers fit the integer
// registers when A is read in place.
template <class T>
struct GemmTiles<Target::kAvx3, T> {
  using List = TileList<TileShape{8, 3, 1, 1}, TileShape{14, 2, 1, 1}>;
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
