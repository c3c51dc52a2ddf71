// SPDX-License-Identifier: Apache-2.0
// The specification of padding, as a map of indices.
#ifndef TESSERA_REF_PAD_H_
#define TESSERA_REF_PAD_H_

#include <array>
#include <cstdint>

#include "tessera/core/view.h"

namespace tessera {

// What lies beyond the ends of an axis of elements a b c, by the names of ONNX:
//   kConstant  0 0 | a b c | 0 0
//   kReflect   c b | a b c | b a
//   kEdge      a a | a b c | c c
enum class PadMode : std::uint8_t { kConstant, kReflect, kEdge };

}  // namespace tessera

namespace tessera::ref {

// The element of an axis that element i - begin of the padded one is, or -1 for the constant.
constexpr index_t padded_index(index_t i, index_t extent, index_t begin, PadMode mode) {
  const index_t at = i - begin;
  if (at >= 0 && at < extent) return at;
  if (mode == PadMode::kConstant) return -1;
  if (mode == PadMode::kEdge) return at < 0 ? 0 : extent - 1;
  return at < 0 ? -at : 2 * (extent - 1) - at;
}

// Exactly as tessera::pad.
template <class T, int Rank>
void pad(const View<const T, Rank>& x, const View<T, Rank>& y,
         const std::array<index_t, 2 * Rank>& padding, PadMode mode, T value) {
  index_t count = 1;
  for (const index_t extent : y.extents) count *= extent;
  for (index_t i = 0; i < count; ++i) {
    const T* from = x.data;
    T* to = y.data;
    index_t rest = i;
    for (int axis = Rank; axis-- > 0;) {
      const index_t at = rest % y.extent(axis);
      rest /= y.extent(axis);
      to += at * y.stride(axis);
      const index_t source = padded_index(at, x.extent(axis), padding[axis], mode);
      if (source < 0) from = nullptr;
      if (from != nullptr) from += source * x.stride(axis);
    }
    *to = from == nullptr ? value : *from;
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_PAD_H_
