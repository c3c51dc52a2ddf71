// SPDX-License-Identifier: Apache-2.0
// Tensors in f32, whatever type the model has them in.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_FLOATS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_FLOATS_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "kernel.h"

namespace tessera::ort {

// The elements of t, which is f32, f16 or bf16.
inline const float* floats_of(Step& step, const Tensor& t) {
  if (t.type == kFloat) return t.as<float>();
  float* const floats = step.scratch_of<float>(count(t.shape));
  const float one = 1;
  with_real(t.type, [&]<class T>(T) {
    elementwise(BinaryOp::kMul, vector_view<const T>(t), View<const float, 1>(&one, {1}, {0}),
                row_major(floats, {count(t.shape)}), {.context = &step.context()});
  });
  return floats;
}

// An input of a node. A constant is converted once.
class FloatInput {
 public:
  explicit FloatInput(std::size_t input) : input_(input) {}

  void prepare(Preparation& p) {
    const Tensor* const given = p.constant(input_);
    if (given == nullptr || given->type == kFloat) return;
    shape_ = given->shape;
    values_.emplace();
    with_real(given->type, [&]<class T>(T) {
      const T* const from = given->as<const T>();
      for (std::int64_t i = 0; i < count(shape_); ++i)
        values_->push_back(static_cast<float>(from[i]));
    });
    p.release(input_);
  }

  // In the order of ONNX; none if it is left out.
  std::optional<Tensor> tensor(Step& step) const {
    if (values_) return Tensor{const_cast<float*>(values_->data()), kFloat, shape_};
    const Tensor* const given = step.dense_input(input_);
    if (given == nullptr) return {};
    return Tensor{const_cast<float*>(floats_of(step, *given)), kFloat, given->shape};
  }

 private:
  std::size_t input_;
  std::optional<std::vector<float>> values_;
  Shape shape_;
};

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_FLOATS_H_
