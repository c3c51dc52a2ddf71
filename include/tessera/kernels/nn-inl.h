// SPDX-License-Identifier: Apache-2.0

// The kernels of nn_kernels.h.

#if defined(TESSERA_KERNELS_NN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_NN_INL_H_
#undef TESSERA_KERNELS_NN_INL_H_
#else
#define TESSERA_KERNELS_NN_INL_H_
#endif

#include "tessera/kernels/causal_conv1d-inl.h"
#include "tessera/kernels/elementwise-inl.h"
#include "tessera/kernels/gated_delta_rule-inl.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/norm-inl.h"
#include "tessera/kernels/rope-inl.h"
#include "tessera/kernels/softmax-inl.h"
#include "tessera/kernels/vector_rows-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

inline detail::NnKernels nn_kernels() {
  detail::NnKernels kernels{.load = &rows::load_row,
                            .store = &rows::store_row,
                            .softmax = &softmax::softmax<false>,
                            .log_softmax = &softmax::softmax<true>,
                            .rms_norm = &norm::normalize<false>,
                            .layer_norm = &norm::normalize<true>,
                            .rope_halves = &rope::halves,
                            .rope_neighbours = &rope::neighbours,
                            .causal_conv = &causal_conv1d::run<>,
                            .delta_pass = &delta_rule::run,
                            .l2_normalize = &delta_rule::l2_normalize};
  elementwise::set_kernels(kernels);
  return kernels;
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_NN_INL_H_
