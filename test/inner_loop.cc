// SPDX-License-Identifier: Apache-2.0
// The main register tiles, for a look at their loops: compiled by compilers that the rest is not compiled with.
#define HWY_DISABLED_TARGETS ~(HWY_SCALAR | HWY_EMU128 | HWY_AVX2 | HWY_AVX3)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "inner_loop.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tessera/kernels/gemm-inl.h"

TESSERA_BEGIN_TARGET

detail::GemmKernels inner_loop_test() { return gemm_kernels<FloatProducts<float>>(); }

TESSERA_END_TARGET
