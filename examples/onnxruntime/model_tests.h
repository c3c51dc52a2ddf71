// SPDX-License-Identifier: Apache-2.0
// Whole models, beside the host's own kernels.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_MODEL_TESTS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_MODEL_TESTS_H_

#include <string>

#include "runtime.h"

namespace tessera::ort {

// Models of files *.onnx with one input. Returns how many gave other results with the provider.
int check_models(Runtime& runtime, const std::string& directory, const std::string& only);

// Times one of them with and without the provider, in turns, and prints medians.
void time_model(Runtime& runtime, const std::string& file, int threads, int rounds);

// Runs one twice, the second time between marks for counters of instructions.
void run_marked(Runtime& runtime, const std::string& file, bool accelerated);

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_MODEL_TESTS_H_
