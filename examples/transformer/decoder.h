// SPDX-License-Identifier: Apache-2.0
// Runs a model: tokens in, logits out, with a cache of keys and values.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_DECODER_H_
#define TESSERA_EXAMPLES_TRANSFORMER_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model.h"
#include "step_times.h"
#include "tessera/core/context.h"

namespace transformer {

struct DecoderOptions {
  index_t context = 512;           // tokens that the cache has room for
  TensorType cache = Float::kF32;  // floats, or blocks that divide a head
  bool in_integers = false;        // products with blocks: see MultiplyOptions
};

class Decoder {
 public:
  // Refers to the model and the context. Throws std::runtime_error for options that do not fit the model.
  Decoder(const Model& model, const DecoderOptions& options, ts::Context& context);

  // Appends tokens, of the vocabulary, to those before; returns the logits behind the last `wanted` of them, [wanted,
  // vocabulary], which the next run overwrites. They have the same bits, however a text is cut into runs.
  ts::View<const float, 2> run(std::span<const std::int32_t> tokens, index_t wanted);

  index_t length() const { return length_; }
  void clear() { length_ = 0; }

  StepTimes& times() { return times_; }  // since they were last reset

 private:
  using Matrix = ts::View<float, 2>;
  using Vectors = std::vector<float>;

  void attend(const Layer& layer, std::size_t i, const Matrix& x, index_t wanted);
  void feed_forward(const Layer& layer, const Matrix& x);
  void feed_experts(const Layer& layer, const Matrix& h, const Matrix& x);
  void run_expert(const Expert& expert, const Matrix& h, const Matrix& y,
                  const MultiplyOptions& options);
  void norm(const Matrix& x, const Vector& weight, const Matrix& y);
  void multiply(Step step, const Weights& weights, const Matrix& x, const Matrix& y,
                MultiplyOptions options = {});
  void turn(Vectors& heads, index_t tokens, index_t count, index_t first);

  const Model& model_;
  const Shape& shape_;
  const DecoderOptions options_;
  ts::Context& context_;
  StepTimes times_{};
  index_t length_ = 0;
  Vectors cosines_{}, sines_{};  // [context, pairs]
  std::vector<std::vector<std::byte>> keys_{},
      values_{};  // of each layer: [kv heads, context, head size]
  Vectors x_{}, h_{}, q_{}, k_{}, v_{}, heads_{}, gate_{}, up_{}, logits_{};
  Vectors scores_{}, gathered_{}, results_{};  // of mixtures
};

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_DECODER_H_
