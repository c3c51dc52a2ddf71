// SPDX-License-Identifier: Apache-2.0
// The networks of one model: in f32, and in integers for one photograph at a time, from the ranges of values on others.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_CALIBRATION_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_CALIBRATION_H_

#include <cstddef>
#include <filesystem>
#include <optional>
#include <vector>

#include "network.h"

namespace faces {

class CalibratedNetworks {
 public:
  CalibratedNetworks(const Model& model, ts::Context& context)
      : context_(context), exact_(model, context) {}

  FloatNetwork& exact() { return exact_; }

  // Runs the network in f32 on an input from this photograph, and keeps the ranges of its values.
  void observe(const std::filesystem::path& photograph, const Tensor<float>& input) {
    exact_.run(input);
    observed_.push_back({photograph, exact_.ranges(kKept)});
  }

  // In integers, calibrated on all inputs that are not from this photograph. The next call ends its life.
  Network& quantized(const std::filesystem::path& photograph) {
    std::vector<ts::ValueRange> all(exact_.model().steps.size() + 1);
    for (const Observed& observed : observed_) {
      if (std::filesystem::equivalent(observed.photograph, photograph)) continue;
      for (std::size_t i = 0; i < all.size(); ++i) all[i].include(observed.ranges[i]);
    }
    return quantized_.emplace(exact_.model(), all, context_);
  }

 private:
  // Values of the tiny network have long tails: with all of them, one face more passes the least score. The SSD finds
  // the same faces with 1.
  static constexpr double kKept = 0.9999;

  struct Observed {
    std::filesystem::path photograph;
    std::vector<ts::ValueRange> ranges;  // of each value, without its outliers
  };

  ts::Context& context_;
  FloatNetwork exact_;
  std::optional<QuantizedNetwork> quantized_{};
  std::vector<Observed> observed_{};
};

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_CALIBRATION_H_
