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
using detail::RowSegment;

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

// Where the rows of a panel are, in one register or two: `step` bytes from one instruction's k to the next. Rows of
// packed panels have one segment; counts are rows.
struct PanelRows {
  const int8_t *upper, *lower;
  index_t upper_count, lower_count;
  index_t upper_stride, lower_stride;  // bytes
  index_t step;
  const RowSegment* segments;
  index_t segment_count;

  index_t count() const { return upper_count + lower_count; }
};

// Registers 0 to 3: sums, 4 and 5: A, 6 and 7: B.
inline Config config_of(index_t upper_rows, index_t lower_rows) {
  Config config;
  const auto upper = static_cast<uint8_t>(upper_rows), lower = static_cast<uint8_t>(lower_rows);
  config.rows[0] = config.rows[1] = config.rows[4] = upper;
  config.rows[2] = config.rows[3] = config.rows[5] = lower;
  config.rows[6] = config.rows[7] = kRegister;
  for (int i = 0; i < 8; ++i) config.row_bytes[i] = config.rows[i] > 0 ? kSteps : 0;
  return config;
}

// ---- The tile

// One or two registers of rows and of columns. b: [k][kCols][16][64] bytes.
template <bool kSignedA, bool kSignedB, int kRows, int kCols>
void multiply_tile(const PanelRows& rows_in_memory, const int8_t* b, int32_t* c, index_t c_stride,
                   bool from_c) {
  const PanelRows a = rows_in_memory;  // in registers, whatever is stored
  const index_t c_bytes = c_stride * 4;
  int32_t* const lower = c + a.upper_count * c_stride;
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
  for (const RowSegment* s = a.segments; s != a.segments + a.segment_count; ++s) {
    const int8_t* a_upper = a.upper + s->start * a.step;
    const int8_t* a_lower = a.lower + s->start * a.step;
    for (index_t l = 0; l < s->steps; ++l) {
      load<6>(b, kSteps);
      load<4>(a_upper, a.upper_stride);
      multiply<kSignedA, kSignedB, 0, 4, 6>();
      if constexpr (kCols > 1) {
        load<7>(b + kRegister * kSteps, kSteps);
        multiply<kSignedA, kSignedB, 1, 4, 7>();
      }
      if constexpr (kRows > 1) {
        load<5>(a_lower, a.lower_stride);
        multiply<kSignedA, kSignedB, 2, 5, 6>();
        if constexpr (kCols > 1) multiply<kSignedA, kSignedB, 3, 5, 7>();
      }
      a_upper += a.step;
      a_lower += a.step;
      b += kCols * kRegister * kSteps;
    }
  }
  store<0>(c, c_bytes);
  if constexpr (kCols > 1) store<1>(c + kRegister, c_bytes);
  if constexpr (kRows > 1) store<2>(lower, c_bytes);
  if constexpr (kRows > 1 && kCols > 1) store<3>(lower + kRegister, c_bytes);
}

using TileFunction = void (*)(const PanelRows& a, const int8_t* b, int32_t* c, index_t c_stride,
                              bool from_c);

template <bool kSignedA, bool kSignedB>
TileFunction tile_function(bool two_rows, bool two_cols) {
  if (two_rows) {
    return two_cols ? &multiply_tile<kSignedA, kSignedB, 2, 2>
                    : &multiply_tile<kSignedA, kSignedB, 2, 1>;
  }
  return two_cols ? &multiply_tile<kSignedA, kSignedB, 1, 2>
                  : &multiply_tile<kSignedA, kSignedB, 1, 1>;
}

// ---- Blocks

// The products of a block, a panel of rows times a panel of columns at a time.
template <bool kSignedB>
class BlockRun {
 public:
  BlockRun(const GemmBlock& block, bool column_sums) : block_(block), column_sums_(column_sums) {}
  ~BlockRun() { release(); }
  BlockRun(const BlockRun&) = delete;
  BlockRun& operator=(const BlockRun&) = delete;

