// SPDX-License-Identifier: Apache-2.0

// Rows of f32 as rows of other floats, and the other way round.

#if defined(TESSERA_KERNELS_VECTOR_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_VECTOR_ROWS_INL_H_
#undef TESSERA_KERNELS_VECTOR_ROWS_INL_H_
#else
#define TESSERA_KERNELS_VECTOR_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace rows {

// n elements of type `dtype`, `stride` apart, as f32.
inline void load_row(DType dtype, const void* from, index_t stride, float* to, index_t n) {
  convert_row(dtype, from, stride, to, n);
}

template <class To>
void store_row_as(const float* from, To* to, index_t stride, index_t n) {
  if constexpr (std::is_same_v<To, float>) {
    for (index_t i = 0; i < n; ++i) to[i * stride] = from[i];
  } else {
    const Tag<float, kHasLmul ? 4 : 1> d;
    const Rebind<To, Tag<float, kHasLmul ? 4 : 1>> dn;
    const auto demote_to = [&](const float* f, To* t, index_t count) TESSERA_LAMBDA {
      for_vectors(d, 0, count, [&]<bool kAll>(index_t i, size_t part) TESSERA_LAMBDA {
        store_part<kAll>(dn, demote(dn, d, load_part<kAll>(d, f + i, part)), t + i, part);
      });
    };
    if (stride == 1) {
      demote_to(from, to, n);
      return;
    }
    constexpr index_t kLine = 256;
    To line[kLine];
    for (index_t first = 0; first < n; first += kLine) {
      const index_t count = std::min(kLine, n - first);
      demote_to(from + first, line, count);
      for (index_t i = 0; i < count; ++i) to[(first + i) * stride] = line[i];
    }
  }
}

// The other way round: rounds to nearest, ties to even.
inline void store_row(const float* from, DType dtype, void* to, index_t stride, index_t n) {
  if (dtype == DType::kBF16) return store_row_as(from, static_cast<bf16*>(to), stride, n);
  if (dtype == DType::kF16) return store_row_as(from, static_cast<f16*>(to), stride, n);
  store_row_as(from, static_cast<float*>(to), stride, n);
}

}  // namespace rows

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_VECTOR_ROWS_INL_H_
