// SPDX-License-Identifier: Apache-2.0
// oneDNN: a matmul primitive, with B in the caller's layout or in the one that the primitive likes best.
#include <dlfcn.h>

#include <algorithm>
#include <dnnl.hpp>
#include <oneapi/dnnl/dnnl_graph.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "bench/attention_contender.h"
#include "bench/conv_contender.h"
#include "bench/nn_contender.h"
#include "bench/peers.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

template <class T>
constexpr Type kType = std::is_same_v<T, float>          ? Type::f32
                       : std::is_same_v<T, std::int8_t>  ? Type::s8
                       : std::is_same_v<T, std::int32_t> ? Type::s32
                       : std::is_same_v<T, bf16>         ? Type::bf16
                                                         : Type::f16;

struct Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};
Library& library() {
  static Library instance;
  return instance;
}

// The primitive for A of type `a_type`; false if there is only a reference implementation, which nobody
// would use.
bool describe(const GemmShape& s, Type a_type, Type b_type, Type c_type, Tag b_tag,
              dnnl::matmul::primitive_desc& description) {
  try {
    description = dnnl::matmul::primitive_desc(library().engine,
                                               dnnl::memory::desc({s.m, s.k}, a_type, Tag::ab),
                                               dnnl::memory::desc({s.k, s.n}, b_type, b_tag),
                                               dnnl::memory::desc({s.m, s.n}, c_type, Tag::ab));
  } catch (const dnnl::error&) {
    return false;
  }
  return std::string_view(description.impl_info_str()).find("ref") == std::string_view::npos;
}

// How B is given to the primitive, and A.
enum class Form {
  kPlain,
  kPacked,
  kRounding,  // packed, and A rounded to 16 bits like the weights, as a part of the call
};

template <class Types>
GemmRun onednn_gemm(const GemmOperands<Types>& o, Form form) {
  constexpr Type kA = kType<typename Types::A>, kB = kType<typename Types::B>,
                 kC = kType<typename Types::C>;
  const bool packed = form != Form::kPlain, rounding = form == Form::kRounding;
  const Tag stored = o.b_transposed ? Tag::ba : Tag::ab;
  const Tag wanted = packed ? Tag::any : stored;
  auto& [engine, stream] = library();
  dnnl::matmul::primitive_desc description;
  if (!describe(o.shape, rounding ? kB : kA, kB, kC, wanted, description)) return {};

  const auto data = [](const auto* p) {
    return const_cast<void*>(
        static_cast<const void*>(p));  // oneDNN knows no memory that is only read
  };
  const dnnl::memory a_given({{o.shape.m, o.shape.k}, kA, Tag::ab}, engine, data(o.a));
  const dnnl::memory b_given({{o.shape.k, o.shape.n}, kB, stored}, engine, data(o.b));
  const dnnl::memory c({{o.shape.m, o.shape.n}, kC, Tag::ab}, engine, data(o.c));
  const dnnl::memory a = rounding ? dnnl::memory(description.src_desc(), engine) : a_given;
  dnnl::memory b = b_given;
  if (packed) {
    b = dnnl::memory(description.weights_desc(), engine);
    dnnl::reorder(b_given, b).execute(stream, {{DNNL_ARG_FROM, b_given}, {DNNL_ARG_TO, b}});
    stream.wait();
  }
  const dnnl::matmul matmul(description);
  const std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}};
  const dnnl::reorder round = rounding ? dnnl::reorder(a_given, a) : dnnl::reorder();
  return {[=] {
            dnnl::stream& in = library().stream;
            if (rounding) round.execute(in, {{DNNL_ARG_FROM, a_given}, {DNNL_ARG_TO, a}});
            matmul.execute(in, arguments);
            in.wait();
          },
          {}};
}

template <class Types>
GemmPrepare<Types> prepare(Form form) {
  return [form](const GemmOperands<Types>& o) { return onednn_gemm(o, form); };
}

