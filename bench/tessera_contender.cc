// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <vector>

#include "bench/attention_contender.h"
#include "bench/conv_contender.h"
#include "bench/network_contender.h"
#include "bench/nn_contender.h"
#include "bench/peers.h"
#include "bench/thread_pool.h"
#include "bench/weights_contender.h"
#include "tessera/core/attention_layout.h"
#include "tessera/core/kv_cache.h"
#include "tessera/core/layout.h"
#include "tessera/ops/attention.h"
#include "tessera/ops/conv.h"
#include "tessera/ops/gemm.h"
#include "tessera/ops/norm.h"
#include "tessera/ops/pad.h"
#include "tessera/ops/pool.h"
#include "tessera/ops/softmax.h"

namespace tessera::bench {
namespace {

// "tile=1,kc=256" into a tuning.
GemmTuning parse_variant(const std::string& variant) {
  GemmTuning tuning;
  std::string_view rest = variant;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(item.size() + 1, rest.size()));
    const std::size_t equals = std::min(item.find('='), item.size());
    const std::string_view key = item.substr(0, equals);
    const std::string_view value = item.substr(std::min(equals + 1, item.size()));
    index_t number = -1;
    std::from_chars(value.data(), value.data() + value.size(), number);
    if (key == "packing" && (value == "never" || value == "always")) {
      tuning.packing =
          value == "never" ? GemmTuning::Packing::kNever : GemmTuning::Packing::kAlways;
    } else if (key == "tile" && number >= 0) {
      tuning.tile = static_cast<int>(number);
    } else if (key == "mc" && number > 0) {
      tuning.mc = number;
    } else if (key == "kc" && number > 0) {
      tuning.kc = number;
    } else if (key == "nc" && number > 0) {
      tuning.nc = number;
    } else {
      throw std::invalid_argument(
          "variant \"" + variant + "\": \"" + std::string(item) +
          "\" is none of tile=, mc=, kc=, nc=<number>, packing=never|always");
    }
  }
  return tuning;
}

// What a call needs, kept alive by the runs that use it.
struct Runtime {
  explicit Runtime(int threads) : pool(threads) {
    if (threads > 1) context.executor = Executor::from_function(threads, pool);
  }
  ThreadPool pool;
  Context context;
};

template <class Types>
GemmPrepare<Types> tessera_gemm(const std::shared_ptr<Runtime>& runtime, bool packed) {
  return [runtime, packed](const GemmOperands<Types>& o) -> GemmRun {
    const auto [m, n, k] = o.shape;
    const auto a = row_major(o.a, {m, k});
    const auto b = o.b_transposed ? transposed(row_major(o.b, {n, k})) : row_major(o.b, {k, n});
    const auto c = row_major(o.c, {m, n});
    Context* const context = &runtime->context;
    if (!packed) return {[=] { gemm(a, b, c, {.context = context}); }, {}};
    const auto weights = std::make_shared<decltype(pack_b(b))>(pack_b(b, {.context = context}));
    return {[=] { gemm(a, *weights, c, {.context = context}); }, {}};
  };
}

// Filters are packed before.
template <class T>
ConvRun tessera_conv_run(const ConvOperands<T>& o, const std::shared_ptr<Runtime>& runtime) {
  const ConvShape& s = o.shape;
  const index_t pad = s.padding(), in = s.size, out = s.out_size();
  const ConvOptions<2> options{.stride = {s.stride, s.stride},
                               .padding = {pad, pad, pad, pad},
                               .groups = s.groups,
                               .numerics = o.fast ? Numerics::kFast : Numerics::kReproducible,
                               .context = &runtime->context};
  const auto x = nhwc(o.x, {index_t{1}, in, in, s.in});
  const auto w = ohwi(o.w, {s.out, s.kernel, s.kernel, s.group_in()});
  const auto y = nhwc(o.y, {index_t{1}, out, out, s.out});
  const Epilogue epilogue =
      std::is_integral_v<T> ? epi::requantize(row_major(o.scales, {s.out})) : Epilogue{};
  const auto filters = std::make_shared<PackedFilters<T, 2>>(pack_conv2d(w, options));
  return {{[=] { conv2d(x, *filters, y, options, epilogue); }, {}},
          explain_conv2d(x, *filters, y, options, epilogue).to_string()};
}

