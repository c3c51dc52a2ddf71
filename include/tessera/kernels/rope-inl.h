// SPDX-License-Identifier: Apache-2.0

// Rotary embeddings: pairs of elements as points of a plane, each turned by an angle of its own.

#if defined(TESSERA_KERNELS_ROPE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_ROPE_INL_H_
#undef TESSERA_KERNELS_ROPE_INL_H_
#else
#define TESSERA_KERNELS_ROPE_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "tessera/core/view.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace rope {

// (first[i], second[i]) turned; the results may be in the same place.
inline void rotate(const float* first, const float* second, const float* cos, const float* sin,
                   float* to_first, float* to_second, index_t pairs) {
  const Tag<float, kHasLmul ? 4 : 1> d;
  for_vectors(d, 0, pairs, [&]<bool kAll>(index_t i, size_t n) TESSERA_LAMBDA {
    const auto a = load_part<kAll>(d, first + i, n);
    const auto b = load_part<kAll>(d, second + i, n);
    const auto c = load_part<kAll>(d, cos + i, n);
    const auto s = load_part<kAll>(d, sin + i, n);
    store_part<kAll>(d, neg_mul_add(b, s, mul(a, c)), to_first + i, n);
    store_part<kAll>(d, mul_add(a, s, mul(b, c)), to_second + i, n);
  });
}

inline void halves(const float* x, const float* cos, const float* sin, float* y, index_t pairs) {
  rotate(x, x + pairs, cos, sin, y, y + pairs, pairs);
}

// Pairs are neighbours: apart, turned, and together again, in L1.
inline void neighbours(const float* x, const float* cos, const float* sin, float* y,
                       index_t pairs) {
  constexpr index_t kBlock = 128;
  const Tag<float> d;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t first = 0; first < pairs; first += kBlock, x += 2 * kBlock, y += 2 * kBlock) {
    const index_t n = std::min(kBlock, pairs - first);
    float a[kBlock], b[kBlock];
    for (index_t i = 0; i < n; ++i) {
      a[i] = x[2 * i];
      b[i] = x[2 * i + 1];
    }
    rotate(a, b, cos + first, sin + first, a, b, n);
    index_t i = 0;
    for (; i + step <= n; i += step) interleave(d, load(d, a + i), load(d, b + i), y + 2 * i);
    for (; i < n; ++i) {
      y[2 * i] = a[i];
      y[2 * i + 1] = b[i];
    }
  }
}

}  // namespace rope

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_ROPE_INL_H_
