// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime, opened at run time, and the provider in it: what the test and the figures stand on.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_RUNTIME_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_RUNTIME_H_

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "api.h"

namespace tessera::ort {

inline constexpr char kProvider[] = "TesseraExecutionProvider";
inline constexpr char kRegisteredName[] = "tessera";

using Extents = std::vector<std::int64_t>;

inline std::size_t elements(const Extents& extents) {
  std::size_t product = 1;
  for (const std::int64_t extent : extents) product *= static_cast<std::size_t>(extent);
  return product;
}

// Opens libonnxruntime: Ort::Api is its from then on.
inline void load_onnxruntime() {
  void* const library = dlopen("libonnxruntime.so.1.23", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  const auto base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
  if (base == nullptr) throw std::runtime_error(dlerror());
  Ort::InitApi(base()->GetApi(ORT_API_VERSION));
}

class Runtime {
 public:
  explicit Runtime(std::string provider_library)
      : env_(ORT_LOGGING_LEVEL_FATAL, "test"), library_(std::move(provider_library)) {
    register_provider();
  }

  void register_provider() { env_.RegisterExecutionProviderLibrary(kRegisteredName, library_); }
  void unregister_provider() { env_.UnregisterExecutionProviderLibrary(kRegisteredName); }

  Ort::Env& env() { return env_; }
  const std::string& library() const { return library_; }

  std::vector<Ort::ConstEpDevice> devices() const {
    std::vector<Ort::ConstEpDevice> ours;
    for (const Ort::ConstEpDevice& device : env_.GetEpDevices()) {
      if (std::string(device.EpName()) == kProvider) ours.push_back(device);
    }
    return ours;
  }

  Ort::SessionOptions options(bool accelerated, int threads = 1,
                              const char* numerics = "reproducible",
                              bool takes_glue_alone = false) const {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    options.SetInterOpNumThreads(1);
    if (!accelerated) return options;
    Ort::KeyValuePairs own;
    own.Add("threads", std::to_string(threads).c_str());
    own.Add("numerics", numerics);
    if (takes_glue_alone) own.Add("glue", "alone");
    options.AppendExecutionProvider_V2(env(), devices(), own);
    return options;
  }

  // How many kernels of the provider did this operator.
  std::uint64_t runs_of(const char* op) const {
    void* const library = dlopen(library_.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) throw std::runtime_error(dlerror());
    const auto runs =
        reinterpret_cast<std::uint64_t (*)(const char*)>(dlsym(library, "tessera_ort_runs"));
    const std::uint64_t result = runs(op);
    dlclose(library);
    return result;
  }

 private:
  Ort::Env& env() const { return const_cast<Ort::Env&>(env_); }

  Ort::Env env_;
  std::string library_;
};

inline Ort::MemoryInfo cpu_memory() {
  return Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
}

template <class T>
Ort::Value tensor(std::vector<T>& memory, const Extents& extents) {
  return Ort::Value::CreateTensor<T>(cpu_memory(), memory.data(), memory.size(), extents.data(),
                                     extents.size());
}

// Of a node.
struct Attributes {
  std::vector<std::pair<const char*, Extents>> lists{};
  std::vector<std::pair<const char*, std::int64_t>> integers{};
  std::vector<std::pair<const char*, float>> floats{};
  std::vector<std::pair<const char*, std::string>> strings{};
};

// Of weights: their type, and the type whose values they have.
struct Precision {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, values = type;
};

// A model that is made in memory, with random weights.
class ModelBuilder {
 public:
  explicit ModelBuilder(unsigned seed, Precision precision = {}, int opset = 21)
      : random_(seed), precision_(precision), opset_(opset) {}

  void input(const std::string& name, const Extents& extents) {
    inputs_.push_back(value_info(name, extents));
  }
  void output(const std::string& name, const Extents& extents) {
    outputs_.push_back(value_info(name, extents));
  }

  template <class T>
  std::string constant(const std::vector<T>& values, const Extents& extents) {
    const std::string name = "c" + std::to_string(count_++);
    Ort::AllocatorWithDefaultOptions allocator;
    Ort::Value value = Ort::Value::CreateTensor<T>(allocator, extents.data(), extents.size());
    std::copy(values.begin(), values.end(), value.template GetTensorMutableData<T>());
    graph_.AddInitializer(name, value, false);
    return name;
  }

  // Uniform in -limit .. limit.
  std::string weights(const Extents& extents, float limit) {
    return weight(random(elements(extents), limit), extents);
  }
  std::string weight(const std::vector<float>& values, const Extents& extents) {
    switch (precision_.type) {
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
        return constant<Ort::Float16_t>({values.begin(), values.end()}, extents);
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
        return constant<Ort::BFloat16_t>({values.begin(), values.end()}, extents);
      default:
        return constant(rounded(values), extents);
    }
  }
  // The values that weights of these get.
  std::vector<float> rounded(std::vector<float> values) const {
    for (float& v : values) {
      if (precision_.values == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16)
        v = Ort::Float16_t(v).ToFloat();
      if (precision_.values == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16)
        v = Ort::BFloat16_t(v).ToFloat();
    }
    return values;
  }
  std::vector<float> random(std::size_t count, float limit) {
    std::uniform_real_distribution<float> uniform(-limit, limit);
    std::vector<float> values(count);
    for (float& v : values) v = uniform(random_);
    return values;
  }

  // Returns the name of its first result.
  std::string node(const char* op, const std::vector<std::string>& inputs,
                   const Attributes& attributes = {}, std::vector<std::string> outputs = {},
                   const char* domain = "") {
    std::vector<Ort::OpAttr> all;
    for (const auto& [name, values] : attributes.lists) {
      all.emplace_back(name, values.data(), static_cast<int>(values.size()), ORT_OP_ATTR_INTS);
    }
    for (const auto& [name, value] : attributes.integers)
      all.emplace_back(name, &value, 1, ORT_OP_ATTR_INT);
    for (const auto& [name, value] : attributes.floats)
      all.emplace_back(name, &value, 1, ORT_OP_ATTR_FLOAT);
    for (const auto& [name, value] : attributes.strings) {
      all.emplace_back(name, value.data(), static_cast<int>(value.size()), ORT_OP_ATTR_STRING);
    }
    if (outputs.empty()) outputs.push_back("v" + std::to_string(count_));
    Ort::Node node(op, domain, "n" + std::to_string(count_++), inputs, outputs, all);
    graph_.AddNode(node);
    return outputs[0];
  }

  Ort::Session session(Ort::Env& env, const Ort::SessionOptions& options) {
    graph_.SetInputs(inputs_);
    graph_.SetOutputs(outputs_);
    Ort::Model model({{"", opset_}, {"com.microsoft", 1}, {"com.microsoft.nchwc", 1}});
    model.AddGraph(graph_);
    return Ort::Session(env, model, options);
  }

 private:
  static Ort::ValueInfo value_info(const std::string& name, const Extents& extents) {
    const Ort::TensorTypeAndShapeInfo shape(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, extents);
    const Ort::TypeInfo type = Ort::TypeInfo::CreateTensorInfo(shape.GetConst());
    return Ort::ValueInfo(name, type.GetConst());
  }

  std::mt19937 random_;
  Precision precision_;
  int opset_;  // of ONNX
  Ort::Graph graph_;
  std::vector<Ort::ValueInfo> inputs_, outputs_;
  int count_ = 0;
};

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_RUNTIME_H_
