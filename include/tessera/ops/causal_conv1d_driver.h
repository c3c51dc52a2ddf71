// SPDX-License-Identifier: Apache-2.0
// What causal_conv1d.h does: checks, and blocks of channels and tokens shared by the threads.
#ifndef TESSERA_OPS_CAUSAL_CONV1D_DRIVER_H_
#define TESSERA_OPS_CAUSAL_CONV1D_DRIVER_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/ops/causal_conv1d.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/sequence_checks.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_causal_conv1d(const CausalConv1dProblem& p) {
  const char* const function = "causal_conv1d";
  const CausalConv1dOptions& o = p.options;
  const NamedTensor x{"x", p.x}, weights{"weights", p.weights}, y{"y", p.y},
      bias{"options.bias", o.bias.memory()}, state{"options.state", o.state.memory()};
  const index_t batch = p.x.extents[0], channels = p.x.extents[2], width = p.weights.extents[1];
  check_tensor(function, x.name, p.x);
  if (width < 2 || width > 8) {
    fail(function, weights.name, "2 to 8 columns (the width)", std::to_string(width));
  }
  check_operand(function, weights, {channels, width, 1, 1, 1}, ", the channels of x and the width");
  check_operand(function, y, p.x.extents, ", those of x");
  check_result_memory(function, y);
  check_apart(function, y, x);
  check_apart(function, y, weights);
  if (o.bias.is_given()) {
    check_operand(function, bias, {channels, 1, 1, 1, 1}, ", the channels of x");
    check_apart(function, y, bias);
  }
  check_lengths(function, "x", o.lengths, batch, p.x.extents[1]);
  if (!o.state.is_given()) return;
  check_operand(function, state, {batch, width - 1, channels, 1, 1},
                ", the batch of x, the width less 1, the channels of x");
  if (state.memory.dtype != p.x.dtype) {
    fail(function, state.name, "elements of " + dtype_name(p.x.dtype) + ", those of x",
         dtype_name(state.memory.dtype));
  }
  check_result_memory(function, state);
  for (const NamedTensor& other : {x, weights, y}) check_apart(function, state, other);
  if (o.bias.is_given()) check_apart(function, state, bias);
}

class CausalConv1d {
 public:
  explicit CausalConv1d(const CausalConv1dProblem& p)
      : p_(p),
        kernels_(nn_kernels_for("causal_conv1d", p.options.context)),
        state_(p.options.state.memory()),
        channels_(p.x.extents[2]),
        history_(p.weights.extents[1] - 1),
        x_in_place_(is_f32_rows_of(p.x)),
        y_in_place_(is_f32_rows_of(p.y)),
        in_place_(x_in_place_ && y_in_place_),
        rows_(in_place_ ? history_ : kRows),
        block_(in_place_ ? kLongBlock : kBlock) {}

  void run() {
    const index_t batch = p_.x.extents[0], tokens = p_.x.extents[1];
    const index_t blocks = (channels_ + block_ - 1) / block_;
    const index_t runs_of_tokens = (tokens + kTokensPerTask - 1) / kTokensPerTask;
    const index_t n = std::min(channels_, block_);
    Context* const context = p_.options.context;
    const RowRuns runs(context, batch * blocks * runs_of_tokens,
                       n * std::min(tokens, kTokensPerTask));
    // Weights, bias, rows of inputs and of results.
    const index_t rows = history_ + 1 + 1 + history_ + rows_ + (y_in_place_ ? 0 : rows_);
    const RowScratch scratch(context, 0, runs.tasks(), rows * block_, "causal_conv1d");
    runs.run([&](index_t i, index_t task) {
      const index_t b = i / (blocks * runs_of_tokens), c = i / runs_of_tokens % blocks * block_;
      const index_t t = i % runs_of_tokens * kTokensPerTask;
      block(b, c, std::min(block_, channels_ - c), t, std::min(tokens_of(b), t + kTokensPerTask),
            scratch.of(task));
    });
    if (!p_.options.state.is_given()) return;
    for_rows(context, batch * blocks, n * history_, [&](index_t i) {
      const index_t c = i % blocks * block_;
      keep_inputs(i / blocks, c, std::min(block_, channels_ - c));
    });
  }

 private:
  // Channels: so many that rows of scratch fit the L2 of any core; in place as many as prefetchers like (Sapphire Rapids,
  // 2026-11, of 2048 x 8192: 512 7.7 GB/s, 2048 7.8, 4096 11). Rows of inputs that are brought to f32 at a time, and tokens
  // for which the weights are brought to f32 once.
  static constexpr index_t kBlock = 512, kLongBlock = 4096, kRows = 16, kTokensPerTask = 128;

  index_t tokens_of(index_t b) const {
    return impl::tokens_of(p_.options.lengths, b, p_.x.extents[1]);
  }
  static bool is_f32_rows_of(const TensorMemory& t) {
    return t.dtype == DType::kF32 && (t.strides[2] == 1 || t.extents[2] == 1);
  }

