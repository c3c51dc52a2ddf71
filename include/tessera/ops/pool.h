// SPDX-License-Identifier: Apache-2.0
// max_pool, average_pool: the largest or the mean element of windows of 1, 2 or 3 axes, and of whole images.
#ifndef TESSERA_OPS_POOL_H_
#define TESSERA_OPS_POOL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/core/window.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

// Of windows over `Axes` axes, which are those between the first and the last: [n, h, w, c] has {h, w}.
template <int Axes>
struct MaxPoolOptions {
  std::array<index_t, Axes> kernel{};
  std::array<index_t, Axes> stride{};    // 0: that of the kernel, so that windows lie side by side
  std::array<index_t, Axes> dilation{};  // 0: 1
  std::array<index_t, 2 * Axes>
      padding{};           // before each axis, then behind each: {top, left, bottom, right}
  bool ceil_mode = false;  // one more window for what is left over at the end
  Context* context = nullptr;
};

template <int Axes>
struct AveragePoolOptions {
  std::array<index_t, Axes> kernel{};
  std::array<index_t, Axes> stride{};
  std::array<index_t, 2 * Axes> padding{};
  bool ceil_mode = false;
  bool count_include_pad = false;  // padding counts as elements of value 0
  std::int32_t zero_point = 0;     // of s8 and u8: the code of the value 0
  Context* context = nullptr;
};

using MaxPool1dOptions = MaxPoolOptions<1>;
using MaxPool2dOptions = MaxPoolOptions<2>;
using MaxPool3dOptions = MaxPoolOptions<3>;
using AveragePool1dOptions = AveragePoolOptions<1>;
using AveragePool2dOptions = AveragePoolOptions<2>;
using AveragePool3dOptions = AveragePoolOptions<3>;

struct GlobalPoolOptions {
  Context* context = nullptr;
};

namespace impl {

// All of the above: pooling of x [n, d, h, w, c].
struct PoolProblem {
  const char* function;
  TensorMemory x, y;                  // as the user gave them
  int axes = 2;                       // that have windows
  bool global = false;                // one window of the whole image, y [n, c]
  std::array<WindowAxis, 3> windows;  // of d, h, w: those that there are are the last
  bool ceil_mode = false;
  bool average = false, count_include_pad = false;
  std::int32_t zero_point = 0;
  Context* context = nullptr;
};

// Checks everything, then does it. Defined in pool_driver.h.
void checked_pool(const PoolProblem& problem);

// The options of windows, axis by axis. Why not by value: g++ 12 and -O2 -march=sapphirerapids copied such a result wrongly,
// the first axis with padding.
template <int Axes, class Options>
void set_windows(std::array<WindowAxis, 3>& windows, const Options& o) {
  for (int i = 0; i < Axes; ++i) {
    WindowAxis& w = windows[3 - Axes + i];
    w.kernel = o.kernel[i];
    w.stride = o.stride[i] == 0 ? o.kernel[i] : o.stride[i];
    if constexpr (requires { o.dilation; }) w.dilation = o.dilation[i] == 0 ? 1 : o.dilation[i];
    w.begin = o.padding[i];
    w.end = o.padding[Axes + i];
  }
}

// Two views of one element type, as memory.
template <int XRank, int YRank, class X, class Y>
PoolProblem pool_problem(const char* function, const X& x, const Y& y) {
  const auto vx = as_view(x);
  const auto vy = as_view(y);
  using T = std::remove_const_t<typename decltype(vx)::Element>;
  static_assert(decltype(vx)::kRank == XRank && decltype(vy)::kRank == YRank,
                "tessera: pooling takes views of as many axes as its name says, and two more");
  static_assert(kIsImageType<T>, "tessera: pooling takes elements of f32, bf16, f16, s8 or u8");
  static_assert(std::is_same_v<typename decltype(vy)::Element, T>,
                "tessera: pooling writes elements of the type that it reads");
  PoolProblem problem{};
  problem.function = function;
  problem.x = tensor_memory(vx);
  problem.y = tensor_memory(vy);
  problem.axes = XRank - 2;
  return problem;
}

template <int Axes, class X, class Y>
void max_pool(const char* function, const X& x, const Y& y, const MaxPoolOptions<Axes>& o) {
  PoolProblem problem = pool_problem<Axes + 2, Axes + 2>(function, x, y);
  set_windows<Axes>(problem.windows, o);
  problem.ceil_mode = o.ceil_mode;
  problem.context = o.context;
  checked_pool(problem);
}

template <int Axes, class X, class Y>
void average_pool(const char* function, const X& x, const Y& y, const AveragePoolOptions<Axes>& o) {
  PoolProblem problem = pool_problem<Axes + 2, Axes + 2>(function, x, y);
  set_windows<Axes>(problem.windows, o);
  problem.ceil_mode = o.ceil_mode;
  problem.average = true;
  problem.count_include_pad = o.count_include_pad;
  problem.zero_point = o.zero_point;
  problem.context = o.context;
  checked_pool(problem);
}

template <class X, class Y>
void global_pool(const char* function, const X& x, const Y& y, bool average,
                 const GlobalPoolOptions& o) {
  constexpr int kRank = decltype(as_view(x))::kRank;
  static_assert(kRank >= 3 && kRank <= 5,
                "tessera: x must be [n, w, c], [n, h, w, c] or [n, d, h, w, c]");
  PoolProblem problem = pool_problem<kRank, 2>(function, x, y);
  problem.global = true;
  problem.average = average;
  problem.context = o.context;
  checked_pool(problem);
}

}  // namespace impl

