// SPDX-License-Identifier: Apache-2.0

// Softmax between the two products of attention, with weights of 2^(score - exponent) where the exponent is an
// integer: a new one rescales what was summed before without rounding. After Milakov and Gimelshein, "Online
// normalizer calculation for softmax", arXiv:1805.02867.

#if defined(TESSERA_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_ATTENTION_INL_H_
#undef TESSERA_KERNELS_ATTENTION_INL_H_
#else
#define TESSERA_KERNELS_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "tessera/kernels/attention_kernels.h"
#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/epilogue-inl.h"
#include "tessera/kernels/lane_sums-inl.h"
#include "tessera/kernels/math-inl.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/kernels/weights-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace attention {

using detail::AttentionMaskRows;
using detail::AttentionMerge;
using detail::AttentionResults;
using detail::AttentionRow;
using detail::AttentionScores;
using detail::KeyCode;

using RowTag = Tag<float, kHasLmul ? 4 : 1>;

inline constexpr float kLog2E = 0x1.715476p+0f, kLn2 = 0x1.62e43p-1f;
inline constexpr index_t kSumLanes = lane_sums::kVirtualLanes;

// 2^x of x <= 0, which is never subnormal: 0 below -126.5. Error < 0.8 ulp. Minimax as in math-inl.h, with a relative
// error of 2^-26.2.
template <class D>
TESSERA_INLINE Vec<D> exp2_of_negative(D d, Vec<D> x) {
  const Rebind<uint32_t, D> du;
  const auto shift = set(d, 0x1.8p23f + 127);
  x = max(set(d, -127.0f), x);
  const auto shifted = add(x, shift);
  const auto r = sub(x, sub(shifted, shift));
  const auto y = polynomial(d, r, 1.0f, 0x1.62e43p-1f, 0x1.ebfb94p-3f, 0x1.c6af9ep-5f,
                            0x1.3b6816p-7f, 0x1.5ef4dcp-10f, 0x1.17999cp-13f);
  return mul(y, bit_cast(d, shl<23>(bit_cast(du, shifted))));
}

