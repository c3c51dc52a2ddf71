// SPDX-License-Identifier: Apache-2.0
// The specification of resizing images, as loops, and which pixels an image is made of.
#ifndef TESSERA_REF_RESIZE_H_
#define TESSERA_REF_RESIZE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera {

// Where pixel i of `to` pixels lies among `from` pixels, by the names of ONNX; with scale = from / to:
//   kHalfPixel      (i + 1/2) * scale - 1/2: pixels are areas. OpenCV, Pillow, PyTorch by default
//   kAlignCorners   i * (from - 1) / (to - 1), 0 if to is 1: first and last pixels coincide
//   kAsymmetric     i * scale: first pixels coincide
enum class Coordinates : std::uint8_t { kHalfPixel, kAlignCorners, kAsymmetric };

// The pixel next to a coordinate, by the names of ONNX: ties of the first two go down and up.
enum class NearestPixel : std::uint8_t { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };

}  // namespace tessera

namespace tessera::ref {

// A coordinate as the fraction that it is: rounding can't choose another pixel on another machine.
struct Coordinate {
  std::int64_t numerator, denominator;
};

constexpr Coordinate coordinate_of(index_t i, index_t from, index_t to, Coordinates mode) {
  switch (mode) {
    case Coordinates::kHalfPixel:
      return {(2 * i + 1) * from - to, 2 * to};
    case Coordinates::kAlignCorners:
      return to == 1 ? Coordinate{0, 1} : Coordinate{i * (from - 1), to - 1};
    default:
      return {i * from, to};
  }
}

constexpr std::int64_t floor_of(const Coordinate& c) {
  const std::int64_t quotient = c.numerator / c.denominator;
  return quotient - (c.numerator % c.denominator < 0 ? 1 : 0);
}

constexpr index_t nearest_pixel(index_t i, index_t from, index_t to, Coordinates mode,
                                NearestPixel nearest) {
  const Coordinate c = coordinate_of(i, from, to, mode);
  const std::int64_t down = floor_of(c), rest = c.numerator - down * c.denominator;
  bool up = false;
  switch (nearest) {
    case NearestPixel::kRoundPreferFloor:
      up = 2 * rest > c.denominator;
      break;
    case NearestPixel::kRoundPreferCeil:
      up = 2 * rest >= c.denominator;
      break;
    case NearestPixel::kFloor:
      break;
    case NearestPixel::kCeil:
      up = rest > 0;
      break;
  }
  return std::clamp<index_t>(static_cast<index_t>(down) + (up ? 1 : 0), 0, from - 1);
}

// A number between two pixels: (1 - weight) * first + weight * second.
struct Between {
  index_t first, second;
  float weight;  // of the second, below 1; if it is 0, second is first
};

constexpr Between between(index_t i, index_t from, index_t to, Coordinates mode) {
  const Coordinate c = coordinate_of(i, from, to, mode);
  const std::int64_t down = floor_of(c), rest = c.numerator - down * c.denominator;
  if (down < 0) return {0, 0, 0};
  if (down >= from - 1) return {from - 1, from - 1, 0};
  const auto weight =
      static_cast<float>(static_cast<double>(rest) / static_cast<double>(c.denominator));
  const auto first = static_cast<index_t>(down);
  // A fraction so close to 1 that it rounds to it: the second pixel.
  if (weight >= 1) return {first + 1, first + 1, 0};
  return {first, weight > 0 ? first + 1 : first, weight};
}

// first + weight * (second - first) as (1 - weight) * first + weight * second, each operation rounded to f32.
inline float interpolate(float first, float second, float weight) {
  if (weight == 0) return first;
  // volatile: a compiler may not make a fused multiply-add of these.
  const volatile float a = (1 - weight) * first, b = weight * second;
  return a + b;
}

// Exactly as tessera::resize_nearest2d.
template <class T>
void resize_nearest2d(const View<const T, 4>& x, const View<T, 4>& y, Coordinates mode,
                      NearestPixel nearest) {
  for (index_t n = 0; n < y.extent(0); ++n) {
    for (index_t h = 0; h < y.extent(1); ++h) {
      for (index_t w = 0; w < y.extent(2); ++w) {
        const index_t i = nearest_pixel(h, x.extent(1), y.extent(1), mode, nearest);
        const index_t j = nearest_pixel(w, x.extent(2), y.extent(2), mode, nearest);
        for (index_t c = 0; c < y.extent(3); ++c) y(n, h, w, c) = x(n, i, j, c);
      }
    }
  }
}

// Exactly as tessera::resize_bilinear2d.
template <class T>
void resize_bilinear2d(const View<const T, 4>& x, const View<T, 4>& y, Coordinates mode) {
  for (index_t n = 0; n < y.extent(0); ++n) {
    for (index_t h = 0; h < y.extent(1); ++h) {
      for (index_t w = 0; w < y.extent(2); ++w) {
        const Between i = between(h, x.extent(1), y.extent(1), mode);
        const Between j = between(w, x.extent(2), y.extent(2), mode);
        for (index_t c = 0; c < y.extent(3); ++c) {
          const auto value = [&](index_t row, index_t column) {
            return static_cast<float>(x(n, row, column, c));
          };
          const float top =
              interpolate(value(i.first, j.first), value(i.first, j.second), j.weight);
          const float bottom =
              interpolate(value(i.second, j.first), value(i.second, j.second), j.weight);
          const float result = interpolate(top, bottom, i.weight);
          if constexpr (std::is_integral_v<T>) {
            y(n, h, w, c) = static_cast<T>(std::nearbyint(result));
          } else {
            y(n, h, w, c) = static_cast<T>(result);
          }
        }
      }
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_RESIZE_H_
