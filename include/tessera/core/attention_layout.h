// SPDX-License-Identifier: Apache-2.0
// Layouts of queries, keys and values, as the views that attention takes.
#ifndef TESSERA_CORE_ATTENTION_LAYOUT_H_
#define TESSERA_CORE_ATTENTION_LAYOUT_H_

#include "tessera/core/view.h"

namespace tessera {

// [batch, tokens, heads, dim] in memory, as most projections leave it, seen as [batch, heads, tokens, dim].
template <class T, class I>
constexpr View<T, 4> tokens_first(T* data, const I (&extents)[4]) {
  const auto e = detail::to_indices<4>(extents);
  return {data, {e[0], e[2], e[1], e[3]}, {e[1] * e[2] * e[3], e[3], e[2] * e[3], 1}};
}

// [batch, heads, tokens, dim] in memory.
template <class T, class I>
constexpr View<T, 4> heads_first(T* data, const I (&extents)[4]) {
  return row_major(data, extents);
}

template <class T>
struct QkvViews {
  View<T, 4> q, k, v;  // [batch, heads or kv_heads, tokens, dim]
};

// One projection for all three, [batch, tokens, (heads + 2 * kv_heads) * dim]: of each token the heads of the queries, those
// of the keys, those of the values.
template <class T>
constexpr QkvViews<T> packed_qkv(T* data, index_t batch, index_t tokens, index_t heads,
                                 index_t kv_heads, index_t dim) {
  const index_t row = (heads + 2 * kv_heads) * dim;
  const auto part = [&](index_t first, index_t count) {
    return View<T, 4>(data + first * dim, {batch, count, tokens, dim}, {tokens * row, dim, row, 1});
  };
  return {part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads)};
}

// [pages, page_tokens, kv_heads, dim] in memory, seen as the pages that attention_paged takes.
template <class T, class I>
constexpr View<T, 4> pages_of_tokens(T* data, const I (&extents)[4]) {
  return tokens_first(data, extents);
}

}  // namespace tessera

#endif  // TESSERA_CORE_ATTENTION_LAYOUT_H_