// 2^x of an integer x <= 0; 0 where that is no normal number, or x no number.
TESSERA_INLINE float power_of_two(float x) {
  if (!(x >= -126)) return 0;
  const auto bits = static_cast<uint32_t>(static_cast<int32_t>(x) + 127) << 23;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

template <class F>
TESSERA_INLINE float of_scalar(float x, F f) {
  const Tag<float> d;
  float y;
  store_n(d, f(d, set(d, x)), &y, 1);
  return y;
}

inline float largest_of(const float* s, index_t n) {
  const RowTag d;
  auto largest = set(d, -std::numeric_limits<float>::infinity());
  const auto none = largest;
  for_vectors(d, 0, n, [&]<bool kWhole>(index_t i, size_t count) TESSERA_LAMBDA {
    if constexpr (kWhole) {
      largest = max(load(d, s + i), largest);
    } else {
      largest = max(select(first_n(d, count), load_n(d, s + i, count), none), largest);
    }
  });
  return reduce_max(d, largest);
}

// Values of the mask for columns [begin, end): of bool 0 and -infinity.
inline const float* mask_values(const AttentionMaskRows& m, const void* mask, index_t begin,
                                index_t end, float* buffer) {
  if (m.dtype == DType::kU8) {
    const auto* const visible = static_cast<const uint8_t*>(mask);
    for (index_t i = begin; i < end; ++i) {
      buffer[i] = visible[i * m.stride] != 0 ? 0.0f : -std::numeric_limits<float>::infinity();
    }
    return buffer;
  }
  if (m.dtype == DType::kF32 && m.stride == 1) return static_cast<const float*>(mask);
  convert_row(m.dtype, advance(mask, m.dtype, begin * m.stride), m.stride, buffer + begin,
              end - begin);
  return buffer;
}

// score = cap_out * tanh(cap_in * score), or scale * score.
inline void scale_row(const AttentionScores& a, float* s, index_t begin, index_t end) {
  const Tag<float> d;
  for_vectors(d, begin, end, [&]<bool kWhole>(index_t i, size_t n) TESSERA_LAMBDA {
    const auto x = load_part<kWhole>(d, s + i, n);
    if (a.cap_out > 0) {
      store_part<kWhole>(d, mul(set(d, a.cap_out), tanh(d, mul(set(d, a.cap_in), x))), s + i, n);
    } else {
      store_part<kWhole>(d, mul(set(d, a.scale), x), s + i, n);
    }
  });
}

// score -= slope * distance
inline void add_slope(const AttentionRow& row, float* s) {
  const RowTag d;
  const auto position = set(d, static_cast<float>(row.position));
  for_vectors(
      d, row.visible.begin, row.visible.end, [&]<bool kWhole>(index_t i, size_t n) TESSERA_LAMBDA {
        const auto at = load_part<kWhole>(d, detail::kBlockIndices.data() + i, n);
        const auto x = load_part<kWhole>(d, s + i, n);
        store_part<kWhole>(d, mul_add_scalar(d, -row.slope, abs(sub(position, at)), x), s + i, n);
      });
}

inline void add_mask(const AttentionScores& a, const AttentionRow& row, float* s) {
  const RowTag d;
  alignas(64) float buffer[kAttentionBlock];
  const float* const mask =
      mask_values(a.mask, row.mask, row.visible.begin, row.visible.end, buffer);
  const auto none = set(d, -std::numeric_limits<float>::infinity());
  for_vectors(d, row.visible.begin, row.visible.end,
              [&]<bool kWhole>(index_t i, size_t n) TESSERA_LAMBDA {
                const auto bias = load_part<kWhole>(d, mask + i, n);
                const auto x = mul_add_scalar(d, kLog2E, bias, load_part<kWhole>(d, s + i, n));
                // Not the sum: the score of a key that is not to be seen may be a NaN.
                store_part<kWhole>(d, select(eq(bias, none), none, x), s + i, n);
              });
}

inline void scale_values(float* values, index_t n, float factor) {
  const RowTag d;
  const auto f = set(d, factor);
  for_vectors(d, 0, n, [&]<bool kWhole>(index_t i, size_t count) TESSERA_LAMBDA {
    store_part<kWhole>(d, mul(f, load_part<kWhole>(d, values + i, count)), values + i, count);
  });
}

inline void weigh_row(const AttentionScores& a, index_t r) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const AttentionRow& row = a.row[r];
  float* const s = a.scores + r * a.stride;
  if (row.visible.is_empty()) {
    std::fill(s + a.begin, s + a.end, 0.0f);
    return;
  }
  // From here on whole groups of kSumLanes: scores beside the visible ones get a weight of 0.
  const index_t begin = row.visible.begin / kSumLanes * kSumLanes;
  const index_t end = (row.visible.end + kSumLanes - 1) / kSumLanes * kSumLanes;
  float scale = a.scale;
  if (a.biased || a.cap_out > 0) {
    scale_row(a, s, row.visible.begin, row.visible.end);
    scale = 1;
    if (row.slope != 0) add_slope(row, s);
    if (row.mask != nullptr) add_mask(a, row, s);
  }
  std::fill(s + begin, s + row.visible.begin, kNone);
  std::fill(s + row.visible.end, s + end, kNone);
  const float before = a.sums.exponents[r];
  const float largest = std::ceil(largest_of(s + begin, end - begin) * scale);
  const float exponent = largest > before ? largest : before;
  // No weight is -0, so sums may start from 0.
  float* const weights = s + begin;
  const float sum = lane_sum_of_results(
      weights, end - begin, [=]<bool kWhole>(auto d, index_t i, size_t n) TESSERA_LAMBDA {
        const auto x = mul_scalar(d, scale, load_part<kWhole>(d, weights + i, n));
        return exp2_of_negative(d, sub(x, set(d, exponent)));
      });
  if (a.begin < begin) std::fill(s + a.begin, s + begin, 0.0f);
  if (end < a.end) std::fill(s + end, s + a.end, 0.0f);
  if (exponent == before) {
    a.sums.sums[r] += sum;
    return;
  }
  const float factor = power_of_two(before - exponent);
  a.sums.exponents[r] = exponent;
  a.sums.sums[r] = a.sums.sums[r] * factor + sum;  // exact or too small to matter: fused or not
  if (a.value_columns > 0) {
    scale_values(a.sums.values + r * a.sums.value_stride, a.value_columns, factor);
  }
}

