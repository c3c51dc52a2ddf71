// SPDX-License-Identifier: Apache-2.0

// The Highway backend, the only file that names hwy::. Serves every target that is chosen at run
// time, and the scalable vectors of RVV and SVE. concept.h says what each op means; comments here
// say only where Highway or the instructions would do something else.

#ifndef TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/simd-inl.h"
#else

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "tessera/core/dtype.h"

TESSERA_BEGIN_TARGET

namespace hn = ::hwy::HWY_NAMESPACE;

// ---- Tags and vectors

// Lane type T in LMUL registers, or in 1/FRACTION of one (only by Rebind to a narrower type).
template <class T, int LMUL = 1, int FRACTION = 1>
struct Tag {
  static_assert(LMUL == 1 || LMUL == 2 || LMUL == 4 || LMUL == 8,
                "tessera: LMUL must be 1, 2, 4 or 8");
  static_assert(kHasLmul || LMUL == 1,
                "tessera: this target has no register groups; use Tag<T> (LMUL 1), and Rebind only "
                "to types that are not wider");
  using Lane = T;
  static constexpr int kLmul = LMUL;
  static constexpr int kFraction = FRACTION;
};

template <class D>
using Lane = typename D::Lane;

template <class T, int BYTES, int OF>  // BYTES / OF registers
using TagOf = Tag<T, (BYTES > OF ? BYTES / OF : 1), (OF > BYTES ? OF / BYTES : 1)>;

template <class T, class D>
using Rebind = TagOf<T, D::kLmul* int{sizeof(T)}, D::kFraction* int{sizeof(Lane<D>)}>;

template <class T, class D>
using Repartition = Tag<T, D::kLmul, D::kFraction>;

// Integers of half as many bits.
template <class D>
using HalfLane = std::conditional_t<sizeof(Lane<D>) == 4, int16_t, int8_t>;

// bf16 and f16 travel as their bits.
template <class T>
using Raw = std::conditional_t<std::is_same_v<T, bf16> || std::is_same_v<T, f16>, uint16_t, T>;

constexpr int log2_of(int x) { return x == 1 ? 0 : 1 + log2_of(x / 2); }

template <class D>
using HwyTag = hn::ScalableTag<Raw<Lane<D>>, log2_of(D::kLmul) - log2_of(D::kFraction)>;

template <class D>
using Vec = hn::Vec<HwyTag<D>>;

template <class D>
using Mask = hn::Mask<HwyTag<D>>;

template <class V>
inline constexpr bool kIsFloatVec = std::is_floating_point_v<hn::TFromV<V>>;

template <class D>
TESSERA_INLINE size_t lanes(D) {
  return hn::Lanes(HwyTag<D>());
}

template <class D>
TESSERA_INLINE constexpr size_t max_lanes(D) {
  return hn::MaxLanes(HwyTag<D>());
}

// ---- Memory

template <class T>
TESSERA_INLINE const Raw<T>* raw(const T* p) {
  return reinterpret_cast<const Raw<T>*>(p);
}

template <class T>
TESSERA_INLINE Raw<T>* raw(T* p) {
  return reinterpret_cast<Raw<T>*>(p);
}

template <class D>
TESSERA_INLINE Vec<D> zero(D) {
  return hn::Zero(HwyTag<D>());
}

template <class D>
TESSERA_INLINE Vec<D> set(D, Lane<D> x) {
  return hn::Set(HwyTag<D>(), *raw(&x));
}

template <class D>
TESSERA_INLINE Vec<D> load(D, const Lane<D>* p) {
  return hn::LoadU(HwyTag<D>(), raw(p));
}

template <class D>
TESSERA_INLINE Vec<D> load_n(D, const Lane<D>* p, size_t n) {
  return hn::LoadN(HwyTag<D>(), raw(p), n);
}

template <class D>
TESSERA_INLINE void load_two(D d, const Lane<D>* p, Vec<D>& a, Vec<D>& b) {
#if HWY_TARGET == \
    HWY_RVV  // one group of registers, loaded at once (Highway's UpperHalf would slide it)
  if constexpr (std::is_same_v<D, Tag<float, 4>>) {
    const auto both = load(Tag<float, 8>(), p);
    a = __riscv_vget_f32m4(both, 0);
    b = __riscv_vget_f32m4(both, 1);
    return;
  } else if constexpr (std::is_same_v<D, Tag<float, 2>>) {
    const auto both = load(Tag<float, 4>(), p);
    a = __riscv_vget_f32m2(both, 0);
    b = __riscv_vget_f32m2(both, 1);
    return;
  } else if constexpr (std::is_same_v<D, Tag<float, 1>>) {
    const auto both = load(Tag<float, 2>(), p);
    a = __riscv_vget_f32m1(both, 0);
    b = __riscv_vget_f32m1(both, 1);
    return;
  }
#endif
  a = load(d, p);
  b = load(d, p + lanes(d));
}

