// SPDX-License-Identifier: Apache-2.0

// GEMM kernels of one target: blocks of register tiles, packing, and the table that offers them.

#if defined(TESSERA_KERNELS_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_GEMM_INL_H_
#undef TESSERA_KERNELS_GEMM_INL_H_
#else
#define TESSERA_KERNELS_GEMM_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/gemm_tile-inl.h"
#include "tessera/simd/simd-inl.h"
#include "tessera/tune/arm.h"
#include "tessera/tune/generic.h"
#include "tessera/tune/riscv.h"
#include "tessera/tune/x86.h"

TESSERA_BEGIN_TARGET

using detail::GemmBlock;
using detail::GemmKernels;
using detail::GemmTile;
using detail::PackSource;
using detail::RowPanels;

// Every (rows, vectors) instance of one form of a tile shape.
template <class T>
using TileFunction = void (*)(const TileArgs<T>&);

template <class T, TileShape kShape, TileForm kForm, int kRows>
struct TileInstances {
  static constexpr int kVectors = kShape.vectors;

  template <int R, int NV>
  static constexpr TileFunction<T> instance() {
    return &gemm_tile<T, R, NV, kShape.lmul, kForm, kShape.unroll, kShape.rotate>;
  }
  template <size_t... kI>
  static constexpr auto make(std::index_sequence<kI...>) {
    return std::array<TileFunction<T>, sizeof...(kI)>{
        instance<kI / kVectors + 1, kI % kVectors + 1>()...};
  }
  static constexpr auto kTable = make(std::make_index_sequence<kRows * kVectors>());

  static TileFunction<T> get(index_t rows, index_t vectors) {
    return kTable[static_cast<size_t>((rows - 1) * kVectors + vectors - 1)];
  }
};

// In place, each row of A needs a pointer in an integer register; more rows than this are two tiles.
inline constexpr int kMaxInPlaceRows = 8;

// The block as plain loops, the same chains: for a panel that was packed on a core with shorter
// vectors than this one has (RISC-V machines mix them), whose padding full loads would overrun.
template <class T>
void run_scalar(const TileArgs<T>& t, index_t rows, bool packed_a) {
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < t.n; ++j) {
      T& c = t.c[i * t.c_stride + j];
      T sum = t.beta == T{0} ? T{0} : t.beta == T{1} ? c : t.beta * c;
      for (index_t k = 0; k < t.k; ++k) {
        const T a = packed_a ? t.a[k * rows + i] : t.a[i * t.a_stride + k];
        sum = std::fma(a, t.b[k * t.b_stride + j], sum);
      }
      c = sum;
    }
  }
}

// A block of tiles, panel of B by panel of B: the panel stays in L1 while the panels of A pass by.
template <class T, TileShape kShape>
void run_block(const GemmBlock<T>& block) {
  constexpr int kInPlaceRows = std::min(kShape.rows, kMaxInPlaceRows);
  using Packed = TileInstances<T, kShape, TileForm::kPacked, kShape.rows>;
  using InPlace = TileInstances<T, kShape, TileForm::kInPlace, kInPlaceRows>;
  using InPlaceTail = TileInstances<T, kShape, TileForm::kInPlaceTail, kInPlaceRows>;

  const auto step = static_cast<index_t>(lanes(Tag<T, kShape.lmul>()));
  const bool packed_a = !block.a_in_place, packed_b = !block.b_in_place;
  const RowPanels panels(block.m, packed_a ? kShape.rows : kInPlaceRows);
  const index_t b_panel = packed_b ? block.b_panel : block.n;
  TileArgs<T> tile;
  tile.k = block.k;
  tile.a_stride = block.a_stride;
  tile.c_stride = block.c_stride;
  tile.beta = block.beta;

  for (index_t j0 = 0; j0 < block.n; j0 += b_panel) {
    const index_t width = std::min(b_panel, block.n - j0);
    const index_t padded = packed_b ? detail::round_up(width, block.b_pad) : width;
    tile.b_stride = packed_b ? padded : block.b_stride;
    // Once per panel, unless this core's vectors differ from those it was packed for.
    for (index_t j = 0; j < width; j += step * kShape.vectors) {
      tile.n = std::min(step * kShape.vectors, width - j);
      tile.b = (packed_b ? block.b + j0 * block.k : block.b + j0) + j;
      const index_t vectors = (tile.n + step - 1) / step;
      const bool full_loads = j + vectors * step <= padded;
      for (index_t p = 0; p < panels.count; ++p) {
        const index_t rows = panels.rows(p), i = panels.start(p);
        tile.a = packed_a ? block.a + i * block.k : block.a + i * block.a_stride;
        tile.c = block.c + i * block.c_stride + j0 + j;
        if (packed_a && full_loads) {
          Packed::get(rows, vectors)(tile);
        } else if (packed_a) {
          run_scalar(tile, rows, true);
        } else if (full_loads) {
          InPlace::get(rows, vectors)(tile);
        } else {
          InPlaceTail::get(rows, vectors)(tile);
        }
      }
    }
  }
}