inline void weigh(const AttentionScores& a) {
  for (index_t r = 0; r < a.rows; ++r) weigh_row(a, r);
}

inline void merge(const AttentionMerge& m) {
  const RowTag d;
  for (index_t r = 0; r < m.rows; ++r) {
    const float x = m.sums.exponents[r], y = m.more.exponents[r];
    const float exponent = y > x ? y : x;
    const float fx = power_of_two(x - exponent), fy = power_of_two(y - exponent);
    m.sums.exponents[r] = exponent;
    m.sums.sums[r] = m.sums.sums[r] * fx + m.more.sums[r] * fy;
    float* const to = m.sums.values + r * m.sums.value_stride;
    const float* const from = m.more.values + r * m.more.value_stride;
    for_vectors(d, 0, m.value_columns, [&]<bool kWhole>(index_t i, size_t n) TESSERA_LAMBDA {
      const auto more = mul_scalar(d, fy, load_part<kWhole>(d, from + i, n));
      store_part<kWhole>(d, mul_add_scalar(d, fx, load_part<kWhole>(d, to + i, n), more), to + i,
                         n);
    });
  }
}

// n <= kLine elements, `stride` apart.
inline constexpr index_t kLine = 64;

template <class T>
TESSERA_INLINE void store_line(const float* line, T* to, index_t stride, index_t n) {
  if (stride == 1) return demote_row(line, to, n);
  T narrow[kLine];
  demote_row(line, narrow, n);
  for (index_t i = 0; i < n; ++i) to[i * stride] = narrow[i];
}

template <class T>
void finish_as(const AttentionResults& a) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Tag<float> d;
  for (index_t r = 0; r < a.rows; ++r) {
    float exponent = a.sums.exponents[r], sum = a.sums.sums[r], factor = 1;
    if (a.sinks != nullptr) {
      const float sink = std::ceil(a.sinks[r]);
      const float before = exponent;
      if (sink > exponent) exponent = sink;
      factor = power_of_two(before - exponent);
      const float weight = of_scalar(a.sinks[r] - exponent, [](auto tag, auto x) TESSERA_LAMBDA {
        return exp2_of_negative(tag, x);
      });
      sum = sum * factor + weight;
    }
    if (a.log_sums != nullptr) {
      const float log_sum =
          of_scalar(sum, [](auto tag, auto x) TESSERA_LAMBDA { return log(tag, x); });
      *a.log_sums[r] = sum == 0 ? -kInf : of_scalar(exponent, [&](auto tag, auto x) TESSERA_LAMBDA {
        return mul_add_scalar(tag, kLn2, x, set(tag, log_sum));
      });
    }
    const float reciprocal = sum == 0 ? 0.0f : factor / sum * a.factor;
    const float* const values = a.sums.values + r * a.sums.value_stride;
    T* const to = static_cast<T*>(a.out[r]);
    alignas(64) float line[kLine];
    for (index_t c = 0; c < a.value_columns; c += kLine) {
      const index_t n = std::min(kLine, a.value_columns - c);
      // The sum with 0 makes -0 0: whether a sum is one depends on keys of weight 0.
      for_vectors(d, 0, n, [&]<bool kWhole>(index_t i, size_t count) TESSERA_LAMBDA {
        const auto x = load_part<kWhole>(d, values + c + i, count);
        store_part<kWhole>(d, mul_add_scalar(d, reciprocal, x, zero(d)), line + i, count);
      });
      store_line(line, to + c * a.out_stride, a.out_stride, n);
    }
  }
}