template <class D>
TESSERA_INLINE Vec<D> load_dup(D d, const Lane<D>* p) {
  return set(d, *p);
}

template <class D>
TESSERA_INLINE void store(D, Vec<D> v, Lane<D>* p) {
  hn::StoreU(v, HwyTag<D>(), raw(p));
}

template <class D>
TESSERA_INLINE void store_n(D, Vec<D> v, Lane<D>* p, size_t n) {
  hn::StoreN(v, HwyTag<D>(), raw(p), n);
}

template <class D>
TESSERA_INLINE void stream(D, Vec<D> v, Lane<D>* p) {
  hn::Stream(v, HwyTag<D>(), raw(p));
}

// ---- Arithmetic

template <class V>
TESSERA_INLINE V add(V a, V b) {
  return hn::Add(a, b);
}

template <class V>
TESSERA_INLINE V sub(V a, V b) {
  return hn::Sub(a, b);
}

template <class V>
TESSERA_INLINE V mul(V a, V b) {
  V product = hn::Mul(a, b);
#if HWY_TARGET != HWY_RVV && !HWY_TARGET_IS_SVE  // theirs are opaque to the compiler anyway
  if constexpr (kIsFloatVec<V>) product.raw = no_contraction(product.raw);
#endif
  return product;
}

template <class V>
TESSERA_INLINE V div(V a, V b) {
  return hn::Div(a, b);
}

// x86 has exactly this operation; Arm and RISC-V minima treat NaN and -0 in two other ways.
template <class V>
TESSERA_INLINE V min(V a, V b) {
#if !HWY_ARCH_X86
  if constexpr (kIsFloatVec<V>) return hn::IfThenElse(hn::Lt(a, b), a, b);
#endif
  return hn::Min(a, b);
}

template <class V>
TESSERA_INLINE V max(V a, V b) {
#if !HWY_ARCH_X86
  if constexpr (kIsFloatVec<V>) return hn::IfThenElse(hn::Lt(b, a), a, b);
#endif
  return hn::Max(a, b);
}

template <class V>
TESSERA_INLINE V neg(V a) {
  return hn::Neg(a);
}

template <class V>
TESSERA_INLINE V abs(V a) {
  return hn::Abs(a);
}

// Without FMA always two roundings, also where the flags would let the compiler fuse them.
template <class V>
TESSERA_INLINE V mul_add(V a, V b, V c) {
  if constexpr (!kHasFma) return add(mul(a, b), c);
  return hn::MulAdd(a, b, c);
}

template <class V>
TESSERA_INLINE V neg_mul_add(V a, V b, V c) {
  if constexpr (!kHasFma) return sub(c, mul(a, b));
  return hn::NegMulAdd(a, b, c);
}

template <class D>
TESSERA_INLINE Vec<D> mul_scalar(D d, Lane<D> a, Vec<D> b) {
#if HWY_TARGET == HWY_RVV
  return __riscv_vfmul(b, a, lanes(d));
#else
  return mul(set(d, a), b);
#endif
}

template <class D>
TESSERA_INLINE Vec<D> mul_add_scalar(D d, Lane<D> a, Vec<D> b, Vec<D> c) {
#if HWY_TARGET == HWY_RVV
  // From a broadcast, compilers never find vfmacc.vf, which reads `a` from a scalar register and
  // saves the instruction and the vector register.
  return __riscv_vfmacc(c, a, b, lanes(d));
#else
  return mul_add(set(d, a), b, c);
#endif
}

// ---- Roots, reciprocals, rounding

template <class V>
TESSERA_INLINE V sqrt(V a) {
  return hn::Sqrt(a);
}

template <class V>
TESSERA_INLINE V rcp_approx(V a) {
  return hn::ApproximateReciprocal(a);
}

