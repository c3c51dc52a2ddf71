#if defined(TESSERA_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_MATH_INL_H_
#undef TESSERA_KERNELS_MATH_INL_H_
#else
#define TESSERA_KERNELS_MATH_INL_H_
#endif
#include "tessera/simd/simd-inl.h"
TESSERA_BEGIN_TARGET
template <class D>
TESSERA_INLINE Vec<D> gelu(D, Vec<D> x) {
  return x;
}
template <class D>
TESSERA_INLINE Vec<D> gelu_tanh(D, Vec<D> x) {
  return x;
}
template <class D>
TESSERA_INLINE Vec<D> silu(D, Vec<D> x) {
  return x;
}
template <class D>
TESSERA_INLINE Vec<D> sigmoid(D, Vec<D> x) {
  return x;
}
template <class D>
TESSERA_INLINE Vec<D> tanh(D, Vec<D> x) {
  return x;
}
template <class D>
TESSERA_INLINE Vec<D> hard_swish(D, Vec<D> x) {
  return x;
}
TESSERA_END_TARGET
#endif
