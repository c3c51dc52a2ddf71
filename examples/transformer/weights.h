// SPDX-License-Identifier: Apache-2.0
// A matrix of a file, packed for products without a conversion: floats stay as wide as they are, blocks keep their bits.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_WEIGHTS_H_
#define TESSERA_EXAMPLES_TRANSFORMER_WEIGHTS_H_

#include <variant>

#include "gguf.h"
#include "tessera/ops/gemm.h"

namespace transformer {

struct MultiplyOptions {
  // Rows of x are rounded to integers of 8 bits, with a scale for as many elements as a block of the weights has; not used
  // for weights that are floats.
  bool in_integers = false;
  bool adds = false;  // to what is there
  ts::Epilogue epilogue{};
};

class Weights {
 public:
  Weights() = default;
  // `tensor`: [outputs, inputs]
  Weights(const Tensor& tensor, ts::Context& context);

  // y[rows, outputs] = x[rows, inputs] W^T
  void multiply(const ts::View<const float, 2>& x, const ts::View<float, 2>& y,
                ts::Context& context, const MultiplyOptions& options = {}) const;

  index_t outputs() const { return outputs_; }
  index_t inputs() const { return inputs_; }
  index_t bytes() const { return bytes_; }  // in the file

 private:
  std::variant<std::monostate, ts::PackedB<float>, ts::PackedB<ts::f16>, ts::PackedB<ts::bf16>,
               ts::PackedWeights>
      packed_{};
  index_t outputs_ = 0, inputs_ = 0, bytes_ = 0, block_ = 0;
};

// Row i of a matrix in floats.
void read_row(const Tensor& tensor, index_t i, const ts::View<float, 1>& row);

// Matrix i of a tensor [matrices, rows, cols].
Tensor matrix_of(const Tensor& tensor, index_t i);

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_WEIGHTS_H_
