// SPDX-License-Identifier: Apache-2.0
// The arithmetic of affine (linear) quantization: how a range becomes a scale and a zero point, and how a
// number becomes a code. value = (code - zero_point) * scale.
#ifndef TESSERA_CORE_AFFINE_H_
#define TESSERA_CORE_AFFINE_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tessera/core/dtype.h"
#include "tessera/core/quantized.h"

namespace tessera {

// The least interval that contains 0 and the finite ones of some numbers: NaN and infinities do not count.
struct ValueRange {
  float min = 0, max = 0;

  constexpr void include(float x) {
    constexpr float kLargest = std::numeric_limits<float>::max();
    const float finite = x >= -kLargest && x <= kLargest ? x : 0;
    min = finite < min ? finite : min;
    max = finite > max ? finite : max;
  }
  constexpr void include(const ValueRange& other) {
    include(other.min);
    include(other.max);
  }
  constexpr float absmax() const { return -min > max ? -min : max; }

  bool operator==(const ValueRange&) const = default;
};

// Where the zero of codes is.
enum class ZeroPoint : std::uint8_t {
  kZero,    // at 0: unsigned codes have no negative values
  kMiddle,  // at 0 of signed codes, at 2^(bits - 1) of unsigned ones
  kFree,    // where the range takes all codes
};

// The integers that codes are made of.
struct AffineFormat {
  int bits = 8;
  bool is_signed = true;
  ZeroPoint zero = ZeroPoint::kMiddle;
  // Around a fixed zero point, codes reach as far below it as above: -127..127 of 8 bits. Full: -128..127.
  bool full_range = false;

  // Where it is fixed.
  constexpr int zero_point() const {
    return zero == ZeroPoint::kMiddle && !is_signed ? 1 << (bits - 1) : 0;
  }
  constexpr int low() const {
    const int lowest = is_signed ? -(1 << (bits - 1)) : 0;
    const bool restricted = !full_range && zero != ZeroPoint::kFree && lowest < zero_point();
    return lowest + (restricted ? 1 : 0);
  }
  constexpr int high() const { return (1 << (is_signed ? bits - 1 : bits)) - 1; }
};

// Where scales and zero points come from.
enum class Scaling : std::uint8_t {
  kMinMax,   // the range of the elements
  kAbsMean,  // the mean of their magnitudes, for ternary codes
  kGiven,    // they are there already
};

// What tessera::quantize writes into a view: without zero points, zero is 0.
template <class Byte>
constexpr AffineFormat affine_format(const BasicGroupQuantizedView<Byte>& dst, Scaling scaling,
                                     bool symmetric, bool full_range) {
  const ZeroPoint zero = dst.zero_points == nullptr ? ZeroPoint::kZero
                         : symmetric                ? ZeroPoint::kMiddle
                                                    : ZeroPoint::kFree;
  return {dst.bits, dst.is_signed, zero, full_range && scaling != Scaling::kAbsMean};
}

struct AffineParams {
  float scale = 1;
  int zero_point = 0;

  bool operator==(const AffineParams&) const = default;
};

// A scale rounded to the type it is stored in (f32, f16, bf16), and 1 for 0. What would round to 0 or to
// infinity becomes the least positive or the largest finite value of the type.
inline float storable_scale(double scale, DType type) {
  if (scale == 0) return 1;
  const auto x = static_cast<float>(scale);
  const float stored = type == DType::kF16    ? static_cast<float>(f16(x))
                       : type == DType::kBF16 ? static_cast<float>(bf16(x))
                                              : x;
  if (stored == 0) {
    return type == DType::kF16 ? 0x1p-24f : type == DType::kBF16 ? 0x1p-133f : 0x1p-149f;
  }
  if (stored > std::numeric_limits<float>::max()) {
    return type == DType::kF16    ? 65504.0f
           : type == DType::kBF16 ? 0x1.fep127f
                                  : std::numeric_limits<float>::max();
  }
  return stored;
}

// The least scale for which no element of a range saturates between `low` and `high` around a fixed zero point:
// max(max / (high - zero_point), min / (low - zero_point)), in f64. Codes with no room below zero
// saturate there.
inline double fitting_scale(const ValueRange& range, int zero_point, int low, int high) {
  const double above = range.max / static_cast<double>(high - zero_point);
  const double below = low < zero_point ? range.min / static_cast<double>(low - zero_point) : 0;
  return above > below ? above : below;
}

// Scale and zero point for a range, the scale rounded as in storable_scale(). A fixed zero point:
// fitting_scale(). A free one: (max - min) / (high - low), and the zero point is low - min / scale, rounded to
// nearest, ties to even, with the scale as stored. An element of the range is half a scale away from the value
// of its code at most, but for what the rounding of the scale adds.
inline AffineParams affine_params(const ValueRange& range, const AffineFormat& format,
                                  DType scale_type = DType::kF32) {
  const int low = format.low(), high = format.high();
  if (format.zero != ZeroPoint::kFree) {
    const int zero_point = format.zero_point();
    return {storable_scale(fitting_scale(range, zero_point, low, high), scale_type), zero_point};
  }
  const double width = static_cast<double>(range.max) - static_cast<double>(range.min);
  const float scale = storable_scale(width / (high - low), scale_type);
  const double zero_point = std::nearbyint(low - range.min / static_cast<double>(scale));
  return {scale, static_cast<int>(std::clamp<double>(zero_point, low, high))};
}

// The code of x: round(x / scale) + zero_point, the quotient in f32, ties to even, saturated to low..high. NaN
// becomes the code of 0. Bounds and zero point are of 16 bits at most.
constexpr int affine_code(float x, float scale, int zero_point, int low, int high) {
  const float quotient = x / scale;
  const float number = quotient == quotient ? quotient : 0;
  const auto least = static_cast<float>(low - zero_point);
  const auto most = static_cast<float>(high - zero_point);
  const float raised = number > least ? number : least;
  const float bounded = raised < most ? raised : most;
  // Around 1.5 * 2^23 floats are integers: the sum is rounded, and its bits count them. Loops over this are
  // vectorized, those over std::nearbyint only where it is an instruction.
  constexpr float kShift = 0x1.8p23f;
  return std::bit_cast<std::int32_t>(bounded + kShift) - std::bit_cast<std::int32_t>(kShift) +
         zero_point;
}

}  // namespace tessera

#endif  // TESSERA_CORE_AFFINE_H_
