// SPDX-License-Identifier: Apache-2.0
#include "decoder.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>

#include "tessera/core/attention_layout.h"
#include "tessera/ops/append_to_cache.h"
#include "tessera/ops/attention.h"
#include "tessera/ops/elementwise.h"
#include "tessera/ops/norm.h"
#include "tessera/ops/rope.h"
#include "tessera/ops/softmax.h"

namespace transformer {
namespace {

// A matrix in a buffer that grows as needed.
ts::View<float, 2> matrix(std::vector<float>& buffer, index_t rows, index_t cols) {
  buffer.resize(std::max(buffer.size(), static_cast<std::size_t>(rows * cols)));
  return ts::row_major(buffer, {rows, cols});
}

ts::View<float, 2> rows_from(const ts::View<float, 2>& x, index_t first) {
  return ts::slice(x, {first, index_t{0}}, {x.extent(0) - first, x.extent(1)});
}

// Calls f(keys, values) with views [1, kv heads, capacity, head size] of the cache's element type.
template <class F>
void with_cache(const TensorType& type, std::byte* keys, std::byte* values, const Shape& s,
                index_t capacity, F&& f) {
  const index_t extents[] = {1, s.kv_heads, capacity, s.head_size};
  if (const auto* format = std::get_if<ts::BlockFormat>(&type)) {
    const std::array<index_t, 4> e = {1, s.kv_heads, capacity, s.head_size};
    return f(ts::block_cache(keys, *format, e), ts::block_cache(values, *format, e));
  }
  const auto floats = [&]<class T>(T*) {
    f(ts::heads_first(reinterpret_cast<T*>(keys), extents),
      ts::heads_first(reinterpret_cast<T*>(values), extents));
  };
  switch (std::get<Float>(type)) {
    case Float::kF32:
      return floats(static_cast<float*>(nullptr));
    case Float::kF16:
      return floats(static_cast<ts::f16*>(nullptr));
    case Float::kBF16:
      return floats(static_cast<ts::bf16*>(nullptr));
  }
}

}  // namespace

Decoder::Decoder(const Model& model, const DecoderOptions& options, ts::Context& context)
    : model_(model), shape_(model.shape()), options_(options), context_(context) {
  const std::optional<index_t> row = bytes_of_row(options.cache, shape_.head_size);
  if (!row) {
    throw std::runtime_error("a cache of " + std::string(name(options.cache)) +
                             " needs heads of whole blocks, got heads of " +
                             std::to_string(shape_.head_size));
  }
  const auto bytes = static_cast<std::size_t>(shape_.kv_heads * options.context * *row);
  keys_.assign(model.layers().size(), std::vector<std::byte>(bytes));
  values_ = keys_;
  const auto pairs = static_cast<index_t>(model.frequencies().size());
  ts::rope_table(model.frequencies(), matrix(cosines_, options.context, pairs),
                 matrix(sines_, options.context, pairs), {.context = &context});
}

ts::View<const float, 2> Decoder::run(std::span<const std::int32_t> tokens, index_t wanted) {
  const auto n = static_cast<index_t>(tokens.size());
  if (n > options_.context - length_) {
    throw std::runtime_error("more tokens than the context has room for (" +
                             std::to_string(options_.context) + ")");
  }
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= shape_.vocabulary) {
      throw std::runtime_error("token " + std::to_string(token) + " of a vocabulary of " +
                               std::to_string(shape_.vocabulary));
    }
  }
  Matrix x = matrix(x_, n, shape_.embedding);
  times_.measure(Step::kEmbedding, 0, 0, [&] {
    for (index_t t = 0; t < n; ++t) {
      const ts::View<float, 1> row(&x(t, 0), {shape_.embedding}, {1});
      read_row(model_.embeddings(), tokens[static_cast<std::size_t>(t)], row);
    }
  });
  for (std::size_t i = 0; i < model_.layers().size(); ++i) {
    // Behind the last keys and values, only tokens whose logits are wanted count.
    const index_t rows = i + 1 < model_.layers().size() ? n : wanted;
    attend(model_.layers()[i], i, x, rows);
    x = rows_from(x, n - rows);
    if (rows > 0) feed_forward(model_.layers()[i], x);
  }
  length_ += n;
  const Matrix logits = matrix(logits_, wanted, shape_.vocabulary);
  if (wanted > 0) {
    const Matrix h = matrix(h_, wanted, shape_.embedding);
    norm(x, model_.output_norm(), h);
    multiply(Step::kLogits, model_.output(), h, logits);
  }
  return logits;
}

