// SPDX-License-Identifier: Apache-2.0

// Ops made of other ops, for backends without an instruction that gives exactly these bits.
// Vectors of bf16 and f16 are vectors of their bits here, and lanes are little-endian.

#ifndef TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/simd-inl.h"
#else

TESSERA_BEGIN_TARGET

template <class D, class DN>
TESSERA_INLINE Vec<D> bf16_to_f32(D d, DN, Vec<DN> v) {
  const Rebind<uint32_t, D> du;
  return bit_cast(d, shl<16>(promote(du, Rebind<uint16_t, D>(), v)));
}

// Adding a little less than half a unit, plus the bit that is going to be the last one, rounds to
// nearest even. A NaN is cut off instead, and made quiet; rounding could carry it into infinity.
template <class DN, class D>
TESSERA_INLINE Vec<DN> f32_to_bf16(DN, D d, Vec<D> v) {
  const Rebind<int32_t, D> di;
  const Rebind<uint32_t, D> du;
  const Rebind<uint16_t, D> dn;
  const auto bits = bit_cast(du, v);
  const auto even = bit_and(shr<16>(bits), set(du, 1u));
  const auto rounded = add(add(bits, set(du, 0x7fffu)), even);
  const auto quiet = bit_or(bits, set(du, 0x400000u));
  const auto r = bit_cast(du, select(eq(v, v), bit_cast(d, rounded), bit_cast(d, quiet)));
  return demote(dn, di, bit_cast(di, shr<16>(r)));
}

template <class D, class DN>
TESSERA_INLINE Vec<D> f16_to_f32(D d, DN, Vec<DN> v) {
  const Rebind<int32_t, D> di;  // signed: SSE has no unsigned comparison
  const auto bits = promote(di, Rebind<uint16_t, D>(), v);
  const auto sign = shl<16>(bit_and(bits, set(di, 0x8000)));
  // Exponent and mantissa, where float has them.
  const auto magnitude = shl<13>(bit_and(bits, set(di, 0x7fff)));
  const auto normal = add(magnitude, set(di, (127 - 15) << 23));
  // A subnormal: its mantissa under an implicit one of weight 2^-14, which is taken away again.
  const auto offset = set(di, 0x38800000);
  const auto subnormal =
      bit_cast(di, sub(bit_cast(d, bit_or(magnitude, offset)), bit_cast(d, offset)));
  const auto infinity = bit_or(magnitude, set(di, 0x7f800000));
  const auto nan = bit_or(magnitude, set(di, 0x7fc00000));
  auto r = select(lt(magnitude, set(di, 0x00800000)), subnormal, normal);
  r = select(lt(magnitude, set(di, 0x0f800000)), r, infinity);
  r = select(lt(set(di, 0x0f800000), magnitude), nan, r);
  return bit_cast(d, bit_or(r, sign));
}

template <class DN, class D>
TESSERA_INLINE Vec<DN> f32_to_f16(DN, D d, Vec<D> v) {
  const Rebind<int32_t, D> di;
  const auto bits = bit_cast(di, v);
  const auto sign = bit_and(shr<16>(bits), set(di, 0x8000));
  const auto magnitude = bit_and(bits, set(di, 0x7fffffff));
  const auto even = bit_and(shr<13>(magnitude), set(di, 1));
  const auto normal =
      shr<13>(sub(add(add(magnitude, set(di, 0xfff)), even), set(di, (127 - 15) << 23)));
  // Below 2^-14 the result counts units of 2^-24, the last place of 0.5: adding 0.5 rounds to them.
  const auto half = set(di, 0x3f000000);
  const auto subnormal = sub(bit_cast(di, add(bit_cast(d, magnitude), bit_cast(d, half))), half);
  const auto nan = bit_or(set(di, 0x7e00), bit_and(shr<13>(magnitude), set(di, 0x3ff)));
  auto r = select(lt(magnitude, set(di, 0x38800000)), subnormal, normal);
  r = select(lt(magnitude, set(di, 0x477ff000)), r, set(di, 0x7c00));  // 65520 rounds to infinity
  r = select(lt(set(di, 0x7f800000), magnitude), nan, r);
  return demote(Rebind<uint16_t, D>(), di, bit_or(r, sign));
}

// Plus half, but for the last bit, which would make 1 of 0.49999997; truncated. With 24 bits behind the point numbers
// of at least 1/2 are integers, so that a shift truncates.
template <class DN, class D>
TESSERA_INLINE Vec<DN> round_away_by_shift(DN dn, D d, Vec<D> v) {
  const Rebind<int32_t, D> di;
  const auto y = mul_add(abs(v), set(d, 0x1p24f), set(d, 0x1.fffffep-2f * 0x1p24f));
  const auto magnitude = shr<24>(to_int_in_range(y));
  return demote(dn, di, select(lt(bit_cast(di, v), zero(di)), neg(magnitude), magnitude));
}

// Two steps of the FMA chain. Instructions that do both at once round differently, or flush
// subnormals.
template <class D, class V>
TESSERA_INLINE Vec<D> dot2_bf16(D d, V a, V b, Vec<D> c) {
  const Rebind<uint32_t, D> du;
  const auto a2 = bit_cast(du, a);
  const auto b2 = bit_cast(du, b);
  const auto odd = set(du, 0xffff0000u);
  c = mul_add(bit_cast(d, shl<16>(a2)), bit_cast(d, shl<16>(b2)), c);
  return mul_add(bit_cast(d, bit_and(a2, odd)), bit_cast(d, bit_and(b2, odd)), c);
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_BACKEND_PASS
