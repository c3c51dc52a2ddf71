// SPDX-License-Identifier: Apache-2.0

// The xsimd backend, the only file that names xsimd::. For programs that use xsimd already: one
// architecture per translation unit, that of the compile flags, and on RVV and SVE one vector
// length. concept.h says what each op means; comments here say only where xsimd or the instructions
// would do something else.
//
// What GEMM and elementwise kernels spend their time in maps to instructions. Conversions to other
// widths, partial loads, reductions and table lookups go through arrays: simple, correct with every
// release of xsimd since 13, and left to the compiler.

#ifndef TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/simd-inl.h"
#else

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <xsimd/xsimd.hpp>

#include "tessera/core/dtype.h"

TESSERA_BEGIN_TARGET

namespace xs = ::xsimd;

// ---- Tags and vectors

// Named, not xsimd's default: the namespace must say what is in it.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__)
using Arch = xs::avx512bw;
#elif defined(__AVX2__) && defined(__FMA__)
using Arch = xs::fma3<xs::avx2>;
#elif defined(__SSE4_2__)
using Arch = xs::sse4_2;
#else
using Arch = xs::default_arch;
#endif

#undef TESSERA_XSIMD_NEON64
#if defined(__aarch64__) && !(defined(__ARM_FEATURE_SVE_BITS) && __ARM_FEATURE_SVE_BITS > 0)
#define TESSERA_XSIMD_NEON64 1
#else
#define TESSERA_XSIMD_NEON64 0
#endif

// bf16 and f16 travel as their bits.
template <class T>
using Raw = std::conditional_t<std::is_same_v<T, bf16> || std::is_same_v<T, f16>, uint16_t, T>;

template <class T>
using Batch = xs::batch<Raw<T>, Arch>;

template <class T, int N>
struct LanesTag {
  using Lane = T;
  static constexpr int kLanes = N;
};

// Less than a register, only to be stored or converted.
template <class T, int N>
struct Narrow {
  std::array<T, N> lane;
};

template <class T, int LMUL>
struct TagOf {
  static_assert(LMUL == 1, "tessera: xsimd has no register groups; use Tag<T> (LMUL 1)");
  using type = LanesTag<T, int{Batch<T>::size}>;
};

template <class T, int LMUL = 1>
using Tag = typename TagOf<T, LMUL>::type;

template <class D>
using Lane = typename D::Lane;

template <class T, class D>
using Rebind = LanesTag<T, D::kLanes>;

template <class T, class D>
using Repartition = LanesTag<T, D::kLanes * sizeof(Lane<D>) / sizeof(T)>;

template <class D>
inline constexpr bool kIsNarrow = D::kLanes < int{Batch<Lane<D>>::size};

template <class D, bool NARROW>
struct VecOf {
  static_assert(D::kLanes == int{Batch<Lane<D>>::size},
                "tessera: a vector of more than one register; Rebind only to types not wider");
  using type = Batch<Lane<D>>;
};
template <class D>
struct VecOf<D, true> {
  using type = Narrow<Lane<D>, D::kLanes>;
};
template <class D>
using Vec = typename VecOf<D, kIsNarrow<D>>::type;

template <class D>
using Mask = typename Batch<Lane<D>>::batch_bool_type;

template <class D>
TESSERA_INLINE constexpr size_t lanes(D) {
  return D::kLanes;
}

template <class D>
TESSERA_INLINE constexpr size_t max_lanes(D) {
  return D::kLanes;
}

// ---- Memory

template <class D>
TESSERA_INLINE Vec<D> load(D, const Lane<D>* p) {
  if constexpr (kIsNarrow<D>) {
    Vec<D> v;
    std::memcpy(&v, p, sizeof v);
    return v;
  } else {
    return Vec<D>::load_unaligned(reinterpret_cast<const Raw<Lane<D>>*>(p));
  }
}

template <class D>
TESSERA_INLINE void store(D, Vec<D> v, Lane<D>* p) {
  if constexpr (kIsNarrow<D>) {
    std::memcpy(p, &v, sizeof v);
  } else {
    v.store_unaligned(reinterpret_cast<Raw<Lane<D>>*>(p));
  }
}

