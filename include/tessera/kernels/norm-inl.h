// SPDX-License-Identifier: Apache-2.0

// Norms of a row of f32, which is in L1 from the first of two (rms) or three passes on.
//
// Sapphire Rapids, 2026-11, in turns with oneDNN: rms of 4096 x 4096 11.0, 12.0 GB/s, of 32 x 1024 57, 59; layer norm 9.3,
// 8.4 and 43, 48. Zen 3 (AVX2, 32 MB of L3), 2026-11-22, as one pass for a sum and
// one for results: rms 11.1, 11.3 and 62, 61; layer norm 10.2, 10.7 and 33, 31. As it is now, in turns with that: rms of 32 x
// 1024 in .87 to .93 of the time, of 4096 x 4096 in .5 to .85; layer norm in .81, and .5 to .85.

#if defined(TESSERA_KERNELS_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_NORM_INL_H_
#undef TESSERA_KERNELS_NORM_INL_H_
#else
#define TESSERA_KERNELS_NORM_INL_H_
#endif

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>

#include "tessera/core/view.h"
#include "tessera/kernels/lane_sums-inl.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace norm {

using detail::NormRows;

// What is summed over a row first: the elements where there is a mean, else their squares. Before the elements
// [i, i + count) are, also.operator()<kAll>(d, i, count).
template <bool kMean, class F>
TESSERA_INLINE float first_sum(const float* x, index_t n, F also) {
  return lane_sum(
      n, [=]<bool kAll, class D>(D d, Vec<D> part, index_t i, size_t count) TESSERA_LAMBDA {
        also.template operator()<kAll>(d, i, count);
        const auto v = load_part<kAll>(d, x + i, count);
        if constexpr (kMean) return add(part, v);
        return mul_add(v, v, part);
      });
}
inline constexpr auto kNothing = []<bool kAll, class D>(D, index_t, size_t) TESSERA_LAMBDA {};

// The squares of x - mean. Meanwhile `next` is asked for.
template <bool kFetch>
TESSERA_INLINE float second_sum(const float* x, index_t n, float mean, const float* next) {
  return lane_sum(
      n, [=]<bool kAll, class D>(D d, Vec<D> part, index_t i, size_t count) TESSERA_LAMBDA {
        if constexpr (kFetch && kPrefetch) __builtin_prefetch(next + i, 0, 2);
        const auto v = sub(load_part<kAll>(d, x + i, count), set(d, mean));
        return mul_add(v, v, part);
      });
}

inline float sum(const float* x, index_t n) { return first_sum<true>(x, n, kNothing); }
inline float squares(const float* x, index_t n, float mean) {
  return second_sum<false>(x, n, mean, x);
}

// Row by row. The first sum of the next row is found while the results of one are stored: those wait for stores, sums for
// one another. Not on RVV, where results are stored in larger groups of registers than there are sums (VLEN 1024: a fifth
// less instructions).
template <bool kMean, bool kStream, bool kWeight, bool kBias>
void run(const NormRows& rows) {
  const NormRows r = rows;  // in registers: the compiler can't know that results are not it
  const auto n = static_cast<float>(r.n);
  float sum = first_sum<kMean>(r.x, r.n, kNothing);
  for (index_t i = 0; i < r.rows; ++i) {
    const bool last = i + 1 == r.rows;
    const float* const x = r.x + i * r.x_stride;
    const float* const next = last ? x : x + r.x_stride;
    float* const y = r.y + i * r.y_stride;
    const float mean = kMean ? sum / n : 0;
    const float* const ahead = r.n <= kMostPrefetched ? next : x;
    const float squares = kMean ? second_sum<true>(x, r.n, mean, ahead) : sum;
    const float factor = 1 / std::sqrt(squares / n + r.epsilon);
    const auto finish = [=]<bool kAll, class D>(D d, index_t j, size_t count) TESSERA_LAMBDA {
      auto v = load_part<kAll>(d, x + j, count);
      if constexpr (kMean) v = sub(v, set(d, mean));
      v = mul_scalar(d, factor, v);
      if constexpr (kWeight && kBias) {
        v = mul_add(v, load_part<kAll>(d, r.weight + j, count),
                    load_part<kAll>(d, r.bias + j, count));
      } else if constexpr (kWeight) {
        v = mul(v, load_part<kAll>(d, r.weight + j, count));
      } else if constexpr (kBias) {
        v = add(v, load_part<kAll>(d, r.bias + j, count));
      }
      store_result<kStream, kAll>(d, v, y + j, count);
    };
    const index_t head = kStream ? std::min(before_stream(y), r.n) : 0;
    if (!kHasLmul && !last && head == 0) {
      sum = first_sum<kMean>(next, r.n, finish);
      continue;
    }
    const Tag<float, kHasLmul ? 8 : 1> d;
    if (head > 0) finish.template operator()<false>(d, 0, static_cast<size_t>(head));
    for_vectors(d, head, r.n, [&]<bool kAll>(index_t j, size_t count) TESSERA_LAMBDA {
      finish.template operator()<kAll>(d, j, count);
    });
    if (!last) sum = first_sum<kMean>(next, r.n, kNothing);
  }
}

template <bool kMean, bool kStream>
void run(const NormRows& r) {
  if (r.weight != nullptr) {
    r.bias != nullptr ? run<kMean, kStream, true, true>(r) : run<kMean, kStream, true, false>(r);
  } else {
    r.bias != nullptr ? run<kMean, kStream, false, true>(r) : run<kMean, kStream, false, false>(r);
  }
}

template <bool kMean>
void normalize(const NormRows& rows) {
  if constexpr (kStreams) {
    if (rows.streams) {
      run<kMean, true>(rows);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      return;
    }
  }
  run<kMean, false>(rows);
}

}  // namespace norm

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_NORM_INL_H_
