// SPDX-License-Identifier: Apache-2.0
// The specification of permutations of axes, as loops.
#ifndef TESSERA_REF_PERMUTE_H_
#define TESSERA_REF_PERMUTE_H_

#include <array>
#include <cstddef>
#include <functional>
#include <numeric>
#include <type_traits>

#include "tessera/core/view.h"

namespace tessera::ref {

// y(indices) = x(other indices), the index of axis i of y being that of axis axes[i] of x.
template <class T, int Rank>
void permute(const View<T, Rank>& x, const View<std::remove_const_t<T>, Rank>& y,
             const std::array<int, static_cast<std::size_t>(Rank)>& axes) {
  const index_t count =
      std::accumulate(y.extents.begin(), y.extents.end(), index_t{1}, std::multiplies<index_t>());
  for (index_t i = 0; i < count; ++i) {
    index_t rest = i, from = 0, to = 0;
    for (int axis = Rank; axis-- > 0;) {
      const index_t index = rest % y.extent(axis);
      rest /= y.extent(axis);
      to += index * y.stride(axis);
      from += index * x.stride(axes[static_cast<std::size_t>(axis)]);
    }
    y.data[to] = x.data[from];
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_PERMUTE_H_
