// SPDX-License-Identifier: Apache-2.0
// Register tiles of the Arm targets: {rows, vectors, lmul, unroll}. Not yet measured on hardware:
// chosen by register budget (32 registers, 24 accumulators) and checked under emulation. Unrolled by 4, clang 22
// spills an accumulator of the 8x3 tile on SVE.
#ifndef TESSERA_TUNE_ARM_H_
#define TESSERA_TUNE_ARM_H_

#include "tessera/tune/generic.h"

namespace tessera::detail {

template <class T>
struct GemmTiles<Target::kNeon, T> {
  using List = TileList<TileShape{8, 3, 1, 1}, TileShape{6, 4, 1, 1}>;
};
template <class T>
struct GemmTiles<Target::kNeonWithoutAes, T> : GemmTiles<Target::kNeon, T> {};
template <class T>
struct GemmTiles<Target::kNeonBf16, T> : GemmTiles<Target::kNeon, T> {};
template <class T>
struct GemmTiles<Target::kSve, T> : GemmTiles<Target::kNeon, T> {};
template <class T>
struct GemmTiles<Target::kSve2, T> : GemmTiles<Target::kNeon, T> {};
template <class T>
struct GemmTiles<Target::kSve256, T> : GemmTiles<Target::kNeon, T> {};
template <class T>
struct GemmTiles<Target::kSve2_128, T> : GemmTiles<Target::kNeon, T> {};
template <class T>
struct GemmTiles<Target::kXsimdNeon64, T> : GemmTiles<Target::kNeon, T> {};
template <class T>
struct GemmTiles<Target::kXsimdSve, T> : GemmTiles<Target::kNeon, T> {};

}  // namespace tessera::detail

#endif  // TESSERA_TUNE_ARM_H_
