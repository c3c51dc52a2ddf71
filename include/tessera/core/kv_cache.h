// SPDX-License-Identifier: Apache-2.0
// Caches of keys and values in block formats, as views.
#ifndef TESSERA_CORE_KV_CACHE_H_
#define TESSERA_CORE_KV_CACHE_H_

#include <array>
#include <cstddef>

#include "tessera/core/block_formats.h"
#include "tessera/core/view.h"

namespace tessera {

// Keys or values [batch, kv_heads, tokens, dim] (of paged caches [pages, kv_heads, page_tokens, dim]) whose rows of dim
// elements are blocks of one format, side by side: core/block_formats.h. Strides of the other axes are in bytes; whole
// blocks make a row. For formats with kernels (Q8_0, Q4_0, Q4_K, Q6_K) addresses and strides should be even.
template <class Byte>
struct BasicBlockCacheView {
  Byte* data = nullptr;
  BlockFormat format = BlockFormat::kQ8_0;
  std::array<index_t, 4> extents{};
  std::array<index_t, 3> strides{};
  float tensor_scale = 1;  // of kNVFP4

  constexpr operator BasicBlockCacheView<const std::byte>() const  // NOLINT: implicit by design
    requires(!std::is_const_v<Byte>)
  {
    return {data, format, extents, strides, tensor_scale};
  }
};

using BlockCacheView = BasicBlockCacheView<std::byte>;
using ConstBlockCacheView = BasicBlockCacheView<const std::byte>;

// A dense cache [batch, kv_heads, tokens, dim].
template <class Byte>
constexpr BasicBlockCacheView<Byte> block_cache(Byte* data, BlockFormat format,
                                                const std::array<index_t, 4>& extents,
                                                float tensor_scale = 1) {
  const index_t row = row_bytes(format, extents[3]);
  return {
      data, format, extents, {row * extents[2] * extents[1], row * extents[2], row}, tensor_scale};
}

}  // namespace tessera

#endif  // TESSERA_CORE_KV_CACHE_H_
