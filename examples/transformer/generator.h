// SPDX-License-Identifier: Apache-2.0
// Files of models with random weights: the same bytes for the same options, on every machine.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_GENERATOR_H_
#define TESSERA_EXAMPLES_TRANSFORMER_GENERATOR_H_

#include <filesystem>
#include <string>

#include "gguf.h"
#include "tessera/core/context.h"

namespace transformer {

struct GeneratorOptions {
  std::string architecture = "qwen3";  // or llama, qwen2
  std::string size = "tiny";           // or small
  TensorType type = Float::kF32;       // of all matrices but those that choose experts
  bool mixture = false;                // of experts: llama, qwen3
};

// Weights are about normal, scaled so that activations keep their size and logits have a deviation of 3. The vocabulary:
// bytes, printable characters, and pieces of two and three letters. Throws std::runtime_error.
void generate(const std::filesystem::path& path, const GeneratorOptions& options,
              ts::Context& context);

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_GENERATOR_H_
