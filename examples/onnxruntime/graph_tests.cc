// SPDX-License-Identifier: Apache-2.0
#include "graph_tests.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "graph_case.h"

namespace tessera::ort {
namespace {

std::string conv(ModelBuilder& m, const std::string& x, std::int64_t in, std::int64_t out,
                 std::int64_t kernel, std::int64_t stride = 1, std::int64_t groups = 1,
                 bool has_bias = true) {
  const float limit = std::sqrt(6.0f / static_cast<float>(in / groups * kernel * kernel));
  std::vector<std::string> inputs = {x, m.weights({out, in / groups, kernel, kernel}, limit)};
  if (has_bias) inputs.push_back(m.weights({out}, 0.5f));
  const std::int64_t pad = kernel / 2;
  return m.node("Conv", inputs,
                {.lists = {{"kernel_shape", {kernel, kernel}},
                           {"strides", {stride, stride}},
                           {"pads", {pad, pad, pad, pad}}},
                 .integers = {{"group", groups}}});
}

// All layers and activations that are fused, a residual of a later node, a broadcast scale per channel, branches.
std::string network(ModelBuilder& m) {
  const std::string a = m.node("Relu", {conv(m, "x", 3, 16, 3, 2)});
  const std::string deep =
      m.node("Clip", {conv(m, a, 16, 16, 3, 1, 16), scalar(m, 0), scalar(m, 6)});
  const std::string expanded = conv(m, deep, 16, 24, 1, 1, 1, false);
  const std::string shortcut = conv(m, a, 16, 24, 1);
  const std::string b = m.node("Relu", {m.node("Add", {expanded, shortcut})});
  const std::string c =
      m.node("LeakyRelu", {conv(m, b, 24, 24, 3, 1, 2)}, {.floats = {{"alpha", 0.1f}}});
  const std::string d = m.node("HardSwish", {m.node("Add", {c, b})});
  const std::string scaled = m.node("Mul", {d, m.weights({24, 1, 1}, 1)});
  const std::string pooled =
      m.node("MaxPool", {scaled},
             {.lists = {{"kernel_shape", {3, 3}}, {"strides", {2, 2}}, {"pads", {1, 1, 1, 1}}}});
  const std::string left = m.node("Sigmoid", {conv(m, pooled, 24, 8, 1)});
  const std::string right = m.node("Tanh", {conv(m, pooled, 24, 8, 3)});
  const std::string joined = m.node("Concat", {left, right}, {.integers = {{"axis", 1}}});
  const std::string transposed = m.node(
      "ConvTranspose", {joined, m.weights({16, 6, 2, 2}, 0.3f), m.weights({12}, 0.5f)},
      {.lists = {{"kernel_shape", {2, 2}}, {"strides", {2, 2}}}, .integers = {{"group", 2}}});
  const std::string mean = m.node("GlobalAveragePool", {transposed});
  const std::string flat = m.node("Flatten", {mean});
  const std::string dense = m.node("Gemm", {flat, m.weights({10, 12}, 1), m.weights({10}, 1)},
                                   {.integers = {{"transB", 1}}});
  return m.node("Softmax", {dense}, {.integers = {{"axis", 1}}});
}

// A block of a transformer: norm, heads by Reshape and Transpose, products, softmax, a gated or plain MLP.
std::string transformer(ModelBuilder& m) {
  constexpr std::int64_t kTokens = 13, kHidden = 48, kHeads = 4, kDim = kHidden / kHeads;
  const auto norm = [&](const std::string& x) {
    return m.node("LayerNormalization", {x, m.weights({kHidden}, 1), m.weights({kHidden}, 1)},
                  {.integers = {{"axis", -1}}});
  };
  const auto dense = [&](const std::string& x, std::int64_t in, std::int64_t out) {
    const std::string product = m.node("MatMul", {x, m.weights({in, out}, 0.3f)});
    return m.node("Add", {product, m.weights({out}, 0.3f)});
  };
  const auto heads = [&](const std::string& x, Extents order) {
    const std::string shape = m.constant<std::int64_t>({1, kTokens, kHeads, kDim}, {4});
    return m.node("Transpose", {m.node("Reshape", {x, shape})},
                  {.lists = {{"perm", std::move(order)}}});
  };
  const std::string h = norm("x");
  const std::string q = heads(dense(h, kHidden, kHidden), {0, 2, 1, 3});
  const std::string k = heads(dense(h, kHidden, kHidden), {0, 2, 3, 1});
  const std::string v = heads(dense(h, kHidden, kHidden), {0, 2, 1, 3});
  const std::string scores = m.node("Mul", {m.node("MatMul", {q, k}), scalar(m, 0.29f)});
  const std::string mixed =
      m.node("MatMul", {m.node("Softmax", {scores}, {.integers = {{"axis", -1}}}), v});
  const std::string together =
      m.node("Reshape", {m.node("Transpose", {mixed}, {.lists = {{"perm", {0, 2, 1, 3}}}}),
                         m.constant<std::int64_t>({1, kTokens, kHidden}, {3})});
  const std::string attended = m.node("Add", {dense(together, kHidden, kHidden), "x"});
  const std::string wide = m.node("Gelu", {dense(norm(attended), kHidden, 100)});
  return m.node("Add", {dense(wide, 100, kHidden), attended});
}

const GraphCase kLayers[] = {
    {"convolution network",
     {"Conv", "ConvTranspose", "MaxPool", "Concat", "Gemm", "Softmax"},
     {2, 3, 24, 24},
     {2, 10},
     network,
     1e-5,
     3e-3,
     2.4e-2,
     {},
     22},
    {"transformer block",
     {"MatMul", "LayerNormalization", "Softmax", "Transpose"},
     {1, 13, 48},
     {1, 13, 48},
     transformer},
};

// The result of a case; the same constants whatever the options.
std::vector<float> result_of(const GraphCase& c, Runtime& runtime, bool accelerated, unsigned seed,
                             int threads, Precision precision) {
  ModelBuilder model(seed, precision, c.opset);
  std::vector<float> x = model.random(elements(c.input), 1);
  const bool is_narrow = precision.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  const char* const in = is_narrow ? "x32" : "x";
  model.input(in, c.declared.empty() ? c.input : c.declared);
  if (is_narrow) model.node("Cast", {in}, {.integers = {{"to", precision.type}}}, {"x"});
  const bool is_other = !accelerated && c.build_for_host;
  std::string y = is_other ? c.build_for_host(model) : c.build(model);
  if (is_narrow) {
    y = model.node("Cast", {y}, {.integers = {{"to", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}});
  }
  model.output(y, c.output);
  Ort::Session session = model.session(runtime.env(), runtime.options(accelerated, threads));
  const Ort::Value input = tensor(x, c.input);
  const char* const out = y.c_str();
  const auto results = session.Run(Ort::RunOptions{nullptr}, &in, &input, 1, &out, 1);
  const auto info = results[0].GetTensorTypeAndShapeInfo();
  if (info.GetShape() != c.output) throw std::runtime_error("another shape");
  const float* const data = results[0].GetTensorData<float>();
  return {data, data + info.GetElementCount()};
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return std::numeric_limits<double>::infinity();
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(b[i])) return std::numeric_limits<double>::infinity();
    largest = std::max<double>(largest, std::abs(a[i]));
    worst = std::max<double>(worst, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  return worst / largest;
}

// The types that a case runs in on Tessera, the host having f32 of the same values.
struct Type {
  ONNXTensorElementDataType type;
  const char* suffix;
  double GraphCase::* tolerance;
};
constexpr Type kTypes[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "", &GraphCase::tolerance},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, ", f16", &GraphCase::half_tolerance},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, ", bf16", &GraphCase::bfloat_tolerance}};

