// SPDX-License-Identifier: Apache-2.0

// Elementwise functions of f32 vectors: exp, log, tanh, erf, sigmoid, and the activations made of
// them. Tag first, any LMUL, no branches and no tables.
//
// Each is one sequence of operations, so all targets with FMA give the same bits. The bounds on the
// errors are the largest that were measured over all 2^32 floats on AVX2, against functions of
// double, rounded up; in brackets those of SSE4, where mul_add rounds twice. An ulp is the distance
// of the floats around the exact result. NaN gives NaN everywhere.
//
// The polynomials are weighted minimax approximations (Remez exchange in f128). Their coefficients
// were rounded to f32 one at a time, the rest fitted again after each.
//
// They keep up to 20 constants beside a few vectors. With clang 22 for RVV nothing spills with LMUL
// 1; with 2 log, tanh, erf and gelu load constants from the stack in each round of a loop, with 4
// and 8 nearly all.

#if defined(TESSERA_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_MATH_INL_H_
#undef TESSERA_KERNELS_MATH_INL_H_
#else
#define TESSERA_KERNELS_MATH_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <limits>

#include "tessera/core/half_pi.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// ---- Parts

// c[0] + c[1] x + c[2] x^2 + .., by Horner's rule: the fewest operations and registers. In a loop
// the next vectors hide its latency.
template <class D>
TESSERA_INLINE Vec<D> polynomial(D d, Vec<D>, float c) {
  return set(d, c);
}
template <class D, class... C>
TESSERA_INLINE Vec<D> polynomial(D d, Vec<D> x, float c, C... higher) {
  return mul_add(polynomial(d, x, higher...), x, set(d, c));
}

// y with the sign of x; y must be positive.
template <class D>
TESSERA_INLINE Vec<D> with_sign_of(D d, Vec<D> x, Vec<D> y) {
  return bit_or(bit_and(x, set(d, -0.0f)), y);
}

// Writes x = n ln 2 + r with an integer n and |r| < 0.3467, for |x| < 2^20 (Cody and Waite).
// Returns r. The bits of `shifted`, moved to the left by 23, become those of 2^(n + bias - 127).
//
// Adding 1.5 * 2^23 rounds to an integer that then stands in the last bits: cheaper than round and
// to_int. The upper part of ln 2 has 15 bits, so n times it is exact, with and without FMA.
template <class D>
TESSERA_INLINE Vec<D> reduce_exp(D d, Vec<D> x, float bias, Vec<D>& shifted) {
  const auto shift = set(d, 0x1.8p23f + bias);
  shifted = mul_add_scalar(d, 0x1.715476p+0f, x, shift);
  const auto n = sub(shifted, shift);
  const auto r = mul_add_scalar(d, -0x1.62e4p-1f, n, x);
  return mul_add_scalar(d, -0x1.7f7d1cp-20f, n, r);
}

// (e^r - 1 - r) / r^2 for |r| < 0.3467. 1 + r + r^2 times it is e^r with a relative error of
// 2^-28.2.
template <class D>
TESSERA_INLINE Vec<D> exp_tail(D d, Vec<D> r) {
  return polynomial(d, r, 0x1.fffffcp-2f, 0x1.55548cp-3f, 0x1.555858p-5f, 0x1.123dep-7f,
                    0x1.6ac754p-10f);
}

// 1 + e^-x for x >= -89: inf below -88.38, 1 above 88.
//
// The power of two is infinite or 0 there, so that one is enough, and both signs of x have one formula: 13 operations.
// (With e^-|x|, by two powers of two, and what it multiplies chosen by the sign, silu and gelu_tanh took 1.65 times as long on
// Zen 3, 2026-11, and silu had an error of 3.35 ulp.)
template <class D>
TESSERA_INLINE Vec<D> one_plus_exp_neg(D d, Vec<D> x) {
  const Rebind<uint32_t, D> du;
  const auto one = set(d, 1.0f), shift = set(d, 0x1.8p23f + 127);
  x = min(set(d, 88.0f), x);
  // As reduce_exp() with -n and -r, so that -x is not needed.
  const auto shifted = mul_add_scalar(d, -0x1.715476p+0f, x, shift);
  const auto n = sub(shift, shifted);
  const auto r = mul_add_scalar(d, -0x1.7f7d1cp-20f, n, mul_add_scalar(d, -0x1.62e4p-1f, n, x));
  const auto tail = polynomial(d, r, 0x1.fffffcp-2f, -0x1.55548cp-3f, 0x1.555858p-5f,
                               -0x1.123dep-7f, 0x1.6ac754p-10f);
  const auto y = mul_add(mul_add(tail, r, set(d, -1.0f)), r, one);
  return mul_add(y, bit_cast(d, shl<23>(bit_cast(du, shifted))), one);
}

