// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <array>
#include <cstddef>
#include <limits>
#include <stdexcept>

#include "tessera/ops/rope_table.h"

namespace transformer {
namespace {

// What a number of a file may be at most: products of any three stay far from overflow.
constexpr index_t kMost = 1 << 20;

index_t count(const Gguf& file, const std::string& key, index_t least = 1) {
  const index_t n = file.integer(key);
  if (n < least || n > kMost) {
    throw std::runtime_error(key + ": expected " + std::to_string(least) + " to " +
                             std::to_string(kMost) + ", got " + std::to_string(n));
  }
  return n;
}

Vector vector(const Gguf& file, const std::string& name, index_t size) {
  const Tensor& tensor = file.tensor(name, std::array{size});
  if (tensor.type != TensorType(Float::kF32)) {
    throw std::runtime_error(name + ": expected F32, got " +
                             std::string(transformer::name(tensor.type)));
  }
  return ts::row_major(reinterpret_cast<const float*>(tensor.data), {size});
}

Vector optional_vector(const Gguf& file, const std::string& name, index_t size) {
  return file.find(name) == nullptr ? Vector() : vector(file, name, size);
}

}  // namespace

Model::Model(const Gguf& file, ts::Context& context)
    : architecture_(file.text("general.architecture")) {
  read_shape(file);
  read_frequencies(file);
  const std::array<index_t, 2> extents = {shape_.vocabulary, shape_.embedding};
  embeddings_ = &file.tensor("token_embd.weight", extents);
  output_norm_ = vector(file, "output_norm.weight", shape_.embedding);
  const bool tied = file.find("output.weight") == nullptr;
  output_ = Weights(tied ? *embeddings_ : file.tensor("output.weight", extents), context);
  for (index_t i = 0; i < shape_.layers; ++i) layers_.push_back(read_layer(file, i, context));
}

void Model::read_shape(const Gguf& file) {
  const std::string& a = architecture_;
  if (a != "llama" && a != "qwen2" && a != "qwen3" && a != "qwen3moe") {
    throw std::runtime_error(
        "general.architecture: expected one of llama, qwen2, qwen3, qwen3moe, got " + a);
  }
  Shape& s = shape_;
  s.interleaved = a == "llama";
  s.normed_heads = a == "qwen3" || a == "qwen3moe";
  s.layers = count(file, a + ".block_count");
  s.embedding = count(file, a + ".embedding_length");
  s.context = count(file, a + ".context_length");
  s.heads = count(file, a + ".attention.head_count");
  const std::string kv_heads = a + ".attention.head_count_kv";
  s.kv_heads = file.has(kv_heads) ? count(file, kv_heads) : s.heads;
  if (s.heads % s.kv_heads != 0) {
    throw std::runtime_error(kv_heads + ": expected a divisor of " + std::to_string(s.heads) +
                             ", got " + std::to_string(s.kv_heads));
  }
  const std::string size = a + ".attention.key_length";
  s.head_size = file.has(size) ? count(file, size) : s.embedding / s.heads;
  if (file.integer(a + ".attention.value_length", s.head_size) != s.head_size) {
    throw std::runtime_error(a + ".attention.value_length: expected that of keys, " +
                             std::to_string(s.head_size));
  }
  s.epsilon = static_cast<float>(file.number(a + ".attention.layer_norm_rms_epsilon"));
  if (file.has(a + ".expert_count") && file.integer(a + ".expert_count") != 0) {
    s.experts = count(file, a + ".expert_count");
    s.experts_used = count(file, a + ".expert_used_count");
    if (s.experts_used > s.experts) {
      throw std::runtime_error(a + ".expert_used_count: expected at most " +
                               std::to_string(s.experts) + ", got " +
                               std::to_string(s.experts_used));
    }
  }
  const std::string of_experts = a + ".expert_feed_forward_length";
  s.feed_forward =
      count(file, s.is_mixture() && file.has(of_experts) ? of_experts : a + ".feed_forward_length");
  const Tensor* const embeddings = file.find("token_embd.weight");
  s.vocabulary = embeddings == nullptr ? 0 : embeddings->extents[0];
  if (embeddings != nullptr && s.vocabulary < 1) {
    throw std::runtime_error("token_embd.weight: expected a token or more");
  }
}

void Model::read_frequencies(const Gguf& file) {
  const std::string& a = architecture_;
  const index_t dims = file.integer(a + ".rope.dimension_count", shape_.head_size);
  if (dims < 2 || dims > shape_.head_size || dims % 2 != 0) {
    throw std::runtime_error(a + ".rope.dimension_count: expected an even number up to " +
                             std::to_string(shape_.head_size) + ", got " + std::to_string(dims));
  }
  ts::RopeFrequencyOptions options{.dims = dims, .base = file.number(a + ".rope.freq_base", 10000)};
  const std::string_view scaling = file.text(a + ".rope.scaling.type", "none");
  if (scaling == "linear") {
    options.scaling = ts::RopeScaling::kLinear;
    options.factor = file.number(a + ".rope.scaling.factor");
  } else if (scaling != "none") {
    throw std::runtime_error(a + ".rope.scaling.type: expected none or linear, got " +
                             std::string(scaling));
  }
  frequencies_ = ts::rope_frequencies(options);
  // The scaling of Llama 3, as divisors of each.
  const Vector divisors = optional_vector(file, "rope_freqs.weight", dims / 2);
  for (index_t i = 0; divisors.data != nullptr && i < dims / 2; ++i) {
    frequencies_[static_cast<std::size_t>(i)] /= static_cast<double>(divisors(i));
  }
}

Layer Model::read_layer(const Gguf& file, index_t i, ts::Context& context) const {
  const Shape& s = shape_;
  const std::string prefix = "blk." + std::to_string(i) + ".";
  const index_t q_size = s.heads * s.head_size, kv_size = s.kv_heads * s.head_size;
  const auto weights = [&](const char* name, index_t outputs, index_t inputs) {
    const std::array<index_t, 2> extents = {outputs, inputs};
    return Weights(file.tensor(prefix + name, extents), context);
  };
  Layer layer;
  layer.attention_norm = vector(file, prefix + "attn_norm.weight", s.embedding);
  layer.ffn_norm = vector(file, prefix + "ffn_norm.weight", s.embedding);
  if (s.normed_heads) {
    layer.q_norm = vector(file, prefix + "attn_q_norm.weight", s.head_size);
    layer.k_norm = vector(file, prefix + "attn_k_norm.weight", s.head_size);
  }
  layer.q_bias = optional_vector(file, prefix + "attn_q.bias", q_size);
  layer.k_bias = optional_vector(file, prefix + "attn_k.bias", kv_size);
  layer.v_bias = optional_vector(file, prefix + "attn_v.bias", kv_size);
  layer.q = weights("attn_q.weight", q_size, s.embedding);
  layer.k = weights("attn_k.weight", kv_size, s.embedding);
  layer.v = weights("attn_v.weight", kv_size, s.embedding);
  layer.output = weights("attn_output.weight", s.embedding, q_size);
  if (!s.is_mixture()) {
    layer.experts.push_back({weights("ffn_gate.weight", s.feed_forward, s.embedding),
                             weights("ffn_up.weight", s.feed_forward, s.embedding),
                             weights("ffn_down.weight", s.embedding, s.feed_forward)});
    return layer;
  }
  layer.router = weights("ffn_gate_inp.weight", s.experts, s.embedding);
  const std::array<index_t, 3> up = {s.experts, s.feed_forward, s.embedding};
  const std::array<index_t, 3> down = {s.experts, s.embedding, s.feed_forward};
  const Tensor& gates = file.tensor(prefix + "ffn_gate_exps.weight", up);
  const Tensor& ups = file.tensor(prefix + "ffn_up_exps.weight", up);
  const Tensor& downs = file.tensor(prefix + "ffn_down_exps.weight", down);
  for (index_t e = 0; e < s.experts; ++e) {
    layer.experts.push_back({Weights(matrix_of(gates, e), context),
                             Weights(matrix_of(ups, e), context),
                             Weights(matrix_of(downs, e), context)});
  }
  return layer;
}

}  // namespace transformer
