// SPDX-License-Identifier: Apache-2.0
// The specification of axpby, as a loop: what the tests compare with, and documentation.
//
// In the library: ref/axpby.h. It includes core/ only.
#ifndef TESSERA_REF_AXPBY_H_
#define TESSERA_REF_AXPBY_H_

#include <cmath>
#include <type_traits>

#include "tessera/core/view.h"

namespace tessera::ref {

// y[n] = a * x[n] + b * y[n], exactly as tessera::axpby defines it: bit for bit what every target
// with FMA computes.
template <class X, class T>
void axpby(const View<X, 1>& x, const View<T, 1>& y, std::type_identity_t<T> a = 1,
           std::type_identity_t<T> b = 0) {
  for (index_t i = 0; i < y.extent(0); ++i) {
    const T start = b == T{0} ? T{0} : b * y(i);
    y(i) = std::fma(a, x(i), start);
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_AXPBY_H_
