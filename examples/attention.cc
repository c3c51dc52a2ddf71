// SPDX-License-Identifier: Apache-2.0
// A prompt, and its last token alone: README.md shows this program.

#include <cstdint>
#include <cstdio>
#include <vector>
#include "tessera/tessera.h"

int main() {
  namespace ts = tessera;
  constexpr int kTokens = 6, kHeads = 4, kKvHeads = 2, kDim = 8, kCapacity = 16;
  std::vector<float> projection(kTokens * (kHeads + 2 * kKvHeads) * kDim);  // of all tokens
  for (std::size_t i = 0; i < projection.size(); ++i) projection[i] = (i * 7 % 19) * 0.125f - 1;
  std::vector<ts::f16> keys(kKvHeads * kCapacity * kDim), values(keys.size());
  std::vector<float> prompt(kTokens * kHeads * kDim), token(kHeads * kDim);

  const auto x = ts::packed_qkv(projection.data(), 1, kTokens, kHeads, kKvHeads, kDim);
  const auto k = ts::heads_first(keys.data(), {1, kKvHeads, kCapacity, kDim});  // a cache in f16
  const auto v = ts::heads_first(values.data(), {1, kKvHeads, kCapacity, kDim});
  const std::int32_t first[] = {0}, length[] = {kTokens};
  ts::append_to_cache(x.k, k, ts::row_major(first, {1}));
  ts::append_to_cache(x.v, v, ts::row_major(first, {1}));

  const ts::AttentionOptions options{.causal = true, .kv_lengths = ts::row_major(length, {1})};
  ts::attention(x.q, k, v, ts::tokens_first(prompt.data(), {1, kTokens, kHeads, kDim}), options);
  const auto last = ts::slice(x.q, {0, 0, kTokens - 1, 0}, {1, kHeads, 1, kDim});
  ts::attention(last, k, v, ts::tokens_first(token.data(), {1, 1, kHeads, kDim}), options);
  for (int i = 0; i < kDim; ++i) {
    const float whole = prompt[(kTokens - 1) * kHeads * kDim + i];
    std::printf("%9.6f %s\n", token[i], token[i] == whole ? "the same in both calls" : "differs");
  }
}
