// SPDX-License-Identifier: Apache-2.0
// The kernels of one target for rows of numbers: softmax, norms, rotary embeddings, elementwise functions. They work on
// contiguous f32; other rows are brought to and fro.
#ifndef TESSERA_KERNELS_NN_KERNELS_H_
#define TESSERA_KERNELS_NN_KERNELS_H_

#include "tessera/core/dtype.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"

namespace tessera::detail {

// n elements of f32, bf16 or f16, `stride` apart, as f32 and back.
using LoadRow = void (*)(DType dtype, const void* from, index_t stride, float* to, index_t n);
using StoreRow = void (*)(const float* from, DType dtype, void* to, index_t stride, index_t n);

// `rows` rows of n numbers. y may be x. `line`: room for n numbers, or null; with it y goes past the caches.
struct SoftmaxRows {
  const float* x;
  index_t x_stride;
  float* y;
  index_t y_stride, rows, n;
  float scale;
  float* line;
};
using SoftmaxKernel = void (*)(const SoftmaxRows& rows);

// `rows` rows of n numbers: y[i] = (x[i] - mean) / sqrt(mean square + epsilon) * weight[i] + bias[i]; weight and bias may be
// null. y may be x. `streams`: y goes past the caches.
struct NormRows {
  const float* x;
  index_t x_stride;
  const float *weight, *bias;
  float* y;
  index_t y_stride, rows, n;
  float epsilon;
  bool streams;
};
using NormKernel = void (*)(const NormRows& rows);

// `pairs` pairs of x turned by angles with these cosines and sines. y may be x.
using RopeKernel = void (*)(const float* x, const float* cos, const float* sin, float* y,
                            index_t pairs);

// y may be an operand.
using UnaryKernel = void (*)(const float* x, float* y, index_t n);
using BinaryKernel = void (*)(const float* a, const float* b, float* y, index_t n);
// y = a op b, one b for all.
using NumberKernel = void (*)(const float* a, float b, float* y, index_t n);

// `rows` results, y[i] = bias + the sum over k < width of weights[k] * x[i + k]. All are rows of n channels; bias isn't null.
struct CausalConvRows {
  const float* x;
  index_t x_stride;
  const float* weights;
  index_t weight_stride, width;
  const float* bias;
  float* y;
  index_t y_stride, rows, n;
};
using CausalConvKernel = void (*)(const CausalConvRows& rows);

// Of a state [rows, cols] the end of one token, unless `key` is null: state += key * update, result = query * state. Then
// the beginning of the next, unless `next_key` is null: state *= next_decay, update = next_rate * (next_value - next_key *
// state).
struct DeltaPass {
  float* state;
  index_t row_stride, rows, cols;
  const float *key, *query;
  float *result, *update;
  const float *next_key, *next_value;
  float next_decay, next_rate;
};
using DeltaKernel = void (*)(const DeltaPass& pass);

// x / sqrt(sum of squares + epsilon). y may be x.
using L2NormKernel = void (*)(const float* x, float* y, index_t n, float epsilon);

struct NnKernels {
  LoadRow load = nullptr;
  StoreRow store = nullptr;
  SoftmaxKernel softmax = nullptr, log_softmax = nullptr;
  NormKernel rms_norm = nullptr, layer_norm = nullptr;
  RopeKernel rope_halves = nullptr, rope_neighbours = nullptr;
  CausalConvKernel causal_conv = nullptr;
  DeltaKernel delta_pass = nullptr;
  L2NormKernel l2_normalize = nullptr;
  UnaryKernel unary[kUnaryOps] = {};
  BinaryKernel gates[kUnaryOps] = {};  // op(a) * b
  BinaryKernel binary[kBinaryOps] = {};
  NumberKernel number[kBinaryOps] = {};

  UnaryKernel of(UnaryOp op) const { return unary[static_cast<int>(op)]; }
  BinaryKernel of(BinaryOp op) const { return binary[static_cast<int>(op)]; }
  BinaryKernel gated(UnaryOp op) const { return gates[static_cast<int>(op)]; }
  NumberKernel with_number(BinaryOp op) const { return number[static_cast<int>(op)]; }
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_NN_KERNELS_H_
