// SPDX-License-Identifier: Apache-2.0
// ggml: a graph of one mul_mat. Its weights are [n, k]: where B comes as [k, n], it takes part as packed only.
#include <ggml-backend.h>
#include <ggml.h>

#include <strings.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <type_traits>

#include "bench/attention_contender.h"
#include "bench/conv_contender.h"
#include "bench/nn_contender.h"
#include "bench/peers.h"
#include "bench/weights_contender.h"

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

ggml_context* new_context() {
  return ggml_init({.mem_size = 8 * ggml_tensor_overhead() + ggml_graph_overhead(),
                    .mem_buffer = nullptr,
                    .no_alloc = true});
}

// What computes `result`; `state` owns it.
template <class State>
GemmRun run_of(const std::shared_ptr<State>& state, ggml_context* context, ggml_tensor* result,
               ggml_backend_t backend) {
  ggml_cgraph* const nodes = ggml_new_graph(context);
  ggml_build_forward_expand(nodes, result);
  return {[state, nodes, backend] { ggml_backend_graph_compute(backend, nodes); }, {}};
}

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
  graph.context = new_context();
  ggml_tensor* const b = ggml_new_tensor_2d(graph.context, kType<B>, k, n);
  ggml_tensor* const a = ggml_new_tensor_2d(graph.context, GGML_TYPE_F32, k, m);
  ggml_tensor* const c = ggml_mul_mat(graph.context, b, a);
  graph.place(a, o.a);
  graph.place(b, weights);
  graph.place(c, o.c);
  return run_of(state, graph.context, c, backend);
}

// Its blocks have the same bytes as Tessera's.
ggml_type type_of(const WeightsFormat& format) {
  if (format.kind != WeightsFormat::kBlocks) return GGML_TYPE_COUNT;
  for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
    const auto type = static_cast<ggml_type>(i);
    const char* const name = ggml_type_name(type);
    if (name != nullptr && strcasecmp(name, format.name) == 0) return type;
  }
  return GGML_TYPE_COUNT;
}

// `kind`: memory that reorders weights when they are written to it; null: as they are. Activations are rounded
// to blocks of 256 for weights in such blocks, of 32 for others.
WeightsRun ggml_weights(const WeightsOperands& o, ggml_backend_t backend,
                        ggml_backend_buffer_type_t kind) {
  const ggml_type type = type_of(o.weights->format());
  if (type == GGML_TYPE_COUNT) return {};
  const auto graph = std::make_shared<Graph>();
  const auto [m, n, k] = o.shape;
  graph->context = new_context();
  ggml_tensor* const b = ggml_new_tensor_2d(graph->context, type, k, n);
  ggml_tensor* const a = ggml_new_tensor_2d(graph->context, GGML_TYPE_F32, k, m);
  ggml_tensor* const c = ggml_mul_mat(graph->context, b, a);
  graph->place(a, o.a);
  graph->place(c, o.c);
  const std::byte* const blocks = o.weights->blocks().data;
  if (kind == nullptr) {
    graph->place(b, blocks);
  } else {
    const ggml_backend_buffer_t buffer =
        ggml_backend_buft_alloc_buffer(kind, ggml_backend_buft_get_alloc_size(kind, b));
    graph->buffers.push_back(buffer);
    ggml_backend_tensor_alloc(buffer, b, ggml_backend_buffer_get_base(buffer));
    if (!ggml_backend_supports_op(backend, c)) return {};
    ggml_backend_tensor_set(b, blocks, 0, ggml_nbytes(b));
  }
  return {run_of(graph, graph->context, c, backend), ggml_blck_size(type) == 256 ? 256 : 32};
}

// A copy to another type; the way back is a plain function.
GemmRun ggml_conversion(const Conversion& o, ggml_backend_t backend) {
  const ggml_type type = type_of(o.weights->format());
  if (type == GGML_TYPE_COUNT) return {};
  const index_t n = o.weights->n(), k = o.weights->k();
  if (!o.quantizes) {
    return {[to_float = ggml_get_type_traits(type)->to_float, o, count = n * k] {
              to_float(o.weights->blocks().data, o.values, count);
            },
            {}};
  }
  const auto graph = std::make_shared<Graph>();
  graph->context = new_context();
  ggml_tensor* const x = ggml_new_tensor_2d(graph->context, GGML_TYPE_F32, k, n);
  ggml_tensor* const y = ggml_new_tensor_2d(graph->context, type, k, n);
  graph->place(x, o.values);
  graph->place(y, o.blocks);
  ggml_tensor* const copy = ggml_cpy(graph->context, x, y);
  return run_of(graph, graph->context, copy, backend);
}

