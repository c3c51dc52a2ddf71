// SPDX-License-Identifier: Apache-2.0
// The layouts of vision networks as views. The axes of a view are the same for all of them, channels last:
// activations [n, h, w, c], weights [o, kh, kw, i]; the layout is in the strides. Extents are given in the order
// of the name, the last one being the fastest in memory:
//
//   auto x = ts::nchw(data, {n, c, h, w});   // a View of extents {n, h, w, c}
//   auto w = ts::ohwi(data, {o, 3, 3, i});   // a View of extents {o, 3, 3, i}
#ifndef TESSERA_CORE_LAYOUT_H_
#define TESSERA_CORE_LAYOUT_H_

#include <cstddef>

#include "tessera/core/view.h"

namespace tessera {

namespace detail {

// A dense view of [outer, channels, spatial...] with its channels moved to the end.
template <class T, class I, std::size_t Rank>
constexpr View<T, static_cast<int>(Rank)> channels_first(T* data, const I (&extents)[Rank]) {
  const auto dense = row_major(data, extents);
  auto view = dense;
  for (std::size_t i = 2; i < Rank; ++i) {
    view.extents[i - 1] = dense.extents[i];
    view.strides[i - 1] = dense.strides[i];
  }
  view.extents[Rank - 1] = dense.extents[1];
  view.strides[Rank - 1] = dense.strides[1];
  return view;
}

}  // namespace detail

// Activations, channels last: the native layout, in which kernels read in place.
template <class T, class I>
constexpr View<T, 3> nwc(T* data, const I (&extents)[3]) {
  return row_major(data, extents);
}
template <class T, class I>
constexpr View<T, 4> nhwc(T* data, const I (&extents)[4]) {
  return row_major(data, extents);
}
template <class T, class I>
constexpr View<T, 5> ndhwc(T* data, const I (&extents)[5]) {
  return row_major(data, extents);
}

// Activations, channels first.
template <class T, class I>
constexpr View<T, 3> ncw(T* data, const I (&extents)[3]) {
  return detail::channels_first(data, extents);
}
template <class T, class I>
constexpr View<T, 4> nchw(T* data, const I (&extents)[4]) {
  return detail::channels_first(data, extents);
}
template <class T, class I>
constexpr View<T, 5> ncdhw(T* data, const I (&extents)[5]) {
  return detail::channels_first(data, extents);
}

// Weights [o, k..., i], one filter after the other.
template <class T, class I>
constexpr View<T, 3> owi(T* data, const I (&extents)[3]) {
  return row_major(data, extents);
}
template <class T, class I>
constexpr View<T, 4> ohwi(T* data, const I (&extents)[4]) {
  return row_major(data, extents);
}
template <class T, class I>
constexpr View<T, 5> odhwi(T* data, const I (&extents)[5]) {
  return row_major(data, extents);
}

// Weights as PyTorch and ONNX have them.
template <class T, class I>
constexpr View<T, 3> oiw(T* data, const I (&extents)[3]) {
  return detail::channels_first(data, extents);
}
template <class T, class I>
constexpr View<T, 4> oihw(T* data, const I (&extents)[4]) {
  return detail::channels_first(data, extents);
}
template <class T, class I>
constexpr View<T, 5> oidhw(T* data, const I (&extents)[5]) {
  return detail::channels_first(data, extents);
}

}  // namespace tessera

#endif  // TESSERA_CORE_LAYOUT_H_