template <class V>
TESSERA_INLINE V round(V a) {
#if HWY_TARGET == HWY_SSE2 || HWY_TARGET == HWY_SSSE3  // they go through integers, which have no -0
  return hn::CopySign(hn::Round(a), a);
#else
  return hn::Round(a);
#endif
}

template <class V>
TESSERA_INLINE auto to_int(V a) {
  const hn::RebindToSigned<hn::DFromV<V>> di;
  return hn::IfThenZeroElse(hn::RebindMask(di, hn::IsNaN(a)), hn::NearestInt(a));
}

template <class V>
TESSERA_INLINE auto to_int_in_range(V a) {
#if HWY_ARCH_X86 && \
    HWY_TARGET <= HWY_AVX2  // Highway has this only with a correction of what is out of range
  using Result = hn::Vec<hn::RebindToSigned<hn::DFromV<V>>>;
  if constexpr (sizeof(a.raw) == 64) {
    return Result{_mm512_cvtps_epi32(a.raw)};
  } else if constexpr (sizeof(a.raw) == 32) {
    return Result{_mm256_cvtps_epi32(a.raw)};
  } else {
    return Result{_mm_cvtps_epi32(a.raw)};
  }
#else
  return hn::NearestInt(a);
#endif
}

template <class V>
TESSERA_INLINE auto from_int(V a) {
  return hn::ConvertTo(hn::RebindToFloat<hn::DFromV<V>>(), a);
}

// ---- Masks

template <class V>
TESSERA_INLINE auto lt(V a, V b) {
  return hn::Lt(a, b);
}

template <class V>
TESSERA_INLINE auto eq(V a, V b) {
  return hn::Eq(a, b);
}

template <class M, class V>
TESSERA_INLINE V select(M m, V a, V b) {
  return hn::IfThenElse(m, a, b);
}

template <class D>
TESSERA_INLINE bool any(D, Mask<D> m) {
  return !hn::AllFalse(HwyTag<D>(), m);
}

template <class D>
TESSERA_INLINE Mask<D> first_n(D, size_t n) {
  const size_t most = lanes(D());  // NEON would compare with n modulo the range of the lane
  return hn::FirstN(HwyTag<D>(), n < most ? n : most);
}

// ---- Bits

template <int kBits, class V>
TESSERA_INLINE V shl(V a) {
  return hn::ShiftLeft<kBits>(a);
}

template <int kBits, class V>
TESSERA_INLINE V shr(V a) {
  return hn::ShiftRight<kBits>(a);
}

template <class V>
TESSERA_INLINE V bit_and(V a, V b) {
  return hn::And(a, b);
}

template <class V>
TESSERA_INLINE V bit_or(V a, V b) {
  return hn::Or(a, b);
}

template <class D, class V>
TESSERA_INLINE Vec<D> bit_cast(D, V v) {
  return hn::BitCast(HwyTag<D>(), v);
}

// ---- Conversions

// Instructions for f16 exist and are exact, on every machine that has the target.
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)) || HWY_ARCH_ARM_A64
inline constexpr bool kHasF16Conversion = true;
#else
inline constexpr bool kHasF16Conversion = false;
#endif

#if HWY_TARGET == HWY_RVV
// Adding 2^13 times the power of two below a number (2^-14 at least, where subnormals begin) rounds it to 11 bits, which
// are then the last ones. Half the instructions of f32_to_f16.
template <class DN, class D>
TESSERA_INLINE Vec<DN> f32_to_f16_by_sum(D d, Vec<D> v) {
  const HwyTag<D> df;
  const hn::RebindToUnsigned<decltype(df)> du;
  const size_t n = lanes(d);
  const auto bits = hn::BitCast(du, v);
  const auto any = __riscv_vand(bits, 0x7fffffffu, n);
  const auto magnitude = __riscv_vminu(any, 0x47800000u, n);  // 2^16 becomes infinity, as is
  const auto power = __riscv_vmaxu(__riscv_vand(magnitude, 0x7f800000u, n), 113u << 23, n);
  const auto unit = __riscv_vadd(power, 13u << 23, n);
  const auto sum = hn::BitCast(du, hn::Add(hn::BitCast(df, magnitude), hn::BitCast(df, unit)));
  const auto exponent = __riscv_vsub(__riscv_vsrl(unit, 13, n), 126u << 10, n);
  const auto finite = __riscv_vadd(__riscv_vsub(sum, unit, n), exponent, n);
  const auto payload = __riscv_vand(__riscv_vsrl(bits, 13, n), 0x3ffu, n);
  const auto is_nan = __riscv_vmsgtu(any, 0x7f800000u, n);
  const auto r = __riscv_vor_mu(is_nan, finite, payload, 0x7e00u, n);
  const auto sign = __riscv_vand(__riscv_vsrl(bits, 16, n), 0x8000u, n);
  return __riscv_vncvt_x(__riscv_vor(r, sign, n), n);
}

