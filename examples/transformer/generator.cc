// SPDX-License-Identifier: Apache-2.0
#include "generator.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "bench/progress.h"
#include "gguf_writer.h"
#include "model.h"
#include "tessera/ops/quantize.h"
#include "tokenizer.h"

namespace transformer {
namespace {

Shape shape_of(const GeneratorOptions& options) {
  const bool tiny = options.size == "tiny";
  if (!tiny && options.size != "small") {
    throw std::runtime_error("a size: expected tiny or small, got " + options.size);
  }
  Shape s;
  s.layers = tiny ? 2 : 6;
  s.embedding = tiny ? 256 : 1024;
  s.vocabulary = tiny ? 512 : 4096;
  s.context = 4096;
  s.heads = tiny ? 4 : 16;
  s.kv_heads = tiny ? 2 : 4;
  s.head_size = 64;
  s.feed_forward = tiny ? 512 : 2816;
  s.epsilon = 1e-6f;
  if (options.mixture) {
    s.experts = tiny ? 4 : 8;
    s.experts_used = 2;
    s.feed_forward = tiny ? 256 : 1024;
  }
  return s;
}

// ---- Numbers

// A sequence for each name. Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
class Random {
 public:
  explicit Random(std::string_view name) {
    for (const char c : name) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  // Mean 0, deviation 1: the sum of four even distributions. No function whose last bit differs from library to library.
  float next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    int sum = -2 * 0xffff;
    for (int shift = 0; shift < 64; shift += 16) sum += static_cast<int>(z >> shift & 0xffff);
    return static_cast<float>(sum) * (1.7320508f / 65536);
  }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

// In any type.
void convert(const std::vector<float>& x, index_t cols, const TensorType& type, std::byte* data,
             ts::Context& context) {
  const auto rows = static_cast<index_t>(x.size()) / cols;
  if (const auto* format = std::get_if<ts::BlockFormat>(&type)) {
    return ts::quantize(ts::row_major(x, {rows, cols}), ts::blocks(*format, data, rows, cols),
                        {.context = &context});
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    switch (std::get<Float>(type)) {
      case Float::kF32:
        reinterpret_cast<float*>(data)[i] = x[i];
        break;
      case Float::kF16:
        reinterpret_cast<ts::f16*>(data)[i] = ts::f16(x[i]);
        break;
      case Float::kBF16:
        reinterpret_cast<ts::bf16*>(data)[i] = ts::bf16(x[i]);
        break;
    }
  }
}

// ---- The vocabulary

struct Vocabulary {
  std::vector<std::string> pieces{};
  std::vector<float> scores{};
  std::vector<std::int32_t> types{};

  void add(const std::string& piece, TokenType type, float score = 0) {
    pieces.push_back(piece);
    scores.push_back(score);
    types.push_back(static_cast<std::int32_t>(type));
  }
};

Vocabulary vocabulary(index_t size) {
  Vocabulary v;
  v.add("<unk>", TokenType::kUnknown);
  v.add("<s>", TokenType::kControl);
  v.add("</s>", TokenType::kControl);
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    v.add(text, TokenType::kByte);
  }
  // The more frequent ones first: a better score.
  const auto add = [&](const std::string& piece) {
    const auto count = static_cast<index_t>(v.pieces.size());
    if (count < size) v.add(piece, TokenType::kNormal, static_cast<float>(259 - count));
  };
  const std::string space = "\xe2\x96\x81", letters = "etaoinshrdlucmfwypvbgkqjxz";
  add(space);
  for (char c = '!'; c <= '~'; ++c) add(std::string(1, c));
  for (const char c : letters) add(space + c);
  const auto most = 2 * static_cast<int>(letters.size());
  for (const std::string& first : {std::string(), space}) {
    for (int sum = 0; sum < most; ++sum) {
      for (int i = 0; i <= sum; ++i) {
        if (i >= most / 2 || sum - i >= most / 2) continue;
        add(first + letters[static_cast<std::size_t>(i)] +
            letters[static_cast<std::size_t>(sum - i)]);
      }
    }
  }
  for (const char a : letters) {
    for (const char b : letters) {
      for (const char c : letters) add(std::string{a, b, c});
    }
  }
  return v;
}

// ---- The file

class Generator {
 public:
  Generator(const GeneratorOptions& options, ts::Context& context)
      : options_(options), shape_(shape_of(options)), context_(context) {}