  // Rows i.. and columns j.. of the block.
  void operator()(const PanelRows& a, index_t i, index_t j) {
    if (a.upper_count != upper_ || a.lower_count != lower_) {
      configure(config_of(upper_ = a.upper_count, lower_ = a.lower_count));
    }
    const index_t cols = std::min(block_.b_panel, block_.n - j);
    const auto* b = static_cast<const int8_t*>(block_.b) + j * panel_rows() * kSteps;
    const auto* const column_sums = reinterpret_cast<const int32_t*>(b);
    if (column_sums_) b += (cols + kRegister - 1) / kRegister * kRegister * kSteps;
    const bool two_rows = a.lower_count > 0, two_cols = cols > kRegister;
    const TileFunction run = block_.a_dtype == DType::kS8
                                 ? tile_function<true, kSignedB>(two_rows, two_cols)
                                 : tile_function<false, kSignedB>(two_rows, two_cols);
    // The sums are in C where it can hold them between blocks of K and has whole registers.
    const bool one_block = block_.result != nullptr && block_.first && block_.last;
    int32_t* c = one_block ? stage_ : static_cast<int32_t*>(block_.c) + i * block_.c_stride + j;
    const index_t c_stride = one_block ? kTile : block_.c_stride;
    const SumTile<int32_t> sums{c, c_stride, a.count(), cols, block_.row + i, block_.col + j};
    bool from_c = block_.beta != 0;
    if (block_.result != nullptr && block_.first && from_c) start_tile(*block_.result, sums);
    if (column_sums_ && block_.sum_factor != 0) {
      add_column_sums(sums, column_sums, from_c);
      from_c = true;
    }
    if (one_block || cols % kRegister == 0) {
      run(a, b, c, c_stride, from_c);
    } else {
      for (index_t r = 0; from_c && r < a.count(); ++r) {
        convert_row(c + r * c_stride, 1, stage_ + r * kTile, cols);
      }
      run(a, b, stage_, kTile, from_c);
      for (index_t r = 0; r < a.count(); ++r) {
        convert_row(stage_ + r * kTile, 1, c + r * c_stride, cols);
      }
    }
    if (block_.result != nullptr && block_.last) finish_tile(*block_.result, sums);
  }

 private:
  index_t panel_rows() const { return block_.k + (column_sums_ ? 1 : 0); }
  void add_column_sums(const SumTile<int32_t>& sums, const int32_t* column_sums, bool from_c) {
    for (index_t r = 0; r < sums.rows; ++r) {
      int32_t* const row = sums.data + r * sums.stride;
      for (index_t j = 0; j < sums.cols; ++j) {
        row[j] = (from_c ? row[j] : 0) + block_.sum_factor * column_sums[j];
      }
    }
  }

  const GemmBlock& block_;
  bool column_sums_;
  index_t upper_ = 0, lower_ = 0;  // as registers are configured
  alignas(64) int32_t stage_[kTile * kTile];
};

// How many of the next rows one register takes: rows that are equally far apart, in even parts, as an instruction
// takes as many cycles as there are rows.
inline index_t equally_far(const index_t* rows, index_t left) {
  constexpr index_t kLookAhead = 4 * kRegister;
  index_t run = std::min<index_t>(left, 2);
  while (run < std::min(left, kLookAhead) && rows[run] - rows[run - 1] == rows[1] - rows[0]) ++run;
  const index_t registers = (run + kRegister - 1) / kRegister;
  return (run + registers - 1) / registers;
}

