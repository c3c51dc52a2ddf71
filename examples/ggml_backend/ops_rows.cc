// SPDX-License-Identifier: Apache-2.0
// Operations on each row: norms, softmax, sums, order, largest elements.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "alibi.h"
#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/elementwise.h"
#include "tessera/ops/norm.h"
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

// y = softmax(scale x + slope mask), with the sink of the head as one more column that is not kept.
void softmax(Run& run, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const ggml_tensor *const mask = op.src[1], *const sinks = op.src[2];
  const float scale = param<float>(op, 0), max_bias = param<float>(op, 1);
  if (mask == nullptr && sinks == nullptr && scale > 0) {
    return for_rows(x, op, [&](const auto& from, const auto& to) {
      ts::softmax(from, to, {.scale = scale, .context = run.context()});
    });
  }
  const ts::ElementwiseOptions each{.context = run.context()};
  const index_t rows = extent(x, 1), cols = extent(x, 0), wide = cols + (sinks == nullptr ? 0 : 1);
  float* const sum = run.scratch<float>(0, static_cast<std::size_t>(rows * wide));
  const ts::View<float, 2> scores(sum, {rows, cols}, {wide, 1}), all(sum, {rows, wide}, {wide, 1});
  float* const biases = run.scratch<float>(1, static_cast<std::size_t>(rows * cols));
  const auto one = [](const float& value) {
    return ts::View<const float, 2>(&value, {1, 1}, {0, 0});
  };
  for_each_matrix(x, [&](index_t i2, index_t i3) {
    ts::elementwise(ts::BinaryOp::kMul, matrix<const float>(x, i2, i3), one(scale), scores, each);
    if (mask != nullptr) {
      const float factor = alibi_slope(max_bias, i2, extent(x, 2));
      const ts::View<float, 2> bias(biases, {rows, cols}, {cols, 1});
      with_float(mask->type, [&]<class T>(T*) {
        auto of = matrix<const T>(*mask, i2 % extent(*mask, 2), i3 % extent(*mask, 3));
        of.extents[0] = rows;  // masks may have more rows, as padding
        ts::elementwise(ts::BinaryOp::kMul, of, one(factor), bias, each);
      });
      ts::elementwise(ts::BinaryOp::kAdd, scores, bias, scores, each);
    }
    if (sinks != nullptr) {
      for (index_t i = 0; i < rows; ++i) all(i, cols) = static_cast<const float*>(sinks->data)[i2];
    }
    ts::softmax(all, all, {.context = run.context()});
    ts::elementwise(ts::BinaryOp::kMax, scores, scores, matrix<float>(op, i2, i3), each);
  });
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

void argsort(Run& run, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const bool falling = param<int>(op, 0) == GGML_SORT_ORDER_DESC;
  const index_t cols = extent(x, 0), rows = extent(x, 1), matrices = extent(x, 2);
  run.context()->executor.parallel_for(rows * matrices * extent(x, 3), [&](index_t i) {
    const index_t i1 = i % rows, i2 = i / rows % matrices, i3 = i / rows / matrices;
    const float* const from = row<const float>(x, i1, i2, i3).data;
    std::int32_t* const to = row<std::int32_t>(op, i1, i2, i3).data;
    std::iota(to, to + cols, 0);
    std::sort(to, to + cols, [&](std::int32_t a, std::int32_t b) {
      if (from[a] == from[b]) return a < b;
      return falling ? from[a] > from[b] : from[a] < from[b];
    });
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
