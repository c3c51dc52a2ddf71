// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <charconv>
#include <string_view>
#include <system_error>

namespace faces {

const char kUsage[] =
    "usage: face_detection [options] [photograph...]\n"
    "  photograph      JPEG, PNG or PPM; default: the samples of the models' package\n"
    "  --model NAME    tiny (default) or ssd\n"
    "  --type T        of weights and activations: f32 (default), or s8 and u8 for s8\n"
    "  --min-score S   of a face, above 0 and below 1 (0.5)\n"
    "  --recognize     tells which faces are of one person\n"
    "  --draw DIR      writes each photograph with its faces to DIR, as PNG\n"
    "  --times         time and GFLOP/s of each layer, in f32 the share of what the cores can do\n"
    "  --threads N     (1)\n"
    "TESSERA_TARGET=name in the environment chooses the instruction set.\n";

Options parse_options(char** argument) {
  Options options;
  while (*argument != nullptr) {
    const std::string_view option = *argument++;
    const auto value = [&]() -> std::string_view {
      if (*argument == nullptr) throw UsageError(std::string(option) + " takes a value");
      return *argument++;
    };
    const auto number = [&](auto& result) {
      const std::string_view text = value();
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
      return error == std::errc() && end == text.data() + text.size();
    };
    if (option == "--help" || option == "-h") {
      options.help = true;
    } else if (option == "--recognize") {
      options.recognize = true;
    } else if (option == "--times") {
      options.times = true;
    } else if (option == "--model") {
      options.model = value();
    } else if (option == "--type") {
      options.type = value();
      if (options.type != "f32" && options.type != "s8") throw UsageError("--type takes f32 or s8");
    } else if (option == "--draw") {
      options.draw = value();
    } else if (option == "--min-score") {
      if (!number(options.min_score) || !(options.min_score > 0 && options.min_score < 1)) {
        throw UsageError("--min-score takes a number above 0 and below 1");
      }
    } else if (option == "--threads") {
      if (!number(options.threads) || options.threads < 1 || options.threads > 256) {
        throw UsageError("--threads takes a number from 1 to 256");
      }
    } else if (option.starts_with("-")) {
      throw UsageError("unknown option " + std::string(option));
    } else {
      options.photographs.emplace_back(option);
    }
  }
  return options;
}

}  // namespace faces
