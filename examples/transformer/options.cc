// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <charconv>
#include <string_view>
#include <system_error>

namespace transformer {

const char kUsage[] =
    "usage: transformer [options] FILE.gguf\n"
    "  --prompt TEXT        to go on from\n"
    "  --tokens 1,2,3       the same as numbers of tokens; their numbers are printed, too\n"
    "  --predict N          tokens to generate, each the most likely one (32)\n"
    "  --chunk N            tokens of the prompt in one run (512)\n"
    "  --context N          tokens that there is room for (as many as are needed)\n"
    "  --cache T            of keys and values: f32, f16 (default), bf16, q8_0, ...\n"
    "  --activations T      multiplied with weights in blocks: float (default) or int8\n"
    "  --all-logits         of each token of the prompt, not only of the last; for the digest\n"
    "  --times              time of each kind of step, and the share of the bandwidth of reading\n"
    "  --threads N          (1)\n"
    "usage: transformer --generate [options] FILE.gguf    random weights\n"
    "  --type T             f32 (default), f16, bf16, q8_0, q4_0, q4_K, q6_K, ...\n"
    "  --size S             tiny (default) or small\n"
    "  --architecture A     qwen3 (default), qwen2 or llama\n"
    "  --moe                a mixture of experts\n"
    "TESSERA_TARGET=name in the environment chooses the instruction set.\n";

namespace {

TensorType type_of(std::string_view option, std::string_view name) {
  const std::optional<TensorType> type = tensor_type(name);
  if (!type) {
    throw UsageError(std::string(option) + ": no type " + std::string(name) +
                     " that both GGUF and Tessera have");
  }
  return *type;
}

bool parse(std::string_view text, auto& result) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::int32_t> numbers(std::string_view list) {
  std::vector<std::int32_t> result;
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::int32_t number = 0;
    if (!parse(list.substr(0, comma), number))
      throw UsageError("--tokens takes numbers, with commas");
    result.push_back(number);
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return result;
}

}  // namespace

Options parse_options(char** argument) {
  Options options;
  while (*argument != nullptr) {
    const std::string_view option = *argument++;
    const auto value = [&]() -> std::string_view {
      if (*argument == nullptr) throw UsageError(std::string(option) + " takes a value");
      return *argument++;
    };
    const auto number = [&](auto& result, index_t least, index_t most) {
      index_t n = 0;
      if (!parse(value(), n) || n < least || n > most) {
        throw UsageError(std::string(option) + " takes a number from " + std::to_string(least) +
                         " to " + std::to_string(most));
      }
      result = static_cast<std::remove_reference_t<decltype(result)>>(n);
    };
    if (option == "--help" || option == "-h") {
      options.help = true;
    } else if (option == "--generate") {
      options.generates = true;
    } else if (option == "--type") {
      options.generator.type = type_of(option, value());
    } else if (option == "--size") {
      options.generator.size = value();
    } else if (option == "--architecture") {
      options.generator.architecture = value();
    } else if (option == "--moe") {
      options.generator.mixture = true;
    } else if (option == "--prompt") {
      options.prompt = value();
    } else if (option == "--tokens") {
      options.tokens = numbers(value());
    } else if (option == "--predict") {
      number(options.predict, 0, 1 << 20);
    } else if (option == "--chunk") {
      number(options.chunk, 1, 1 << 20);
    } else if (option == "--context") {
      number(options.context, 1, 1 << 20);
    } else if (option == "--cache") {
      options.cache = type_of(option, value());
    } else if (option == "--activations") {
      const std::string_view type = value();
      if (type != "float" && type != "int8") throw UsageError("--activations takes float or int8");
      options.in_integers = type == "int8";
    } else if (option == "--all-logits") {
      options.all_logits = true;
    } else if (option == "--times") {
      options.times = true;
    } else if (option == "--threads") {
      number(options.threads, 1, 256);
    } else if (option.starts_with("-")) {
      throw UsageError("unknown option " + std::string(option));
    } else if (!options.file.empty()) {
      throw UsageError("one file, please");
    } else {
      options.file = option;
    }
  }
  if (options.file.empty() && !options.help) throw UsageError("no file");
  return options;
}

}  // namespace transformer
