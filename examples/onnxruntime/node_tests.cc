// SPDX-License-Identifier: Apache-2.0
#include "node_tests.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "onnx_tensor.h"

namespace tessera::ort {
namespace {

namespace fs = std::filesystem;

struct NodeTest {
  std::string name, model;
  std::vector<OnnxTensor> inputs, outputs;
};

std::vector<OnnxTensor> read_tensors(const fs::path& directory, const std::string& kind) {
  std::vector<OnnxTensor> tensors;
  for (int i = 0;; ++i) {
    const fs::path path = directory / (kind + "_" + std::to_string(i) + ".pb");
    if (!fs::exists(path)) return tensors;
    auto tensor = read_onnx_tensor(path.string());
    if (!tensor) return {};
    tensors.push_back(std::move(*tensor));
  }
}

// What the model makes of the inputs of the test; throws where the host cannot do it.
std::vector<Ort::Value> run(Ort::Env& env, const Ort::SessionOptions& options, NodeTest& test) {
  Ort::Session session(env, test.model.c_str(), options);
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<std::string> names = session.GetInputNames(), results = session.GetOutputNames();
  if (names.size() != test.inputs.size()) throw std::runtime_error("other inputs than the model");
  std::vector<const char*> input_names, output_names;
  std::vector<Ort::Value> inputs;
  for (std::size_t i = 0; i < names.size(); ++i) {
    OnnxTensor& t = test.inputs[i];
    input_names.push_back(names[i].c_str());
    inputs.push_back(Ort::Value::CreateTensor(cpu_memory(), t.bytes.data(), t.bytes.size(),
                                              t.shape.data(), t.shape.size(),
                                              static_cast<ONNXTensorElementDataType>(t.type)));
  }
  for (const std::string& name : results) output_names.push_back(name.c_str());
  return session.Run(Ort::RunOptions{nullptr}, input_names.data(), inputs.data(), inputs.size(),
                     output_names.data(), output_names.size());
}

std::vector<OnnxTensor> copies(const std::vector<Ort::Value>& values) {
  std::vector<OnnxTensor> tensors;
  for (const Ort::Value& value : values) {
    const auto info = value.GetTensorTypeAndShapeInfo();
    const auto* const data = static_cast<const std::byte*>(value.GetTensorRawData());
    tensors.push_back({info.GetShape(),
                       static_cast<int>(info.GetElementType()),
                       {data, data + value.GetTensorSizeInBytes()}});
  }
  return tensors;
}

float number_at(const void* data, std::size_t i, ONNXTensorElementDataType type) {
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) {
    return static_cast<const Ort::Float16_t*>(data)[i].ToFloat();
  }
  return static_cast<const float*>(data)[i];
}

// Empty if the results are those of the test. The tests' own tolerance of 1e-3 is not needed for f32; f16 has two units in the
// last place.
std::string difference(const std::vector<Ort::Value>& results, const NodeTest& test) {
  for (std::size_t i = 0; i < std::min(results.size(), test.outputs.size()); ++i) {
    const OnnxTensor& expected = test.outputs[i];
    const auto info = results[i].GetTensorTypeAndShapeInfo();
    const ONNXTensorElementDataType type = info.GetElementType();
    const std::string where = "output " + std::to_string(i);
    if (info.GetShape() != expected.shape) return where + ": another shape";
    if (static_cast<int>(type) != expected.type) return where + ": another type";
    const bool is_half = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && !is_half) {
      if (std::memcmp(results[i].GetTensorRawData(), expected.bytes.data(),
                      expected.bytes.size()) != 0) {
        return where + ": other integers";
      }
      continue;
    }
    for (std::size_t j = 0; j < expected.count(); ++j) {
      const float e = number_at(expected.bytes.data(), j, type);
      const float v = number_at(results[i].GetTensorRawData(), j, type);
      const float tolerance = (is_half ? 1e-3f : 1e-5f) + (is_half ? 2e-3f : 1e-4f) * std::abs(e);
      const bool same = (std::isnan(e) && std::isnan(v)) || v == e || std::abs(v - e) <= tolerance;
      if (!same) {
        return where + ": element " + std::to_string(j) + ": expected " + std::to_string(e) +
               ", got " + std::to_string(v);
      }
    }
  }
  return {};
}