// The largest number that reduce_half_pi() reduces in vectors.
inline constexpr float kMostHalfPi = kHasFma ? 0x1p17f : 0x1p8f;

// reduce_half_pi() of the larger ones among x, which are rare: one after the other.
template <class D>
__attribute__((noinline)) void reduce_large_half_pi(D d, Vec<D> x, Vec<D>& r,
                                                    Vec<Rebind<uint32_t, D>>& n) {
  const Rebind<uint32_t, D> du;
  float x_lane[max_lanes(d)], r_lane[max_lanes(d)];
  uint32_t n_lane[max_lanes(d)];
  store(d, x, x_lane);
  store(d, r, r_lane);
  store(du, n, n_lane);
  for (size_t i = 0; i < lanes(d); ++i) {
    if (!(x_lane[i] > kMostHalfPi)) continue;
    const auto large = ::tessera::detail::modulo_half_pi(x_lane[i]);
    r_lane[i] = large.rest;
    n_lane[i] = large.quadrant;
  }
  r = load(d, r_lane);
  n = load(du, n_lane);
}

// Writes x = n pi / 2 + r with |r| < 0.7864, for x >= 0. Returns r; of n the last two bits count.
//
// Three parts of pi / 2. With FMA x less n times the first is exact, so that only the other two steps round; without, the
// products are exact, as the first two parts have 16 bits and n 8.
template <class D>
TESSERA_INLINE Vec<D> reduce_half_pi(D d, Vec<D> x, Vec<Rebind<uint32_t, D>>& n) {
  constexpr float kPart1 = kHasFma ? 0x1.921fb4p+0f : 0x1.921ep+0f;
  constexpr float kPart2 = kHasFma ? 0x1.4442dp-24f : 0x1.b544p-16f;
  constexpr float kPart3 = kHasFma ? 0x1.84698ap-48f : 0x1.0b4612p-34f;
  const Rebind<uint32_t, D> du;
  const auto shift = set(d, 0x1.8p23f);
  const auto shifted = mul_add_scalar(d, 0x1.45f306p-1f, x, shift);
  const auto k = sub(shifted, shift);
  auto r = mul_add_scalar(d, -kPart1, k, x);
  r = mul_add_scalar(d, -kPart2, k, r);
  r = mul_add_scalar(d, -kPart3, k, r);
  n = bit_cast(du, shifted);
  if (any(d, lt(set(d, kMostHalfPi), x))) {
    auto r_copy = r;  // so that neither has an address, which would keep them in memory
    auto n_copy = n;
    reduce_large_half_pi(d, x, r_copy, n_copy);
    r = r_copy;
    n = n_copy;
  }
  return r;
}

// sin(n pi / 2 + r), with the sign bit of `sign` added. The sine has a relative error of 2^-27.9, the cosine of 2^-33.
template <class D, class DU>
TESSERA_INLINE Vec<D> sine_in_quadrant(D d, DU du, Vec<D> r, Vec<DU> n, Vec<DU> sign) {
  const auto u = mul(r, r);
  const auto sine =
      mul_add(mul(r, u), polynomial(d, u, -0x1.555546p-3f, 0x1.110774p-7f, -0x1.9951e4p-13f), r);
  const auto cosine = mul_add(
      polynomial(d, u, -0.5f, 0x1.55554ap-5f, -0x1.6c0c28p-10f, 0x1.99e80cp-16f), u, set(d, 1.0f));
  const auto is_sine = eq(bit_and(n, set(du, 1u)), zero(du));
  const auto y = select(is_sine, bit_cast(du, sine), bit_cast(du, cosine));
  // The sum of sign bits is their exclusive or.
  return bit_cast(d, add(y, add(sign, shl<30>(bit_and(n, set(du, 2u))))));
}

