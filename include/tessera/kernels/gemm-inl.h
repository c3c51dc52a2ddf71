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
using detail::PackPanel;
using detail::RowPanels;

// The instances of a tile shape for packed or in-place A, by rows and vectors.
template <class T>
using TileFunction = void (*)(const TileArgs<T>&);

template <class T, TileShape kShape, bool kPacked>
struct TileInstances {
  static constexpr int kVectors = kShape.vectors;

  template <int R, int NV>
  static constexpr TileFunction<T> instance() {
    if constexpr (detail::has_tile_instance(R, kShape.rows)) {
      constexpr bool kFull = R == kShape.rows && NV == kShape.vectors;
      return &gemm_tile<T, R, NV, kShape.lmul, tile_form(kPacked, kFull), kShape.unroll,
                        kShape.rotate>;
    } else {
      return nullptr;
    }
  }
  template <size_t... kI>
  static constexpr auto make(std::index_sequence<kI...>) {
    return std::array<TileFunction<T>, sizeof...(kI)>{
        instance<kI / kVectors + 1, kI % kVectors + 1>()...};
  }
  static constexpr auto kTable = make(std::make_index_sequence<kShape.rows * kVectors>());

  static TileFunction<T> get(index_t rows, index_t vectors) {
    return kTable[static_cast<size_t>((rows - 1) * kVectors + vectors - 1)];
  }
};

// The tile as plain loops, the same chains: where full vectors of B would overrun its padding, because
// it was packed on a core with shorter vectors than this one has (RISC-V machines mix them).
template <class T>
void run_tile_scalar(const TileArgs<T>& t, index_t rows, index_t cols) {
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      T& c = t.c[i * t.c_stride + j];
      T sum = t.beta == T{0} ? T{0} : t.beta == T{1} ? c : t.beta * c;
      for (index_t k = 0; k < t.k; ++k) {
        sum = std::fma(t.a[i * t.a_row_stride + k * t.a_col_stride], t.b[k * t.b_stride + j], sum);
      }
      c = sum;
    }
  }
}

template <class D>
TESSERA_INLINE void copy_rows(D d, const Lane<D>* from, index_t from_stride, Lane<D>* to,
                              index_t to_stride, index_t rows, index_t cols) {
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    for (index_t j = 0; j < cols; j += step) {
      const auto n = static_cast<size_t>(cols - j);  // load_n and store_n stop at a full vector
      store_n(d, load_n(d, from + j, n), to + j, n);
    }
  }
}

// A tile whose columns don't fill their vectors: computed in a buffer that has room for them.
template <class D, class T = Lane<D>>
void run_tile_staged(D d, TileFunction<T> tile, TileArgs<T> args, index_t rows, index_t cols,
                     index_t padded) {
  constexpr size_t kStageBytes = 16 * 1024;  // on the stack; 15 rows x LMUL 2 at VLEN 4096
  alignas(64) T stage[kStageBytes / sizeof(T)];
  if (static_cast<size_t>(rows * padded) > std::size(stage)) {
    return run_tile_scalar(args, rows, cols);
  }
  T* const c = args.c;
  const index_t c_stride = args.c_stride;
  if (args.beta != T{0}) copy_rows(d, c, c_stride, stage, padded, rows, cols);
  args.c = stage;
  args.c_stride = padded;
  tile(args);
  copy_rows(d, stage, padded, c, c_stride, rows, cols);
}

// Brings the next packed panel of B into L2 in equal shares, one before each tile: without it the first
// tiles of a panel wait for L3 (Sapphire Rapids, sgemm: +6 % at 1024 and 2048).
class PrefetchAhead {
 public:
  TESSERA_INLINE PrefetchAhead(const void* next, index_t bytes, index_t shares)
      : at_(static_cast<const char*>(next)),
        left_(kPrefetch ? bytes : 0),
        share_(bytes / shares + 64) {}

  TESSERA_INLINE void prefetch_share() {
    for (index_t done = 0; done < share_ && left_ > 0; done += 64, at_ += 64, left_ -= 64) {
      __builtin_prefetch(at_, 0, 2);
    }
  }

 private:
  const char* at_;
  index_t left_, share_;
};

