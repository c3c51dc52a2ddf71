// SPDX-License-Identifier: Apache-2.0

// GEMM of 8-bit integers on the matrix unit of x86 (AMX-INT8): 32 x 32 sums in four of its eight registers.
//
// A register holds 16 rows of 64 bytes. Panels are cut into what one instruction multiplies, 64 steps of k: of A [rows][64],
// of B, for 16 columns each, [16][columns][4], consecutive steps of k together. All four mixes of signs have
// instructions, sums are exact: nothing is shifted, and no column sums are needed.

#ifndef TESSERA_KERNELS_GEMM_AMX_INL_H_  // one target has it, so one pass of a program's source
#define TESSERA_KERNELS_GEMM_AMX_INL_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/epilogue-inl.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/gemm_pack-inl.h"
#include "tessera/kernels/line_sums-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET
namespace amx {

using detail::GemmBlock;
using detail::GemmKernels;
using detail::GemmTile;
using detail::PackPanel;
using detail::RowPanels;

inline constexpr index_t kSteps = 64;     // of k, one instruction
inline constexpr index_t kRegister = 16;  // rows; columns of 32 bits
inline constexpr index_t kTile = 2 * kRegister;

// ---- Instructions. Registers by number: compilers know none of them, and the order of volatile asm is kept.

struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

TESSERA_INLINE void configure(const Config& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
TESSERA_INLINE void release() { asm volatile("tilerelease"); }
template <int kReg>
TESSERA_INLINE void set_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kReg));
}
template <int kReg>
TESSERA_INLINE void load(const void* p, index_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(kReg), "r"(p), "r"(stride) : "memory");
}
template <int kReg>
TESSERA_INLINE void store(void* p, index_t stride) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(kReg), "r"(p), "r"(stride) : "memory");
}
// c += a * b
template <bool kSignedA, bool kSignedB, int kC, int kA, int kB>
TESSERA_INLINE void multiply() {
  if constexpr (kSignedA && kSignedB) {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  } else if constexpr (kSignedA) {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  } else if constexpr (kSignedB) {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  } else {
    asm volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  }
}

// Registers 0 to 3: sums, 4 and 5: A, of `rows` rows in all, 6 and 7: B.
inline Config config_of(index_t rows) {
  Config config;
  const auto upper = static_cast<uint8_t>(std::min(rows, kRegister));
  const auto lower = static_cast<uint8_t>(rows - upper);
  config.rows[0] = config.rows[1] = config.rows[4] = upper;
  config.rows[2] = config.rows[3] = config.rows[5] = lower;
  config.rows[6] = config.rows[7] = kRegister;
  for (int i = 0; i < 8; ++i) config.row_bytes[i] = config.rows[i] > 0 ? kSteps : 0;
  return config;
}

// ---- The tile

// One or two registers of rows and of columns. a: [k][rows][64], b: [k][kCols][16][64] bytes.
template <bool kSignedA, bool kSignedB, int kRows, int kCols>
void multiply_tile(const int8_t* a, index_t rows, const int8_t* b, index_t k, int32_t* c,
                   index_t c_stride, bool from_c) {
  const index_t c_bytes = c_stride * 4;
  int32_t* const lower = c + kRegister * c_stride;
  if (from_c) {
    load<0>(c, c_bytes);
    if constexpr (kCols > 1) load<1>(c + kRegister, c_bytes);
    if constexpr (kRows > 1) load<2>(lower, c_bytes);
    if constexpr (kRows > 1 && kCols > 1) load<3>(lower + kRegister, c_bytes);
  } else {
    set_zero<0>();
    if constexpr (kCols > 1) set_zero<1>();
    if constexpr (kRows > 1) set_zero<2>();
    if constexpr (kRows > 1 && kCols > 1) set_zero<3>();
  }
  for (index_t l = 0; l < k; ++l) {
    load<6>(b, kSteps);
    load<4>(a, kSteps);
    multiply<kSignedA, kSignedB, 0, 4, 6>();
    if constexpr (kCols > 1) {
      load<7>(b + kRegister * kSteps, kSteps);
      multiply<kSignedA, kSignedB, 1, 4, 7>();
    }
    if constexpr (kRows > 1) {
      load<5>(a + kRegister * kSteps, kSteps);
      multiply<kSignedA, kSignedB, 2, 5, 6>();
      if constexpr (kCols > 1) multiply<kSignedA, kSignedB, 3, 5, 7>();
    }
    a += rows * kSteps;
    b += kCols * kRegister * kSteps;
  }
  store<0>(c, c_bytes);
  if constexpr (kCols > 1) store<1>(c + kRegister, c_bytes);
  if constexpr (kRows > 1) store<2>(lower, c_bytes);
  if constexpr (kRows > 1 && kCols > 1) store<3>(lower + kRegister, c_bytes);
}

using TileFunction = void (*)(const int8_t* a, index_t rows, const int8_t* b, index_t k, int32_t* c,
                              index_t c_stride, bool from_c);

template <bool kSignedA, bool kSignedB>
TileFunction tile_function(bool two_rows, bool two_cols) {
  if (two_rows) {
    return two_cols ? &multiply_tile<kSignedA, kSignedB, 2, 2>
                    : &multiply_tile<kSignedA, kSignedB, 2, 1>;
  }
  return two_cols ? &multiply_tile<kSignedA, kSignedB, 1, 2>
                  : &multiply_tile<kSignedA, kSignedB, 1, 1>;
}

