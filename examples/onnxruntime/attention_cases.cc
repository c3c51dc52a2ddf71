// SPDX-License-Identifier: Apache-2.0
// Attention with all that its operators have, beside the host's.
#include <cmath>

#include "graph_case.h"

namespace tessera::ort {
namespace {

using Inputs = std::vector<std::string>;

constexpr char kMicrosoftDomain[] = "com.microsoft";

std::string projection(ModelBuilder& m, std::int64_t columns) {
  return m.node("MatMul", {"x", m.weights({32, columns}, 0.4f)});
}

// 0 for about one of four elements, at random.
template <class T>
std::string random_mask(ModelBuilder& m, const Extents& extents) {
  std::vector<T> values;
  for (const float f : m.random(elements(extents), 1)) values.push_back(f > -0.5f);
  for (std::size_t i = 0; i < values.size(); i += static_cast<std::size_t>(extents.back())) {
    values[i] = 1;  // no query sees nothing
  }
  return m.constant(values, extents);
}

// ONNX's: four heads of queries, two of keys.
struct Onnx {
  std::int64_t keys, past = 0;
  bool causal = false, has_mask = false;
  std::int64_t scores = -1;  // the stage that is the result, in place of the values
  float softcap = 0;
};

std::string onnx_attention(ModelBuilder& m, const Onnx& o) {
  constexpr std::int64_t kDim = 16, kTokens = 5;
  Inputs inputs = {projection(m, 64), m.weights({2, o.keys, 2 * kDim}, 1),
                   m.weights({2, o.keys, 2 * kDim}, 1)};
  inputs.push_back(o.has_mask ? m.weights({2, 1, kTokens, o.past + o.keys}, 1) : "");
  std::vector<std::string> outputs = {"y"};
  if (o.past != 0) {
    inputs.push_back(m.weights({2, 2, o.past, kDim}, 1));
    inputs.push_back(m.weights({2, 2, o.past, kDim}, 1));
    outputs = {"y", "present_k", "present_v"};
  }
  Attributes attributes{
      .integers = {{"q_num_heads", 4}, {"kv_num_heads", 2}, {"is_causal", o.causal}},
      .floats = {{"softcap", o.softcap}}};
  if (o.scores < 0) return m.node("Attention", inputs, attributes, outputs);
  attributes.integers.push_back({"qk_matmul_output_mode", o.scores});
  outputs.resize(3);
  outputs.push_back("scores");
  m.node("Attention", inputs, attributes, outputs);
  return outputs.back();
}

struct MultiHead {
  bool has_bias = false, has_past = false, has_scores_bias = false, causal = false;
  int padding_axes = 0;  // of the mask of keys; 0: none
};

std::string multi_head(ModelBuilder& m, const MultiHead& o) {
  constexpr std::int64_t kHeads = 4, kDim = 8, kTokens = 9, kPast = 6;
  const std::int64_t keys = kTokens + (o.has_past ? kPast : 0);
  Inputs inputs = {projection(m, 32), projection(m, 32), projection(m, 32)};
  inputs.push_back(o.has_bias ? m.weights({96}, 0.5f) : "");
  inputs.push_back(o.padding_axes == 0   ? ""
                   : o.padding_axes == 1 ? m.constant<std::int32_t>({7, 4}, {2})
                   : o.padding_axes == 2 ? random_mask<std::int32_t>(m, {2, keys})
                                         : random_mask<std::int32_t>(m, {2, kTokens, keys}));
  inputs.push_back(o.has_scores_bias ? m.weights({1, kHeads, kTokens, keys}, 1) : "");
  std::vector<std::string> outputs = {"y"};
  if (o.has_past) {
    inputs.push_back(m.weights({2, kHeads, kPast, kDim}, 1));
    inputs.push_back(m.weights({2, kHeads, kPast, kDim}, 1));
    outputs = {"y", "present_k", "present_v"};
  }
  return m.node("MultiHeadAttention", inputs,
                {.integers = {{"num_heads", kHeads}, {"unidirectional", o.causal}}}, outputs,
                kMicrosoftDomain);
}

// Keys and values of another sequence, whose heads are apart.
std::string cross_attention(ModelBuilder& m) {
  return m.node("MultiHeadAttention",
                {projection(m, 32), m.weights({2, 4, 7, 8}, 1), m.weights({2, 4, 7, 8}, 1)},
                {.integers = {{"num_heads", 4}}}, {}, kMicrosoftDomain);
}

// Angles of rotary embeddings: cosines and sines, [kPositions, pairs].
constexpr std::int64_t kPositions = 32;
Inputs angles(ModelBuilder& m, std::int64_t pairs) {
  std::vector<float> cos, sin;
  for (std::int64_t i = 0; i < kPositions * pairs; ++i) {
    const float angle = static_cast<float>(i / pairs) / static_cast<float>(1 + i % pairs * 5);
    cos.push_back(std::cos(angle));
    sin.push_back(std::sin(angle));
  }
  return {m.weight(cos, {kPositions, pairs}), m.weight(sin, {kPositions, pairs})};
}

// Two heads of keys for four of queries: a prompt, or `tokens` behind `past` of a cache.
struct Grouped {
  std::int64_t batch, tokens, past = 0;
  bool is_packed = false, interleaved = false, has_positions = false, has_bias = false,
       has_sinks = false, is_smooth = false;
  std::int64_t window = -1;
  float softcap = 0;
  std::int64_t pairs = 8;  // that are rotated
};

std::string group_query(ModelBuilder& m, const Grouped& o) {
  constexpr std::int64_t kHeads = 4, kKvHeads = 2, kDim = 16;
  Inputs inputs;
  if (o.is_packed) {
    inputs = {projection(m, (kHeads + 2 * kKvHeads) * kDim), "", ""};
  } else {
    inputs = {projection(m, kHeads * kDim), projection(m, kKvHeads * kDim),
              projection(m, kKvHeads * kDim)};
  }
  for (int i = 0; i < 2; ++i) {
    inputs.push_back(o.past > 0 ? m.weights({o.batch, kKvHeads, o.past, kDim}, 1) : "");
  }
  const auto total = static_cast<std::int32_t>(o.past + o.tokens);
  inputs.push_back(m.constant(
      std::vector<std::int32_t>(static_cast<std::size_t>(o.batch), total - 1), {o.batch}));
  inputs.push_back(m.constant<std::int32_t>({total}, {1}));
  for (std::string& table : angles(m, o.pairs)) inputs.push_back(std::move(table));
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < o.batch * o.tokens; ++i) {
    positions.push_back(o.past + 2 + i % o.tokens * 2);
  }
  inputs.push_back(o.has_positions ? m.constant(positions, {o.batch, o.tokens}) : "");
  inputs.push_back(o.has_bias ? m.weights({1, kHeads, o.tokens, total}, 1) : "");
  inputs.push_back(o.has_sinks ? m.weights({kHeads}, 1) : "");
  return m.node("GroupQueryAttention", inputs,
                {.integers = {{"num_heads", kHeads},
                              {"kv_num_heads", kKvHeads},
                              {"do_rotary", 1},
                              {"rotary_interleaved", o.interleaved},
                              {"local_window_size", o.window},
                              {"smooth_softmax", o.is_smooth}},
                 .floats = {{"softcap", o.softcap}}},
                {"y", "present_k", "present_v"}, kMicrosoftDomain);
}

// A quarter of each head rotated, from position 3 on.
std::string rotary(ModelBuilder& m) {
  const Inputs tables = angles(m, 4);
  return m.node("RotaryEmbedding", {"x", m.constant<std::int64_t>({3}, {1}), tables[0], tables[1]},
                {.integers = {{"num_heads", 2}, {"rotary_embedding_dim", 8}, {"interleaved", 1}}},
                {}, kMicrosoftDomain);
}

}  // namespace

