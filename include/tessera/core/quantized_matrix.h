// SPDX-License-Identifier: Apache-2.0
// A quantized matrix that owns its memory.
#ifndef TESSERA_CORE_QUANTIZED_MATRIX_H_
#define TESSERA_CORE_QUANTIZED_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/quantized.h"

namespace tessera {

// Shape and layout of a GroupQuantizedMatrix.
struct GroupQuantizedLayout {
  index_t rows = 0, cols = 0;
  int bits = 8;
  bool is_signed = true;
  index_t group = 0;  // 0: one group per row
  DType scale_type = DType::kF32;
  bool has_zero_points = false;
};

// Codes in rows without gaps, scales and zero points [rows, groups] in row-major order, all 0 to begin with. A
// value: copies are deep, and view() holds until the matrix is assigned to or gone.
class GroupQuantizedMatrix {
 public:
  GroupQuantizedMatrix() = default;

  // Refuses negative extents and groups, other bits than 8, 4 and 2, other types of scales than f32, f16 and
  // bf16.
  explicit GroupQuantizedMatrix(const GroupQuantizedLayout& layout) : layout_(layout) {
    const auto refuse = [](const char* argument, const char* expected, auto got) {
      detail::fail("GroupQuantizedMatrix", argument, expected, std::to_string(got));
    };
    if (layout.rows < 0) refuse("layout.rows", "at least 0", layout.rows);
    if (layout.cols < 0) refuse("layout.cols", "at least 0", layout.cols);
    if (layout.group < 0) refuse("layout.group", "at least 0", layout.group);
    if (layout.bits != 8 && layout.bits != 4 && layout.bits != 2) {
      refuse("layout.bits", "8, 4 or 2", layout.bits);
    }
    const DType type = layout.scale_type;
    if (type != DType::kF32 && type != DType::kF16 && type != DType::kBF16) {
      refuse("layout.scale_type", "kF32, kF16 or kBF16", static_cast<int>(type));
    }
    if (layout_.group == 0) layout_.group = layout.cols > 0 ? layout.cols : 1;
    const auto count = [&](index_t per_row) {
      std::size_t total = 0;
      if (__builtin_mul_overflow(layout.rows, per_row, &total)) {
        refuse("layout", "sizes within the address space", layout.rows);
      }
      return total;
    };
    codes_.resize(count(packed_row_bytes(layout.cols, layout.bits)));
    scales_.resize(count(groups() * size_of(type)));
    if (layout.has_zero_points) zero_points_.resize(count(groups()));
  }

  const GroupQuantizedLayout& layout() const { return layout_; }

  MutableGroupQuantizedView view() {
    return view_of<std::uint8_t>(codes_.data(), scales_.data(), zero_points_.data());
  }
  GroupQuantizedView view() const {
    return view_of<const std::uint8_t>(codes_.data(), scales_.data(), zero_points_.data());
  }

 private:
  index_t groups() const { return detail::ceil_div(layout_.cols, layout_.group); }

  template <class Byte>
  BasicGroupQuantizedView<Byte> view_of(Byte* codes, detail::CopyConst<Byte, void>* scales,
                                        Byte* zero_points) const {
    return {.codes = codes,
            .rows = layout_.rows,
            .cols = layout_.cols,
            .row_bytes = packed_row_bytes(layout_.cols, layout_.bits),
            .bits = layout_.bits,
            .is_signed = layout_.is_signed,
            .group = layout_.group,
            .scales = scales,
            .scale_type = layout_.scale_type,
            .scale_strides = {groups(), 1},
            .zero_points = layout_.has_zero_points ? zero_points : nullptr,
            .zero_point_strides = {groups(), 1}};
  }

  GroupQuantizedLayout layout_{.group = 1};
  std::vector<std::uint8_t> codes_, zero_points_;
  std::vector<std::byte> scales_;  // aligned as operator new aligns, for any type
};

}  // namespace tessera

#endif  // TESSERA_CORE_QUANTIZED_MATRIX_H_
