// SPDX-License-Identifier: Apache-2.0
// Products with quantized weights, of README.md: quantized, packed, multiplied in floats and in integers.

#include <cstddef>
#include <cstdio>
#include <vector>
#include "tessera/tessera.h"

int main() {
  namespace ts = tessera;
  constexpr ts::index_t m = 2, n = 3, k = 256;
  std::vector<float> x(m * k), w(n * k), c(m * n);
  for (int i = 0; i < m * k; ++i) x[i] = static_cast<float>(i * 37 % 101 - 50) / 64;
  for (int i = 0; i < n * k; ++i) w[i] = static_cast<float>(i * 29 % 113 - 56) / 128;

  // 4.5 bits a weight. The bytes of a GGUF file would do as well.
  std::vector<std::byte> memory(n * ts::row_bytes(ts::BlockFormat::kQ4_K, k));
  const auto blocks = ts::blocks(ts::BlockFormat::kQ4_K, memory.data(), n, k);
  ts::quantize(ts::row_major(w, {n, k}), blocks);
  const ts::PackedWeights packed = ts::pack_weights(blocks);  // once

  using enum ts::Activations;
  for (const auto activations : {kFloat, kInt8Block32, kInt8Block256, kInt8Row}) {
    ts::gemm(ts::row_major(x, {m, k}), packed, ts::row_major(c, {m, n}),
             {.activations = activations});
    for (const float y : c) std::printf("%7.2f", y);
    std::printf("\n");
  }
}
