// SPDX-License-Identifier: Apache-2.0
// NVFP4 as ggml has it: 64 elements in 36 bytes, the scales of four groups of 16 and then their codes. Tessera keeps each scale
// beside its codes (BlockNVFP4), so rows are copied to be read.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_NVFP4_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_NVFP4_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tensors.h"

namespace ggml_port {

inline constexpr index_t kNvfp4Groups = 4;

// ggml's scales are E4M3 without sign, whose bit it ignores, and without NaN: what would be one is 0. (255, which no quantizer
// writes, it reads as 480. Here that is 0, too.)
inline std::uint8_t nvfp4_scale(std::byte of_ggml) {
  const auto scale = static_cast<std::uint8_t>(of_ggml & std::byte{0x7f});
  return scale == 0x7f ? std::uint8_t{0} : scale;
}

// A row of `cols` elements, a multiple of 64. The same number of bytes.
inline void regroup_nvfp4(const std::byte* from, index_t cols, std::byte* to) {
  const std::byte* codes = from + kNvfp4Groups;
  ts::BlockNVFP4 block;
  constexpr index_t kGroup = ts::info(ts::BlockFormat::kNVFP4).block;
  for (index_t group = 0; group < cols / kGroup; ++group) {
    if (group > 0 && group % kNvfp4Groups == 0) {
      from = codes;
      codes += kNvfp4Groups;
    }
    block.d = nvfp4_scale(from[group % kNvfp4Groups]);
    std::memcpy(block.qs, codes, sizeof(block.qs));
    codes += sizeof(block.qs);
    std::memcpy(to, &block, sizeof(block));
    to += sizeof(block);
  }
}

// The blocks of matrix (i2, i3) as Tessera has them, in place if those are the same bytes.
class BlockRows {
 public:
  explicit BlockRows(const ggml_tensor& t, index_t i2 = 0, index_t i3 = 0)
      : view_(block_rows(t, i2, i3)) {
    if (t.type != GGML_TYPE_NVFP4) return;
    const index_t row_bytes = ts::row_bytes(view_.format, view_.cols);
    copy_.resize(static_cast<std::size_t>(view_.rows * row_bytes));
    for (index_t i = 0; i < view_.rows; ++i)
      regroup_nvfp4(view_.row(i), view_.cols, copy_.data() + i * row_bytes);
    view_.data = copy_.data();
    view_.row_bytes = row_bytes;
  }
  BlockRows(const BlockRows&) = delete;
  BlockRows& operator=(const BlockRows&) = delete;

  const ts::ConstBlockView& view() const { return view_; }

 private:
  ts::ConstBlockView view_;
  std::vector<std::byte> copy_{};
};

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_NVFP4_H_
