// SPDX-License-Identifier: Apache-2.0
// Convolutions with all that their operators have, beside the host's.
#include <cmath>

#include "graph_case.h"

namespace tessera::ort {
namespace {

// One node.
struct Layer {
  const char* name;
  const char* op;
  Extents x, w, y;
  Attributes attributes;
  bool has_computed_filters = false;
};

std::string build(ModelBuilder& m, const Layer& layer) {
  const bool is_transposed = std::string(layer.op) == "ConvTranspose";
  std::int64_t groups = 1;
  for (const auto& [name, value] : layer.attributes.integers) {
    if (std::string(name) == "group") groups = value;
  }
  const std::size_t sums = elements(layer.w) / static_cast<std::size_t>(layer.w[0]);
  const float limit = std::sqrt(3.0f / static_cast<float>(sums));
  std::string w = m.weights(layer.w, limit);
  if (layer.has_computed_filters) {
    const std::string axes = m.constant<std::int64_t>({0, 1, 2, 3}, {4});
    w = m.node("Mul", {w, m.node("ReduceMax", {"x", axes})});
  }
  const std::string bias = m.weights({is_transposed ? layer.w[1] * groups : layer.w[0]}, 1);
  return m.node("Tanh", {m.node(layer.op, {"x", w, bias}, layer.attributes)});
}

std::vector<Layer> layers() {
  const auto pad = [](const char* how) { return decltype(Attributes::strings){{"auto_pad", how}}; };
  const auto groups = [](std::int64_t n) { return decltype(Attributes::integers){{"group", n}}; };
  constexpr const char *kConv = "Conv", *kTransposed = "ConvTranspose";
  return {
      {"convolution, one axis, dilated, groups",
       kConv,
       {2, 6, 37},
       {8, 3, 5},
       {2, 8, 17},
       {.lists = {{"strides", {2}}, {"dilations", {2}}, {"pads", {3, 1}}}, .integers = groups(2)}},
      {"convolution, same, upper",
       kConv,
       {1, 5, 12, 9},
       {7, 5, 3, 4},
       {1, 7, 6, 9},
       {.lists = {{"strides", {2, 1}}}, .strings = pad("SAME_UPPER")}},
      {"convolution, same, lower",
       kConv,
       {1, 5, 12, 9},
       {7, 5, 3, 4},
       {1, 7, 6, 9},
       {.lists = {{"strides", {2, 1}}}, .strings = pad("SAME_LOWER")}},
      {"convolution, depthwise",
       kConv,
       {2, 20, 9, 8},
       {20, 1, 3, 3},
       {2, 20, 9, 8},
       {.lists = {{"pads", {1, 1, 1, 1}}}, .integers = groups(20)}},
      {"convolution, three axes",
       kConv,
       {1, 4, 5, 6, 7},
       {9, 4, 2, 3, 3},
       {1, 9, 4, 6, 7},
       {.lists = {{"pads", {0, 1, 1, 0, 1, 1}}}}},
      {"convolution, filters that are computed",
       kConv,
       {2, 6, 8, 7},
       {5, 6, 3, 3},
       {2, 5, 6, 5},
       {},
       true},
      {"transposed, one axis, more elements",
       kTransposed,
       {2, 6, 9},
       {6, 5, 4},
       {2, 5, 28},
       {.lists = {{"strides", {3}}, {"pads", {0, 1}}, {"output_padding", {1}}}}},
      {"transposed, same, upper",
       kTransposed,
       {1, 4, 6, 5},
       {4, 7, 3, 4},
       {1, 7, 12, 15},
       {.lists = {{"strides", {2, 3}}}, .strings = pad("SAME_UPPER")}},
      {"transposed, same, lower",
       kTransposed,
       {1, 4, 6, 5},
       {4, 7, 3, 4},
       {1, 7, 12, 15},
       {.lists = {{"strides", {2, 3}}}, .strings = pad("SAME_LOWER")}},
      {"transposed, extents of the result",
       kTransposed,
       {1, 4, 6, 5},
       {4, 7, 5, 4},
       {1, 7, 10, 16},
       {.lists = {{"strides", {2, 3}}, {"output_shape", {10, 16}}, {"output_padding", {1, 2}}}}},
      {"transposed, extents of the result, upper",
       kTransposed,
       {1, 4, 6, 5},
       {4, 7, 5, 4},
       {1, 7, 12, 15},
       {.lists = {{"strides", {2, 3}}, {"output_shape", {12, 15}}}, .strings = pad("SAME_UPPER")}},
      {"transposed, a larger result",
       kTransposed,
       {1, 4, 6, 5},
       {4, 7, 3, 3},
       {1, 7, 14, 17},
       {.lists = {{"strides", {2, 3}}, {"output_shape", {14, 17}}}}},
      {"transposed, three axes, groups, dilated",
       kTransposed,
       {1, 6, 3, 4, 3},
       {6, 2, 2, 3, 2},
       {1, 4, 6, 8, 5},
       {.lists = {{"strides", {2, 1, 2}}, {"dilations", {1, 2, 1}}, {"pads", {0, 0, 0, 0, 0, 1}}},
        .integers = groups(2)}},
      {"transposed, filters that are computed",
       kTransposed,
       {2, 6, 4, 3},
       {6, 5, 3, 2},
       {2, 5, 9, 6},
       {.lists = {{"strides", {2, 2}}}},
       true},
  };
}

}  // namespace

std::vector<GraphCase> conv_cases() {
  std::vector<GraphCase> cases;
  for (const Layer& layer : layers()) {
    cases.push_back({.name = layer.name,
                     .ops = {layer.op},
                     .input = layer.x,
                     .output = layer.y,
                     .build = [layer](ModelBuilder& m) { return build(m, layer); },
                     .half_tolerance = 3e-3,
                     .bfloat_tolerance = 2.4e-2,
                     .opset = 22});
  }
  return cases;
}

}  // namespace tessera::ort
