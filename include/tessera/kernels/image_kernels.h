// SPDX-License-Identifier: Apache-2.0
// The kernels of one target for images whose channels are contiguous: pooling and resizing.
#ifndef TESSERA_KERNELS_IMAGE_KERNELS_H_
#define TESSERA_KERNELS_IMAGE_KERNELS_H_

#include <array>
#include <cstdint>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::detail {

// `pixels` results whose windows have the same elements inside the image: a box of count[0] * count[1] * count[2],
// `stride` elements apart. The window of each pixel is x_step elements behind that of the one before.
struct PoolRun {
  const void* x;
  std::array<index_t, 3> count, stride;
  index_t pixels, x_step;
  void* y;
  index_t y_step, channels;
  // Of averages; integers: below 2^16, and `start` is what the sum starts from.
  std::int32_t divisor, start;
};

using PoolKernel = void (*)(const PoolRun& run);

// A row of pixels between two rows: pixel i is (1 - weight) * top + weight * bottom, each of them being
// (1 - weights[i]) * row[left[i]] + weights[i] * row[right[i]], the offsets in elements. Neighbours of weight 0 are
// not read.
struct BilinearRow {
  const void *top, *bottom;
  float weight;
  const index_t *left, *right;
  const float* weights;
  index_t pixels;
  void* y;
  index_t y_step, channels;
};

using BilinearKernel = void (*)(const BilinearRow& row);

// Of one element type.
struct ImageKernelsOf {
  PoolKernel max_pool = nullptr, average_pool = nullptr;
  BilinearKernel bilinear = nullptr;
};

struct ImageKernels {
  ImageKernelsOf f32{}, bf16{}, f16{}, s8{}, u8{};

  const ImageKernelsOf& of(DType type) const {
    switch (type) {
      case DType::kBF16:
        return bf16;
      case DType::kF16:
        return f16;
      case DType::kS8:
        return s8;
      case DType::kU8:
        return u8;
      default:
        return f32;
    }
  }
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_IMAGE_KERNELS_H_
