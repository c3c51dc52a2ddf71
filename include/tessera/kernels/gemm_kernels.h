// SPDX-License-Identifier: Apache-2.0
// The interface between the GEMM driver, compiled once, and the kernels, compiled once per target:
// plain data and function pointers. Nothing here depends on a vector length known to the compiler.
//
// Panels. Packed A is cut into row panels of at most MR rows, each stored [k][rows]; packed B into
// column panels of NR columns, each stored [k][columns], the last one narrower and padded with
// zeros to `pad` columns. A panel that starts at row i (column j) starts at element i*k (j*k), k being
// its number of rows.
#ifndef TESSERA_KERNELS_GEMM_KERNELS_H_
#define TESSERA_KERNELS_GEMM_KERNELS_H_

#include <cstdint>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/kernels/epilogue_steps.h"
#include "tessera/tune/generic.h"

namespace tessera::detail {

inline constexpr index_t kMostVectorRows = 16;

// How many rows the next tile of at most `mr` rows takes when `rows` are left. Instances exist for 1
// to 4 rows, mr / 2 and mr: few enough to compile quickly, and no remainder ends in a lone row, which
// has too few independent chains to fill the pipelines, where it can be helped (5 = 3 + 2). Matrix units, with more
// than kMostVectorRows, take any number.
constexpr index_t next_tile_rows(index_t rows, index_t mr) {
  const index_t half = (mr + 1) / 2;
  if (rows >= mr) return mr;
  if (mr > kMostVectorRows) return rows;
  if (rows <= 4 || rows == half) return rows;
  if (rows == half + 1 && rows <= 8) return (rows + 1) / 2;
  return rows > half ? half : (rows + 1) / 2;
}

constexpr bool has_tile_instance(index_t rows, index_t mr) {
  return rows <= 4 || rows == (mr + 1) / 2 || rows == mr;
}

// The row panels of an operand of m rows: full ones, then the few that next_tile_rows() makes of the
// rest. Any run of whole panels is cut the same way on its own.
class RowPanels {
 public:
  constexpr RowPanels(index_t m, index_t mr) : mr_(mr), full_(m / mr), count_(full_) {
    for (index_t left = m % mr; left > 0; left -= edge_[count_++ - full_]) {
      edge_[count_ - full_] = next_tile_rows(left, mr);
    }
  }

  constexpr index_t count() const { return count_; }
  constexpr index_t rows(index_t panel) const { return panel < full_ ? mr_ : edge_[panel - full_]; }
  // The first row of a panel; of panel count(), the number of rows.
  constexpr index_t start(index_t panel) const {
    index_t row = (panel < full_ ? panel : full_) * mr_;
    for (index_t p = full_; p < panel; ++p) row += edge_[p - full_];
    return row;
  }

