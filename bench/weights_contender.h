// SPDX-License-Identifier: Apache-2.0
// Contenders for products with quantized weights, and for the conversions: Tessera and its peers.
#ifndef TESSERA_BENCH_WEIGHTS_CONTENDER_H_
#define TESSERA_BENCH_WEIGHTS_CONTENDER_H_

#include <functional>
#include <string>
#include <vector>

#include "bench/peers.h"
#include "bench/weights_types.h"

namespace tessera::bench {

// C[m, n] = A[m, k] * W^T, all that points to f32 dense and row-major.
struct WeightsOperands {
  GemmShape shape;
  const QuantizedWeights* weights;  // [n, k]
  const float* a;                   // [m, k]
  float* c;                         // [m, n]
};

struct WeightsRun {
  GemmRun run;
  // How many elements of a row of A share a scale when it is rounded to integers of 8 bits; 0: it is not.
  index_t rounded = 0;
};

// Either way between f32 and blocks, of as many elements as the weights have.
struct Conversion {
  bool quantizes;
  const QuantizedWeights* weights;  // read, or the format and the extents
  float* values;                    // read, or written
  std::byte* blocks;                // written if it quantizes
};

struct WeightsContender {
  std::string name;         // of the library
  std::string mode;         // which of its ways
  std::string description;  // version, kernels in use
  // Makes the weights ready; an empty run: it has no such product.
  std::function<WeightsRun(const WeightsOperands&)> prepare;
  std::function<GemmRun(const Conversion&)> convert{};  // empty: it has no conversions

  std::string label() const { return name + " " + mode; }
};

using WeightsContenders = std::vector<WeightsContender>;

// With activations as f32, and as integers of 8 bits.
WeightsContenders tessera_weights(int threads);

// As find_peers().
WeightsContenders find_weights_peers(int threads, Lines& missing);

void find_xnnpack_weights(int threads, WeightsContenders& found, Lines& missing);
void find_ggml_weights(int threads, WeightsContenders& found, Lines& missing);
void find_onnxruntime_weights(int threads, WeightsContenders& found, Lines& missing);

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_WEIGHTS_CONTENDER_H_
