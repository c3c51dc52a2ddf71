// SPDX-License-Identifier: Apache-2.0
#include "image.h"

#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../tfjs_model.h"

namespace faces {
namespace {

constexpr std::ptrdiff_t kMostPixels = 1 << 15;  // of a side

void set_size(Image& image, std::ptrdiff_t width, std::ptrdiff_t height) {
  if (width < 1 || height < 1 || width > kMostPixels || height > kMostPixels) {
    throw std::runtime_error("expected 1 to 32768 pixels each way, got " + std::to_string(width) +
                             " x " + std::to_string(height));
  }
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<std::size_t>(3 * width * height));
}

// libjpeg is C, and its way to report an error is a function that does not return: it may throw where libjpeg was built
// with unwind tables, as Debian's libraries are.
[[noreturn]] void fail_jpeg(j_common_ptr jpeg) {
  std::array<char, JMSG_LENGTH_MAX> text{};
  jpeg->err->format_message(jpeg, text.data());
  throw std::runtime_error(std::string("JPEG: ") + text.data());
}

Image read_jpeg(const tfjs::Bytes& bytes) {
  struct Decoder : jpeg_decompress_struct {
    jpeg_error_mgr errors{};
    Decoder() : jpeg_decompress_struct{} {
      err = jpeg_std_error(&errors);
      errors.error_exit = &fail_jpeg;
      jpeg_create_decompress(this);
    }
    ~Decoder() { jpeg_destroy_decompress(this); }
  } jpeg;
  jpeg_mem_src(&jpeg, bytes.data(), static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  // The results of these do not depend on the machine.
  jpeg.dct_method = JDCT_ISLOW;
  jpeg.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&jpeg);
  Image image;
  set_size(image, jpeg.output_width, jpeg.output_height);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = &image.pixels[std::size_t{3} * jpeg.output_scanline * jpeg.output_width];
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  return image;
}

Image read_png(const tfjs::Bytes& bytes) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  const auto fail = [&] { throw std::runtime_error(std::string("PNG: ") + png.message); };
  if (png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()) == 0) fail();
  png.format = PNG_FORMAT_RGB;
  Image image;
  set_size(image, png.width, png.height);
  if (png_image_finish_read(&png, nullptr, image.pixels.data(), 0, nullptr) == 0) fail();
  return image;
}

// "P6", width, height, 255, each behind white space, one more character of that, and the pixels.
Image read_ppm(const tfjs::Bytes& bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  text.remove_prefix(2);
  std::array<std::ptrdiff_t, 3> numbers{};
  for (std::ptrdiff_t& number : numbers) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) throw std::runtime_error("PPM: expected a number");
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  }
  if (numbers[2] != 255) throw std::runtime_error("PPM: expected a largest value of 255");
  Image image;
  set_size(image, numbers[0], numbers[1]);
  if (text.size() != image.pixels.size() + 1) {
    throw std::runtime_error("PPM: expected " + std::to_string(image.pixels.size()) + " bytes");
  }
  std::memcpy(image.pixels.data(), text.data() + 1, image.pixels.size());
  return image;
}

}  // namespace

Image read_image(const std::filesystem::path& path) {
  const tfjs::Bytes bytes = tfjs::read_file(path);
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 4));
  try {
    if (start.starts_with("\xff\xd8")) return read_jpeg(bytes);
    if (start == "\x89PNG") return read_png(bytes);
    if (start.starts_with("P6")) return read_ppm(bytes);
    throw std::runtime_error("expected a JPEG, a PNG or a PPM");
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

void write_png(const Image& image, const std::filesystem::path& path) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  png.flags = PNG_IMAGE_FLAG_FAST;
  if (png_image_write_to_file(&png, path.c_str(), 0, image.pixels.data(), 0, nullptr) == 0) {
    throw std::runtime_error(path.string() + ": " + png.message);
  }
}

Image crop(const Image& image, const Face& face) {
  // Of an axis of n pixels: the first one, and how many.
  const auto range = [](double first, double last, std::ptrdiff_t n) {
    const auto begin = static_cast<std::ptrdiff_t>(std::clamp(std::floor(first), 0.0, n - 1.0));
    const auto count = static_cast<std::ptrdiff_t>(std::floor(last - std::max(first, 0.0)));
    return std::pair(begin, std::clamp<std::ptrdiff_t>(count, 1, n - begin));
  };
  const auto [left, width] = range(face.left, face.right, image.width);
  const auto [top, height] = range(face.top, face.bottom, image.height);
  Image part{.width = width, .height = height};
  for (std::ptrdiff_t y = top; y < top + height; ++y) {
    const auto row = image.pixels.begin() + 3 * (y * image.width + left);
    part.pixels.insert(part.pixels.end(), row, row + 3 * width);
  }
  return part;
}

Image mirrored(const Image& image) {
  Image result = image;
  const auto at = [&](std::ptrdiff_t y, std::ptrdiff_t x) { return 3 * (y * image.width + x); };
  for (std::ptrdiff_t y = 0; y < image.height; ++y) {
    for (std::ptrdiff_t x = 0; x < image.width; ++x) {
      std::copy_n(image.pixels.begin() + at(y, x), 3,
                  result.pixels.begin() + at(y, image.width - 1 - x));
    }
  }
  return result;
}

void draw(const Face& face, Image& image) {
  constexpr std::array<std::uint8_t, 3> kColor = {64, 255, 64};
  const double thick = 2 + static_cast<double>(std::max(image.width, image.height)) / 500;
  const auto bound = [](double x, std::ptrdiff_t end) {
    return static_cast<std::ptrdiff_t>(std::clamp(std::round(x), 0.0, static_cast<double>(end)));
  };
  const auto fill = [&](double left, double top, double right, double bottom) {
    const std::ptrdiff_t x0 = bound(left, image.width), x1 = bound(right, image.width);
    for (std::ptrdiff_t y = bound(top, image.height); y < bound(bottom, image.height); ++y) {
      for (std::ptrdiff_t x = x0; x < x1; ++x) {
        std::copy(kColor.begin(), kColor.end(),
                  &image.pixels[static_cast<std::size_t>(3 * (y * image.width + x))]);
      }
    }
  };
  fill(face.left, face.top, face.right, face.top + thick);
  fill(face.left, face.bottom - thick, face.right, face.bottom);
  fill(face.left, face.top, face.left + thick, face.bottom);
  fill(face.right - thick, face.top, face.right, face.bottom);
}

}  // namespace faces
