// SPDX-License-Identifier: Apache-2.0
// The command line of face_detection.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_OPTIONS_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_OPTIONS_H_

#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace faces {

extern const char kUsage[];

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string model = "tiny", type = "f32", draw{};
  double min_score = 0.5;
  std::size_t threads = 1;
  bool recognize = false, times = false, help = false;
  std::vector<std::filesystem::path> photographs{};
};

// Of a list that ends with a null pointer. Throws UsageError.
Options parse_options(char** argument);

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_OPTIONS_H_
