// SPDX-License-Identifier: Apache-2.0
// Graphs that run on Tessera and on the host.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_CASE_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_CASE_H_

#include <functional>
#include <string>
#include <vector>

#include "runtime.h"

namespace tessera::ort {

// A graph, the operators that it must run, and what it is called.
struct GraphCase {
  std::string name;
  std::vector<const char*> ops;
  Extents input, output;
  std::function<std::string(ModelBuilder&)> build;  // from "x" to the result that it returns
  double tolerance = 1e-5;                          // of the largest result
  double half_tolerance = 0;    // if not 0: also in f16, beside f32 of the same weights
  double bfloat_tolerance = 0;  // likewise in bf16
  Extents declared = {};        // of the input, if not all are known to the model
  int opset = 21;
  // What the host runs, if not the same: it draws the same random numbers.
  std::function<std::string(ModelBuilder&)> build_for_host = {};
};

inline std::string scalar(ModelBuilder& m, float value) { return m.weight({value}, {}); }

std::vector<GraphCase> attention_cases();
std::vector<GraphCase> conv_cases();
std::vector<GraphCase> layer_cases();
std::vector<GraphCase> quantized_cases();

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_GRAPH_CASE_H_
