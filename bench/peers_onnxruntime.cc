// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime: a model of one node, made in memory. B is an input of the model, or a constant of it that
// the session may reorder ("packed").
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>

#include "bench/conv_contender.h"
#include "bench/onnxruntime_library.h"
#include "bench/peers.h"
#include "bench/silently.h"
#include "bench/weights_contender.h"

namespace tessera::bench {
namespace {

using onnxruntime::Extents;
using onnxruntime::kLeastExternalBytes;
using onnxruntime::kOpset;
using onnxruntime::kOwnDomain;
using onnxruntime::Library;
using onnxruntime::load;
using onnxruntime::tensor;
using onnxruntime::value_info;

// Its kernels for x86 want A as u8 with a zero point: of s8, A is shifted as a part of the call.
template <class Types>
GemmRun onnxruntime_gemm(const GemmOperands<Types>& o, bool packed, Library& library) {
  using B = typename Types::B;
  using C = typename Types::C;
  constexpr bool kInteger = std::is_same_v<Types, S8>;
  using A = std::conditional_t<kInteger, std::uint8_t, typename Types::A>;
  // MatMulInteger has no transposed form.
  if (kInteger && o.b_transposed && !packed) return {};
  struct State {
    std::vector<B> weights;
    std::vector<std::uint8_t> bytes;  // A + 128
    std::optional<Ort::Session> session;
    std::optional<Ort::IoBinding> binding;
  };
  const auto state = std::make_shared<State>();
  const auto [m, n, k] = o.shape;
  const B* weights = o.b;
  bool transpose = o.b_transposed;
  if (kInteger && transpose) {
    state->weights = transposed_copy(o.b, n, k);
    weights = state->weights.data();
    transpose = false;
  }
  const index_t rows = transpose ? n : k, cols = transpose ? k : n;

  Ort::Graph graph;
  std::vector<Ort::ValueInfo> inputs, outputs;
  inputs.push_back(value_info<A>("a", {m, k}));
  if (!packed) inputs.push_back(value_info<B>("b", {rows, cols}));
  outputs.push_back(value_info<C>("c", {m, n}));
  graph.SetInputs(inputs);
  graph.SetOutputs(outputs);
  Ort::Value b = tensor(library, weights, {rows, cols});
  if (packed) {
    const std::size_t bytes = static_cast<std::size_t>(rows * cols) * sizeof(B);
    graph.AddInitializer("b", b, bytes >= kLeastExternalBytes);
  }
  std::vector<Ort::OpAttr> attributes;
  if (transpose) {
    const std::int64_t yes = 1;
    attributes.emplace_back("transB", &yes, 1, ORT_OP_ATTR_INT);
  }
  const char* const op = kInteger ? "MatMulInteger" : transpose ? "Gemm" : "MatMul";
  std::vector<std::string> operands = {"a", "b"};
  static const std::uint8_t zero_point = 128;
  if (kInteger) {
    operands.push_back("zero_point");
    const std::int64_t one = 1;
    Ort::Value value = Ort::Value::CreateTensor<std::uint8_t>(
        library.memory, const_cast<std::uint8_t*>(&zero_point), 1, &one, 1);
    graph.AddInitializer("zero_point", value, false);
  }
  Ort::Node node(op, "", "product", operands, {"c"}, attributes);
  graph.AddNode(node);
  Ort::Model model({{"", kOpset}});
  model.AddGraph(graph);
  state->session.emplace(library.env, model, library.options);

  state->binding.emplace(*state->session);
  if (!packed) state->binding->BindInput("b", b);
  state->binding->BindOutput("c", tensor(library, o.c, {m, n}));
  const auto run = [state] { state->session->Run(Ort::RunOptions{nullptr}, *state->binding); };
  if constexpr (kInteger) {
    state->bytes.resize(static_cast<std::size_t>(m * k));
    state->binding->BindInput("a", tensor(library, state->bytes.data(), {m, k}));
    return {[state, run, a = o.a] {
              std::uint8_t* const bytes = state->bytes.data();
              const std::size_t count = state->bytes.size();
              for (std::size_t i = 0; i < count; ++i) {
                bytes[i] = static_cast<std::uint8_t>(a[i] ^ 0x80);
              }
              run();
            },
            {}};
  } else {
    state->binding->BindInput("a", tensor(library, o.a, {m, k}));
    return {run, {}};
  }
}

// Operator MatMulNBits: codes of 4 or 8 bits, unsigned around their middle, in blocks of 32 with an f32 scale, as
// Q4_0 and Q8_0 have. `level` 4 lets it round A to 8 bits, a block at a time; 0 does not.
WeightsRun onnxruntime_weights(const WeightsOperands& o, std::int64_t level, Library& library) {
  const WeightsFormat& format = o.weights->format();
  const bool four = format.block == BlockFormat::kQ4_0;
  if (format.kind != WeightsFormat::kBlocks || (!four && format.block != BlockFormat::kQ8_0)) {
    return {};
  }
  struct State {
    std::vector<std::uint8_t>
        codes;                  // [n, blocks, bytes of a block], the lower half of a byte first
    std::vector<float> scales;  // [n, blocks]
    std::optional<Ort::Session> session;
    std::optional<Ort::IoBinding> binding;
  };
  const auto state = std::make_shared<State>();
  const auto [m, n, k] = o.shape;
  constexpr index_t kBlock = 32;
  const index_t blocks = k / kBlock;
  for (index_t i = 0; i < n * blocks; ++i) {
    const std::byte* const data = o.weights->blocks().data;
    if (four) {
      const BlockQ4_0& block = reinterpret_cast<const BlockQ4_0*>(data)[i];
      state->scales.push_back(static_cast<float>(block.d));
      for (int j = 0; j < kBlock; j += 2) {
        const int low = block.qs[j % 16], high = block.qs[j % 16 + 1], shift = j < 16 ? 0 : 4;
        state->codes.push_back(
            static_cast<std::uint8_t>((low >> shift & 15) | (high >> shift & 15) << 4));
      }
    } else {
      const BlockQ8_0& block = reinterpret_cast<const BlockQ8_0*>(data)[i];
      state->scales.push_back(static_cast<float>(block.d));
      for (const std::int8_t q : block.qs) {
        state->codes.push_back(static_cast<std::uint8_t>(q + 128));
      }
    }
  }

  Ort::Graph graph;
  std::vector<Ort::ValueInfo> inputs, outputs;
  inputs.push_back(value_info<float>("a", {m, k}));
  outputs.push_back(value_info<float>("c", {m, n}));
  graph.SetInputs(inputs);
  graph.SetOutputs(outputs);
  const std::int64_t extents[] = {n, blocks, four ? kBlock / 2 : kBlock};
  Ort::Value codes = Ort::Value::CreateTensor<std::uint8_t>(library.memory, state->codes.data(),
                                                            state->codes.size(), extents, 3);
  const std::int64_t scale_count = n * blocks;
  Ort::Value scales = Ort::Value::CreateTensor<float>(library.memory, state->scales.data(),
                                                      state->scales.size(), &scale_count, 1);
  graph.AddInitializer("b", codes, state->codes.size() >= kLeastExternalBytes);
  graph.AddInitializer("scales", scales, state->scales.size() * 4 >= kLeastExternalBytes);
  const std::int64_t bits = four ? 4 : 8, block = kBlock;
  const std::pair<const char*, std::int64_t> values[] = {
      {"K", k}, {"N", n}, {"bits", bits}, {"block_size", block}, {"accuracy_level", level}};
  std::vector<Ort::OpAttr> attributes;
  for (const auto& [name, value] : values) {
    attributes.emplace_back(name, &value, 1, ORT_OP_ATTR_INT);
  }
  Ort::Node node("MatMulNBits", kOwnDomain, "product", {"a", "b", "scales"}, {"c"}, attributes);
  graph.AddNode(node);
  Ort::Model model({{"", kOpset}, {kOwnDomain, 1}});
  model.AddGraph(graph);
  state->session.emplace(library.env, model, library.options);

  state->binding.emplace(*state->session);
  state->binding->BindInput("a", tensor(library, o.a, {m, k}));
  state->binding->BindOutput("c", tensor(library, o.c, {m, n}));
  return {{[state] { state->session->Run(Ort::RunOptions{nullptr}, *state->binding); }, {}},
          level == 4 ? kBlock : 0};
}

// Operator Conv of [channels, h, w]; its blocked kernels reorder x and y as parts of the call. Of integers,
// QLinearConv, in the variant for [h, w, channels], and with x and y as u8 with a zero point, for which it has its best
// kernels; they are shifted outside of the call.
template <class T>
ConvRun onnxruntime_conv(const ConvOperands<T>& o, Library& library) {
  constexpr bool kInteger = std::is_integral_v<T>;
  using X = std::conditional_t<kInteger, std::uint8_t, T>;
  struct State {
    PaddedArray<X> x, y;
    PaddedArray<T> w;
    std::vector<T> zeros{};
    std::optional<Ort::Session> session{};
    std::optional<Ort::IoBinding> binding{};
  };
  const ConvShape& s = o.shape;
  const auto state =
      std::make_shared<State>(PaddedArray<X>(ConvShape::elements(s.x())),
                              PaddedArray<X>(ConvShape::elements(s.y())), channels_first_w(o));
  if constexpr (kInteger) {
    std::transform(o.x, o.x + state->x.size, state->x.data(),
                   [](T x) { return static_cast<X>(x ^ 0x80); });
  } else {
    state->x = channels_first_x(o);
  }
  const Extents x_extents =
      kInteger ? Extents{1, s.size, s.size, s.in} : Extents{1, s.in, s.size, s.size};
  const Extents y_extents = kInteger ? Extents{1, s.out_size(), s.out_size(), s.out}
                                     : Extents{1, s.out, s.out_size(), s.out_size()};

  Ort::Graph graph;
  std::vector<Ort::ValueInfo> inputs, outputs;
  inputs.push_back(value_info<X>("x", x_extents));
  outputs.push_back(value_info<X>("y", y_extents));
  graph.SetInputs(inputs);
  graph.SetOutputs(outputs);
  const auto constant = [&](const char* name, const auto* data, const Extents& extents) {
    Ort::Value value = tensor(library, data, extents);
    std::size_t bytes = sizeof *data;
    for (const std::int64_t extent : extents) bytes *= static_cast<std::size_t>(extent);
    graph.AddInitializer(name, value, bytes >= kLeastExternalBytes);
  };
  constant("w", state->w.data(), {s.out, s.group_in(), s.kernel, s.kernel});
  std::vector<std::string> operands = {"x", "w"};
  static const float one = 1;
  static const X zero_point = 128;
  if constexpr (kInteger) {
    state->zeros.resize(static_cast<std::size_t>(s.out));
    constant("one", &one, {});
    constant("zero_point", &zero_point, {});
    constant("scales", o.scales, {s.out});
    constant("zeros", state->zeros.data(), {s.out});
    operands = {"x", "one", "zero_point", "w", "scales", "zeros", "one", "zero_point"};
  }
  std::vector<Ort::OpAttr> attributes;
  const auto integers = [&](const char* name, const Extents& values) {
    attributes.emplace_back(name, values.data(), static_cast<int>(values.size()), ORT_OP_ATTR_INTS);
  };
  const auto integer = [&](const char* name, std::int64_t value) {
    attributes.emplace_back(name, &value, 1, ORT_OP_ATTR_INT);
  };
  const index_t pad = s.padding();
  integers("kernel_shape", {s.kernel, s.kernel});
  integers("strides", {s.stride, s.stride});
  integers("pads", {pad, pad, pad, pad});
  integer("group", s.groups);
  if (kInteger) integer("channels_last", 1);
  Ort::Node node(kInteger ? "QLinearConv" : "Conv", kInteger ? kOwnDomain : "", "convolution",
                 operands, {"y"}, attributes);
  graph.AddNode(node);
  // The last one is of the blocked kernels that it replaces Conv with.
  Ort::Model model({{"", kOpset}, {kOwnDomain, 1}, {"com.microsoft.nchwc", 1}});
  model.AddGraph(graph);
  state->session.emplace(library.env, model, library.options);
  state->binding.emplace(*state->session);
  state->binding->BindInput("x", tensor(library, state->x.data(), x_extents));
  state->binding->BindOutput("y", tensor(library, state->y.data(), y_extents));
  return {{[state] { state->session->Run(Ort::RunOptions{nullptr}, *state->binding); },
           [state, o] {
             const X* const y = state->y.data();
             if constexpr (kInteger) {
               std::transform(y, y + state->y.size, o.y,
                              [](X v) { return static_cast<T>(v ^ 0x80); });
             } else {
               store_channels_first_y(y, o);
             }
           }}};
}

// Whether it can make a model in memory.
bool works(Library& library) {
  bool result = true;
  silently([&] {
    try {
      float a = 1, b = 1, c = 0;
      onnxruntime_gemm<F32>({{1, 1, 1}, false, &a, &b, &c}, false, library).call();
    } catch (const std::exception&) {
      result = false;
    }
  });
  return result;
}

}  // namespace

namespace onnxruntime {

std::shared_ptr<Library> load(int threads, Lines& missing) {
  const auto library = std::make_shared<Library>();
  library->options.SetIntraOpNumThreads(threads);
  library->options.SetInterOpNumThreads(1);
  if (works(*library)) return library;
  missing.push_back("onnxruntime: " + Ort::GetVersionString() + " makes no models in memory");
  return nullptr;
}

}  // namespace onnxruntime

void find_onnxruntime(int threads, Contenders& found, Lines& missing) {
  const std::shared_ptr<Library> library = load(threads, missing);
  if (library == nullptr) return;
  for (const bool packed : {false, true}) {
    const auto prepare = [library, packed](const auto& o) {
      return onnxruntime_gemm(o, packed, *library);
    };
    found.push_back({.name = "onnxruntime",
                     .description = "ONNX Runtime " + Ort::GetVersionString(),
                     .packed = packed,
                     .f32 = prepare,
                     .f64 = prepare,
                     .s8 = prepare});
  }
}

void find_onnxruntime_weights(int threads, WeightsContenders& found, Lines& missing) {
  const std::shared_ptr<Library> library = load(threads, missing);
  if (library == nullptr) return;
  for (const std::int64_t level : {0, 4}) {
    found.push_back({.name = "onnxruntime",
                     .mode = level == 0 ? "f32" : "int8",
                     .description = "ONNX Runtime " + Ort::GetVersionString(),
                     .prepare = [=](const WeightsOperands& o) {
                       return onnxruntime_weights(o, level, *library);
                     }});
  }
}

void find_onnxruntime_conv(int threads, ConvContenders& found, Lines& missing) {
  const std::shared_ptr<Library> library = load(threads, missing);
  if (library == nullptr) return;
  const auto prepare = [library](const auto& o) { return onnxruntime_conv(o, *library); };
  found.push_back({.name = "onnxruntime",
                   .description = "ONNX Runtime " + Ort::GetVersionString(),
                   .f32 = prepare,
                   .s8 = prepare});
}

}  // namespace tessera::bench
