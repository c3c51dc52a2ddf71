// SPDX-License-Identifier: Apache-2.0
// The command line of transformer.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_OPTIONS_H_
#define TESSERA_EXAMPLES_TRANSFORMER_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "generator.h"
#include "gguf.h"

namespace transformer {

extern const char kUsage[];

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::filesystem::path file{};
  bool generates = false;
  GeneratorOptions generator{};

  std::string prompt = "the art of small hints";
  std::optional<std::vector<std::int32_t>> tokens{};  // in place of the prompt
  index_t predict = 32;
  index_t chunk = 512;  // tokens of the prompt in one run
  index_t context = 0;  // 0: as many as are needed
  TensorType cache = Float::kF16;
  bool in_integers = false, all_logits = false, times = false, help = false;
  std::size_t threads = 1;
};

// Of a list that ends with a null pointer. Throws UsageError.
Options parse_options(char** argument);

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_OPTIONS_H_
