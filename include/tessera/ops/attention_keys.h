// SPDX-License-Identifier: Apache-2.0
// Rows of K or V as the products of attention want them: of any element type or block format, in one piece or in pages.
#ifndef TESSERA_OPS_ATTENTION_KEYS_H_
#define TESSERA_OPS_ATTENTION_KEYS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tessera/config.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/attention_problem.h"
#include "tessera/ops/attention_checks.h"
#include "tessera/ref/block_formats.h"

namespace tessera::inline TESSERA_ABI::impl {

// How the columns of a product are cut into panels.
struct AttentionTile {
  const GemmTile* tile;
  index_t panel, pad;

  index_t padded(index_t n) const { return n / panel * panel + round_up(n % panel, pad); }
};

// The rows of K or V that one task reads: those of a sequence and a head.
class KeyRows {
 public:
  // table: null where keys are not in pages
  KeyRows(const KeyTensor& tensor, const View<const std::int32_t, 2>* table,
          const KernelTable& kernels, index_t sequence, const AttentionSequence& where,
          index_t head)
      : t_(tensor),
        table_(table),
        gemm_(kernels.gemm_f32),
        attention_(kernels.attention),
        dequantize_(kernels.blocks.dequantize(tensor.format)),
        sequence_(sequence),
        batch_(where.kv_batch),
        first_(where.kv_first),
        head_(head) {
    const auto& s = t_.memory.strides;
    const bool even =
        (s[0] | s[1] | s[2]) % 2 == 0 && reinterpret_cast<std::uintptr_t>(t_.memory.data) % 2 == 0;
    if (!even) dequantize_ = nullptr;
  }

  // Elements side by side, as f32.
  bool is_plain() const {
    return !t_.is_coded() && t_.memory.dtype == DType::kF32 && t_.memory.strides[3] == 1;
  }
  index_t stride() const { return t_.memory.strides[2]; }

  // How many rows from `token` on are `stride()` apart: up to the end of the page.
  index_t run(index_t token) const {
    if (table_ == nullptr) return index_t{1} << 48;
    return t_.memory.extents[2] - token % t_.memory.extents[2];
  }

  const std::byte* row(index_t token) const {
    const TensorMemory& m = t_.memory;
    index_t batch = batch_, at = first_ + token;
    if (table_ != nullptr) {
      batch = (*table_)(sequence_, token / m.extents[2]);
      at = token % m.extents[2];
    }
    return offset(m.data, (batch * m.strides[0] + head_ * m.strides[1] + at * m.strides[2]) *
                              size_of(m.dtype));
  }

  // Rows of a sequence, or of a page, without gaps.
  bool is_dense() const {
    return t_.memory.strides[3] == 1 && t_.memory.strides[2] == t_.memory.extents[3];
  }

  // What to add to p, in floats, to prefetch the rows from `token` of `tokens` on while a tile reads from p; 0: don't.
  index_t ahead_of(const float* p, index_t token, index_t tokens) const {
    if (token >= tokens || !is_dense()) return 0;
    const auto bytes =
        reinterpret_cast<std::intptr_t>(row(token)) - reinterpret_cast<std::intptr_t>(p);
    return bytes / static_cast<std::intptr_t>(sizeof(float));
  }

  // Rows [token, token + count) as f32, `to_stride` apart.
  void convert(index_t token, index_t count, float* to, index_t to_stride) const {
    const TensorMemory& m = t_.memory;
    while (count > 0) {
      const index_t n = std::min(count, run(token));
      const std::byte* from = row(token);
      if (to_stride == t_.dim && is_dense()) {
        convert_rows(from, to, n);
      } else {
        for (index_t i = 0; i < n; ++i) {
          convert_rows(offset(from, i * m.strides[2] * size_of(m.dtype)), to + i * to_stride, 1);
        }
      }
      token += n;
      count -= n;
      to += n * to_stride;
    }
  }

  // Rows [token, token + count) as the columns of a packed panel [dim, padded]. `buffer` [count, dim].
  //
  // Also for a single query, where it is most of the work: on RVV of 256 bits one token with keys of f16 takes 1.1
  // instructions per multiply-add, and 0.35 with four heads that share keys (clang 22, 2026-11). Why not products along
  // rows as they lie: a score is one chain over dim (ops/attention.h), so the lanes of its vectors are keys.
  void pack_columns(index_t token, index_t count, float* buffer, float* to, index_t padded) const {
    const TensorMemory& m = t_.memory;
    if (!t_.is_coded() && m.dtype == DType::kF32 && run(token) >= count) {
      gemm_.pack_b({row(token), m.dtype, m.strides[2], m.strides[3], count, t_.dim, 1, to, padded});
      return;
    }
    // As f32 first: rows are converted at once, not the few elements that are transposed together.
    convert(token, count, buffer, t_.dim);
    gemm_.pack_b({buffer, DType::kF32, t_.dim, 1, count, t_.dim, 1, to, padded});
  }

  // Rows [token, token + count) as the rows of packed panels, one after the other, each with room for `rows` of them.
  // `buffer` [slice, dim].
  void pack_rows(index_t token, index_t count, const AttentionTile& t, index_t slice, float* buffer,
                 float* to) const {
    const TensorMemory& m = t_.memory;
    for (index_t first = 0, n = 0; first < count; first += n) {
      n = std::min(count - first, run(token + first));
      const void* from = row(token + first);
      DType dtype = m.dtype;
      index_t stride = m.strides[2], column = m.strides[3];
      if (t_.is_coded()) {
        n = std::min(n, slice);
        convert(token + first, n, buffer, t_.dim);
        from = buffer, dtype = DType::kF32, stride = t_.dim, column = 1;
      }
      for (index_t j = 0; j < t_.dim; j += t.panel) {
        const index_t width = std::min(t.panel, t_.dim - j), padded = round_up(width, t.pad);
        gemm_.pack_b({offset(from, j * column * size_of(dtype)), dtype, column, stride, width, n, 1,
                      to + j * count + first * padded, padded});
      }
    }
  }

 private:
  // n elements of rows.
  void convert_elements(const std::byte* from, float* to, index_t n) const {
    const index_t stride = t_.memory.strides[3];
    if (t_.is_coded()) return attention_.load_codes(t_.code, from, stride, to, n);
    gemm_.convert_a(t_.memory.dtype, from, stride, to, n, 0);
  }

  // n rows side by side.
  void convert_rows(const std::byte* from, float* to, index_t n) const {
    if (!t_.is_blocks) return convert_elements(from, to, n * t_.dim);
    const BlockFormatInfo format = info(t_.format);
    const index_t blocks = n * (t_.dim / format.block);
    if (dequantize_ != nullptr) return dequantize_(from, to, blocks);
    for (index_t i = 0; i < blocks; ++i) {
      ref::dequantize_block(t_.format, from + i * format.bytes, to + i * format.block,
                            t_.tensor_scale);
    }
  }

  const KeyTensor& t_;
  const View<const std::int32_t, 2>* table_;
  const GemmKernels& gemm_;
  const tessera::detail::AttentionKernels& attention_;
  tessera::detail::DequantizeBlocks dequantize_;
  index_t sequence_, batch_, first_, head_;
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ATTENTION_KEYS_H_
