// SPDX-License-Identifier: Apache-2.0
// The specification of convolutions of any rank, as loops.
#ifndef TESSERA_REF_CONV_H_
#define TESSERA_REF_CONV_H_

#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/ref/gemm.h"

namespace tessera::ref {

// Spatial parameters, for axes d, h, w.
struct ConvGeometry {
  std::array<index_t, 3> stride{1, 1, 1}, dilation{1, 1, 1};
  std::array<index_t, 3> padding{};  // before the first element
  index_t groups = 1;
  bool transposed = false;
  int x_zero_point = 0;
};

namespace detail {

// The position along one axis that output `o` reads with tap `k`: false if none.
inline bool input_position(const ConvGeometry& g, std::size_t axis, index_t o, index_t k,
                           index_t& position) {
  if (!g.transposed) {
    position = o * g.stride[axis] + k * g.dilation[axis] - g.padding[axis];
    return true;
  }
  const index_t at = o + g.padding[axis] - k * g.dilation[axis];
  position = at / g.stride[axis];
  return at % g.stride[axis] == 0;
}

}  // namespace detail

// y[n, od, oh, ow, co] = epilogue(sum of x[n, id, ih, iw, ci] * w[co, kd, kh, kw, ci / groups]), exactly as
// tessera::conv2d and its kin define it. The sum is one chain of fused multiply-adds from 0 (integers: exact),
// over kd, kh, kw, ci in this order, the last the fastest; transposed convolutions run through kd, kh and kw
// backwards, so that positions of x rise. Elements outside of x are zeros (integers: the zero point) that take
// part. epilogue(sum, n, od, oh, ow, co) gets and gives what that of ref::gemm does.
template <class X, class W, class Y, class Epilogue>
void conv(const View<X, 5>& x, const View<W, 5>& w, const View<Y, 5>& y, const ConvGeometry& g,
          Epilogue epilogue) {
  using Sum = Accumulator<std::remove_const_t<X>>;
  const index_t group_in = w.extent(4), group_out = w.extent(0) / g.groups;
  const auto tap = [&g](index_t t, index_t extent) { return g.transposed ? extent - 1 - t : t; };
  const auto inside = [](index_t i, index_t extent) { return i >= 0 && i < extent; };
  const auto sum_at = [&](index_t n, index_t od, index_t oh, index_t ow, index_t co) {
    const index_t first_in = co / group_out * group_in;
    Sum sum{0};
    for (index_t td = 0; td < w.extent(1); ++td) {
      for (index_t th = 0; th < w.extent(2); ++th) {
        for (index_t tw = 0; tw < w.extent(3); ++tw) {
          const index_t kd = tap(td, w.extent(1)), kh = tap(th, w.extent(2)),
                        kw = tap(tw, w.extent(3));
          index_t d = 0, h = 0, width = 0;
          if (!detail::input_position(g, 0, od, kd, d) ||
              !detail::input_position(g, 1, oh, kh, h) ||
              !detail::input_position(g, 2, ow, kw, width)) {
            continue;
          }
          const bool real =
              inside(d, x.extent(1)) && inside(h, x.extent(2)) && inside(width, x.extent(3));
          for (index_t i = 0; i < group_in; ++i) {
            const auto weight = static_cast<Sum>(w(co, kd, kh, kw, i));
            if constexpr (std::is_integral_v<Sum>) {
              const Sum value =
                  real ? static_cast<Sum>(x(n, d, h, width, first_in + i)) - g.x_zero_point : 0;
              sum = static_cast<Sum>(static_cast<std::uint32_t>(sum) +
                                     static_cast<std::uint32_t>(value * weight));
            } else {
              const Sum value = real ? static_cast<Sum>(x(n, d, h, width, first_in + i)) : Sum{0};
              sum = std::fma(value, weight, sum);
            }
          }
        }
      }
    }
    return sum;
  };
  for (index_t n = 0; n < y.extent(0); ++n) {
    for (index_t od = 0; od < y.extent(1); ++od) {
      for (index_t oh = 0; oh < y.extent(2); ++oh) {
        for (index_t ow = 0; ow < y.extent(3); ++ow) {
          for (index_t co = 0; co < y.extent(4); ++co) {
            const Sum sum = sum_at(n, od, oh, ow, co);
            if constexpr (std::is_same_v<Sum, std::int32_t> && !std::is_same_v<Y, std::int32_t>) {
              y(n, od, oh, ow, co) = store<Y>(epilogue(static_cast<float>(sum), n, od, oh, ow, co));
            } else {
              y(n, od, oh, ow, co) = store<Y>(epilogue(sum, n, od, oh, ow, co));
            }
          }
        }
      }
    }
  }
}

template <class X, class W, class Y>
void conv(const View<X, 5>& x, const View<W, 5>& w, const View<Y, 5>& y, const ConvGeometry& g) {
  conv(x, w, y, g, [](auto s, index_t, index_t, index_t, index_t, index_t) { return s; });
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_CONV_H_
