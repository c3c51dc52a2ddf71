// SPDX-License-Identifier: Apache-2.0
// ggml: a graph of one mul_mat. Its weights are [n, k]: where B comes as [k, n], it takes part as packed only.
#include <ggml-backend.h>
#include <ggml.h>

#include <memory>
#include <type_traits>

#include "bench/peers.h"

namespace tessera::bench {
namespace {

template <class T>
constexpr ggml_type kType = std::is_same_v<T, float>  ? GGML_TYPE_F32
                            : std::is_same_v<T, bf16> ? GGML_TYPE_BF16
                                                      : GGML_TYPE_F16;

// What a graph refers to, freed in order.
struct Graph {
  ggml_context* context = nullptr;
  std::vector<ggml_backend_buffer_t> buffers;

  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    for (ggml_backend_buffer_t buffer : buffers) ggml_backend_buffer_free(buffer);
    ggml_free(context);
  }

  // The caller's memory as the data of `tensor`.
  void place(ggml_tensor* tensor, const void* data) {
    void* const memory = const_cast<void*>(data);
    buffers.push_back(ggml_backend_cpu_buffer_from_ptr(memory, ggml_nbytes(tensor)));
    ggml_backend_tensor_alloc(buffers.back(), tensor, memory);
  }
};

template <class Types>
GemmRun ggml_gemm(const GemmOperands<Types>& o, bool packed, ggml_backend_t backend) {
  using B = typename Types::B;
  if (packed == o.b_transposed) return {};
  struct State {
    tessera::detail::AlignedBytes weights;
    Graph graph;
  };
  const auto state = std::make_shared<State>();
  const auto [m, n, k] = o.shape;
  const void* weights = o.b;
  if (packed) {
    const std::vector<B> copy = transposed_copy(o.b, k, n);
    state->weights = tessera::detail::allocate_aligned(copy.size() * sizeof(B));
    std::copy(copy.begin(), copy.end(), reinterpret_cast<B*>(state->weights.get()));
    weights = state->weights.get();
  }
  Graph& graph = state->graph;
  graph.context = ggml_init({.mem_size = 8 * ggml_tensor_overhead() + ggml_graph_overhead(),
                             .mem_buffer = nullptr,
                             .no_alloc = true});
  ggml_tensor* const b = ggml_new_tensor_2d(graph.context, kType<B>, k, n);
  ggml_tensor* const a = ggml_new_tensor_2d(graph.context, GGML_TYPE_F32, k, m);
  ggml_tensor* const c = ggml_mul_mat(graph.context, b, a);
  graph.place(a, o.a);
  graph.place(b, weights);
  graph.place(c, o.c);
  ggml_cgraph* const nodes = ggml_new_graph(graph.context);
  ggml_build_forward_expand(nodes, c);
  return {[state, nodes, backend] { ggml_backend_graph_compute(backend, nodes); }, {}};
}

// What the chosen one of its backends was compiled for.
std::string features(ggml_backend_reg_t registry) {
  const auto get = reinterpret_cast<ggml_backend_get_features_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_get_features"));
  std::string result;
  if (get == nullptr) return result;
  for (const ggml_backend_feature* f = get(registry); f->name != nullptr; ++f) {
    result += std::string(" ") + f->name;
  }
  return result;
}

}  // namespace

void find_ggml(int threads, Contenders& found, Lines& missing) {
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);  // what it loads from where
  ggml_backend_load_all();
  const ggml_backend_t backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr);
  if (backend == nullptr) {
    missing.push_back("ggml: has no backend for this processor");
    return;
  }
  const ggml_backend_dev_t device = ggml_backend_get_device(backend);
  const ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
  const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"));
  if (set_threads != nullptr) set_threads(backend, threads);
  for (const bool packed : {false, true}) {
    found.push_back(
        {.name = "ggml",
         .description = std::string("ggml ") + ggml_version() + ":" + features(registry),
         .packed = packed,
         .f32 = [=](const GemmOperands<F32>& o) { return ggml_gemm(o, packed, backend); },
         .bf16 = [=](const GemmOperands<BF16>& o) { return ggml_gemm(o, packed, backend); },
         .f16 = [=](const GemmOperands<F16>& o) { return ggml_gemm(o, packed, backend); }});
  }
}

}  // namespace tessera::bench
