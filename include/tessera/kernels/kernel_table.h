// SPDX-License-Identifier: Apache-2.0
// All kernels of one target, as the dispatch tables hold them.
#ifndef TESSERA_KERNELS_KERNEL_TABLE_H_
#define TESSERA_KERNELS_KERNEL_TABLE_H_

#include <algorithm>
#include <array>
#include <iterator>

#include "tessera/core/isa.h"
#include "tessera/kernels/attention_kernels.h"
#include "tessera/kernels/block_kernels.h"
#include "tessera/kernels/depthwise_kernels.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/image_kernels.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/kernels/weights_kernels.h"
#include "tessera/kernels/winograd_kernels.h"

namespace tessera::detail {

// Families of kernels, as bits. Each call says which it uses, so that a header-only program compiles those of its calls.
using Families = unsigned;
inline constexpr Families kNoFamily = 0, kGemmFamily = 1, kWeightsFamily = 2, kConvFamily = 4,
                          kBlocksFamily = 8, kImageFamily = 16, kNnFamily = 32, kTensorFamily = 64,
                          kAttentionFamily = 128, kAllFamilies = 255;

struct KernelTable {
  Target target{};
  GemmKernels gemm_f32{};  // sums of f32: operands of f32, bf16, f16
  GemmKernels gemm_f64{};
  GemmKernels gemm_s8{};  // sums of s32: B of s8, A of s8 or u8
  GemmKernels gemm_u8{};  // B of u8
  GemmKernels rows_s8{};  // the same for an A in place
  GemmKernels rows_u8{};
  GemmKernels long_rows_s8{};  // and for one whose segments are many steps: of matrix units
  GemmKernels long_rows_u8{};
  DepthwiseKernel depthwise = nullptr;
  WinogradKernels winograd[3]{};  // of 2, 4 and 6 outputs
  WeightKernels weights{};
  BlockKernels blocks{};
  ImageKernels image{};
  NnKernels nn{};
  TensorKernels tensor{};
  AttentionKernels attention{};

  // Without those of all other families.
  KernelTable only(Families families) const {
    KernelTable t{.target = target};
    if (families & kGemmFamily) {
      for (const auto gemm : kGemms) t.*gemm = this->*gemm;
    }
    if (families & kConvFamily) {
      t.depthwise = depthwise;
      std::copy(std::begin(winograd), std::end(winograd), t.winograd);
    }
    if (families & kWeightsFamily) t.weights = weights;
    if (families & kBlocksFamily) t.blocks = blocks;
    if (families & kImageFamily) t.image = image;
    if (families & kNnFamily) t.nn = nn;
    if (families & kTensorFamily) t.tensor = tensor;
    if (families & kAttentionFamily) t.attention = attention;
    return t;
  }

  // By the types of the operands.
  const GemmKernels& gemm(DType b) const {
    switch (b) {
      case DType::kF64:
        return gemm_f64;
      case DType::kS8:
        return gemm_s8;
      case DType::kU8:
        return gemm_u8;
      default:
        return gemm_f32;
    }
  }

  // The same for an A in place, whose segments are of a multiple of `steps` steps of k.
  const GemmKernels& in_place(DType b, index_t steps) const {
    if (b != DType::kS8 && b != DType::kU8) return gemm(b);
    const GemmKernels& unit = b == DType::kS8 ? long_rows_s8 : long_rows_u8;
    // A matrix unit is several times as fast, so up to half of its steps may be filling.
    if (unit.tiles != nullptr && 2 * steps >= unit.group) return unit;
    return b == DType::kS8 ? rows_s8 : rows_u8;
  }

  // Takes the kernel families that this target has none of from the next slower target.
  void inherit(const KernelTable& slower) {
    for (const auto gemm : kGemms) {
      if ((this->*gemm).tiles == nullptr) this->*gemm = slower.*gemm;
    }
    if (depthwise == nullptr) {
      depthwise = slower.depthwise;
      std::copy(std::begin(slower.winograd), std::end(slower.winograd), winograd);
    }
    if (weights.rows == 0) weights = slower.weights;
    if (blocks.quantize_q8_0 == nullptr) blocks = slower.blocks;
    if (image.f32.max_pool == nullptr) image = slower.image;
    if (nn.load == nullptr) nn = slower.nn;
    if (tensor.channel_sum == nullptr) tensor = slower.tensor;
    if (attention.weigh == nullptr) attention = slower.attention;
  }

 private:
  static const std::array<GemmKernels KernelTable::*, 8> kGemms;
};

inline constexpr std::array<GemmKernels KernelTable::*, 8> KernelTable::kGemms = {
    &KernelTable::gemm_f32,     &KernelTable::gemm_f64,    &KernelTable::gemm_s8,
    &KernelTable::gemm_u8,      &KernelTable::rows_s8,     &KernelTable::rows_u8,
    &KernelTable::long_rows_s8, &KernelTable::long_rows_u8};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_KERNEL_TABLE_H_
