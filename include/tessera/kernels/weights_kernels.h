// SPDX-License-Identifier: Apache-2.0
// The interface between the driver of products with quantized weights, compiled once, and the kernels, compiled
// once per target.
//
// Packed weights. B[k, n] is cut into column panels as wide as a register tile, panels into units of `unit` steps of
// k, one after the other. A unit holds, for all columns of its panel: planes of code bits, rows of scales, rows of
// mins. Planes are rows of 32-bit words, a word per column, whose bytes belong to four consecutive steps of k (or
// `by_rows`: a row is four rows of bytes, one per step). Of each 32 steps, words of four are numbered 0 to 7, and
//   a plane of 8 bits has 8 rows: row g is word g;
//   a plane of 4 bits has 4 rows: row g % 4 holds word g at bit 4 * (g / 4) of each byte;
//   a plane of 2 bits has 2 rows: row g / 4, at bit 2 * (g % 4);
//   a plane of 1 bit has 1 row, at bit g.
// Codes of 3, 5 and 6 bits are a plane of 2, 4 and 4 bits and one of the bits above. So unpacking is loads, shifts
// and masks of whole vectors, at any vector length.
#ifndef TESSERA_KERNELS_WEIGHTS_KERNELS_H_
#define TESSERA_KERNELS_WEIGHTS_KERNELS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/kernels/gemm_kernels.h"

namespace tessera::detail {

// What a code stands for. The value of an element is scale * code - min.
enum class WeightCode : std::uint8_t {
  kInteger,  // code - offset
  kTable,    // table[code] - offset, codes of 4 bits
  kE4M3,
  kE5M2,
  kE3M2,
  kE2M3,
};

// How the scale of a group is stored.
enum class WeightScale : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kE8M0,
  kE4M3,
  kSuper,  // an f16 per unit times an s8 per group
};

enum class WeightMin : std::uint8_t {
  kNone,
  kAdded,      // an f16 per group, which is added: the min is its negative
  kSuper,      // an f16 per unit times an u8 per group
  kZeroPoint,  // an s16 per group, times the scale
};

// Of the plane that holds the lower bits of codes; the plane above has the rest.
constexpr int main_plane_bits(int bits) { return bits == 8 ? 8 : bits >= 4 ? 4 : 2; }

// The entries of narrow tables are at most this.
inline constexpr int kMostNarrowEntry = 32;

// How many times two products of codes of up to `most` with 127 fit into s16: 2, 4 or 8.
constexpr int pairs_in_s16(int most) {
  const int pairs = 32767 / (2 * 127 * most);
  return pairs >= 8 ? 8 : pairs >= 4 ? 4 : 2;
}

inline constexpr index_t kMostUnit = 256;
inline constexpr index_t kLeastGroup = 16;

struct WeightFormat {
  WeightCode code{};
  WeightScale scale{};
  WeightMin min{};
  int bits = 8;    // 2, 3, 4, 5, 6 or 8
  int offset = 0;  // codes, or entries of the table, less offset fit into s8
  bool narrow =
      false;  // codes are below 64, or entries at most kMostNarrowEntry: for quicker products
  std::array<std::uint8_t, 16> table{};
  index_t unit = 32;   // 32 to kMostUnit, a power of two
  index_t group = 32;  // steps of k that share a scale; divides the unit
  float factor = 1;    // of all scales

  index_t groups() const { return unit / group; }
  // Of a narrow format.
  int words_in_s16() const {
    return pairs_in_s16(code == WeightCode::kTable ? kMostNarrowEntry : (1 << bits) - 1);
  }
  // Rows of scales and of mins, in bytes per column.
  index_t scale_bytes() const {
    switch (scale) {
      case WeightScale::kF32:
        return 4 * groups();
      case WeightScale::kE8M0:
      case WeightScale::kE4M3:
        return groups();
      case WeightScale::kSuper:
        return 2 + groups();
      default:
        return 2 * groups();
    }
  }
  index_t min_bytes() const {
    if (min == WeightMin::kNone) return 0;
    return min == WeightMin::kSuper ? 2 + groups() : 2 * groups();
  }
  index_t code_bytes() const { return unit * bits / 8; }
  // Of a unit of a panel with `width` columns.
  index_t unit_bytes(index_t width) const {
    return ((code_bytes() + scale_bytes() + min_bytes()) * width + 3) / 4 * 4;
  }
};

