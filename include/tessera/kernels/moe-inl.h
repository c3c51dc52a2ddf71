// SPDX-License-Identifier: Apache-2.0

// Weighted sums of rows. The sum is in L1 and is read and written for each row, which the memory that rows come from hides: of
// 8 x 256 rows of 2048 f32 23 GB/s, where loops over slots within columns are at 6.5 (Sapphire Rapids, 2026-11, g++ 12).

#if defined(TESSERA_KERNELS_MOE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_MOE_INL_H_
#undef TESSERA_KERNELS_MOE_INL_H_
#else
#define TESSERA_KERNELS_MOE_INL_H_
#endif

#include <cstddef>

#include "tessera/core/view.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace moe {

inline void add_weighted(const float* x, float weight, float* sum, index_t n) {
  const Tag<float, kHasLmul ? 8 : 1> d;
  for_vectors(d, 0, n, [&]<bool kAll>(index_t i, size_t count) TESSERA_LAMBDA {
    const auto before = load_part<kAll>(d, sum + i, count);
    store_part<kAll>(d, mul_add_scalar(d, weight, load_part<kAll>(d, x + i, count), before),
                     sum + i, count);
  });
}

}  // namespace moe

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_MOE_INL_H_
