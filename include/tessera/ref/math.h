// SPDX-License-Identifier: Apache-2.0
// The specification of the elementwise functions, one float at a time: the operations of kernels/math-inl.h in their
// order, so that both have the same bits.
//
// kFused: products and sums that the kernels round once are rounded once. Without, twice, as on targets that have no
// fused multiply-add.
#ifndef TESSERA_REF_MATH_H_
#define TESSERA_REF_MATH_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tessera/core/half_pi.h"

namespace tessera::ref {

// a * b, rounded: compilers must not fuse it with a sum.
inline float product(float a, float b) {
  volatile float p = a * b;
  return p;
}

template <bool kFused>
float mul_add(float a, float b, float c) {
  return kFused ? std::fma(a, b, c) : product(a, b) + c;
}

namespace impl {

// a < b ? a : b, and the other way round: the second operand where one is NaN.
inline float min_of(float a, float b) { return a < b ? a : b; }
inline float max_of(float a, float b) { return a > b ? a : b; }

template <bool kFused>
float polynomial(float, float c) {
  return c;
}
template <bool kFused, class... C>
float polynomial(float x, float c, C... higher) {
  return mul_add<kFused>(polynomial<kFused>(x, higher...), x, c);
}

template <bool kFused>
float reduce_exp(float x, float bias, float& shifted) {
  const float shift = 0x1.8p23f + bias;
  shifted = mul_add<kFused>(0x1.715476p+0f, x, shift);
  const float n = shifted - shift;
  const float r = mul_add<kFused>(-0x1.62e4p-1f, n, x);
  return mul_add<kFused>(-0x1.7f7d1cp-20f, n, r);
}

// e^r of the r above.
template <bool kFused>
float exp_reduced(float r) {
  const float tail = polynomial<kFused>(r, 0x1.fffffcp-2f, 0x1.55548cp-3f, 0x1.555858p-5f,
                                        0x1.123dep-7f, 0x1.6ac754p-10f);
  return mul_add<kFused>(mul_add<kFused>(tail, r, 1), r, 1);
}

// 2^n, n being the last bits of `shifted` less the bias.
inline float power_of(std::uint32_t n) { return std::bit_cast<float>(n << 23); }

template <bool kFused>
float one_plus_exp_neg(float x) {
  x = min_of(88, x);
  constexpr float kShift = 0x1.8p23f + 127;
  const float shifted = mul_add<kFused>(-0x1.715476p+0f, x, kShift), n = kShift - shifted;
  const float r = mul_add<kFused>(-0x1.7f7d1cp-20f, n, mul_add<kFused>(-0x1.62e4p-1f, n, x));
  const float tail = polynomial<kFused>(r, 0x1.fffffcp-2f, -0x1.55548cp-3f, 0x1.555858p-5f,
                                        -0x1.123dep-7f, 0x1.6ac754p-10f);
  const float y = mul_add<kFused>(mul_add<kFused>(tail, r, -1), r, 1);
  return mul_add<kFused>(y, power_of(std::bit_cast<std::uint32_t>(shifted)), 1);
}

// sin(x + quadrants pi / 2) of x >= 0.
template <bool kFused>
float sine_of_positive(float x, std::uint32_t quadrants) {
  float r;
  std::uint32_t n;
  if (x > (kFused ? 0x1p17f : 0x1p8f)) {
    const detail::HalfPi large = detail::modulo_half_pi(x);
    r = large.rest;
    n = large.quadrant;
  } else {
    constexpr float kShift = 0x1.8p23f;
    const float shifted = mul_add<kFused>(0x1.45f306p-1f, x, kShift), k = shifted - kShift;
    r = mul_add<kFused>(kFused ? -0x1.921fb4p+0f : -0x1.921ep+0f, k, x);
    r = mul_add<kFused>(kFused ? -0x1.4442dp-24f : -0x1.b544p-16f, k, r);
    r = mul_add<kFused>(kFused ? -0x1.84698ap-48f : -0x1.0b4612p-34f, k, r);
    n = std::bit_cast<std::uint32_t>(shifted);
  }
  n += quadrants;
  const float u = product(r, r);
  const float sine = mul_add<kFused>(
      product(r, u), polynomial<kFused>(u, -0x1.555546p-3f, 0x1.110774p-7f, -0x1.9951e4p-13f), r);
  const float cosine = mul_add<kFused>(
      polynomial<kFused>(u, -0.5f, 0x1.55554ap-5f, -0x1.6c0c28p-10f, 0x1.99e80cp-16f), u, 1);
  const float y = n % 2 == 0 ? sine : cosine;
  return n % 4 < 2 ? y : -y;
}

}  // namespace impl

template <bool kFused = true>
float exp(float x) {
  float shifted;
  const float r =
      impl::reduce_exp<kFused>(impl::max_of(-104, impl::min_of(89, x)), 2 * 127, shifted);
  const auto n = std::bit_cast<std::uint32_t>(shifted);
  const std::uint32_t half = n >> 1;
  return product(product(impl::exp_reduced<kFused>(r), impl::power_of(half)),
                 impl::power_of(n - half));
}

// 2^(x * scale), least = -127 / scale.
template <bool kFused = true>
float exp2_normal(float x, float scale, float least) {
  x = impl::max_of(least, x);
  constexpr float kShift = 0x1.8p23f + 127;
  const float shifted = mul_add<kFused>(scale, x, kShift);
  const float f = mul_add<kFused>(scale, x, kShift - shifted);
  const float power = impl::power_of(std::bit_cast<std::uint32_t>(shifted));
  const float p = impl::polynomial<kFused>(f, 0x1.62e42ap-1f, 0x1.ebf9c2p-3f, 0x1.c6b6dap-5f,
                                           0x1.3ce8b2p-7f, 0x1.5bd97cp-10f);
  return mul_add<kFused>(product(f, power), p, power);
}

template <bool kFused = true>
float log(float x) {
  using L = std::numeric_limits<float>;
  if (!(x < L::infinity())) return x;
  if (x < 0) return L::quiet_NaN();
  if (x == 0) return -L::infinity();
  const bool subnormal = x < L::min();
  const auto bits = std::bit_cast<std::int32_t>(subnormal ? product(x, 0x1p23f) : x);
  const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;
  const float m = std::bit_cast<float>(bits - exponent * (1 << 23));
  const float k = static_cast<float>(exponent) + (subnormal ? -23.0f : 0.0f), f = m - 1;
  const float t = impl::polynomial<kFused>(
      f, -0.5f, 0x1.555548p-2f, -0x1.000032p-2f, 0x1.99a4a4p-3f, -0x1.5543e6p-3f, 0x1.23207ap-3f,
      -0x1.ffcb2ap-4f, 0x1.ec577ap-4f, -0x1.c931dcp-4f, 0x1.da999ap-5f);
  const float lower = mul_add<kFused>(product(f, f), t, product(k, 0x1.7f7d1cp-20f));
  return mul_add<kFused>(0x1.62e4p-1f, k, f + lower);
}

template <bool kFused = true>
float tanh(float x) {
  const float a = std::fabs(x), u = product(x, x);
  const float p = impl::polynomial<kFused>(u, -0x1.555532p-2f, 0x1.1106f6p-3f, -0x1.b835ap-5f,
                                           0x1.51f882p-6f, -0x1.750a36p-8f);
  const float inner = mul_add<kFused>(product(a, u), p, a);
  float shifted;
  const float r = impl::reduce_exp<kFused>(impl::min_of(20, a + a), 127, shifted);
  const float scale = impl::power_of(std::bit_cast<std::uint32_t>(shifted));
  const float outer = 1 - 2 / mul_add<kFused>(scale, impl::exp_reduced<kFused>(r), 1);
  return std::copysign(a < 0.625f ? inner : outer, x);
}

template <bool kFused = true>
float erf(float x) {
  const float a = std::fabs(x);
  const float inner =
      mul_add<kFused>(a,
                      impl::polynomial<kFused>(product(x, x), 0x1.06eba8p-3f, -0x1.812738p-2f,
                                               0x1.ce2c36p-4f, -0x1.b7f87ap-6f, 0x1.549474p-8f,
                                               -0x1.af466cp-11f, 0x1.9e1f8cp-14f, -0x1.bdc6bap-18f),
                      a);
  float q =
      impl::polynomial<kFused>(impl::min_of(4, a), 0x1.ffc9ep-1f, -0x1.1c30b6p-4f, -0x1.3a84fap-5f,
                               -0x1.c65218p-9f, 0x1.670d5cp-9f, -0x1.0db876p-12f);
  for (int i = 0; i < 4; ++i) q = product(q, q);
  return std::copysign(a < 1.375f ? inner : 1 - q, x);
}

template <bool kFused = true>
float sigmoid(float x) {
  return 1 / impl::one_plus_exp_neg<kFused>(impl::max_of(-89, x));
}

template <bool kFused = true>
float sin(float x) {
  const float y = impl::sine_of_positive<kFused>(std::fabs(x), 0);
  return std::signbit(x) ? -y : y;
}

template <bool kFused = true>
float cos(float x) {
  return impl::sine_of_positive<kFused>(std::fabs(x), 1);
}

inline float rsqrt(float x) { return 1 / std::sqrt(x); }

template <bool kFused = true>
float gelu(float x) {
  x = impl::max_of(-6, x);
  const float half = product(x, 0.5f);
  return mul_add<kFused>(half, erf<kFused>(product(x, 0x1.6a09e6p-1f)), half);
}

template <bool kFused = true>
float gelu_tanh(float x) {
  x = impl::max_of(-10.05f, x);
  const float slope = mul_add<kFused>(0x1.2444f2p-4f, product(x, x), 0x1.988454p+0f);
  return x / impl::one_plus_exp_neg<kFused>(product(x, slope));
}

template <bool kFused = true>
float silu(float x) {
  x = impl::max_of(-89, x);
  return x / impl::one_plus_exp_neg<kFused>(x);
}

inline float hard_swish(float x) {
  x = impl::max_of(-3, x);
  return product(x, product(impl::min_of(6, x + 3), 0x1.555556p-3f));
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_MATH_H_