// Its direct convolutions: of [channels, h, w], and depthwise ones of [h, w, channels].
ConvRun ggml_conv(const ConvOperands<float>& o, ggml_backend_t backend) {
  struct State {
    PaddedArray<float> x, w, y;
    Graph graph{};
  };
  const ConvShape& s = o.shape;
  const auto state =
      s.is_depthwise() ? std::make_shared<State>(PaddedArray<float>(0),
                                                 padded_copy(transposed_copy(o.w, s.out, s.taps())),
                                                 PaddedArray<float>(0))
                       : std::make_shared<State>(channels_first_x(o), channels_first_w(o),
                                                 PaddedArray<float>(s.pixels() * s.out));
  const auto stride = static_cast<int>(s.stride), pad = static_cast<int>(s.padding());
  Graph& graph = state->graph;
  graph.context = new_context();
  const auto tensor = [&](const float* data, index_t e0, index_t e1, index_t e2, index_t e3) {
    ggml_tensor* const t = ggml_new_tensor_4d(graph.context, GGML_TYPE_F32, e0, e1, e2, e3);
    graph.place(t, data);
    return t;
  };
  if (s.is_depthwise()) {
    // The order of the axes is that of the other ones, the order in memory is not.
    ggml_tensor* const w = tensor(state->w.data(), s.in, 1, s.kernel, s.kernel);
    ggml_tensor* const x = tensor(o.x, s.in, s.size, s.size, 1);
    ggml_tensor* const y = ggml_conv_2d_dw_direct(
        graph.context, ggml_permute(graph.context, w, 3, 2, 0, 1),
        ggml_permute(graph.context, x, 2, 0, 1, 3), stride, stride, pad, pad, 1, 1);
    graph.place(y, o.y);
    return {run_of(state, graph.context, y, backend), ggml_op_name(y->op)};
  }
  ggml_tensor* const w = tensor(state->w.data(), s.kernel, s.kernel, s.in, s.out);
  ggml_tensor* const x = tensor(state->x.data(), s.size, s.size, s.in, 1);
  ggml_tensor* const y = ggml_conv_2d_direct(graph.context, w, x, stride, stride, pad, pad, 1, 1);
  graph.place(y, state->y.data());
  ConvRun result{run_of(state, graph.context, y, backend), ggml_op_name(y->op)};
  result.run.finish = [state, o] { store_channels_first_y(state->y.data(), o); };
  return result;
}

// Its result is [tokens, heads, dim].
GemmRun ggml_attention(const AttentionOperands& o, ggml_backend_t backend) {
  struct State {
    PaddedArray<ggml_fp16_t> mask;
    PaddedArray<float> out;
    Graph graph{};
  };
  const AttentionShape& s = o.shape;
  const auto state =
      std::make_shared<State>(PaddedArray<ggml_fp16_t>(s.causal ? s.tokens * s.keys : 0),
                              PaddedArray<float>(s.queries() * s.dim));
  Graph& graph = state->graph;
  graph.context = new_context();
  const auto tensor = [&](ggml_type type, const void* data, index_t rows, index_t heads) {
    ggml_tensor* const t = ggml_new_tensor_3d(graph.context, type, s.dim, rows, heads);
    graph.place(t, data);
    return t;
  };
  const ggml_type kv = o.kv == KvType::kF32   ? GGML_TYPE_F32
                       : o.kv == KvType::kF16 ? GGML_TYPE_F16
                                              : GGML_TYPE_Q8_0;
  ggml_tensor* const q = tensor(GGML_TYPE_F32, o.q, s.tokens, s.heads);
  ggml_tensor* const k = tensor(kv, o.k, s.keys, s.kv_heads);
  ggml_tensor* const v = tensor(kv, o.v, s.keys, s.kv_heads);
  ggml_tensor* mask = nullptr;
  if (s.causal) {
    const std::vector<float> values = causal_mask<float>(s);
    ggml_fp32_to_fp16_row(values.data(), state->mask.data(), state->mask.size);
    mask = ggml_new_tensor_2d(graph.context, GGML_TYPE_F16, s.keys, s.tokens);
    graph.place(mask, state->mask.data());
  }
  ggml_tensor* const out = ggml_flash_attn_ext(graph.context, q, k, v, mask, s.scale(), 0, 0);
  graph.place(out, state->out.data());
  GemmRun run = run_of(state, graph.context, out, backend);
  run.finish = [state, o] {
    swap_heads_and_tokens(state->out.data(), o.shape.tokens, o.shape.heads, o.shape.dim, o.out);
  };
  return run;
}

