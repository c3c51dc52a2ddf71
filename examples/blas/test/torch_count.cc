// SPDX-License-Identifier: Apache-2.0
// Operations of PyTorch's library, over whichever BLAS it finds: how far their results are from those computed in doubles
// without a BLAS, and one warm call of each marked for a counter of instructions. count_blas.py builds and runs it.
#include <torch/nn.h>

#include <cstdio>
#include <functional>
#include <limits>

#include "bench/count/region.h"

namespace {

using torch::Tensor;

Tensor draw(at::IntArrayRef sizes) { return torch::rand(sizes) * 2 - 1; }

// a[m, k] * b[k, n] in doubles, as a sum of k outer products.
Tensor product(const Tensor& a, const Tensor& b) {
  Tensor sum = torch::zeros({a.size(0), b.size(1)}, torch::kDouble);
  for (std::int64_t l = 0; l < a.size(1); ++l) {
    sum += a.select(1, l).unsqueeze(1).to(torch::kDouble) * b.select(0, l).to(torch::kDouble);
  }
  return sum;
}

// Of a[m, k] * b[k, n] + c: k + 1 roundings, each of at most a half unit of the sum of absolute values.
Tensor allowed_error(const Tensor& a, const Tensor& b, const Tensor& c) {
  const double half_unit = std::numeric_limits<float>::epsilon() / 2;
  return (product(a.abs(), b.abs()) + c.abs()) * (static_cast<double>(a.size(1) + 1) * half_unit);
}

// Prints name and number of operations before, and the largest error in units of what is allowed after. Returns whether
// that is at most 1.
bool count(const char* name, double multiply_adds, const std::function<Tensor()>& run,
           const Tensor& expected, const Tensor& allowed) {
  run();
  std::printf("%s %.0f\n", name, 2 * multiply_adds);
  std::fflush(stdout);
  Tensor result;
  tessera::bench::count_region([&] { result = run(); });
  const Tensor error = (result.to(torch::kDouble) - expected).abs() / allowed;
  const double largest = error.max().item<double>();
  std::printf("error %.3g of what is allowed\n", largest);
  return largest <= 1;
}

}  // namespace

int main() {
  const torch::NoGradGuard no_gradients;
  at::set_num_threads(1);
  torch::manual_seed(1);
  const Tensor none = torch::zeros({1});
  bool right = true;

  const Tensor a = draw({256, 256}), b = draw({256, 256});
  right &= count(
      "mm", 256. * 256 * 256, [&] { return torch::mm(a, b); }, product(a, b),
      allowed_error(a, b, none));

  const Tensor x = draw({64, 256}), weight = draw({1024, 256}), bias = draw({1024});
  right &= count(
      "linear", 64. * 256 * 1024, [&] { return torch::linear(x, weight, bias); },
      product(x, weight.t()) + bias, allowed_error(x, weight.t(), bias));

  const Tensor image = draw({1, 64, 28, 28}), filters = draw({64, 64, 3, 3});
  const Tensor windows = at::im2col(image, {3, 3}, {1, 1}, {1, 1}, {1, 1}).squeeze(0);
  const Tensor rows = filters.reshape({64, 64 * 9});
  const auto as_image = [](const Tensor& t) { return t.reshape({1, 64, 28, 28}); };
  right &= count(
      "conv2d", 28. * 28 * 64 * 64 * 9, [&] { return torch::conv2d(image, filters, {}, 1, 1); },
      as_image(product(rows, windows)), as_image(allowed_error(rows, windows, none)));

  // Expected is what the layer itself gives in doubles, and allowed a few units of its largest values, about 4.
  const std::int64_t tokens = 64, width = 256, hidden = 1024;
  torch::nn::TransformerEncoderLayer layer(
      torch::nn::TransformerEncoderLayerOptions(width, 4).dim_feedforward(hidden).dropout(0));
  layer->eval();
  const Tensor input = draw({tokens, 1, width});
  layer->to(torch::kDouble);
  const Tensor expected = layer->forward(input.to(torch::kDouble));
  layer->to(torch::kFloat);
  const auto per_token = static_cast<double>(4 * width * width + 2 * width * (hidden + tokens));
  right &= count(
      "encoder", static_cast<double>(tokens) * per_token, [&] { return layer->forward(input); },
      expected, torch::full_like(expected, 4e-6));
  return right ? 0 : 1;
}
