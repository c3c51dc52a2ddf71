// SPDX-License-Identifier: Apache-2.0
// The provider as a guest: errors, threads, processes, loading again.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_HOST_TESTS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_HOST_TESTS_H_

#include "runtime.h"

namespace tessera::ort {

// Returns how many checks failed.
int check_host(Runtime& runtime);

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_HOST_TESTS_H_
