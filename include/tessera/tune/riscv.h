// SPDX-License-Identifier: Apache-2.0
// Register tiles of the RISC-V and LoongArch targets: {rows, vectors, lmul, unroll, rotate}.
#ifndef TESSERA_TUNE_RISCV_H_
#define TESSERA_TUNE_RISCV_H_

#include "tessera/tune/generic.h"

namespace tessera::detail {

// 7 x LMUL 4 uses all 32 registers: 28 accumulators, 4 for the row of B. Rotated loads of A: llvm-mca
// gives .147 cycles per multiply-add on the in-order SpacemiT X60 against .179 with all loads first,
// and no loss on out-of-order cores. 15 x LMUL 2 is the X60's best (.138) and the better tile where
// a row of B is shorter than an LMUL 4 group. Eight steps of k an iteration: 6 % fewer instructions than four (sgemm 256^3
// in place, VLEN 256: .088 per multiply-add); the other tile spills with four.
template <class T>
struct GemmTiles<Target::kRvv, T> {
  using List = TileList<TileShape{7, 1, 4, 8, true}, TileShape{15, 1, 2, 2, true}>;
};
// Fixed-length RVV types have LMUL 1.
template <class T>
struct GemmTiles<Target::kXsimdRvv, T> {
  using List = TileList<TileShape{8, 3}>;
};
template <class T>
struct GemmTiles<Target::kLsx, T> {
  using List = TileList<TileShape{8, 3}>;
};
template <class T>
struct GemmTiles<Target::kLasx, T> : GemmTiles<Target::kLsx, T> {};

}  // namespace tessera::detail

#endif  // TESSERA_TUNE_RISCV_H_