// Exponent and mantissa where f32 has them, and a product that moves the exponent, which is exact, for nothing flushes
// subnormals here. Ten instructions where f16_to_f32 took 32: comparisons and masks take scalars as they are.
// Why not Zvfhmin's one instruction, where a probe at run time finds it: Highway's target is plain V, so each use would
// be a branch around inline assembly, for at most 4 % of the instructions of a row times Q4_0 (VLEN 256, 2026-11).
template <class D, class VN>
TESSERA_INLINE Vec<D> f16_to_f32_by_product(D d, VN v) {
  const HwyTag<D> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::RebindToUnsigned<decltype(df)> du;
  const size_t n = lanes(d);
  const auto wide = hn::PromoteTo(di, hn::BitCast(hn::RebindToSigned<hn::DFromV<VN>>(), v));
  const auto bits = __riscv_vand(__riscv_vsll(wide, 13, n), static_cast<int32_t>(0x8fffe000u), n);
  const auto value = hn::BitCast(du, __riscv_vfmul(hn::BitCast(df, bits), 0x1p112f, n));
  const auto magnitude = __riscv_vsll(hn::BitCast(du, bits), 1, n);
  const auto infinite =
      __riscv_vor_mu(__riscv_vmsgtu(magnitude, 0x1effffffu, n), value, value, 0x7f800000u, n);
  const auto quiet =
      __riscv_vor_mu(__riscv_vmsgtu(magnitude, 0x1f000000u, n), infinite, infinite, 0x400000u, n);
  return hn::BitCast(df, quiet);
}
#endif

template <class D, class DN>
TESSERA_INLINE Vec<D> promote(D d, DN dn, Vec<DN> v) {
  if constexpr (std::is_same_v<Lane<DN>, bf16>) {
    return bf16_to_f32(d, dn, v);
  } else if constexpr (!std::is_same_v<Lane<DN>, f16>) {
    return hn::PromoteTo(HwyTag<D>(), v);
  } else if constexpr (kHasF16Conversion) {
    const hn::Rebind<::hwy::float16_t, HwyTag<D>> dh;
    return hn::PromoteTo(HwyTag<D>(), hn::BitCast(dh, v));
  } else {
#if HWY_TARGET == HWY_RVV
    return f16_to_f32_by_product(d, v);
#else
    return f16_to_f32(d, dn, v);
#endif
  }
}

template <class DN, class D>
TESSERA_INLINE Vec<DN> demote(DN dn, D d, Vec<D> v) {
  // The bf16 instructions of AVX-512 flush subnormals, hence not them.
  if constexpr (std::is_same_v<Lane<DN>, bf16>) {
    return f32_to_bf16(dn, d, v);
  } else if constexpr (!std::is_same_v<Lane<DN>, f16>) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3  // two steps where Highway takes three
    if constexpr (sizeof(Lane<DN>) == 1 && std::is_same_v<Lane<D>, int32_t> &&
                  sizeof(v.raw) == 64) {
      if constexpr (std::is_signed_v<Lane<DN>>)
        return Vec<DN>{_mm512_cvtsepi32_epi8(v.raw)};
      else
        return Vec<DN>{_mm512_cvtusepi32_epi8(hn::Max(v, hn::Zero(HwyTag<D>())).raw)};
    }
#endif
    return hn::DemoteTo(HwyTag<DN>(), v);
  } else if constexpr (kHasF16Conversion) {
    const hn::Rebind<::hwy::float16_t, HwyTag<D>> dh;
    return hn::BitCast(HwyTag<DN>(), hn::DemoteTo(dh, v));
  } else {
#if HWY_TARGET == HWY_RVV
    return f32_to_f16_by_sum<DN>(d, v);
#else
    return f32_to_f16(dn, d, v);
#endif
  }
}