template <bool kSignedB>
void run_block(const GemmBlock& block) {
  BlockRun<kSignedB> run(block, false);
  const RowPanels panels(block.m, kTile);
  const RowSegment whole{0, block.k};
  for (index_t j = 0; j < block.n; j += block.b_panel) {
    for (index_t p = 0, i = 0; p < panels.count(); i += panels.rows(p), ++p) {
      const index_t rows = panels.rows(p), upper = std::min(rows, kRegister);
      const auto* const a = static_cast<const int8_t*>(block.a) + i * block.k * kSteps;
      run({a, a + kRegister * kSteps, upper, rows - upper, kSteps, kSteps, rows * kSteps, &whole,
           1},
          i, j);
    }
  }
}

// Rows of A in place. Those of a register are equally far apart, which those of a convolution's pixels are along w.
template <bool kSignedB>
void run_rows(const GemmBlock& block) {
  BlockRun<kSignedB> run(block, true);
  const auto* const a = static_cast<const int8_t*>(block.a);
  for (index_t i = 0; i < block.m;) {
    PanelRows rows{};
    rows.step = kSteps;
    rows.segments = block.a_segments;
    rows.segment_count = block.a_segment_count;
    const auto take = [&](index_t from, const int8_t*& first, index_t& count, index_t& stride) {
      const index_t* const start = block.a_rows + from;
      first = a + start[0] * kSteps;
      count = equally_far(start, block.m - from);
      stride = count > 1 ? (start[1] - start[0]) * kSteps : kSteps;
    };
    take(i, rows.upper, rows.upper_count, rows.upper_stride);
    rows.lower = rows.upper;
    if (i + rows.upper_count < block.m) {
      take(i + rows.upper_count, rows.lower, rows.lower_count, rows.lower_stride);
    }
    for (index_t j = 0; j < block.n; j += block.b_panel) run(rows, i, j);
    i += rows.count();
  }
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

template <bool kColumnSums>
void pack_b(const PackPanel& p) {
  const auto* const from = static_cast<const int8_t*>(p.from);
  auto* to = static_cast<int32_t*>(p.to);
  if constexpr (kColumnSums) {
    std::memset(to, 0, static_cast<size_t>(p.to_stride) * kSteps);
    sum_lines({p.from, p.dtype, p.stride, p.k_stride, p.count, p.k, to});
    to += p.to_stride * kRegister;
  }
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

inline void copy_bytes(DType, const void* from, index_t stride, void* to, index_t n, int) {
  convert_row(static_cast<const uint8_t*>(from), stride, static_cast<uint8_t*>(to), n);
}

// ---- The table

inline index_t columns_of_register() { return kRegister; }

// kc: 1024 steps of k, a panel of B of 32 KiB.
inline constexpr TileShape kShape{kTile, 2, 1, 1, false, 16};
template <bool kSignedB>
inline constexpr GemmTile kTiles[] = {{kShape, &columns_of_register, &run_block<kSignedB>}};
template <bool kSignedB>
inline constexpr GemmTile kRowTiles[] = {{kShape, &columns_of_register, &run_rows<kSignedB>}};

template <bool kSignedB>
GemmKernels gemm_kernels() {
  return {.tiles = kTiles<kSignedB>,
          .tile_count = 1,
          .few_rows = nullptr,
          .pack_a = &pack_a,
          .pack_b = &pack_b<false>,
          .pack_narrow = nullptr,
          .sum_lines = &sum_lines,
          .finish = &finish_sums<int32_t>,
          .element_bytes = kSteps,
          .sum_bytes = sizeof(int32_t),
          .group = kSteps,
          .column_sums = false,
          .a_unsigned = false};
}

// For an A in place.
template <bool kSignedB>
GemmKernels row_kernels() {
  GemmKernels kernels = gemm_kernels<kSignedB>();
  kernels.tiles = kRowTiles<kSignedB>;
  kernels.pack_b = &pack_b<true>;
  kernels.convert_a = &copy_bytes;
  kernels.part_bytes = 1;
  kernels.row_alignment = 1;
  kernels.column_sums = true;
  kernels.a_any_sign = true;
  return kernels;
}

}  // namespace amx
TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_GEMM_AMX_INL_H_
