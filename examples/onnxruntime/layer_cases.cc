// SPDX-License-Identifier: Apache-2.0
// What stands between the large layers of networks, beside the host's.
#include "graph_case.h"

namespace tessera::ort {
namespace {

constexpr const char* kNearest = "nearest";

std::string shape_constant(ModelBuilder& m, const Extents& values) {
  return m.constant(values, {static_cast<std::int64_t>(values.size())});
}

std::string conv3x3(ModelBuilder& m, const std::string& x, std::int64_t in, std::int64_t out) {
  return m.node("Conv", {x, m.weights({out, in, 3, 3}, 0.3f), m.weights({out}, 0.3f)},
                {.lists = {{"kernel_shape", {3, 3}}, {"pads", {1, 1, 1, 1}}}});
}

// Functions of elements behind a product, one beside the other.
std::string functions(ModelBuilder& m) {
  const std::string x = m.node("MatMul", {"x", m.weights({16, 24}, 0.25f)});
  const std::vector<std::string> results = {
      m.node("HardSigmoid", {x}, {.floats = {{"alpha", 0.3f}, {"beta", 0.4f}}}),
      m.node("Elu", {x}, {.floats = {{"alpha", 0.7f}}}),
      m.node("Softplus", {x}),
      m.node("Div", {m.node("Softplus", {m.node("Mul", {x, scalar(m, 60)})}), scalar(m, 60)}),
      m.node("PRelu", {x, m.weights({24}, 2)}),
      m.node("LeakyRelu", {x}, {.floats = {{"alpha", 1.5f}}}),
      m.node("Clip", {x, scalar(m, -0.5f), scalar(m, 0.75f)}),
      m.node("Pow", {x, scalar(m, 2)}),
      m.node("Pow", {x, scalar(m, 3)}),
      m.node("Sqrt", {m.node("Abs", {x})}),
      m.node("Max", {x, m.weights({24}, 1)}),
      m.node("Min", {x, m.weights({5, 1}, 1)}),
      m.node("Mul", {m.node("Sin", {x}), m.node("Cos", {x})})};
  return m.node("Concat", results, {.integers = {{"axis", 1}}});
}

// Down and up again, with all ways to make an image larger.
std::string u_net(ModelBuilder& m) {
  const std::string no_regions;
  const std::string top = m.node("Relu", {conv3x3(m, "x", 4, 8)});
  const std::string pooled = m.node(
      "MaxPool", {top},
      {.lists = {{"kernel_shape", {3, 3}}, {"strides", {2, 2}}}, .integers = {{"ceil_mode", 1}}});
  const std::string low = conv3x3(m, pooled, 8, 8);
  const std::string scales = m.constant<float>({1, 1, 2, 2}, {4});
  const std::string up = m.node("Resize", {low, no_regions, scales},
                                {.strings = {{"mode", kNearest},
                                             {"coordinate_transformation_mode", "asymmetric"},
                                             {"nearest_mode", "floor"}}});
  const std::string linear = m.node(
      "Resize", {low, no_regions, no_regions, shape_constant(m, {2, 8, 13, 13})},
      {.strings = {{"mode", "linear"}, {"coordinate_transformation_mode", "align_corners"}}});
  const std::string half =
      m.node("Resize", {low, no_regions, scales}, {.strings = {{"mode", "linear"}}});
  // The smaller ones to the extents of the larger.
  const auto padded = [&](const std::string& x, const Extents& pads, const char* mode) {
    return m.node("Pad", {x, shape_constant(m, pads), scalar(m, 0.5f)},
                  {.strings = {{"mode", mode}}});
  };
  const std::string joined = m.node("Concat",
                                    {padded(up, {0, 0, 0, 1, 0, 0, 1, 2}, "reflect"), linear,
                                     padded(half, {0, 0, 1, 1, 0, 0, 0, 2}, "edge"),
                                     padded(top, {0, 1, 0, 1, 0, 0, 0, 1}, "constant")},
                                    {.integers = {{"axis", 1}}});
  return conv3x3(m, joined, 33, 5);
}

// Pixels to channels by slices, halves of the channels apart, norms of channels, means of pixels.
std::string detector(ModelBuilder& m) {
  const auto every_second = [&](std::int64_t row, std::int64_t column) {
    return m.node("Slice", {"x", shape_constant(m, {row, column}), shape_constant(m, {1000, 1000}),
                            shape_constant(m, {2, 3}), shape_constant(m, {2, 2})});
  };
  const std::string focus = m.node(
      "Concat", {every_second(0, 0), every_second(1, 0), every_second(0, 1), every_second(1, 1)},
      {.integers = {{"axis", 1}}});
  const std::string a = conv3x3(m, focus, 12, 10);
  m.node("Split", {a, shape_constant(m, {4, 6})}, {.integers = {{"axis", 1}}}, {"left", "right"});
  const std::string pooled =
      m.node("AveragePool", {"left"},
             {.lists = {{"kernel_shape", {3, 3}}, {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}},
              .integers = {{"ceil_mode", 1}}});
  const std::string norm = m.node(
      "BatchNormalization",
      {m.node("MaxPool", {"right"}, {.lists = {{"kernel_shape", {1, 1}}}}), m.weights({6}, 1),
       m.weights({6}, 1), m.weights({6}, 1), m.node("Abs", {m.weights({6}, 1)})});
  const std::string instance = m.node(
      "InstanceNormalization", {conv3x3(m, norm, 6, 6), m.weights({6}, 1), m.weights({6}, 1)});
  const std::string backwards =
      m.node("Slice", {instance, shape_constant(m, {-1}), shape_constant(m, {-1000}),
                       shape_constant(m, {1}), shape_constant(m, {-1})});
  const std::string both = m.node("Concat", {pooled, backwards}, {.integers = {{"axis", 1}}});
  const std::string scale =
      m.node("HardSigmoid", {m.node("ReduceMean", {both, shape_constant(m, {2, 3})})});
  return m.node("Mul", {both, scale});
}

// Results of convolutions and pooling, and an input, which has its channels first, joined twice.
std::string joined(ModelBuilder& m) {
  const auto pool = [&](const char* op, const std::string& x) {
    return m.node(op, {x}, {.lists = {{"kernel_shape", {3, 3}}, {"pads", {1, 1, 1, 1}}}});
  };
  const std::string a = m.node("Relu", {conv3x3(m, "x", 4, 5)});
  const std::string b = conv3x3(m, a, 5, 8);
  const std::string first =
      m.node("Concat", {pool("MaxPool", b), "x", conv3x3(m, a, 5, 3)}, {.integers = {{"axis", 1}}});
  const std::string second = m.node(
      "Concat", {m.node("Sigmoid", {conv3x3(m, first, 15, 6)}), pool("AveragePool", first), b},
      {.integers = {{"axis", -3}}});
  return conv3x3(m, second, 29, 7);
}

// A norm, which the host fuses, and a softmax with a mask as small operators, shapes computed from the extents of x.
std::string small_operators(ModelBuilder& m) {
  constexpr std::int64_t kHidden = 24;
  const auto mean = [&](const std::string& x) {
    return m.node("ReduceMean", {x, shape_constant(m, {-1})});
  };
  const std::string h = m.node("MatMul", {"x", m.weights({kHidden, kHidden}, 0.4f)});
  const std::string d = m.node("Sub", {h, mean(h)});
  const std::string variance = mean(m.node("Pow", {d, scalar(m, 2)}));
  const std::string deviation = m.node("Sqrt", {m.node("Add", {variance, scalar(m, 1e-5f)})});
  const std::string norm =
      m.node("Add", {m.node("Mul", {m.node("Div", {d, deviation}), m.weights({kHidden}, 1)}),
                     m.weights({kHidden}, 1)});
  const std::string extents = m.node("Shape", {"x"});
  const auto extent = [&](std::int64_t axis) {
    return m.node("Gather", {extents, shape_constant(m, {axis})});
  };
  const std::string split = m.node("Concat", {extent(0), extent(1), shape_constant(m, {2, 12})},
                                   {.integers = {{"axis", 0}}});
  const std::string heads =
      m.node("Transpose", {m.node("Reshape", {norm, split})}, {.lists = {{"perm", {0, 2, 1, 3}}}});
  const std::string scores =
      m.node("MatMul", {heads, m.node("Transpose", {heads}, {.lists = {{"perm", {0, 1, 3, 2}}}})});
  std::vector<std::uint8_t> seen;
  for (const float f : m.random(5, 1)) seen.push_back(f > -0.5f || seen.empty());
  const std::string mask = m.node("Cast", {m.constant(seen, {1, 1, 1, 5})},
                                  {.integers = {{"to", ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL}}});
  const std::string masked = m.node("Where", {mask, scores, scalar(m, -1e4f)});
  const std::string mixed =
      m.node("MatMul", {m.node("Softmax", {masked}, {.integers = {{"axis", -1}}}), heads});
  const std::string whole = m.node("Concat", {extent(0), extent(1), shape_constant(m, {kHidden})},
                                   {.integers = {{"axis", 0}}});
  return m.node("Reshape",
                {m.node("Transpose", {mixed}, {.lists = {{"perm", {0, 2, 1, 3}}}}), whole});
}

// A product with a bias, norms of a sum with a bias, a batch of products, a gate.
std::string dense_layers(ModelBuilder& m) {
  const std::string h = m.node(
      "Gelu",
      {m.node("Add", {m.node("MatMul", {"x", m.weights({32, 48}, 0.3f)}), m.weights({48}, 0.3f)})});
  const std::string norm = m.node("SkipLayerNormalization",
                                  {m.node("MatMul", {h, m.weights({48, 32}, 0.3f)}), "x",
                                   m.weights({32}, 1), m.weights({32}, 1), m.weights({32}, 1)},
                                  {}, {}, "com.microsoft");
  const std::string rms =
      m.node("RMSNormalization", {norm, m.weights({32}, 1)}, {.integers = {{"axis", -1}}});
  const std::string scores =
      m.node("MatMul", {rms, m.node("Transpose", {norm}, {.lists = {{"perm", {0, 2, 1}}}})});
  const std::string mixed =
      m.node("MatMul", {m.node("Softmax", {scores}, {.integers = {{"axis", -1}}}), norm});
  const std::string gate =
      m.node("QuickGelu", {mixed}, {.floats = {{"alpha", 1}}}, {}, "com.microsoft");
  return m.node("Mul", {gate, rms});
}

}  // namespace

std::vector<GraphCase> layer_cases() {
  return {
      {"functions of elements",
       {"HardSigmoid", "Elu", "Softplus", "PRelu", "Pow", "Max", "Min", "Sin", "Clip", "LeakyRelu"},
       {5, 16},
       {5, 24 * 13},
       functions,
       1e-5,
       3e-3},
      {"images of other extents",
       {"Resize", "Pad", "MaxPool", "Concat"},
       {2, 4, 13, 11},
       {2, 5, 13, 13},
       u_net},
      {"parts of images, norms of channels",
       {"Slice", "Split", "BatchNormalization", "InstanceNormalization", "ReduceMean",
        "AveragePool"},
       {2, 3, 12, 10},
       {2, 10, 6, 5},
       detector},
      {"joined channels",
       {"Conv", "Concat", "MaxPool", "AveragePool"},
       {2, 4, 9, 7},
       {2, 7, 9, 7},
       joined,
       1e-5,
       3e-3,
       2.4e-2,
       {},
       22},
      {"small operators of a transformer",
       {"Shape", "Gather", "Where", "Reshape", "Softmax"},
       {2, 5, 24},
       {2, 5, 24},
       small_operators,
       1e-5,
       0,
       0,
       {-1, -1, 24}},
      {"dense layers",
       {"MatMul", "SkipLayerNormalization", "RMSNormalization", "Softmax", "QuickGelu"},
       {2, 7, 32},
       {2, 7, 32},
       dense_layers,
       1e-5,
       5e-3,
       0,
       {},
       23},
  };
}

}  // namespace tessera::ort
