// SPDX-License-Identifier: Apache-2.0
// XNNPACK: batch matrix multiply where B comes as it is, fully connected where it is packed before.
#include <pthreadpool.h>
#include <xnnpack.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "bench/peers.h"

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

}  // namespace

void find_xnnpack(int threads, Contenders& found, Lines& missing) {
  if (xnn_initialize(nullptr) != xnn_status_success) {
    missing.push_back("xnnpack: does not support this processor");
    return;
  }
  const pthreadpool_t pool =
      threads == 1 ? nullptr : pthreadpool_create(static_cast<std::size_t>(threads));
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

}  // namespace tessera::bench