  void add_values() {
    const std::string& a = options_.architecture;
    if ((a != "llama" && a != "qwen2" && a != "qwen3") || (a == "qwen2" && options_.mixture)) {
      throw std::runtime_error(
          "an architecture: expected llama, qwen2 or qwen3 (not qwen2 with experts), got " + a);
    }
    const std::string name = a == "qwen3" && options_.mixture ? "qwen3moe" : a;
    writer_.add("general.architecture", std::string_view(name));
    writer_.add("general.name", std::string_view("random"));
    writer_.add("general.quantization_version", std::uint32_t{2});
    const auto integer = [&](const char* key, index_t value) {
      writer_.add(name + key, static_cast<std::uint32_t>(value));
    };
    integer(".block_count", shape_.layers);
    integer(".context_length", shape_.context);
    integer(".embedding_length", shape_.embedding);
    integer(".feed_forward_length", shape_.feed_forward);
    integer(".vocab_size", shape_.vocabulary);
    integer(".attention.head_count", shape_.heads);
    integer(".attention.head_count_kv", shape_.kv_heads);
    integer(".attention.key_length", shape_.head_size);
    integer(".attention.value_length", shape_.head_size);
    integer(".rope.dimension_count", shape_.head_size);
    writer_.add(name + ".rope.freq_base", 10000.0f);
    writer_.add(name + ".attention.layer_norm_rms_epsilon", shape_.epsilon);
    if (options_.mixture) {
      integer(".expert_count", shape_.experts);
      integer(".expert_used_count", shape_.experts_used);
      integer(".expert_feed_forward_length", shape_.feed_forward);
    }
    const Vocabulary v = vocabulary(shape_.vocabulary);
    writer_.add("tokenizer.ggml.model", std::string_view("llama"));
    writer_.add("tokenizer.ggml.tokens", std::span(v.pieces));
    writer_.add("tokenizer.ggml.scores", std::span(v.scores));
    writer_.add("tokenizer.ggml.token_type", std::span(v.types));
    writer_.add("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
    writer_.add("tokenizer.ggml.bos_token_id", std::uint32_t{1});
    writer_.add("tokenizer.ggml.eos_token_id", std::uint32_t{2});
    writer_.add("tokenizer.ggml.add_bos_token", true);
    writer_.add("tokenizer.ggml.add_space_prefix", true);
  }

  void add_tensors() {
    const Shape& s = shape_;
    const index_t q_size = s.heads * s.head_size, kv_size = s.kv_heads * s.head_size;
    matrix("token_embd.weight", {s.vocabulary, s.embedding}, static_cast<float>(s.embedding));
    for (index_t i = 0; i < s.layers; ++i) {
      const std::string prefix = "blk." + std::to_string(i) + ".";
      vector(prefix + "attn_norm.weight", s.embedding, 1);
      matrix(prefix + "attn_q.weight", {q_size, s.embedding});
      matrix(prefix + "attn_k.weight", {kv_size, s.embedding});
      matrix(prefix + "attn_v.weight", {kv_size, s.embedding});
      if (options_.architecture == "qwen2") {
        vector(prefix + "attn_q.bias", q_size, 0);
        vector(prefix + "attn_k.bias", kv_size, 0);
        vector(prefix + "attn_v.bias", kv_size, 0);
      } else if (options_.architecture == "qwen3") {
        vector(prefix + "attn_q_norm.weight", s.head_size, 1);
        vector(prefix + "attn_k_norm.weight", s.head_size, 1);
      }
      matrix(prefix + "attn_output.weight", {s.embedding, q_size});
      vector(prefix + "ffn_norm.weight", s.embedding, 1);
      const auto experts = [&](const char* kind, index_t outputs, index_t inputs) {
        const std::string name = prefix + "ffn_" + kind;
        if (s.is_mixture()) {
          matrix(name + "_exps.weight", {s.experts, outputs, inputs});
        } else {
          matrix(name + ".weight", {outputs, inputs});
        }
      };
      if (s.is_mixture()) {
        add(prefix + "ffn_gate_inp.weight", Float::kF32, {s.experts, s.embedding}, 0,
            2 * inverse_root(s.embedding));
      }
      experts("gate", s.feed_forward, s.embedding);
      experts("up", s.feed_forward, s.embedding);
      experts("down", s.embedding, s.feed_forward);
    }
    vector("output_norm.weight", s.embedding, 1);
    matrix("output.weight", {s.vocabulary, s.embedding}, 9);
  }

  void write(const std::filesystem::path& path) const {
    tessera::bench::Progress progress(writer_.tensors(), {.lines = false});
    writer_.write(path, [&](const std::string& name) { progress.start(name); });
  }

 private:
  static float inverse_root(index_t n) { return 1 / std::sqrt(static_cast<float>(n)); }

  void add(const std::string& name, const TensorType& type, const std::vector<index_t>& extents,
           float mean, float deviation) {
    writer_.add_tensor(name, type, extents, [=, this](std::byte* data) {
      index_t count = 1;
      for (const index_t e : extents) count *= e;
      Random random(name);
      std::vector<float> x(static_cast<std::size_t>(count));
      for (float& v : x) v = std::fma(random.next(), deviation, mean);
      convert(x, extents.back(), type, data, context_);
    });
  }
  // So that results have `variance` times that of what it is multiplied by.
  void matrix(const std::string& name, const std::vector<index_t>& extents, float variance = 1) {
    add(name, options_.type, extents, 0, std::sqrt(variance) * inverse_root(extents.back()));
  }
  void vector(const std::string& name, index_t size, float mean) {
    add(name, Float::kF32, {size}, mean, 0.1f);
  }

  const GeneratorOptions options_;
  const Shape shape_;
  ts::Context& context_;
  GgufWriter writer_{};
};

}  // namespace

void generate(const std::filesystem::path& path, const GeneratorOptions& options,
              ts::Context& context) {
  Generator generator(options, context);
  generator.add_values();
  generator.add_tensors();
  generator.write(path);
}

}  // namespace transformer