// ---- Functions

// e^x. Error < 0.9 (1.17) ulp, subnormal results too. 0 below -103.98, inf above 88.723.
template <class D>
TESSERA_INLINE Vec<D> exp(D d, Vec<D> x) {
  const Rebind<uint32_t, D> du;
  const auto one = set(d, 1.0f);
  Vec<D> shifted;
  const auto r = reduce_exp(d, max(set(d, -104.0f), min(set(d, 89.0f), x)), 2 * 127, shifted);
  const auto y = mul_add(mul_add(exp_tail(d, r), r, one), r, one);
  // 2^n in two factors, as n is from -150 to 128: the first product is exact, the second rounds
  // once where it becomes subnormal.
  const auto n = bit_cast(du, shifted);
  const auto half = shr<1>(n);
  const auto scaled = mul(y, bit_cast(d, shl<23>(half)));
  return mul(scaled, bit_cast(d, shl<23>(sub(n, half))));
}

// 2^(x * scale) where that is at most 2^127, for sums in which results of 2^-126.5 and less don't matter: those are 0. Error
// of the others < 2.1 (2.5) ulp for a scale of 1; 1 for x = 0. scale >= 2^-120; `least` is -127 / scale.
//
// Fewer operations than exp: one power of two, a polynomial of degree 5 (relative error 2^-23.3), and no rounded product:
// what is left of x * scale behind the point comes out of a second multiplication. The power is multiplied with while the
// polynomial is not ready yet.
//
// Why not the product first, and then no second: as many operations, but a longer chain of them. Zen 3, 2026-11, cycles per
// 8 elements with load, store and sum: 6.0; this order 5.6; the power of two multiplied with at the end, too, 6.7.
template <class D>
TESSERA_INLINE Vec<D> exp2_normal(D d, Vec<D> x, float scale, float least) {
  const Rebind<uint32_t, D> du;
  x = max(set(d, least), x);  // there `power` below has the bits of 0
  const auto shift = set(d, 0x1.8p23f + 127);
  const auto shifted = mul_add_scalar(d, scale, x, shift);
  const auto f = mul_add_scalar(d, scale, x, sub(shift, shifted));
  const auto power = bit_cast(d, shl<23>(bit_cast(du, shifted)));
  const auto p = polynomial(d, f, 0x1.62e42ap-1f, 0x1.ebf9c2p-3f, 0x1.c6b6dap-5f, 0x1.3ce8b2p-7f,
                            0x1.5bd97cp-10f);
  return mul_add(mul(f, power), p, power);
}

// ln x. Error < 0.84 (0.91) ulp, for subnormal x too. -inf for 0 and -0, inf for inf, NaN for
// negative x.
//
// x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); then k ln 2 + ln(1 + f), the smaller part
// summed first. Why not k ln 2 + f first, which is exact for k = +-1: elsewhere that sum costs an
// ulp.
template <class D>
TESSERA_INLINE Vec<D> log(D d, Vec<D> x) {
  using L = std::numeric_limits<float>;
  const Rebind<int32_t, D> di;
  const auto subnormal = lt(x, set(d, L::min()));
  const auto normal = select(subnormal, mul(x, set(d, 0x1p23f)), x);
  // Minus the bits of sqrt(1/2), the exponent field is k.
  const auto k_int = shr<23>(sub(bit_cast(di, normal), set(di, 0x3f3504f3)));
  const auto m = bit_cast(d, sub(bit_cast(di, normal), shl<23>(k_int)));
  const auto k = add(from_int(k_int), select(subnormal, set(d, -23.0f), zero(d)));
  const auto f = sub(m, set(d, 1.0f));
  // ln(1 + f) = f + f^2 t with a relative error of 2^-29.3.
  const auto t =
      polynomial(d, f, -0.5f, 0x1.555548p-2f, -0x1.000032p-2f, 0x1.99a4a4p-3f, -0x1.5543e6p-3f,
                 0x1.23207ap-3f, -0x1.ffcb2ap-4f, 0x1.ec577ap-4f, -0x1.c931dcp-4f, 0x1.da999ap-5f);
  const auto lower = mul_add(mul(f, f), t, mul(k, set(d, 0x1.7f7d1cp-20f)));
  const auto sum = mul_add_scalar(d, 0x1.62e4p-1f, k, add(f, lower));
  auto y = select(lt(x, set(d, L::infinity())), sum, x);
  y = select(lt(x, zero(d)), set(d, L::quiet_NaN()), y);
  return select(eq(x, zero(d)), set(d, -L::infinity()), y);
}

