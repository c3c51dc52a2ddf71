// SPDX-License-Identifier: Apache-2.0
// Generates text with the model of a GGUF file; every operation is Tessera's. See README.md.
#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <vector>

#include "bench/peak.h"
#include "decoder.h"
#include "generator.h"
#include "gguf.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "model.h"
#include "options.h"
#include "tokenizer.h"

namespace transformer {
namespace {

// FNV-1a of 64 bits, of the bits of all numbers.
struct Digest {
  std::uint64_t value = 0xcbf29ce484222325u;
  void add(const ts::View<const float, 2>& x) {
    for (index_t i = 0; i < x.extent(0) * x.extent(1); ++i) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, x.data + i, sizeof bits);
      for (int shift = 0; shift < 32; shift += 8) {
        value = (value ^ (bits >> shift & 0xff)) * 0x100000001b3u;
      }
    }
  }
};

double seconds_of(auto&& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// GB/s of a loop that reads the tensors of the file on all threads: the best of a few.
double read_rate(std::span<const std::byte> data, const ts::Context& context) {
  const auto& probe = tessera::bench::peak_probe(ts::active_target());
  const index_t parts = context.executor.concurrency();
  const std::size_t each = data.size() / static_cast<std::size_t>(parts);
  double best = 1e30;
  for (int trial = 0; trial < 5; ++trial) {
    best = std::min(best, seconds_of([&] {
                      context.executor.parallel_for(parts, [&](index_t i) {
                        probe.read(data.data() + static_cast<std::size_t>(i) * each, each);
                      });
                    }));
  }
  return static_cast<double>(data.size()) / best * 1e-9;
}

void print_times(const char* what, const StepTimes& times, index_t tokens, double read_rate) {
  const StepTime all = times.all();
  std::printf("%s, per token\n  %-20s %9s %7s %9s %8s\n", what, "step", "us", "share", "GFLOP/s",
              "GB/s");
  const auto print = [&](const char* name, const StepTime& s) {
    if (s.seconds == 0) return;
    std::printf("  %-20s %9.1f %5.1f %%", name, s.seconds / static_cast<double>(tokens) * 1e6,
                100 * s.seconds / all.seconds);
    if (s.operations > 0) std::printf(" %9.1f", s.operations / s.seconds * 1e-9);
    if (s.bytes > 0) std::printf(" %8.2f", s.bytes / s.seconds * 1e-9);
    std::printf("\n");
  };
  for (std::size_t i = 0; i < kStepNames.size(); ++i) print(kStepNames[i], times[i]);
  print("all", all);
  if (read_rate > 0) {
    std::printf("  a loop that reads the file: %.2f GB/s, of which this is %.0f %%\n", read_rate,
                100 * all.bytes / all.seconds * 1e-9 / read_rate);
  }
}

Token most_likely(std::span<const float> logits) {
  return static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void print_rate(const char* what, index_t tokens, double seconds) {
  std::printf("%-14s %td tokens, %.1f per second\n", what, tokens,
              static_cast<double>(tokens) / seconds);
}

int run(const Options& options) {
  hwy::ThreadPool pool(options.threads);
  ts::Context context;
  if (options.threads > 1) context.executor = ts::Executor::from_pool(pool);
  if (options.generates) {
    generate(options.file, options.generator, context);
    return EXIT_SUCCESS;
  }
  const Gguf file(options.file);
  const Model model(file, context);
  std::optional<Tokenizer> tokenizer;
  std::vector<Token> tokens;
  if (options.tokens) {
    tokens = *options.tokens;
  } else {
    tokenizer.emplace(file);
    tokens = tokenizer->encode(options.prompt);
  }
  if (tokens.empty()) throw std::runtime_error("a prompt without tokens");
  const auto count = static_cast<index_t>(tokens.size());
  const index_t context_length = options.context > 0 ? options.context : count + options.predict;
  if (context_length > model.shape().context) {
    throw std::runtime_error("a context of " + std::to_string(context_length) +
                             " tokens: the model has " + std::to_string(model.shape().context));
  }
  Decoder decoder(
      model,
      {.context = context_length, .cache = options.cache, .in_integers = options.in_integers},
      context);

  Digest digest;
  Token next = 0;
  const auto append = [&](std::span<const Token> part, bool is_last) {
    const index_t wanted = options.all_logits ? static_cast<index_t>(part.size()) : is_last ? 1 : 0;
    const ts::View<const float, 2> logits = decoder.run(part, wanted);
    digest.add(logits);
    if (wanted == 0) return;
    const auto vocabulary = static_cast<std::size_t>(logits.extent(1));
    next = most_likely({&logits(wanted - 1, 0), vocabulary});
  };
  const auto print = [&](Token token) {
    if (tokenizer) {
      std::fputs(tokenizer->decode(token).c_str(), stdout);
    } else {
      std::printf("%d ", token);
    }
    std::fflush(stdout);
  };

  for (const Token token : tokens) print(token);
  const double prefill = seconds_of([&] {
    for (index_t at = 0; at < count; at += options.chunk) {
      const index_t size = std::min(options.chunk, count - at);
      append(
          std::span(tokens).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(size)),
          at + size == count);
    }
  });
  const StepTimes prefill_times = decoder.times();
  decoder.times() = {};
  index_t predicted = 0;
  const double decode = seconds_of([&] {
    for (; predicted < options.predict; ++predicted) {
      print(next);
      if (tokenizer && tokenizer->is_end(next)) break;
      if (decoder.length() == context_length) break;
      append({&next, 1}, true);
    }
  });
  std::printf("\n\n");
  if (options.times) {
    print_times("prompt", prefill_times, count, 0);
    if (predicted > 0) {
      print_times("generation", decoder.times(), predicted, read_rate(file.data(), context));
    }
  }
  print_rate("prompt", count, prefill);
  if (predicted > 0) print_rate("generation", predicted, decode);
  std::printf("target         %s\n", ts::name(ts::active_target()).data());
  std::printf("logits digest  %016" PRIx64 "\n", digest.value);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace transformer

int main(int, char** argv) {
  try {
    const transformer::Options options = transformer::parse_options(argv + 1);
    if (!options.help) return transformer::run(options);
    std::fputs(transformer::kUsage, stdout);
    return EXIT_SUCCESS;
  } catch (const transformer::UsageError& error) {
    std::fprintf(stderr, "transformer: %s\n%s", error.what(), transformer::kUsage);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "transformer: %s\n", error.what());
  }
  return EXIT_FAILURE;
}