// The last `wanted` rows of x become x + attention of all of them.
void Decoder::attend(const Layer& layer, std::size_t i, const Matrix& x, index_t wanted) {
  const Shape& s = shape_;
  const index_t n = x.extent(0), before = n - wanted, after = length_ + n;
  const index_t q_size = s.heads * s.head_size, kv_size = s.kv_heads * s.head_size;
  const Matrix h = matrix(h_, n, s.embedding);
  norm(x, layer.attention_norm, h);
  const auto project = [&](const Weights& w, const Vector& bias, const Matrix& from,
                           const Matrix& to) {
    MultiplyOptions options;
    if (bias.data != nullptr) options.epilogue = ts::epi::bias(bias);
    multiply(Step::kQkv, w, from, to, options);
  };
  project(layer.k, layer.k_bias, h, matrix(k_, n, kv_size));
  project(layer.v, layer.v_bias, h, matrix(v_, n, kv_size));
  if (wanted > 0) project(layer.q, layer.q_bias, rows_from(h, before), matrix(q_, wanted, q_size));
  if (layer.q_norm.data != nullptr) {
    const Matrix q = matrix(q_, wanted * s.heads, s.head_size);
    const Matrix k = matrix(k_, n * s.kv_heads, s.head_size);
    norm(q, layer.q_norm, q);
    norm(k, layer.k_norm, k);
  }
  turn(q_, wanted, s.heads, length_ + before);
  turn(k_, n, s.kv_heads, length_);

  const auto heads_of = [&](Vectors& buffer, index_t tokens, index_t heads) {
    return ts::tokens_first(buffer.data(), {index_t{1}, tokens, heads, s.head_size});
  };
  const std::int32_t position = static_cast<std::int32_t>(length_);
  const std::int32_t length = static_cast<std::int32_t>(after);
  const ts::View<const std::int32_t, 1> positions(&position, {1}, {1}), lengths(&length, {1}, {1});
  const Matrix result = matrix(heads_, wanted, q_size);
  with_cache(options_.cache, keys_[i].data(), values_[i].data(), s, options_.context,
             [&](const auto& keys, const auto& values) {
               times_.measure(Step::kAppend, 0, 0, [&] {
                 const ts::AppendOptions options{.context = &context_};
                 ts::append_to_cache(heads_of(k_, n, s.kv_heads), keys, positions, options);
                 ts::append_to_cache(heads_of(v_, n, s.kv_heads), values, positions, options);
               });
               if (wanted == 0) return;
               // Each query sees the keys up to its own.
               const double pairs =
                   static_cast<double>(wanted) * static_cast<double>(2 * after - wanted + 1) / 2;
               const double bytes = 2 * static_cast<double>(s.kv_heads * after) *
                                    static_cast<double>(*bytes_of_row(options_.cache, s.head_size));
               times_.measure(
                   Step::kAttention, 4 * pairs * static_cast<double>(q_size), bytes, [&] {
                     ts::attention(heads_of(q_, wanted, s.heads), keys, values,
                                   heads_of(heads_, wanted, s.heads),
                                   {.causal = true, .kv_lengths = lengths, .context = &context_});
                   });
             });
  if (wanted > 0) {
    multiply(Step::kOutput, layer.output, result, rows_from(x, before), {.adds = true});
  }
}

void Decoder::feed_forward(const Layer& layer, const Matrix& x) {
  const Matrix h = matrix(h_, x.extent(0), shape_.embedding);
  norm(x, layer.ffn_norm, h);
  if (shape_.is_mixture()) return feed_experts(layer, h, x);
  run_expert(layer.experts[0], h, x, {.adds = true});
}

void Decoder::run_expert(const Expert& expert, const Matrix& h, const Matrix& y,
                         const MultiplyOptions& options) {
  const index_t n = h.extent(0);
  const Matrix gate = matrix(gate_, n, shape_.feed_forward);
  const Matrix up = matrix(up_, n, shape_.feed_forward);
  multiply(Step::kGateUp, expert.gate, h, gate);
  multiply(Step::kGateUp, expert.up, h, up);
  times_.measure(Step::kGated, 0, 0,
                 [&] { ts::swiglu(gate, up, gate, ts::ElementwiseOptions{.context = &context_}); });
  multiply(Step::kDown, expert.down, gate, y, options);
}

