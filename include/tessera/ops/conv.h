// SPDX-License-Identifier: Apache-2.0
// Convolutions of one, two and three spatial axes, and their transposed forms.
//
//   auto x = ts::nhwc(image, {1, 224, 224, 3});          // or nchw: core/layout.h
//   auto w = ts::oihw(weights, {64, 3, 7, 7});
//   ts::conv2d(x, w, y, {.stride = {2, 2}, .padding = {3, 3, 3, 3}}, ts::epi::bias(b) | ts::epi::relu());
#ifndef TESSERA_OPS_CONV_H_
#define TESSERA_OPS_CONV_H_

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/conv_problem.h"
#include "tessera/ops/epilogue.h"
#if !TESSERA_COMPILED
#include "tessera/ops/conv_driver.h"
#endif

namespace tessera::inline TESSERA_ABI {

// y[n, oh, ow, o] = epilogue(sum over kh, kw, i of
//   x[n, oh * stride - top + kh * dilation, ow * stride - left + kw * dilation, g * ci + i] * w[o, kh, kw, i])
// where g = o / (co / groups) is the group of o, and ci the channels of x per group; x is 0 outside.
//
// x: View<const TX, 4>  [n, h, w, c]              any strides: nhwc() and nchw() of core/layout.h
// w: View<const TW, 4>  [co, kh, kw, c / groups]  any strides: ohwi(), oihw(); or PackedFilters<TW, 2>
// y: View<TY, 4>        [n, oh, ow, co]           any strides that visit no element twice, each axis stepping over
//                                                 all that is reached by those of smaller strides
//   oh = (h + top + bottom - (kh - 1) * dilation - 1) / stride + 1, rounded down, and ow likewise.
//   Depthwise: groups = c; any number of filters per channel. Types are those of gemm (ops/gemm.h), f64 excepted.
//
// Numerics. The sum is one chain of fused multiply-adds from 0 in the order of kh, kw, i, the last the fastest:
// the same bits on every target with FMA, whatever the algorithm, layout, threads and vectors. Padding takes part
// as zeros, so infinite weights there give NaN. Integers: exact, of x - x_zero_point; sums wrap modulo 2^32. Then
// the epilogue with rows of all pixels and columns of co: epi::bias(b[co]), epi::residual(View of y's axes), ..; and
// one rounding to TY.
// Numerics::kFast allows Winograd's algorithms (ConvAlgorithm). Their error was at most 3, 70, 123 times 2^-24 *
// max|x| * sum|w| of the filter, with tiles of 2x2, 4x4, 6x6 outputs, over random x and w of magnitudes from 2^-4 to
// 2^4; tests hold them to 8, 256 and 512 times.
//
// Errors (tessera::Error, before anything is written): extents that don't match, that are negative, or that leave
// nothing of x, groups that don't divide the channels, strides and dilations less than 1, negative padding, null
// data, sizes that overflow, a y that overlaps itself or an input, filters packed for other groups, strides,
// dilations or another target, scratch lent by the context that is too small.
//
// Packed weights are reordered once. Without them each call does that, in its scratch.
template <class X, class W, class Y>
void conv2d(const X& x, const W& w, const Y& y, const ConvOptions<2>& options = {},
            const Epilogue& epilogue = {}) {
  impl::checked_conv(impl::conv_problem<2>("conv2d", x, w, y, options, epilogue), options.context);
}

// With one spatial axis: x [n, w, c], w [co, kw, c / groups], y [n, ow, co].
template <class X, class W, class Y>
void conv1d(const X& x, const W& w, const Y& y, const ConvOptions<1>& options = {},
            const Epilogue& epilogue = {}) {
  impl::checked_conv(impl::conv_problem<1>("conv1d", x, w, y, options, epilogue), options.context);
}

// With three: x [n, d, h, w, c], w [co, kd, kh, kw, c / groups], y [n, od, oh, ow, co].
template <class X, class W, class Y>
void conv3d(const X& x, const W& w, const Y& y, const ConvOptions<3>& options = {},
            const Epilogue& epilogue = {}) {
  impl::checked_conv(impl::conv_problem<3>("conv3d", x, w, y, options, epilogue), options.context);
}

// What x -> y is to the gradient of conv2d with the same options: each element of x is multiplied by the filter
// and added where it lies,
//   y[n, ih * stride - top + kh * dilation, iw * stride - left + kw * dilation, o] += x[n, ih, iw, i] * w[o, kh, kw, i],
// where w has the axes of conv2d: o is a channel of y, i one of x within its group. (Frameworks store such weights
// as [i, o, kh, kw].)
//   oh = (h - 1) * stride - top - bottom + (kh - 1) * dilation + 1 + output_padding.
// Elements that nothing is added to are epilogue(0).
//
// Numerics as conv2d, the chain in the order of rising ih, iw, then i. In the epilogue, steps with a vector per row
// and functions are refused: rows are not made in order.
template <class X, class W, class Y>
void conv_transpose2d(const X& x, const W& w, const Y& y,
                      const ConvTransposeOptions<2>& options = {}, const Epilogue& epilogue = {}) {
  impl::checked_conv(impl::conv_problem<2>("conv_transpose2d", x, w, y, options, epilogue),
                     options.context);
}

template <class X, class W, class Y>
void conv_transpose1d(const X& x, const W& w, const Y& y,
                      const ConvTransposeOptions<1>& options = {}, const Epilogue& epilogue = {}) {
  impl::checked_conv(impl::conv_problem<1>("conv_transpose1d", x, w, y, options, epilogue),
                     options.context);
}

template <class X, class W, class Y>
void conv_transpose3d(const X& x, const W& w, const Y& y,
                      const ConvTransposeOptions<3>& options = {}, const Epilogue& epilogue = {}) {
  impl::checked_conv(impl::conv_problem<3>("conv_transpose3d", x, w, y, options, epilogue),
                     options.context);
}

// Packs the weights of many convolutions with these options; padding, output padding and the zero point may differ
// from call to call.
template <class W>
auto pack_conv2d(const W& w, const ConvOptions<2>& options = {}) {
  return impl::pack_filters<2>("pack_conv2d", w, options);
}
template <class W>
auto pack_conv1d(const W& w, const ConvOptions<1>& options = {}) {
  return impl::pack_filters<1>("pack_conv1d", w, options);
}
template <class W>
auto pack_conv3d(const W& w, const ConvOptions<3>& options = {}) {
  return impl::pack_filters<3>("pack_conv3d", w, options);
}
template <class W>
auto pack_conv_transpose2d(const W& w, const ConvTransposeOptions<2>& options = {}) {
  return impl::pack_filters<2>("pack_conv_transpose2d", w, options);
}
template <class W>
auto pack_conv_transpose1d(const W& w, const ConvTransposeOptions<1>& options = {}) {
  return impl::pack_filters<1>("pack_conv_transpose1d", w, options);
}
template <class W>
auto pack_conv_transpose3d(const W& w, const ConvTransposeOptions<3>& options = {}) {
  return impl::pack_filters<3>("pack_conv_transpose3d", w, options);
}

// Which algorithm, tile and workspace conv2d would use for these arguments, and why. Nothing is computed.
template <class X, class W, class Y>
ConvPlan explain_conv2d(const X& x, const W& w, const Y& y, const ConvOptions<2>& options = {},
                        const Epilogue& epilogue = {}) {
  return impl::checked_conv_plan(
      impl::conv_problem<2>("explain_conv2d", x, w, y, options, epilogue), options.context);
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_CONV_H_
