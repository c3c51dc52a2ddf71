// SPDX-License-Identifier: Apache-2.0
// Memory: plain tensors, as the CPU has them, and beside those that a model says are weights what products make of them.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_BUFFER_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_BUFFER_H_

#include <ggml-backend.h>

#include <cstddef>

namespace ggml_port {

ggml_backend_buffer_type_t buffer_type(ggml_backend_dev_t device);
// Memory of somebody else, such as a mapped file.
ggml_backend_buffer_t buffer_of(ggml_backend_dev_t device, void* memory, std::size_t size);

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_BUFFER_H_
