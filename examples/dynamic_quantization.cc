// SPDX-License-Identifier: Apache-2.0
// Dynamic quantization, of README.md: weights of 8 bits with a scale per channel, activations that are quantized per token
// in front of the product, with zero points, as they are not symmetric.

#include <cstdint>
#include <cstdio>
#include <vector>
#include "tessera/tessera.h"

int main() {
  namespace ts = tessera;
  constexpr ts::index_t m = 2, n = 3, k = 256;
  std::vector<float> x(m * k), w(n * k), y(m * n);
  for (int i = 0; i < m * k; ++i) x[i] = static_cast<float>(i * 37 % 101 - 9) / 64;
  for (int i = 0; i < n * k; ++i) w[i] = static_cast<float>(i * 29 % 113 - 56) / 128;
  const auto X = ts::row_major(x, {m, k}), W = ts::row_major(w, {n, k}),
             Y = ts::row_major(y, {m, n});
  const auto print = [&] {
    for (const float value : y) std::printf("%9.4f", value);
    std::printf("\n");
  };

  // Once: W as s8, and B = W^T packed.
  ts::GroupQuantizedMatrix weights({.rows = n, .cols = k});
  const auto qw = weights.view();
  ts::quantize(W, qw);
  const auto codes = ts::row_major(reinterpret_cast<const std::int8_t*>(qw.codes), {n, k});
  const auto B = ts::pack_b(ts::transposed(codes));
  const auto channel_scales = ts::row_major(static_cast<const float*>(qw.scales), {n});

  // For each X: codes of u8, a scale and a zero point per row.
  ts::GroupQuantizedMatrix tokens(
      {.rows = m, .cols = k, .is_signed = false, .has_zero_points = true});
  const auto qx = tokens.view();
  ts::quantize(X, qx);
  const auto A =
      ts::with_zero_points(ts::row_major(qx.codes, {m, k}), ts::row_major(qx.zero_points, {m}));
  const auto token_scales = ts::row_major(static_cast<const float*>(qx.scales), {m});
  ts::gemm(A, B, Y, {}, ts::epi::row_scale(token_scales) | ts::epi::column_scale(channel_scales));
  print();

  ts::gemm(X, ts::transposed(W), Y);  // in f32
  print();
}
