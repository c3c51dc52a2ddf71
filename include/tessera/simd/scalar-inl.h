// SPDX-License-Identifier: Apache-2.0

// The scalar backend: a vector is an array, an op is a loop over it.
//
// It is the fallback on machines without a vector unit (16-byte vectors), with 3 or 5 lanes the
// target that makes tests meet every edge case on any machine, and the oracle of the tests of the
// other backends: each op is written as its definition in concept.h reads. mul_add is std::fma, so
// results have the bits of every target with FMA.

#ifndef TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/simd-inl.h"
#else

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/core/dtype.h"

TESSERA_BEGIN_TARGET

// ---- Tags and vectors

#if defined(TESSERA_SCALAR_LANES)
// Lanes of 4 and 8 byte types; narrower types have as many lanes as fill the same bytes.
template <class T>
inline constexpr int kNativeLanes = TESSERA_SCALAR_LANES * (sizeof(T) < 4 ? 4 / sizeof(T) : 1);
#else
template <class T>
inline constexpr int kNativeLanes = 16 / sizeof(T);
#endif

template <class T, int N>
struct LanesTag {
  using Lane = T;
  static constexpr int kLanes = N;
};

template <class T, int N>
struct LanesVec {
  T lane[N];
};

template <class T, int N>
struct LanesMask {
  bool lane[N];
};