// A block of tiles, panel of B by panel of B: the panel stays in L1 while the panels of A pass by.
template <class T, TileShape kShape>
void run_block(const GemmBlock<T>& block) {
  using Packed = TileInstances<T, kShape, true>;
  using InPlace = TileInstances<T, kShape, false>;
  const Tag<T, kShape.lmul> d;
  const auto step = static_cast<index_t>(lanes(d));
  const RowPanels panels(block.m, kShape.rows);
  const index_t b_panel = block.b_in_place ? block.n : block.b_panel;
  TileArgs<T> tile;
  tile.k = block.k;
  tile.c_stride = block.c_stride;
  tile.beta = block.beta;
  for (index_t j0 = 0; j0 < block.n; j0 += b_panel) {
    const index_t width = std::min(b_panel, block.n - j0);
    const index_t padded = block.b_in_place ? width : detail::round_up(width, block.b_pad);
    tile.b_stride = block.b_in_place ? block.b_stride : padded;
    // Once per packed panel, unless this core's vectors differ from those it was packed for.
    for (index_t j = 0; j < width; j += step * kShape.vectors) {
      const index_t cols = std::min(step * kShape.vectors, width - j);
      const index_t vectors = (cols + step - 1) / step;
      tile.b = block.b + (block.b_in_place ? j0 : j0 * block.k) + j;
      const index_t next_width = block.b_in_place ? 0 : std::min(b_panel, block.n - j0 - width);
      PrefetchAhead next_panel(block.b + (j0 + width) * block.k,
                               next_width * block.k * static_cast<index_t>(sizeof(T)),
                               panels.count());
      for (index_t p = 0, i = 0; p < panels.count(); ++p) {
        const index_t rows = panels.rows(p);
        tile.a = block.a + i * (block.a_in_place ? block.a_stride : block.k);
        tile.a_row_stride = block.a_in_place ? block.a_stride : 1;
        tile.a_col_stride = block.a_in_place ? 1 : rows;
        tile.c = block.c + i * block.c_stride + j0 + j;
        tile.next_c =
            p + 1 < panels.count() ? tile.c + rows * block.c_stride : block.c + j0 + j + cols;
        next_panel.prefetch_share();
        const TileFunction<T> run =
            block.a_in_place ? InPlace::get(rows, vectors) : Packed::get(rows, vectors);
        if (cols == vectors * step) {
          run(tile);
        } else if (j + vectors * step <= padded) {
          run_tile_staged(d, run, tile, rows, cols, vectors * step);
        } else {
          run_tile_scalar(tile, rows, cols);
        }
        i += rows;
      }
    }
  }
}

template <class T, int LMUL>
index_t lane_count() {
  return static_cast<index_t>(lanes(Tag<T, LMUL>()));
}

template <class T>
void pack_panel(const PackPanel<T>& p) {
  const Tag<T, kHasLmul ? 8 : 1> d;  // copies use the longest groups
  const auto step = static_cast<index_t>(lanes(d));
  if (p.stride == 1) {
    copy_rows(d, p.from, p.k_stride, p.to, p.to_stride, p.k, p.count);
  } else if (p.k_stride == 1 && p.stride > 0) {
    transpose(Tag<T>(), p.from, static_cast<size_t>(p.stride), static_cast<size_t>(p.count),
              static_cast<size_t>(p.k), p.to, static_cast<size_t>(p.to_stride));
  } else {
    for (index_t l = 0; l < p.k; ++l) {
      for (index_t i = 0; i < p.count; ++i) {
        p.to[l * p.to_stride + i] = p.from[i * p.stride + l * p.k_stride];
      }
    }
  }
  for (index_t l = 0; p.count < p.to_stride && l < p.k; ++l) {
    for (index_t i = p.count; i < p.to_stride; ++i) p.to[l * p.to_stride + i] = T{0};
  }
  if (p.alpha == T{1}) return;
  const auto alpha = set(d, p.alpha);
  for (index_t i = 0; i < p.to_stride * p.k; i += step) {
    const auto n = static_cast<size_t>(p.to_stride * p.k - i);
    store_n(d, mul(alpha, load_n(d, p.to + i, n)), p.to + i, n);
  }
}

template <class T, class Tiles>
struct GemmTableOf;

template <class T, TileShape... kShapes>
struct GemmTableOf<T, TileList<kShapes...>> {
  static_assert(
      ((kShapes.registers(!kHasLmul) <= kVectorRegisters || TESSERA_BACKEND_SCALAR) && ...),
      "tessera: a register tile of tune/ needs more vector registers than the target has");
  static_assert(((!kShapes.rotate || kShapes.vectors == 1) && ...),
                "tessera: a rotated register tile has one vector group per row");
  static constexpr GemmTile<T> kTiles[] = {
      {kShapes, &lane_count<T, kShapes.lmul>, &run_block<T, kShapes>}...};
};

template <class T>
GemmKernels<T> gemm_kernels() {
  using Table = GemmTableOf<T, typename detail::GemmTiles<kTarget, T>::List>;
  return {Table::kTiles, static_cast<int>(std::size(Table::kTiles)), &pack_panel<T>};
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_INL_H_
