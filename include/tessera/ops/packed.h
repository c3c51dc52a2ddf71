// SPDX-License-Identifier: Apache-2.0
// Packed operands: a matrix reordered once into the panels that the GEMM kernels read, for use in many
// calls. A value that owns its memory; independent of the view it was made from.
#ifndef TESSERA_OPS_PACKED_H_
#define TESSERA_OPS_PACKED_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "tessera/core/dtype.h"
#include "tessera/core/isa.h"
#include "tessera/core/scratch.h"
#include "tessera/core/view.h"
#include "tessera/kernels/weights_kernels.h"

namespace tessera {

// What was packed for whom. A gemm that runs on another target refuses the operand: the panels of
// one target are another's wrong columns.
struct PackedLayout {
  index_t rows = 0, cols = 0;  // of the matrix
  index_t kc = 0;              // K is cut into blocks of kc, each with panels of its own
  index_t panel = 0;           // columns per panel of B (NR); rows per panel of A (MR)
  index_t pad = 1;             // the last panel of B is padded to a multiple of this
  DType dtype{};               // of the matrix
  Target target{};
  int tile = 0;  // index into the target's register tiles
};

namespace detail {

// Packed panels of either operand and any type.
class PackedPanels {
 public:
  PackedPanels() = default;
  // `lines`: how many sums over k there are, of the rows of A or the columns of B, for operands of integers.
  PackedPanels(const PackedLayout& layout, index_t bytes, index_t lines = 0)
      : layout_(layout),
        sums_at_((static_cast<std::size_t>(bytes) + 63) / 64 * 64),
        bytes_(lines > 0 ? sums_at_ + static_cast<std::size_t>(lines) * sizeof(std::int32_t)
                         : static_cast<std::size_t>(bytes)),
        memory_(allocate_aligned(bytes_)) {}

  // Of the matrix: m x k for A, k x n for B.
  index_t rows() const { return layout_.rows; }
  index_t cols() const { return layout_.cols; }
  Target target() const { return layout_.target; }
  const PackedLayout& layout() const { return layout_; }

  std::size_t bytes() const { return bytes_; }
  const std::byte* data() const { return memory_.get(); }
  std::byte* data() { return memory_.get(); }
  // For zero points of the other operand.
  const std::int32_t* sums() const {
    return reinterpret_cast<const std::int32_t*>(data() + sums_at_);
  }
  std::int32_t* sums() { return reinterpret_cast<std::int32_t*>(data() + sums_at_); }

 private:
  PackedLayout layout_;
  std::size_t sums_at_ = 0, bytes_ = 0;
  AlignedBytes memory_;
};

}  // namespace detail

// A matrix of T as operand a, or b, of gemm. Differ in type so that they can't be swapped.
template <class T>
class PackedA : public detail::PackedPanels {
 public:
  PackedA() = default;
  explicit PackedA(detail::PackedPanels&& panels) : detail::PackedPanels(std::move(panels)) {}
};

template <class T>
class PackedB : public detail::PackedPanels {
 public:
  PackedB() = default;
  explicit PackedB(detail::PackedPanels&& panels) : detail::PackedPanels(std::move(panels)) {}
};

// Quantized weights as operand b of gemm: B[k, n], made by pack_weights(). A value that owns its memory.
class PackedWeights {
 public:
  PackedWeights() = default;
  PackedWeights(const detail::WeightFormat& format, Target target, index_t k, index_t n,
                index_t panel)
      : format_(format),
        target_(target),
        rows_(k),
        cols_(n),
        panel_(panel),
        bytes_(static_cast<std::size_t>(panels() * panel_bytes())),
        memory_(detail::allocate_aligned(bytes_)) {}

  index_t rows() const { return rows_; }  // k
  index_t cols() const { return cols_; }  // n
  Target target() const { return target_; }
  std::size_t bytes() const { return bytes_; }

  // How it is stored: kernels/weights_kernels.h.
  const detail::WeightFormat& format() const { return format_; }
  index_t padded_rows() const { return (rows_ + format_.unit - 1) / format_.unit * format_.unit; }
  index_t panel() const { return panel_; }
  index_t panels() const { return panel_ == 0 ? 0 : (cols_ + panel_ - 1) / panel_; }
  index_t panel_bytes() const { return padded_rows() / format_.unit * format_.unit_bytes(panel_); }
  const std::byte* data() const { return memory_.get(); }
  std::byte* data() { return memory_.get(); }

 private:
  detail::WeightFormat format_;
  Target target_{};
  index_t rows_ = 0, cols_ = 0, panel_ = 0;
  std::size_t bytes_ = 0;
  detail::AlignedBytes memory_;
};

}  // namespace tessera

#endif  // TESSERA_OPS_PACKED_H_
