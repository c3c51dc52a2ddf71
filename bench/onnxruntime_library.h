// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime, and parts of the models that its contenders make in memory.
#ifndef TESSERA_BENCH_ONNXRUNTIME_LIBRARY_H_
#define TESSERA_BENCH_ONNXRUNTIME_LIBRARY_H_

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/peers.h"

namespace tessera::bench::onnxruntime {

inline constexpr int kOpset = 20;
inline constexpr char kOwnDomain[] = "com.microsoft";
// Smaller constants must be copied into the model.
inline constexpr std::size_t kLeastExternalBytes = 128;

struct Library {
  Ort::Env env{ORT_LOGGING_LEVEL_ERROR, "bench"};
  Ort::SessionOptions options;
  Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
};

using Extents = std::vector<std::int64_t>;

template <class T>
Ort::Value tensor(const Library& library, const T* data, const Extents& extents) {
  std::size_t count = 1;
  for (const std::int64_t extent : extents) count *= static_cast<std::size_t>(extent);
  return Ort::Value::CreateTensor<T>(library.memory, const_cast<T*>(data), count, extents.data(),
                                     extents.size());
}

template <class T>
Ort::ValueInfo value_info(const char* name, const Extents& extents) {
  const Ort::TensorTypeAndShapeInfo shape(Ort::TypeToTensorType<T>::type, extents);
  const Ort::TypeInfo type = Ort::TypeInfo::CreateTensorInfo(shape.GetConst());
  return Ort::ValueInfo(name, type.GetConst());
}

// Null, and a line in `missing`, if it makes no models in memory.
std::shared_ptr<Library> load(int threads, Lines& missing);

}  // namespace tessera::bench::onnxruntime

#endif  // TESSERA_BENCH_ONNXRUNTIME_LIBRARY_H_
