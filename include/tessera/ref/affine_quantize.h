// SPDX-License-Identifier: Apache-2.0
// The specification of affine quantization in groups, element by element.
#ifndef TESSERA_REF_AFFINE_QUANTIZE_H_
#define TESSERA_REF_AFFINE_QUANTIZE_H_

#include <algorithm>
#include <cmath>

#include "tessera/core/affine.h"
#include "tessera/core/quantized.h"
#include "tessera/core/view.h"

namespace tessera::ref {

// dst[rows, cols] = the values of src.
inline void dequantize(const GroupQuantizedView& src, const View<float, 2>& dst) {
  for (index_t i = 0; i < src.rows; ++i) {
    for (index_t j = 0; j < src.cols; ++j) dst(i, j) = src.value(i, j);
  }
}

// Scales and zero points (unless they are given), then codes, exactly as tessera::quantize defines them.
inline void quantize(const View<const float, 2>& src, const MutableGroupQuantizedView& dst,
                     Scaling scaling = Scaling::kMinMax, bool symmetric = false,
                     bool full_range = false) {
  const AffineFormat format = affine_format(dst, scaling, symmetric, full_range);
  if (scaling != Scaling::kGiven) {
    // Strides of 0 share a scale: the elements of all rows, or of all groups of a row, count.
    const bool rows_share = dst.scale_strides[0] == 0, groups_share = dst.scale_strides[1] == 0;
    for (index_t r = 0; r < (rows_share ? std::min<index_t>(dst.rows, 1) : dst.rows); ++r) {
      for (index_t g = 0; g < (groups_share ? std::min<index_t>(dst.cols, 1) : dst.groups()); ++g) {
        ValueRange range;
        double sum = 0;
        index_t count = 0;
        for (index_t i = rows_share ? 0 : r; i < (rows_share ? dst.rows : r + 1); ++i) {
          double row_sum = 0;
          for (index_t j = 0; j < dst.cols; ++j) {
            if (!groups_share && j / dst.group != g) continue;
            const float x = src(i, j);
            range.include(x);
            if (std::isfinite(x)) row_sum += std::abs(static_cast<double>(x)), ++count;
          }
          sum += row_sum;
        }
        const AffineParams params =
            scaling == Scaling::kMinMax
                ? affine_params(range, format, dst.scale_type)
                : AffineParams{
                      storable_scale(count ? sum / static_cast<double>(count) : 0, dst.scale_type)};
        dst.set_scale(r, g, params.scale);
        if (dst.zero_points != nullptr) dst.set_zero_point(r, g, params.zero_point);
      }
    }
  }
  for (index_t i = 0; i < dst.rows; ++i) {
    for (index_t j = 0; j < dst.cols; ++j) {
      const index_t g = j / dst.group;
      dst.set_code(i, j,
                   affine_code(src(i, j), dst.scale(i, g), dst.zero_point(i, g), format.low(),
                               format.high()));
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_AFFINE_QUANTIZE_H_
