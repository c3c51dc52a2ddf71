// SPDX-License-Identifier: Apache-2.0
// Graphs made in memory, with random constants that are packed when the session is made.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_TESTS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_TESTS_H_

#include "runtime.h"

namespace tessera::ort {

// Each beside the host's own kernels. Return how many failed.
int check_graphs(Runtime& runtime);

// A small convolution network: [1, 3, 24, 24] to [1, 10].
Ort::Session small_network(Ort::Env& env, const Ort::SessionOptions& options);
std::vector<float> run_small_network(Ort::Session& session, const std::vector<float>& image);
inline constexpr std::size_t kSmallImage = 3 * 24 * 24;

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_TESTS_H_
