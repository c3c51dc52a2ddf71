// SPDX-License-Identifier: Apache-2.0
// Operations on each row: norms, softmax, sums, order, largest elements.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "alibi.h"
#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/elementwise.h"
#include "tessera/ops/norm.h"
#include "tessera/ops/permute.h"
#include "tessera/ops/softmax.h"
#include "tessera/ops/top_k.h"

namespace ggml_port {
namespace {

// f(x, y) of matrices [rows, cols]: of all rows at once, or of each matrix.
template <class F>
void for_rows(const ggml_tensor& x, const ggml_tensor& y, F&& f) {
  if (is_one_matrix(x) && is_one_matrix(y)) return f(all_rows<const float>(x), all_rows<float>(y));
  for_each_matrix(x, [&](index_t i2, index_t i3) {
    f(matrix<const float>(x, i2, i3), matrix<float>(y, i2, i3));
  });
}

bool supports_rows(const ggml_tensor& op) {
  return is_f32(op.src[0]) && is_f32(&op) && has_rows(*op.src[0]);
}

template <bool kMean>
void norm(Run& run, const ggml_tensor& op) {
  const ts::NormOptions options{.epsilon = param<float>(op, 0), .context = run.context()};
  for_rows(*op.src[0], op, [&](const auto& x, const auto& y) {
    if constexpr (kMean) {
      ts::layer_norm(x, y, options);
    } else {
      ts::rms_norm(x, y, options);
    }
  });
}

// Whether the length of a row is less than epsilon, which one element above it settles.
bool is_short(const ts::View<const float, 1>& x, float epsilon) {
  double sum = 0;
  for (index_t i = 0; i < x.extent(0); ++i) {
    if (std::abs(x(i)) > epsilon) return false;
    sum += static_cast<double>(x(i)) * static_cast<double>(x(i));
  }
  return std::sqrt(static_cast<float>(sum)) < epsilon;
}

// y = x / max(length of x, epsilon): the norm by the mean square of rows that are long enough, times 1 / sqrt(columns).
void l2_norm(Run& run, const ggml_tensor& op) {
  const float epsilon = param<float>(op, 0);
  const index_t cols = extent(op, 0);
  float* const weights = run.scratch<float>(0, static_cast<std::size_t>(cols));
  std::fill_n(weights, cols, 1 / std::sqrt(static_cast<float>(cols)));
  const auto weight = ts::row_major(static_cast<const float*>(weights), {cols});
  for_rows(*op.src[0], op, [&](const auto& x, const auto& y) {
    const index_t rows = x.extent(0);
    const auto row_is_short = [&](index_t i) {
      return is_short({x.data + i * x.strides[0], {cols}, {x.strides[1]}}, epsilon);
    };
    for (index_t i = 0, end = 0; i < rows; i = end) {
      const bool are_short = row_is_short(i);
      for (end = i + 1; end < rows && row_is_short(end) == are_short;) ++end;
      const auto part = [&](const auto& v) {
        return ts::slice(v, {i, index_t{0}}, {end - i, cols});
      };
      if (are_short) {
        ts::elementwise(ts::BinaryOp::kDiv, part(x),
                        ts::View<const float, 2>(&epsilon, {1, 1}, {0, 0}), part(y),
                        {.context = run.context()});
      } else {
        ts::rms_norm(part(x), part(y), {.weight = weight, .epsilon = 0, .context = run.context()});
      }
    }
  });
}

bool supports_softmax(const ggml_tensor& op) {
  const ggml_tensor* const mask = op.src[1];
  return supports_rows(op) && has_rows(op) && (mask == nullptr || is_float(mask->type)) &&
         (op.src[2] == nullptr || is_f32(op.src[2]));
}

// `heads` heads of one sequence, the first rows of each.
template <class T>
ts::View<T, 4> part_of_heads(const ts::View<T, 4>& v, index_t sequence, index_t head, index_t heads,
                             index_t rows) {
  return ts::slice(v, {sequence, head, index_t{0}, index_t{0}},
                   {index_t{1}, heads, rows, v.extents[3]});
}

// y [batch, heads, rows, cols] = scale x + slope mask
void scale_and_mask(Run& run, const ggml_tensor& op, const ts::View<float, 4>& y) {
  const ggml_tensor& x = *op.src[0];
  const ggml_tensor* const mask = op.src[1];
  const float scale = param<float>(op, 0), max_bias = param<float>(op, 1);
  const ts::ElementwiseOptions options{.context = run.context()};
  const auto number = [](const float& value) {
    return ts::View<const float, 4>(&value, {1, 1, 1, 1}, {0, 0, 0, 0});
  };
  ts::elementwise(ts::BinaryOp::kMul, view4<const float>(x), number(scale), y, options);
  if (mask == nullptr) return;
  const index_t heads = y.extent(1), rows = y.extent(2), cols = y.extent(3);
  // Heads that the mask is of, and those that it is added to at once.
  const index_t given = extent(*mask, 2), slope_heads = given == 1 ? heads : given;
  const index_t together = max_bias > 0 ? 1 : slope_heads;
  float* const biases = run.scratch<float>(1, static_cast<std::size_t>(rows * cols));
  with_float(mask->type, [&]<class T>(T*) {
    for (index_t i3 = 0; i3 < y.extent(0); ++i3) {
      for (index_t head = 0; head < heads; head += together) {
        const auto to = part_of_heads(y, i3, head, together, rows);
        // Masks may have more rows, as padding.
        const auto of = part_of_heads(view4<const T>(*mask), i3 % extent(*mask, 3), head % given,
                                      std::min(together, given), rows);
        if (max_bias <= 0) {
          ts::elementwise(ts::BinaryOp::kAdd, to, of, to, options);
          continue;
        }
        const auto bias = ts::row_major(biases, {index_t{1}, index_t{1}, rows, cols});
        const float slope = alibi_slope(max_bias, head, heads);
        ts::elementwise(ts::BinaryOp::kMul, of, number(slope), bias, options);
        ts::elementwise(ts::BinaryOp::kAdd, to, bias, to, options);
      }
    }
  });
}

// y = softmax(scale x + slope mask), with the sink of the head as one more column that is not kept.
void softmax(Run& run, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const ggml_tensor *const mask = op.src[1], *const sinks = op.src[2];
  const float scale = param<float>(op, 0);
  if (mask == nullptr && sinks == nullptr && scale > 0) {
    return for_rows(x, op, [&](const auto& from, const auto& to) {
      ts::softmax(from, to, {.scale = scale, .context = run.context()});
    });
  }
  if (sinks == nullptr) {
    scale_and_mask(run, op, view4<float>(op));
    return for_rows(op, op, [&](const auto& from, const auto& to) {
      ts::softmax(from, to, {.context = run.context()});
    });
  }
  const index_t rows = extent(x, 1), cols = extent(x, 0), heads = extent(x, 2),
                all = extent(x, 3) * heads * rows;
  float* const memory = run.scratch<float>(0, static_cast<std::size_t>(all * (cols + 1)));
  const auto wide = ts::row_major(memory, {extent(x, 3), heads, rows, cols + 1});
  const auto scores = ts::View<float, 4>(memory, {extent(x, 3), heads, rows, cols}, wide.strides);
  scale_and_mask(run, op, scores);
  for (index_t i = 0; i < all; ++i)
    memory[i * (cols + 1) + cols] = static_cast<const float*>(sinks->data)[i / rows % heads];
  const auto table = ts::row_major(memory, {all, cols + 1});
  ts::softmax(table, table, {.context = run.context()});
  ts::copy(scores, view4<float>(op), {.context = run.context()});
}

void sum_rows(Run&, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const index_t cols = extent(x, 0);
  for_rows(x, op, [&](const auto& from, const auto& to) {
    for (index_t i = 0; i < from.extent(0); ++i) {
      double sum = 0;
      for (index_t j = 0; j < cols; ++j) sum += static_cast<double>(from(i, j));
      to(i, 0) = static_cast<float>(op.op == GGML_OP_MEAN ? sum / static_cast<double>(cols) : sum);
    }
  });
}

bool supports_argsort(const ggml_tensor& op) {
  return is_f32(op.src[0]) && is_i32(&op) && has_rows(*op.src[0]);
}

// Orders as x does, the smallest first, and equal numbers by their column.
std::uint64_t sort_key(float x, bool falls, index_t column) {
  const auto bits = std::bit_cast<std::uint32_t>(x + 0.0f);  // one zero, not two
  std::uint32_t order = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  if (falls) order = ~order;
  return std::uint64_t{order} << 32 | static_cast<std::uint32_t>(column);
}

// Numbers with their columns are sorted, not columns by their numbers, which are somewhere else.
void argsort(Run& run, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const bool falls = param<int>(op, 0) == GGML_SORT_ORDER_DESC;
  const index_t cols = extent(x, 0), rows = extent(x, 1), matrices = extent(x, 2);
  auto* const all = run.scratch<std::uint64_t>(0, static_cast<std::size_t>(ggml_nelements(&x)));
  run.context()->executor.parallel_for(rows * matrices * extent(x, 3), [&](index_t i) {
    const index_t i1 = i % rows, i2 = i / rows % matrices, i3 = i / rows / matrices;
    const float* const from = row<const float>(x, i1, i2, i3).data;
    std::int32_t* const to = row<std::int32_t>(op, i1, i2, i3).data;
    std::uint64_t* const keys = all + i * cols;
    for (index_t j = 0; j < cols; ++j) keys[j] = sort_key(from[j], falls, j);
    std::sort(keys, keys + cols);
    for (index_t j = 0; j < cols; ++j)
      to[j] = static_cast<std::int32_t>(static_cast<std::uint32_t>(keys[j]));
  });
}

void argmax(Run& run, const ggml_tensor& op) {
  ts::argmax(matrix<const float>(*op.src[0]),
             ts::row_major(static_cast<std::int32_t*>(op.data), {extent(*op.src[0], 1)}),
             {.context = run.context()});
}

bool supports_top_k(const ggml_tensor& op) {
  return supports_argsort(op) && is_one_matrix(*op.src[0]);
}

// The columns of the largest elements; nobody asks for their values.
void top_k(Run& run, const ggml_tensor& op) {
  const auto indices = all_rows<std::int32_t>(op);
  const index_t rows = indices.extent(0), k = indices.extent(1);
  float* const values = run.scratch<float>(0, static_cast<std::size_t>(rows * k));
  ts::top_k(all_rows<const float>(*op.src[0]), ts::row_major(values, {rows, k}), indices,
            {.context = run.context()});
}

}  // namespace

const Op kNorm = {supports_rows, norm<true>};
const Op kRmsNorm = {supports_rows, norm<false>};
const Op kL2Norm = {supports_rows, l2_norm};
const Op kSoftMax = {supports_softmax, softmax};
const Op kSumRows = {supports_rows, sum_rows};
const Op kArgsort = {supports_argsort, argsort};
const Op kArgmax = {supports_argsort, argmax};
const Op kTopK = {supports_top_k, top_k};

}  // namespace ggml_port
