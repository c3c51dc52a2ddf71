// SPDX-License-Identifier: Apache-2.0

// GEMM kernels of one target: blocks of register tiles, and the table that offers them.

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

#include "tessera/kernels/epilogue-inl.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/gemm_pack-inl.h"
#include "tessera/kernels/gemm_tile-inl.h"
#include "tessera/kernels/gemv-inl.h"
#include "tessera/kernels/line_sums-inl.h"
#include "tessera/simd/simd-inl.h"
#include "tessera/tune/arm.h"
#include "tessera/tune/generic.h"
#include "tessera/tune/riscv.h"
#include "tessera/tune/x86.h"

TESSERA_BEGIN_TARGET

using detail::GemmBlock;
using detail::GemmKernels;
using detail::GemmTile;
using detail::RowPanels;

// The instances of a tile shape for packed or in-place A, by rows and vectors.
template <class P>
using TileFunction = void (*)(const TileArgs<P>&);

template <class P, TileShape kShape, bool kPacked>
struct TileInstances {
  static constexpr int kVectors = kShape.vectors;

  template <int R, int NV>
  static constexpr TileFunction<P> instance() {
    if constexpr (detail::has_tile_instance(R, kShape.rows)) {
      constexpr bool kFull = R == kShape.rows && NV == kShape.vectors;
      return &gemm_tile<P, R, NV, kShape.lmul, tile_form(kPacked, kFull), kShape.unroll,
                        kShape.rotate>;
    } else {
      return nullptr;
    }
  }
  template <size_t... kI>
  static constexpr auto make(std::index_sequence<kI...>) {
    return std::array<TileFunction<P>, sizeof...(kI)>{
        instance<kI / kVectors + 1, kI % kVectors + 1>()...};
  }
  static constexpr auto kTable = make(std::make_index_sequence<kShape.rows * kVectors>());

  static TileFunction<P> get(index_t rows, index_t vectors) {
    return kTable[static_cast<size_t>((rows - 1) * kVectors + vectors - 1)];
  }
};

// The tile as plain loops, the same chains: where full vectors of B would overrun its padding, because
// it was packed on a core with shorter vectors than this one has (RISC-V machines mix them).
template <class P>
void run_tile_scalar(const TileArgs<P>& t, index_t rows, index_t cols) {
  using Element = typename P::Element;
  using Sum = typename P::Sum;
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      Sum& c = t.c[i * t.c_stride + j];
      Sum sum = t.beta == Sum{0} ? Sum{0} : t.beta == Sum{1} ? c : t.beta * c;
      if constexpr (P::kColumnSums) {
        if (t.sum_factor != 0) sum += t.sum_factor * t.column_sums[j];
      }
      const Element* b = t.b + j;
      for (index_t s = 0; s < t.a_segment_count; ++s) {
        const Element* const a = t.a + t.a_rows[i] + t.a_segments[s].start;
        for (index_t k = 0; k < t.a_segments[s].steps; ++k, b += t.b_stride) {
          sum = multiply_one<P>(a[k * t.a_col_stride], *b, sum);
        }
      }
      c = sum;
    }
  }
}

template <class T>
void copy_rows(const T* from, index_t from_stride, T* to, index_t to_stride, index_t rows,
               index_t cols) {
  for (index_t i = 0; i < rows; ++i)
    convert_row(from + i * from_stride, 1, to + i * to_stride, cols);
}

inline constexpr size_t kStageBytes = 16 * 1024;  // on the stack; 15 rows x LMUL 2 at VLEN 4096

// One tile: how it is run depends on whether its columns fill `vectors` and B is padded to them.
template <class P>
struct TileCall {
  TileFunction<P> run;
  TileArgs<P> args;
  index_t rows, cols;
  index_t width;  // of the vectors
  index_t shift;  // how many of their columns lie before those that are wanted
  bool b_padded;

  bool fits_stage() const {
    return b_padded && static_cast<size_t>(rows * width) * sizeof(typename P::Sum) <= kStageBytes;
  }
};

