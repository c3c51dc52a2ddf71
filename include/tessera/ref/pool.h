// SPDX-License-Identifier: Apache-2.0
// The specification of pooling, as loops.
#ifndef TESSERA_REF_POOL_H_
#define TESSERA_REF_POOL_H_

#include <array>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/core/window.h"

namespace tessera::ref {

// Pooling of [n, d, h, w, c]; fewer axes are axes of extent 1.
using Windows = std::array<WindowAxis, 3>;

// What a maximum starts from, and that of no elements.
template <class T>
constexpr T lowest_of() {
  if constexpr (std::is_integral_v<T>) {
    return std::numeric_limits<T>::min();
  } else {
    return static_cast<T>(-std::numeric_limits<float>::infinity());
  }
}

// sum / divisor as an element of T: of integers exact, rounded to nearest, ties to even.
template <class T, class Sum>
constexpr T average_of(Sum sum, index_t divisor) {
  if constexpr (std::is_integral_v<T>) {
    const std::int64_t d = divisor;
    std::int64_t quotient = sum / d, rest = sum % d;
    if (rest < 0) {
      --quotient;
      rest += d;
    }
    return static_cast<T>(quotient +
                          (2 * rest > d || (2 * rest == d && quotient % 2 != 0) ? 1 : 0));
  } else {
    return static_cast<T>(sum / static_cast<float>(divisor));
  }
}

namespace impl {

// f(value) for each element of the window of y(n, d, h, w) that is within x, the last axis the fastest.
template <class T, class F>
void for_window(const View<const T, 5>& x, const std::array<index_t, 4>& at, const Windows& windows,
                index_t channel, F f) {
  std::array<index_t, 3> i{};
  for (i[0] = 0; i[0] < windows[0].kernel; ++i[0]) {
    for (i[1] = 0; i[1] < windows[1].kernel; ++i[1]) {
      for (i[2] = 0; i[2] < windows[2].kernel; ++i[2]) {
        std::array<index_t, 3> p{};
        bool inside = true;
        for (int a = 0; a < 3; ++a) {
          const WindowAxis& w = windows[a];
          p[a] = at[a + 1] * w.stride - w.begin + i[a] * w.dilation;
          inside = inside && p[a] >= 0 && p[a] < x.extent(a + 1);
        }
        if (inside) f(x(at[0], p[0], p[1], p[2], channel));
      }
    }
  }
}

// f(n, d, h, w, c) for each element of y.
template <class T, class F>
void for_elements(const View<T, 5>& y, F f) {
  for (index_t n = 0; n < y.extent(0); ++n) {
    for (index_t d = 0; d < y.extent(1); ++d) {
      for (index_t h = 0; h < y.extent(2); ++h) {
        for (index_t w = 0; w < y.extent(3); ++w) {
          for (index_t c = 0; c < y.extent(4); ++c) f(n, d, h, w, c);
        }
      }
    }
  }
}

}  // namespace impl

// Exactly as tessera::max_pool3d: the earliest of the largest elements, or a NaN if there is one.
template <class T>
void max_pool(const View<const T, 5>& x, const View<T, 5>& y, const Windows& windows) {
  using Value = Accumulator<T>;
  impl::for_elements(y, [&](index_t n, index_t d, index_t h, index_t w, index_t c) {
    T largest = lowest_of<T>();
    impl::for_window(x, {n, d, h, w}, windows, c, [&](T element) {
      const auto value = static_cast<Value>(element);
      if (value > static_cast<Value>(largest) || value != value) largest = element;
    });
    y(n, d, h, w, c) = largest;
  });
}

// Exactly as tessera::average_pool3d: sums are in order, in f32, of integers exact.
template <class T>
void average_pool(const View<const T, 5>& x, const View<T, 5>& y, const Windows& windows,
                  bool count_include_pad = false, std::int32_t zero_point = 0) {
  using Sum = std::conditional_t<std::is_integral_v<T>, std::int64_t, float>;
  impl::for_elements(y, [&](index_t n, index_t d, index_t h, index_t w, index_t c) {
    Sum sum{0};
    index_t count = 0;
    impl::for_window(x, {n, d, h, w}, windows, c, [&](T element) {
      sum += static_cast<Sum>(element);
      ++count;
    });
    index_t divisor = count;
    if (count_include_pad) {
      divisor = tessera::detail::padded_count(d, x.extent(1), windows[0]) *
                tessera::detail::padded_count(h, x.extent(2), windows[1]) *
                tessera::detail::padded_count(w, x.extent(3), windows[2]);
      if constexpr (std::is_integral_v<T>) sum += (divisor - count) * zero_point;
    }
    y(n, d, h, w, c) = average_of<T>(sum, divisor);
  });
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_POOL_H_
