// SPDX-License-Identifier: Apache-2.0
// The order in which sums along a row are taken, whatever the length of the vectors.
#ifndef TESSERA_REF_LANE_SUMS_H_
#define TESSERA_REF_LANE_SUMS_H_

#include <array>
#include <cstddef>

#include "tessera/core/view.h"

namespace tessera::ref {

// 32 sums from 0, element i in turn folded into sum i % 32 by sum = fold(sum, i); then halves are added, of 32, 16, 8,
// 4 and 2 sums: sum i += sum i + 16 and so on.
template <class F>
float lane_sum(index_t n, F fold) {
  std::array<float, 32> sums{};
  for (index_t i = 0; i < n; ++i) {
    float& sum = sums[static_cast<std::size_t>(i % 32)];
    sum = fold(sum, i);
  }
  for (std::size_t half = 16; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_LANE_SUMS_H_
