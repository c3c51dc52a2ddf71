// SPDX-License-Identifier: Apache-2.0

// Softmax of a row of f32: its maximum, the exponentials and their sum, one product each. A row is in L1 from the first
// of the three passes on.
//
// Sapphire Rapids, 2026-11, in turns with XNNPACK and oneDNN, row by row in three passes: 4096 x 4096 10.1, 8.1, 7.2 GB/s;
// 32 x 1024 33, 35, 23. Zen 3 (AVX2, 3.2 GHz, 32 MB of L3), 2026-11-22, likewise: 10.7, 9.9, 7.6 and 20.9, 22.0, 12.3. As it
// is now, in turns with that: 32 x 1024 in .76 of the time, 4096 x 4096 in .6 to .75 (.76 without asking for the next row).

#if defined(TESSERA_KERNELS_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_SOFTMAX_INL_H_
#undef TESSERA_KERNELS_SOFTMAX_INL_H_
#else
#define TESSERA_KERNELS_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>

#include "tessera/core/view.h"
#include "tessera/kernels/lane_sums-inl.h"
#include "tessera/kernels/math-inl.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/accumulators-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace softmax {

using detail::SoftmaxRows;

inline constexpr int kLmul = kHasLmul ? 8 : 1;

// Of numbers; NaN does not count. -infinity if there are none, never -0. After the first `head` elements, fewer than a
// vector, whole vectors follow. also.operator()<kAll>(d, i, count) for each vector, of the elements [i, i + count).
template <class F>
TESSERA_INLINE float largest(const float* x, index_t n, index_t head, F also) {
  const Tag<float, kLmul> d;
  const auto step = static_cast<index_t>(lanes(d));
  const auto lowest = set(d, -std::numeric_limits<float>::infinity());
  // Independent maxima hide the latency; a group of registers has work enough.
  return with_accumulators<kHasLmul ? 1 : 4>(d, [&](auto&... most) TESSERA_LAMBDA {
    ((most = lowest), ...);
    auto all = lowest;
    const auto part = [&](index_t i, index_t end) TESSERA_LAMBDA {
      const auto left = static_cast<size_t>(end - i);
      all = select(first_n(d, left), max(load_n(d, x + i, left), all), all);
      also.template operator()<false>(d, i, left);
    };
    const auto whole = [&](auto& into, index_t i) TESSERA_LAMBDA {
      into = max(load(d, x + i), into);
      also.template operator()<true>(d, i, static_cast<size_t>(step));
    };
    if (head > 0) part(0, head);
    constexpr auto kCount = static_cast<index_t>(sizeof...(most));
    index_t i = head;
    for (; i + kCount * step <= n; i += kCount * step) {
      index_t at = i;
      ((whole(most, at), at += step), ...);
    }
    for (; i + step <= n; i += step) whole(all, i);
    if (i < n) part(i, n);
    ((all = max(most, all)), ...);
    return reduce_max(d, all);
  });
}
inline float largest(const float* x, index_t n) {
  return largest(x, n, 0, []<bool kAll, class D>(D, index_t, size_t) TESSERA_LAMBDA {});
}

// e^x = 2^(x / ln 2).
inline float to_powers_of_two(float scale) {
  const Tag<float> d;
  float result;
  store_n(d, mul_scalar(d, 0x1.715476p+0f, set(d, scale)), &result, 1);
  return result;
}

inline float log_of(float x) {
  const Tag<float> d;
  store_n(d, log(d, set(d, x)), &x, 1);
  return x;
}

// The sum of the powers of two of (x - offset) * scale, which go to y if kStore. Meanwhile `next` is asked for.
template <bool kStore>
TESSERA_INLINE float powers(const float* x, float* y, index_t n, float offset, float scale,
                            const float* next) {
  const float least = -127 / scale;
  const auto power = [=]<bool kAll, class D>(D d, index_t i, size_t count) TESSERA_LAMBDA {
    if constexpr (kPrefetch) __builtin_prefetch(next + i, 0, 2);
    const auto below = add(load_part<kAll>(d, x + i, count), set(d, -offset));
    return exp2_normal(d, below, scale, least);
  };
  if constexpr (kStore) return lane_sum_of_results(y, n, power);
  return lane_sum(
      n, [=]<bool kAll, class D>(D d, Vec<D> sum, index_t i, size_t count)
             TESSERA_LAMBDA { return add(sum, power.template operator()<kAll>(d, i, count)); });
}

// Row by row. The maximum of the next row is found while the results of one are stored: those wait for stores, the maximum
// for loads.
template <bool kLog, bool kStream>
void run(const SoftmaxRows& rows) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const SoftmaxRows r = rows;  // in registers: the compiler can't know that results are not it
  const float scale = to_powers_of_two(r.scale);
  float most = largest(r.x, r.n);
  for (index_t i = 0; i < r.rows; ++i) {
    const bool last = i + 1 == r.rows;
    const float* const x = r.x + i * r.x_stride;
    const float* const next = last ? x : x + r.x_stride;
    float* const y = r.y + i * r.y_stride;
    float* const e = kStream ? r.line : y;
    // Of a row of -infinity: 0, so that all powers are 0.
    const float offset = most == -kInf ? 0.0f : most;
    const float sum = powers<!kLog>(x, e, r.n, offset, scale, r.n <= kMostPrefetched ? next : x);
    const float factor = sum == 0 ? 0.0f : 1 / sum, log_sum = kLog && sum != 0 ? log_of(sum) : 0;
    const auto finish = [=]<bool kAll, class D>(D d, index_t j, size_t count) TESSERA_LAMBDA {
      const auto result = [&]() TESSERA_LAMBDA {
        if constexpr (!kLog) return mul_scalar(d, factor, load_part<kAll>(d, e + j, count));
        const auto below = sub(load_part<kAll>(d, x + j, count), set(d, offset));
        return sub(mul_scalar(d, r.scale, below), set(d, log_sum));
      }();
      store_result<kStream, kAll>(d, result, y + j, count);
    };
    const index_t head = kStream ? std::min(before_stream(y), r.n) : 0;
    if (!last) {
      most = largest(next, r.n, head, finish);
      continue;
    }
    const Tag<float, kLmul> d;
    if (head > 0) finish.template operator()<false>(d, 0, static_cast<size_t>(head));
    for_vectors(d, head, r.n, [&]<bool kAll>(index_t j, size_t count) TESSERA_LAMBDA {
      finish.template operator()<kAll>(d, j, count);
    });
  }
}

template <bool kLog>
void softmax(const SoftmaxRows& rows) {
  if constexpr (kStreams) {
    if (rows.line != nullptr) {
      run<kLog, true>(rows);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      return;
    }
  }
  run<kLog, false>(rows);
}

}  // namespace softmax

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_SOFTMAX_INL_H_
