// SPDX-License-Identifier: Apache-2.0
// ONNX's own tests of operators.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_NODE_TESTS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_NODE_TESTS_H_

#include <string>

#include "runtime.h"

namespace tessera::ort {

// Runs those of the operators that there are kernels for, from a directory of directories test_*/. Returns how many failed.
int check_nodes(Runtime& runtime, const std::string& directory);

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_NODE_TESTS_H_
