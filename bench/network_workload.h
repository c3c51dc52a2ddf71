// SPDX-License-Identifier: Apache-2.0
// A network with random weights, and the check that a contender computes it.
#ifndef TESSERA_BENCH_NETWORK_WORKLOAD_H_
#define TESSERA_BENCH_NETWORK_WORKLOAD_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bench/gemm_workload.h"
#include "bench/network_contender.h"
#include "bench/normal_numbers.h"

namespace tessera::bench {

class NetworkWorkload {
 public:
  // `network` must outlive it.
  explicit NetworkWorkload(const Network& network)
      : network_(network), x_(network.input.elements()) {
    NormalNumbers numbers(static_cast<std::uint64_t>(network.layers.size()));
    numbers.fill(x_.data(), x_.size);
    for (const NetworkLayer& layer : network.layers) {
      const index_t outputs = layer.convolves() ? layer.y.channels : 0;
      weights_.emplace_back(outputs * layer.depth());
      bias_.emplace_back(outputs);
      // Keeps the variance behind ReLU.
      const double deviation = std::sqrt(2.0 / static_cast<double>(layer.depth()));
      std::generate_n(weights_.back().data(), weights_.back().size,
                      [&] { return static_cast<float>(deviation * numbers()); });
      std::generate_n(bias_.back().data(), outputs, [&] { return 0.1f * numbers(); });
    }
    for (const std::size_t value : network.outputs) {
      y_.emplace_back(network.extents(value).elements());
    }
    compute_expected();
  }

  NetworkOperands operands() const {
    NetworkOperands o{.network = &network_, .weights = {}, .bias = {}, .x = x_.data(), .y = {}};
    for (const auto& weights : weights_) o.weights.push_back(weights.data());
    for (const auto& bias : bias_) o.bias.push_back(bias.data());
    for (const auto& y : y_) o.y.push_back(y.data());
    return o;
  }

  // Runs once and compares all outputs with those of f64.
  GemmCheck check(const GemmRun& run) const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    for (const auto& y : y_) y.poison();
    run.call();
    if (run.finish) run.finish();
    double worst = 0;
    for (std::size_t i = 0; i < y_.size(); ++i) {
      if (!y_[i].padding_is_poison()) return {kInfinity, kWrong};
      double squares = 0, error = 0;
      for (std::size_t j = 0; j < expected_[i].size(); ++j) {
        const float y = y_[i].data()[j];
        if (y != y) return {kInfinity, kWrong};
        squares += expected_[i][j] * expected_[i][j];
        error = std::max(error, std::abs(y - expected_[i][j]));
      }
      const double rms = std::sqrt(squares / static_cast<double>(expected_[i].size()));
      worst = std::max(worst, error / (kSigmas * relative_deviation() * rms));
    }
    return {worst, worst <= 1 ? kOk : kWrong};
  }

 private:
  static constexpr double kSigmas = 8;
  using Image = std::vector<double>;  // [h, w, c]

  // Of an output, relative to the root of its mean square, from rounding alone. The sums here walk at random: after k of n
  // terms they have k / n of the variance, and are rounded with an error that is even within 2^-24 of them. n roundings
  // have the variance 2^-48 / 3 * n / 2. Layers add theirs; ReLU, pooling and residuals don't make it larger relative to
  // the values. Bounds that always hold would say nothing after thirty layers; an input that is left out of one sum of
  // 4608 is 4000 times as large as its rounding.
  double relative_deviation() const {
    double depths = 0;
    for (const NetworkLayer& layer : network_.layers) {
      if (layer.convolves()) depths += static_cast<double>(layer.depth());
    }
    return 0x1p-24 * std::sqrt(depths / 6);
  }

  void compute_expected() {
    std::vector<Image> values = {Image(x_.data(), x_.data() + x_.size)};
    for (std::size_t i = 0; i < network_.layers.size(); ++i) {
      const NetworkLayer& layer = network_.layers[i];
      const Image& x = values[layer.input];
      Image y(static_cast<std::size_t>(layer.y.elements()));
      if (layer.residual != 0) y = values[layer.residual];
      const Image weights = taps_first(i);
      for (index_t h = 0; h < layer.computed; ++h) {
        for (index_t w = 0; w < layer.computed; ++w) {
          compute_pixel(i, x, weights, h, w, &y[(h * layer.y.size + w) * layer.y.channels]);
        }
      }
      if (layer.activation != NetworkLayer::Activation::kNone) {
        const bool relu6 = layer.activation == NetworkLayer::Activation::kRelu6;
        const double most = relu6 ? 6 : std::numeric_limits<double>::infinity();
        for (double& v : y) v = std::clamp(v, 0.0, most);
      }
      values.push_back(std::move(y));
    }
    for (const std::size_t value : network_.outputs) expected_.push_back(values[value]);
  }

  // [kh, kw, in / groups, out]
  Image taps_first(std::size_t i) const {
    const NetworkLayer& layer = network_.layers[i];
    const std::vector<float> values =
        transposed_copy(weights_[i].data(), weights_[i].size / layer.depth(), layer.depth());
    return {values.begin(), values.end()};
  }

  // Adds to y, which has the residual.
  void compute_pixel(std::size_t i, const Image& x, const Image& weights, index_t h, index_t w,
                     double* y) const {
    using Kind = NetworkLayer::Kind;
    const NetworkLayer& layer = network_.layers[i];
    const index_t channels = layer.x.channels, outputs = layer.y.channels;
    const bool largest = layer.kind == Kind::kMaxPool;
    if (largest) std::fill_n(y, channels, -std::numeric_limits<double>::infinity());
    for (index_t o = 0; layer.convolves() && o < outputs; ++o) y[o] += bias_[i].data()[o];
    for (index_t tap = 0; tap < layer.taps(); ++tap) {
      const index_t row = h * layer.stride - layer.pad_begin + tap / layer.kernel;
      const index_t column = w * layer.stride - layer.pad_begin + tap % layer.kernel;
      if (row < 0 || row >= layer.x.size || column < 0 || column >= layer.x.size) continue;
      const double* const from = &x[(row * layer.x.size + column) * channels];
      if (layer.kind == Kind::kConvolution) {
        for (index_t c = 0; c < channels; ++c) {
          const double* const by = &weights[(tap * channels + c) * outputs];
          for (index_t o = 0; o < outputs; ++o) y[o] += from[c] * by[o];
        }
        continue;
      }
      for (index_t c = 0; c < channels; ++c) {
        if (layer.kind == Kind::kDepthwise) y[c] += from[c] * weights[tap * channels + c];
        if (layer.kind == Kind::kAveragePool) y[c] += from[c] / static_cast<double>(layer.taps());
        if (largest) y[c] = std::max(y[c], from[c]);
      }
    }
  }

  const Network& network_;
  const PaddedArray<float> x_;
  std::vector<PaddedArray<float>> weights_{}, bias_{}, y_{};  // the first two of each layer
  std::vector<Image> expected_{};                             // of each output
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_NETWORK_WORKLOAD_H_