template <class DN, class D>
TESSERA_INLINE Vec<DN> round_away(DN dn, D d, Vec<D> v) {
#if HWY_TARGET == HWY_RVV
  // To 16 bits, with a rounding mode that only scalar conversions have as part of the instruction. The compiler sets
  // the register once for conversions that follow each other.
  const auto words = __riscv_vfncvt_x(v, __RISCV_FRM_RMM, lanes(d));
  return __riscv_vncvt_x(words, lanes(d));
#else
  return round_away_by_shift(dn, d, v);
#endif
}

// ---- Across lanes

#if HWY_HAVE_SCALABLE || HWY_TARGET_IS_SVE
template <class D, class Op>
TESSERA_INLINE Lane<D> reduce_by_halves(D d, Vec<D> v, Op op) {
  for (size_t half = lanes(d) / 2; half != 0; half /= 2) {
    v = op(v, hn::SlideDownLanes(HwyTag<D>(), v, half));
  }
  return hn::GetLane(v);
}
#else
template <class V, class Op>
TESSERA_INLINE auto reduce_halves(V v, Op op) {
  using D = hn::DFromV<V>;
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::GetLane(v);
  } else {
    const hn::Half<D> dh;
    return reduce_halves(op(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)), op);
  }
}
template <class D, class Op>
TESSERA_INLINE Lane<D> reduce_by_halves(D, Vec<D> v, Op op) {
  return reduce_halves(v, op);
}
#endif

template <class D>
TESSERA_INLINE Lane<D> reduce_add(D d, Vec<D> v) {
  if constexpr (std::is_integral_v<Lane<D>>) return hn::ReduceSum(HwyTag<D>(), v);
  return reduce_by_halves(d, v, [](auto a, auto b) TESSERA_LAMBDA { return hn::Add(a, b); });
}

template <class D>
TESSERA_INLINE Lane<D> reduce_max(D d, Vec<D> v) {
  if constexpr (std::is_integral_v<Lane<D>>) {
    return hn::ReduceMax(HwyTag<D>(), v);
  } else {
    const HwyTag<D> dh;
    if (!hn::AllTrue(dh, hn::Eq(v, v))) return hn::GetLane(hn::NaN(dh));
    return reduce_by_halves(d, v, [](auto a, auto b) TESSERA_LAMBDA { return hn::Max(a, b); }) +
           Lane<D>{0};  // not -0
  }
}

template <class D, class A, class B>
TESSERA_INLINE Vec<D> dot4_i8(D, A a, B b, Vec<D> c) {
  return hn::SumOfMulQuadAccumulate(HwyTag<D>(), a, b, c);
}

// Within 2 * 128 * 127: nothing saturates.
template <class D, class A, class B>
TESSERA_INLINE Vec<D> dot2_i8(D, A a, B b) {
  if constexpr (std::is_signed_v<hn::TFromV<A>>) {
    const hn::RebindToUnsigned<hn::DFromV<A>> du;
    return hn::SatWidenMulPairwiseAdd(HwyTag<D>(), hn::BitCast(du, hn::Abs(a)),
                                      hn::IfNegativeThenNegOrUndefIfZero(a, b));
  } else {
    return hn::SatWidenMulPairwiseAdd(HwyTag<D>(), a, b);
  }
}

template <class D, class V>
TESSERA_INLINE Vec<D> dot2_i16(D, V a, V b, Vec<D> c) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL  // one instruction, in order there
  Vec<D> unused = hn::Zero(HwyTag<D>());
  return hn::ReorderWidenMulAccumulate(HwyTag<D>(), a, b, c, unused);
#else
  return hn::Add(c, hn::WidenMulPairwiseAdd(HwyTag<D>(), a, b));
#endif
}

template <class D>
TESSERA_INLINE Vec<D> mul_scalar_wide(D d, HalfLane<D> a, Vec<Rebind<HalfLane<D>, D>> b) {
#if HWY_TARGET == HWY_RVV
  return __riscv_vwmul(b, a, lanes(d));
#else
  return hn::Mul(set(d, a), hn::PromoteTo(HwyTag<D>(), b));
#endif
}

template <class D>
TESSERA_INLINE Vec<D> mul_add_scalar_wide(D d, HalfLane<D> a, Vec<Rebind<HalfLane<D>, D>> b,
                                          Vec<D> c) {
#if HWY_TARGET == HWY_RVV
  return __riscv_vwmacc(c, a, b, lanes(d));
#else
  return hn::Add(c, hn::Mul(set(d, a), hn::PromoteTo(HwyTag<D>(), b)));
#endif
}