std::vector<GraphCase> attention_cases() {
  constexpr double kTolerance = 1e-5, kHalf = 3e-3;
  std::vector<GraphCase> cases;
  const auto add_onnx = [&](const char* name, const Onnx& o) {
    const Extents result = o.scores < 0 ? Extents{2, 5, 64} : Extents{2, 4, 5, o.past + o.keys};
    cases.push_back({name,
                     {"Attention"},
                     {2, 5, 32},
                     result,
                     [o](ModelBuilder& m) { return onnx_attention(m, o); },
                     kTolerance,
                     kHalf});
  };
  add_onnx("attention, causal, a past", {.keys = 5, .past = 4, .causal = true});
  add_onnx("attention, causal, more keys", {.keys = 8, .causal = true, .has_mask = true});
  add_onnx("attention, causal, more keys, a past", {.keys = 7, .past = 3, .causal = true});
  add_onnx("attention, causal, less keys, a past",
           {.keys = 2, .past = 3, .causal = true, .has_mask = true});
  add_onnx("attention, products", {.keys = 7, .causal = true, .scores = 0, .softcap = 2});
  add_onnx("attention, scores with a mask", {.keys = 7, .past = 3, .has_mask = true, .scores = 1});
  add_onnx("attention, scores before softcap", {.keys = 7, .past = 3, .scores = 1, .softcap = 2});
  add_onnx("attention, scores after softcap", {.keys = 7, .past = 3, .scores = 2, .softcap = 2});
  add_onnx("attention, weights",
           {.keys = 7, .past = 3, .causal = true, .has_mask = true, .scores = 3});
  const auto add_multi_head = [&](const char* name, const MultiHead& o) {
    cases.push_back({name,
                     {"MultiHeadAttention"},
                     {2, 9, 32},
                     {2, 9, 32},
                     [o](ModelBuilder& m) { return multi_head(m, o); },
                     kTolerance,
                     kHalf});
  };
  add_multi_head("multi-head attention", {.has_bias = true});
  add_multi_head("multi-head attention, lengths", {.has_bias = true, .padding_axes = 1});
  add_multi_head("multi-head attention, padding", {.padding_axes = 2});
  add_multi_head("multi-head attention, padding of tokens",
                 {.has_scores_bias = true, .padding_axes = 3});
  add_multi_head("multi-head attention, causal", {.causal = true});
  add_multi_head("multi-head attention, a past", {.has_bias = true, .has_past = true});
  add_multi_head("multi-head attention, a past, causal, masks",
                 {.has_past = true, .has_scores_bias = true, .causal = true, .padding_axes = 2});
  cases.push_back({"multi-head attention, cross",
                   {"MultiHeadAttention"},
                   {2, 9, 32},
                   {2, 9, 32},
                   cross_attention,
                   kTolerance,
                   kHalf});
  const auto add_grouped = [&](const char* name, const Grouped& o) {
    cases.push_back({name,
                     {"GroupQueryAttention"},
                     {o.batch, o.tokens, 32},
                     {o.batch, o.tokens, 64},
                     [o](ModelBuilder& m) { return group_query(m, o); },
                     kTolerance,
                     kHalf});
  };
  add_grouped("grouped queries, a prompt", {.batch = 2, .tokens = 9});
  add_grouped("grouped queries, a token", {.batch = 2, .tokens = 1, .past = 11});
  add_grouped("grouped queries, packed, a window",
              {.batch = 2, .tokens = 9, .is_packed = true, .window = 4});
  add_grouped("grouped queries, tokens, softcap, neighbours", {.batch = 1,
                                                               .tokens = 3,
                                                               .past = 11,
                                                               .interleaved = true,
                                                               .has_positions = true,
                                                               .softcap = 2});
  add_grouped("grouped queries, smooth softmax, positions",
              {.batch = 2, .tokens = 9, .has_positions = true, .is_smooth = true});
  add_grouped(
      "grouped queries, sinks, bias",
      {.batch = 2, .tokens = 1, .past = 11, .has_bias = true, .has_sinks = true, .window = 5});
  cases.push_back({"rotary embedding, partial",
                   {"RotaryEmbedding"},
                   {2, 6, 64},
                   {2, 6, 64},
                   rotary,
                   kTolerance,
                   kHalf});
  for (GraphCase& c : cases) c.opset = 23;
  return cases;
}

}  // namespace tessera::ort
