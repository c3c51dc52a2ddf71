// SPDX-License-Identifier: Apache-2.0
// The GEMM cases that Tessera is compared with its peers on.
#ifndef TESSERA_BENCH_GEMM_CASES_H_
#define TESSERA_BENCH_GEMM_CASES_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gemm_types.h"

namespace tessera::bench {

struct GemmCase {
  std::string group;
  GemmShape shape;
  bool b_transposed = false;
  bool cold = false;   // the caches are flushed before each call: operands come from memory
  bool quick = false;  // part of a run of a few minutes

  std::string name() const {
    return shape.name() + (b_transposed ? " B^T" : "") + (cold ? " cold" : "");
  }
};

inline constexpr std::string_view kGemmGroups[] = {"square", "decode", "batch", "prefill", "conv"};

// N and K of the linear layers of two language models, as weights [k, n].
struct LinearLayer {
  index_t n, k;
  bool quick;
};
// 7 billion parameters: hidden size 4096, feed-forward 11008.
inline constexpr LinearLayer kLayers7B[] = {
    {4096, 4096, true}, {11008, 4096, false}, {4096, 11008, false}};
// 0.6 billion parameters: hidden size 1024, 16 query heads of 128, feed-forward 3072.
inline constexpr LinearLayer kLayers06B[] = {
    {2048, 1024, false}, {1024, 2048, false}, {3072, 1024, true}, {1024, 3072, false}};
// Its output layer over a vocabulary; only ever of one token.
inline constexpr LinearLayer kHead06B = {151936, 1024, false};

// The convolutions of ResNet-50 on one 224 x 224 image as products of im2col: pixels x output channels
// x (input channels * kernel area), one of each shape.
inline constexpr struct {
  GemmShape shape;
  bool quick;
} kResNet50[] = {
    {{12544, 64, 147}, false}, {{3136, 64, 64}, true},    {{3136, 64, 576}, true},
    {{3136, 256, 64}, false},  {{3136, 64, 256}, false},  {{784, 128, 512}, false},
    {{784, 128, 1152}, false}, {{784, 512, 128}, false},  {{784, 512, 256}, false},
    {{196, 256, 1024}, false}, {{196, 256, 2304}, true},  {{196, 1024, 256}, false},
    {{196, 1024, 512}, false}, {{49, 512, 2048}, false},  {{49, 512, 4608}, false},
    {{49, 2048, 512}, false},  {{49, 2048, 1024}, false},
};

// square: 16 to 4096. decode: one token, with cold weights in either layout, and warm ones. batch: eight
// tokens at a time. prefill: 128 and 512. conv: ResNet-50.
inline std::vector<GemmCase> gemm_cases() {
  std::vector<GemmCase> cases;
  for (const index_t n : {16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096}) {
    cases.push_back(
        {"square", {n, n, n}, false, false, n == 32 || n == 128 || n == 512 || n == 1024});
  }
  std::vector<LinearLayer> layers(std::begin(kLayers7B), std::end(kLayers7B));
  layers.insert(layers.end(), std::begin(kLayers06B), std::end(kLayers06B));
  for (const bool b_transposed : {false, true}) {
    for (const LinearLayer& l : layers) {
      cases.push_back({"decode", {1, l.n, l.k}, b_transposed, true, l.quick});
    }
    cases.push_back({"decode", {1, kHead06B.n, kHead06B.k}, b_transposed, true, kHead06B.quick});
    cases.push_back({"decode", {1, 1024, 1024}, b_transposed, false, true});
  }
  for (const bool b_transposed : {false, true}) {
    for (const LinearLayer& l : layers) {
      cases.push_back({"batch", {8, l.n, l.k}, b_transposed, false, l.quick && l.k < 4096});
    }
  }
  for (const index_t tokens : {128, 512}) {
    for (const LinearLayer& l : layers) {
      const bool quick = l.quick && tokens == 128;
      cases.push_back({"prefill", {tokens, l.n, l.k}, false, false, quick});
    }
  }
  for (const auto& layer : kResNet50)
    cases.push_back({"conv", layer.shape, false, false, layer.quick});
  return cases;
}

// Networks don't run in double precision: only squares do. Convolutions have weights of 32 and 8 bits.
inline bool case_has_types(const GemmCase& c, std::string_view types) {
  if (types == "f64") return c.group == "square";
  if (types == "bf16" || types == "f16") return c.group != "conv";
  return true;
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_GEMM_CASES_H_