// `k` steps of a panel, from step `k0` of `from` on, both multiples of 32 and, where mins and scales are wanted, of
// the group. Steps past the end of B are zeros or anything else: activations there are zeros.
struct UnpackWeights {
  const WeightFormat* format;
  const std::byte* from;  // whole units
  index_t width;          // columns
  index_t k0, k;
  void* codes;          // [k, width]: elements of the integer kernels, or values in f32
  float* scales;        // [groups, width]: of all k steps with codes, of one unit with values
  float* mins;          // likewise, where the format has any
  std::int32_t* words;  // room for [8, width]
};

// A row panel of activations as integers: code = round(x / scale), scale = max |x| / 127 over a block of steps; NaN
// where a block holds a NaN or an infinity.
//
// k is filled up with zeros to padded_k, cut into chunks of `chunk` steps (the last may be shorter), and each chunk into
// row panels. Of this panel, rows [row, row + rows) of m, it gives the codes, as elements of the integer kernel,
// [chunk / part, rows]; the sums of the codes of each run of steps, [chunk / run, rows]; and the scales.
struct QuantizeRows {
  const void* from;  // of the first row
  DType dtype;
  index_t row_stride, col_stride;
  index_t rows, k, padded_k;
  index_t block;  // a power of two of at least 16 steps that divides the chunk, or padded_k
  index_t chunk;  // at most kMostUnit
  index_t run;
  index_t row, m;
  float alpha;         // of the scales
  void* codes;         // of all panels
  std::int32_t* sums;  // likewise
  float* scales;       // [blocks, m]
};

// sums[m, width] += the products of one chunk.
struct WeightBlock {
  index_t m, width;
  index_t k;  // of the chunk
  index_t run, group,
      block;   // steps with the same scales; of the weights; of the activations, at most k
  int offset;  // of the codes
  int words_in_s16;
  const void* a;               // row panels [k / part, rows]
  const std::int32_t* a_sums;  // row panels [k / run, rows]
  const float* a_scales;       // [k / block, m], rows a_scale_stride apart
  index_t a_scale_stride;
  const void* b;          // [k / part, width]
  const float* scales;    // [k / group, width]
  const float* mins;      // likewise, or null
  float* sums;            // [m, width]
  const std::byte* next;  // packed weights that come next: what the unpacking has not prefetched
  index_t next_share;     // of each 32 steps
};

// One row of activations times a column panel.
struct WeightRow {
  const WeightFormat* format;
  const std::byte* from;         // whole units
  index_t width;                 // columns
  index_t k, chunk, run, block;  // k is that of QuantizeRows, filled up; the others as there
  const void* a;                 // as QuantizeRows makes them of one row
  const std::int32_t* a_sums;
  const float* a_scales;
  float *scales, *mins;  // room for [kMostUnit / kLeastGroup, width]
  float* sums;           // [width], to which the products are added
};

// Kernels for the products of codes in one form.
struct WeightProducts {
  void (*unpack)(const UnpackWeights&) = nullptr;
  void (*quantize)(const QuantizeRows&) = nullptr;
  void (*multiply)(const WeightBlock&) = nullptr;
  // Unpacks and multiplies in one step, or is null. False, and nothing done, where vectors are longer than the panel.
  bool (*multiply_row)(const WeightRow&) = nullptr;
  index_t part = 1;           // steps of k per element
  index_t element_bytes = 0;  // of activations; those of weights are no larger
};

struct WeightKernels {
  WeightProducts any;     // codes of 8 bits
  WeightProducts narrow;  // WeightFormat::narrow
  index_t rows = 0;       // of a row panel
  bool by_rows = false;   // the order of bytes in the planes
  void (*unpack_floats)(const UnpackWeights&) = nullptr;
  // The result's own values, as sums; and the sums as results.
  void (*start)(const GemmResult&, float* sums, index_t stride, index_t rows, index_t cols,
                index_t row, index_t col) = nullptr;
  void (*finish)(const GemmResult&, float* sums, index_t stride, index_t rows, index_t cols,
                 index_t row, index_t col) = nullptr;
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_WEIGHTS_KERNELS_H_
