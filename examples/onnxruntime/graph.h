// SPDX-License-Identifier: Apache-2.0
// A graph of the host as plain data.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_H_

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "api.h"
#include "tensor.h"

namespace tessera::ort {

inline constexpr int kNoValue = -1;

struct Value {
  std::string name;
  Tensor tensor;  // its shape has -1 where it is unknown; data only of constants
  bool has_rank = false;
  std::vector<std::string> dimension_names;  // of the unknown extents
  bool is_constant = false;
  bool leaves = false;  // is a result of the graph
  int producer = -1;    // node
  std::vector<int> consumers;

  bool has_shape(const Shape& shape) const { return has_rank && tensor.shape == shape; }
};

using Attribute =
    std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>, std::vector<float>>;

struct Node {
  const OrtNode* handle = nullptr;
  std::string name, domain, op;  // the domain of ONNX itself is empty
  int version = 0;
  std::string provider;              // that has taken it, if one has
  std::vector<int> inputs, outputs;  // values; kNoValue where optional ones are left out
  std::vector<int> implicit_inputs;  // values that subgraphs of the node read
  std::map<std::string, Attribute> attributes;
};

// What the user may say of a session.
struct Settings {
  Numerics numerics = Numerics::kReproducible;  // of convolutions
  index_t threads = 1;                          // that the session has
  bool takes_glue_alone = false;                // for tests: parts that are not worth a visit
  int host_version = ORT_API_VERSION;           // 23 of ONNX Runtime 1.23
};

struct Graph {
  std::vector<Node> nodes;  // in an order in which they can run
  std::vector<Value> values;
  Settings settings;

  // Of the name, or kNoValue.
  int find(const std::string& name) const {
    const auto found = index.find(name);
    return found == index.end() ? kNoValue : found->second;
  }
  std::map<std::string, int> index;
};

// Constants refer to memory of `graph`.
Graph read_graph(Ort::ConstGraph graph);

// A node among its values.
class NodeView {
 public:
  NodeView(const Graph& graph, const Node& node) : graph_(graph), node_(node) {}

  const Graph& graph() const { return graph_; }
  const Node& node() const { return node_; }
  const std::string& op() const { return node_.op; }
  int version() const { return node_.version; }
  std::size_t input_count() const { return node_.inputs.size(); }

  // Null if it is left out.
  const Value* input(std::size_t i) const { return value(node_.inputs, i); }
  const Value* output(std::size_t i) const { return value(node_.outputs, i); }

  bool has_input(std::size_t i) const { return input(i) != nullptr; }
  ElementType type(std::size_t i) const {
    return has_input(i) ? input(i)->tensor.type : ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }
  bool is_float(std::size_t i) const { return type(i) == kFloat; }
  bool is_real(std::size_t i) const { return tessera::ort::is_real(type(i)); }
  // Of the type of the first, or left out.
  bool is_like_first(std::size_t i) const { return !has_input(i) || type(i) == type(0); }
  bool is_byte(std::size_t i) const { return type(i) == kInt8 || type(i) == kUint8; }
  // -1 if it is unknown.
  int rank(std::size_t i) const {
    return has_input(i) && input(i)->has_rank ? static_cast<int>(input(i)->tensor.rank()) : -1;
  }
  // Null unless it is a constant.
  const Tensor* constant(std::size_t i) const {
    return has_input(i) && input(i)->is_constant ? &input(i)->tensor : nullptr;
  }

  bool has(const char* attribute) const { return node_.attributes.count(attribute) != 0; }
  template <class T>
  T get(const char* attribute, T otherwise = {}) const {
    const auto found = node_.attributes.find(attribute);
    if (found == node_.attributes.end()) return otherwise;
    const T* const value = std::get_if<T>(&found->second);
    return value != nullptr ? *value : otherwise;
  }
  std::int64_t integer(const char* attribute, std::int64_t otherwise) const {
    return get<std::int64_t>(attribute, otherwise);
  }

 private:
  const Value* value(const std::vector<int>& ids, std::size_t i) const {
    if (i >= ids.size() || ids[i] == kNoValue) return nullptr;
    return &graph_.values[static_cast<std::size_t>(ids[i])];
  }

  const Graph& graph_;
  const Node& node_;
};

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_H_
