// SPDX-License-Identifier: Apache-2.0
// The plugin execution provider: what ONNX Runtime loads and calls. No exception gets past a function of this file.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api.h"
#include "graph.h"
#include "partition.h"
#include "program.h"

#define TESSERA_ORT_EXPORT extern "C" __attribute__((visibility("default")))

namespace tessera::ort {
namespace {

constexpr char kName[] = "TesseraExecutionProvider";
constexpr char kVendor[] = "Tessera";

OrtStatus* status_of(const char* what, OrtErrorCode code = ORT_FAIL) noexcept {
  return Ort::GetApi().CreateStatus(code, what);
}

// Runs f; its errors become those of the host.
template <class F>
OrtStatus* guarded(F&& f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const Ort::Exception& error) {
    return status_of(error.what(), error.GetOrtErrorCode());
  } catch (const std::exception& error) {
    return status_of(error.what());
  } catch (...) {
    return status_of("tessera: unknown error");
  }
}

// A run, in the host's memory and on its threads.
class KernelHost : public Host {
 public:
  KernelHost(OrtKernelContext* context, index_t threads)
      : context_(context), parallel_for_{context}, threads_(threads) {}

  Tensor input(std::size_t i) override {
    const Ort::ConstValue value = context_.GetInput(i);
    const auto info = value.GetTensorTypeAndShapeInfo();
    return {const_cast<void*>(value.GetTensorRawData()), info.GetElementType(), info.GetShape()};
  }

  void* output(std::size_t i, const Shape& shape) override {
    return context_.GetOutput(i, shape).GetTensorMutableRawData();
  }

  Executor executor() override { return Executor::from_function(threads_, parallel_for_); }

 private:
  struct ParallelFor {
    OrtKernelContext* context;

    struct Call {
      TaskRef task;
      std::mutex mutex;
      std::exception_ptr error;
    };
    void operator()(index_t tasks, TaskRef task) const {
      Call call{task, {}, {}};
      const auto run = [](void* data, std::size_t i) {
        Call& c = *static_cast<Call*>(data);
        try {
          c.task(static_cast<index_t>(i));
        } catch (...) {
          const std::lock_guard lock(c.mutex);
          c.error = std::current_exception();
        }
      };
      Ort::ThrowOnError(Ort::GetApi().KernelContext_ParallelFor(
          context, run, static_cast<std::size_t>(tasks), 0, &call));
      if (call.error) std::rethrow_exception(call.error);
    }
  };

  Ort::KernelContext context_;
  ParallelFor parallel_for_;
  index_t threads_;
};

// A compiled part of a graph, as the host calls it.
struct Compiled : OrtNodeComputeInfo {
  Compiled(const Graph& graph, const std::vector<std::string>& inputs,
           const std::vector<std::string>& outputs)
      : OrtNodeComputeInfo{}, program(graph, inputs, outputs), threads(graph.settings.threads) {
    ort_version_supported = ORT_API_VERSION;
    OrtNodeComputeInfo::CreateState = [](OrtNodeComputeInfo*, OrtNodeComputeContext*,
                                         void** state) noexcept -> OrtStatus* {
      *state = nullptr;
      return nullptr;
    };
    OrtNodeComputeInfo::Compute = [](OrtNodeComputeInfo* self, void*,
                                     OrtKernelContext* context) noexcept {
      return guarded([&] {
        Compiled& compiled = *static_cast<Compiled*>(self);
        KernelHost host(context, compiled.threads);
        compiled.program.run(host);
      });
    };
    OrtNodeComputeInfo::ReleaseState = [](OrtNodeComputeInfo*, void*) noexcept {};
  }

