// SPDX-License-Identifier: Apache-2.0
#include "graph.h"

#include <optional>

namespace tessera::ort {
namespace {

template <class T>
std::optional<Attribute> single(const Ort::ConstOpAttr& attribute) {
  T value{};
  if (!attribute.GetValue(value).IsOK()) return {};
  return Attribute(value);
}

template <class T>
std::optional<Attribute> array(const Ort::ConstOpAttr& attribute) {
  std::vector<T> values;
  if (!attribute.GetValueArray(values).IsOK()) return {};
  return Attribute(values);
}

// None of the kinds that no kernel reads.
std::optional<Attribute> read_attribute(const Ort::ConstOpAttr& attribute) {
  switch (attribute.GetType()) {
    case ORT_OP_ATTR_INT:
      return single<std::int64_t>(attribute);
    case ORT_OP_ATTR_FLOAT:
      return single<float>(attribute);
    case ORT_OP_ATTR_STRING:
      return single<std::string>(attribute);
    case ORT_OP_ATTR_INTS:
      return array<std::int64_t>(attribute);
    case ORT_OP_ATTR_FLOATS:
      return array<float>(attribute);
    default:
      return {};
  }
}

Value read_value(Ort::ConstValueInfo info) {
  Value value;
  value.name = info.GetName();
  value.leaves = info.IsGraphOutput();
  const Ort::ConstTypeInfo type = info.TypeInfo();
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) return value;
  const auto shape = type.GetTensorTypeAndShapeInfo();
  value.tensor.type = shape.GetElementType();
  // The interface has no word for an unknown rank but no axes; scalars then count as such.
  value.tensor.shape = shape.GetShape();
  value.has_rank = !value.tensor.shape.empty();
  for (const char* name : shape.GetSymbolicDimensions()) value.dimension_names.emplace_back(name);
  value.is_constant = info.IsConstantInitializer();
  if (!value.is_constant) return value;
  Ort::ConstValue constant{nullptr};
  Ort::ThrowOnError(info.GetInitializer(constant).release());
  value.tensor.data = const_cast<void*>(constant.GetTensorRawData());
  value.tensor.shape = constant.GetTensorTypeAndShapeInfo().GetShape();
  value.has_rank = true;
  return value;
}

}  // namespace

Graph read_graph(Ort::ConstGraph graph) {
  Graph result;
  const auto id_of = [&](Ort::ConstValueInfo info) {
    if (static_cast<const OrtValueInfo*>(info) == nullptr) return kNoValue;
    const std::string name = info.GetName();
    if (name.empty()) return kNoValue;
    const auto [found, is_new] = result.index.emplace(name, static_cast<int>(result.values.size()));
    if (is_new) result.values.push_back(read_value(info));
    return found->second;
  };
  for (const Ort::ConstNode& from : graph.GetNodes()) {
    const int id = static_cast<int>(result.nodes.size());
    Node node;
    node.handle = from;
    node.name = from.GetName();
    node.op = from.GetOperatorType();
    node.domain = from.GetDomain();
    if (node.domain == "ai.onnx") node.domain.clear();
    node.version = from.GetSinceVersion();
    const char* provider = nullptr;
    Ort::ThrowOnError(Ort::GetApi().Node_GetEpName(from, &provider));
    if (provider != nullptr) node.provider = provider;
    for (const Ort::ConstValueInfo& info : from.GetInputs()) {
      const int value = id_of(info);
      node.inputs.push_back(value);
      if (value != kNoValue) result.values[static_cast<std::size_t>(value)].consumers.push_back(id);
    }
    for (const Ort::ConstValueInfo& info : from.GetImplicitInputs()) {
      const int value = id_of(info);
      node.implicit_inputs.push_back(value);
      if (value != kNoValue) result.values[static_cast<std::size_t>(value)].consumers.push_back(id);
    }
    for (const Ort::ConstValueInfo& info : from.GetOutputs()) {
      const int value = id_of(info);
      node.outputs.push_back(value);
      if (value != kNoValue) result.values[static_cast<std::size_t>(value)].producer = id;
    }
    for (const Ort::ConstOpAttr& attribute : from.GetAttributes()) {
      if (static_cast<const OrtOpAttr*>(attribute) == nullptr) continue;
      if (auto value = read_attribute(attribute)) {
        node.attributes.emplace(attribute.GetName(), std::move(*value));
      }
    }
    result.nodes.push_back(std::move(node));
  }
  return result;
}

}  // namespace tessera::ort
