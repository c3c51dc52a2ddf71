// SPDX-License-Identifier: Apache-2.0
// quantize and dequantize of integer codes in groups of columns: weights of 8, 4 and 2 bits, activations per
// token, ternary weights.
#ifndef TESSERA_OPS_AFFINE_QUANTIZE_H_
#define TESSERA_OPS_AFFINE_QUANTIZE_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

#include "tessera/core/affine.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/quantized.h"
#include "tessera/core/view.h"
#include "tessera/ops/dequantize_options.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"

namespace tessera::inline TESSERA_ABI {

struct AffineOptions {
  Scaling scaling = Scaling::kMinMax;
  bool symmetric = false;   // zero points, where dst has them, are the middle of the codes
  bool full_range = false;  // around a fixed zero point: also the lowest code, -128 of -128..127
  Context* context = nullptr;
};

namespace impl {

// The strides with which an array of scales is written: those of 0 share an element, and visit it once.
inline MemoryView written_once(MemoryView v) {
  for (int axis = 0; axis < 2; ++axis) {
    if (v.strides[axis] == 0) v.extents[axis] = std::min<index_t>(v.extents[axis], 1);
  }
  return v;
}

// Whether scales of rows, or of groups, are one and the same.
inline std::array<bool, 2> shared(const Extents& extents, const Extents& strides) {
  return {extents[0] > 1 && strides[0] == 0, extents[1] > 1 && strides[1] == 0};
}

// Fields of a quantized view, whose name is `name` in messages, and its memory.
template <class Byte>
std::vector<NamedMemory> check_view(const char* function, const std::string& name,
                                    const BasicGroupQuantizedView<Byte>& v, bool computes_scales) {
  constexpr bool kWritten = !std::is_const_v<Byte>;
  if (v.rows < 0 || v.cols < 0) {
    fail(function, name, "rows and cols of at least 0", to_string(Extents{v.rows, v.cols}));
  }
  if (v.bits != 8 && v.bits != 4 && v.bits != 2) {
    fail(function, name + ".bits", "8, 4 or 2", std::to_string(v.bits));
  }
  if (v.group < 1 && v.cols > 0) {
    fail(function, name + ".group", "at least 1", std::to_string(v.group));
  }
  if (v.scale_type != DType::kF32 && v.scale_type != DType::kF16 && v.scale_type != DType::kBF16) {
    fail(function, name + ".scale_type", "kF32, kF16 or kBF16",
         std::to_string(static_cast<int>(v.scale_type)));
  }
  const index_t bytes = packed_row_bytes(v.cols, v.bits);
  if (kWritten && v.rows > 1 && std::abs(v.row_bytes) < bytes) {
    fail(function, name + ".row_bytes",
         "at least " + std::to_string(bytes) + " for " + std::to_string(v.cols) + " columns of " +
             std::to_string(v.bits) + " bits",
         std::to_string(v.row_bytes));
  }
  const Extents groups{v.rows, v.cols > 0 ? v.groups() : 0};
  const MemoryView scales{v.scales, v.scale_type, groups, v.scale_strides};
  const MemoryView zeros{v.zero_points, DType::kU8, groups, v.zero_point_strides};
  std::vector<NamedMemory> memory = {
      {name + ".codes", {v.codes, DType::kU8, {v.rows, bytes}, {v.row_bytes, 1}}, kWritten},
      {name + ".scales", computes_scales ? written_once(scales) : scales, computes_scales}};
  if (v.zero_points == nullptr) return memory;
  memory.push_back(
      {name + ".zero_points", computes_scales ? written_once(zeros) : zeros, computes_scales});
  if (computes_scales && shared(groups, v.scale_strides) != shared(groups, v.zero_point_strides)) {
    fail(function, name + ".zero_point_strides",
         "zeros where scale_strides has them: " + to_string(v.scale_strides),
         to_string(v.zero_point_strides));
  }
  return memory;
}

inline void check_quantize(const View<const float, 2>& src, const MutableGroupQuantizedView& dst,
                           const AffineOptions& options) {
  const char* const function = "quantize";
  std::vector<NamedMemory> memory =
      check_view(function, "dst", dst, options.scaling != Scaling::kGiven);
  check_extents(function, "dst", "src", {dst.rows, dst.cols}, src.extents);
  if (options.scaling == Scaling::kAbsMean &&
      (dst.bits != 2 || !dst.is_signed || dst.zero_points != nullptr)) {
    fail(function, "options.scaling",
         "kMinMax or kGiven, as kAbsMean is for signed codes of 2 bits without zero points",
         "kAbsMean");
  }
  memory.push_back({"src", {src.data, DType::kF32, src.extents, src.strides}});
  check_memory(function, memory);
}

// Columns whose codes are unpacked at a time. They start at a byte.
inline constexpr index_t kCodesAtATime = 256;

// f(begin, end, g) for the groups g of columns first .. first + n, which have the columns begin .. end of
// these.
template <class F>
void for_groups(index_t first, index_t n, index_t group, F f) {
  for (index_t j = first; j < first + n;) {
    const index_t g = j / group;
    const index_t end = std::min(first + n, (g + 1) * group);
    f(j, end, g);
    j = end;
  }
}

// codes[0 .. n), one a byte, as fields; a last byte is filled up with zeros.
template <int kBits>
void pack_codes(const std::uint8_t* codes, index_t n, std::uint8_t* to) {
  constexpr int kPerByte = 8 / kBits, kMask = (1 << kBits) - 1;
  const auto pack = [](const std::uint8_t* from, index_t count) {
    int byte = 0;
    for (index_t k = 0; k < count; ++k) byte |= (from[k] & kMask) << k * kBits;
    return static_cast<std::uint8_t>(byte);
  };
  const index_t whole = n / kPerByte;
  for (index_t i = 0; i < whole; ++i) to[i] = pack(codes + i * kPerByte, kPerByte);
  if (n % kPerByte != 0) to[whole] = pack(codes + whole * kPerByte, n % kPerByte);
}

inline void pack_codes(const std::uint8_t* codes, index_t n, int bits, std::uint8_t* to) {
  bits == 8   ? pack_codes<8>(codes, n, to)
  : bits == 4 ? pack_codes<4>(codes, n, to)
              : pack_codes<2>(codes, n, to);
}

template <int kBits>
void unpack_codes(const std::uint8_t* from, index_t n, int sign, std::int16_t* codes) {
  constexpr int kPerByte = 8 / kBits, kMask = (1 << kBits) - 1;
  const auto unpack = [&](index_t i, index_t count) {
    for (index_t k = 0; k < count; ++k) {
      codes[i * kPerByte + k] =
          static_cast<std::int16_t>(((from[i] >> k * kBits & kMask) ^ sign) - sign);
    }
  };
  const index_t whole = n / kPerByte;
  for (index_t i = 0; i < whole; ++i) unpack(i, kPerByte);
  if (n % kPerByte != 0) unpack(whole, n % kPerByte);
}

inline void unpack_codes(const std::uint8_t* from, index_t n, int bits, bool is_signed,
                         std::int16_t* codes) {
  const int sign = is_signed ? 1 << (bits - 1) : 0;  // (x ^ sign) - sign extends the sign
  bits == 8   ? unpack_codes<8>(from, n, sign, codes)
  : bits == 4 ? unpack_codes<4>(from, n, sign, codes)
              : unpack_codes<2>(from, n, sign, codes);
}

// The inner loops get everything by value: codes are bytes, which might alias whatever else is in memory. A
// step of 1 is a constant, so that these are loops over vectors.
template <class Step>
void quantize_run(const float* x, Step step, index_t n, AffineParams params, int low, int high,
                  std::uint8_t* codes) {
  for (index_t j = 0; j < n; ++j) {
    codes[j] = static_cast<std::uint8_t>(
        affine_code(x[j * step], params.scale, params.zero_point, low, high));
  }
}

template <class Step>
void dequantize_run(const std::int16_t* codes, index_t n, AffineParams params, float* to,
                    Step step) {
  for (index_t j = 0; j < n; ++j) {
    to[j * step] = static_cast<float>(codes[j] - params.zero_point) * params.scale;
  }
}

using UnitStep = std::integral_constant<index_t, 1>;

// What the scale of a group depends on.
struct GroupSummary {
  ValueRange range;
  double sum = 0;  // of the finite magnitudes
  index_t count = 0;