 private:
  index_t mr_, full_, count_;
  index_t edge_[8] = {};
};

// Steps of k that are contiguous in every row of an A in place, from `start` elements after where the row begins.
struct RowSegment {
  index_t start, steps;
};

// Zero points, taken out of sums of products of integers. The sum over l of (a(i, l) - za(i)) * (b(l, j) - zb(j)) is that
// of a(i, l) * b(l, j), plus
//   a_zeros[i] * b_terms[j] + a_terms[i] * b_zeros[j]   (modulo 2^32)
//   b_terms[j] = k * zb(j) - the sum of column j of B,   a_terms[i] = - the sum of row i of A.
// Indices are those of the whole result. Why not subtract zero points when panels are packed: differences of bytes are no
// bytes, which is what the fastest instructions multiply.
struct ZeroPointTerms {
  const std::int32_t* a_zeros = nullptr;  // [m]; null: A has none, and b_terms are not used
  index_t a_zero_stride = 1;              // 0: one for all rows
  const std::int32_t* b_terms = nullptr;  // [n]
  const std::int32_t* b_zeros = nullptr;  // [n]; null: B has none, and a_terms are not used
  const std::int32_t* a_terms = nullptr;  // [m]
};

// The result of a GEMM where it is not just the sums: another type, no unit stride, zero points, or an epilogue.
struct GemmResult {
  void* data;
  DType dtype;
  index_t row_stride, col_stride;
  const EpilogueStep* steps;
  int step_count;
  const ZeroPointTerms* zero_points = nullptr;  // of sums of integers; null: none
};

// C[m, n] = beta * C + A[m, k] * B[k, n], one block of a GEMM whose operands are in the caches.
//
// Without `result`, C is the sums. With it, c holds the sums between the blocks of K, `first` starts
// them from beta * result, and `last` brings them there, tile by tile. c may be null where one block
// is both.
struct GemmBlock {
  index_t m, n, k;              // k in panel elements
  bool a_in_place, b_in_place;  // rows of unit column stride; otherwise packed panels
  const void* a;
  DType a_dtype;     // of the operand; panels of integers may hold it in another
  index_t a_stride;  // of rows in place
  index_t a_panel;   // rows per packed panel (MR when it was packed)
  // Convolutions: rows in place that begin anywhere, a_rows[i] elements after a, and whose k lies in several
  // segments, the same for all rows. Null and none: rows a_stride apart, of one segment.
  const index_t* a_rows;
  const RowSegment* a_segments;
  index_t a_segment_count;
  const void* b;
  index_t b_stride;      // of rows in place
  index_t b_col_stride;  // in place; tiles want 1
  index_t b_panel;       // columns per packed panel (NR when it was packed)
  index_t b_pad;         // the last packed panel is padded to a multiple of this
  index_t
      b_ahead;  // from what is read of B to what is prefetched meanwhile, in elements; 0: more of B
  DType b_dtype;  // of packed panels: bf16 and f16 are widened into b_wide, a panel at a time
  void* b_wide;   // [k, NR] elements
  void* c;
  index_t c_stride;         // rows of unit column stride
  double beta;              // the chain of each element starts at beta * c; 0 never reads c
  std::int32_t sum_factor;  // of the column sums of B, where panels have them
  const GemmResult* result;
  bool first, last;
  // Of this block in the result. B in place is read in whole vectors, from up to `col` columns before its own.
  index_t row, col;
};

// One panel to pack: to[l * to_stride + i] = alpha * from[i * stride + l * k_stride] for i < count,
// l < k, and zeros for count <= i < to_stride. The rows of A, or the columns of B. A panel element of
// integers takes in several steps of k, and the last is padded with zeros.
struct PackPanel {
  const void* from;
  DType dtype;
  index_t stride, k_stride;
  index_t count, k;  // k in steps of the matrix
  double alpha;
  void* to;
  index_t to_stride;
};

// sums[i] = the sum of from[i * stride + l * k_stride] over l < k, for i < count: the rows of A, or the columns of B.
struct LineSums {
  const void* from;
  DType dtype;  // s8, u8
  index_t stride, k_stride;
  index_t count, k;
  std::int32_t* sums;
};

// Sums that are complete, [m, n] without gaps, on their way to the rows and columns of the result from (row, col) on.
struct FinishedSums {
  const GemmResult* result;
  index_t row, col, m, n;
  void* sums;  // overwritten
};

// One register tile of one target.
struct GemmTile {
  TileShape shape;
  index_t (*lanes)();  // elements per vector group at the vector length of this thread
  void (*run)(const GemmBlock&);
};

// The kernels for one type of sums and panels.
struct GemmKernels {
  const GemmTile* tiles = nullptr;
  int tile_count = 0;
  // As a tile's, for few rows; B may be of any strides and of 16 bits. Null: none.
  void (*few_rows)(const GemmBlock&) = nullptr;
  bool rows_by_panels = false;  // few_rows takes one row by several packed panels at once
  void (*pack_a)(const PackPanel&) = nullptr;
  void (*pack_b)(const PackPanel&) = nullptr;
  void (*pack_narrow)(const PackPanel&) = nullptr;  // bf16 and f16 as they are
  void (*sum_lines)(const LineSums&) = nullptr;     // of integers
  void (*finish)(const FinishedSums&) = nullptr;
  // n elements of type `dtype`, `stride` apart, as parts of A's elements, which an A in place is made of. Integers
  // become element - zero_point, where parts are not of 8 bits, which have no room for that.
  void (*convert_a)(DType dtype, const void* from, index_t stride, void* to, index_t n,
                    int zero_point) = nullptr;
  index_t part_bytes = 0;     // of one such part: `group` of them are an element
  index_t element_bytes = 0;  // of a panel
  index_t sum_bytes = 0;
  index_t group = 1;         // steps of k per panel element
  bool column_sums = false;  // packed panels of B start with a row of them
  // Values of A are shifted to the sign that the instructions want; -128 or 128 column sums undo it.
  bool a_unsigned = false;
  bool a_any_sign = false;    // an A in place is not shifted
  index_t row_alignment = 0;  // of an A in place, in bytes; 0: that of an element

  // Rows of a packed panel of B with k steps.
  index_t panel_rows(index_t k) const { return (k + group - 1) / group + (column_sums ? 1 : 0); }
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_GEMM_KERNELS_H_
