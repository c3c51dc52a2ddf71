// SPDX-License-Identifier: Apache-2.0
// The specification of the Hadamard transform, as the butterfly.
#ifndef TESSERA_REF_HADAMARD_H_
#define TESSERA_REF_HADAMARD_H_

#include <cmath>

#include "tessera/core/view.h"

namespace tessera::ref {

// In each row, in each block of `block` columns: x = H x / sqrt(block), where H(i, j) is -1 if i and j have an
// odd number of ones in common, and 1 otherwise (Sylvester's order). Exactly as tessera::hadamard computes it.
inline void hadamard(const View<float, 2>& x, index_t block) {
  const auto norm = static_cast<float>(1 / std::sqrt(static_cast<double>(block)));
  for (index_t i = 0; i < x.extent(0); ++i) {
    for (index_t first = 0; first < x.extent(1); first += block) {
      for (index_t half = 1; half < block; half *= 2) {
        for (index_t j = 0; j < block; ++j) {
          if ((j & half) != 0) continue;
          float& even = x(i, first + j);
          float& odd = x(i, first + j + half);
          const float sum = even + odd, difference = even - odd;
          even = sum;
          odd = difference;
        }
      }
      for (index_t j = 0; j < block; ++j) x(i, first + j) *= norm;
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_HADAMARD_H_