GemmRun ggml_nn(const NnOperands& o, ggml_backend_t backend) {
  const auto graph = std::make_shared<Graph>();
  graph->context = new_context();
  ggml_tensor* const x = ggml_new_tensor_2d(graph->context, GGML_TYPE_F32, o.cols, o.rows);
  ggml_tensor* const y = o.op == NnOp::kSoftmax   ? ggml_soft_max(graph->context, x)
                         : o.op == NnOp::kRmsNorm ? ggml_rms_norm(graph->context, x, kNormEpsilon)
                                                  : ggml_norm(graph->context, x, kNormEpsilon);
  graph->place(x, o.x);
  graph->place(y, o.y);
  return run_of(graph, graph->context, y, backend);
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

// Its backend for this processor on `threads` threads.
struct Processor {
  ggml_backend_t backend = nullptr;
  ggml_backend_dev_t device = nullptr;
  ggml_backend_reg_t registry = nullptr;
  std::string description;

  Processor(int threads, Lines& missing) {
    ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);  // what it loads from where
    ggml_backend_load_all();
    backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr);
    if (backend == nullptr) {
      missing.push_back("ggml: has no backend for this processor");
      return;
    }
    device = ggml_backend_get_device(backend);
    registry = ggml_backend_dev_backend_reg(device);
    const auto set_threads = function<ggml_backend_set_n_threads_t>("ggml_backend_set_n_threads");
    if (set_threads != nullptr) set_threads(backend, threads);
    description = std::string("ggml ") + ggml_version() + ":" + features(registry);
  }

  template <class F>
  F function(const char* name) const {
    return reinterpret_cast<F>(ggml_backend_reg_get_proc_address(registry, name));
  }
};

}  // namespace

void find_ggml(int threads, Contenders& found, Lines& missing) {
  const Processor processor(threads, missing);
  const ggml_backend_t backend = processor.backend;
  if (backend == nullptr) return;
  for (const bool packed : {false, true}) {
    found.push_back(
        {.name = "ggml",
         .description = processor.description,
         .packed = packed,
         .f32 = [=](const GemmOperands<F32>& o) { return ggml_gemm(o, packed, backend); },
         .bf16 = [=](const GemmOperands<BF16>& o) { return ggml_gemm(o, packed, backend); },
         .f16 = [=](const GemmOperands<F16>& o) { return ggml_gemm(o, packed, backend); }});
  }
}

void find_ggml_weights(int threads, WeightsContenders& found, Lines& missing) {
  const Processor processor(threads, missing);
  const ggml_backend_t backend = processor.backend;
  if (backend == nullptr) return;
  const auto add = [&](const std::string& mode, ggml_backend_buffer_type_t kind) {
    found.push_back(
        {.name = "ggml",
         .mode = mode,
         .description = processor.description,
         .prepare = [=](const WeightsOperands& o) { return ggml_weights(o, backend, kind); }});
  };
  add("int8", nullptr);
  found.back().convert = [=](const Conversion& o) { return ggml_conversion(o, backend); };
  // A list that ends with a null pointer: CPU_REPACK, and what this processor has besides, such as AMX.
  const auto get_kinds =
      processor.function<ggml_backend_dev_get_extra_bufts_t>("ggml_backend_dev_get_extra_bufts");
  ggml_backend_buffer_type_t* const kinds =
      get_kinds == nullptr ? nullptr : get_kinds(processor.device);
  if (kinds == nullptr || *kinds == nullptr) missing.push_back("ggml: no repacked weights");
  for (auto* kind = kinds; kind != nullptr && *kind != nullptr; ++kind) {
    std::string mode = ggml_backend_buft_name(*kind);
    if (mode.starts_with("CPU_")) mode.erase(0, 4);
    std::transform(mode.begin(), mode.end(), mode.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    add("int8 " + mode, *kind);
  }
}

void find_ggml_conv(int threads, ConvContenders& found, Lines& missing) {
  const Processor processor(threads, missing);
  const ggml_backend_t backend = processor.backend;
  if (backend == nullptr) return;
  found.push_back({.name = "ggml",
                   .description = processor.description,
                   .f32 = [=](const ConvOperands<float>& o) { return ggml_conv(o, backend); }});
}

void find_ggml_attention(int threads, AttentionContenders& found, Lines& missing) {
  const Processor processor(threads, missing);
  const ggml_backend_t backend = processor.backend;
  if (backend == nullptr) return;
  found.push_back(
      {.name = "ggml",
       .description = processor.description,
       .prepare = [=](const AttentionOperands& o) { return ggml_attention(o, backend); }});
}

void find_ggml_nn(int threads, NnContenders& found, Lines& missing) {
  const Processor processor(threads, missing);
  const ggml_backend_t backend = processor.backend;
  if (backend == nullptr) return;
  found.push_back({.name = "ggml",
                   .description = processor.description,
                   .prepare = [=](const NnOperands& o) { return ggml_nn(o, backend); }});
}

}  // namespace tessera::bench