bool passes(const GraphCase& c, Runtime& runtime, unsigned seed, const Type& type) {
  std::vector<std::uint64_t> before;
  for (const char* op : c.ops) before.push_back(runtime.runs_of(op));
  const std::vector<float> expected =
      result_of(c, runtime, false, seed, 1, {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, type.type});
  const std::vector<float> result = result_of(c, runtime, true, seed, 1, {type.type});
  const bool same_on_threads = result_of(c, runtime, true, seed, 3, {type.type}) == result;
  std::string missing;
  for (std::size_t i = 0; i < c.ops.size(); ++i) {
    if (runtime.runs_of(c.ops[i]) == before[i]) missing += std::string(", no ") + c.ops[i];
  }
  const double d = difference(expected, result);
  const bool passed = d < c.*type.tolerance && missing.empty() && same_on_threads;
  std::printf("%-44s differs by %.1e of the largest result%s%s%s\n", (c.name + type.suffix).c_str(),
              d, missing.c_str(), same_on_threads ? "" : ", other bits on threads",
              passed ? "" : ": FAILED");
  return passed;
}

}  // namespace

int check_graphs(Runtime& runtime) {
  std::vector<GraphCase> cases(std::begin(kLayers), std::end(kLayers));
  for (auto* const more : {attention_cases, conv_cases, layer_cases, quantized_cases}) {
    for (GraphCase& c : more()) cases.push_back(std::move(c));
  }
  int failures = 0;
  for (const GraphCase& c : cases) {
    for (const unsigned seed : {1, 2}) {
      for (const Type& type : kTypes) {
        if (c.*type.tolerance == 0) continue;
        try {
          failures += !passes(c, runtime, seed, type);
        } catch (const std::exception& error) {
          std::printf("%s%s: %s\n", c.name.c_str(), type.suffix, error.what());
          ++failures;
        }
      }
    }
  }
  return failures;
}

Ort::Session small_network(Ort::Env& env, const Ort::SessionOptions& options) {
  ModelBuilder model(5);
  model.input("x", {1, 3, 24, 24});
  const std::string a = model.node("Relu", {conv(model, "x", 3, 8, 3, 2)});
  const std::string b =
      model.node("Flatten", {model.node("GlobalAveragePool", {conv(model, a, 8, 16, 3)})});
  model.node("Gemm", {b, model.weights({16, 10}, 1), model.weights({10}, 1)}, {}, {"y"});
  model.output("y", {1, 10});
  return model.session(env, options);
}

std::vector<float> run_small_network(Ort::Session& session, const std::vector<float>& image) {
  std::vector<float> x = image, y(10);
  const Ort::Value input = tensor(x, {1, 3, 24, 24});
  Ort::Value output = tensor(y, {1, 10});
  const char *in = "x", *out = "y";
  session.Run(Ort::RunOptions{nullptr}, &in, &input, 1, &out, &output, 1);
  return y;
}

}  // namespace tessera::ort
