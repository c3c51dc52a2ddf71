// SPDX-License-Identifier: Apache-2.0
// The specification of rotary embeddings, as loops.
#ifndef TESSERA_REF_ROPE_H_
#define TESSERA_REF_ROPE_H_

#include <span>

#include "tessera/core/view.h"
#include "tessera/ref/math.h"

namespace tessera::ref {

// One head: pairs of elements are turned by the angles of these cosines and sines, the elements behind them copied.
// Exactly as tessera::rope; kFused: on targets with fused multiply-add. y may be x.
template <bool kFused = true, class T, class U>
void rope_row(const View<const T, 1>& x, std::span<const float> cos, std::span<const float> sin,
              bool interleaved, const View<U, 1>& y) {
  const auto pairs = static_cast<index_t>(cos.size());
  for (index_t i = 0; i < pairs; ++i) {
    const index_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + pairs;
    const auto a = static_cast<float>(x(first)), b = static_cast<float>(x(second));
    const float c = cos[static_cast<std::size_t>(i)], s = sin[static_cast<std::size_t>(i)];
    y(first) = static_cast<U>(mul_add<kFused>(-b, s, product(a, c)));
    y(second) = static_cast<U>(mul_add<kFused>(a, s, product(b, c)));
  }
  for (index_t i = 2 * pairs; i < x.extent(0); ++i) {
    y(i) = static_cast<U>(static_cast<float>(x(i)));
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_ROPE_H_
