// SPDX-License-Identifier: Apache-2.0
// The kernels of one target for tensors of several axes: norms of groups of channels, permutations, largest elements,
// weighted sums.
#ifndef TESSERA_KERNELS_TENSOR_KERNELS_H_
#define TESSERA_KERNELS_TENSOR_KERNELS_H_

#include "tessera/core/view.h"

namespace tessera::detail {

// Of the n positions of one channel, in 32 virtual lanes: their sum, and that of the squares of x - mean.
using ChannelSum = float (*)(const float* x, index_t n);
using ChannelSquares = float (*)(const float* x, index_t n, float mean);

// y[i] = (x[i] - mean) * factor * weight + bias for the positions of one channel; weight and bias may be null. y may be x.
struct ChannelRow {
  const float* x;
  float* y;
  index_t n;
  float mean, factor;
  const float *weight, *bias;
};
using NormalizeChannel = void (*)(const ChannelRow& row);

// The same for positions whose channels lie side by side: position i is row i, x_stride elements behind the one before.
struct ChannelsRun {
  const float* x;
  index_t x_stride, positions, channels;
  const float *mean, *factor, *weight, *bias;  // of each channel
};
// sums [32, channels] += x, or (x - mean)^2, of position i into row (first + i) % 32.
using AddPositions = void (*)(const ChannelsRun& run, index_t first, float* sums);
using NormalizePositions = void (*)(const ChannelsRun& run, float* y, index_t y_stride);
// The first row of sums becomes the tree of all 32.
using AddLanes = void (*)(float* sums, index_t channels);

// A plane whose elements lie side by side along its columns in x, along its rows in y: element (i, j) is x[i * x_stride + j]
// and y[j * y_stride + i]. x_stride is positive.
struct Plane {
  const void* x;
  void* y;
  index_t x_stride, y_stride, rows, cols;
};
using TransposePlane = void (*)(const Plane& plane);

// Of n floats, NaN being larger than all numbers: the largest, and the first from `begin` on that is larger than `bound`, a
// number (n if there is none).
using Largest = float (*)(const float* x, index_t n);
using FindLarger = index_t (*)(const float* x, index_t begin, index_t n, float bound);

// sum[i] += weight * x[i], fused.
using AddWeighted = void (*)(const float* x, float weight, float* sum, index_t n);

struct TensorKernels {
  ChannelSum channel_sum = nullptr;
  ChannelSquares channel_squares = nullptr;
  NormalizeChannel normalize_channel = nullptr;
  AddPositions add_positions = nullptr, add_squares = nullptr;
  NormalizePositions normalize_positions = nullptr;
  AddLanes add_lanes = nullptr;
  TransposePlane transpose[4] = {};  // elements of 1, 2, 4, 8 bytes
  Largest largest = nullptr;
  FindLarger find_larger = nullptr;
  AddWeighted add_weighted = nullptr;
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_TENSOR_KERNELS_H_
