// SPDX-License-Identifier: Apache-2.0
// What is done to the result of a product or a convolution before it is stored.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_EPILOGUE_STEPS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_EPILOGUE_STEPS_H_

#include "floats.h"
#include "kernel.h"

namespace tessera::ort {

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
