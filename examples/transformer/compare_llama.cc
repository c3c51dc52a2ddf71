// SPDX-License-Identifier: Apache-2.0
// The decoder beside libllama, on the same files: tokens of texts, logits, generated tokens; and with --speed how fast.
//
// compare_llama [--speed] FILE.gguf...    Exits with 77, for ctest a skipped test, where there is no libllama.
#include <cstdio>

#if !__has_include(<llama.h>)

int main() {
  std::printf("transformer beside libllama: skipped, compiled without llama.h\n");
  return 77;
}

#else

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "decoder.h"
#include "llama_library.h"
#include "tokenizer.h"

namespace transformer {
namespace {

using Tokens = std::vector<std::int32_t>;

// Some tokens of the vocabulary, without the special ones.
Tokens some_tokens(std::size_t count, index_t vocabulary) {
  Tokens tokens = {1};
  std::uint32_t state = 1;
  while (tokens.size() < count) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<std::int32_t>(3 + (state >> 8) % (vocabulary - 3)));
  }
  return tokens;
}

std::int32_t most_likely(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The model of a file in all that is compared.
class Case {
 public:
  Case(const LlamaFunctions& functions, const std::filesystem::path& path)
      : functions_(functions), path_(path), file_(path), model_(file_, context_) {}

  // Returns whether all is as it should be.
  bool compare() {
    bool good = same_tokens_of_texts();
    const double rounding = 0x1p-24, products = 4 * static_cast<double>(shape().layers) + 1;
    const Float* const floats = std::get_if<Float>(&model_.embeddings().type);
    // Of f32 both round sums only: u for each of the additions that follow one another. Of f16 and bf16 libllama rounds
    // what they are multiplied with to the same type: u of that for each of the products.
    double bound = rounding * sums();
    if (floats != nullptr && *floats == Float::kF16) bound += 0x1p-11 * products;
    if (floats != nullptr && *floats == Float::kBF16) bound += 0x1p-8 * products;
    const Tokens tokens = some_tokens(48, shape().vocabulary);
    const std::vector<float> ours = logits(tokens, false), theirs = logits_of_llama(tokens);
    // Of blocks libllama rounds what they are multiplied with to integers of 8 bits, as we do if told to: it may be as
    // far away, in another direction.
    const std::vector<float> integers = floats == nullptr ? logits(tokens, true) : ours;
    const double in_integers = distance(integers, ours);
    bound += 2 * in_integers;
    const double error = distance(theirs, ours);
    good = good && error <= bound;
    std::printf("%-24s logits off by %.2e (at most %.2e)", path_.filename().c_str(), error, bound);
    if (in_integers > 0) {
      std::printf(", ours in integers by %.2e, from theirs by %.2e", in_integers,
                  distance(integers, theirs));
    }
    if (floats != nullptr && *floats == Float::kF32) {
      good = small_errors_of_caches(tokens, ours) && good;
      const Tokens expected = generated_by_llama(tokens), got = generated(tokens);
      const auto [at, other] = std::mismatch(got.begin(), got.end(), expected.begin());
      std::printf(", %td of %zu generated tokens are the same", at - got.begin(), got.size());
      good = good && at == got.end();
    }
    std::printf("%s\n", good ? "" : ": FAILED");
    return good;
  }

  void compare_speed() {
    std::printf("%s, tokens per second on one thread:\n", path_.filename().c_str());
    constexpr std::uint32_t kContext = 1024;
    Llama llama(functions_, path_, kContext, GGML_TYPE_F16);
    const DecoderOptions options{.context = kContext, .cache = Float::kF16};
    Decoder floats(model_, options, context_);
    DecoderOptions in_integers = options;
    in_integers.in_integers = true;
    Decoder integers(model_, in_integers, context_);
    const bool has_blocks = std::holds_alternative<ts::BlockFormat>(model_.embeddings().type);

    const auto play = [&](const char* what, std::size_t tokens, auto&& add) {
      tessera::bench::RoundRobin game(tessera::bench::process_seconds);
      add(game, [&](auto run) { return [&llama, run] { run(llama); }; });
      add(game, [&](auto run) { return [&floats, run] { run(floats); }; });
      if (has_blocks) add(game, [&](auto run) { return [&integers, run] { run(integers); }; });
      for (int round = 0; round < 5; ++round) game.round();
      const auto rate = [&](std::size_t who) {
        return static_cast<double>(tokens) / game.seconds(who);
      };
      std::printf("  %-20s libllama %8.1f, Tessera %8.1f (%.2f x)", what, rate(0), rate(1),
                  game.speed_ratio(1, 0));
      if (has_blocks) {
        std::printf(", with int8 activations %8.1f (%.2f x)", rate(2), game.speed_ratio(2, 0));
      }
      std::printf("\n");
    };
    for (const std::size_t count : {128, 512}) {
      const Tokens prompt = some_tokens(count, shape().vocabulary);
      play(("prompt of " + std::to_string(count)).c_str(), count, [&](auto& game, auto&& with) {
        game.add_after(with([](auto& who) { who.clear(); }), with([prompt](auto& who) {
                         who.clear();  // the first call comes without the one before
                         who.run(prompt, 1);
                       }));
      });
    }
    constexpr std::size_t kPredicted = 32;
    const Tokens prompt = some_tokens(128, shape().vocabulary);
    play("32 behind 128", kPredicted, [&](auto& game, auto&& with) {
      game.add_after(with([prompt](auto& who) {
                       who.clear();
                       who.run(prompt, 1);
                     }),
                     with([prompt](auto& who) {
                       for (std::size_t i = 0; i < kPredicted; ++i)
                         who.run(std::span(prompt).subspan(i, 1), 1);
                     }));
    });
  }

 private:
  const Shape& shape() const { return model_.shape(); }

  // How many additions follow one another from a token to its logits.
  double sums() const {
    const Shape& s = shape();
    const index_t layer =
        s.embedding + s.head_size + s.heads * s.head_size + s.embedding + s.feed_forward;
    return static_cast<double>(s.layers * layer + s.embedding);
  }

  bool same_tokens_of_texts() const {
    const Tokenizer tokenizer(file_);
    Llama llama(functions_, path_, 64, GGML_TYPE_F32);
    for (const std::string text :
         {"the art of small hints", "", " ", "  two  spaces ", "x", "a\nb\tc",
          "na\xc3\xafve \xe2\x82\xac\xf0\x9f\x98\x80!", "Ununderstandable, isn't it? 3.14159",
          "\xe2\x96\x81 itself", "\xff\xfe"}) {
      if (tokenizer.encode(text) == llama.encode(text)) continue;
      std::printf("FAILED: other tokens of \"%s\"\n", text.c_str());
      return false;
    }
    return true;
  }

  // What rounding keys and values changes: about u for either, in each layer. Q8_0 rounds to 254ths of the largest of 32.
  bool small_errors_of_caches(const Tokens& tokens, const std::vector<float>& exact) {
    bool good = true;
    const auto check = [&](const TensorType& cache, double u) {
      const double error = distance(logits(tokens, false, cache), exact);
      std::printf(", %.2e in a cache of %s", error, std::string(name(cache)).c_str());
      good = good && error > 0 && error <= 2 * u * static_cast<double>(shape().layers);
    };
    check(Float::kF16, 0x1p-11);
    check(ts::BlockFormat::kQ8_0, 0x1p-7);
    return good;
  }

  // Of all tokens.
  std::vector<float> logits(const Tokens& tokens, bool in_integers,
                            const TensorType& cache = Float::kF32) {
    Decoder decoder(model_, {.context = 64, .cache = cache, .in_integers = in_integers}, context_);
    const ts::View<const float, 2> result =
        decoder.run(tokens, static_cast<index_t>(tokens.size()));
    return {result.data, result.data + result.extent(0) * result.extent(1)};
  }
  std::vector<float> logits_of_llama(const Tokens& tokens) const {
    Llama llama(functions_, path_, 64, GGML_TYPE_F32);
    llama.run(tokens, tokens.size());
    std::vector<float> result;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::span<const float> row = llama.logits(i);
      result.insert(result.end(), row.begin(), row.end());
    }
    return result;
  }

  // The largest Euclidean distance of the logits of a token, relative to their length.
  double distance(const std::vector<float>& x, const std::vector<float>& y) const {
    const auto vocabulary = static_cast<std::size_t>(shape().vocabulary);
    double most = 0;
    for (std::size_t at = 0; at < y.size(); at += vocabulary) {
      double off = 0, length = 0;
      for (std::size_t i = at; i < at + vocabulary; ++i) {
        const double a = static_cast<double>(x[i]), b = static_cast<double>(y[i]);
        off += (a - b) * (a - b);
        length += b * b;
      }
      most = std::max(most, std::sqrt(off / length));
      if (!(off >= 0)) return INFINITY;  // NaN
    }
    return most;
  }

  static constexpr int kGenerated = 16;

  Tokens generated(const Tokens& prompt) {
    Decoder decoder(model_, {.context = 64, .cache = Float::kF32}, context_);
    ts::View<const float, 2> logits = decoder.run(prompt, 1);
    Tokens tokens;
    while (tokens.size() < kGenerated) {
      tokens.push_back(most_likely({logits.data, static_cast<std::size_t>(logits.extent(1))}));
      logits = decoder.run({&tokens.back(), 1}, 1);
    }
    return tokens;
  }
  Tokens generated_by_llama(const Tokens& prompt) const {
    Llama llama(functions_, path_, 64, GGML_TYPE_F32);
    llama.run(prompt, 1);
    Tokens tokens = {most_likely(llama.logits(prompt.size() - 1))};
    while (tokens.size() < kGenerated) {
      llama.run({&tokens.back(), 1}, 1);
      tokens.push_back(most_likely(llama.logits(0)));
    }
    return tokens;
  }

  const LlamaFunctions& functions_;
  const std::filesystem::path path_;
  ts::Context context_{};
  const Gguf file_;
  const Model model_;
};

int run(char** argument) {
  std::string why;
  const LlamaFunctions* const functions = find_llama(why);
  if (functions == nullptr) {
    std::printf("transformer beside libllama: skipped, %s\n", why.c_str());
    return 77;
  }
  bool speed = false;
  int failures = 0;
  for (; *argument != nullptr; ++argument) {
    if (std::strcmp(*argument, "--speed") == 0) {
      speed = true;
    } else if (Case file(*functions, *argument); speed) {
      file.compare_speed();
    } else {
      failures += file.compare() ? 0 : 1;
    }
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace transformer

int main(int, char** argv) {
  try {
    return transformer::run(argv + 1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "compare_llama: %s\n", error.what());
  }
  return 1;
}

#endif
