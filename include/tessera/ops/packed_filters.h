// SPDX-License-Identifier: Apache-2.0
// The weights of a convolution, reordered once for many calls.
#ifndef TESSERA_OPS_PACKED_FILTERS_H_
#define TESSERA_OPS_PACKED_FILTERS_H_

#include <array>
#include <utility>

#include "tessera/core/dtype.h"
#include "tessera/core/isa.h"
#include "tessera/core/scratch.h"
#include "tessera/core/view.h"
#include "tessera/ops/conv_algorithm.h"

namespace tessera {

namespace detail {

using Spatial = std::array<index_t, 3>;        // d, h, w
using TensorExtents = std::array<index_t, 5>;  // n, d, h, w, c; of weights o, d, h, w, i

// What was packed, and for whom.
struct FilterLayout {
  TensorExtents extents{};
  Spatial stride{}, dilation{};
  index_t groups = 1;
  bool transposed = false;
  DType dtype{};
  ConvAlgorithm algorithm{};
  Target target{};
  int tile = 0;  // index into the target's register tiles
  index_t kc = 0, panel = 0, pad = 1;

  bool operator==(const FilterLayout&) const = default;
};

class PackedFilterMemory {
 public:
  PackedFilterMemory() = default;
  PackedFilterMemory(const FilterLayout& layout, index_t bytes)
      : layout_(layout),
        bytes_(static_cast<std::size_t>(bytes)),
        memory_(allocate_aligned(bytes_)) {}

  Target target() const { return layout_.target; }
  const FilterLayout& layout() const { return layout_; }
  std::size_t bytes() const { return bytes_; }
  const std::byte* data() const { return memory_.get(); }
  std::byte* data() { return memory_.get(); }

 private:
  FilterLayout layout_;
  std::size_t bytes_ = 0;
  AlignedBytes memory_;
};

}  // namespace detail

// Weights of T for convolutions with kRank spatial axes. A value that owns its memory, made by pack_conv2d() and
// its kin; it remembers groups, stride, dilation and target.
template <class T, int kRank>
class PackedFilters : public detail::PackedFilterMemory {
 public:
  PackedFilters() = default;
  explicit PackedFilters(detail::PackedFilterMemory&& memory)
      : detail::PackedFilterMemory(std::move(memory)) {}
};

}  // namespace tessera

#endif  // TESSERA_OPS_PACKED_FILTERS_H_