inline void finish(const AttentionResults& a) {
  if (a.dtype == DType::kBF16) return finish_as<bf16>(a);
  if (a.dtype == DType::kF16) return finish_as<f16>(a);
  finish_as<float>(a);
}

inline void store_row(const float* x, void* to, DType dtype, index_t stride, index_t n) {
  const auto run = [&]<class T>(T* p) {
    for (index_t i = 0; i < n; i += kLine) {
      store_line(x + i, p + i * stride, stride, std::min(kLine, n - i));
    }
  };
  if (dtype == DType::kBF16) return run(static_cast<bf16*>(to));
  if (dtype == DType::kF16) return run(static_cast<f16*>(to));
  run(static_cast<float*>(to));
}

template <KeyCode kCode, class D>
TESSERA_INLINE Vec<D> value_of_code(D d, Vec<Rebind<int32_t, D>> code) {
  if constexpr (kCode == KeyCode::kE4M3) {
    return small_float<detail::WeightCode::kE4M3>(d, code);
  } else if constexpr (kCode == KeyCode::kE5M2) {
    return small_float<detail::WeightCode::kE5M2>(d, code);
  } else {
    return from_int(code);
  }
}

template <KeyCode kCode>
void load_codes_as(const void* from, index_t stride, float* to, index_t n) {
  using Byte = std::conditional_t<kCode == KeyCode::kS8, int8_t, uint8_t>;
  const RowTag d;
  const Rebind<int32_t, RowTag> di;
  const Rebind<Byte, RowTag> db;
  const auto* const bytes = static_cast<const Byte*>(from);
  const auto load_line = [&](const Byte* line, float* values, index_t count) TESSERA_LAMBDA {
    for_vectors(d, 0, count, [&]<bool kWhole>(index_t i, size_t m) TESSERA_LAMBDA {
      const auto codes = promote(di, db, load_part<kWhole>(db, line + i, m));
      store_part<kWhole>(d, value_of_code<kCode>(d, codes), values + i, m);
    });
  };
  if (stride == 1) return load_line(bytes, to, n);
  Byte line[kLine];
  for (index_t i = 0; i < n; i += kLine) {
    const index_t count = std::min(kLine, n - i);
    for (index_t j = 0; j < count; ++j) line[j] = bytes[(i + j) * stride];
    load_line(line, to + i, count);
  }
}

inline void load_codes(KeyCode code, const void* from, index_t stride, float* to, index_t n) {
  if (code == KeyCode::kE4M3) return load_codes_as<KeyCode::kE4M3>(from, stride, to, n);
  if (code == KeyCode::kE5M2) return load_codes_as<KeyCode::kE5M2>(from, stride, to, n);
  load_codes_as<KeyCode::kS8>(from, stride, to, n);
}

inline bool all_finite(const float* x, index_t n) {
  const RowTag d;
  auto sum = zero(d);
  // x * 0 is 0 or NaN.
  for_vectors(d, 0, n, [&]<bool kWhole>(index_t i, size_t count) TESSERA_LAMBDA {
    sum = mul_add_scalar(d, 0.0f, load_part<kWhole>(d, x + i, count), sum);
  });
  return reduce_add(d, sum) == 0;
}

}  // namespace attention

inline detail::AttentionKernels attention_kernels() {
  return {.weigh = &attention::weigh,
          .merge = &attention::merge,
          .finish = &attention::finish,
          .store_row = &attention::store_row,
          .load_codes = &attention::load_codes,
          .all_finite = &attention::all_finite};
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_ATTENTION_INL_H_
