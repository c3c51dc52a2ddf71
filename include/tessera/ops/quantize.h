// SPDX-License-Identifier: Apache-2.0
// quantize, dequantize: matrices of f32 to and from the block formats of core/block_formats.h.
#ifndef TESSERA_OPS_QUANTIZE_H_
#define TESSERA_OPS_QUANTIZE_H_

#include <span>

#include "tessera/config.h"
#include "tessera/core/block_formats.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/dequantize_options.h"

namespace tessera::inline TESSERA_ABI {

struct QuantizeOptions {
  // How much the squared error of a column counts: [cols], finite, at least 0 (ggml calls it the importance matrix).
  // Empty: all the same. Used by Q2_K to Q6_K, IQ4_NL and IQ4_XS.
  std::span<const float> importance{};
  Context* context = nullptr;
};

namespace impl {

// Check everything, then do it. Defined in quantize_driver.h.
void checked_quantize(const View<const float, 2>& src, const BlockView& dst,
                      const QuantizeOptions& options);
void checked_dequantize(const ConstBlockView& src, const View<float, 2>& dst,
                        const DequantizeOptions& options);

}  // namespace impl

// dst[rows, cols] = src[rows, cols] in the blocks of dst.format.
//
// src: View<const float, 2>  [rows, cols], any strides; fastest where a row is contiguous
// dst: BlockView             [rows, cols], cols a multiple of info(dst.format).block; see blocks()
// Blocks are made along the rows, each from its own numbers only: for weights of a product x * W, those that are
// summed, k, must be a row.
//
// Numerics: ref/block_formats.h defines every byte, on every target and for any number of threads, NaN, infinities
// and overflow included. Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0, TQ2_0 and MXFP4 are those of ggml's reference
// quantizers; the K-quants and IQ4 have codes and scales of their own with least squares (ref/block_search.h), which
// any reader of GGUF reads. MXFP6 and MXFP8: OCP Microscaling Formats v1.0. NVFP4 divides by dst.tensor_scale, which
// the caller chooses, for example by nvfp4_tensor_scale().
//
// Runs on the executor of the context. Errors (tessera::Error, before anything is written): extents that differ or
// are negative, cols that are no whole blocks, null data, sizes that overflow, rows of dst that overlap, a dst that
// overlaps src, an importance of another length, a tensor_scale of NVFP4 that is not positive and finite.
inline void quantize(const View<const float, 2>& src, const BlockView& dst,
                     const QuantizeOptions& options = {}) {
  impl::checked_quantize(src, dst, options);
}

// dst[rows, cols] = the values of src[rows, cols].
//
// src: ConstBlockView  [rows, cols], rows any bytes apart
// dst: View<float, 2>  [rows, cols], strides that visit no element twice
//
// Numerics: ref/block_formats.h; one rounding at most, the same bits as ggml for the formats of GGUF, but for a scale of
// 255 of MXFP4, which is NaN. Any bytes are a valid src. Runs on the executor of the context; errors as quantize.
inline void dequantize(const ConstBlockView& src, const View<float, 2>& dst,
                       const DequantizeOptions& options = {}) {
  impl::checked_dequantize(src, dst, options);
}

// The tensor scale of NVFP4 for which the block of the largest magnitude has the largest scale: largest / (6 * 448);
// 1 where that is no positive number.
inline float nvfp4_tensor_scale(float largest_magnitude) {
  const float scale = largest_magnitude / (6 * 448);
  return scale > 0 && scale <= 3.4e38f ? scale : 1;
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/quantize_driver.h"
#endif

#endif  // TESSERA_OPS_QUANTIZE_H_
