// SPDX-License-Identifier: Apache-2.0
// Weights in the order that the kernels of products read: made once of each tensor, at its first product, which leaves the
// tensor as it is for everybody else.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_WEIGHTS_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_WEIGHTS_H_

#include <ggml.h>

#include <compare>
#include <cstddef>
#include <map>
#include <mutex>
#include <variant>

#include "tensors.h"
#include "tessera/ops/gemm.h"

namespace ggml_port {

// One matrix [outputs, inputs] as operand b of products.
class Weights {
 public:
  // Matrix (i2, i3) of a tensor.
  Weights(const ggml_tensor& tensor, index_t i2, index_t i3, ts::Context* context);

  // f(packed, options of a product)
  template <class F>
  void visit(ts::Context* context, F&& f) const {
    std::visit(
        [&](const auto& packed) {
          f(packed, ts::GemmOptions{.activations = activations_, .context = context});
        },
        packed_);
  }

 private:
  std::variant<ts::PackedB<float>, ts::PackedB<ts::f16>, ts::PackedB<ts::bf16>, ts::PackedWeights>
      packed_;
  ts::Activations activations_ =
      ts::Activations::kFloat;  // as ggml has them: of 8 bits where weights are blocks
};

// The weights of a buffer.
class WeightStore {
 public:
  // Throws what packing throws.
  const Weights& get(const ggml_tensor& tensor, index_t i2, index_t i3, ts::Context* context);
  // Forgets what was made of these bytes.
  void forget(const std::byte* first, std::size_t count);

 private:
  struct Key {
    const std::byte* data;
    ggml_type type;
    index_t outputs, inputs, step;
    auto operator<=>(const Key&) const = default;
  };
  std::mutex mutex_{};
  std::map<Key, Weights> weights_{};
};

// The store that the tensor's memory has; null if it is not known to keep its values.
WeightStore* weight_store(const ggml_tensor& tensor);

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_WEIGHTS_H_
