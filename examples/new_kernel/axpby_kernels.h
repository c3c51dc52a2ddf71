// SPDX-License-Identifier: Apache-2.0
// The interface between axpby, compiled once, and its kernels, compiled once per target: plain data
// and function pointers, no vectors.
//
// In the library: kernels/axpby_kernels.h, and the two pointers are fields of KernelTable.
#ifndef TESSERA_KERNELS_AXPBY_KERNELS_H_
#define TESSERA_KERNELS_AXPBY_KERNELS_H_

#include <type_traits>

#include "tessera/core/isa.h"
#include "tessera/core/view.h"

namespace tessera::detail {

// y[i * y_stride] = a * x[i * x_stride] + b * y[i * y_stride] for 0 <= i < n; b == 0 never reads y.
template <class T>
using AxpbyKernel = void (*)(index_t n, T a, const T* x, index_t x_stride, T b, T* y,
                             index_t y_stride);

struct AxpbyKernels {
  Target target;
  AxpbyKernel<float> f32;
  AxpbyKernel<double> f64;

  template <class T>
  AxpbyKernel<T> get() const {
    if constexpr (std::is_same_v<T, float>) {
      return f32;
    } else {
      return f64;
    }
  }
};

// Those of a target; nullptr if there are none.
const AxpbyKernels* find_axpby_kernels(Target target);

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_AXPBY_KERNELS_H_
