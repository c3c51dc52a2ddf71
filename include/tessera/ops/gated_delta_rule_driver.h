// SPDX-License-Identifier: Apache-2.0
// What gated_delta_rule.h does: checks, and heads and columns of their states shared by the threads.
#ifndef TESSERA_OPS_GATED_DELTA_RULE_DRIVER_H_
#define TESSERA_OPS_GATED_DELTA_RULE_DRIVER_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/gated_delta_rule.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/sequence_checks.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_gated_delta_rule(const GatedDeltaRuleProblem& p) {
  const char* const function = "gated_delta_rule";
  const GatedDeltaRuleOptions& o = p.options;
  const NamedTensor q{"q", p.q}, k{"k", p.k}, v{"v", p.v}, gate{"gate", p.gate},
      beta{"beta", p.beta}, state{"state", p.state}, y{"y", p.y};
  check_tensor(function, q.name, p.q);
  const index_t batch = p.q.extents[0], tokens = p.q.extents[1], key_heads = p.q.extents[2];
  const index_t heads = p.v.extents[2], value_size = p.v.extents[3];
  check_operand(function, k, p.q.extents, ", those of q");
  check_operand(function, v, {batch, tokens, heads, value_size, 1}, ", the batch and tokens of q");
  if (key_heads == 0 ? heads != 0 : heads % key_heads != 0) {
    fail(function, v.name, "a multiple of " + std::to_string(key_heads) + " heads (those of q)",
         std::to_string(heads));
  }
  for (const NamedTensor& t : {gate, beta}) {
    check_operand(function, t, {batch, tokens, heads, 1, 1}, ", the batch, tokens and heads of v");
  }
  check_operand(function, state, {batch, heads, p.q.extents[3], value_size, 1},
                ", the batch and heads of v, the sizes of k and v");
  check_result_memory(function, state);
  check_operand(function, y, p.v.extents, ", those of v");
  check_result_memory(function, y);
  check_apart(function, y, v, true);
  check_apart(function, state, v);
  for (const NamedTensor& t : {q, k, gate, beta}) {
    check_apart(function, y, t);
    check_apart(function, state, t);
  }
  check_apart(function, y, state);
  check_lengths(function, "q", o.lengths, batch, tokens);
  if (o.scale && !std::isfinite(*o.scale)) {
    fail(function, "options.scale", "a finite number", std::to_string(*o.scale));
  }
  check_epsilon(function, o.epsilon);
}

class GatedDeltaRule {
 public:
  explicit GatedDeltaRule(const GatedDeltaRuleProblem& p)
      : p_(p),
        kernels_(nn_kernels_for("gated_delta_rule", p.options.context)),
        transpose_(kernels_for<kTensorFamily>("gated_delta_rule", p.options.context)
                       .tensor.transpose[std::countr_zero(sizeof(float))]),
        heads_(p.v.extents[2]),
        key_size_(p.q.extents[3]),
        value_size_(p.v.extents[3]),
        scale_(p.options.scale.value_or(1 / std::sqrt(static_cast<float>(key_size_)))),
        cols_(std::min(value_size_,
                       std::max(kLeastCols, kStateFloats / key_size_ / kLeastCols * kLeastCols))) {}

  void run() const {
    const index_t tokens = p_.q.extents[1], blocks = (value_size_ + cols_ - 1) / cols_;
    Context* const context = p_.options.context;
    const RowRuns runs(context, p_.v.extents[0] * heads_ * blocks,
                       std::min(tokens, kTokens) * key_size_ * cols_);
    const index_t floats =
        key_size_ * cols_ + 2 * kTokens + kTokens * 2 * (key_size_ + cols_) + cols_;
    const RowScratch scratch(context, 0, runs.tasks(), floats, "gated_delta_rule");
    runs.run([&](index_t i, index_t task) {
      const index_t j = i % blocks * cols_;
      columns({i / (blocks * heads_), i / blocks % heads_, j, std::min(cols_, value_size_ - j)},
              scratch.of(task));
    });
  }

 private:
  // Tokens that are brought to f32 at a time, and the size of a block of the state: what fits half of a small L1 cache.
  static constexpr index_t kTokens = 16, kStateFloats = 8192, kLeastCols = 64;

  // Columns [j, j + n) of the state of a head.
  struct Columns {
    index_t batch, head, j, n;
  };