  Program program;
  index_t threads;
};

std::vector<std::string> names(const std::vector<Ort::ConstValueInfo>& values) {
  std::vector<std::string> result;
  for (const Ort::ConstValueInfo& value : values) {
    const bool exists = static_cast<const OrtValueInfo*>(value) != nullptr;
    result.push_back(exists ? value.GetName() : std::string());
  }
  return result;
}

// An option of the provider, as ONNX Runtime keeps it in those of the session; empty if it is not given.
std::string option(const OrtSessionOptions* options, const char* name) {
  std::string key = "ep.tesseraexecutionprovider.";
  key += name;
  int exists = 0;
  Ort::ThrowOnError(Ort::GetApi().HasSessionConfigEntry(options, key.c_str(), &exists));
  if (exists == 0) return {};
  std::size_t size = 0;
  Ort::ThrowOnError(Ort::GetApi().GetSessionConfigEntry(options, key.c_str(), nullptr, &size));
  std::string value(size, '\0');
  Ort::ThrowOnError(Ort::GetApi().GetSessionConfigEntry(options, key.c_str(), value.data(), &size));
  return value.c_str();
}

// Into how many parts work is cut: what the option says, else the environment, else as many as there are processors. The host does
// not tell how many threads it has; it does more parts than those one after the other.
index_t read_threads(const OrtSessionOptions* options) {
  constexpr char kVariable[] = "TESSERA_NUM_THREADS";
  std::string name = "threads", given = option(options, "threads");
  const char* const variable = std::getenv(kVariable);
  if (given.empty() && variable != nullptr) {
    name = kVariable;
    given = variable;
  }
  if (given.empty()) return std::max<index_t>(1, std::thread::hardware_concurrency());
  const int threads = std::atoi(given.c_str());
  if (threads < 1) {
    throw std::invalid_argument("tessera: " + name + ": expected at least 1, got " + given);
  }
  return threads;
}

Settings read_settings(const OrtSessionOptions* options) {
  Settings settings;
  const std::string numerics = option(options, "numerics");
  if (numerics == "fast") {
    settings.numerics = Numerics::kFast;
  } else if (!numerics.empty() && numerics != "reproducible") {
    throw std::invalid_argument("tessera: numerics: expected reproducible or fast, got " +
                                numerics);
  }
  settings.takes_glue_alone = option(options, "glue") == "alone";
  settings.threads = read_threads(options);
  return settings;
}

// A provider of one session.
struct Provider : OrtEp {
  explicit Provider(const Settings& s) : OrtEp{}, settings(s) {
    ort_version_supported = ORT_API_VERSION;
    OrtEp::GetName = [](const OrtEp*) noexcept -> const char* { return kName; };
    OrtEp::GetCapability = [](OrtEp* self, const OrtGraph* graph,
                              OrtEpGraphSupportInfo* info) noexcept {
      return guarded([&] { static_cast<Provider*>(self)->take_nodes(graph, info); });
    };
    OrtEp::Compile = [](OrtEp* self, const OrtGraph** graphs, const OrtNode** nodes,
                        std::size_t count, OrtNodeComputeInfo** results, OrtNode**) noexcept {
      return guarded([&] {
        for (std::size_t i = 0; i < count; ++i) {
          results[i] = static_cast<Provider*>(self)->compile(graphs[i], nodes[i]).release();
        }
      });
    };
    OrtEp::ReleaseNodeComputeInfos = [](OrtEp*, OrtNodeComputeInfo** infos,
                                        std::size_t count) noexcept {
      for (std::size_t i = 0; i < count; ++i) delete static_cast<Compiled*>(infos[i]);
    };
  }

  Graph read(const OrtGraph* from) const {
    Graph graph = read_graph(Ort::ConstGraph(from));
    graph.settings = settings;
    return graph;
  }

  void take_nodes(const OrtGraph* from, OrtEpGraphSupportInfo* info) const {
    // The host counts parts from 0 on whenever it asks, and two of a session must not have one name: what it asks for after the
    // first graph that was compiled, such as one around the body of a loop, or one with functions inlined, is its own.
    if (has_compiled) return;
    const Graph graph = read(from);
    for (const auto& group : partition(graph)) {
      std::vector<const OrtNode*> handles;
      for (const Node* node : group) handles.push_back(node->handle);
      OrtNodeFusionOptions options{};
      options.ort_version_supported = ORT_API_VERSION;
      options.drop_constant_initializers = true;  // the program has packed or copied them
      Ort::ThrowOnError(Ort::GetEpApi().EpGraphSupportInfo_AddNodesToFuse(
          info, handles.data(), handles.size(), &options));
    }
  }

  std::unique_ptr<Compiled> compile(const OrtGraph* graph, const OrtNode* fused) {
    const Ort::ConstNode node(fused);
    has_compiled = true;
    return std::make_unique<Compiled>(read(graph), names(node.GetInputs()),
                                      names(node.GetOutputs()));
  }

