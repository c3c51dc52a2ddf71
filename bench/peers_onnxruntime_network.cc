// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime: a whole network as one model, of operators for [channels, h, w]. It fuses what it can when the session is
// made: convolutions with activations and sums, and blocked kernels whose values stay in their layout.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "bench/gemm_workload.h"
#include "bench/network_contender.h"
#include "bench/onnxruntime_library.h"

namespace tessera::bench {
namespace {

using onnxruntime::Extents;
using onnxruntime::Library;
using onnxruntime::tensor;
using onnxruntime::value_info;

std::string value_name(std::size_t value) { return "v" + std::to_string(value); }
Extents channels_first(const ImageExtents& e) { return {1, e.channels, e.size, e.size}; }

template <class T>
PaddedArray<T> padded_transpose(const T* x, index_t rows, index_t cols) {
  const std::vector<T> values = transposed_copy(x, rows, cols);
  PaddedArray<T> copy(rows * cols);
  std::copy(values.begin(), values.end(), copy.data());
  return copy;
}

// Nodes and constants of a model, and the memory of the latter.
class GraphBuilder {
 public:
  explicit GraphBuilder(const Library& library) : library_(library) {}

  // The data must outlive the session.
  template <class T>
  std::string constant(const T* data, const Extents& extents) {
    const std::string name = "c" + std::to_string(count_++);
    Ort::Value value = tensor(library_, data, extents);
    std::size_t bytes = sizeof(T);
    for (const std::int64_t extent : extents) bytes *= static_cast<std::size_t>(extent);
    graph.AddInitializer(name, value, bytes >= onnxruntime::kLeastExternalBytes);
    return name;
  }

  using Integers = std::vector<std::pair<const char*, Extents>>;
  void node(const char* op, const std::vector<std::string>& inputs, const std::string& output,
            const Integers& lists = {}, std::int64_t group = 0) {
    std::vector<Ort::OpAttr> attributes;
    for (const auto& [name, values] : lists) {
      attributes.emplace_back(name, values.data(), static_cast<int>(values.size()),
                              ORT_OP_ATTR_INTS);
    }
    if (group != 0) attributes.emplace_back("group", &group, 1, ORT_OP_ATTR_INT);
    Ort::Node node(op, "", "n" + std::to_string(count_++), inputs, {output}, attributes);
    graph.AddNode(node);
  }

  // x with zeros behind its channels, rows and columns.
  void pad(const std::string& x, index_t channels, index_t size, const std::string& y) {
    node("Pad",
         {x,
          constant(
              integers_.emplace_back(std::vector<std::int64_t>{0, 0, 0, 0, 0, channels, size, size})
                  .data(),
              {8})},
         y);
  }

  Ort::Graph graph;

