// SPDX-License-Identifier: Apache-2.0
// XNNPACK: batch matrix multiply where B comes as it is, fully connected where it is packed before.
#include <pthreadpool.h>
#include <xnnpack.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "bench/attention_contender.h"
#include "bench/conv_contender.h"
#include "bench/nn_contender.h"
#include "bench/peers.h"
#include "bench/weights_contender.h"

namespace tessera::bench {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Operator = std::shared_ptr<xnn_operator>;
Operator own(xnn_operator_t op) { return {op, &xnn_delete_operator}; }

// Fully connected layers take [n, k] unless told otherwise.
template <class Types>
std::uint32_t layout_flag(const GemmOperands<Types>& o) {
  return o.b_transposed ? 0 : XNN_FLAG_TRANSPOSE_WEIGHTS;
}

GemmRun run_of(const Operator& op, pthreadpool_t pool) {
  return {[op, pool] { xnn_run_operator(op.get(), pool); }, {}};
}

GemmRun multiply(const GemmOperands<F32>& o, pthreadpool_t pool) {
  const auto m = static_cast<std::size_t>(o.shape.m), n = static_cast<std::size_t>(o.shape.n),
             k = static_cast<std::size_t>(o.shape.k);
  xnn_operator_t made = nullptr;
  const std::uint32_t flags = o.b_transposed ? XNN_FLAG_TRANSPOSE_B : 0;
  if (xnn_create_batch_matrix_multiply_nc_f32(flags, &made) != xnn_status_success) return {};
  const Operator op = own(made);
  std::size_t bytes = 0, alignment = 0;
  const std::size_t one = 1;
  if (xnn_reshape_batch_matrix_multiply_nc_f32(made, 1, &one, &one, m, k, n, &bytes, &alignment,
                                               pool) != xnn_status_success) {
    return {};
  }
  const auto workspace =
      std::make_shared<tessera::detail::AlignedBytes>(tessera::detail::allocate_aligned(bytes + 1));
  if (xnn_setup_batch_matrix_multiply_nc_f32(made, workspace->get(), o.a, o.b, o.c) !=
      xnn_status_success) {
    return {};
  }
  return {[op, pool, workspace] { xnn_run_operator(op.get(), pool); }, {}};
}

GemmRun multiply_packed(const GemmOperands<F32>& o, pthreadpool_t pool) {
  const auto m = static_cast<std::size_t>(o.shape.m), n = static_cast<std::size_t>(o.shape.n),
             k = static_cast<std::size_t>(o.shape.k);
  xnn_operator_t op = nullptr;
  if (xnn_create_fully_connected_nc_f32(k, n, k, n, o.b, nullptr, -kInfinity, kInfinity,
                                        layout_flag(o), nullptr, nullptr,
                                        &op) != xnn_status_success) {
    return {};
  }
  const Operator owned = own(op);
  if (xnn_reshape_fully_connected_nc_f32(op, m, pool) != xnn_status_success ||
      xnn_setup_fully_connected_nc_f32(op, o.a, o.c) != xnn_status_success) {
    return {};
  }
  return run_of(owned, pool);
}

// It widens the weights when it packs them: the reads of a product of 32 bits.
GemmRun multiply_packed(const GemmOperands<F16>& o, pthreadpool_t pool) {
  const auto m = static_cast<std::size_t>(o.shape.m), n = static_cast<std::size_t>(o.shape.n),
             k = static_cast<std::size_t>(o.shape.k);
  xnn_operator_t op = nullptr;
  if (xnn_create_fully_connected_nc_f32_f16(k, n, k, n, o.b, nullptr, -kInfinity, kInfinity,
                                            layout_flag(o), nullptr, nullptr,
                                            &op) != xnn_status_success) {
    return {};
  }
  const Operator owned = own(op);
  if (xnn_reshape_fully_connected_nc_f32_f16(op, m, pool) != xnn_status_success ||
      xnn_setup_fully_connected_nc_f32_f16(op, o.a, o.c) != xnn_status_success) {
    return {};
  }
  return run_of(owned, pool);
}

// Its sums leave the kernel as floats, times a scale that is one here: exact below 2^24.
GemmRun multiply_packed(const GemmOperands<S8>& o, pthreadpool_t pool) {
  const auto m = static_cast<std::size_t>(o.shape.m), n = static_cast<std::size_t>(o.shape.n),
             k = static_cast<std::size_t>(o.shape.k);
  const std::vector<float> scales(n, 1.0f);
  xnn_operator_t op = nullptr;
  if (xnn_create_fully_connected_nc_qd8_f32_qc8w(k, n, k, n, scales.data(), o.b, nullptr,
                                                 -kInfinity, kInfinity, layout_flag(o), nullptr,
                                                 nullptr, &op) != xnn_status_success) {
    return {};
  }
  const Operator owned = own(op);
  struct State {
    std::vector<xnn_quantization_params> rows;
    std::vector<float> sums;
  };
  const auto state = std::make_shared<State>();
  state->rows.assign(m + XNN_EXTRA_QUANTIZATION_PARAMS, {0, 1.0f});
  state->sums.resize(m * n);
  if (xnn_reshape_fully_connected_nc_qd8_f32_qc8w(op, m, pool) != xnn_status_success ||
      xnn_setup_fully_connected_nc_qd8_f32_qc8w(op, o.a, state->sums.data(), state->rows.data()) !=
          xnn_status_success) {
    return {};
  }
  return {[owned, pool, state] { xnn_run_operator(owned.get(), pool); },
          [state, c = o.c] {
            std::transform(state->sums.begin(), state->sums.end(), c,
                           [](float x) { return static_cast<std::int32_t>(x); });
          }};
}

// Codes of 4 bits are unsigned around 8 there, ours signed: the same but for their highest bits. Of 8 bits there
// is a copy anyway.
std::vector<std::uint8_t> codes_of(const GroupQuantizedView& v) {
  std::vector<std::uint8_t> codes(v.codes, v.codes + v.rows * v.row_bytes);
  if (v.bits == 4) {
    for (std::uint8_t& byte : codes) byte ^= 0x88;
  }
  return codes;
}
constexpr std::uint8_t kMiddle = 8;

// Integers of 4 or 8 bits with a scale per row of W, A as f32.
GemmRun multiply_float(const WeightsOperands& o, pthreadpool_t pool) {
  const GroupQuantizedView v = o.weights->groups();
  const auto m = static_cast<std::size_t>(o.shape.m), n = static_cast<std::size_t>(o.shape.n),
             k = static_cast<std::size_t>(o.shape.k);
  const std::vector<std::uint8_t> codes = codes_of(v);
  const auto* const scales = static_cast<const float*>(v.scales);
  xnn_operator_t op = nullptr;
  const bool four = v.bits == 4;
  const xnn_status made =
      four ? xnn_create_fully_connected_nc_f32_qc4w(k, n, k, n, kMiddle, scales, codes.data(),
                                                    nullptr, -kInfinity, kInfinity, 0, nullptr,
                                                    nullptr, &op)
           : xnn_create_fully_connected_nc_f32_qc8w(
                 k, n, k, n, scales, reinterpret_cast<const std::int8_t*>(codes.data()), nullptr,
                 -kInfinity, kInfinity, 0, nullptr, nullptr, &op);
  if (made != xnn_status_success) return {};
  const Operator owned = own(op);
  const auto reshape =
      four ? xnn_reshape_fully_connected_nc_f32_qc4w : xnn_reshape_fully_connected_nc_f32_qc8w;
  const auto setup =
      four ? xnn_setup_fully_connected_nc_f32_qc4w : xnn_setup_fully_connected_nc_f32_qc8w;
  if (reshape(op, m, pool) != xnn_status_success || setup(op, o.a, o.c) != xnn_status_success) {
    return {};
  }
  return run_of(owned, pool);
}

// Likewise, A rounded to 8 bits by each call, with a scale and a zero point per row.
GemmRun multiply_dynamic(const WeightsOperands& o, pthreadpool_t pool) {
  const GroupQuantizedView v = o.weights->groups();
  const auto m = static_cast<std::size_t>(o.shape.m), n = static_cast<std::size_t>(o.shape.n),
             k = static_cast<std::size_t>(o.shape.k);
  const std::vector<std::uint8_t> codes = codes_of(v);
  const auto* const scales = static_cast<const float*>(v.scales);
  struct State {
    std::vector<std::int8_t> a;
    std::vector<xnn_quantization_params> rows;
    Operator round, multiply;
  };
  const auto state = std::make_shared<State>();
  state->a.resize(m * k + XNN_EXTRA_BYTES);
  state->rows.resize(m + XNN_EXTRA_QUANTIZATION_PARAMS);

  xnn_operator_t op = nullptr;
  if (xnn_create_convert_nc_f32_qd8(0, &op) != xnn_status_success) return {};
  state->round = own(op);
  if (xnn_reshape_convert_nc_f32_qd8(op, m, k, k, k, pool) != xnn_status_success ||
      xnn_setup_convert_nc_f32_qd8(op, o.a, state->a.data(), state->rows.data()) !=
          xnn_status_success) {
    return {};
  }
  op = nullptr;
  const bool four = v.bits == 4;
  const xnn_status made =
      four ? xnn_create_fully_connected_nc_qd8_f32_qc4w(k, n, k, n, kMiddle, scales, codes.data(),
                                                        nullptr, -kInfinity, kInfinity, 0, nullptr,
                                                        nullptr, &op)
           : xnn_create_fully_connected_nc_qd8_f32_qc8w(
                 k, n, k, n, scales, reinterpret_cast<const std::int8_t*>(codes.data()), nullptr,
                 -kInfinity, kInfinity, 0, nullptr, nullptr, &op);
  if (made != xnn_status_success) return {};
  state->multiply = own(op);
  const auto reshape = four ? xnn_reshape_fully_connected_nc_qd8_f32_qc4w
                            : xnn_reshape_fully_connected_nc_qd8_f32_qc8w;
  const auto setup =
      four ? xnn_setup_fully_connected_nc_qd8_f32_qc4w : xnn_setup_fully_connected_nc_qd8_f32_qc8w;
  if (reshape(op, m, pool) != xnn_status_success ||
      setup(op, state->a.data(), o.c, state->rows.data()) != xnn_status_success) {
    return {};
  }
  return {[state, pool] {
            xnn_run_operator(state->round.get(), pool);
            xnn_run_operator(state->multiply.get(), pool);
          },
          {}};
}

// Convolutions of f32, and of s8 with a scale per output channel.
template <class T>
ConvRun convolve(const ConvOperands<T>& o, pthreadpool_t pool) {
  constexpr bool kInteger = std::is_integral_v<T>;
  const ConvShape& s = o.shape;
  const auto u32 = [](index_t x) { return static_cast<std::uint32_t>(x); };
  const auto size = [](index_t x) { return static_cast<std::size_t>(x); };
  const std::uint32_t pad = u32(s.padding()), kernel = u32(s.kernel), stride = u32(s.stride);
  const std::size_t group_in = size(s.group_in()), group_out = size(s.out / s.groups);
  xnn_operator_t op = nullptr;
  const auto create = [&](auto function, auto... rest) {
    return function(pad, pad, pad, pad, kernel, kernel, stride, stride, 1, 1, u32(s.groups),
                    group_in, group_out, size(s.in), size(s.out), rest..., 0, nullptr, nullptr,
                    &op);
  };
  const std::int8_t zero = 0, low = -128, high = 127;
  xnn_status status = xnn_status_success;
  if constexpr (kInteger) {
    const std::int32_t* const no_bias = nullptr;
    status = create(xnn_create_convolution2d_nhwc_qs8_qc8w, zero, 1.0f, o.scales, o.w, no_bias,
                    zero, 1.0f, low, high);
  } else {
    const float* const no_bias = nullptr;
    status = create(xnn_create_convolution2d_nhwc_f32, o.w, no_bias, -kInfinity, kInfinity);
  }
  if (status != xnn_status_success) return {};
  const Operator owned = own(op);
  const auto reshape =
      kInteger ? xnn_reshape_convolution2d_nhwc_qs8_qc8w : xnn_reshape_convolution2d_nhwc_f32;
  std::size_t bytes = 0, alignment = 0, height = 0, width = 0;
  if (reshape(op, 1, size(s.size), size(s.size), &bytes, &alignment, &height, &width, pool) !=
      xnn_status_success) {
    return {};
  }
  const auto workspace =
      std::make_shared<tessera::detail::AlignedBytes>(tessera::detail::allocate_aligned(bytes + 1));
  if constexpr (kInteger) {
    status = xnn_setup_convolution2d_nhwc_qs8_qc8w(op, workspace->get(), o.x, o.y);
  } else {
    status = xnn_setup_convolution2d_nhwc_f32(op, workspace->get(), o.x, o.y);
  }
  if (status != xnn_status_success) return {};
  return {{[owned, pool, workspace] { xnn_run_operator(owned.get(), pool); }, {}}};
}

// Heads that share keys are the heads of one batch, for which there is a single one of keys. There is always a mask.
GemmRun attend(const AttentionOperands& o, pthreadpool_t pool) {
  if (o.kv != KvType::kF32) return {};
  const AttentionShape& s = o.shape;
  const auto size = [](index_t x) { return static_cast<std::size_t>(x); };
  xnn_operator_t op = nullptr;
  if (xnn_create_scaled_dot_product_attention_nhtc_f32(xnn_attention_logits_cap_type_none, nullptr,
                                                       0, &op) != xnn_status_success) {
    return {};
  }
  struct State {
    Operator op;
    std::vector<float> scale, mask;
    tessera::detail::AlignedBytes workspace{};
  };
  const auto state = std::make_shared<State>(own(op), std::vector<float>(size(s.dim), s.scale()),
                                             causal_mask<float>(s));
  std::size_t bytes = 0, alignment = 0;
  if (xnn_reshape_scaled_dot_product_attention_nhtc_f32(
          op, size(s.kv_heads), size(s.group()), size(s.tokens), 1, size(s.keys), size(s.dim),
          size(s.dim), &bytes, &alignment, pool) != xnn_status_success) {
    return {};
  }
  state->workspace = tessera::detail::allocate_aligned(bytes + 1);
  if (xnn_setup_scaled_dot_product_attention_nhtc_f32(
          op, state->workspace.get(), o.q, static_cast<const float*>(o.k),
          static_cast<const float*>(o.v), state->scale.data(), state->mask.data(),
          o.out) != xnn_status_success) {
    return {};
  }
  return {[state, pool] { xnn_run_operator(state->op.get(), pool); }, {}};
}

// It has no norms.
GemmRun soften(const NnOperands& o, pthreadpool_t pool) {
  if (o.op != NnOp::kSoftmax) return {};
  const auto rows = static_cast<std::size_t>(o.rows), cols = static_cast<std::size_t>(o.cols);
  xnn_operator_t op = nullptr;
  if (xnn_create_softmax_nc_f32(0, &op) != xnn_status_success) return {};
  const Operator owned = own(op);
  if (xnn_reshape_softmax_nc_f32(op, cols, cols, cols, rows, pool) != xnn_status_success ||
      xnn_setup_softmax_nc_f32(op, o.x, o.y) != xnn_status_success) {
    return {};
  }
  return run_of(owned, pool);
}

// Whether it supports this processor; its threads, none for one.
bool start(int threads, pthreadpool_t& pool, Lines& missing) {
  if (xnn_initialize(nullptr) != xnn_status_success) {
    missing.push_back("xnnpack: does not support this processor");
    return false;
  }
  pool = threads == 1 ? nullptr : pthreadpool_create(static_cast<std::size_t>(threads));
  return true;
}

}  // namespace

