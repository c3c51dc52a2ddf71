// SPDX-License-Identifier: Apache-2.0
// Photographs: read, drawn into, written.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_IMAGE_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace faces {

// 8-bit RGB, row by row.
struct Image {
  std::ptrdiff_t width = 0, height = 0;
  std::vector<std::uint8_t> pixels{};  // [height, width, 3]
};

// A rectangle in pixels, and how sure a network is that it is a face.
struct Face {
  double score, left, top, right, bottom;
};

// A JPEG, a PNG or a binary PPM, told apart by its first bytes. Alpha is dropped; orientation in EXIF is ignored.
Image read_image(const std::filesystem::path& path);

void write_png(const Image& image, const std::filesystem::path& path);

// The part of the image that is the face, at least one pixel; corner, width and height are rounded down.
Image crop(const Image& image, const Face& face);

// Left and right exchanged.
Image mirrored(const Image& image);

// A frame around the face.
void draw(const Face& face, Image& image);

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_IMAGE_H_
