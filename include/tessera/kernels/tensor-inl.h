// SPDX-License-Identifier: Apache-2.0

// The kernels of tensor_kernels.h.

#if defined(TESSERA_KERNELS_TENSOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_TENSOR_INL_H_
#undef TESSERA_KERNELS_TENSOR_INL_H_
#else
#define TESSERA_KERNELS_TENSOR_INL_H_
#endif

#include <cstdint>

#include "tessera/kernels/group_norm-inl.h"
#include "tessera/kernels/moe-inl.h"
#include "tessera/kernels/norm-inl.h"
#include "tessera/kernels/permute-inl.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/kernels/top_k-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

inline detail::TensorKernels tensor_kernels() {
  return {.channel_sum = &norm::sum,
          .channel_squares = &norm::squares,
          .normalize_channel = &group_norm::normalize_channel,
          .add_positions = &group_norm::add_positions<false>,
          .add_squares = &group_norm::add_positions<true>,
          .normalize_positions = &group_norm::normalize_positions,
          .add_lanes = &group_norm::add_lanes,
          .transpose = {&permute::transpose_plane<uint8_t>, &permute::transpose_plane<uint16_t>,
                        &permute::transpose_plane<uint32_t>, &permute::transpose_plane<double>},
          .largest = &top_k::largest,
          .find_larger = &top_k::find_larger,
          .add_weighted = &moe::add_weighted};
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_TENSOR_INL_H_
