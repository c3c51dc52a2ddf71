// SPDX-License-Identifier: Apache-2.0
// Where the blocks of a convolution find their input: in x as it lies, or in a strip, the part of x that a block
// needs, copied into scratch with its padding, in the type and the order that the kernels want.
#ifndef TESSERA_OPS_CONV_STRIP_H_
#define TESSERA_OPS_CONV_STRIP_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tessera/kernels/gemm_kernels.h"
#include "tessera/ops/conv_geometry.h"
#include "tessera/ops/conv_problem.h"
#include "tessera/ops/gemm_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

// How kernels want the channels of a pixel: `groups` times `in` of them, each group padded to `in_padded`, each channel
// `repeat` times. Positions and strides of strips count such parts.
struct StripFormat {
  const GemmKernels* kernels;  // their convert_a
  index_t groups, in, in_padded;
  index_t repeat = 1;

  index_t pixel() const { return groups * in_padded * repeat; }
  // What is added to an element of x to make a part of 8 bits.
  int shift(DType x) const {
    if (kernels->part_bytes != 1 || kernels->a_any_sign) return 0;
    const bool is_unsigned = x == DType::kU8;
    return is_unsigned == kernels->a_unsigned ? 0 : kernels->a_unsigned ? 128 : -128;
  }
};

// The outputs [h, h + height) x [w, w + width) of one image and depth.
struct PixelBlock {
  index_t n, d, h, w;
  index_t height, width;
  index_t pixels() const { return height * width; }
};

// From one tap, row, pixel of the outputs to the next, in parts.
struct StripStrides {
  Spatial tap;
  index_t row, pixel;
};

class ConvStrip {
 public:
  ConvStrip(const ConvProblem& p, const ConvPhase& phase, const StripFormat& format)
      : p_(p), phase_(phase), format_(format), part_bytes_(format.kernels->part_bytes) {
    for (std::size_t i = 0; i < 3; ++i) {
      steps_[i] = std::min(phase.axes[i].in_step, std::max<index_t>(phase.axes[i].span(), 1));
    }
  }

  // Can kernels read pixels of x as they lie?
  bool reads_in_place() const {
    const GemmKernels& kernels = *format_.kernels;
    if (size_of(p_.x.dtype) != part_bytes_ || is_narrow(p_.x.dtype)) return false;
    if (format_.shift(p_.x.dtype) != 0 || format_.repeat != 1) return false;
    if (p_.x.strides[4] != 1 || format_.in_padded != format_.in) return false;
    for (std::size_t i = 0; i < 4; ++i) {
      if (p_.x.strides[i] % kernels.group != 0) return false;
    }
    const index_t alignment =
        kernels.row_alignment > 0 ? kernels.row_alignment : kernels.element_bytes;
    return reinterpret_cast<std::uintptr_t>(p_.x.data) % static_cast<std::uintptr_t>(alignment) ==
           0;
  }
  bool is_padded() const {
    for (std::size_t i = 0; i < 3; ++i) {
      if (axis(i).is_padded(p_.x.extents[i + 1])) return true;
    }
    return false;
  }

  StripStrides strides_in_place() const {
    const auto& s = p_.x.strides;
    StripStrides strides{};
    for (std::size_t i = 0; i < 3; ++i) strides.tap[i] = axis(i).dilation * s[i + 1];
    strides.row = axis(1).in_step * s[2];
    strides.pixel = axis(2).in_step * s[3];
    return strides;
  }
  // What the first tap of a block's first output reads in x.
  const std::byte* place_in_x(const PixelBlock& b) const {
    const auto& s = p_.x.strides;
    const index_t at = b.n * s[0] + (axis(0).in + b.d * axis(0).in_step) * s[1] +
                       (axis(1).in + b.h * axis(1).in_step) * s[2] +
                       (axis(2).in + b.w * axis(2).in_step) * s[3];
    return offset(p_.x.data, at * part_bytes_);
  }

  // Of a strip for blocks of at most `height` x `width` outputs.
  StripStrides strides(index_t height, index_t width) const {
    const index_t pixel = format_.pixel(), row = extent(2, width) * pixel;
    return {{extent(1, height) * row, axis(1).dilation * row, axis(2).dilation * pixel},
            steps_[1] * row,
            steps_[2] * pixel};
  }
  index_t bytes(index_t height, index_t width) const {
    return axis(0).taps * extent(1, height) * extent(2, width) * format_.pixel() * part_bytes_;
  }

  // The strip of a block; `height` and `width` as in strides().
  void fill(const PixelBlock& b, index_t height, index_t width, std::byte* strip) const {
    const index_t row_bytes = extent(2, width) * format_.pixel() * part_bytes_;
    const index_t rows = extent(1, height), pixels = extent(2, b.width);
    for (index_t t = 0; t < axis(0).taps; ++t) {
      const index_t d = axis(0).in + b.d * axis(0).in_step + t * axis(0).dilation;
      for (index_t r = 0; r < extent(1, b.height); ++r) {
        fill_row(b, d, position(1, b.h, r), pixels, strip + (t * rows + r) * row_bytes);
      }
    }
  }

 private:
  const ConvAxis& axis(std::size_t i) const { return phase_.axes[i]; }

