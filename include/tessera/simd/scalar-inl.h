// SPDX-License-Identifier: Apache-2.0

// The scalar backend: a vector is an array, an op is a loop over it.
//
// It is the fallback on machines without a vector unit (16-byte vectors), and with 3 or 5 lanes the
// target that makes tests meet every edge case on any machine. mul_add is std::fma, so results have
// the bits of every target with FMA.

#ifndef TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/simd-inl.h"
#else

#include <cmath>
#include <cstddef>

TESSERA_BEGIN_TARGET

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

template <class T, int LMUL = 1>
struct TagOf {
  static_assert(LMUL == 1, "tessera: this target has no register groups; use Tag<T> (LMUL 1)");
  using type = LanesTag<T, kNativeLanes<T>>;
};

template <class T, int LMUL = 1>
using Tag = typename TagOf<T, LMUL>::type;

template <class D>
using Lane = typename D::Lane;

template <class D>
using Vec = LanesVec<Lane<D>, D::kLanes>;

template <class D>
TESSERA_INLINE constexpr size_t lanes(D) {
  return D::kLanes;
}

template <class D>
TESSERA_INLINE constexpr size_t max_lanes(D) {
  return D::kLanes;
}

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

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> add(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = static_cast<T>(a.lane[i] + b.lane[i]);
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> sub(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = static_cast<T>(a.lane[i] - b.lane[i]);
  return a;
}

template <class T, int N>
TESSERA_INLINE LanesVec<T, N> mul(LanesVec<T, N> a, LanesVec<T, N> b) {
  for (int i = 0; i < N; ++i) a.lane[i] = static_cast<T>(a.lane[i] * b.lane[i]);
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
TESSERA_INLINE Vec<D> mul_add_scalar(D d, Lane<D> a, Vec<D> b, Vec<D> c) {
  return mul_add(set(d, a), b, c);
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_BACKEND_PASS
