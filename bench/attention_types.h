// SPDX-License-Identifier: Apache-2.0
// The attention that is compared, and the operands of one call.
#ifndef TESSERA_BENCH_ATTENTION_TYPES_H_
#define TESSERA_BENCH_ATTENTION_TYPES_H_

#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/options.h"
#include "tessera/core/view.h"

namespace tessera::bench {

// One sequence, whose queries are those of the last tokens.
struct AttentionShape {
  index_t tokens = 0, keys = 0, dim = 0, heads = 32, kv_heads = 8;
  bool causal = false;

  index_t queries() const { return heads * tokens; }
  index_t group() const { return heads / kv_heads; }  // heads that share keys and values
  float scale() const { return 1 / std::sqrt(static_cast<float>(dim)); }
  // Pairs of queries and keys that they see, of all heads.
  double pairs() const {
    const auto t = static_cast<double>(tokens), k = static_cast<double>(keys);
    return static_cast<double>(heads) * (causal ? t * (k - t) + t * (t + 1) / 2 : t * k);
  }
  double flops() const { return 4 * pairs() * static_cast<double>(dim); }
  // As parse_attention_shape() reads it.
  std::string name() const {
    return std::to_string(tokens) + "x" + std::to_string(keys) + ":" + std::to_string(dim) + ":" +
           std::to_string(heads) + "/" + std::to_string(kv_heads) + (causal ? ":causal" : "");
  }
};

// TOKENSxKEYS:DIM[:HEADS/KV_HEADS][:causal]. Throws std::invalid_argument.
inline AttentionShape parse_attention_shape(const std::string& text) {
  AttentionShape s;
  std::vector<std::string> parts = split(text, ':');
  const auto read = [](const std::string& item, index_t& to) {
    const char* const end = item.data() + item.size();
    const auto [last, error] = std::from_chars(item.data(), end, to);
    return error == std::errc() && last == end && to > 0;
  };
  const auto read_two = [&](const std::string& part, char separator, index_t& x, index_t& y) {
    const std::vector<std::string> items = split(part, separator);
    return items.size() == 2 && read(items[0], x) && read(items[1], y);
  };
  if (!parts.empty() && parts.back() == "causal") {
    s.causal = true;
    parts.pop_back();
  }
  const bool right = (parts.size() == 2 || parts.size() == 3) &&
                     read_two(parts[0], 'x', s.tokens, s.keys) && read(parts[1], s.dim) &&
                     (parts.size() == 2 || read_two(parts[2], '/', s.heads, s.kv_heads)) &&
                     s.tokens <= s.keys && s.heads % s.kv_heads == 0;
  if (!right) {
    throw std::invalid_argument("\"" + text + "\" is no attention, as 512x512:64:32/8:causal is");
  }
  return s;
}

// Of keys and values.
enum class KvType { kF32, kF16, kQ8_0 };
inline constexpr std::array<const char*, 3> kKvTypes = {"f32", "f16", "q8_0"};

// Throws std::invalid_argument.
inline KvType parse_kv_type(std::string_view text) {
  for (std::size_t i = 0; i < kKvTypes.size(); ++i) {
    if (text == kKvTypes[i]) return static_cast<KvType>(i);
  }
  throw std::invalid_argument("\"" + std::string(text) + "\" is none of f32, f16, q8_0");
}

// All dense.
struct AttentionOperands {
  AttentionShape shape;
  KvType kv;
  const float* q;     // [heads, tokens, dim]
  const void *k, *v;  // [kv_heads, keys, dim], of q8_0 rows of blocks
  float* out;         // [heads, tokens, dim]
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_ATTENTION_TYPES_H_