  // Elements of a strip along an axis. Where strides leave gaps between the taps of an output and those of the next,
  // a strip does not have them.
  index_t extent(std::size_t i, index_t outputs) const {
    return outputs <= 0 || axis(i).taps == 0 ? 0 : (outputs - 1) * steps_[i] + axis(i).span();
  }
  // The position in x of element `r` of a strip that begins with output `o`.
  index_t position(std::size_t i, index_t o, index_t r) const {
    const ConvAxis& a = axis(i);
    const index_t span = a.span();
    if (a.in_step <= span) return a.in + o * a.in_step + r;
    return a.in + (o + r / span) * a.in_step + r % span;
  }

  // `n` pixels along w.
  void fill_row(const PixelBlock& b, index_t d, index_t h, index_t n, std::byte* to) const {
    const index_t pixel_bytes = format_.pixel() * part_bytes_, size = size_of(p_.x.dtype);
    const auto& x = p_.x;
    if (d < 0 || d >= x.extents[1] || h < 0 || h >= x.extents[2]) return fill_zeros(to, n);
    const std::byte* const row =
        offset(x.data, (b.n * x.strides[0] + d * x.strides[1] + h * x.strides[2]) * size);
    // Consecutive positions: the whole row, or a span for each output.
    const index_t run = axis(2).in_step <= axis(2).span() ? n : axis(2).span();
    for (index_t r = 0; r < n; r += run) {
      const index_t w = position(2, b.w, r), length = std::min(run, n - r);
      const index_t before = std::clamp<index_t>(-w, 0, length);
      const index_t after = std::clamp<index_t>(w + length - x.extents[3], 0, length - before);
      const index_t inside = length - before - after;
      std::byte* const at = to + r * pixel_bytes;
      fill_zeros(at, before);
      if (inside > 0) {
        copy_pixels(row + (w + before) * x.strides[3] * size, inside, at + before * pixel_bytes);
      }
      fill_zeros(at + (length - after) * pixel_bytes, after);
    }
  }

  void fill_zeros(std::byte* to, index_t pixels) const {
    const int value = part_bytes_ == 1 ? p_.x_zero_point + format_.shift(p_.x.dtype) : 0;
    std::memset(to, value, static_cast<std::size_t>(pixels * format_.pixel() * part_bytes_));
  }

  void convert(const std::byte* from, index_t stride, std::byte* to, index_t n) const {
    format_.kernels->convert_a(p_.x.dtype, from, stride, to, n, p_.x_zero_point);
  }

  void copy_pixels(const std::byte* from, index_t n, std::byte* to) const {
    const auto& s = p_.x.strides;
    const index_t channels = p_.x.extents[4];
    const bool dense = format_.in_padded == format_.in && format_.repeat == 1;
    if (dense && s[4] == 1 && s[3] == channels) return convert(from, 1, to, n * channels);
    // Channels first, in floats: a transposition.
    const bool words = format_.kernels->part_bytes == format_.kernels->element_bytes;
    if (dense && words && type_of_sums(p_.x.dtype) == DType::kF32 && s[4] != 1) {
      return format_.kernels->pack_a({from, p_.x.dtype, s[4], s[3], channels, n, 1, to, channels});
    }
    if (format_.repeat == 1 && s[4] == 1 && s[3] == channels &&
        channels * part_bytes_ <= kLineBytes) {
      return spread_pixels(from, n, to);
    }
    for (index_t i = 0; i < n; ++i)
      copy_pixel(offset(from, i * s[3] * size_of(p_.x.dtype)),
                 to + i * format_.pixel() * part_bytes_);
  }

  // Dense pixels whose groups are to be padded: converted many at a time, then spread.
  void spread_pixels(const std::byte* from, index_t n, std::byte* to) const {
    const index_t channels = p_.x.extents[4], size = size_of(p_.x.dtype);
    const index_t used = format_.in * part_bytes_, whole = format_.in_padded * part_bytes_;
    const index_t most = kLineBytes / (channels * part_bytes_);
    std::byte line[kLineBytes];
    for (index_t i = 0; i < n; i += most) {
      const index_t count = std::min(most, n - i);
      convert(from + i * channels * size, 1, line, count * channels);
      const std::byte* part = line;
      for (index_t g = 0; g < count * format_.groups; ++g, to += whole) {
        for (index_t j = 0; j < used; ++j) to[j] = *part++;
        // Meets weights of zero: any value, but not what was in the memory before.
        for (index_t j = used; j < whole; ++j) to[j] = std::byte{0};
      }
    }
  }

  void copy_pixel(const std::byte* from, std::byte* to) const {
    const index_t stride = p_.x.strides[4], size = size_of(p_.x.dtype);
    if (format_.repeat > 1) {
      for (index_t i = 0; i < format_.groups * format_.in; ++i) {
        for (index_t r = 0; r < format_.repeat; ++r, to += part_bytes_) {
          convert(from + i * stride * size, 1, to, 1);
        }
      }
      return;
    }
    const bool dense = format_.in_padded == format_.in;
    const index_t groups = dense ? 1 : format_.groups;
    const index_t in = dense ? format_.groups * format_.in : format_.in;
    const index_t filling = dense ? 0 : format_.in_padded - in;
    for (index_t g = 0; g < groups; ++g) {
      convert(from + g * in * stride * size, stride, to, in);
      to += in * part_bytes_;
      // Meets weights of zero: any value, but not what was in the memory before.
      std::memset(to, 0, static_cast<std::size_t>(filling * part_bytes_));
      to += filling * part_bytes_;
    }
  }

  static constexpr index_t kLineBytes = 1024;

  const ConvProblem& p_;
  const ConvPhase& phase_;
  StripFormat format_;
  index_t part_bytes_;
  Spatial steps_{};  // from one output to the next
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_STRIP_H_