  void columns(const Columns& c, float* scratch) const {
    const index_t tokens = tokens_of(p_.options.lengths, c.batch, p_.q.extents[1]);
    if (tokens == 0) return;
    auto* const state = static_cast<float*>(mutable_element(p_.state, c.batch, c.head, 0, c.j));
    const index_t row_stride = p_.state.strides[2], col_stride = p_.state.strides[3];
    // A copy that is dense, as rows of columns may fall on few sets of the cache. For one token it would not pay.
    const bool copies = col_stride != 1 || tokens > 1;
    // Of one that lies as its transpose, whose columns would be gathered element by element.
    const bool transposes = row_stride == 1 && col_stride > 1;
    float* const block = copies ? scratch : state;
    const index_t block_stride = copies ? c.n : row_stride;
    if (transposes) {
      transpose_({state, block, col_stride, c.n, c.n, key_size_});
    } else {
      for (index_t i = 0; copies && i < key_size_; ++i)
        kernels_.load(DType::kF32, state + i * row_stride, col_stride, block + i * c.n, c.n);
    }
    for (index_t t = 0; t < tokens; t += kTokens) {
      run_tokens(c, t, std::min(kTokens, tokens - t), block, block_stride,
                 scratch + key_size_ * cols_);
    }
    if (transposes) return transpose_({block, state, c.n, col_stride, key_size_, c.n});
    for (index_t i = 0; copies && i < key_size_; ++i) {
      kernels_.store(block + i * c.n, DType::kF32, state + i * row_stride, col_stride, c.n);
    }
  }

  // Query or key of a token, as it is used.
  void load_unit(const TensorMemory& x, const Columns& c, index_t t, float* to) const {
    const index_t head = c.head / (heads_ / p_.q.extents[2]);
    kernels_.load(x.dtype, element(x, c.batch, t, head), x.strides[3], to, key_size_);
    if (p_.options.normalize) kernels_.l2_normalize(to, to, key_size_, p_.options.epsilon);
  }

  // Tokens [first, first + count).
  void run_tokens(const Columns& c, index_t first, index_t count, float* state, index_t row_stride,
                  float* scratch) const {
    float* const decays = scratch;
    float* const rates = decays + kTokens;
    float* const queries = rates + kTokens;
    float* const keys = queries + kTokens * key_size_;
    float* const values = keys + kTokens * key_size_;
    float* const results = values + kTokens * cols_;
    float* const update = results + kTokens * cols_;
    kernels_.load(p_.gate.dtype, element(p_.gate, c.batch, first, c.head), p_.gate.strides[1],
                  decays, count);
    kernels_.of(UnaryOp::kExp)(decays, decays, count);
    kernels_.load(p_.beta.dtype, element(p_.beta, c.batch, first, c.head), p_.beta.strides[1],
                  rates, count);
    for (index_t t = 0; t < count; ++t) {
      float* const query = queries + t * key_size_;
      load_unit(p_.q, c, first + t, query);
      for (index_t i = 0; i < key_size_; ++i) query[i] *= scale_;
      load_unit(p_.k, c, first + t, keys + t * key_size_);
      kernels_.load(p_.v.dtype, element(p_.v, c.batch, first + t, c.head, c.j), p_.v.strides[3],
                    values + t * cols_, c.n);
    }
    for (index_t t = 0; t <= count; ++t) {
      tessera::detail::DeltaPass pass{};
      pass.state = state;
      pass.row_stride = row_stride;
      pass.rows = key_size_;
      pass.cols = c.n;
      pass.update = update;
      if (t > 0) {
        pass.key = keys + (t - 1) * key_size_;
        pass.query = queries + (t - 1) * key_size_;
        pass.result = results + (t - 1) * cols_;
      }
      if (t < count) {
        pass.next_key = keys + t * key_size_;
        pass.next_value = values + t * cols_;
        pass.next_decay = decays[t];
        pass.next_rate = rates[t];
      }
      kernels_.delta_pass(pass);
    }
    for (index_t t = 0; t < count; ++t) {
      kernels_.store(results + t * cols_, p_.y.dtype,
                     mutable_element(p_.y, c.batch, first + t, c.head, c.j), p_.y.strides[3], c.n);
    }
  }

  const GatedDeltaRuleProblem& p_;
  const tessera::detail::NnKernels& kernels_;
  tessera::detail::TransposePlane transpose_;
  index_t heads_, key_size_, value_size_;
  float scale_;
  index_t cols_;
};

TESSERA_LIBRARY_FUNCTION void checked_gated_delta_rule(const GatedDeltaRuleProblem& p) {
  nn_kernels_for("gated_delta_rule", p.options.context);
  check_gated_delta_rule(p);
  if (p.q.is_empty() || p.v.is_empty()) return;
  GatedDeltaRule(p).run();
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_GATED_DELTA_RULE_DRIVER_H_