// The extents of the result of pooling x with these options; the checks are those of the pooling itself.
template <std::size_t Rank, class Options>
std::array<index_t, Rank> pooled_extents(const std::array<index_t, Rank>& x,
                                         const Options& options) {
  constexpr int kAxes = static_cast<int>(Rank) - 2;
  std::array<WindowAxis, 3> windows;
  impl::set_windows<kAxes>(windows, options);
  std::array<index_t, Rank> y = x;
  for (std::size_t axis = 1; axis + 1 < Rank; ++axis) {
    y[axis] = window_count(x[axis], windows[3 - (Rank - 2) + axis - 1], options.ceil_mode);
  }
  return y;
}

// y[n, h, w, c] = the largest element of channel c in the window (h, w) of image n; padding is never the largest.
//
// x: View<const T, 4>  [n, h, w, c], any strides; fast where those of c are 1
// y: View<T, 4>        [n, pooled h, pooled w, c], see pooled_extents(); strides that visit no element twice
// T: f32, bf16, f16, s8, u8
// 1d: x [n, w, c]; 3d: x [n, d, h, w, c].
//
// Numerics: elements are copied. A NaN in a window makes the result NaN; of zeros with either sign the first one
// counts, with the last axis of the window the fastest. A dilated window that steps over the whole image gives
// -infinity, of integers the smallest. The same on every target.
//
// Rows of results are shared out to the context's executor. Empty results do nothing.
//
// Errors (tessera::Error, before anything is written): kernels, strides or dilations below 1, padding that is negative
// or not smaller than the dilated kernel, images without pixels, y of other extents, negative extents, null data, sizes
// that overflow, y that overlaps itself or x.
template <class X, class Y>
void max_pool1d(const X& x, const Y& y, const MaxPool1dOptions& options) {
  impl::max_pool<1>("max_pool1d", x, y, options);
}
template <class X, class Y>
void max_pool2d(const X& x, const Y& y, const MaxPool2dOptions& options) {
  impl::max_pool<2>("max_pool2d", x, y, options);
}
template <class X, class Y>
void max_pool3d(const X& x, const Y& y, const MaxPool3dOptions& options) {
  impl::max_pool<3>("max_pool3d", x, y, options);
}

// y[n, h, w, c] = the mean of the elements of channel c in the window (h, w) of image n. Padding does not count, or
// with options.count_include_pad as elements of value 0; what a window of ceil_mode has behind the padding never does.
//
// Operands as those of max_pool2d.
//
// Numerics: the sum in f32 in order of the window, the last axis the fastest, from 0; one division by the number of
// elements, and one rounding to T. Of integers the exact mean, rounded to nearest, ties to even: codes with the scale
// and zero point of x. The same bits on every target, with any strides.
//
// Errors: as max_pool2d, and a zero_point that T does not have.
template <class X, class Y>
void average_pool1d(const X& x, const Y& y, const AveragePool1dOptions& options) {
  impl::average_pool<1>("average_pool1d", x, y, options);
}
template <class X, class Y>
void average_pool2d(const X& x, const Y& y, const AveragePool2dOptions& options) {
  impl::average_pool<2>("average_pool2d", x, y, options);
}
template <class X, class Y>
void average_pool3d(const X& x, const Y& y, const AveragePool3dOptions& options) {
  impl::average_pool<3>("average_pool3d", x, y, options);
}

// y[n, c] = the largest element, or the mean, of channel c of image n: pooling with a window of the whole image.
//
// x: View<const T, 3>, 4 or 5  [n, w, c], [n, h, w, c] or [n, d, h, w, c]
// y: View<T, 2>                [n, c]
// Numerics and errors as above. One chain of sums per channel: the error of a mean grows with the number of pixels.
template <class X, class Y>
void global_max_pool(const X& x, const Y& y, const GlobalPoolOptions& options = {}) {
  impl::global_pool("global_max_pool", x, y, false, options);
}
template <class X, class Y>
void global_average_pool(const X& x, const Y& y, const GlobalPoolOptions& options = {}) {
  impl::global_pool("global_average_pool", x, y, true, options);
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/pool_driver.h"
#endif

#endif  // TESSERA_OPS_POOL_H_