// Filters are packed before. Each value has memory of its own.
GemmRun tessera_network(const NetworkOperands& o, const std::shared_ptr<Runtime>& runtime) {
  struct State {
    std::vector<PaddedArray<float>> values{};
    std::vector<std::function<void()>> steps{};
  };
  const auto state = std::make_shared<State>();
  const Network& net = *o.network;
  Context* const context = &runtime->context;
  std::vector<View<float, 4>> views = {nhwc(
      const_cast<float*>(o.x), {index_t{1}, net.input.size, net.input.size, net.input.channels})};
  for (std::size_t i = 0; i < net.layers.size(); ++i) {
    const NetworkLayer& layer = net.layers[i];
    const auto output = std::find(net.outputs.begin(), net.outputs.end(), i + 1);
    const bool is_output = output != net.outputs.end();
    state->values.emplace_back(is_output ? 0 : layer.y.elements());
    float* const data = is_output ? o.y[static_cast<std::size_t>(output - net.outputs.begin())]
                                  : state->values.back().data();
    views.push_back(nhwc(data, {index_t{1}, layer.y.size, layer.y.size, layer.y.channels}));
    const View<const float, 4> x = views[layer.input];
    View<float, 4> y = views.back();  // what the layer itself gives
    y.extents[1] = y.extents[2] = layer.computed;
    const std::array<index_t, 4> padding = {layer.pad_begin, layer.pad_begin, layer.pad_end,
                                            layer.pad_end};
    const std::array<index_t, 2> kernel = {layer.kernel, layer.kernel},
                                 stride = {layer.stride, layer.stride};
    if (layer.kind == NetworkLayer::Kind::kMaxPool) {
      const MaxPool2dOptions options{
          .kernel = kernel, .stride = stride, .padding = padding, .context = context};
      state->steps.emplace_back([=] { max_pool2d(x, y, options); });
      continue;
    }
    if (layer.kind == NetworkLayer::Kind::kAveragePool) {
      const AveragePool2dOptions options{
          .kernel = kernel, .stride = stride, .padding = padding, .context = context};
      y.extents[3] = layer.x.channels;  // the others stay 0
      state->steps.emplace_back([=] { average_pool2d(x, y, options); });
      continue;
    }
    const ConvOptions<2> options{
        .stride = stride, .padding = padding, .groups = layer.groups(), .context = context};
    const auto w =
        ohwi(o.weights[i], {layer.y.channels, layer.kernel, layer.kernel, layer.group_in()});
    const auto filters = std::make_shared<PackedFilters<float, 2>>(pack_conv2d(w, options));
    Epilogue epilogue = epi::bias(row_major(o.bias[i], {layer.y.channels}));
    if (layer.residual != 0) {
      View<const float, 4> residual = views[layer.residual];
      if (layer.computed != layer.y.size) {
        state->steps.emplace_back([residual, whole = views.back(), context] {
          pad(residual, whole, {.context = context});
        });
      }
      residual.extents = y.extents;
      epilogue = epilogue | epi::residual(residual);
    }
    if (layer.activation == NetworkLayer::Activation::kRelu) epilogue = epilogue | epi::relu();
    if (layer.activation == NetworkLayer::Activation::kRelu6) epilogue = epilogue | epi::relu6();
    state->steps.emplace_back([=] { conv2d(x, *filters, y, options, epilogue); });
  }
  return {[state] {
            for (const auto& step : state->steps) step();
          },
          {}};
}

GemmRun tessera_attention_run(const AttentionOperands& o, const std::shared_ptr<Runtime>& runtime) {
  const AttentionShape& s = o.shape;
  const AttentionOptions options{.causal = s.causal, .context = &runtime->context};
  const auto q = heads_first(o.q, {index_t{1}, s.heads, s.tokens, s.dim});
  const auto out = heads_first(o.out, {index_t{1}, s.heads, s.tokens, s.dim});
  const auto run = [&](const auto& k, const auto& v) -> GemmRun {
    return {[=] { attention(q, k, v, out, options); }, {}};
  };
  const auto plain = [&]<class T>(const T* k, const void* v) {
    const index_t extents[] = {1, s.kv_heads, s.keys, s.dim};
    return run(heads_first(k, extents), heads_first(static_cast<const T*>(v), extents));
  };
  if (o.kv == KvType::kF32) return plain(static_cast<const float*>(o.k), o.v);
  if (o.kv == KvType::kF16) return plain(static_cast<const f16*>(o.k), o.v);
  const auto cache = [&](const void* data) {
    return block_cache(static_cast<const std::byte*>(data), BlockFormat::kQ8_0,
                       {1, s.kv_heads, s.keys, s.dim});
  };
  return run(cache(o.k), cache(o.v));
}

