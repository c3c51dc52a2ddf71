// SPDX-License-Identifier: Apache-2.0
// The specification of norms of groups of channels, as loops.
#ifndef TESSERA_REF_GROUP_NORM_H_
#define TESSERA_REF_GROUP_NORM_H_

#include <cmath>
#include <cstddef>
#include <span>

#include "tessera/core/view.h"
#include "tessera/ref/lane_sums.h"
#include "tessera/ref/math.h"
#include "tessera/ref/norm.h"

namespace tessera::ref {

// Exactly as tessera::group_norm for one image x [positions, channels], the spatial axes as one, the last the fastest.
// Weight and bias are empty or one per channel.
template <bool kFused = true, class X, class Y>
void group_norm_image(const View<const X, 2>& x, const View<Y, 2>& y, index_t groups,
                      std::span<const float> weight, std::span<const float> bias, float epsilon) {
  const index_t positions = x.extent(0), each = x.extent(1) / groups;
  for (index_t g = 0; g < groups; ++g) {
    const auto count = static_cast<float>(positions * each);
    const auto at = [&](index_t i, index_t c) { return static_cast<float>(x(i, g * each + c)); };
    float sum = 0, squares = 0;
    for (index_t c = 0; c < each; ++c) {
      sum += lane_sum(positions, [&](float part, index_t i) { return part + at(i, c); });
    }
    const float mean = sum / count;
    for (index_t c = 0; c < each; ++c) {
      squares += lane_sum(positions, [&](float part, index_t i) {
        const float v = at(i, c) - mean;
        return mul_add<kFused>(v, v, part);
      });
    }
    const float factor = 1 / std::sqrt(squares / count + epsilon);
    for (index_t c = 0; c < each; ++c) {
      const index_t channel = g * each + c;
      for (index_t i = 0; i < positions; ++i) {
        const float normalised = product(at(i, c) - mean, factor);
        y(i, channel) = static_cast<Y>(
            affine<kFused>(normalised, weight, bias, static_cast<std::size_t>(channel)));
      }
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_GROUP_NORM_H_
