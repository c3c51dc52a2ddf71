// SPDX-License-Identifier: Apache-2.0

// Every kernel, once per target. A user's own per-target code may include this file, or one kernel,
// between its foreach_target and its own functions, and call the kernels in TESSERA_NAMESPACE.

#if defined(TESSERA_KERNELS_ALL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_ALL_INL_H_
#undef TESSERA_KERNELS_ALL_INL_H_
#else
#define TESSERA_KERNELS_ALL_INL_H_
#endif

#include "tessera/kernels/attention-inl.h"
#include "tessera/kernels/block_formats-inl.h"
#include "tessera/kernels/depthwise-inl.h"
#include "tessera/kernels/gemm-inl.h"
#include "tessera/kernels/image-inl.h"
#include "tessera/kernels/kernel_table.h"
#include "tessera/kernels/nn-inl.h"
#include "tessera/kernels/tensor-inl.h"
#include "tessera/kernels/weights_gemm-inl.h"
#include "tessera/kernels/winograd-inl.h"
#include "tessera/simd/simd-inl.h"

// A target that adds nothing to the instructions of a kernel family leaves it empty and inherits the
// kernels of the next slower target, which saves compile time: these add integer and half-precision
// instructions to AVX3 and NEON, none for f32 and f64, nor for B of u8, which is multiplied as s16.
#undef TESSERA_INHERITS_FLOAT
#if TESSERA_XSIMD || defined(TESSERA_SCALAR_LANES)
#define TESSERA_INHERITS_FLOAT 0
#elif (HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3_ZEN4 || HWY_TARGET == HWY_AVX3_SPR) && \
    (HWY_TARGETS & HWY_AVX3)
#define TESSERA_INHERITS_FLOAT 1
#elif HWY_TARGET == HWY_NEON_BF16 && (HWY_TARGETS & HWY_NEON)
#define TESSERA_INHERITS_FLOAT 1
#else
#define TESSERA_INHERITS_FLOAT 0
#endif

// Nor do these have other dot products of bytes.
#undef TESSERA_INHERITS_WEIGHTS
#if TESSERA_INHERITS_FLOAT && HWY_TARGET < HWY_AVX3_DL && (HWY_TARGETS & HWY_AVX3_DL)
#define TESSERA_INHERITS_WEIGHTS 1
#else
#define TESSERA_INHERITS_WEIGHTS 0
#endif

// The matrix unit of x86 is a target of its own, which is found at run time and compiled with AVX3_DL.
#undef TESSERA_HAS_AMX_KERNELS
#if defined(__x86_64__) && !TESSERA_STATIC && !TESSERA_XSIMD && !defined(TESSERA_SCALAR_LANES) && \
    HWY_TARGET == HWY_AVX3_DL
#define TESSERA_HAS_AMX_KERNELS 1
#include "tessera/kernels/gemm_amx-inl.h"
#else
#define TESSERA_HAS_AMX_KERNELS 0
#endif

TESSERA_BEGIN_TARGET

// The families that are asked for. A template, so that of the others not even code is made.
template <detail::Families kFamilies>
detail::KernelTable kernel_table() {
  using namespace detail;
  KernelTable table{.target = kTarget};
#if !TESSERA_INHERITS_FLOAT
  if constexpr ((kFamilies & kGemmFamily) != 0) {
    table.gemm_f32 = gemm_kernels<FloatProducts<float>>();
    table.gemm_f64 = gemm_kernels<FloatProducts<double>>();
    table.gemm_u8 = table.rows_u8 = gemm_kernels<ProductsU8>();
  }
  if constexpr ((kFamilies & kConvFamily) != 0) {
    table.depthwise = &depthwise::run;
    table.winograd[0] = winograd::kernels<2>();
    table.winograd[1] = winograd::kernels<4>();
    table.winograd[2] = winograd::kernels<6>();
  }
  if constexpr ((kFamilies & kBlocksFamily) != 0) table.blocks = block_kernels();
  if constexpr ((kFamilies & kImageFamily) != 0) table.image = image_kernels();
  if constexpr ((kFamilies & kNnFamily) != 0) table.nn = nn_kernels();
  if constexpr ((kFamilies & kTensorFamily) != 0) table.tensor = tensor_kernels();
  if constexpr ((kFamilies & kAttentionFamily) != 0) table.attention = attention_kernels();
#endif
  if constexpr ((kFamilies & kGemmFamily) != 0) {
    table.gemm_s8 = table.rows_s8 = gemm_kernels<ProductsS8>();
  }
#if !TESSERA_INHERITS_WEIGHTS
  if constexpr ((kFamilies & kWeightsFamily) != 0) table.weights = weight_kernels();
#endif
  return table;
}

#if TESSERA_HAS_AMX_KERNELS
// What the matrix unit adds to this target.
template <detail::Families kFamilies>
detail::KernelTable amx_kernel_table() {
  detail::KernelTable table{.target = Target::kAmx};
  if constexpr ((kFamilies & detail::kGemmFamily) != 0) {
    table.gemm_s8 = amx::gemm_kernels<true>();
    table.gemm_u8 = amx::gemm_kernels<false>();
    table.long_rows_s8 = amx::row_kernels<true>();
    table.long_rows_u8 = amx::row_kernels<false>();
  }
  return table;
}
#endif

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_ALL_INL_H_
