// SPDX-License-Identifier: Apache-2.0
// The C++ interface of ONNX Runtime, with the functions that the host hands over: nothing is linked.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_API_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_API_H_

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_API_H_
