// SPDX-License-Identifier: Apache-2.0
// The block format kernels of one target.
#ifndef TESSERA_KERNELS_BLOCK_KERNELS_H_
#define TESSERA_KERNELS_BLOCK_KERNELS_H_

#include <cstddef>

#include "tessera/core/block_formats.h"
#include "tessera/core/view.h"

namespace tessera::detail {

// `count` blocks, one after the other, from or to as many contiguous floats. The first block is at an even address.
using DequantizeBlocks = void (*)(const std::byte* blocks, float* x, index_t count);
// Returns how many are done: the next one has a NaN, an infinity, a scale beyond f16, no number of 2^-90 or more but
// other than 0 or, for Q4_0, two of the largest magnitude with different signs, and is left to the caller.
using QuantizeBlocks = index_t (*)(const float* x, std::byte* blocks, index_t count);

struct BlockKernels {
  QuantizeBlocks quantize_q8_0 = nullptr, quantize_q4_0 = nullptr;
  DequantizeBlocks dequantize_q8_0 = nullptr, dequantize_q4_0 = nullptr;
  DequantizeBlocks dequantize_q4_k = nullptr, dequantize_q6_k = nullptr;

  // Null for formats without kernels.
  QuantizeBlocks quantize(BlockFormat format) const {
    if (format == BlockFormat::kQ8_0) return quantize_q8_0;
    return format == BlockFormat::kQ4_0 ? quantize_q4_0 : nullptr;
  }
  DequantizeBlocks dequantize(BlockFormat format) const {
    switch (format) {
      case BlockFormat::kQ8_0:
        return dequantize_q8_0;
      case BlockFormat::kQ4_0:
        return dequantize_q4_0;
      case BlockFormat::kQ4_K:
        return dequantize_q4_k;
      case BlockFormat::kQ6_K:
        return dequantize_q6_k;
      default:
        return nullptr;
    }
  }
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_BLOCK_KERNELS_H_
