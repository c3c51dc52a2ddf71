// SPDX-License-Identifier: Apache-2.0
// The block formats of GGUF against ggml itself (libggml-base, found at run time):
//   what ggml quantizes, and what we quantize, has the same values for both;
//   the formats that are defined by a formula have the same bytes;
//   those that are searched have no larger error, up to 2 %.
//
// ggml_formats_test [LIBRARY]. Exits with 77, for ctest a skipped test, where there is no such library.

#include <dlfcn.h>

#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "random.h"
#include "tessera/core/block_formats.h"
#include "tessera/ref/block_formats.h"

namespace tessera::test {
namespace {

// ggml's functions for a format, as its header declares them.
struct Ggml {
  void (*quantize)(const float* x, void* y, std::int64_t k) = nullptr;
  void (*dequantize)(const void* x, float* y, std::int64_t k) = nullptr;
};

Ggml find(void* library, BlockFormat format) {
  std::string name(info(format).name);
  for (char& c : name) {
    if (c != 'K') c = static_cast<char>(std::tolower(c));
  }
  Ggml ggml;
  const auto symbol = [&](const std::string& text, auto& function) {
    void* p = dlsym(library, text.c_str());
    std::memcpy(&function, &p, sizeof(p));
  };
  symbol("quantize_row_" + name + "_ref", ggml.quantize);
  symbol("dequantize_row_" + name, ggml.dequantize);
  return ggml;
}

bool has_formula(BlockFormat format) {
  using enum BlockFormat;
  for (const BlockFormat f : {kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kTQ1_0, kTQ2_0, kMXFP4}) {
    if (f == format) return true;
  }
  return false;
}

// ---- Inputs

float uniform(Random& random) {  // in (0, 1)
  return (static_cast<float>(random.next() >> 41) + 0.5f) * 0x1p-23f;
}

float gaussian(Random& random) {
  return std::sqrt(-2 * std::log(uniform(random))) * std::cos(6.2831853f * uniform(random));
}

struct Distribution {
  const char* name;
  bool exact_only;  // no errors are compared
  float (*draw)(Random&);
};

constexpr Distribution kDistributions[] = {
    {"gaussian", false, gaussian},
    {"heavy tails", false,
     [](Random& r) { return gaussian(r) / (0.05f + uniform(r) * uniform(r)); }},
    {"small", false, [](Random& r) { return 0.01f * gaussian(r); }},
    {"uniform", false, [](Random& r) { return 2 * uniform(r) - 1; }},
    {"off center", false, [](Random& r) { return 0.5f + gaussian(r); }},
    {"positive", false, [](Random& r) { return 0.1f + uniform(r); }},
    {"large", false, [](Random& r) { return 1000 * gaussian(r); }},
    {"tiny", true, [](Random& r) { return 1e-6f * gaussian(r); }},
    {"ties", true, [](Random& r) { return static_cast<float>(r.below(33) - 16) * 0.25f; }},
    {"zeros", true, [](Random& r) { return r.below(40) == 0 ? gaussian(r) : 0.0f; }},
    {"ones", true, [](Random& r) { return static_cast<float>(r.below(2)); }},
    {"exponents", true,
     [](Random& r) { return std::ldexp(uniform(r), static_cast<int>(r.below(30)) - 20); }},
};

// ---- Comparisons

int failures = 0;

void check(bool ok, BlockFormat format, const char* distribution, const char* what) {
  if (ok) return;
  const std::string name(info(format).name);
  if (++failures <= 20) std::printf("FAILED: %s, %s: %s\n", name.c_str(), distribution, what);
}

double squared_error(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double off = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += off * off;
  }
  return sum;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void dequantize_ours(BlockFormat format, const std::vector<std::byte>& from,
                     std::vector<float>& to) {
  const BlockFormatInfo f = info(format);
  for (std::size_t i = 0; i < to.size() / static_cast<std::size_t>(f.block); ++i) {
    ref::dequantize_block(format, from.data() + i * static_cast<std::size_t>(f.bytes),
                          to.data() + i * static_cast<std::size_t>(f.block));
  }
}

// Quantizes x on both sides; returns the ratio of their errors.
double compare(const Ggml& ggml, BlockFormat format, const char* name,
               const std::vector<float>& x) {
  const BlockFormatInfo f = info(format);
  const auto count = static_cast<std::int64_t>(x.size());
  const auto bytes = static_cast<std::size_t>(row_bytes(format, count));
  std::vector<std::byte> theirs(bytes), ours(bytes);
  std::vector<float> by_ggml(x.size()), by_us(x.size());

  ggml.quantize(x.data(), theirs.data(), count);
  ggml.dequantize(theirs.data(), by_ggml.data(), count);
  dequantize_ours(format, theirs, by_us);
  check(same(by_ggml, by_us), format, name, "what ggml quantized has other values");
  const double their_error = squared_error(x, by_ggml);

  for (index_t i = 0; i < count / f.block; ++i) {
    ref::quantize_block(format, x.data() + i * f.block, ours.data() + i * f.bytes);
  }
  ggml.dequantize(ours.data(), by_ggml.data(), count);
  dequantize_ours(format, ours, by_us);
  check(same(by_ggml, by_us), format, name, "what we quantized has other values");
  if (has_formula(format)) check(theirs == ours, format, name, "other bytes");
  return their_error > 0 ? std::sqrt(squared_error(x, by_us) / their_error) : 0;
}

std::vector<float> drawn(const Distribution& d, std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> x(count);
  for (float& v : x) v = d.draw(random);
  return x;
}

int run(const char* path) {
  void* library = nullptr;
  for (const char* name : {path, "libggml-base.so.0", "libggml-base.so"}) {
    if (name != nullptr && (library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
  }
  if (library == nullptr) {
    std::printf("ggml formats: skipped, %s\n", dlerror());
    return 77;
  }
  std::printf("Root mean square errors, ours / ggml's\n%-8s", "");
  for (const Distribution& d : kDistributions) {
    if (!d.exact_only) std::printf(" %11s", d.name);
  }
  std::printf("\n");
  int formats = 0;
  for (const BlockFormat format : kBlockFormats) {
    const Ggml ggml = find(library, format);
    if (ggml.quantize == nullptr || ggml.dequantize == nullptr || format == BlockFormat::kNVFP4) {
      continue;  // not of GGUF, or, NVFP4, not with this layout
    }
    ++formats;
    std::printf("%-8s", std::string(info(format).name).c_str());
    std::uint64_t seed = 1;
    for (const Distribution& d : kDistributions) {
      const double ratio = compare(ggml, format, d.name, drawn(d, 256 * 64, ++seed));
      if (d.exact_only) continue;
      std::printf(" %11.4f", ratio);
      check(ratio <= 1.02, format, d.name, "the error is more than 2 % larger");
    }
    std::printf("\n");
    if (format == BlockFormat::kMXFP4) {
      // Around powers of two, where its exponent changes.
      for (int exponent = -120; exponent <= 126; ++exponent) {
        std::vector<float> x;
        float v = std::ldexp(1.0f, exponent);
        for (int below = 0; below < 64; ++below) {
          x.resize(x.size() + 32, 0.4f * v);
          x.back() = v;
          v = std::nextafter(v, 0.0f);
        }
        compare(ggml, format, "below powers of two", x);
      }
    }
  }
  check(formats >= 14, BlockFormat::kQ4_0, "symbols", "too few formats found");
  std::printf("%d formats, %d failures\n", formats, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tessera::test

int main(int argc, char** argv) { return tessera::test::run(argc > 1 ? argv[1] : nullptr); }