  // Inputs of token t, which may be before the first, as f32.
  void load_inputs(index_t b, index_t t, index_t c, index_t n, float* to) const {
    if (t >= 0) return kernels_.load(p_.x.dtype, element(p_.x, b, t, c), p_.x.strides[2], to, n);
    if (!p_.options.state.is_given()) return std::fill(to, to + n, 0.0f);
    kernels_.load(state_.dtype, element(state_, b, history_ + t, c), state_.strides[2], to, n);
  }

  // Channels [c, c + n) of tokens [first, end).
  void block(index_t b, index_t c, index_t n, index_t first, index_t end, float* scratch) const {
    if (first >= end) return;
    const TensorMemory& w = p_.weights;
    const index_t width = history_ + 1;
    float* const bias = scratch + width * block_;
    float* const inputs = bias + block_;
    float* const results = inputs + (history_ + rows_) * block_;
    // A copy is aligned, which pays for more than a few tokens.
    const bool w_in_place = w.dtype == DType::kF32 && w.strides[0] == 1 && end - first < kRows;
    for (index_t k = 0; !w_in_place && k < width; ++k) {
      kernels_.load(w.dtype, element(w, c, k), w.strides[0], scratch + k * block_, n);
    }
    std::fill(bias, bias + n, 0.0f);
    if (p_.options.bias.is_given()) {
      const TensorMemory& m = p_.options.bias.memory();
      kernels_.load(m.dtype, element(m, c), m.strides[0], bias, n);
    }
    for (index_t t = first; t < end;) {
      // All tokens at once where rows need no scratch, which the first ones do that have inputs before x.
      const bool reads_x = x_in_place_ && t >= history_;
      const index_t rows = std::min(end - t, !in_place_ ? rows_ : reads_x ? end - t : history_ - t);
      tessera::detail::CausalConvRows r{};
      if (reads_x) {
        r.x = static_cast<const float*>(element(p_.x, b, t - history_, c));
        r.x_stride = p_.x.strides[1];
      } else {
        for (index_t i = 0; i < history_ + rows; ++i) {
          load_inputs(b, t - history_ + i, c, n, inputs + i * block_);
        }
        r.x = inputs;
        r.x_stride = block_;
      }
      r.weights = w_in_place ? static_cast<const float*>(element(w, c)) : scratch;
      r.weight_stride = w_in_place ? w.strides[1] : block_;
      r.width = width;
      r.bias = bias;
      r.y = y_in_place_ ? static_cast<float*>(mutable_element(p_.y, b, t, c)) : results;
      r.y_stride = y_in_place_ ? p_.y.strides[1] : block_;
      r.n = n;
      for (index_t row = 0; row < rows; row += kRows) {  // so that they are in a cache for silu
        tessera::detail::CausalConvRows part = r;
        part.x += row * r.x_stride;
        part.y += row * r.y_stride;
        part.rows = std::min(kRows, rows - row);
        kernels_.causal_conv(part);
        finish(part, b, t + row, c);
      }
      t += rows;
    }
  }

  void finish(const tessera::detail::CausalConvRows& r, index_t b, index_t t, index_t c) const {
    for (index_t row = 0; row < r.rows; ++row) {
      float* const y = r.y + row * r.y_stride;
      if (p_.options.silu) kernels_.of(UnaryOp::kSilu)(y, y, r.n);
      if (y_in_place_) continue;
      kernels_.store(y, p_.y.dtype, mutable_element(p_.y, b, t + row, c), p_.y.strides[2], r.n);
    }
  }

  // The last inputs into the state, the oldest first: those that move within it move forward.
  void keep_inputs(index_t b, index_t c, index_t n) const {
    const index_t tokens = tokens_of(b), size = size_of(state_.dtype);
    if (tokens == 0) return;
    for (index_t row = 0; row < history_; ++row) {
      const index_t t = tokens - history_ + row;  // below 0: in the state, `tokens` rows behind
      const TensorMemory& source = t < 0 ? state_ : p_.x;
      const auto* from =
          static_cast<const std::byte*>(element(source, b, t < 0 ? row + tokens : t, c));
      auto* to = static_cast<std::byte*>(mutable_element(state_, b, row, c));
      if (source.strides[2] == 1 && state_.strides[2] == 1) {
        std::memcpy(to, from, static_cast<std::size_t>(n * size));
        continue;
      }
      for (index_t i = 0; i < n; ++i) {
        std::memcpy(to, from, static_cast<std::size_t>(size));
        to += state_.strides[2] * size;
        from += source.strides[2] * size;
      }
    }
  }

  const CausalConv1dProblem& p_;
  const tessera::detail::NnKernels& kernels_;
  const TensorMemory& state_;
  index_t channels_, history_;
  bool x_in_place_, y_in_place_, in_place_;
  index_t rows_;   // of scratch for results, and of inputs besides the history
  index_t block_;  // channels
};

TESSERA_LIBRARY_FUNCTION void checked_causal_conv1d(const CausalConv1dProblem& p) {
  nn_kernels_for("causal_conv1d", p.options.context);
  check_causal_conv1d(p);
  if (p.x.is_empty()) return;
  CausalConv1d(p).run();
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CAUSAL_CONV1D_DRIVER_H_
