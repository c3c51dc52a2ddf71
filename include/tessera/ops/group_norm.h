// SPDX-License-Identifier: Apache-2.0
// group_norm: of groups of the channels of images.
#ifndef TESSERA_OPS_GROUP_NORM_H_
#define TESSERA_OPS_GROUP_NORM_H_

#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct GroupNormOptions {
  FloatView<1> weight{}, bias{};  // [channels]; none: 1, 0
  float epsilon = 1e-5f;          // added to the variance
  Context* context = nullptr;
};

namespace impl {

struct GroupNormProblem {
  TensorMemory x, y;
  index_t groups;
  GroupNormOptions options;
};

// Checks everything, then does it. Defined in group_norm_driver.h.
void checked_group_norm(const GroupNormProblem& problem);

}  // namespace impl

// y = (x - m) / sqrt(v + epsilon) * weight[channel] + bias[channel], with m the mean and v the variance of the elements of
// an image whose channels are in the same group: channels / groups neighbours. groups = channels is instance norm; groups
// = 1 normalises images as a whole.
//
// x: View<const T, Rank>  [batch, spatial..., channels] of rank 2 to 5, any strides: nhwc(), nchw() and their kin
//                         (core/layout.h) give such views, [batch, tokens, channels] is one
// y: View<U, Rank>        extents of x, strides that visit no element twice, another layout if you like; may be x itself
// T, U, and those of weight and bias: f32, bf16, f16, in any mix.
// Fast where channels have unit stride in x, and where the spatial axes are contiguous.
//
// Numerics: in f32. The sum of each channel is made in 32 virtual lanes (ref/lane_sums.h) over its positions, the last
// spatial axis the fastest; the sums of the channels of a group are added in order; m is that by their number. v likewise
// of fused (x - m) * (x - m) + sum. f = 1 / sqrt(v + epsilon); y = ((x - m) * f) * weight + bias, the last product and sum
// fused, rounded to U. The same bits on every target with FMA, in any layout and with any number of threads. A NaN or an
// infinity makes all results of its group NaN.
//
// Images and groups are shared out to the context's executor. Scratch: 8 * channels bytes, and per task, where channels
// have unit stride, up to 144 bytes for each of them, at most 64 KiB and 16 bytes for each; elsewhere 4 bytes per position
// unless those of a channel are contiguous f32. Empty tensors do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match or are negative, null data, sizes that
// overflow, groups below 1 or that don't divide the channels, an epsilon that is negative or not finite, y that overlaps
// itself, weight, bias, or x without being the same.
template <class X, class Y>
void group_norm(const X& x, const Y& y, index_t groups, const GroupNormOptions& options = {}) {
  constexpr int kRank = decltype(impl::as_view(x))::kRank;
  static_assert(kRank >= 2 && kRank <= 5, "tessera::group_norm: x must be of rank 2 to 5");
  impl::checked_group_norm(
      {FloatView<kRank>(x).memory(), MutableFloatView<kRank>(y).memory(), groups, options});
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/group_norm_driver.h"
#endif

#endif  // TESSERA_OPS_GROUP_NORM_H_