// Weights, and the result, in the layouts that the primitive likes best; the latter is brought back to [h, w, channels]
// where it isn't, at no cost. Winograd's algorithm where it may be used and is there.
template <class T>
ConvRun onednn_conv(const ConvOperands<T>& o) {
  auto& [engine, stream] = library();
  const ConvShape& s = o.shape;
  const index_t pad = s.padding();
  const dnnl::memory::dims x_dims = {1, s.in, s.size, s.size},
                           y_dims = {1, s.out, s.out_size(), s.out_size()},
                           stride = {s.stride, s.stride}, padding = {pad, pad};
  const dnnl::memory::dims w_dims =
      s.is_depthwise()
          ? dnnl::memory::dims{s.groups, s.out / s.groups, s.group_in(), s.kernel, s.kernel}
          : dnnl::memory::dims{s.out, s.in, s.kernel, s.kernel};
  const dnnl::memory::desc x_desc(x_dims, kType<T>, Tag::nhwc), y_desc(y_dims, kType<T>, Tag::nhwc);
  dnnl::primitive_attr attributes;
  if (std::is_integral_v<T>) {
    attributes.set_scales_mask(DNNL_ARG_WEIGHTS, s.is_depthwise() ? 3 : 1);  // per output channel
  }
  const auto describe_with = [&](dnnl::algorithm algorithm) {
    return dnnl::convolution_forward::primitive_desc(
        library().engine, dnnl::prop_kind::forward_inference, algorithm, x_desc,
        dnnl::memory::desc(w_dims, kType<T>, Tag::any),
        dnnl::memory::desc(y_dims, kType<T>, Tag::any), stride, padding, padding, attributes, true);
  };
  dnnl::convolution_forward::primitive_desc description;
  if (o.fast) description = describe_with(dnnl::algorithm::convolution_winograd);
  if (!description) description = describe_with(dnnl::algorithm::convolution_auto);
  if (!description) return {};

  const auto data = [](const auto* p) { return const_cast<void*>(static_cast<const void*>(p)); };
  const dnnl::memory x(x_desc, engine, data(o.x));
  const dnnl::memory w_given({w_dims, kType<T>, s.is_depthwise() ? Tag::gohwi : Tag::ohwi}, engine,
                             data(o.w));
  dnnl::memory w(description.weights_desc(), engine);
  dnnl::reorder(w_given, w).execute(stream, {{DNNL_ARG_FROM, w_given}, {DNNL_ARG_TO, w}});
  stream.wait();
  const bool direct = description.dst_desc() == y_desc;
  const dnnl::memory y_wanted(y_desc, engine, o.y);
  const dnnl::memory y = direct ? y_wanted : dnnl::memory(description.dst_desc(), engine);
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}};
  if (std::is_integral_v<T>) {
    arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS] =
        dnnl::memory({{s.out}, Type::f32, Tag::x}, engine, data(o.scales));
  }
  const dnnl::convolution_forward convolution(description);
  GemmRun run{[=] {
                dnnl::stream& in = library().stream;
                convolution.execute(in, arguments);
                in.wait();
              },
              {}};
  if (!direct) {
    run.finish = [y, y_wanted, back = dnnl::reorder(y, y_wanted)]() {
      dnnl::stream& in = library().stream;
      back.execute(in, {{DNNL_ARG_FROM, y}, {DNNL_ARG_TO, y_wanted}});
      in.wait();
    };
  }
  return {run, description.impl_info_str()};
}

// Its graphs have no operation for attention: they recognise it in the products, the scale, the mask and the softmax.
GemmRun onednn_attention(const AttentionOperands& o) {
  namespace dg = dnnl::graph;
  if (o.kv != KvType::kF32) return {};
  const AttentionShape& s = o.shape;
  using Tensor = dg::logical_tensor;
  std::size_t count = 0;
  const auto value = [&](const Tensor::dims& extents) {
    return Tensor(count++, Tensor::data_type::f32, extents, Tensor::layout_type::strided);
  };
  const Tensor::dims rows = {1, s.kv_heads, s.group(), s.tokens, s.dim},
                     kv_rows = {1, s.kv_heads, 1, s.keys, s.dim},
                     scores = {1, s.kv_heads, s.group(), s.tokens, s.keys};
  const Tensor q = value(rows), k = value(kv_rows), v = value(kv_rows), out = value(rows);
  const Tensor scale = value({1}), mask = value({1, 1, 1, s.tokens, s.keys});
  const Tensor products = value(scores), scaled = value(scores), masked = value(scores),
               weights = value(scores);
  dg::graph graph(dnnl::engine::kind::cpu);
  dg::op multiply_keys(0, dg::op::kind::MatMul, {q, k}, {products}, "keys");
  multiply_keys.set_attr<bool>(dg::op::attr::transpose_b, true);
  graph.add_op(multiply_keys);
  graph.add_op(dg::op(1, dg::op::kind::Multiply, {products, scale}, {scaled}, "scale"));
  if (s.causal) graph.add_op(dg::op(2, dg::op::kind::Add, {scaled, mask}, {masked}, "mask"));
  dg::op softmax(3, dg::op::kind::SoftMax, {s.causal ? masked : scaled}, {weights}, "softmax");
  softmax.set_attr<std::int64_t>(dg::op::attr::axis, -1);
  graph.add_op(softmax);
  graph.add_op(dg::op(4, dg::op::kind::MatMul, {weights, v}, {out}, "values"));
  graph.finalize();
  const std::vector<dg::partition> parts = graph.get_partitions();
  if (parts.size() != 1 || !parts[0].is_supported()) return {};

  struct State {
    float scale;
    std::vector<float> mask;
    dg::compiled_partition partition{};
    std::vector<dg::tensor> inputs{}, outputs{};
  };
  const auto state = std::make_shared<State>(s.scale(), causal_mask<float>(s));
  const std::vector<Tensor> inputs = parts[0].get_input_ports();
  state->partition = parts[0].compile(inputs, {out}, library().engine);
  const std::pair<std::size_t, const void*> memory[] = {{q.get_id(), o.q},
                                                        {k.get_id(), o.k},
                                                        {v.get_id(), o.v},
                                                        {scale.get_id(), &state->scale},
                                                        {mask.get_id(), state->mask.data()}};
  for (const Tensor& input : inputs) {
    const auto* const found =
        std::find_if(std::begin(memory), std::end(memory),
                     [&](const auto& m) { return m.first == input.get_id(); });
    state->inputs.emplace_back(input, library().engine, const_cast<void*>(found->second));
  }
  state->outputs.emplace_back(out, library().engine, o.out);
  return {[state] {
            dnnl::stream& in = library().stream;
            state->partition.execute(in, state->inputs, state->outputs);
            in.wait();
          },
          {}};
}