// tanh x. Error < 1.37 (1.35) ulp. Odd, also for -0; +-1 from |x| > 9.02 on.
//
// Below 0.625 x + x^3 P(x^2), above 1 - 2 / (e^(2|x|) + 1), where what is subtracted is so small
// that its three roundings matter little. Why not E / (E + 2) with E = e^(2|x|) - 1, one formula
// for both: near 0 the sum alone costs an ulp, which made 2.4 of them.
template <class D>
TESSERA_INLINE Vec<D> tanh(D d, Vec<D> x) {
  const Rebind<uint32_t, D> du;
  const auto one = set(d, 1.0f);
  const auto a = abs(x);
  const auto u = mul(x, x);
  const auto inner = mul_add(mul(a, u),
                             polynomial(d, u, -0x1.555532p-2f, 0x1.1106f6p-3f, -0x1.b835ap-5f,
                                        0x1.51f882p-6f, -0x1.750a36p-8f),
                             a);
  Vec<D> shifted;
  const auto r = reduce_exp(d, min(set(d, 20.0f), add(a, a)), 127, shifted);
  const auto p = mul_add(mul_add(exp_tail(d, r), r, one), r, one);
  const auto scale = bit_cast(d, shl<23>(bit_cast(du, shifted)));
  const auto outer = sub(one, div(set(d, 2.0f), mul_add(scale, p, one)));
  return with_sign_of(d, x, select(lt(a, set(d, 0.625f)), inner, outer));
}

// erf x. Error < 1.7 (2.21) ulp. Odd, also for -0; +-1 from |x| > 3.92 on.
//
// Below 1.375 x + x Q(x^2). Above 1 - q(x)^16, where q is a polynomial for the 16th root of erfc:
// four squarings are cheaper than an exponential, and erfc is so small there that they add less
// than an ulp. At 1.375 both sides are about as exact.
template <class D>
TESSERA_INLINE Vec<D> erf(D d, Vec<D> x) {
  const auto a = abs(x);
  const auto inner = mul_add(
      a,
      polynomial(d, mul(x, x), 0x1.06eba8p-3f, -0x1.812738p-2f, 0x1.ce2c36p-4f, -0x1.b7f87ap-6f,
                 0x1.549474p-8f, -0x1.af466cp-11f, 0x1.9e1f8cp-14f, -0x1.bdc6bap-18f),
      a);
  auto q = polynomial(d, min(set(d, 4.0f), a), 0x1.ffc9ep-1f, -0x1.1c30b6p-4f, -0x1.3a84fap-5f,
                      -0x1.c65218p-9f, 0x1.670d5cp-9f, -0x1.0db876p-12f);
  q = mul(q, q);
  q = mul(q, q);
  q = mul(q, q);
  const auto outer = sub(set(d, 1.0f), mul(q, q));
  return with_sign_of(d, x, select(lt(a, set(d, 1.375f)), inner, outer));
}

// 1 / (1 + e^-x). Error < 2.49 (2.49) ulp for x >= -87.3; below, where results are subnormal, < 2^-127. 0 for -inf, 1 for inf.
//
// Why not 1 - z for positive x and e - e z for negative, with e = e^-|x| and z = e / (1 + e): 1.65 ulp, subnormal results too,
// but on Zen 3, 2026-11, 1.65 times as long.
template <class D>
TESSERA_INLINE Vec<D> sigmoid(D d, Vec<D> x) {
  return div(set(d, 1.0f), one_plus_exp_neg(d, max(set(d, -89.0f), x)));
}