// Operators, how tests of theirs are called, and how many of those nodes are ours at least.
struct Expectation {
  const char *op, *prefix;
  int least;
};
constexpr Expectation kExpectations[] = {
    {"Conv", "test_basic_conv_", 2},
    {"Conv", "test_conv_", 4},
    {"ConvTranspose", "test_convtranspose", 11},
    {"Gemm", "test_gemm_", 11},
    {"MatMul", "test_matmul_", 3},
    {"Softmax", "test_softmax_", 7},
    {"LogSoftmax", "test_logsoftmax_", 7},
    {"LayerNormalization", "test_layer_normalization_", 19},
    {"RMSNormalization", "test_rms_normalization_", 19},
    {"RotaryEmbedding", "test_rotary_embedding", 8},
    {"Attention", "test_attention_",
     60},  // two have masks before softcap, as ONNX had it before 1.22
    {"MatMulInteger", "test_matmulinteger", 1},
    {"ConvInteger", "test_convinteger_", 2},
    {"QLinearMatMul", "test_qlinearmatmul_", 4},
    {"QLinearConv", "test_qlinearconv", 1},
    {"DynamicQuantizeLinear", "test_dynamicquantizelinear", 3},
    {"Elu", "test_elu", 1},
    {"HardSigmoid", "test_hardsigmoid", 3},
    {"Softplus", "test_softplus", 2},
    {"PRelu", "test_prelu_", 2},
    {"LeakyRelu", "test_leakyrelu", 3},
    {"Mish", "test_mish", 1},
    {"Max", "test_max_", 3},
    {"Min", "test_min_", 3},
    {"Add", "test_add", 2},
    {"MaxPool", "test_maxpool_", 17},
    {"AveragePool", "test_averagepool_", 14},
    {"InstanceNormalization", "test_instancenorm_", 2},
    {"GroupNormalization", "test_group_normalization_", 2},
    {"Slice", "test_slice", 8},
    {"Split", "test_split_", 16},
    {"Gather", "test_gather_", 4},
    {"Where", "test_where_", 2},
    {"Cast", "test_cast_", 4},
    {"Transpose", "test_transpose_", 7},
    {"Concat", "test_concat_", 12},
    {"Expand", "test_expand_", 2},
    // With bodies, whose parts may not have the names of those around them.
    {"Add", "test_range_", 0},
    {"Add", "test_scan", 2},
    {"Add", "test_loop", 1},
};

}  // namespace

int check_nodes(Runtime& runtime, const std::string& directory) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  const bool verbose = std::getenv("TESSERA_ORT_VERBOSE") != nullptr;
  int failures = 0;
  for (const Expectation& e : kExpectations) {
    int tests = 0, ours = 0, not_of_host = 0;
    for (const fs::path& path : paths) {
      const std::string name = path.filename().string();
      if (!name.starts_with(e.prefix)) continue;
      const fs::path data = path / "test_data_set_0";
      NodeTest test{name, (path / "model.onnx").string(), read_tensors(data, "input"),
                    read_tensors(data, "output")};
      std::string problem;
      bool host_can = true;
      const std::uint64_t before = runtime.runs_of(e.op);
      try {
        const std::vector<Ort::Value> of_host = run(runtime.env(), runtime.options(false), test);
        if (!difference(of_host, test)
                 .empty()) {  // a test that contradicts the host: as the host, then
          ++not_of_host;
          test.outputs = copies(of_host);
        }
      } catch (const std::exception&) {
        ++not_of_host;
        host_can = false;
      }
      try {
        problem = difference(
            run(runtime.env(), runtime.options(true, 1, "reproducible", true), test), test);
      } catch (const std::exception& error) {
        problem = error.what();
      }
      const bool is_ours = runtime.runs_of(e.op) != before;
      ++tests;
      ours += is_ours;
      if (verbose && !is_ours) std::printf("%s: not by Tessera\n", name.c_str());
      // What the host alone cannot do, and none of ours took part in, says nothing about us.
      if (problem.empty()) continue;
      const bool is_failure = is_ours || host_can;
      if (verbose || is_failure) std::printf("%s: %s\n", name.c_str(), problem.c_str());
      failures += is_failure;
    }
    std::printf("%-22s %3d of %3d node tests by Tessera (%d that the host fails)\n", e.op, ours,
                tests, not_of_host);
    if (ours < e.least) {
      std::printf("%s: expected at least %d\n", e.op, e.least);
      ++failures;
    }
  }
  return failures;
}

}  // namespace tessera::ort