  void include(const GroupSummary& other) {
    range.include(other.range);
    sum += other.sum;
    count += other.count;
  }
};

inline GroupSummary summary(const float* x, index_t stride, index_t n, Scaling scaling) {
  GroupSummary s;
  if (scaling == Scaling::kAbsMean) {
    for (index_t j = 0; j < n; ++j) {
      if (!std::isfinite(x[j * stride])) continue;
      s.sum += std::abs(static_cast<double>(x[j * stride]));
      ++s.count;
    }
    return s;
  }
  // Several ranges at once make a vector: their order does not matter.
  constexpr index_t kLanes = 16;
  float least[kLanes] = {}, most[kLanes] = {};
  index_t j = 0;
  for (; stride == 1 && j + kLanes <= n; j += kLanes) {
    for (index_t k = 0; k < kLanes; ++k) {
      ValueRange lane{least[k], most[k]};
      lane.include(x[j + k]);
      least[k] = lane.min;
      most[k] = lane.max;
    }
  }
  for (; j < n; ++j) s.range.include(x[j * stride]);
  for (index_t k = 0; k < kLanes; ++k) {
    s.range.min = std::min(s.range.min, least[k]);
    s.range.max = std::max(s.range.max, most[k]);
  }
  return s;
}

inline void set_params(const MutableGroupQuantizedView& dst, index_t i, index_t g,
                       const GroupSummary& s, Scaling scaling, const AffineFormat& format) {
  AffineParams params;
  if (scaling == Scaling::kAbsMean) {
    const double mean = s.count > 0 ? s.sum / static_cast<double>(s.count) : 0;
    params.scale = storable_scale(mean, dst.scale_type);
  } else {
    params = affine_params(s.range, format, dst.scale_type);
  }
  dst.set_scale(i, g, params.scale);
  if (dst.zero_points != nullptr) dst.set_zero_point(i, g, params.zero_point);
}

inline void quantize_row(const View<const float, 2>& src, const MutableGroupQuantizedView& dst,
                         index_t i, int low, int high) {
  const index_t stride = src.strides[1];
  for (index_t first = 0; first < dst.cols; first += kCodesAtATime) {
    const index_t n = std::min(kCodesAtATime, dst.cols - first);
    std::uint8_t codes[kCodesAtATime];
    for_groups(first, n, dst.group, [&](index_t begin, index_t end, index_t g) {
      const AffineParams params{dst.scale(i, g), dst.zero_point(i, g)};
      const float* const x = &src(i, begin);
      std::uint8_t* const to = codes + (begin - first);
      stride == 1 ? quantize_run(x, UnitStep(), end - begin, params, low, high, to)
                  : quantize_run(x, stride, end - begin, params, low, high, to);
    });
    pack_codes(codes, n, dst.bits, dst.codes + i * dst.row_bytes + first * dst.bits / 8);
  }
}

inline void dequantize_row(const GroupQuantizedView& src, const View<float, 2>& dst, index_t i) {
  const index_t stride = dst.strides[1];
  for (index_t first = 0; first < src.cols; first += kCodesAtATime) {
    const index_t n = std::min(kCodesAtATime, src.cols - first);
    std::int16_t codes[kCodesAtATime];
    unpack_codes(src.codes + i * src.row_bytes + first * src.bits / 8, n, src.bits, src.is_signed,
                 codes);
    for_groups(first, n, src.group, [&](index_t begin, index_t end, index_t g) {
      const AffineParams params{src.scale(i, g), src.zero_point(i, g)};
      const std::int16_t* const from = codes + (begin - first);
      float* const to = &dst(i, begin);
      stride == 1 ? dequantize_run(from, end - begin, params, to, UnitStep())
                  : dequantize_run(from, end - begin, params, to, stride);
    });
  }
}

}  // namespace impl

// Codes of src, and unless they are given, scales and zero points for it.
//
// src: View<const float, 2>       [rows, cols], any strides
// dst: MutableGroupQuantizedView  [rows, cols], codes of 8, 4 or 2 bits (layout: core/quantized.h)
//
// Scales. The elements that share a scale are those of a group, and those of all groups of a row or of all rows
// where the stride of the scales is 0; group >= cols is per-channel or dynamic per-token quantization. A scale
// is rounded to its type before codes are computed, and is 1 where all elements are 0 (core/affine.h has the
// arithmetic).
//   kMinMax, no zero points  the least scale for which no element saturates: on -127..127, or with full_range
//                            on -128..127. Unsigned codes have no negative values: such elements become 0.
//   kMinMax, zero points     asymmetric: the range of the elements and 0, on all codes. options.symmetric: as
//                            above, with 0 at the middle code (0, or 128 of unsigned codes).
//   kAbsMean                 ternary: the mean magnitude of the finite elements, codes -1, 0, 1 (Ma et al.,
//                            "The Era of 1-bit LLMs", 2024, which adds an epsilon where a mean of 0 gives 1
//                            here; the scale there is one per matrix: strides {0, 0}). The f64 sum runs along
//                            each row, then over rows.
//   kGiven                   as dst has them, of any strides: from a calibration (ops/calibration.h), say.
//
// Numerics: code = round(x / scale) + zero_point, the quotient in f32, ties to even, saturated; the bits do not
// depend on threads, strides or machine. An element is at most half a scale away from the value of its code,
// but where it saturates or the scale was rounded to 16 bits. NaN becomes 0; infinities saturate; neither
// counts for a scale. A given scale of 0 saturates, and one of NaN gives the codes of 0.
//
// Rows are shared out to the context's executor. Empty matrices do nothing.
//
// Errors (tessera::Error, before anything is written): extents that don't match or are negative, null data,
// sizes that overflow, rows or scales that overlap each other, src or one another, bits, group and type of
// scales that don't exist, zero points shared otherwise than scales, kAbsMean of other codes than signed 2-bit
// ones.
inline void quantize(const View<const float, 2>& src, const MutableGroupQuantizedView& dst,
                     const AffineOptions& options = {}) {
  impl::check_quantize(src, dst, options);
  if (dst.rows == 0 || dst.cols == 0) return;
  const Scaling scaling = options.scaling;
  const AffineFormat format = affine_format(dst, scaling, options.symmetric, options.full_range);
  const int low = format.low(), high = format.high();
  if (scaling == Scaling::kGiven) {
    impl::for_rows(options.context, dst.rows, dst.cols,
                   [&](index_t i) { impl::quantize_row(src, dst, i, low, high); });
    return;
  }
  MutableGroupQuantizedView to = dst;
  if (dst.scale_strides[1] == 0) to.group = dst.cols;
  const auto summary = [&](index_t i, index_t g) {
    const index_t begin = g * to.group;
    return impl::summary(&src(i, begin), src.strides[1], std::min(to.group, dst.cols - begin),
                         scaling);
  };
  const index_t groups = to.groups();
  const bool rows_share = dst.scale_strides[0] == 0;
  if (rows_share) {
    std::vector<impl::GroupSummary> summaries(static_cast<std::size_t>(dst.rows * groups));
    impl::for_rows(options.context, dst.rows, dst.cols, [&](index_t i) {
      for (index_t g = 0; g < groups; ++g) {
        summaries[static_cast<std::size_t>(i * groups + g)] = summary(i, g);
      }
    });
    for (index_t g = 0; g < groups; ++g) {
      impl::GroupSummary all;
      for (index_t i = 0; i < dst.rows; ++i) {
        all.include(summaries[static_cast<std::size_t>(i * groups + g)]);
      }
      impl::set_params(to, 0, g, all, scaling, format);
    }
  }
  impl::for_rows(options.context, dst.rows, dst.cols, [&](index_t i) {
    if (!rows_share) {
      for (index_t g = 0; g < groups; ++g) {
        impl::set_params(to, i, g, summary(i, g), scaling, format);
      }
    }
    impl::quantize_row(src, to, i, low, high);
  });
}

// dst[rows, cols] = the values of src: (code - zero_point) * scale, rounded to f32 once.
//
// src: GroupQuantizedView  [rows, cols], any strides
// dst: View<float, 2>      [rows, cols], any strides that visit no element twice
// Rows are shared out to the context's executor. Empty matrices do nothing. Errors as those of quantize.
inline void dequantize(const GroupQuantizedView& src, const View<float, 2>& dst,
                       const DequantizeOptions& options = {}) {
  std::vector<impl::NamedMemory> memory = impl::check_view("dequantize", "src", src, false);
  impl::check_extents("dequantize", "dst", "src", dst.extents, {src.rows, src.cols});
  memory.push_back({"dst", {dst.data, DType::kF32, dst.extents, dst.strides}, true});
  impl::check_memory("dequantize", memory);
  impl::for_rows(options.context, src.rows, src.cols,
                 [&](index_t i) { impl::dequantize_row(src, dst, i); });
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_AFFINE_QUANTIZE_H_
