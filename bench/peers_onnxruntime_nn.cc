// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime: attention, softmax and norms, each a model of one node.
#include <onnxruntime_cxx_api.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/attention_contender.h"
#include "bench/gemm_workload.h"
#include "bench/nn_contender.h"
#include "bench/onnxruntime_library.h"

namespace tessera::bench {
namespace {

using onnxruntime::Extents;
using onnxruntime::kOpset;
using onnxruntime::kOwnDomain;
using onnxruntime::Library;
using onnxruntime::tensor;
using onnxruntime::value_info;

// One node whose values are the caller's memory.
class OneNode {
 public:
  explicit OneNode(const Library& library) : library_(library) {}

  template <class T>
  void input(const char* name, const T* data, const Extents& extents) {
    inputs_.push_back(value_info<T>(name, extents));
    input_names_.emplace_back(name);
    values_.emplace_back(name, tensor(library_, data, extents));
  }
  void no_input() { input_names_.emplace_back(); }
  template <class T>
  void output(const char* name, T* data, const Extents& extents) {
    outputs_.push_back(value_info<T>(name, extents));
    output_names_.emplace_back(name);
    results_.emplace_back(name, tensor(library_, data, extents));
  }
  void integer(const char* name, std::int64_t value) {
    attributes_.emplace_back(name, &value, 1, ORT_OP_ATTR_INT);
  }
  void number(const char* name, float value) {
    attributes_.emplace_back(name, &value, 1, ORT_OP_ATTR_FLOAT);
  }

  // Once.
  void make(const char* op, const char* domain) {
    Ort::Graph graph;
    graph.SetInputs(inputs_);
    graph.SetOutputs(outputs_);
    Ort::Node node(op, domain, "node", input_names_, output_names_, attributes_);
    graph.AddNode(node);
    Ort::Model model({{"", kOpset}, {kOwnDomain, 1}});
    model.AddGraph(graph);
    session_.emplace(library_.env, model, library_.options);
    binding_.emplace(*session_);
    for (const auto& [name, value] : values_) binding_->BindInput(name, value);
    for (const auto& [name, value] : results_) binding_->BindOutput(name, value);
  }
  void run() { session_->Run(Ort::RunOptions{nullptr}, *binding_); }

