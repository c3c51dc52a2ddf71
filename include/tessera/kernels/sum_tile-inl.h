// SPDX-License-Identifier: Apache-2.0

// A tile of sums in memory, and vectors of sums as vectors of results.

#if defined(TESSERA_KERNELS_SUM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_SUM_TILE_INL_H_
#undef TESSERA_KERNELS_SUM_TILE_INL_H_
#else
#define TESSERA_KERNELS_SUM_TILE_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "tessera/core/view.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// rows x cols sums, `stride` apart; (row, col) is where they are in the result.
template <class T>
struct SumTile {
  T* data;
  index_t stride, rows, cols;
  index_t row, col;
};

// Rounds to nearest even; integers saturate, NaN gives 0.
template <class To, class D>
TESSERA_INLINE auto result_of(D d, Vec<D> sums) {
  const Rebind<To, D> dn;
  if constexpr (std::is_same_v<To, Lane<D>>) {
    return sums;
  } else if constexpr (std::is_same_v<To, int32_t>) {
    return to_int(sums);
  } else if constexpr (std::is_integral_v<To>) {
    const Rebind<int32_t, D> di;
    return demote(dn, di, to_int(sums));
  } else {
    return demote(dn, d, sums);
  }
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_SUM_TILE_INL_H_