template <class D>
TESSERA_INLINE Vec<D> add_wide([[maybe_unused]] D d, Vec<Rebind<HalfLane<D>, D>> a, Vec<D> b) {
#if HWY_TARGET == HWY_RVV
  return __riscv_vwadd_wv(b, a, lanes(d));
#else
  return hn::Add(b, hn::PromoteTo(HwyTag<D>(), a));
#endif
}

template <class D>
TESSERA_INLINE void interleave(D, Vec<D> a, Vec<D> b, Lane<D>* p) {
  static_assert(D::kLmul == 1, "tessera: interleave takes vectors of LMUL 1");
  hn::StoreInterleaved2(a, b, HwyTag<D>(), raw(p));
}

template <class D>
TESSERA_INLINE void interleave(D, Vec<D> a, Vec<D> b, Vec<D> c, Vec<D> e, Lane<D>* p) {
  static_assert(D::kLmul == 1, "tessera: interleave takes vectors of LMUL 1");
  hn::StoreInterleaved4(a, b, c, e, HwyTag<D>(), raw(p));
}

#if HWY_TARGET == HWY_RVV

// Copies n values that lie `stride` apart to consecutive ones: a strided load and a store. Groups of
// four registers: a quarter of the instructions that one takes.
TESSERA_INLINE void gather_column(const uint8_t* from, size_t stride, uint8_t* to, size_t n) {
  __riscv_vse8(to, __riscv_vlse8_v_u8m4(from, static_cast<ptrdiff_t>(stride), n), n);
}
TESSERA_INLINE void gather_column(const uint16_t* from, size_t stride, uint16_t* to, size_t n) {
  __riscv_vse16(to, __riscv_vlse16_v_u16m4(from, static_cast<ptrdiff_t>(2 * stride), n), n);
}
TESSERA_INLINE void gather_column(const uint32_t* from, size_t stride, uint32_t* to, size_t n) {
  __riscv_vse32(to, __riscv_vlse32_v_u32m4(from, static_cast<ptrdiff_t>(4 * stride), n), n);
}
TESSERA_INLINE void gather_column(const uint64_t* from, size_t stride, uint64_t* to, size_t n) {
  __riscv_vse64(to, __riscv_vlse64_v_u64m4(from, static_cast<ptrdiff_t>(8 * stride), n), n);
}

template <class D>
TESSERA_INLINE void transpose(D, const Lane<D>* from, size_t from_stride, size_t rows, size_t cols,
                              Lane<D>* to, size_t to_stride) {
  using U = ::hwy::UnsignedFromSize<sizeof(Lane<D>)>;
  const U* f = reinterpret_cast<const U*>(from);
  U* t = reinterpret_cast<U*>(to);
  const size_t step = hn::Lanes(hn::ScalableTag<U, 2>());
  for (size_t i = 0; i < rows; i += step) {
    const size_t n = rows - i < step ? rows - i : step;
    for (size_t j = 0; j < cols; ++j) {
      gather_column(f + i * from_stride + j, from_stride, t + j * to_stride + i, n);
    }
  }
}

#else

// The transposition of 4 x 4 (or 2 x 2) elements needs shuffles within 16-byte blocks only. A wider
// vector does one such square per block: rows 0..3, 4..7, ... of the same columns, so that each
// result is kRows consecutive elements of a column.

// 16 bytes of the rows 0, kBlock, 2 * kBlock, ... below kRows: one per block of the vector.
template <size_t kRows, class U>
TESSERA_INLINE auto load_block_rows(const U* from, size_t stride) {
  constexpr size_t kBlock = 16 / sizeof(U);
  if constexpr (kRows == kBlock) {
    return hn::LoadU(hn::FixedTag<U, kBlock>(), from);
  } else {
    const hn::FixedTag<U, kRows> d;
    const auto lower = load_block_rows<kRows / 2>(from, stride);
    const auto upper = load_block_rows<kRows / 2>(from + kRows / 2 * stride, stride);
    return hn::Combine(d, upper, lower);
  }
}