 private:
  const Library& library_;
  std::vector<Ort::ValueInfo> inputs_, outputs_;
  std::vector<std::string> input_names_, output_names_;
  std::vector<std::pair<const char*, Ort::Value>> values_, results_;
  std::vector<Ort::OpAttr> attributes_;
  std::optional<Ort::Session> session_;
  std::optional<Ort::IoBinding> binding_;
};

// Queries and results are [tokens, heads, dim]. GroupQueryAttention is always causal; it gets keys and values as those
// of the new tokens, or in a cache to which a single one is added. MultiHeadAttention gets a copy of them for each head.
GemmRun onnxruntime_attention(const AttentionOperands& o, const Library& library) {
  const AttentionShape& s = o.shape;
  const bool decode = s.tokens == 1, grouped = s.causal || decode;
  if (o.kv != KvType::kF32 || (grouped && !decode && s.tokens != s.keys)) return {};
  struct State {
    explicit State(const Library& library) : node(library) {}
    OneNode node;
    std::vector<float> q, k, v, out, present_k, present_v;
    std::int32_t last = 0, total = 0;
  };
  const auto state = std::make_shared<State>(library);
  const auto room = [](index_t n) { return std::vector<float>(static_cast<std::size_t>(n)); };
  state->q = room(s.queries() * s.dim);
  state->out = room(s.queries() * s.dim);
  swap_heads_and_tokens(o.q, s.heads, s.tokens, s.dim, state->q.data());
  const index_t heads = grouped ? s.kv_heads : s.heads, rows = decode ? 1 : s.keys;
  const auto new_rows = [&](const void* from) {
    std::vector<float> to = room(rows * heads * s.dim);
    for (index_t h = 0; h < heads; ++h) {
      const index_t head = grouped ? h : h / s.group();
      const float* const data =
          static_cast<const float*>(from) + ((head + 1) * s.keys - rows) * s.dim;
      for (index_t j = 0; j < rows; ++j) {
        std::copy_n(data + j * s.dim, s.dim, to.data() + (j * heads + h) * s.dim);
      }
    }
    return to;
  };
  state->k = new_rows(o.k);
  state->v = new_rows(o.v);
  OneNode& node = state->node;
  node.input("q", state->q.data(), {1, s.tokens, s.heads * s.dim});
  node.input("k", state->k.data(), {1, rows, heads * s.dim});
  node.input("v", state->v.data(), {1, rows, heads * s.dim});
  node.output("out", state->out.data(), {1, s.tokens, s.heads * s.dim});
  node.integer("num_heads", s.heads);
  if (grouped) {
    node.integer("kv_num_heads", s.kv_heads);
    const Extents cache = {1, s.kv_heads, s.keys, s.dim};
    float *to_k = nullptr, *to_v = nullptr;
    if (decode) {
      // The cache grows in place, by a token that is there already.
      to_k = static_cast<float*>(const_cast<void*>(o.k));
      to_v = static_cast<float*>(const_cast<void*>(o.v));
      node.input("past_k", to_k, cache);
      node.input("past_v", to_v, cache);
    } else {
      state->present_k = room(s.kv_heads * s.keys * s.dim);
      state->present_v = state->present_k;
      to_k = state->present_k.data();
      to_v = state->present_v.data();
      node.no_input();
      node.no_input();
    }
    state->total = static_cast<std::int32_t>(s.keys);
    state->last = state->total - 1;
    node.input("last", &state->last, {1});
    node.input("total", &state->total, {1});
    node.output("present_k", to_k, cache);
    node.output("present_v", to_v, cache);
  }
  node.make(grouped ? "GroupQueryAttention" : "MultiHeadAttention", kOwnDomain);
  return {[state] { state->node.run(); },
          [state, o] {
            swap_heads_and_tokens(state->out.data(), o.shape.tokens, o.shape.heads, o.shape.dim,
                                  o.out);
          }};
}

// Its norms multiply by weights, here of ones.
GemmRun onnxruntime_nn(const NnOperands& o, const Library& library) {
  struct State {
    explicit State(const Library& library) : node(library) {}
    OneNode node;
    std::vector<float> ones;
  };
  const auto state = std::make_shared<State>(library);
  OneNode& node = state->node;
  node.input("x", o.x, {o.rows, o.cols});
  node.output("y", o.y, {o.rows, o.cols});
  node.integer("axis", -1);
  if (o.op == NnOp::kSoftmax) {
    node.make("Softmax", "");
  } else {
    state->ones.assign(static_cast<std::size_t>(o.cols), 1);
    node.input("weight", state->ones.data(), {o.cols});
    node.number("epsilon", kNormEpsilon);
    node.make(o.op == NnOp::kRmsNorm ? "SimplifiedLayerNormalization" : "LayerNormalization", "");
  }
  return {[state] { state->node.run(); }, {}};
}

template <class Contender, class Operands>
void find(int threads, std::vector<Contender>& found, Lines& missing,
          GemmRun (*prepare)(const Operands&, const Library&)) {
  const std::shared_ptr<Library> library = onnxruntime::load(threads, missing);
  if (library == nullptr) return;
  found.push_back({.name = "onnxruntime",
                   .description = "ONNX Runtime " + Ort::GetVersionString(),
                   .prepare = [=](const Operands& o) { return prepare(o, *library); }});
}

}  // namespace

void find_onnxruntime_attention(int threads, AttentionContenders& found, Lines& missing) {
  find(threads, found, missing, onnxruntime_attention);
}

void find_onnxruntime_nn(int threads, NnContenders& found, Lines& missing) {
  find(threads, found, missing, onnxruntime_nn);
}

}  // namespace tessera::bench