  Settings settings;
  bool has_compiled = false;
};

struct Factory : OrtEpFactory {
  explicit Factory(int version) : OrtEpFactory{}, host_version(version) {
    ort_version_supported = ORT_API_VERSION;
    OrtEpFactory::GetName = [](const OrtEpFactory*) noexcept -> const char* { return kName; };
    OrtEpFactory::GetVendor = [](const OrtEpFactory*) noexcept -> const char* { return kVendor; };
    OrtEpFactory::GetVendorId = [](const OrtEpFactory*) noexcept -> std::uint32_t { return 0; };
    OrtEpFactory::GetVersion = [](const OrtEpFactory*) noexcept -> const char* {
      return TESSERA_ORT_VERSION;
    };
    OrtEpFactory::GetSupportedDevices =
        [](OrtEpFactory* self, const OrtHardwareDevice* const* devices, std::size_t count,
           OrtEpDevice** found, std::size_t most, std::size_t* found_count) noexcept {
          return guarded([&] {
            *found_count = 0;
            for (std::size_t i = 0; i < count && *found_count < most; ++i) {
              if (Ort::GetApi().HardwareDevice_Type(devices[i]) != OrtHardwareDeviceType_CPU)
                continue;
              Ort::ThrowOnError(Ort::GetEpApi().CreateEpDevice(self, devices[i], nullptr, nullptr,
                                                               &found[*found_count]));
              ++*found_count;
            }
          });
        };
    OrtEpFactory::CreateEp =
        [](OrtEpFactory* self, const OrtHardwareDevice* const*, const OrtKeyValuePairs* const*,
           std::size_t, const OrtSessionOptions* options, const OrtLogger*, OrtEp** ep) noexcept {
          return guarded([&] {
            Settings settings = read_settings(options);
            settings.host_version = static_cast<Factory*>(self)->host_version;
            *ep = new Provider(settings);
          });
        };
    OrtEpFactory::ReleaseEp = [](OrtEpFactory*, OrtEp* ep) noexcept {
      delete static_cast<Provider*>(ep);
    };
    OrtEpFactory::CreateAllocator = [](OrtEpFactory*, const OrtMemoryInfo*, const OrtKeyValuePairs*,
                                       OrtAllocator** allocator) noexcept -> OrtStatus* {
      *allocator = nullptr;  // that of the CPU
      return nullptr;
    };
    OrtEpFactory::ReleaseAllocator = [](OrtEpFactory*, OrtAllocator*) noexcept {};
    OrtEpFactory::CreateDataTransfer = [](OrtEpFactory*,
                                          OrtDataTransferImpl** transfer) noexcept -> OrtStatus* {
      *transfer = nullptr;
      return nullptr;
    };
    OrtEpFactory::IsStreamAware = [](const OrtEpFactory*) noexcept { return false; };
    OrtEpFactory::CreateSyncStreamForDevice =
        [](OrtEpFactory*, const OrtMemoryDevice*, const OrtKeyValuePairs*,
           OrtSyncStreamImpl** stream) noexcept -> OrtStatus* {
      *stream = nullptr;
      return nullptr;
    };
  }

  int host_version;
};

// 23 of "1.23.2".
int minor_version(const std::string& version) {
  const std::size_t dot = version.find('.');
  return dot == std::string::npos ? ORT_API_VERSION : std::atoi(version.c_str() + dot + 1);
}

}  // namespace
}  // namespace tessera::ort

TESSERA_ORT_EXPORT OrtStatus* CreateEpFactories(const char*, const OrtApiBase* base,
                                                const OrtLogger*, OrtEpFactory** factories,
                                                std::size_t most, std::size_t* count) noexcept {
  const OrtApi* const api = base->GetApi(ORT_API_VERSION);
  if (api == nullptr) {
    const std::string message = "tessera: made for ONNX Runtime 1." +
                                std::to_string(ORT_API_VERSION) + " or newer, got " +
                                base->GetVersionString();
    return base->GetApi(1)->CreateStatus(ORT_FAIL, message.c_str());
  }
  Ort::InitApi(api);
  return tessera::ort::guarded([&] {
    *count = 0;
    if (most < 1) throw std::length_error("tessera: no room for a factory");
    factories[0] = new tessera::ort::Factory(tessera::ort::minor_version(base->GetVersionString()));
    *count = 1;
  });
}

TESSERA_ORT_EXPORT OrtStatus* ReleaseEpFactory(OrtEpFactory* factory) noexcept {
  delete static_cast<tessera::ort::Factory*>(factory);
  return nullptr;
}

// How many kernels of an operator ran in this process. For tests.
TESSERA_ORT_EXPORT std::uint64_t tessera_ort_runs(const char* op) noexcept {
  try {
    return tessera::ort::runs_of(op);
  } catch (...) {
    return 0;
  }
}
