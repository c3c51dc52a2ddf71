// SPDX-License-Identifier: Apache-2.0
// quantize and dequantize of 8-bit floats with an f32 scale per block.
#ifndef TESSERA_OPS_FP8_QUANTIZE_H_
#define TESSERA_OPS_FP8_QUANTIZE_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "tessera/core/affine.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/minifloat.h"
#include "tessera/core/quantized.h"
#include "tessera/core/view.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/dequantize_options.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"

namespace tessera::inline TESSERA_ABI {

struct Fp8Options {
  bool given_scales = false;                // those of dst, instead of the range of the elements
  Overflow overflow = Overflow::kSaturate;  // of infinities, and where given scales are too small
  Context* context = nullptr;
};

namespace impl {

template <class Byte>
std::vector<NamedMemory> check_view(const char* function, const std::string& name,
                                    const BasicFp8BlockView<Byte>& v, bool computes_scales) {
  constexpr bool kWritten = !std::is_const_v<Byte>;
  if (v.rows < 0 || v.cols < 0) {
    fail(function, name, "rows and cols of at least 0", to_string(Extents{v.rows, v.cols}));
  }
  const bool empty = v.rows == 0 || v.cols == 0;
  if (!empty && (v.block_rows < 1 || v.block_cols < 1)) {
    fail(function, name + ".block_rows, block_cols", "at least 1",
         to_string(Extents{v.block_rows, v.block_cols}));
  }
  if (kWritten && v.rows > 1 && std::abs(v.row_bytes) < v.cols) {
    fail(function, name + ".row_bytes",
         "at least " + std::to_string(v.cols) + " for as many columns",
         std::to_string(v.row_bytes));
  }
  const Extents blocks = empty ? Extents{} : Extents{v.rows_of_blocks(), v.cols_of_blocks()};
  const MemoryView scales{v.scales, DType::kF32, blocks, v.scale_strides};
  return {{name + ".codes", {v.codes, DType::kU8, {v.rows, v.cols}, {v.row_bytes, 1}}, kWritten},
          {name + ".scales", computes_scales ? written_once(scales) : scales, computes_scales}};
}

}  // namespace impl

// Codes of src, and unless they are given, scales for it.
//
// src: View<const float, 2>  [rows, cols], any strides
// dst: MutableFp8BlockView   [rows, cols]; blocks of any size, one scale for all where its stride is 0
//
// Numerics: scale = absmax / largest, in f32, over the finite elements of a block, and 1 where all are 0;
// largest is 448 of E4M3 and 57344 of E5M2. code = x / scale, the quotient in f32, then rounded to the format,
// ties to even. NaN stays NaN; infinities and what is beyond the largest number saturate, or with
// Overflow::kInfinityOrNaN become infinity (E5M2) or NaN (E4M3). The bits depend on no threads, strides or machine.
//
// Rows are shared out to the context's executor. Empty matrices do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match or are negative, null data,
// sizes that overflow, blocks of no elements, rows or scales that overlap each other, src or one another.
inline void quantize(const View<const float, 2>& src, const MutableFp8BlockView& dst,
                     const Fp8Options& options = {}) {
  std::vector<impl::NamedMemory> memory =
      impl::check_view("quantize", "dst", dst, !options.given_scales);
  impl::check_extents("quantize", "dst", "src", {dst.rows, dst.cols}, src.extents);
  memory.push_back({"src", {src.data, DType::kF32, src.extents, src.strides}});
  impl::check_memory("quantize", memory);
  if (dst.rows == 0 || dst.cols == 0) return;
  MutableFp8BlockView to = dst;
  if (!options.given_scales) {
    if (dst.scale_strides[0] == 0) to.block_rows = dst.rows;
    if (dst.scale_strides[1] == 0) to.block_cols = dst.cols;
    const index_t blocks = to.cols_of_blocks();
    std::vector<float> absmax(static_cast<std::size_t>(dst.rows * blocks));
    impl::for_rows(options.context, dst.rows, dst.cols, [&](index_t i) {
      impl::for_groups(0, dst.cols, to.block_cols, [&](index_t begin, index_t end, index_t c) {
        absmax[static_cast<std::size_t>(i * blocks + c)] =
            impl::summary(&src(i, begin), src.strides[1], end - begin, Scaling::kMinMax)
                .range.absmax();
      });
    });
    for (index_t r = 0; r < to.rows_of_blocks(); ++r) {
      for (index_t c = 0; c < blocks; ++c) {
        float largest = 0;
        for (index_t i = r * to.block_rows; i < std::min(dst.rows, (r + 1) * to.block_rows); ++i) {
          largest = std::max(largest, absmax[static_cast<std::size_t>(i * blocks + c)]);
        }
        to.scale(r, c) = fp8_scale(largest, dst.format);
      }
    }
  }
  impl::for_rows(options.context, dst.rows, dst.cols, [&](index_t i) {
    std::uint8_t* const codes = to.codes + i * to.row_bytes;
    impl::for_groups(0, dst.cols, to.block_cols, [&](index_t begin, index_t end, index_t c) {
      const float scale = to.scale(i / to.block_rows, c);
      for (index_t j = begin; j < end; ++j) {
        codes[j] = fp8_encode(src(i, j) / scale, dst.format, options.overflow);
      }
    });
  });
}

// dst[rows, cols] = the values of src: code * scale, rounded to f32 once.
//
// src: Fp8BlockView    [rows, cols], any strides
// dst: View<float, 2>  [rows, cols], any strides that visit no element twice
// Rows are shared out to the context's executor. Empty matrices do nothing. Errors as those of quantize.
inline void dequantize(const Fp8BlockView& src, const View<float, 2>& dst,
                       const DequantizeOptions& options = {}) {
  std::vector<impl::NamedMemory> memory = impl::check_view("dequantize", "src", src, false);
  impl::check_extents("dequantize", "dst", "src", dst.extents, {src.rows, src.cols});
  memory.push_back({"dst", {dst.data, DType::kF32, dst.extents, dst.strides}, true});
  impl::check_memory("dequantize", memory);
  impl::for_rows(options.context, src.rows, src.cols, [&](index_t i) {
    const std::uint8_t* const codes = src.codes + i * src.row_bytes;
    impl::for_groups(0, src.cols, src.block_cols, [&](index_t begin, index_t end, index_t c) {
      const float scale = src.scale(i / src.block_rows, c);
      for (index_t j = begin; j < end; ++j) dst(i, j) = fp8_decode(codes[j], src.format) * scale;
    });
  });
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_FP8_QUANTIZE_H_