void find_xnnpack(int threads, Contenders& found, Lines& missing) {
  pthreadpool_t pool = nullptr;
  if (!start(threads, pool, missing)) return;
  const std::string about = "XNNPACK";
  found.push_back({.name = "xnnpack",
                   .description = about,
                   .f32 = [pool](const GemmOperands<F32>& o) { return multiply(o, pool); }});
  found.push_back({.name = "xnnpack",
                   .description = about,
                   .packed = true,
                   .f32 = [pool](const GemmOperands<F32>& o) { return multiply_packed(o, pool); },
                   .s8 = [pool](const GemmOperands<S8>& o) { return multiply_packed(o, pool); },
                   .f16 = [pool](const GemmOperands<F16>& o) { return multiply_packed(o, pool); }});
}

void find_xnnpack_weights(int threads, WeightsContenders& found, Lines& missing) {
  pthreadpool_t pool = nullptr;
  if (!start(threads, pool, missing)) return;
  for (const bool dynamic : {false, true}) {
    found.push_back({.name = "xnnpack",
                     .mode = dynamic ? "int8" : "f32",
                     .description = "XNNPACK",
                     .prepare = [=](const WeightsOperands& o) -> WeightsRun {
                       if (o.weights->format().kind != WeightsFormat::kPerRow) return {};
                       if (!dynamic) return {multiply_float(o, pool)};
                       return {multiply_dynamic(o, pool), o.shape.k};
                     }});
  }
}

void find_xnnpack_conv(int threads, ConvContenders& found, Lines& missing) {
  pthreadpool_t pool = nullptr;
  if (!start(threads, pool, missing)) return;
  const auto prepare = [pool](const auto& o) { return convolve(o, pool); };
  found.push_back({.name = "xnnpack", .description = "XNNPACK", .f32 = prepare, .s8 = prepare});
}

void find_xnnpack_attention(int threads, AttentionContenders& found, Lines& missing) {
  pthreadpool_t pool = nullptr;
  if (!start(threads, pool, missing)) return;
  found.push_back({.name = "xnnpack",
                   .description = "XNNPACK",
                   .prepare = [pool](const AttentionOperands& o) { return attend(o, pool); }});
}

void find_xnnpack_nn(int threads, NnContenders& found, Lines& missing) {
  pthreadpool_t pool = nullptr;
  if (!start(threads, pool, missing)) return;
  found.push_back({.name = "xnnpack",
                   .description = "XNNPACK",
                   .prepare = [pool](const NnOperands& o) { return soften(o, pool); }});
}

}  // namespace tessera::bench
