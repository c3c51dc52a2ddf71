// SPDX-License-Identifier: Apache-2.0
// The specification of quantization to 8-bit floats with a scale per block, element by element.
#ifndef TESSERA_REF_FP8_QUANTIZE_H_
#define TESSERA_REF_FP8_QUANTIZE_H_

#include "tessera/core/affine.h"
#include "tessera/core/minifloat.h"
#include "tessera/core/quantized.h"
#include "tessera/core/view.h"

namespace tessera::ref {

// dst[rows, cols] = the values of src.
inline void dequantize(const Fp8BlockView& src, const View<float, 2>& dst) {
  for (index_t i = 0; i < src.rows; ++i) {
    for (index_t j = 0; j < src.cols; ++j) dst(i, j) = src.value(i, j);
  }
}

// Scales (unless they are given), then codes, exactly as tessera::quantize defines them.
inline void quantize(const View<const float, 2>& src, const MutableFp8BlockView& dst,
                     bool given_scales = false, Overflow overflow = Overflow::kSaturate) {
  if (!given_scales) {
    for (index_t r = 0; r < dst.rows_of_blocks(); ++r) {
      for (index_t c = 0; c < dst.cols_of_blocks(); ++c) {
        // Strides of 0 share a scale: the elements of all rows, or columns, of blocks count.
        ValueRange range;
        for (index_t i = 0; i < dst.rows; ++i) {
          for (index_t j = 0; j < dst.cols; ++j) {
            const bool in_row = dst.scale_strides[0] == 0 || i / dst.block_rows == r;
            const bool in_col = dst.scale_strides[1] == 0 || j / dst.block_cols == c;
            if (in_row && in_col) range.include(src(i, j));
          }
        }
        dst.scale(r, c) = fp8_scale(range.absmax(), dst.format);
      }
    }
  }
  for (index_t i = 0; i < dst.rows; ++i) {
    for (index_t j = 0; j < dst.cols; ++j) {
      const float scale = dst.scale(i / dst.block_rows, j / dst.block_cols);
      dst.codes[i * dst.row_bytes + j] = fp8_encode(src(i, j) / scale, dst.format, overflow);
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_FP8_QUANTIZE_H_