// The lanes of a vector as an array, and back: for ops without an instruction.
template <class D>
using Array = std::array<Lane<D>, D::kLanes>;

template <class D>
TESSERA_INLINE Array<D> to_array(D d, Vec<D> v) {
  Array<D> a;
  store(d, v, a.data());
  return a;
}

template <class D>
TESSERA_INLINE Vec<D> set(D d, Lane<D> x) {
  if constexpr (kIsNarrow<D>) {
    Array<D> a;
    for (Lane<D>& lane : a) lane = x;
    return load(d, a.data());
  } else {
    return Vec<D>(std::bit_cast<Raw<Lane<D>>>(x));
  }
}

template <class D>
TESSERA_INLINE Vec<D> zero(D d) {
  return set(d, Lane<D>{});
}

template <class D>
TESSERA_INLINE Vec<D> load_n(D d, const Lane<D>* p, size_t n) {
  if (n >= lanes(d)) return load(d, p);
  Array<D> a{};
  for (size_t i = 0; i < n; ++i) a[i] = p[i];
  return load(d, a.data());
}

template <class D>
TESSERA_INLINE void load_two(D d, const Lane<D>* p, Vec<D>& a, Vec<D>& b) {
  a = load(d, p);
  b = load(d, p + lanes(d));
}

template <class D>
TESSERA_INLINE Vec<D> load_dup(D d, const Lane<D>* p) {
  return set(d, *p);
}

template <class D>
TESSERA_INLINE void store_n(D d, Vec<D> v, Lane<D>* p, size_t n) {
  if (n >= lanes(d)) return store(d, v, p);
  const Array<D> a = to_array(d, v);
  for (size_t i = 0; i < n; ++i) p[i] = a[i];
}

template <class D>
TESSERA_INLINE void stream(D d, Vec<D> v, Lane<D>* p) {
#if XSIMD_VERSION_MAJOR >= 14
  static_cast<void>(d);
  v.store(reinterpret_cast<Raw<Lane<D>>*>(p), xs::stream_mode());
#else
  store(d, v, p);
#endif
}

// ---- Arithmetic