template <class T, int LMUL>
struct TagOf {
  static_assert(LMUL == 1, "tessera: this target has no register groups; use Tag<T> (LMUL 1)");
  using type = LanesTag<T, kNativeLanes<T>>;
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
using Vec = LanesVec<Lane<D>, D::kLanes>;

template <class D>
using Mask = LanesMask<Lane<D>, D::kLanes>;

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
TESSERA_INLINE Vec<D> set(D, Lane<D> x) {
  Vec<D> v;
  for (int i = 0; i < D::kLanes; ++i) v.lane[i] = x;
  return v;
}

template <class D>
TESSERA_INLINE Vec<D> zero(D d) {
  return set(d, Lane<D>{});
}

template <class D>
TESSERA_INLINE Vec<D> load(D, const Lane<D>* p) {
  Vec<D> v;
  for (int i = 0; i < D::kLanes; ++i) v.lane[i] = p[i];
  return v;
}

template <class D>
TESSERA_INLINE Vec<D> load_n(D d, const Lane<D>* p, size_t n) {
  Vec<D> v = zero(d);
  for (size_t i = 0; i < lanes(d) && i < n; ++i) v.lane[i] = p[i];
  return v;
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
TESSERA_INLINE void store(D, Vec<D> v, Lane<D>* p) {
  for (int i = 0; i < D::kLanes; ++i) p[i] = v.lane[i];
}

template <class D>
TESSERA_INLINE void store_n(D d, Vec<D> v, Lane<D>* p, size_t n) {
  for (size_t i = 0; i < lanes(d) && i < n; ++i) p[i] = v.lane[i];
}

template <class D>
TESSERA_INLINE void stream(D d, Vec<D> v, Lane<D>* p) {
  store(d, v, p);
}

// ---- Arithmetic

// An unsigned type in which integer arithmetic wraps: in T it may overflow, which is undefined, by
// itself or after promotion to int.
template <class T>
using Wrapping = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
TESSERA_INLINE T lane_add(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return a + b;
  return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
}

template <class T>
TESSERA_INLINE T lane_sub(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return a - b;
  return static_cast<T>(static_cast<Wrapping<T>>(a) - static_cast<Wrapping<T>>(b));
}

template <class T>
TESSERA_INLINE T lane_mul(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return no_contraction(a * b);
  return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> add(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = lane_add(a.lane[i], b.lane[i]);
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> sub(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = lane_sub(a.lane[i], b.lane[i]);
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> mul(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = lane_mul(a.lane[i], b.lane[i]);
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> div(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = a.lane[i] / b.lane[i];
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> min(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> max(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> neg(LanesVec<T, N> a) {
  for (int i = 0; i < N; ++i) {
    if constexpr (std::is_floating_point_v<T>) {
      a.lane[i] = -a.lane[i];
    } else {
      a.lane[i] = lane_sub(T{0}, a.lane[i]);
    }
  }
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> abs(LanesVec<T, N> a) {
  for (int i = 0; i < N; ++i) {
    if constexpr (std::is_floating_point_v<T>) {
      a.lane[i] = std::fabs(a.lane[i]);
    } else {
      a.lane[i] = a.lane[i] < 0 ? lane_sub(T{0}, a.lane[i]) : a.lane[i];
    }
  }
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> mul_add(LanesVec<T, N> a, LanesVec<T, N> b, LanesVec<T, N> c) {
  for (int i = 0; i < N; ++i) c.lane[i] = std::fma(a.lane[i], b.lane[i], c.lane[i]);
  return c;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> neg_mul_add(LanesVec<T, N> a, LanesVec<T, N> b, LanesVec<T, N> c) {
  for (int i = 0; i < N; ++i) c.lane[i] = std::fma(-a.lane[i], b.lane[i], c.lane[i]);
  return c;
}

template <class D>
TESSERA_INLINE Vec<D> mul_scalar(D d, Lane<D> a, Vec<D> b) {
  return mul(set(d, a), b);
}

template <class D>
TESSERA_INLINE Vec<D> mul_add_scalar(D d, Lane<D> a, Vec<D> b, Vec<D> c) {
  return mul_add(set(d, a), b, c);
}

// ---- Roots, reciprocals, rounding

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> sqrt(LanesVec<T, N> a) {
  for (int i = 0; i < N; ++i) a.lane[i] = std::sqrt(a.lane[i]);
  return a;
}

template <int N>
TESSERA_INLINE LanesVec<float, N> rcp_approx(LanesVec<float, N> a) {
  for (int i = 0; i < N; ++i) a.lane[i] = 1.0f / a.lane[i];
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> round(LanesVec<T, N> a) {
  for (int i = 0; i < N; ++i) a.lane[i] = std::nearbyint(a.lane[i]);
  return a;
}

TESSERA_INLINE int32_t lane_to_int(float x) {
  if (x != x) return 0;
  if (x >= 0x1p31f) return std::numeric_limits<int32_t>::max();
  if (x < -0x1p31f) return std::numeric_limits<int32_t>::min();
  return static_cast<int32_t>(std::nearbyint(x));
}

template <int N>
TESSERA_INLINE LanesVec<int32_t, N> to_int(LanesVec<float, N> a) {
  LanesVec<int32_t, N> r;
  for (int i = 0; i < N; ++i) r.lane[i] = lane_to_int(a.lane[i]);
  return r;
}

template <int N>
TESSERA_INLINE LanesVec<int32_t, N> to_int_in_range(LanesVec<float, N> a) {
  LanesVec<int32_t, N> r;
  for (int i = 0; i < N; ++i) r.lane[i] = lane_to_int(a.lane[i]);
  return r;
}

template <int N>
TESSERA_INLINE LanesVec<float, N> from_int(LanesVec<int32_t, N> a) {
  LanesVec<float, N> r;
  for (int i = 0; i < N; ++i) r.lane[i] = static_cast<float>(a.lane[i]);
  return r;
}

// ---- Masks

template <class T, int N>
TESSERA_INLINE LanesMask<T, N> lt(LanesVec<T, N> a, LanesVec<T, N> b) {
  LanesMask<T, N> m;
  for (int i = 0; i < N; ++i) m.lane[i] = a.lane[i] < b.lane[i];
  return m;
}

template <class T, int N>
TESSERA_INLINE LanesMask<T, N> eq(LanesVec<T, N> a, LanesVec<T, N> b) {
  LanesMask<T, N> m;
  for (int i = 0; i < N; ++i) m.lane[i] = a.lane[i] == b.lane[i];
  return m;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> select(LanesMask<T, N> m, LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) b.lane[i] = m.lane[i] ? a.lane[i] : b.lane[i];
  return b;
}

template <class D>
TESSERA_INLINE bool any(D, Mask<D> m) {
  bool result = false;
  for (size_t i = 0; i < size_t{D::kLanes}; ++i) result |= m.lane[i];
  return result;
}

template <class D>
TESSERA_INLINE Mask<D> first_n(D, size_t n) {
  Mask<D> m;
  for (size_t i = 0; i < size_t{D::kLanes}; ++i) m.lane[i] = i < n;
  return m;
}

// ---- Bits

template <int kBits, class T, int N>
TESSERA_INLINE LanesVec<T, N> shl(LanesVec<T, N> a) {
  static_assert(0 <= kBits && kBits < 8 * int{sizeof(T)}, "tessera: shift count outside the lane");
  for (int i = 0; i < N; ++i) a.lane[i] = static_cast<T>(a.lane[i] << kBits);
  return a;
}

template <int kBits, class T, int N>
TESSERA_INLINE LanesVec<T, N> shr(LanesVec<T, N> a) {
  static_assert(0 <= kBits && kBits < 8 * int{sizeof(T)}, "tessera: shift count outside the lane");
  for (int i = 0; i < N; ++i) a.lane[i] = static_cast<T>(a.lane[i] >> kBits);
  return a;
}

template <class T>
using BitsOf =
    std::conditional_t<sizeof(T) == 8, uint64_t,
                       std::conditional_t<sizeof(T) == 4, uint32_t,
                                          std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> bit_and(LanesVec<T, N> a, LanesVec<T, N> b) {
  using U = BitsOf<T>;
  for (int i = 0; i < N; ++i) {
    a.lane[i] =
        std::bit_cast<T>(static_cast<U>(std::bit_cast<U>(a.lane[i]) & std::bit_cast<U>(b.lane[i])));
  }
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> bit_or(LanesVec<T, N> a, LanesVec<T, N> b) {
  using U = BitsOf<T>;
  for (int i = 0; i < N; ++i) {
    a.lane[i] =
        std::bit_cast<T>(static_cast<U>(std::bit_cast<U>(a.lane[i]) | std::bit_cast<U>(b.lane[i])));
  }
  return a;
}

template <class D, class T, int N>
TESSERA_INLINE Vec<D> bit_cast(D, LanesVec<T, N> v) {
  return std::bit_cast<Vec<D>>(v);
}

// ---- Conversions

template <class To, class From>
TESSERA_INLINE To lane_demote(From x) {
  if constexpr (std::is_integral_v<To>) {
    if (x < std::numeric_limits<To>::min()) return std::numeric_limits<To>::min();
    if (x > std::numeric_limits<To>::max()) return std::numeric_limits<To>::max();
  }
  return static_cast<To>(x);
}

template <class D, class DN>
TESSERA_INLINE Vec<D> promote(D, DN, Vec<DN> v) {
  Vec<D> r;
  for (int i = 0; i < D::kLanes; ++i) r.lane[i] = static_cast<Lane<D>>(v.lane[i]);
  return r;
}

template <class DN, class D>
TESSERA_INLINE Vec<DN> demote(DN, D, Vec<D> v) {
  Vec<DN> r;
  for (int i = 0; i < D::kLanes; ++i) r.lane[i] = lane_demote<Lane<DN>>(v.lane[i]);
  return r;
}

template <class DN, class D>
TESSERA_INLINE Vec<DN> round_away(DN, D, Vec<D> v) {
  Vec<DN> r;
  for (int i = 0; i < D::kLanes; ++i) {
    r.lane[i] = static_cast<int8_t>(v.lane[i] + std::copysign(0x1.fffffep-2f, v.lane[i]));
  }
  return r;
}

// ---- Across lanes

template <class D>
TESSERA_INLINE Lane<D> reduce_add(D, Vec<D> v) {
  constexpr int kHalf = static_cast<int>(std::bit_ceil(unsigned{D::kLanes}) / 2);
  for (int h = kHalf; h >= 1; h /= 2) {
    for (int i = 0; i < h && i + h < D::kLanes; ++i) v.lane[i] = lane_add(v.lane[i], v.lane[i + h]);
  }
  return v.lane[0];
}

template <class D>
TESSERA_INLINE Lane<D> reduce_max(D, Vec<D> v) {
  Lane<D> m = v.lane[0];
  for (int i = 0; i < D::kLanes; ++i) {
    if (v.lane[i] != v.lane[i]) return v.lane[i];
    if (m < v.lane[i]) m = v.lane[i];
  }
  return m + 0;  // not -0
}

template <class D, class A, int N>
TESSERA_INLINE Vec<D> dot4_i8(D, LanesVec<A, N> a, LanesVec<int8_t, N> b, Vec<D> c) {
  for (int i = 0; i < N; ++i) {
    c.lane[i / 4] = lane_add(c.lane[i / 4], int32_t{a.lane[i]} * int32_t{b.lane[i]});
  }
  return c;
}

template <class D, class A, int N>
TESSERA_INLINE Vec<D> dot2_i8(D d, LanesVec<A, N> a, LanesVec<int8_t, N> b) {
  Vec<D> c = zero(d);
  for (int i = 0; i < N; ++i) {
    c.lane[i / 2] = static_cast<int16_t>(c.lane[i / 2] + a.lane[i] * b.lane[i]);
  }
  return c;
}

template <class D, int N>
TESSERA_INLINE Vec<D> dot2_i16(D, LanesVec<int16_t, N> a, LanesVec<int16_t, N> b, Vec<D> c) {
  for (int i = 0; i < N; ++i) {
    c.lane[i / 2] = lane_add(c.lane[i / 2], int32_t{a.lane[i]} * int32_t{b.lane[i]});
  }
  return c;
}

// Integers of half as many bits.
template <class D>
using HalfLane = std::conditional_t<sizeof(Lane<D>) == 4, int16_t, int8_t>;

template <class D>
TESSERA_INLINE Vec<D> add_wide(D, Vec<Rebind<HalfLane<D>, D>> a, Vec<D> b) {
  for (int i = 0; i < D::kLanes; ++i) b.lane[i] = lane_add(b.lane[i], Lane<D>{a.lane[i]});
  return b;
}

template <class D>
TESSERA_INLINE Vec<D> mul_scalar_wide(D, HalfLane<D> a, Vec<Rebind<HalfLane<D>, D>> b) {
  Vec<D> r;
  for (int i = 0; i < D::kLanes; ++i) r.lane[i] = static_cast<Lane<D>>(a * b.lane[i]);
  return r;
}

template <class D>
TESSERA_INLINE Vec<D> mul_add_scalar_wide(D d, HalfLane<D> a, Vec<Rebind<HalfLane<D>, D>> b,
                                          Vec<D> c) {
  return add(mul_scalar_wide(d, a, b), c);
}

template <class D, int N>
TESSERA_INLINE Vec<D> dot2_bf16(D, LanesVec<bf16, N> a, LanesVec<bf16, N> b, Vec<D> c) {
  for (int i = 0; i < N; ++i) {
    const auto x = static_cast<float>(a.lane[i]);
    c.lane[i / 2] = std::fma(x, static_cast<float>(b.lane[i]), c.lane[i / 2]);
  }
  return c;
}

template <class D>
TESSERA_INLINE void interleave(D, Vec<D> a, Vec<D> b, Lane<D>* p) {
  for (int i = 0; i < D::kLanes; ++i) {
    p[2 * i] = a.lane[i];
    p[2 * i + 1] = b.lane[i];
  }
}

template <class D>
TESSERA_INLINE void interleave(D, Vec<D> a, Vec<D> b, Vec<D> c, Vec<D> e, Lane<D>* p) {
  for (int i = 0; i < D::kLanes; ++i) {
    p[4 * i] = a.lane[i];
    p[4 * i + 1] = b.lane[i];
    p[4 * i + 2] = c.lane[i];
    p[4 * i + 3] = e.lane[i];
  }
}

template <class D>
TESSERA_INLINE void transpose(D, const Lane<D>* from, size_t from_stride, size_t rows, size_t cols,
                              Lane<D>* to, size_t to_stride) {
  for (size_t j = 0; j < cols; ++j) {
    for (size_t i = 0; i < rows; ++i) to[j * to_stride + i] = from[i * from_stride + j];
  }
}

template <class T>
struct LanesTable {
  T entry[16];
};

template <class D>
TESSERA_INLINE LanesTable<Lane<D>> load_table16(D, const Lane<D>* p) {
  LanesTable<Lane<D>> t;
  for (int i = 0; i < 16; ++i) t.entry[i] = p[i];
  return t;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> table16(LanesTable<T> t, LanesVec<T, N> index) {
  for (int i = 0; i < N; ++i) index.lane[i] = t.entry[index.lane[i] & 15];
  return index;
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_BACKEND_PASS