GemmRun tessera_nn_run(const NnOperands& o, const std::shared_ptr<Runtime>& runtime) {
  const auto x = row_major(o.x, {o.rows, o.cols});
  const auto y = row_major(o.y, {o.rows, o.cols});
  Context* const context = &runtime->context;
  if (o.op == NnOp::kSoftmax) return {[=] { softmax(x, y, {.context = context}); }, {}};
  const NormOptions options{.epsilon = kNormEpsilon, .context = context};
  if (o.op == NnOp::kRmsNorm) return {[=] { rms_norm(x, y, options); }, {}};
  return {[=] { layer_norm(x, y, options); }, {}};
}

}  // namespace

GemmContender tessera_contender(int threads, bool packed, const std::string& variant) {
  const auto runtime = std::make_shared<Runtime>(threads);
  runtime->context.gemm = parse_variant(variant);
  return {.name = variant.empty() ? "tessera" : variant,
          .description = "target " + std::string(name(active_target())),
          .packed = packed,
          .f32 = tessera_gemm<F32>(runtime, packed),
          .f64 = tessera_gemm<F64>(runtime, packed),
          .s8 = tessera_gemm<S8>(runtime, packed),
          .bf16 = tessera_gemm<BF16>(runtime, packed),
          .f16 = tessera_gemm<F16>(runtime, packed)};
}

WeightsContenders tessera_weights(int threads) {
  const auto runtime = std::make_shared<Runtime>(threads);
  const auto product = [runtime](const WeightsOperands& o, Activations activations) -> GemmRun {
    const auto [m, n, k] = o.shape;
    const auto a = row_major(o.a, {m, k});
    const auto c = row_major(o.c, {m, n});
    const GemmOptions options{.activations = activations, .context = &runtime->context};
    const auto w = std::make_shared<PackedWeights>(o.weights->pack(&runtime->context));
    return {[=] { gemm(a, *w, c, options); }, {}};
  };
  const auto convert = [runtime](const Conversion& o) -> GemmRun {
    const ConstBlockView blocks = o.weights->blocks();
    const auto values = row_major(o.values, {blocks.rows, blocks.cols});
    Context* const context = &runtime->context;
    if (!o.quantizes) return {[=] { dequantize(blocks, values, {.context = context}); }, {}};
    const BlockView to = tessera::blocks(blocks.format, o.blocks, blocks.rows, blocks.cols);
    return {[=] { quantize(values, to, {.context = context}); }, {}};
  };
  const std::string about = "target " + std::string(name(active_target()));
  return {{.name = "tessera",
           .mode = "f32",
           .description = about,
           .prepare = [=](const WeightsOperands& o) -> WeightsRun {
             return {product(o, Activations::kFloat)};
           },
           .convert = convert},
          {.name = "tessera",
           .mode = "int8",
           .description = about,
           .prepare = [=](const WeightsOperands& o) -> WeightsRun {
             const WeightsFormat& format = o.weights->format();
             if (format.kind == WeightsFormat::kFp8) return {};
             if (format.kind == WeightsFormat::kPerRow) {
               return {product(o, Activations::kInt8Row), o.shape.k};
             }
             return {product(o, Activations::kInt8Block256), 256};
           }}};
}

ConvContenders tessera_conv(int threads) {
  const auto runtime = std::make_shared<Runtime>(threads);
  const auto prepare = [runtime](const auto& o) { return tessera_conv_run(o, runtime); };
  return {{.name = "tessera",
           .description = "target " + std::string(name(active_target())),
           .f32 = prepare,
           .s8 = prepare}};
}

NetworkContenders tessera_networks(int threads) {
  const auto runtime = std::make_shared<Runtime>(threads);
  return {{.name = "tessera",
           .description = "target " + std::string(name(active_target())),
           .prepare = [runtime](const NetworkOperands& o) { return tessera_network(o, runtime); }}};
}

AttentionContenders tessera_attention(int threads) {
  const auto runtime = std::make_shared<Runtime>(threads);
  return {{.name = "tessera",
           .description = "target " + std::string(name(active_target())),
           .prepare = [runtime](const AttentionOperands& o) {
             return tessera_attention_run(o, runtime);
           }}};
}

NnContenders tessera_nn(int threads) {
  const auto runtime = std::make_shared<Runtime>(threads);
  return {{.name = "tessera",
           .description = "target " + std::string(name(active_target())),
           .prepare = [runtime](const NnOperands& o) { return tessera_nn_run(o, runtime); }}};
}

}  // namespace tessera::bench
