// SPDX-License-Identifier: Apache-2.0
#include "bench/peers.h"

#include <charconv>
#include <memory>
#include <stdexcept>
#include <string_view>

#include "tessera/ops/gemm.h"

namespace tessera::bench {
namespace {

// "tile=1,kc=256" into a tuning.
GemmTuning parse_variant(const std::string& variant) {
  GemmTuning tuning;
  std::string_view rest = variant;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(item.size() + 1, rest.size()));
    const std::size_t equals = std::min(item.find('='), item.size());
    const std::string_view key = item.substr(0, equals);
    const std::string_view value = item.substr(std::min(equals + 1, item.size()));
    index_t number = -1;
    std::from_chars(value.data(), value.data() + value.size(), number);
    if (key == "packing" && (value == "never" || value == "always")) {
      tuning.packing =
          value == "never" ? GemmTuning::Packing::kNever : GemmTuning::Packing::kAlways;
    } else if (key == "tile" && number >= 0) {
      tuning.tile = static_cast<int>(number);
    } else if (key == "mc" && number > 0) {
      tuning.mc = number;
    } else if (key == "kc" && number > 0) {
      tuning.kc = number;
    } else if (key == "nc" && number > 0) {
      tuning.nc = number;
    } else {
      throw std::invalid_argument(
          "variant \"" + variant + "\": \"" + std::string(item) +
          "\" is none of tile=, mc=, kc=, nc=<number>, packing=never|always");
    }
  }
  return tuning;
}

template <class T>
GemmFunction<T> tessera_gemm(const std::shared_ptr<Context>& context) {
  return [context](index_t m, index_t n, index_t k, const T* a, const T* b, T* c) {
    gemm(row_major(a, {m, k}), row_major(b, {k, n}), row_major(c, {m, n}),
         {.context = context.get()});
  };
}

}  // namespace

GemmContender tessera_contender(const std::string& variant) {
  const auto context = std::make_shared<Context>();
  context->gemm = parse_variant(variant);
  return {.name = variant.empty() ? "tessera" : variant,
          .description = "target " + std::string(name(active_target())),
          .f32 = tessera_gemm<float>(context),
          .f64 = tessera_gemm<double>(context)};
}

std::vector<GemmContender> find_peers(std::vector<std::string>& missing) {
  std::vector<GemmContender> found;
  find_cblas_peers(found, missing);
  return found;
}

}  // namespace tessera::bench
