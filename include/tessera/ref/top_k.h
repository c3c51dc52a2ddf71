// SPDX-License-Identifier: Apache-2.0
// The specification of argmax and top_k, as loops.
#ifndef TESSERA_REF_TOP_K_H_
#define TESSERA_REF_TOP_K_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "tessera/core/view.h"

namespace tessera::ref {

// The order of tessera::top_k: NaN before numbers, larger ones before smaller, all else by their place.
inline bool comes_before(float a, index_t a_index, float b, index_t b_index) {
  const bool a_nan = std::isnan(a), b_nan = std::isnan(b);
  if (a_nan != b_nan) return a_nan;
  if (!a_nan && a != b) return a > b;
  return a_index < b_index;
}

// The places of the k elements of x that come first, in order. Exactly as a row of tessera::top_k.
template <class X>
std::vector<std::int32_t> top_k_row(const View<const X, 1>& x, index_t k) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(x.extent(0)));
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](std::int32_t i) { return static_cast<float>(x(i)); };
  std::sort(order.begin(), order.end(),
            [&](std::int32_t a, std::int32_t b) { return comes_before(value(a), a, value(b), b); });
  order.resize(static_cast<std::size_t>(k));
  return order;
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_TOP_K_H_
