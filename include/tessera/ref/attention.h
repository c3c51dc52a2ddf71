// SPDX-License-Identifier: Apache-2.0
// The specification of attention, one query after the other, and the same in f64 without online softmax.
#ifndef TESSERA_REF_ATTENTION_H_
#define TESSERA_REF_ATTENTION_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "tessera/core/attention.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::ref {

// As tessera::AttentionOptions, where they are explained. Views without data: none.
struct AttentionTerms {
  double scale = 0;
  bool causal = false;
  index_t window = 0;
  double softcap = 0;
  View<const float, 1> alibi_slopes{};
  View<const float, 1> sinks{};
  View<const std::int32_t, 1> kv_lengths{};
  View<float, 3> log_sums{};
  View<const float, 1> k_scales{}, v_scales{};

  static float of_head(const View<const float, 1>& scales, index_t kv_head) {
    return scales.data == nullptr ? 1 : scales(scales.extent(0) == 1 ? 0 : kv_head);
  }
};

namespace attention_math {

inline constexpr float kLog2E = 0x1.715476p+0f, kLn2 = 0x1.62e43p-1f;

template <class... C>
float polynomial(float x, float c, C... higher) {
  if constexpr (sizeof...(higher) == 0) {
    return c;
  } else {
    return std::fma(polynomial(x, higher...), x, c);
  }
}

// 2^x of x <= 0; 0 below -126.5.
inline float exp2_of_negative(float x) {
  constexpr float kShift = 0x1.8p23f + 127;
  x = x < -127 ? -127 : x;  // keeps a NaN
  const float shifted = x + kShift, r = x - (shifted - kShift);
  const float y = polynomial(r, 1.0f, 0x1.62e43p-1f, 0x1.ebfb94p-3f, 0x1.c6af9ep-5f, 0x1.3b6816p-7f,
                             0x1.5ef4dcp-10f, 0x1.17999cp-13f);
  return y * std::bit_cast<float>(std::bit_cast<std::uint32_t>(shifted) << 23);
}

// 2^x of an integer x <= 0; 0 where that is no normal number, or x no number.
inline float power_of_two(float x) { return x >= -126 ? std::ldexp(1.0f, static_cast<int>(x)) : 0; }

// The functions of kernels/math-inl.h.
inline float log(float x) {
  if (x == 0) return -std::numeric_limits<float>::infinity();
  if (!(x >= std::numeric_limits<float>::min()) || std::isinf(x)) return x;  // sums are not
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;
  const auto m = std::bit_cast<float>(
      bits - static_cast<std::int32_t>(static_cast<std::uint32_t>(exponent) << 23));
  const auto k = static_cast<float>(exponent);
  const float f = m - 1, square = f * f, low = k * 0x1.7f7d1cp-20f;
  const float t =
      polynomial(f, -0.5f, 0x1.555548p-2f, -0x1.000032p-2f, 0x1.99a4a4p-3f, -0x1.5543e6p-3f,
                 0x1.23207ap-3f, -0x1.ffcb2ap-4f, 0x1.ec577ap-4f, -0x1.c931dcp-4f, 0x1.da999ap-5f);
  const float lower = std::fma(square, t, low);
  return std::fma(0x1.62e4p-1f, k, f + lower);
}

inline float tanh(float x) {
  const float a = std::fabs(x), u = x * x, cube = a * u;
  const float inner = std::fma(cube,
                               polynomial(u, -0x1.555532p-2f, 0x1.1106f6p-3f, -0x1.b835ap-5f,
                                          0x1.51f882p-6f, -0x1.750a36p-8f),
                               a);
  const float y = a + a > 20 ? 20 : a + a;
  constexpr float kShift = 0x1.8p23f + 127;
  const float shifted = std::fma(0x1.715476p+0f, y, kShift), n = shifted - kShift;
  const float r = std::fma(-0x1.7f7d1cp-20f, n, std::fma(-0x1.62e4p-1f, n, y));
  const float tail =
      polynomial(r, 0x1.fffffcp-2f, 0x1.55548cp-3f, 0x1.555858p-5f, 0x1.123dep-7f, 0x1.6ac754p-10f);
  const float p = std::fma(std::fma(tail, r, 1.0f), r, 1.0f);
  const float scale = std::bit_cast<float>(std::bit_cast<std::uint32_t>(shifted) << 23);
  const float outer = 1 - 2 / std::fma(scale, p, 1.0f);
  return x != x ? x : std::copysign(a < 0.625f ? inner : outer, x);
}

// Column j of 32 adds up p[j], p[j + 32], .. in order; the columns are added as a tree of halves.
inline float sum_of_weights(const std::array<float, kAttentionBlock>& p) {
  std::array<float, 32> columns{};
  for (std::size_t i = 0; i < p.size(); ++i) columns[i % 32] += p[i];
  for (std::size_t half = 16; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) columns[j] += columns[j + half];
  }
  return columns[0];
}

