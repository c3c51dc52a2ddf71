// SPDX-License-Identifier: Apache-2.0
// The specification of softmax, as loops.
#ifndef TESSERA_REF_SOFTMAX_H_
#define TESSERA_REF_SOFTMAX_H_

#include <limits>
#include <type_traits>

#include "tessera/core/view.h"
#include "tessera/ref/lane_sums.h"
#include "tessera/ref/math.h"

namespace tessera::ref {

// One row, of which `length` elements count. Exactly as tessera::softmax and, with kLog, tessera::log_softmax;
// kFused: on targets with fused multiply-add.
template <bool kLog, bool kFused = true, class X, class Y>
void softmax_row(const View<const X, 1>& x, const View<Y, 1>& y, float scale, index_t length) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  float most = -kInf;
  for (index_t i = 0; i < length; ++i) {
    const auto value = static_cast<float>(x(i));
    if (value > most) most = value;
  }
  most = most == -kInf ? 0 : most + 0.0f;  // not -0
  const auto below = [&](index_t i) { return static_cast<float>(x(i)) - most; };
  const float scale2 = product(scale, 0x1.715476p+0f);  // to powers of two: 1 / ln 2
  const float least = -127 / scale2;                    // where powers become 0
  const auto power = [&](index_t i) { return exp2_normal<kFused>(below(i), scale2, least); };
  const float sum = lane_sum(length, [&](float part, index_t i) { return part + power(i); });
  const float factor = sum == 0 ? 0 : 1 / sum, log_sum = sum == 0 ? 0 : ref::log<kFused>(sum);
  for (index_t i = 0; i < length; ++i) {
    y(i) = static_cast<Y>(kLog ? product(below(i), scale) - log_sum : product(power(i), factor));
  }
  for (index_t i = length; i < y.extent(0); ++i) y(i) = static_cast<Y>(kLog ? -kInf : 0.0f);
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_SOFTMAX_H_