// C is the sums. A tile whose columns don't fill its vectors is computed in a buffer that has room. (Columns
// before those that are wanted, too: they belong to other tiles and are dropped.)
template <class P>
void run_tile(const TileCall<P>& t) {
  using Sum = typename P::Sum;
  if (t.cols == t.width) return t.run(t.args);
  if (!t.fits_stage()) {
    TileArgs<P> args = t.args;
    args.b += t.shift;
    return run_tile_scalar(args, t.rows, t.cols);
  }
  alignas(64) Sum stage[kStageBytes / sizeof(Sum)];
  TileArgs<P> args = t.args;
  if (args.beta != Sum{0}) {
    std::fill_n(stage, t.shift > 0 ? t.rows * t.width : 0, Sum{0});
    copy_rows(args.c, args.c_stride, stage + t.shift, t.width, t.rows, t.cols);
  }
  args.c = args.out = stage;
  args.c_stride = args.out_stride = t.width;
  t.run(args);
  copy_rows(stage + t.shift, t.width, t.args.c, t.args.c_stride, t.rows, t.cols);
}

// The result is not just the sums: they are kept in c between blocks of K, if there are several.
template <class P>
void run_tile_to_result(const GemmBlock& block, TileCall<P> t, index_t row, index_t col) {
  using Sum = typename P::Sum;
  const bool reads_result = block.first && t.args.beta != Sum{0};
  if (!block.first || !block.last) {
    const SumTile<Sum> sums{t.args.c, t.args.c_stride, t.rows, t.cols, row, col};
    if (reads_result) start_tile(*block.result, sums);
    run_tile(t);
    if (block.last) finish_tile(*block.result, sums);
    return;
  }
  alignas(64) Sum stage[kStageBytes / sizeof(Sum)];
  t.args.c = t.args.out = stage;
  if (t.fits_stage()) {
    t.args.c_stride = t.args.out_stride = t.width;
    const SumTile<Sum> sums{stage + t.shift, t.width, t.rows, t.cols, row, col};
    if (reads_result) {
      std::fill_n(stage, t.shift > 0 ? t.rows * t.width : 0, Sum{0});
      start_tile(*block.result, sums);
    }
    t.run(t.args);
    return finish_tile(*block.result, sums);
  }
  // No room for the tile: strips of its rows, as plain loops.
  const auto most = static_cast<index_t>(std::size(stage));
  t.args.b += t.shift;
  for (index_t j = 0; j < t.cols; j += most) {
    const index_t cols = std::min(most, t.cols - j);
    for (index_t i = 0; i < t.rows; ++i) {
      TileArgs<P> strip = t.args;
      strip.a_rows += i;
      strip.b += j;
      if constexpr (P::kColumnSums) strip.column_sums += j;
      const SumTile<Sum> sums{stage, cols, 1, cols, row + i, col + j};
      if (reads_result) start_tile(*block.result, sums);
      run_tile_scalar(strip, 1, cols);
      finish_tile(*block.result, sums);
    }
  }
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
template <class P, TileShape kShape>
void run_block(const GemmBlock& block) {
  using Element = typename P::Element;
  using Sum = typename P::Sum;
  using Packed = TileInstances<P, kShape, true>;
  using InPlace = TileInstances<P, kShape, false>;
  const auto step = static_cast<index_t>(lanes(Tag<Sum, kShape.lmul>()));
  const RowPanels panels(block.m, kShape.rows);
  const index_t b_panel = block.b_in_place ? block.n : block.b_panel;
  const index_t panel_rows = block.k + (P::kColumnSums ? 1 : 0);
  const auto* const a = static_cast<const Element*>(block.a);
  TileCall<P> tile{};
  TileArgs<P>& args = tile.args;
  args.k = block.k;
  const detail::RowSegment all{0, block.k};
  args.a_segments = block.a_segments ? block.a_segments : &all;
  args.a_segment_count = block.a_segments ? block.a_segment_count : 1;
  index_t starts[kShape.rows];  // of the rows of a tile, in place or in a panel
  for (index_t i = 0; i < kShape.rows; ++i) starts[i] = block.a_in_place ? i * block.a_stride : i;
  auto* c = static_cast<Sum*>(block.c);
  args.c_stride = block.c_stride;
  Sum* out = c;
  args.out_stride = args.c_stride;
  light_epilogue::Plan plan;
  const bool has_plan = kTakesSteps<P, kShape.rotate> && block.result != nullptr && block.last &&
                        light_epilogue::make_plan_for_registers(*block.result, plan);
  if (has_plan) {
    args.out_stride = block.result->row_stride;
    out = static_cast<Sum*>(block.result->data) + block.row * args.out_stride + block.col;
    if (block.first) c = out, args.c_stride = args.out_stride;
  }
  args.beta = static_cast<Sum>(block.beta);
  args.sum_factor = static_cast<Sum>(block.sum_factor);
  for (index_t j0 = 0; j0 < block.n; j0 += b_panel) {
    const index_t width = std::min(b_panel, block.n - j0);
    const index_t padded = block.b_in_place ? width : detail::round_up(width, block.b_pad);
    args.b_stride = block.b_in_place ? block.b_stride : padded;
    const auto* b =
        static_cast<const Element*>(block.b) + (block.b_in_place ? j0 : j0 * panel_rows);
    index_t next_width = block.b_in_place ? 0 : std::min(b_panel, block.n - j0 - width);
    const Element* const next_b = b + width * panel_rows;
    if constexpr (std::is_same_v<Element, float>) {
      if (!block.b_in_place && block.b_dtype != DType::kF32) {
        auto* const wide = static_cast<float*>(block.b_wide);
        convert_row(block.b_dtype, advance(block.b, block.b_dtype, j0 * panel_rows), 1, wide,
                    panel_rows * padded);
        b = wide;
        next_width = 0;
      }
    }
    if constexpr (P::kColumnSums) {
      args.column_sums = b;
      b += padded;
    }
    // Once per packed panel, unless this core's vectors differ from those it was packed for.
    for (index_t j = 0; j < width; j += tile.cols) {
      tile.cols = std::min(step * kShape.vectors, width - j);
      // B in place: whole vectors, then one that ends with the last column.
      if (block.b_in_place && tile.cols > step) tile.cols = tile.cols / step * step;
      const index_t vectors = (tile.cols + step - 1) / step;
      tile.width = vectors * step;
      tile.shift = 0;
      tile.b_padded = j + tile.width <= padded;
      if (block.b_in_place && tile.cols < tile.width && block.col + j >= tile.width - tile.cols) {
        tile.b_padded = true;
        tile.shift = tile.width - tile.cols;
      }
      args.b = b + j - tile.shift;
      args.b_ahead = block.b_ahead != 0 ? block.b_ahead
                     : block.b_in_place ? tile.width
                                        : kPrefetchSteps * args.b_stride;
      PrefetchAhead next_panel(
          next_b, next_width * panel_rows * static_cast<index_t>(sizeof(Element)), panels.count());
      for (index_t p = 0, i = 0; p < panels.count(); ++p) {
        tile.rows = panels.rows(p);
        args.a = a + (block.a_rows ? 0 : i * (block.a_in_place ? block.a_stride : block.k));
        args.a_rows = block.a_rows ? block.a_rows + i : starts;
        args.a_col_stride = block.a_in_place ? 1 : tile.rows;
        args.c = c + i * args.c_stride + j0 + j;
        args.out = out + i * args.out_stride + j0 + j;
        const bool is_last = p + 1 == panels.count();
        const index_t next_row = is_last ? 0 : i + tile.rows;
        const index_t next_col = j0 + j + (is_last ? tile.cols : 0);
        args.next_c = c + next_row * args.c_stride + next_col;
        if constexpr (kTakesSteps<P, kShape.rotate>) {
          args.plan = has_plan && tile.cols == tile.width ? &plan : nullptr;
          args.row = block.row + i;
          args.col = block.col + j0 + j;
          if (has_plan) {
            args.next_residual = plan.residual_at(block.row + next_row, block.col + next_col);
          }
        }
        next_panel.prefetch_share();
        tile.run =
            block.a_in_place ? InPlace::get(tile.rows, vectors) : Packed::get(tile.rows, vectors);
        if (block.result == nullptr || args.plan != nullptr) {
          run_tile(tile);
        } else {
          run_tile_to_result(block, tile, block.row + i, block.col + j0 + j);
        }
        i += tile.rows;
      }
      if constexpr (P::kColumnSums) args.column_sums += tile.cols;
    }
  }
}

template <class T, int LMUL>
index_t lane_count() {
  return static_cast<index_t>(lanes(Tag<T, LMUL>()));
}

template <class P, class Tiles>
struct GemmTableOf;

template <class P, TileShape... kShapes>
struct GemmTableOf<P, TileList<kShapes...>> {
  static_assert(
      ((kShapes.registers(!kHasLmul) <= kVectorRegisters || TESSERA_BACKEND_SCALAR) && ...),
      "tessera: a register tile of tune/ needs more vector registers than the target has");
  static_assert(((!kShapes.rotate || kShapes.vectors == 1) && ...),
                "tessera: a rotated register tile has one vector group per row");
  static constexpr GemmTile kTiles[] = {
      {kShapes, &lane_count<typename P::Sum, kShapes.lmul>, &run_block<P, kShapes>}...};
};

template <class P>
GemmKernels gemm_kernels() {
  using Element = typename P::Element;
  using Table = GemmTableOf<P, typename detail::GemmTiles<kTarget, typename P::Sum>::List>;
  void (*few_rows)(const GemmBlock&) = nullptr;
  void (*line_sums)(const LineSums&) = nullptr;
  if constexpr (std::is_floating_point_v<Element>) {
    few_rows = &multiply_few_rows<Element>;
  } else {
    line_sums = &sum_lines;
  }
  return {.tiles = Table::kTiles,
          .tile_count = static_cast<int>(std::size(Table::kTiles)),
          .few_rows = few_rows,
          .rows_by_panels = !kHasLmul,
          .pack_a = &pack_panel<Element, typename P::PartA, false>,
          .pack_b = &pack_panel<Element, typename P::PartB, P::kColumnSums>,
          .pack_narrow = std::is_same_v<Element, float> ? &pack_panel<bf16, bf16, false> : nullptr,
          .sum_lines = line_sums,
          .finish = &finish_sums<typename P::Sum>,
          .convert_a = &convert_parts<typename P::PartA>,
          .part_bytes = sizeof(typename P::PartA),
          .element_bytes = sizeof(Element),
          .sum_bytes = sizeof(typename P::Sum),
          .group = sizeof(Element) / sizeof(typename P::PartB),
          .column_sums = P::kColumnSums,
          .a_unsigned = std::is_same_v<typename P::PartA, uint8_t>};
}

// The products of integers that this target has instructions for: B of s8, and of u8.
#if TESSERA_BACKEND_SCALAR || TESSERA_BACKEND_XSIMD
using ProductsS8 = PairProducts;
using ProductsU8 = PairProducts;
#elif HWY_TARGET == HWY_RVV
using ProductsS8 = WideProducts;
using ProductsU8 = WideProducts;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
using ProductsS8 = QuadProducts<uint8_t>;
using ProductsU8 = PairProducts;
#elif HWY_TARGET == HWY_NEON_BF16 || HWY_TARGET_IS_SVE
using ProductsS8 = QuadProducts<int8_t>;
using ProductsU8 = PairProducts;
#else
using ProductsS8 = PairProducts;
using ProductsU8 = PairProducts;
#endif

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_INL_H_