template <class T>
TESSERA_INLINE xs::batch<T, Arch> add(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  return a + b;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> sub(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  return a - b;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> mul(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  xs::batch<T, Arch> product = a * b;
#if defined(__x86_64__) || TESSERA_XSIMD_NEON64
  if constexpr (std::is_floating_point_v<T>) product.data = no_contraction(product.data);
#endif
  return product;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> div(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
#if TESSERA_XSIMD_NEON64  // where xsimd multiplies by an approximate reciprocal, as on 32-bit Arm
  if constexpr (sizeof(T) == 4) return vdivq_f32(a, b);
#endif
  return a / b;
}

// xsimd's own minimum swaps the operands in some releases, which shows with NaN and -0.
template <class T>
TESSERA_INLINE xs::batch<T, Arch> min(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  if constexpr (std::is_floating_point_v<T>) return xs::select(a < b, a, b);
  return xs::min(a, b);
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> max(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  if constexpr (std::is_floating_point_v<T>) return xs::select(b < a, a, b);
  return xs::max(a, b);
}

// Of floating point, xsimd's negation is 0 - a on some architectures, which loses -0.
template <class T>
TESSERA_INLINE xs::batch<T, Arch> neg(xs::batch<T, Arch> a) {
  if constexpr (std::is_floating_point_v<T>) return a ^ xs::batch<T, Arch>(T{-0.0});
  return -a;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> abs(xs::batch<T, Arch> a) {
  return xs::abs(a);
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> mul_add(xs::batch<T, Arch> a, xs::batch<T, Arch> b,
                                          xs::batch<T, Arch> c) {
  if constexpr (!kHasFma) return add(mul(a, b), c);
  return xs::fma(a, b, c);
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> neg_mul_add(xs::batch<T, Arch> a, xs::batch<T, Arch> b,
                                              xs::batch<T, Arch> c) {
  if constexpr (!kHasFma) return sub(c, mul(a, b));
#if TESSERA_XSIMD_NEON64  // where xsimd's fnma rounds twice
  return xs::fma(neg(a), b, c);
#else
  return xs::fnma(a, b, c);
#endif
}

template <class D>
TESSERA_INLINE Vec<D> mul_scalar(D d, Lane<D> a, Vec<D> b) {
  return mul(set(d, a), b);
}

template <class D>
TESSERA_INLINE Vec<D> mul_add_scalar(D d, Lane<D> a, Vec<D> b, Vec<D> c) {
#if defined(__riscv_v_fixed_vlen)
  using Register = typename decltype(c.data)::register_type;
  const Register sum =
      __riscv_vfmacc(static_cast<Register>(c.data), a, static_cast<Register>(b.data), lanes(d));
  return Vec<D>(sum);
#else
  return mul_add(set(d, a), b, c);
#endif
}

// ---- Roots, reciprocals, rounding

template <class T>
TESSERA_INLINE xs::batch<T, Arch> sqrt(xs::batch<T, Arch> a) {
#if TESSERA_XSIMD_NEON64  // as for division
  if constexpr (sizeof(T) == 4) return vsqrtq_f32(a);
#endif
  return xs::sqrt(a);
}

TESSERA_INLINE Batch<float> rcp_approx(Batch<float> a) { return xs::reciprocal(a); }

template <class T>
TESSERA_INLINE xs::batch<T, Arch> round(xs::batch<T, Arch> a) {
#if defined(__riscv_v_fixed_vlen)  // where xsimd goes through integers, which have no -0
  return xs::nearbyint(a) | (a & xs::batch<T, Arch>(T{-0.0}));
#else
  return xs::nearbyint(a);
#endif
}

TESSERA_INLINE Batch<int32_t> to_int(Batch<float> a) {
  using Int = Batch<int32_t>;
  const auto too_big = xs::batch_bool_cast<int32_t>(a >= Batch<float>(0x1p31f));
  const auto is_nan = xs::batch_bool_cast<int32_t>(a != a);
  // x86 gives the smallest integer for all that does not fit.
  Int r = xs::nearbyint_as_int(a);
  r = xs::select(too_big, Int(std::numeric_limits<int32_t>::max()), r);
  return xs::select(is_nan, Int(0), r);
}

TESSERA_INLINE Batch<int32_t> to_int_in_range(Batch<float> a) { return xs::nearbyint_as_int(a); }

TESSERA_INLINE Batch<float> from_int(Batch<int32_t> a) { return xs::to_float(a); }

// ---- Masks

template <class T>
TESSERA_INLINE xs::batch_bool<T, Arch> lt(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  return a < b;
}

template <class T>
TESSERA_INLINE xs::batch_bool<T, Arch> eq(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  return a == b;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> select(xs::batch_bool<T, Arch> m, xs::batch<T, Arch> a,
                                         xs::batch<T, Arch> b) {
  return xs::select(m, a, b);
}

template <class D>
TESSERA_INLINE bool any(D, Mask<D> m) {
  return xs::any(m);
}

template <class D>
TESSERA_INLINE Mask<D> first_n(D d, size_t n) {
  // Compares 0, 1, 2, ... in unsigned integers of the lane's width.
  using U = xs::as_unsigned_integer_t<Raw<Lane<D>>>;
  static_assert(D::kLanes <= 255, "tessera: lane numbers must fit 8 bits");
  constexpr auto kIota = [] {
    std::array<U, D::kLanes> a{};
    for (int i = 0; i < D::kLanes; ++i) a[i] = static_cast<U>(i);
    return a;
  }();
  const auto iota = Batch<U>::load_unaligned(kIota.data());
  const Batch<U> count(static_cast<U>(n < lanes(d) ? n : lanes(d)));
  return xs::batch_bool_cast<Raw<Lane<D>>>(iota < count);
}

// ---- Bits

template <int kBits, class T>
TESSERA_INLINE xs::batch<T, Arch> shl(xs::batch<T, Arch> a) {
  return a << kBits;
}

template <int kBits, class T>
TESSERA_INLINE xs::batch<T, Arch> shr(xs::batch<T, Arch> a) {
  return a >> kBits;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> bit_and(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  return a & b;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> bit_or(xs::batch<T, Arch> a, xs::batch<T, Arch> b) {
  return a | b;
}

template <class D, class T>
TESSERA_INLINE Vec<D> bit_cast(D, xs::batch<T, Arch> v) {
  return xs::bitwise_cast<Raw<Lane<D>>>(v);
}

// ---- Conversions

template <class To, class From>
TESSERA_INLINE To lane_demote(From x) {
  if constexpr (std::is_integral_v<To>) {
    constexpr From kMin = std::numeric_limits<To>::min();
    constexpr From kMax = std::numeric_limits<To>::max();
    return static_cast<To>(x < kMin ? kMin : x > kMax ? kMax : x);
  } else {
    return static_cast<To>(x);
  }
}

template <class D, class DN>
TESSERA_INLINE Vec<D> promote(D d, DN dn, Vec<DN> v) {
  const Array<DN> from = to_array(dn, v);
  Array<D> to;
  for (size_t i = 0; i < lanes(d); ++i) to[i] = static_cast<Lane<D>>(from[i]);
  return load(d, to.data());
}

template <class DN, class D>
TESSERA_INLINE Vec<DN> demote(DN dn, D d, Vec<D> v) {
  const Array<D> from = to_array(d, v);
  Array<DN> to;
  for (size_t i = 0; i < lanes(d); ++i) to[i] = lane_demote<Lane<DN>>(from[i]);
  return load(dn, to.data());
}

template <class DN, class D>
TESSERA_INLINE Vec<DN> round_away(DN dn, D d, Vec<D> v) {
  return round_away_by_shift(dn, d, v);
}

// ---- Across lanes

template <class D>
TESSERA_INLINE Lane<D> reduce_add(D d, Vec<D> v) {
  if constexpr (std::is_integral_v<Lane<D>>) {
    return xs::reduce_add(v);
  } else {
    Array<D> a = to_array(d, v);
    for (size_t half = lanes(d) / 2; half != 0; half /= 2) {
      for (size_t i = 0; i < half; ++i) a[i] += a[i + half];
    }
    return a[0];
  }
}

template <class D>
TESSERA_INLINE Lane<D> reduce_max(D d, Vec<D> v) {
  const Array<D> a = to_array(d, v);
  Lane<D> m = a[0];
  for (Lane<D> x : a) {
    if (x != x) return x;
    m = x > m ? x : m;
  }
  return m + 0;  // not -0
}

template <class D, class A, class B>
TESSERA_INLINE Vec<D> dot4_i8(D d, xs::batch<A, Arch> a, xs::batch<B, Arch> b, Vec<D> c) {
  const auto as = to_array(Repartition<A, D>(), a);
  const auto bs = to_array(Repartition<B, D>(), b);
  Array<D> sums;
  for (size_t i = 0; i < lanes(d); ++i) {
    sums[i] = as[4 * i] * bs[4 * i] + as[4 * i + 1] * bs[4 * i + 1] +
              as[4 * i + 2] * bs[4 * i + 2] + as[4 * i + 3] * bs[4 * i + 3];
  }
  return c + load(d, sums.data());
}

template <class D, class A, class B>
TESSERA_INLINE Vec<D> dot2_i8(D d, xs::batch<A, Arch> a, xs::batch<B, Arch> b) {
  const auto as = to_array(Repartition<A, D>(), a);
  const auto bs = to_array(Repartition<B, D>(), b);
  Array<D> sums;
  for (size_t i = 0; i < lanes(d); ++i) {
    sums[i] = static_cast<int16_t>(as[2 * i] * bs[2 * i] + as[2 * i + 1] * bs[2 * i + 1]);
  }
  return load(d, sums.data());
}

template <class D>
TESSERA_INLINE Vec<D> dot2_i16([[maybe_unused]] D d, Vec<Repartition<int16_t, D>> a,
                               Vec<Repartition<int16_t, D>> b, Vec<D> c) {
#if defined(__AVX512BW__)
  return c + Vec<D>(_mm512_madd_epi16(a, b));
#elif defined(__AVX2__)
  return c + Vec<D>(_mm256_madd_epi16(a, b));
#elif defined(__SSE4_1__)
  return c + Vec<D>(_mm_madd_epi16(a, b));
#else
  const auto as = to_array(Repartition<int16_t, D>(), a);
  const auto bs = to_array(Repartition<int16_t, D>(), b);
  Array<D> sums;
  for (size_t i = 0; i < lanes(d); ++i) {
    // Unsigned: the sum of two products of the smallest s16 wraps.
    sums[i] = static_cast<int32_t>(static_cast<uint32_t>(as[2 * i] * bs[2 * i]) +
                                   static_cast<uint32_t>(as[2 * i + 1] * bs[2 * i + 1]));
  }
  return c + load(d, sums.data());
#endif
}

// Integers of half as many bits.
template <class D>
using HalfLane = std::conditional_t<sizeof(Lane<D>) == 4, int16_t, int8_t>;

template <class D>
TESSERA_INLINE Vec<D> add_wide(D d, Vec<Rebind<HalfLane<D>, D>> a, Vec<D> b) {
  return b + promote(d, Rebind<HalfLane<D>, D>(), a);
}

template <class D>
TESSERA_INLINE Vec<D> mul_scalar_wide(D d, HalfLane<D> a, Vec<Rebind<HalfLane<D>, D>> b) {
  return set(d, a) * promote(d, Rebind<HalfLane<D>, D>(), b);
}

template <class D>
TESSERA_INLINE Vec<D> mul_add_scalar_wide(D d, HalfLane<D> a, Vec<Rebind<HalfLane<D>, D>> b,
                                          Vec<D> c) {
  return c + mul_scalar_wide(d, a, b);
}

template <class D>
TESSERA_INLINE void interleave(D d, Vec<D> a, Vec<D> b, Lane<D>* p) {
  store(d, xs::zip_lo(a, b), p);
  store(d, xs::zip_hi(a, b), p + lanes(d));
}

template <class D>
TESSERA_INLINE void interleave(D d, Vec<D> a, Vec<D> b, Vec<D> c, Vec<D> e, Lane<D>* p) {
  interleave(d, xs::zip_lo(a, c), xs::zip_lo(b, e), p);
  interleave(d, xs::zip_hi(a, c), xs::zip_hi(b, e), p + 2 * lanes(d));
}

template <class D>
TESSERA_INLINE void transpose(D d, const Lane<D>* from, size_t from_stride, size_t rows,
                              size_t cols, Lane<D>* to, size_t to_stride) {
  size_t i = 0;
  if constexpr (sizeof(Lane<D>) >= 4) {  // squares of whole vectors
    // As floating point: for integers, xsimd casts pointers to vectors, which g++ takes apart.
    using Float = std::conditional_t<sizeof(Lane<D>) == 4, float, double>;
    constexpr size_t kN = D::kLanes;
    for (; i + kN <= rows; i += kN) {
      size_t j = 0;
      for (; j + kN <= cols; j += kN) {
        std::array<Batch<Float>, kN> square;
        for (size_t k = 0; k < kN; ++k) {
          square[k] = bit_cast(Tag<Float>(), load(d, from + (i + k) * from_stride + j));
        }
        xs::transpose(square.data(), square.data() + kN);
        for (size_t k = 0; k < kN; ++k) {
          store(d, bit_cast(d, square[k]), to + (j + k) * to_stride + i);
        }
      }
      for (; j < cols; ++j) {
        for (size_t k = i; k < i + kN; ++k) to[j * to_stride + k] = from[k * from_stride + j];
      }
    }
  }
  for (size_t j = 0; j < cols; ++j) {
    for (size_t k = i; k < rows; ++k) to[j * to_stride + k] = from[k * from_stride + j];
  }
}

template <class D>
TESSERA_INLINE std::array<Lane<D>, 16> load_table16(D, const Lane<D>* p) {
  std::array<Lane<D>, 16> table;
  std::memcpy(table.data(), p, sizeof table);
  return table;
}

template <class T>
TESSERA_INLINE xs::batch<T, Arch> table16(std::array<T, 16> table, xs::batch<T, Arch> index) {
  const Tag<T> d;
  auto lane = to_array(d, index);
  for (T& x : lane) x = table[static_cast<size_t>(x & 15)];
  return load(d, lane.data());
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_BACKEND_PASS