// Softmax of one query as it stands after some keys: weights are 2^(score - exponent).
struct Sums {
  float exponent = -std::numeric_limits<float>::max(), sum = 0;
  std::vector<float> values;  // sums of weight * value

  explicit Sums(index_t columns) : values(static_cast<std::size_t>(columns)) {}

  void scale_to(float larger) {
    const float factor = power_of_two(exponent - larger);
    if (exponent != larger) {
      sum *= factor;
      for (float& v : values) v *= factor;
    }
    exponent = larger;
  }
  void add(const Sums& more) {
    const float larger = std::max(exponent, more.exponent);
    const float mine = power_of_two(exponent - larger),
                others = power_of_two(more.exponent - larger);
    exponent = larger;
    sum = std::fma(sum, mine, more.sum * others);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = std::fma(mine, values[i], others * more.values[i]);
    }
  }
};

}  // namespace attention_math

// out = softmax(scores) * v, exactly as tessera::attention defines it: bit for bit what every target with FMA computes.
// mask(b, h, i, j) is what is added to a score, -infinity to leave the key out.
template <class Q, class K, class V, class Out, class Mask>
void attention(const View<Q, 4>& q, const View<K, 4>& k, const View<V, 4>& v,
               const View<Out, 4>& out, const AttentionTerms& terms, Mask mask) {
  namespace math = attention_math;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const index_t depth = q.extent(3), columns = v.extent(3), tokens = q.extent(2);
  constexpr double kExactLog2E = 1.4426950408889634;
  const auto cap_out = static_cast<float>(terms.softcap * kExactLog2E);
  const index_t window = terms.window > 0 ? terms.window : tessera::detail::kNoWindow;
  const auto query = [&](index_t b, index_t h, index_t i) {
    const index_t kv_head = h / (q.extent(1) / k.extent(1));
    const double scale =
        (terms.scale == 0 ? 1 / std::sqrt(static_cast<double>(depth)) : terms.scale) *
        static_cast<double>(AttentionTerms::of_head(terms.k_scales, kv_head));
    const auto to_base_2 = static_cast<float>(scale * kExactLog2E);
    const auto cap_in = static_cast<float>(scale / terms.softcap);
    const index_t keys = terms.kv_lengths.data ? terms.kv_lengths(b) : k.extent(2);
    const index_t position = keys - tokens + i;
    const auto visible = tessera::detail::visible_keys(position, keys, terms.causal, window);
    const float slope = terms.alibi_slopes.data ? terms.alibi_slopes(h) * math::kLog2E : 0;
    const auto score = [&](index_t j) {
      if (j < visible.begin || j >= visible.end) return kNone;
      const float bias = mask(b, h, i, j);
      if (bias == kNone) return kNone;
      float s = 0;
      for (index_t l = 0; l < depth; ++l) {
        s = std::fma(static_cast<float>(q(b, h, i, l)), static_cast<float>(k(b, kv_head, j, l)), s);
      }
      s = terms.softcap > 0 ? cap_out * math::tanh(cap_in * s) : to_base_2 * s;
      s = std::fma(-slope, static_cast<float>(std::abs(position - j)), s);
      return std::fma(math::kLog2E, bias, s);
    };
    math::Sums all(columns);
    for (index_t chunk = 0; chunk < keys; chunk += kAttentionChunk) {
      math::Sums sums(columns);
      for (index_t j0 = chunk; j0 < std::min(chunk + kAttentionChunk, keys);
           j0 += kAttentionBlock) {
        std::array<float, kAttentionBlock> weights;
        weights.fill(kNone);
        float largest = kNone;
        for (index_t j = j0; j < std::min(j0 + kAttentionBlock, keys); ++j) {
          float& s = weights[static_cast<std::size_t>(j - j0)];
          s = score(j);
          if (s > largest) largest = s;
        }
        sums.scale_to(std::max(sums.exponent, std::ceil(largest)));
        for (float& w : weights) w = math::exp2_of_negative(w - sums.exponent);
        sums.sum += math::sum_of_weights(weights);
        for (index_t c = 0; c < columns; ++c) {
          float& sum = sums.values[static_cast<std::size_t>(c)];
          for (std::size_t j = 0; j < weights.size(); ++j) {
            if (weights[j] == 0) continue;
            sum = std::fma(weights[j],
                           static_cast<float>(v(b, kv_head, j0 + static_cast<index_t>(j), c)), sum);
          }
        }
      }
      all.add(sums);
    }
    float sum = all.sum, factor = 1;
    if (terms.sinks.data) {
      const float sink = terms.sinks(h) * math::kLog2E;
      const float exponent = std::ceil(sink) > all.exponent ? std::ceil(sink) : all.exponent;
      factor = math::power_of_two(all.exponent - exponent);
      const float scaled = sum * factor;
      sum = scaled + math::exp2_of_negative(sink - exponent);
      all.exponent = exponent;
    }
    if (terms.log_sums.data) {
      terms.log_sums(b, h, i) =
          sum == 0 ? kNone : std::fma(math::kLn2, all.exponent, math::log(sum));
    }
    const float reciprocal =
        sum == 0 ? 0 : factor / sum * AttentionTerms::of_head(terms.v_scales, kv_head);
    for (index_t c = 0; c < columns; ++c) {
      const float value = all.values[static_cast<std::size_t>(c)];
      out(b, h, i, c) = static_cast<Out>(std::fma(reciprocal, value, 0.0f));
    }
  };
  for (index_t b = 0; b < q.extent(0); ++b) {
    for (index_t h = 0; h < q.extent(1); ++h) {
      for (index_t i = 0; i < tokens; ++i) query(b, h, i);
    }
  }
}

