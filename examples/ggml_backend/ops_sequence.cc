// SPDX-License-Identifier: Apache-2.0
// Layers that keep a state from token to token.
#include <cstring>

#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/causal_conv1d.h"
#include "tessera/ops/gated_delta_rule.h"
#include "tessera/ops/permute.h"

namespace ggml_port {
namespace {

bool supports_gated_delta_net(const ggml_tensor& op) {
  const ggml_tensor &q = *op.src[0], &k = *op.src[1], &v = *op.src[2], &gate = *op.src[3];
  const bool one_gate = gate.ne[0] == 1;  // of a head, not one for each row of its state
  return one_gate && has_rows(q) && has_rows(k) && has_rows(v) && q.ne[1] == k.ne[1] &&
         v.ne[1] % q.ne[1] == 0 && q.ne[3] == v.ne[3] && k.ne[3] == v.ne[3];
}

// `count` tokens from the first on, of states that lie as S^T. Head h uses query and key h % their number.
void apply_delta_rule(Run& run, const ggml_tensor& op, index_t first, index_t count,
                      float* states) {
  const ggml_tensor &q = *op.src[0], &k = *op.src[1], &v = *op.src[2], &gate = *op.src[3],
                    &beta = *op.src[4];
  const index_t size = extent(v, 0), heads = extent(v, 1), tokens = extent(v, 2),
                batch = extent(v, 3), shared = extent(q, 1);
  const auto part = [&](const auto& view, index_t head) {
    return ts::slice(view, {index_t{0}, first, head, index_t{0}},
                     {batch, count, shared, view.extents[3]});
  };
  const auto gates = [&](const ggml_tensor& t, index_t head) {
    const auto all = part(view4<const float>(t), head);
    return ts::View<const float, 3>(all.data, {batch, count, shared},
                                    {all.strides[0], all.strides[1], all.strides[2]});
  };
  const auto y = ts::row_major(static_cast<float*>(op.data), {batch, tokens, heads, size});
  for (index_t head = 0; head < heads; head += shared) {
    const ts::View<float, 4> state(states + head * size * size, {batch, shared, size, size},
                                   {heads * size * size, size * size, 1, size});
    ts::gated_delta_rule(part(view4<const float>(q), 0), part(view4<const float>(k), 0),
                         part(view4<const float>(v), head), gates(gate, head), gates(beta, head),
                         state, part(y, head), {.context = run.context()});
  }
}

// The result is y [size, heads, tokens, batch], then the last states, the newest first.
void gated_delta_net(Run& run, const ggml_tensor& op) {
  const ggml_tensor &v = *op.src[2], &state = *op.src[5];
  const index_t tokens = extent(v, 2), slots = number(op, 0);
  const index_t kept = slots < tokens ? slots : tokens;
  float* const states = static_cast<float*>(op.data) + ggml_nelements(&v);
  const std::size_t bytes_of_states = ggml_nbytes(&state);
  std::memcpy(states, state.data, bytes_of_states);
  for (index_t first = 0, count = tokens - kept + 1; first < tokens; first += count, count = 1) {
    apply_delta_rule(run, op, first, count, states);
    const index_t slot = tokens - first - count;
    if (slot > 0) std::memcpy(states + slot * ggml_nelements(&state), states, bytes_of_states);
  }
}

bool supports_ssm_conv(const ggml_tensor& op) {
  const index_t width = extent(*op.src[1], 0);
  return is_f32(op.src[0]) && is_float(op.src[1]) && is_f32(&op) && width >= 2 && width <= 8;
}

// x [width - 1 + tokens, channels, batch], weights [width, channels], the result [channels, tokens, batch].
void ssm_conv(Run& run, const ggml_tensor& op) {
  const ggml_tensor &x = *op.src[0], &weights = *op.src[1];
  const index_t before = extent(weights, 0) - 1, channels = extent(x, 1), batch = extent(x, 2);
  constexpr index_t kSize = sizeof(float);
  const ts::View<const float, 3> given(
      static_cast<const float*>(x.data), {batch, extent(x, 0), channels},
      {step(x, 2) / kSize, step(x, 0) / kSize, step(x, 1) / kSize});
  // Kernels go along the channels, ggml's times lie side by side: transposed as a whole, not gathered tap by tap.
  float* const memory = run.scratch<float>(0, static_cast<std::size_t>(ggml_nelements(&x)));
  const ts::View<float, 3> inputs(memory, given.extents, {channels, batch * channels, 1});
  ts::copy(given, inputs, {.context = run.context()});
  const auto from = [&](index_t first, index_t count) {
    return ts::slice(inputs, {index_t{0}, first, index_t{0}}, {batch, count, channels});
  };
  const ts::View<float, 3> y(static_cast<float*>(op.data), {batch, extent(op, 1), channels},
                             {step(op, 2) / kSize, step(op, 1) / kSize, step(op, 0) / kSize});
  with_float(weights.type, [&]<class W>(W*) {
    W* const taps = run.scratch<W>(1, static_cast<std::size_t>(channels * (before + 1)));
    const auto filters = ts::transposed(ts::row_major(taps, {before + 1, channels}));
    ts::copy(matrix<const W>(weights), filters, {.context = run.context()});
    ts::causal_conv1d(from(before, extent(op, 1)), filters, y,
                      {.state = from(0, before), .context = run.context()});
  });
}

}  // namespace

const Op kGatedDeltaNet = {supports_gated_delta_net, gated_delta_net};
const Op kSsmConv = {supports_ssm_conv, ssm_conv};

}  // namespace ggml_port
