// SPDX-License-Identifier: Apache-2.0
// The models of a file: decoders of the Llama, Qwen2 and Qwen3 kinds, dense or with mixtures of experts.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_MODEL_H_
#define TESSERA_EXAMPLES_TRANSFORMER_MODEL_H_

#include <string>
#include <vector>

#include "gguf.h"
#include "weights.h"

namespace transformer {

struct Shape {
  index_t layers = 0, embedding = 0, vocabulary = 0, context = 0;
  index_t heads = 0, kv_heads = 0, head_size = 0;
  index_t feed_forward = 0;               // of each expert
  index_t experts = 0, experts_used = 0;  // 0: one network for all tokens
  float epsilon = 0;
  bool interleaved = false;  // pairs of rotary embeddings are neighbours
  bool normed_heads = false;

  bool is_mixture() const { return experts > 0; }
};

using Vector = ts::View<const float, 1>;  // in the file; without data where there is none

struct Expert {
  Weights gate{}, up{}, down{};
};

struct Layer {
  Vector attention_norm{}, ffn_norm{};
  Vector q_norm{}, k_norm{};  // of each head
  Vector q_bias{}, k_bias{}, v_bias{};
  Weights q{}, k{}, v{}, output{};
  Weights router{};               // of mixtures: [experts, embedding]
  std::vector<Expert> experts{};  // one if it is no mixture
};

// Weights are packed for the active target; vectors and the embeddings of tokens stay in the file, which must outlive it.
class Model {
 public:
  // Throws std::runtime_error that names the key or tensor that is missing, or has another type or shape.
  Model(const Gguf& file, ts::Context& context);

  const Shape& shape() const { return shape_; }
  const std::vector<Layer>& layers() const { return layers_; }
  const Tensor& embeddings() const { return *embeddings_; }  // [vocabulary, embedding]
  const Vector& output_norm() const { return output_norm_; }
  const Weights& output() const { return output_; }
  const std::vector<double>& frequencies() const { return frequencies_; }  // of rotary embeddings
  const std::string& architecture() const { return architecture_; }

 private:
  void read_shape(const Gguf& file);
  void read_frequencies(const Gguf& file);
  Layer read_layer(const Gguf& file, index_t i, ts::Context& context) const;

  std::string architecture_;
  Shape shape_{};
  std::vector<double> frequencies_{};
  const Tensor* embeddings_ = nullptr;
  Vector output_norm_{};
  Weights output_{};
  std::vector<Layer> layers_{};
};

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_MODEL_H_
