// SPDX-License-Identifier: Apache-2.0
// resize_nearest2d, resize_bilinear2d: images of another height and width.
#ifndef TESSERA_OPS_RESIZE_H_
#define TESSERA_OPS_RESIZE_H_

#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ref/resize.h"

namespace tessera::inline TESSERA_ABI {

struct ResizeNearestOptions {
  Coordinates coordinates = Coordinates::kHalfPixel;
  NearestPixel nearest = NearestPixel::kRoundPreferFloor;
  Context* context = nullptr;
};

struct ResizeBilinearOptions {
  Coordinates coordinates = Coordinates::kHalfPixel;
  Context* context = nullptr;
};

namespace impl {

// Check everything, then do it. Defined in resize_driver.h.
void checked_resize_nearest(const TensorMemory& x, const TensorMemory& y,
                            const ResizeNearestOptions& options);
void checked_resize_bilinear(const TensorMemory& x, const TensorMemory& y,
                             const ResizeBilinearOptions& options);

template <class X, class Y>
constexpr void check_resize_types() {
  using T = std::remove_const_t<typename X::Element>;
  static_assert(X::kRank == 4 && Y::kRank == 4, "tessera: resizing takes views [n, h, w, c]");
  static_assert(kIsImageType<T>, "tessera: resizing takes elements of f32, bf16, f16, s8 or u8");
  static_assert(std::is_same_v<typename Y::Element, T>,
                "tessera: resizing writes elements of the type that it reads");
}

}  // namespace impl

// y[n, h, w, c] = the pixel of x next to where (h, w) lies in it.
//
// x: View<const T, 4>  [n, x.h, x.w, c], any strides
// y: View<T, 4>        [n, y.h, y.w, c], strides that visit no element twice; fast where those of c are 1
// T: f32, bf16, f16, s8, u8
//
// Numerics: coordinates are fractions of the extents and exact, so that the choice of a pixel, ties included, is the same
// everywhere; those outside the image are clamped to it. nearest of PyTorch is kAsymmetric with kFloor, and
// nearest-exact is kHalfPixel with kRoundPreferCeil.
//
// Rows of y are shared out to the context's executor. Empty results do nothing.
//
// Errors (tessera::Error, before anything is written): other n or c, an x without pixels, negative extents or more than
// 2^30 rows or columns, null data, sizes that overflow, y that overlaps itself or x, scratch lent by the context that is
// too small.
template <class X, class Y>
void resize_nearest2d(const X& x, const Y& y, const ResizeNearestOptions& options = {}) {
  const auto vx = impl::as_view(x);
  const auto vy = impl::as_view(y);
  impl::check_resize_types<decltype(vx), decltype(vy)>();
  impl::checked_resize_nearest(impl::tensor_memory(vx), impl::tensor_memory(vy), options);
}

// y[n, h, w, c] = x at the place where (h, w) lies in it, linear between four pixels. There is no filter: an image that
// is made smaller than half loses pixels.
//
// Operands as those of resize_nearest2d.
//
// Numerics: with the exact fractions u and v of the coordinates (v along w), rounded to f32, and pixels a b of one row
// and c d of the next,
//   top = (1 - v) a + v b;  bottom = (1 - v) c + v d;  y = (1 - u) top + u bottom
// in f32, each product and sum rounded, and one rounding to T; integers to nearest, ties to even. Pixels of weight 0 are
// not read, so that an infinity does not spread to its neighbours. The same bits on every target.
//
// Errors: as resize_nearest2d.
template <class X, class Y>
void resize_bilinear2d(const X& x, const Y& y, const ResizeBilinearOptions& options = {}) {
  const auto vx = impl::as_view(x);
  const auto vy = impl::as_view(y);
  impl::check_resize_types<decltype(vx), decltype(vy)>();
  impl::checked_resize_bilinear(impl::tensor_memory(vx), impl::tensor_memory(vy), options);
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/resize_driver.h"
#endif

#endif  // TESSERA_OPS_RESIZE_H_