template <class Q, class K, class V, class Out>
void attention(const View<Q, 4>& q, const View<K, 4>& k, const View<V, 4>& v,
               const View<Out, 4>& out, const AttentionTerms& terms = {}) {
  attention(q, k, v, out, terms, [](index_t, index_t, index_t, index_t) { return 0.0f; });
}

// The definition alone, in Number: the largest score is known before the first weight, sums are in order. In double what
// errors are measured from, in float what a plain loop makes of it.
template <class Number, class Q, class K, class V, class Mask>
void plain_attention(const View<Q, 4>& q, const View<K, 4>& k, const View<V, 4>& v,
                     const View<Number, 4>& out, const AttentionTerms& terms, Mask mask) {
  constexpr Number kNone = -std::numeric_limits<Number>::infinity();
  const auto scale = static_cast<Number>(
      terms.scale == 0 ? 1 / std::sqrt(static_cast<double>(q.extent(3))) : terms.scale);
  const auto cap = static_cast<Number>(terms.softcap);
  const index_t window = terms.window > 0 ? terms.window : tessera::detail::kNoWindow;
  for (index_t b = 0; b < q.extent(0); ++b) {
    const index_t keys = terms.kv_lengths.data ? terms.kv_lengths(b) : k.extent(2);
    std::vector<Number> weights(static_cast<std::size_t>(keys));
    for (index_t h = 0; h < q.extent(1); ++h) {
      const index_t kv_head = h / (q.extent(1) / k.extent(1));
      for (index_t i = 0; i < q.extent(2); ++i) {
        const index_t position = keys - q.extent(2) + i;
        const auto visible = tessera::detail::visible_keys(position, keys, terms.causal, window);
        Number largest = terms.sinks.data ? static_cast<Number>(terms.sinks(h)) : kNone;
        for (index_t j = 0; j < keys; ++j) {
          Number s = 0;
          for (index_t l = 0; l < q.extent(3); ++l) {
            s += static_cast<Number>(static_cast<float>(q(b, h, i, l))) *
                 static_cast<Number>(static_cast<float>(k(b, kv_head, j, l)));
          }
          s *= scale * static_cast<Number>(AttentionTerms::of_head(terms.k_scales, kv_head));
          if (cap > 0) s = cap * std::tanh(s / cap);
          if (terms.alibi_slopes.data) {
            s -= static_cast<Number>(terms.alibi_slopes(h)) *
                 static_cast<Number>(std::abs(position - j));
          }
          s += static_cast<Number>(mask(b, h, i, j));
          if (j < visible.begin || j >= visible.end) s = kNone;
          weights[static_cast<std::size_t>(j)] = s;
          largest = std::max(largest, s);
        }
        Number sum =
            terms.sinks.data ? std::exp(static_cast<Number>(terms.sinks(h)) - largest) : Number{0};
        for (Number& w : weights) {
          w = w == kNone ? 0 : std::exp(w - largest);
          sum += w;
        }
        for (index_t c = 0; c < v.extent(3); ++c) {
          Number value = 0;
          for (index_t j = 0; j < keys; ++j) {
            const Number w = weights[static_cast<std::size_t>(j)];
            if (w != 0) value += w * static_cast<Number>(static_cast<float>(v(b, kv_head, j, c)));
          }
          const auto factor = static_cast<Number>(AttentionTerms::of_head(terms.v_scales, kv_head));
          out(b, h, i, c) = sum == 0 ? 0 : value / sum * factor;
        }
      }
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_ATTENTION_H_
