// SPDX-License-Identifier: Apache-2.0

// The axpby kernel, compiled once per target.
//
// In the library: kernels/axpby-inl.h, and one line in kernels/all-inl.h.

// The guard of a file that is included again for every target: HWY_TARGET_TOGGLE is defined in
// every other pass.
#if defined(TESSERA_KERNELS_AXPBY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_AXPBY_INL_H_
#undef TESSERA_KERNELS_AXPBY_INL_H_
#else
#define TESSERA_KERNELS_AXPBY_INL_H_
#endif

#include "axpby_kernels.h"
#include "tessera/simd/simd-inl.h"

// Opens namespace tessera::N_AVX2 (say), with its instructions. Functions in it are templates or
// `inline`; helpers that take or return vectors are TESSERA_INLINE; lambdas carry TESSERA_LAMBDA.
TESSERA_BEGIN_TARGET

template <class T>
void axpby_kernel(index_t n, T a, const T* x, index_t x_stride, T b, T* y, index_t y_stride) {
  const Tag<T> d;                                    // T in one vector register
  const auto step = static_cast<index_t>(lanes(d));  // known at run time only, on RVV and SVE
  const auto vb = set(d, b);
  const bool dense = x_stride == 1 && y_stride == 1;

  index_t i = 0;
  for (; dense && i + step <= n; i += step) {
    // y is not read if b is 0: zero times an infinity or a NaN is no zero.
    const auto start = b == T{0} ? zero(d) : mul(vb, load(d, y + i));
    store(d, mul_add_scalar(d, a, load(d, x + i), start), y + i);
  }
  // What is left over; with strides everything, one element at a time. The same operations on fewer
  // lanes, so the bits of an element depend neither on its place nor on the vector length.
  const auto count = dense ? n - i : index_t{1};
  const auto few = static_cast<size_t>(count);
  for (; i < n; i += count) {
    T* const yi = y + i * y_stride;
    const auto start = b == T{0} ? zero(d) : mul(vb, load_n(d, yi, few));
    store_n(d, mul_add_scalar(d, a, load_n(d, x + i * x_stride, few), start), yi, few);
  }
}

// A constant, so that listing the targets runs no code of one that the machine does not have.
inline constexpr detail::AxpbyKernels kAxpbyKernels = {kTarget, &axpby_kernel<float>,
                                                       &axpby_kernel<double>};

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_AXPBY_INL_H_
