// SPDX-License-Identifier: Apache-2.0
// Contenders for functions of rows: Tessera and its peers.
#ifndef TESSERA_BENCH_NN_CONTENDER_H_
#define TESSERA_BENCH_NN_CONTENDER_H_

#include <functional>
#include <string>
#include <vector>

#include "bench/nn_types.h"
#include "bench/peers.h"

namespace tessera::bench {

struct NnContender {
  std::string name;         // of the library
  std::string description;  // version, kernels in use
  // An empty run: it has no such function.
  std::function<GemmRun(const NnOperands&)> prepare;

  std::string label() const { return name; }
};

using NnContenders = std::vector<NnContender>;

NnContenders tessera_nn(int threads);

// As find_peers().
NnContenders find_nn_peers(int threads, Lines& missing);

void find_onednn_nn(int threads, NnContenders& found, Lines& missing);
void find_xnnpack_nn(int threads, NnContenders& found, Lines& missing);
void find_ggml_nn(int threads, NnContenders& found, Lines& missing);
void find_onnxruntime_nn(int threads, NnContenders& found, Lines& missing);

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_NN_CONTENDER_H_
