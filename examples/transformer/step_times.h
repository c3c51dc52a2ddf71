// SPDX-License-Identifier: Apache-2.0
// How long each kind of step of a decoder took, and what it did.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_STEP_TIMES_H_
#define TESSERA_EXAMPLES_TRANSFORMER_STEP_TIMES_H_

#include <array>
#include <chrono>
#include <cstddef>

namespace transformer {

enum class Step {
  kEmbedding,
  kNorm,
  kQkv,
  kRope,
  kAppend,
  kAttention,
  kOutput,
  kRouter,
  kGateUp,
  kGated,
  kDown,
  kLogits,
};
inline constexpr std::array kStepNames = {"embeddings of tokens",
                                          "norms",
                                          "Q, K, V",
                                          "rope",
                                          "append to the cache",
                                          "attention",
                                          "output of heads",
                                          "experts chosen",
                                          "gate, up",
                                          "SwiGLU",
                                          "down",
                                          "logits"};

struct StepTime {
  double seconds = 0, operations = 0;  // a multiply-add counts two
  double bytes = 0;                    // of weights, and of keys and values
};

class StepTimes {
 public:
  // Runs `run` and adds its time to that of the step.
  template <class F>
  void measure(Step step, double operations, double bytes, F&& run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    StepTime& s = steps_[static_cast<std::size_t>(step)];
    s.seconds += time.count();
    s.operations += operations;
    s.bytes += bytes;
  }

  const StepTime& operator[](std::size_t step) const { return steps_[step]; }
  StepTime all() const {
    StepTime sum;
    for (const StepTime& s : steps_) {
      sum = {sum.seconds + s.seconds, sum.operations + s.operations, sum.bytes + s.bytes};
    }
    return sum;
  }

 private:
  std::array<StepTime, kStepNames.size()> steps_{};
};

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_STEP_TIMES_H_
