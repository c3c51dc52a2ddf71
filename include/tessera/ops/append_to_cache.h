// SPDX-License-Identifier: Apache-2.0
// append_to_cache, append_to_pages: the keys or values of new tokens into a cache that attention reads.
#ifndef TESSERA_OPS_APPEND_TO_CACHE_H_
#define TESSERA_OPS_APPEND_TO_CACHE_H_

#include <cstdint>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/kv_cache.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/attention_problem.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct AppendOptions {
  // [kv_heads], or [1] for all heads: rows are divided by these, the k_scales or v_scales of attention; none: 1
  View<const float, 1> scales{};
  // [positions, dims / 2], contiguous rows, as rope() takes them: keys are turned by these angles first; none: they are not
  View<const float, 2> cos{}, sin{};
  bool interleaved = false;  // pairs are neighbours, not halves
  View<const std::int32_t, 2>
      rope_positions{};  // [batch, tokens]: rows of cos and sin; none: the tokens' places in the cache
  Context* context = nullptr;
};

namespace impl {

struct AppendProblem {
  const char* function;
  TensorMemory x;
  KeyTensor cache;
  View<const std::int32_t, 1> positions;
  bool paged;
  View<const std::int32_t, 2> block_table;
  AppendOptions options;
};

// Checks everything, then does it. Defined in append_to_cache_driver.h.
void checked_append(const AppendProblem& problem);

template <class X, class Cache>
void append(const char* function, bool paged, const X& x, const Cache& cache,
            View<const std::int32_t, 1> positions, View<const std::int32_t, 2> block_table,
            const AppendOptions& options) {
  if constexpr (!std::is_convertible_v<Cache, ConstBlockCacheView>) {
    static_assert(!std::is_const_v<typename decltype(as_view(cache))::Element>,
                  "tessera: a cache must be writable");
  } else {
    static_assert(std::is_convertible_v<Cache, BlockCacheView>,
                  "tessera: a cache must be writable");
  }
  checked_append({function, attention_memory<4>(x), key_tensor<4>(cache), positions, paged,
                  block_table, options});
}

}  // namespace impl

// cache[b, h, positions[b] + t] = x[b, h, t]: keys or values of new tokens, behind those that are there.
//
// x: View<const T, 4>   [batch, kv_heads, tokens, dim], any strides
// cache: View<U, 4>     [batch, kv_heads, capacity, dim], strides that visit no element twice; or BlockCacheView of any format
// positions: View<const int32_t, 1>  [batch], usually the lengths before
// T: f32, bf16 or f16; U: likewise, or fp8_e4m3, fp8_e5m2 or s8, with options.scales
//
// options.cos, sin: rows are turned as rope() does it, which saves a pass over the keys and, in narrow caches, a rounding.
//
// Numerics: in f32: turned (two roundings, ops/rope.h), divided by the scale (one), then rounded to nearest, ties to even;
// blocks are those of quantize(). 8-bit floats saturate and keep NaN; s8 saturate at -128 and 127, and NaN becomes 0.
//
// Rows are shared out to the context's executor; each task takes 4 * dim bytes of scratch. Errors (tessera::Error, before
// anything is written): extents that do not match, tokens beyond the capacity, or beyond cos, scales that are not positive
// and finite, null data, sizes that overflow, a cache that overlaps itself or an operand.
template <class X, class Cache>
void append_to_cache(const X& x, const Cache& cache, View<const std::int32_t, 1> positions,
                     const AppendOptions& options = {}) {
  impl::append("append_to_cache", false, x, cache, positions, {}, options);
}

// The same for a cache in pages, as attention_paged reads them: token i of sequence b is token i % page_tokens of page
// block_table(b, i / page_tokens).
//
// pages: View<U, 4> or BlockCacheView  [pages, kv_heads, page_tokens, dim]
// block_table: View<const int32_t, 2>  [batch, pages of a sequence]; only entries of the new tokens are read. Sequences
// must not share the pages that are written.
template <class X, class Cache>
void append_to_pages(const X& x, const Cache& pages, View<const std::int32_t, 2> block_table,
                     View<const std::int32_t, 1> positions, const AppendOptions& options = {}) {
  impl::append("append_to_pages", true, x, pages, positions, block_table, options);
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/append_to_cache_driver.h"
#endif

#endif  // TESSERA_OPS_APPEND_TO_CACHE_H_