template <bool kSignedB>
void run_block(const GemmBlock& block) {
  alignas(64) int32_t stage[kTile * kTile];
  const RowPanels panels(block.m, kTile);
  const bool signed_a = block.a_dtype == DType::kS8;
  const bool from_c = block.beta != 0;
  const bool one_block = block.result != nullptr && block.first && block.last;
  index_t configured = 0;
  for (index_t j = 0; j < block.n; j += block.b_panel) {
    const index_t cols = std::min(block.b_panel, block.n - j);
    const auto* const b = static_cast<const int8_t*>(block.b) + j * block.k * kSteps;
    for (index_t p = 0, i = 0; p < panels.count(); i += panels.rows(p), ++p) {
      const index_t rows = panels.rows(p);
      if (rows != configured) configure(config_of(configured = rows));
      const auto* const a = static_cast<const int8_t*>(block.a) + i * block.k * kSteps;
      const TileFunction run =
          signed_a ? tile_function<true, kSignedB>(rows > kRegister, cols > kRegister)
                   : tile_function<false, kSignedB>(rows > kRegister, cols > kRegister);
      // The sums are in C where it can hold them between blocks of K and has whole registers.
      int32_t* c = static_cast<int32_t*>(block.c) + (one_block ? 0 : i * block.c_stride + j);
      index_t c_stride = block.c_stride;
      if (one_block) c = stage, c_stride = kTile;
      const SumTile<int32_t> sums{c, c_stride, rows, cols, block.row + i, block.col + j};
      if (block.result != nullptr && block.first && from_c) start_tile(*block.result, sums);
      if (one_block || cols % kRegister == 0) {
        run(a, rows, b, block.k, c, c_stride, from_c);
      } else {
        for (index_t r = 0; from_c && r < rows; ++r) {
          convert_row(c + r * c_stride, 1, stage + r * kTile, cols);
        }
        run(a, rows, b, block.k, stage, kTile, from_c);
        for (index_t r = 0; r < rows; ++r) {
          convert_row(stage + r * kTile, 1, c + r * c_stride, cols);
        }
      }
      if (block.result != nullptr && block.last) finish_tile(*block.result, sums);
    }
  }
  release();
}

// ---- Packing

// `n` bytes, `stride` apart, and zeros up to 64.
TESSERA_INLINE void gather_steps(const uint8_t* from, index_t stride, uint8_t* to, index_t n) {
  if (n < kSteps) std::memset(to, 0, kSteps);
  convert_row(from, stride, to, n);
}

inline void pack_a(const PackPanel& p) {
  const auto* const from = static_cast<const uint8_t*>(p.from);
  auto* to = static_cast<uint8_t*>(p.to);
  for (index_t l = 0; l < p.k; l += kSteps) {
    for (index_t i = 0; i < p.count; ++i, to += kSteps) {
      gather_steps(from + i * p.stride + l * p.k_stride, p.k_stride, to, std::min(kSteps, p.k - l));
    }
  }
}

// Rows of B of up to 16 columns, four and four side by side; zeros where there are none.
TESSERA_INLINE void interleave_rows(const int8_t* from, index_t stride, index_t steps, index_t cols,
                                    int32_t* to) {
  const Tag<int8_t> d;
  const auto n = static_cast<size_t>(cols);
  for (index_t s = 0; s < kSteps; s += 4, to += kRegister) {
    const auto row = [&](index_t r) TESSERA_LAMBDA {
      return s + r < steps ? load_n(d, from + (s + r) * stride, n) : zero(d);
    };
    alignas(64) int8_t words[4 * max_lanes(d)];
    interleave(d, row(0), row(1), row(2), row(3), words);
    std::memcpy(to, words, kSteps);
  }
}

inline void pack_b(const PackPanel& p) {
  const auto* const from = static_cast<const int8_t*>(p.from);
  auto* to = static_cast<int32_t*>(p.to);
  for (index_t l = 0; l < p.k; l += kSteps) {
    const index_t steps = std::min(kSteps, p.k - l);
    for (index_t j = 0; j < p.to_stride; j += kRegister, to += kRegister * kRegister) {
      const index_t cols = std::clamp<index_t>(p.count - j, 0, kRegister);
      const int8_t* const corner = from + j * p.stride + l * p.k_stride;
      if (p.stride == 1) {  // rows of B are contiguous
        interleave_rows(corner, p.k_stride, steps, cols, to);
        continue;
      }
      alignas(64) uint8_t columns[kRegister * kSteps];
      for (index_t i = 0; i < cols; ++i) {
        gather_steps(reinterpret_cast<const uint8_t*>(corner) + i * p.stride, p.k_stride,
                     columns + i * kSteps, steps);
      }
      if (cols < kRegister || steps < kSteps) std::memset(to, 0, kRegister * kSteps);
      transpose(Tag<int32_t>(), reinterpret_cast<const int32_t*>(columns), kRegister,
                static_cast<size_t>(cols), static_cast<size_t>((steps + 3) / 4), to, kRegister);
    }
  }
}

// ---- The table

inline index_t columns_of_register() { return kRegister; }

// kc: 1024 steps of k, a panel of B of 32 KiB.
template <bool kSignedB>
inline constexpr GemmTile kTiles[] = {
    {{kTile, 2, 1, 1, false, 16}, &columns_of_register, &run_block<kSignedB>}};

template <bool kSignedB>
GemmKernels gemm_kernels() {
  return {.tiles = kTiles<kSignedB>,
          .tile_count = 1,
          .few_rows = nullptr,
          .pack_a = &pack_a,
          .pack_b = &pack_b,
          .pack_narrow = nullptr,
          .sum_lines = &sum_lines,
          .element_bytes = kSteps,
          .sum_bytes = sizeof(int32_t),
          .group = kSteps,
          .column_sums = false,
          .a_unsigned = false};
}

}  // namespace amx
TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_AMX_INL_H_