// Each token goes through the experts with the largest scores; their results, weighted, are added in the order of experts,
// so that a token's sum does not depend on what other tokens come with it.
void Decoder::feed_experts(const Layer& layer, const Matrix& h, const Matrix& x) {
  const index_t n = h.extent(0), experts = shape_.experts, used = shape_.experts_used;
  const Matrix scores = matrix(scores_, n, experts);
  multiply(Step::kRouter, layer.router, h, scores);
  struct Choice {
    index_t token;
    float weight;
  };
  std::vector<std::vector<Choice>> choices(static_cast<std::size_t>(experts));
  times_.measure(Step::kRouter, 0, 0, [&] {
    ts::softmax(scores, scores, {.context = &context_});
    std::vector<index_t> order(static_cast<std::size_t>(experts));
    for (index_t t = 0; t < n; ++t) {
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(
          order.begin(), order.begin() + used, order.end(), [&](index_t a, index_t b) {
            return scores(t, a) > scores(t, b) || (scores(t, a) == scores(t, b) && a < b);
          });
      float sum = 0;
      for (index_t i = 0; i < used; ++i) sum += scores(t, order[static_cast<std::size_t>(i)]);
      for (index_t i = 0; i < used; ++i) {
        const index_t e = order[static_cast<std::size_t>(i)];
        choices[static_cast<std::size_t>(e)].push_back({t, scores(t, e) / sum});
      }
    }
  });
  std::vector<float> weights;
  for (std::size_t e = 0; e < choices.size(); ++e) {
    const auto rows = static_cast<index_t>(choices[e].size());
    if (rows == 0) continue;
    const Matrix gathered = matrix(gathered_, rows, shape_.embedding);
    const Matrix result = matrix(results_, rows, shape_.embedding);
    weights.clear();
    for (index_t i = 0; i < rows; ++i) {
      const Choice& choice = choices[e][static_cast<std::size_t>(i)];
      std::copy_n(&h(choice.token, 0), shape_.embedding, &gathered(i, 0));
      weights.push_back(choice.weight);
    }
    run_expert(layer.experts[e], gathered, result,
               {.epilogue = ts::epi::row_scale(ts::row_major(weights, {rows}))});
    times_.measure(Step::kDown, 0, 0, [&] {
      for (index_t i = 0; i < rows; ++i) {
        const index_t t = choices[e][static_cast<std::size_t>(i)].token;
        const ts::View<float, 1> sum(&x(t, 0), {shape_.embedding}, {1});
        const ts::View<float, 1> row(&result(i, 0), {shape_.embedding}, {1});
        ts::elementwise(ts::BinaryOp::kAdd, sum, row, sum);
      }
    });
  }
}

void Decoder::norm(const Matrix& x, const Vector& weight, const Matrix& y) {
  times_.measure(Step::kNorm, 0, 0, [&] {
    ts::rms_norm(x, y, {.weight = weight, .epsilon = shape_.epsilon, .context = &context_});
  });
}

void Decoder::multiply(Step step, const Weights& weights, const Matrix& x, const Matrix& y,
                       MultiplyOptions options) {
  options.in_integers = options_.in_integers;
  const double operations = 2 * static_cast<double>(x.extent(0)) *
                            static_cast<double>(weights.inputs() * weights.outputs());
  times_.measure(step, operations, static_cast<double>(weights.bytes()),
                 [&] { weights.multiply(x, y, context_, options); });
}

// `count` heads of each token, the first of which is at position `first`.
void Decoder::turn(Vectors& heads, index_t tokens, index_t count, index_t first) {
  const auto pairs = static_cast<index_t>(model_.frequencies().size());
  const auto table = [&](Vectors& of) {
    return ts::slice(matrix(of, options_.context, pairs), {first, index_t{0}}, {tokens, pairs});
  };
  times_.measure(Step::kRope, 0, 0, [&] {
    const auto x = ts::row_major(heads.data(), {tokens, count, shape_.head_size});
    ts::rope(x, table(cosines_), table(sines_), x,
             {.interleaved = shape_.interleaved, .context = &context_});
  });
}

}  // namespace transformer