template <class T, int LMUL>
index_t lane_count() {
  return static_cast<index_t>(lanes(Tag<T, LMUL>()));
}

template <class T, int kRows>
void pack_a(PackSource<T> a, index_t m, index_t k, T alpha, T* packed) {
  const RowPanels panels(m, kRows);
  for (index_t p = 0; p < panels.count; ++p) {
    const index_t rows = panels.rows(p);
    const T* from = a.data + panels.start(p) * a.row_stride;
    T* to = packed + panels.start(p) * k;
    for (index_t i = 0; i < rows; ++i) {
      const T* row = from + i * a.row_stride;
      for (index_t kk = 0; kk < k; ++kk) {
        to[kk * rows + i] = alpha == T{1} ? row[kk * a.col_stride] : alpha * row[kk * a.col_stride];
      }
    }
  }
}

template <class T, int LMUL>
void pack_b(PackSource<T> b, index_t k, index_t n, index_t panel, index_t pad, T* packed) {
  const Tag<T, LMUL> d;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t j0 = 0; j0 < n; j0 += panel) {
    const index_t width = std::min(panel, n - j0), padded = detail::round_up(width, pad);
    T* to = packed + j0 * k;
    const T* from = b.data + j0 * b.col_stride;
    if (b.col_stride == 1) {
      for (index_t kk = 0; kk < k; ++kk, to += padded, from += b.row_stride) {
        index_t j = 0;
        for (; j + step <= width; j += step) store(d, load(d, from + j), to + j);
        if (j < width) store_n(d, load_n(d, from + j, static_cast<size_t>(width - j)), to + j, static_cast<size_t>(width - j));
        for (j = width; j < padded; ++j) to[j] = T{0};
      }
    } else {
      for (index_t j = 0; j < padded; ++j) {
        for (index_t kk = 0; kk < k; ++kk) {
          to[kk * padded + j] = j < width ? from[j * b.col_stride + kk * b.row_stride] : T{0};
        }
      }
    }
  }
}

template <class T, class Tiles>
struct GemmTableOf;

template <class T, TileShape... kShapes>
struct GemmTableOf<T, TileList<kShapes...>> {
  static_assert(((kShapes.registers(!kHasLmul) <= kVectorRegisters || TESSERA_BACKEND_SCALAR) && ...),
                "tessera: a register tile of tune/ needs more vector registers than the target has");
  static_assert(((!kShapes.rotate || kShapes.vectors == 1) && ...),
                "tessera: a rotated register tile has one vector group per row");
  static constexpr GemmTile<T> kTiles[] = {
      {kShapes, &lane_count<T, kShapes.lmul>, &run_block<T, kShapes>, &pack_a<T, kShapes.rows>,
       &pack_b<T, kShapes.lmul>}...};
};

template <class T>
GemmKernels<T> gemm_kernels() {
  using Table = GemmTableOf<T, typename detail::GemmTiles<kTarget, T>::List>;
  return {Table::kTiles, static_cast<int>(std::size(Table::kTiles))};
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_INL_H_
