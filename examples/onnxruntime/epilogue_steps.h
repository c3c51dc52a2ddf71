// SPDX-License-Identifier: Apache-2.0
// What is done to the result of a product or a convolution before it is stored.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_EPILOGUE_STEPS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_EPILOGUE_STEPS_H_

#include "kernel.h"

namespace tessera::ort {

// Elements in f32, which is what biases and residuals must be.
inline const float* floats_of(Step& step, const Tensor& t) {
  if (t.type == kFloat) return t.as<const float>();
  float* const floats = step.scratch_of<float>(count(t.shape));
  const float one = 1;
  with_real(t.type, [&]<class T>(T) {
    elementwise(BinaryOp::kMul, vector_view<const T>(t), View<const float, 1>(&one, {1}, {0}),
                row_major(floats, {count(t.shape)}), {.context = &step.context()});
  });
  return floats;
}

// A kernel that takes over the nodes behind it: one sum, then one activation.
class FusingKernel : public Kernel {
 public:
  bool take_activation(const Activation& activation) override {
    if (activation_.kind != Activation::Kind::kNone) return false;
    activation_ = activation;
    return true;
  }
  bool take_residual() override {
    if (has_residual_ || activation_.kind != Activation::Kind::kNone) return false;
    return has_residual_ = true;
  }

 protected:
  const Activation& activation() const { return activation_; }

 private:
  Activation activation_;
  bool has_residual_ = false;
};

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_EPILOGUE_STEPS_H_