template <size_t kRows>
TESSERA_INLINE void transpose_block(const uint32_t* from, size_t from_stride, uint32_t* to,
                                    size_t to_stride) {
  const hn::FixedTag<uint32_t, kRows> d;
  const hn::FixedTag<uint64_t, kRows / 2> d2;
  const auto r0 = load_block_rows<kRows>(from, from_stride);
  const auto r1 = load_block_rows<kRows>(from + from_stride, from_stride);
  const auto r2 = load_block_rows<kRows>(from + 2 * from_stride, from_stride);
  const auto r3 = load_block_rows<kRows>(from + 3 * from_stride, from_stride);
  const auto c01_r01 = hn::BitCast(d2, hn::InterleaveLower(d, r0, r1));
  const auto c23_r01 = hn::BitCast(d2, hn::InterleaveUpper(d, r0, r1));
  const auto c01_r23 = hn::BitCast(d2, hn::InterleaveLower(d, r2, r3));
  const auto c23_r23 = hn::BitCast(d2, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, c01_r01, c01_r23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, c01_r01, c01_r23)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, c23_r01, c23_r23)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, c23_r01, c23_r23)), d, to + 3 * to_stride);
}

template <size_t kRows>
TESSERA_INLINE void transpose_block(const uint64_t* from, size_t from_stride, uint64_t* to,
                                    size_t to_stride) {
  const hn::FixedTag<uint64_t, kRows> d;
  const auto r0 = load_block_rows<kRows>(from, from_stride);
  const auto r1 = load_block_rows<kRows>(from + from_stride, from_stride);
  hn::StoreU(hn::InterleaveLower(d, r0, r1), d, to);
  hn::StoreU(hn::InterleaveUpper(d, r0, r1), d, to + to_stride);
}

// As many of the rows as fill groups of kRows; returns how many rows that was.
template <size_t kRows, class U>
TESSERA_INLINE size_t transpose_rows(const U* from, size_t from_stride, size_t rows, size_t cols,
                                     U* to, size_t to_stride) {
  constexpr size_t kBlock = 16 / sizeof(U);
  size_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    const U* group = from + i * from_stride;
    size_t j = 0;
    for (; j + kBlock <= cols; j += kBlock) {
      transpose_block<kRows>(group + j, from_stride, to + j * to_stride + i, to_stride);
    }
    for (; j < cols; ++j) {
      for (size_t r = 0; r < kRows; ++r) to[j * to_stride + i + r] = group[r * from_stride + j];
    }
  }
  return i;
}

template <class D>
TESSERA_INLINE void transpose(D, const Lane<D>* from, size_t from_stride, size_t rows, size_t cols,
                              Lane<D>* to, size_t to_stride) {
  using U = ::hwy::UnsignedFromSize<sizeof(Lane<D>)>;
  const U* f = reinterpret_cast<const U*>(from);
  U* t = reinterpret_cast<U*>(to);
  size_t i = 0;
  if constexpr (sizeof(U) >= 4) {
#if !HWY_TARGET_IS_SVE
    // 32 bytes at most, also of AVX-512: eight rows of one cache set, as of a stride of 4 KiB, stay in L1 while
    // their lines are read 16 bytes at a time, and shuffles of 32 bytes have two ports.
    constexpr size_t kMost = std::min(hn::MaxLanes(hn::ScalableTag<U>()), 32 / sizeof(U));
    if constexpr (kMost > 16 / sizeof(U)) {
      i += transpose_rows<kMost>(f, from_stride, rows, cols, t, to_stride);
    }
#endif
    i += transpose_rows<16 / sizeof(U)>(f + i * from_stride, from_stride, rows - i, cols, t + i,
                                        to_stride);
  }
  for (size_t j = 0; j < cols; ++j) {
    for (size_t r = i; r < rows; ++r) t[j * to_stride + r] = f[r * from_stride + j];
  }
}

#endif  // HWY_TARGET == HWY_RVV

template <class D>
TESSERA_INLINE Vec<D> load_table16(D, const Lane<D>* p) {
#if HWY_TARGET == HWY_RVV || HWY_TARGET_IS_SVE
  return hn::LoadN(HwyTag<D>(), p, 16);  // they look up in the whole vector,
#else
  return hn::LoadDup128(HwyTag<D>(), p);  // all others within each 16 bytes
#endif
}

template <class V>
TESSERA_INLINE V table16(V table, V index) {
#if HWY_TARGET == HWY_RVV
  const hn::RebindToUnsigned<hn::DFromV<V>> du;
  return __riscv_vrgather(table, hn::BitCast(du, index), hn::Lanes(du));
#elif HWY_TARGET_IS_SVE
  return svtbl(table, hn::BitCast(hn::RebindToUnsigned<hn::DFromV<V>>(), index));
#else
  return hn::TableLookupBytes(table, index);
#endif
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_BACKEND_PASS
