// SPDX-License-Identifier: Apache-2.0
// The kernels of attention between its two products: scores become weights, sums of chunks are added up and divided.
#ifndef TESSERA_KERNELS_ATTENTION_KERNELS_H_
#define TESSERA_KERNELS_ATTENTION_KERNELS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "tessera/core/attention.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::detail {

// 0, 1, ..: the keys of a block as numbers.
inline constexpr auto kBlockIndices = [] {
  std::array<float, kAttentionBlock> indices{};
  for (index_t i = 0; i < kAttentionBlock; ++i) {
    indices[static_cast<std::size_t>(i)] = static_cast<float>(i);
  }
  return indices;
}();

// Elements of keys and values that are codes of one byte: floats, integers.
enum class KeyCode : std::uint8_t { kNone, kE4M3, kE5M2, kS8 };

// Masks of bool are kU8 here.
struct AttentionMaskRows {
  DType dtype = DType::kF32;
  index_t stride = 1;  // between keys
};

// What becomes of the scores of one query in one block of keys; indices count from the start of the block.
struct AttentionRow {
  KeyRange visible;
  index_t position = 0;        // of the query
  float slope = 0;             // log2(e) times its ALiBi slope
  const void* mask = nullptr;  // of the first key of the block; null: none
};

// The running softmax of some rows: weights are 2^(score - exponent), `sum` is theirs, values [rows, value_stride]
// are the sums of weight * value.
struct AttentionSums {
  float *exponents, *sums, *values;
  index_t value_stride;
};

// Scores [rows, stride] of one block become weights, in place; weights of columns [begin, end) that are not visible
// become 0. Rows of `sums` are rescaled to their new exponents.
struct AttentionScores {
  float* scores;  // rows have room for a whole block
  index_t stride, rows;
  index_t begin, end;
  const AttentionRow* row;
  float scale;  // log2(e) times that of the user
  float cap_in,
      cap_out;  // score = cap_out * tanh(cap_in * score) if cap_out > 0, and then no scale
  bool biased;  // some row has a slope or a mask
  AttentionMaskRows mask;
  AttentionSums sums;
  index_t value_columns;  // to rescale; 0: they are not there yet
};

// sums += more, of one row each.
struct AttentionMerge {
  AttentionSums sums, more;
  index_t rows, value_columns;
};

// Results: values / sum in `out`.
struct AttentionResults {
  AttentionSums sums;
  index_t rows, value_columns;
  const float* sinks;  // [rows], log2(e) times those of the user; null: none
  void* const* out;    // [rows]
  DType dtype;
  index_t out_stride;      // between the columns
  float* const* log_sums;  // [rows]; null: not wanted
  float factor;            // of all results
};

struct AttentionKernels {
  void (*weigh)(const AttentionScores&) = nullptr;
  void (*merge)(const AttentionMerge&) = nullptr;
  void (*finish)(const AttentionResults&) = nullptr;
  // n elements of type `dtype`, `stride` apart, rounded to nearest even.
  void (*store_row)(const float* x, void* to, DType dtype, index_t stride, index_t n) = nullptr;
  // n codes, `stride` bytes apart, as f32.
  void (*load_codes)(KeyCode code, const void* from, index_t stride, float* to,
                     index_t n) = nullptr;
  // No infinity, no NaN.
  bool (*all_finite)(const float* x, index_t n) = nullptr;
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_ATTENTION_KERNELS_H_