GemmRun onednn_nn(const NnOperands& o) {
  auto& [engine, stream] = library();
  const dnnl::memory::desc matrix({o.rows, o.cols}, Type::f32, Tag::ab);
  const dnnl::memory x(matrix, engine, const_cast<float*>(o.x)), y(matrix, engine, o.y);
  dnnl::primitive primitive;
  if (o.op == NnOp::kSoftmax) {
    primitive = dnnl::softmax_forward({engine, dnnl::prop_kind::forward_inference,
                                       dnnl::algorithm::softmax_accurate, matrix, matrix, 1});
  } else {
    const dnnl::normalization_flags flags = o.op == NnOp::kRmsNorm
                                                ? dnnl::normalization_flags::rms_norm
                                                : dnnl::normalization_flags::none;
    primitive = dnnl::layer_normalization_forward(
        {engine, dnnl::prop_kind::forward_inference, matrix, matrix, kNormEpsilon, flags});
  }
  const std::unordered_map<int, dnnl::memory> arguments = {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}};
  return {[=] {
            dnnl::stream& in = library().stream;
            primitive.execute(in, arguments);
            in.wait();
          },
          {}};
}

// Limits it to the instructions of Tessera's target, and to so many threads; says what it is.
std::string start(int threads) {
  const Target target = active_target();
  if (target == Target::kSse4) dnnl::set_max_cpu_isa(dnnl::cpu_isa::sse41);
  if (target == Target::kAvx2) dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
  // Built on OpenMP, it has no setting of its own.
  if (void* const set = dlsym(RTLD_DEFAULT, "omp_set_num_threads")) {
    reinterpret_cast<void (*)(int)>(set)(threads);
  }
  const dnnl_version_t& v = *dnnl::version();
  return "oneDNN " + std::to_string(v.major) + "." + std::to_string(v.minor) + "." +
         std::to_string(v.patch);
}

}  // namespace

void find_onednn(int threads, Contenders& found, Lines&) {
  const std::string about = start(threads);
  for (const Form form : {Form::kPlain, Form::kPacked}) {
    found.push_back({.name = "onednn",
                     .description = about,
                     .packed = form == Form::kPacked,
                     .f32 = prepare<F32>(form),
                     .s8 = prepare<S8>(form),
                     .bf16 = prepare<BF16>(form),
                     .f16 = prepare<F16>(form)});
  }
  found.push_back({.name = "onednn-rounding",
                   .description = about + ", A rounded to the type of the weights in each call",
                   .packed = true,
                   .bf16 = prepare<BF16>(Form::kRounding),
                   .f16 = prepare<F16>(Form::kRounding)});
}

void find_onednn_conv(int threads, ConvContenders& found, Lines&) {
  found.push_back({.name = "onednn",
                   .description = start(threads),
                   .f32 = onednn_conv<float>,
                   .s8 = onednn_conv<std::int8_t>});
}

void find_onednn_attention(int threads, AttentionContenders& found, Lines&) {
  found.push_back({.name = "onednn", .description = start(threads), .prepare = onednn_attention});
}

void find_onednn_nn(int threads, NnContenders& found, Lines&) {
  found.push_back({.name = "onednn", .description = start(threads), .prepare = onednn_nn});
}

}  // namespace tessera::bench