 private:
  const Library& library_;
  int count_ = 0;
  std::deque<std::vector<std::int64_t>> integers_;
};

void add_layer(const NetworkOperands& o, std::size_t i, const float* weights, GraphBuilder& to) {
  using Kind = NetworkLayer::Kind;
  const NetworkLayer& layer = o.network->layers[i];
  const std::string x = value_name(layer.input), y = value_name(i + 1);
  const index_t k = layer.kernel;
  const GraphBuilder::Integers lists = {
      {"kernel_shape", {k, k}},
      {"strides", {layer.stride, layer.stride}},
      {"pads", {layer.pad_begin, layer.pad_begin, layer.pad_end, layer.pad_end}}};
  if (layer.kind == Kind::kMaxPool) return to.node("MaxPool", {x}, y, lists);
  if (layer.kind == Kind::kAveragePool) {
    const index_t zeros = layer.y.channels - layer.x.channels;
    to.node("AveragePool", {x}, zeros == 0 ? y : y + "mean", lists);
    if (zeros != 0) to.pad(y + "mean", zeros, 0, y);
    return;
  }
  // Each step has the result of the one before.
  std::string last = x;
  int steps_left = 1 + (layer.computed != layer.y.size ? 1 : 0) + (layer.residual != 0 ? 1 : 0) +
                   (layer.activation != NetworkLayer::Activation::kNone ? 1 : 0);
  const auto next = [&] {
    last = --steps_left == 0 ? y : y + "step" + std::to_string(steps_left);
    return last;
  };
  const std::string w = to.constant(weights, {layer.y.channels, layer.group_in(), k, k});
  const std::string bias = to.constant(o.bias[i], {layer.y.channels});
  to.node("Conv", {x, w, bias}, next(), lists, layer.groups());
  if (layer.computed != layer.y.size) {
    const std::string from = last;
    to.pad(from, 0, layer.y.size - layer.computed, next());
  }
  if (layer.residual != 0) {
    const std::string from = last;
    to.node("Add", {from, value_name(layer.residual)}, next());
  }
  const std::string from = last;
  static const float zero = 0, six = 6;
  if (layer.activation == NetworkLayer::Activation::kRelu) to.node("Relu", {from}, next());
  if (layer.activation == NetworkLayer::Activation::kRelu6) {
    to.node("Clip", {from, to.constant(&zero, {}), to.constant(&six, {})}, next());
  }
}

GemmRun onnxruntime_network(const NetworkOperands& o, const Library& library) {
  struct State {
    explicit State(const Library& library) : builder(library) {}
    GraphBuilder builder;
    std::deque<PaddedArray<float>> weights{}, outputs{};
    std::optional<PaddedArray<float>> x{};
    std::optional<Ort::Session> session{};
    std::optional<Ort::IoBinding> binding{};
  };
  const auto state = std::make_shared<State>(library);
  const Network& net = *o.network;
  state->x = padded_transpose(o.x, net.input.size * net.input.size, net.input.channels);
  std::vector<Ort::ValueInfo> inputs, outputs;
  inputs.push_back(value_info<float>("v0", channels_first(net.input)));
  for (const std::size_t value : net.outputs) {
    outputs.push_back(
        value_info<float>(value_name(value).c_str(), channels_first(net.extents(value))));
  }
  GraphBuilder& builder = state->builder;
  builder.graph.SetInputs(inputs);
  builder.graph.SetOutputs(outputs);
  for (std::size_t i = 0; i < net.layers.size(); ++i) {
    const NetworkLayer& layer = net.layers[i];
    const float* weights = nullptr;
    if (layer.convolves()) {  // [out, in / groups, kh, kw]
      PaddedArray<float>& reordered = state->weights.emplace_back(layer.y.channels * layer.depth());
      for (index_t out = 0; out < layer.y.channels; ++out) {
        const std::vector<float> filter =
            transposed_copy(o.weights[i] + out * layer.depth(), layer.taps(), layer.group_in());
        std::copy(filter.begin(), filter.end(), reordered.data() + out * layer.depth());
      }
      weights = reordered.data();
    }
    add_layer(o, i, weights, builder);
  }
  // The last one is of the blocked kernels that it replaces Conv with.
  Ort::Model model(
      {{"", onnxruntime::kOpset}, {onnxruntime::kOwnDomain, 1}, {"com.microsoft.nchwc", 1}});
  model.AddGraph(builder.graph);
  state->session.emplace(library.env, model, library.options);
  state->binding.emplace(*state->session);
  state->binding->BindInput("v0", tensor(library, state->x->data(), channels_first(net.input)));
  for (const std::size_t value : net.outputs) {
    const ImageExtents& e = net.extents(value);
    const float* const data = state->outputs.emplace_back(e.elements()).data();
    state->binding->BindOutput(value_name(value).c_str(), tensor(library, data, channels_first(e)));
  }
  return {[state] { state->session->Run(Ort::RunOptions{nullptr}, *state->binding); },
          [state, o] {
            for (std::size_t i = 0; i < o.y.size(); ++i) {
              const ImageExtents& e = o.network->extents(o.network->outputs[i]);
              const std::vector<float> y =
                  transposed_copy(state->outputs[i].data(), e.channels, e.size * e.size);
              std::copy(y.begin(), y.end(), o.y[i]);
            }
          }};
}

}  // namespace

void find_onnxruntime_networks(int threads, NetworkContenders& found, Lines& missing) {
  const std::shared_ptr<Library> library = onnxruntime::load(threads, missing);
  if (library == nullptr) return;
  found.push_back({.name = "onnxruntime",
                   .description = "ONNX Runtime " + Ort::GetVersionString(),
                   .prepare = [library](const NetworkOperands& o) {
                     return onnxruntime_network(o, *library);
                   }});
}

}  // namespace tessera::bench
