// SPDX-License-Identifier: Apache-2.0
// What scaled dot-product attention means, apart from arithmetic: which keys a query sees, and in which pieces keys
// are summed.
#ifndef TESSERA_CORE_ATTENTION_H_
#define TESSERA_CORE_ATTENTION_H_

#include <algorithm>

#include "tessera/core/view.h"

namespace tessera {

// Keys are taken in blocks, counted from key 0 of a sequence, and blocks in chunks. Within a chunk one block follows
// the other; chunks are independent until their sums are added up, in order, so that threads can share a long
// sequence. Part of the numerics: other numbers are other bits. 256 is a multiple of the width of all register tiles
// but one, a page of paged caches divides it, and rescaling the sums costs little once in so many keys.
inline constexpr index_t kAttentionBlock = 256;
inline constexpr index_t kAttentionChunk = 4 * kAttentionBlock;

namespace detail {

struct KeyRange {
  index_t begin = 0, end = 0;

  constexpr bool is_empty() const { return begin >= end; }
};

inline constexpr index_t kNoWindow = index_t{1} << 48;

// The keys, of `keys`, that the query at `position` may see: none behind it if `causal`, none that is `window` or more
// positions away. The position can be negative: queries that come before the first key.
constexpr KeyRange visible_keys(index_t position, index_t keys, bool causal, index_t window) {
  const index_t begin = position - window + 1;
  const index_t end = causal ? position + 1 : position + window;
  KeyRange range{std::max<index_t>(begin, 0), std::min(end, keys)};
  if (range.is_empty()) range = {};
  return range;
}

}  // namespace detail
}  // namespace tessera

#endif  // TESSERA_CORE_ATTENTION_H_