// sin x of all floats. Error < 1.55 (2.35) ulp; odd, also for -0; never above 1. NaN for infinities.
//
// Above 2^17 (2^8) pi / 2 is taken off lane by lane, in integers: slower by a factor, but as exact.
//
// One reduction to |r| <= pi / 4 and the polynomials of both functions. Why not to pi / 2 and that of the sine alone, which
// takes 8 operations less: 2.11 ulp, and results of 1 + 2^-23. Why not the part of r that its rounding lost, in a second
// float: two operations more for 1.0 ulp, but where r is tiny it would have to be normalized first.
template <class D>
TESSERA_INLINE Vec<D> sin(D d, Vec<D> x) {
  const Rebind<uint32_t, D> du;
  Vec<Rebind<uint32_t, D>> n;
  const auto r = reduce_half_pi(d, abs(x), n);
  return sine_in_quadrant(d, du, r, n, bit_and(bit_cast(du, x), set(du, 0x80000000u)));
}

// cos x of all floats. Error < 1.55 (2.35) ulp; even. As above.
template <class D>
TESSERA_INLINE Vec<D> cos(D d, Vec<D> x) {
  const Rebind<uint32_t, D> du;
  Vec<Rebind<uint32_t, D>> n;
  const auto r = reduce_half_pi(d, abs(x), n);
  return sine_in_quadrant(d, du, r, add(n, set(du, 1u)), zero(du));
}

// 1 / sqrt(x), both exactly rounded: the same bits with and without FMA. Error < 1.5 ulp. inf for 0, -inf for -0, 0 for inf,
// NaN for negative x.
template <class D>
TESSERA_INLINE Vec<D> rsqrt(D d, Vec<D> x) {
  return div(set(d, 1.0f), sqrt(x));
}

// ---- Activations. For -inf all give 0, of any sign, for inf inf.

// x / 2 (1 + erf(x / sqrt(2))). Error for x >= 0 < 1.24 (1.64) ulp; for x < 0 < 2^-23 (2^-22),
// and 0 below -5.54.
template <class D>
TESSERA_INLINE Vec<D> gelu(D d, Vec<D> x) {
  x = max(set(d, -6.0f), x);  // where the result is 0: it would be inf - inf for -inf
  const auto half = mul(x, set(d, 0.5f));
  return mul_add(half, erf(d, mul(x, set(d, 0x1.6a09e6p-1f))), half);
}

// x / 2 (1 + tanh(y / 2)) with y = sqrt(8 / pi) (x + 0.044715 x^3), which is x / (1 + e^-y).
// Error for x >= 0 < 1.86 (1.94) ulp, for x < 0 < 2^-24.
template <class D>
TESSERA_INLINE Vec<D> gelu_tanh(D d, Vec<D> x) {
  x = max(set(d, -10.05f), x);  // where y is -88.47
  const auto slope = mul_add_scalar(d, 0x1.2444f2p-4f, mul(x, x), set(d, 0x1.988454p+0f));
  return div(x, one_plus_exp_neg(d, mul(x, slope)));
}

// x / (1 + e^-x). Error < 2.4 (2.47) ulp for x >= -88.3, < 2^-120 below.
template <class D>
TESSERA_INLINE Vec<D> silu(D d, Vec<D> x) {
  x = max(set(d, -89.0f), x);
  return div(x, one_plus_exp_neg(d, x));
}

// x min(max(x + 3, 0), 6) / 6. Error < 2.49 ulp; exact for x >= 3, -0 for x <= -3.
template <class D>
TESSERA_INLINE Vec<D> hard_swish(D d, Vec<D> x) {
  x = max(set(d, -3.0f), x);
  const auto gate = min(set(d, 6.0f), add(x, set(d, 3.0f)));
  return mul(x, mul(gate, set(d, 0x1.555556p-3f)));
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_MATH_INL_H_
