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
    const auto type_name = [](DType type) {
      return visit(type,
                   []<class T>(DTypeTraits<T>) { return std::string(DTypeTraits<T>::kName); });
    };
    fail(function, state.name, "elements of " + type_name(p.x.dtype) + ", those of x",
         type_name(state.memory.dtype));
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
        history_(p.weights.extents[1] - 1) {}

  void run() {
    const index_t batch = p_.x.extents[0], tokens = p_.x.extents[1];
    const index_t blocks = (channels_ + kBlock - 1) / kBlock;
    const index_t runs_of_tokens = (tokens + kTokensPerTask - 1) / kTokensPerTask;
    const index_t n = std::min(channels_, kBlock);
    Context* const context = p_.options.context;
    const RowRuns runs(context, batch * blocks * runs_of_tokens,
                       n * std::min(tokens, kTokensPerTask));
    // Weights, bias, rows of inputs and of results.
    const index_t rows = history_ + 1 + 1 + history_ + kRows + kRows;
    const RowScratch scratch(context, 0, runs.tasks(), rows * kBlock, "causal_conv1d");
    runs.run([&](index_t i, index_t task) {
      const index_t b = i / (blocks * runs_of_tokens), c = i / runs_of_tokens % blocks * kBlock;
      const index_t t = i % runs_of_tokens * kTokensPerTask;
      block(b, c, std::min(kBlock, channels_ - c), t, std::min(tokens_of(b), t + kTokensPerTask),
            scratch.of(task));
    });
    if (!p_.options.state.is_given()) return;
    for_rows(context, batch * blocks, n * history_, [&](index_t i) {
      const index_t c = i % blocks * kBlock;
      keep_inputs(i / blocks, c, std::min(kBlock, channels_ - c));
    });
  }

 private:
  // Channels whose rows of scratch fit the L2 of any core and that are long enough for its prefetchers; rows of inputs
  // that are brought to f32 at a time; and tokens for which the weights are brought to f32 once.
  static constexpr index_t kBlock = 512, kRows = 16, kTokensPerTask = 128;

  index_t tokens_of(index_t b) const {
    const auto& lengths = p_.options.lengths;
    return lengths.empty() ? p_.x.extents[1] : lengths[static_cast<std::size_t>(b)];
  }
  static const void* at(const TensorMemory& t, index_t b, index_t token, index_t c) {
    return offset(t.data,
                  (b * t.strides[0] + token * t.strides[1] + c * t.strides[2]) * size_of(t.dtype));
  }
  static bool is_f32_rows_of(const TensorMemory& t) {
    return t.dtype == DType::kF32 && (t.strides[2] == 1 || t.extents[2] == 1);
  }

  // Inputs of token t, which may be before the first, as f32.
  void load_inputs(index_t b, index_t t, index_t c, index_t n, float* to) const {
    if (t >= 0) return kernels_.load(p_.x.dtype, at(p_.x, b, t, c), p_.x.strides[2], to, n);
    if (!p_.options.state.is_given()) return std::fill(to, to + n, 0.0f);
    kernels_.load(state_.dtype, at(state_, b, history_ + t, c), state_.strides[2], to, n);
  }

  // Channels [c, c + n) of tokens [first, end).
  void block(index_t b, index_t c, index_t n, index_t first, index_t end, float* scratch) const {
    if (first >= end) return;
    const TensorMemory& w = p_.weights;
    const index_t width = history_ + 1;
    float* const bias = scratch + width * kBlock;
    float* const inputs = bias + kBlock;
    float* const results = inputs + (history_ + kRows) * kBlock;
    for (index_t k = 0; k < width; ++k) {
      kernels_.load(w.dtype, element(w, c, k), w.strides[0], scratch + k * kBlock, n);
    }
    std::fill(bias, bias + n, 0.0f);
    if (p_.options.bias.is_given()) {
      const TensorMemory& m = p_.options.bias.memory();
      kernels_.load(m.dtype, element(m, c), m.strides[0], bias, n);
    }
    const bool x_in_place = is_f32_rows_of(p_.x), y_in_place = is_f32_rows_of(p_.y);
    for (index_t t = first; t < end;) {
      // In place all tokens at once, once the oldest input is one of x.
      const bool reads_x = x_in_place && t >= history_;
      const index_t rows = reads_x && y_in_place ? end - t : std::min(kRows, end - t);
      tessera::detail::CausalConvRows r{};
      if (reads_x) {
        r.x = static_cast<const float*>(at(p_.x, b, t - history_, c));
        r.x_stride = p_.x.strides[1];
      } else {
        for (index_t i = 0; i < history_ + rows; ++i) {
          load_inputs(b, t - history_ + i, c, n, inputs + i * kBlock);
        }
        r.x = inputs;
        r.x_stride = kBlock;
      }
      r.weights = scratch;
      r.weight_stride = kBlock;
      r.width = width;
      r.bias = bias;
      r.y = y_in_place ? static_cast<float*>(const_cast<void*>(at(p_.y, b, t, c))) : results;
      r.y_stride = y_in_place ? p_.y.strides[1] : kBlock;
      r.n = n;
      for (index_t row = 0; row < rows; row += kRows) {  // so that they are in a cache for silu
        tessera::detail::CausalConvRows part = r;
        part.x += row * r.x_stride;
        part.y += row * r.y_stride;
        part.rows = std::min(kRows, rows - row);
        kernels_.causal_conv(part);
        finish(part, b, t + row, c, y_in_place);
      }
      t += rows;
    }
  }

  void finish(const tessera::detail::CausalConvRows& r, index_t b, index_t t, index_t c,
              bool in_place) const {
    for (index_t row = 0; row < r.rows; ++row) {
      float* const y = r.y + row * r.y_stride;
      if (p_.options.silu) kernels_.of(UnaryOp::kSilu)(y, y, r.n);
      if (in_place) continue;
      kernels_.store(y, p_.y.dtype, const_cast<void*>(at(p_.y, b, t + row, c)), p_.y.strides[2],
                     r.n);
    }
  }

  // The last inputs into the state, the oldest first: those that move within it move forward.
  void keep_inputs(index_t b, index_t c, index_t n) const {
    const index_t tokens = tokens_of(b), size = size_of(state_.dtype);
    if (tokens == 0) return;
    for (index_t row = 0; row < history_; ++row) {
      const index_t t = tokens - history_ + row;  // below 0: in the state, `tokens` rows behind
      const TensorMemory& source = t < 0 ? state_ : p_.x;
      const auto* from = static_cast<const std::byte*>(at(source, b, t < 0 ? row + tokens : t, c));
      auto* to = static_cast<std::byte*>(const_cast<void*>(at(state_, b, row, c)));
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
};

TESSERA_LIBRARY_FUNCTION void checked_causal_conv1d(const CausalConv1dProblem& p) {
  nn_kernels_for("causal_conv1d", p.options.context);
  check_causal_conv1d(p);
  if (p.x.is_empty()) return;
  CausalConv1d(p).run();
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CAUSAL_CONV1D_DRIVER_H_
