// SPDX-License-Identifier: Apache-2.0

// The Highway backend, the only file that names hwy::. Serves every target that is chosen at run
// time, and the scalable vectors of RVV and SVE.

#ifndef TESSERA_SIMD_BACKEND_PASS
#include "tessera/simd/simd-inl.h"
#else

#include <cstddef>

#include "hwy/highway.h"
TESSERA_BEGIN_TARGET

namespace hn = ::hwy::HWY_NAMESPACE;

// Lane type T, groups of LMUL registers.
template <class T, int LMUL = 1>
struct Tag {
  static_assert(LMUL == 1 || LMUL == 2 || LMUL == 4 || LMUL == 8,
                "tessera: LMUL must be 1, 2, 4 or 8");
  static_assert(kHasLmul || LMUL == 1,
                "tessera: this target has no register groups; use Tag<T> (LMUL 1)");
  using Lane = T;
};

template <class D>
using Lane = typename D::Lane;

template <class D>
struct HwyTagOf;
template <class T, int LMUL>
struct HwyTagOf<Tag<T, LMUL>> {
  using type = hn::ScalableTag<T, (LMUL >= 2) + (LMUL >= 4) + (LMUL >= 8)>;
};
template <class D>
using HwyTag = typename HwyTagOf<D>::type;

template <class D>
using Vec = hn::Vec<HwyTag<D>>;

template <class D>
TESSERA_INLINE size_t lanes(D) {
  return hn::Lanes(HwyTag<D>());
}

template <class D>
TESSERA_INLINE constexpr size_t max_lanes(D) {
  return hn::MaxLanes(HwyTag<D>());
}

template <class D>
TESSERA_INLINE Vec<D> zero(D) {
  return hn::Zero(HwyTag<D>());
}

template <class D>
TESSERA_INLINE Vec<D> set(D, Lane<D> x) {
  return hn::Set(HwyTag<D>(), x);
}

template <class D>
TESSERA_INLINE Vec<D> load(D, const Lane<D>* p) {
  return hn::LoadU(HwyTag<D>(), p);
}

template <class D>
TESSERA_INLINE Vec<D> load_n(D, const Lane<D>* p, size_t n) {
  return hn::LoadN(HwyTag<D>(), p, n);
}

template <class D>
TESSERA_INLINE Vec<D> load_dup(D d, const Lane<D>* p) {
  return set(d, *p);
}

template <class D>
TESSERA_INLINE void store(D, Vec<D> v, Lane<D>* p) {
  hn::StoreU(v, HwyTag<D>(), p);
}

template <class D>
TESSERA_INLINE void store_n(D, Vec<D> v, Lane<D>* p, size_t n) {
  hn::StoreN(v, HwyTag<D>(), p, n);
}

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
  return hn::Mul(a, b);
}

template <class V>
TESSERA_INLINE V mul_add(V a, V b, V c) {
  return hn::MulAdd(a, b, c);
}

template <class V>
TESSERA_INLINE V neg_mul_add(V a, V b, V c) {
  return hn::NegMulAdd(a, b, c);
}

template <class D>
TESSERA_INLINE Vec<D> mul_add_scalar(D d, Lane<D> a, Vec<D> b, Vec<D> c) {
#if HWY_TARGET == HWY_RVV
  // From a broadcast, compilers never find vfmacc.vf, which reads `a` from a scalar register and
  // saves the instruction and the vector register.
  return __riscv_vfmacc(c, a, b, lanes(d));
#else
  return hn::MulAdd(set(d, a), b, c);
#endif
}

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_BACKEND_PASS
