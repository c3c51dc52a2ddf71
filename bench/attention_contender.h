// SPDX-License-Identifier: Apache-2.0
// Contenders for attention: Tessera and its peers.
#ifndef TESSERA_BENCH_ATTENTION_CONTENDER_H_
#define TESSERA_BENCH_ATTENTION_CONTENDER_H_

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "bench/attention_types.h"
#include "bench/peers.h"

namespace tessera::bench {

struct AttentionContender {
  std::string name;         // of the library
  std::string description;  // version, kernels in use
  // Puts operands, masks and copies of heads into the layout that the library wants; an empty run: it has no such
  // attention.
  std::function<GemmRun(const AttentionOperands&)> prepare;

  std::string label() const { return name; }
};

using AttentionContenders = std::vector<AttentionContender>;

AttentionContenders tessera_attention(int threads);

// As find_peers().
AttentionContenders find_attention_peers(int threads, Lines& missing);

void find_onednn_attention(int threads, AttentionContenders& found, Lines& missing);
void find_xnnpack_attention(int threads, AttentionContenders& found, Lines& missing);
void find_ggml_attention(int threads, AttentionContenders& found, Lines& missing);
void find_onnxruntime_attention(int threads, AttentionContenders& found, Lines& missing);

// For libraries that want [tokens, heads, dim], or give it.
inline void swap_heads_and_tokens(const float* from, index_t outer, index_t inner, index_t dim,
                                  float* to) {
  for (index_t i = 0; i < outer; ++i) {
    for (index_t j = 0; j < inner; ++j) {
      std::copy_n(from + (i * inner + j) * dim, dim, to + (j * outer + i) * dim);
    }
  }
}
// What is added to scores, [tokens, keys]: 0 or -infinity.
template <class T>
std::vector<T> causal_mask(const AttentionShape& s) {
  std::vector<T> mask(static_cast<std::size_t>(s.tokens * s.keys));
  if (!s.causal) return mask;
  for (index_t i = 0; i < s.tokens; ++i) {
    for (index_t j = s.keys - s.tokens + i + 1; j < s.keys; ++j) {
      mask[static_cast<std::size_t>(i * s.keys + j)] =
          static_cast<T>(-std::numeric_limits<float>::infinity());
    }
  }
  return mask;
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_ATTENTION_CONTENDER_H_
