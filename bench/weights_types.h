// SPDX-License-Identifier: Apache-2.0
// Products with quantized weights: their formats, and a matrix of random weights in one of them.
#ifndef TESSERA_BENCH_WEIGHTS_TYPES_H_
#define TESSERA_BENCH_WEIGHTS_TYPES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "bench/normal_numbers.h"
#include "tessera/core/quantized_matrix.h"
#include "tessera/core/scratch.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/fp8_quantize.h"
#include "tessera/ops/gemm.h"
#include "tessera/ops/quantize.h"

namespace tessera::bench {

struct WeightsFormat {
  enum Kind { kBlocks, kPerRow, kFp8 };
  const char* name;
  Kind kind;
  BlockFormat block{};  // of kBlocks
  int bits = 0;         // of kPerRow
  bool quick = false;   // part of a run of a few minutes
};

// S4, S8: integers with an f32 scale per row (output channel). FP8: E4M3 with an f32 scale per 128 x 128.
inline constexpr WeightsFormat kWeightsFormats[] = {
    {.name = "Q4_0", .kind = WeightsFormat::kBlocks, .block = BlockFormat::kQ4_0, .quick = true},
    {.name = "Q8_0", .kind = WeightsFormat::kBlocks, .block = BlockFormat::kQ8_0, .quick = true},
    {.name = "Q4_K", .kind = WeightsFormat::kBlocks, .block = BlockFormat::kQ4_K, .quick = true},
    {.name = "Q6_K", .kind = WeightsFormat::kBlocks, .block = BlockFormat::kQ6_K},
    {.name = "MXFP4", .kind = WeightsFormat::kBlocks, .block = BlockFormat::kMXFP4},
    {.name = "FP8", .kind = WeightsFormat::kFp8},
    {.name = "S4", .kind = WeightsFormat::kPerRow, .bits = 4, .quick = true},
    {.name = "S8", .kind = WeightsFormat::kPerRow, .bits = 8},
};

// Null if there is none of that name.
inline const WeightsFormat* find_weights_format(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kWeightsFormats), std::end(kWeightsFormats),
                                         [&](const WeightsFormat& f) { return f.name == name; });
  return found == std::end(kWeightsFormats) ? nullptr : found;
}

// Random weights [n, k], quantized by Tessera. Rows repeat after a prime number of them, for quantizing is slow;
// no tile has such an extent, so that a product that mixes rows up is still found out.
class QuantizedWeights {
 public:
  QuantizedWeights(const WeightsFormat& format, index_t n, index_t k)
      : format_(format), n_(n), k_(k) {
    const index_t distinct = std::min(n, kDistinctRows);
    std::vector<float> values(static_cast<std::size_t>(distinct * k));
    NormalNumbers(static_cast<std::uint64_t>(n + k)).fill(values.data(), distinct * k);
    if (format.kind == WeightsFormat::kBlocks) {
      const index_t row = row_bytes(format.block, k);
      blocks_ = tessera::detail::allocate_aligned(static_cast<std::size_t>(n * row));
      quantize(row_major(std::as_const(values), {distinct, k}),
               tessera::blocks(format.block, blocks_.get(), distinct, k));
      for (index_t i = distinct; i < n; ++i) {
        std::memcpy(blocks_.get() + i * row, blocks_.get() + i % distinct * row,
                    static_cast<std::size_t>(row));
      }
      return;
    }
    values.resize(static_cast<std::size_t>(n * k));
    for (index_t i = distinct * k; i < n * k; ++i) values[i] = values[i - distinct * k];
    const auto source = row_major(std::as_const(values), {n, k});
    if (format.kind == WeightsFormat::kPerRow) {
      groups_ = GroupQuantizedMatrix({.rows = n, .cols = k, .bits = format.bits});
      quantize(source, groups_.view(), AffineOptions{.symmetric = true});
    } else {
      codes_.resize(static_cast<std::size_t>(n * k));
      scales_.resize(static_cast<std::size_t>(scale_rows() * scale_cols()));
      const Fp8BlockView v = fp8();
      quantize(source, MutableFp8BlockView{codes_.data(), n, k, k, v.format, kFp8Block, kFp8Block,
                                           scales_.data(), v.scale_strides});
    }
  }

  const WeightsFormat& format() const { return format_; }
  index_t n() const { return n_; }
  index_t k() const { return k_; }

  // Codes and scales.
  double bytes() const {
    index_t bytes = 0;
    if (format_.kind == WeightsFormat::kBlocks) bytes = n_ * row_bytes(format_.block, k_);
    if (format_.kind == WeightsFormat::kPerRow)
      bytes = n_ * (packed_row_bytes(k_, format_.bits) + 4);
    if (format_.kind == WeightsFormat::kFp8) bytes = n_ * k_ + 4 * scale_rows() * scale_cols();
    return static_cast<double>(bytes);
  }

  // Each of its kind only.
  ConstBlockView blocks() const {
    return tessera::blocks(format_.block, std::as_const(*this).blocks_.get(), n_, k_);
  }
  GroupQuantizedView groups() const { return groups_.view(); }
  Fp8BlockView fp8() const {
    return {codes_.data(),    n_, k_, k_, Fp8Format::kE4M3, kFp8Block, kFp8Block, scales_.data(),
            {scale_cols(), 1}};
  }

  PackedWeights pack(Context* context) const {
    const PackOptions options{.context = context};
    if (format_.kind == WeightsFormat::kBlocks) return pack_weights(blocks(), options);
    if (format_.kind == WeightsFormat::kPerRow) return pack_weights(groups(), options);
    return pack_weights(fp8(), options);
  }

  // The values of row i.
  std::vector<float> row(index_t i) const {
    std::vector<float> values(static_cast<std::size_t>(k_));
    if (format_.kind == WeightsFormat::kBlocks) {
      dequantize(tessera::blocks(format_.block, static_cast<const void*>(blocks().row(i)), 1, k_),
                 row_major(values, {index_t{1}, k_}));
      return values;
    }
    for (index_t j = 0; j < k_; ++j) {
      values[j] = format_.kind == WeightsFormat::kPerRow ? groups().value(i, j) : fp8().value(i, j);
    }
    return values;
  }

 private:
  static constexpr index_t kDistinctRows = 251, kFp8Block = 128;
  index_t scale_rows() const { return tessera::detail::ceil_div(n_, kFp8Block); }
  index_t scale_cols() const { return tessera::detail::ceil_div(k_, kFp8Block); }

  const WeightsFormat& format_;
  const index_t n_, k_;
  tessera::detail::AlignedBytes blocks_;
  GroupQuantizedMatrix groups_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> scales_;
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_WEIGHTS_TYPES_H_
