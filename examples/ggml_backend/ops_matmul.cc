// SPDX-License-Identifier: Apache-2.0
// Products, of dense and of chosen weights.
#include <algorithm>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "activations.h"
#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/gemm.h"
#include "weights.h"

namespace ggml_port {
namespace {

bool is_weight_type(ggml_type type) { return is_float(type) || block_format(type).has_value(); }

// Blocks of memory that is not known to keep its values are packed for each product.
bool supports_weights(const ggml_tensor& w) {
  if (!is_weight_type(w.type)) return false;
  if (is_float(w.type)) return true;
  const bool is_foreign_weight =
      w.buffer != nullptr &&
      ggml_backend_buffer_get_usage(w.buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS &&
      weight_store(w) == nullptr;
  return has_rows(w) && !is_foreign_weight;
}

bool supports_mul_mat(const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[1];
  return supports_weights(*op.src[0]) &&
         (x.type == GGML_TYPE_F32 || x.type == GGML_TYPE_F16 || x.type == GGML_TYPE_BF16) &&
         is_f32(&op);
}

// f(weights, i2, i3) with what the matrix (i2, i3) of w is as operand b: packed, now or before.
template <class F>
void with_weights(Run& run, const ggml_tensor& w, index_t i2, index_t i3, F&& f) {
  if (WeightStore* const store = weight_store(w)) return f(store->get(w, i2, i3, run.context()));
  f(Weights(w, i2, i3, run.context()));
}

// Rows that lie in one piece each, rounded as the CPU backend does for weights in blocks of 32.
ts::View<const float, 2> rounded_rows(Run& run, const ts::View<const float, 2>& x) {
  const index_t rows = x.extent(0), cols = x.extent(1);
  float* const to = run.scratch<float>(2, static_cast<std::size_t>(rows * cols));
  run.context()->executor.parallel_for(
      rows, [&](index_t i) { round_activations(x.data + i * x.strides[0], to + i * cols, cols); });
  return ts::row_major(static_cast<const float*>(to), {rows, cols});
}

template <class X>
void multiply(Run& run, const Weights& w, const ts::View<const X, 2>& x,
              const ts::View<float, 2>& y) {
  w.visit(run.context(), [&](const auto& packed, const ts::GemmOptions& options) {
    if constexpr (std::is_same_v<X, float>) {
      if (options.activations == ts::Activations::kInt8Block32 && x.strides[1] == 1) {
        return ts::gemm(rounded_rows(run, x), packed, y, options);
      }
    }
    ts::gemm(x, packed, y, options);
  });
}

// y[i] = x[i] w[i]^T of views, for all matrices at once.
template <class X, class W>
void multiply_views(Run& run, const ggml_tensor& w, const ggml_tensor& x, const ggml_tensor& y) {
  const index_t share2 = extent(x, 2) / extent(w, 2), share3 = extent(x, 3) / extent(w, 3);
  using Group = ts::GemmGroup<ts::View<const X, 2>, ts::View<const W, 2>, ts::View<float, 2>>;
  std::vector<ts::View<const W, 2>> operands;
  operands.reserve(static_cast<std::size_t>(extent(w, 2) * extent(w, 3)));
  for_each_matrix(w, [&](index_t i2, index_t i3) {
    operands.push_back(ts::transposed(matrix<const W>(w, i2, i3)));
  });
  std::vector<Group> groups;
  for_each_matrix(x, [&](index_t i2, index_t i3) {
    const auto at = static_cast<std::size_t>(i3 / share3 * extent(w, 2) + i2 / share2);
    groups.push_back({matrix<const X>(x, i2, i3), &operands[at], matrix<float>(y, i2, i3)});
  });
  ts::gemm_grouped<ts::View<const X, 2>, ts::View<const W, 2>, ts::View<float, 2>>(
      groups, {.context = run.context()});
}

void mul_mat(Run& run, const ggml_tensor& op) {
  const ggml_tensor &w = *op.src[0], &x = *op.src[1];
  with_float(x.type, [&]<class X>(X*) {
    const bool is_packed = weight_store(w) != nullptr || block_format(w.type).has_value();
    if (!is_packed) {
      return with_float(w.type, [&]<class W>(W*) { multiply_views<X, W>(run, w, x, op); });
    }
    const index_t share2 = extent(x, 2) / extent(w, 2), share3 = extent(x, 3) / extent(w, 3);
    for_each_matrix(w, [&](index_t w2, index_t w3) {
      with_weights(run, w, w2, w3, [&](const Weights& weights) {
        if (w.ne[2] == 1 && w.ne[3] == 1 && is_one_matrix(x) && is_one_matrix(op)) {
          return multiply(run, weights, all_rows<const X>(x), all_rows<float>(op));
        }
        for (index_t i3 = w3 * share3; i3 < (w3 + 1) * share3; ++i3) {
          for (index_t i2 = w2 * share2; i2 < (w2 + 1) * share2; ++i2) {
            multiply(run, weights, matrix<const X>(x, i2, i3), matrix<float>(op, i2, i3));
          }
        }
      });
    });
  });
}

bool supports_mul_mat_id(const ggml_tensor& op) {
  return supports_weights(*op.src[0]) && is_f32(op.src[1]) && has_rows(*op.src[1]) && is_f32(&op) &&
         is_i32(op.src[2]);
}

// y[t, i] = x[t, i or 0] w[ids[t, i]]^T: rows that go to one matrix are gathered.
void mul_mat_id(Run& run, const ggml_tensor& op) {
  const ggml_tensor &w = *op.src[0], &x = *op.src[1], &ids = *op.src[2];
  const index_t tokens = extent(ids, 1), used = extent(ids, 0), inputs = extent(w, 0),
                outputs = extent(w, 1);
  std::vector<std::vector<index_t>> rows_of(static_cast<std::size_t>(w.ne[2]));
  for (index_t t = 0; t < tokens; ++t) {
    for (index_t i = 0; i < used; ++i) {
      const std::int32_t id = row<const std::int32_t>(ids, t)(i);
      if (id < 0 || id >= w.ne[2]) {
        throw ts::Error("MUL_MAT_ID", "ids", "matrices below " + std::to_string(w.ne[2]),
                        std::to_string(id));
      }
      rows_of[static_cast<std::size_t>(id)].push_back(t * used + i);
    }
  }
  const auto most =
      std::max_element(rows_of.begin(), rows_of.end(),
                       [](const auto& a, const auto& b) { return a.size() < b.size(); });
  float* const gathered = run.scratch<float>(0, most->size() * static_cast<std::size_t>(inputs));
  float* const results = run.scratch<float>(1, most->size() * static_cast<std::size_t>(outputs));
  for (std::size_t e = 0; e < rows_of.size(); ++e) {
    const auto& rows = rows_of[e];
    if (rows.empty()) continue;
    const auto from = [&](index_t r) {
      return row<const float>(x, r % used % extent(x, 1), r / used);
    };
    const auto to = [&](index_t r) { return row<float>(op, r % used, r / used); };
    const auto n = static_cast<index_t>(rows.size());
    with_weights(run, w, static_cast<index_t>(e), 0, [&](const Weights& weights) {
      if (n == 1) {
        const ts::View<const float, 2> one(from(rows[0]).data, {1, inputs}, {inputs, 1});
        return multiply(run, weights, one,
                        ts::View<float, 2>(to(rows[0]).data, {1, outputs}, {outputs, 1}));
      }
      for (index_t i = 0; i < n; ++i)
        std::copy_n(from(rows[static_cast<std::size_t>(i)]).data, inputs, gathered + i * inputs);
      multiply(run, weights, ts::row_major(static_cast<const float*>(gathered), {n, inputs}),
               ts::row_major(results, {n, outputs}));
      for (index_t i = 0; i < n; ++i)
        std::copy_n(results + i * outputs, outputs, to(rows[static_cast<std::size_t>(i)]).data);
    });
  }
}

}  // namespace

const Op kMulMat = {supports_mul_mat, mul_mat};
const Op kMulMatId = {supports_mul_mat_id, mul_mat_id};

}  // namespace ggml_port
