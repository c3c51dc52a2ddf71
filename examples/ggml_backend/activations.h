// SPDX-License-Identifier: Apache-2.0
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_ACTIVATIONS_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_ACTIVATIONS_H_

#include "tessera/core/view.h"

namespace ggml_port {

// to[i] = x[i] as the CPU backend rounds it for weights in blocks of 32: to 8 bits, with a scale of 16 for 32 elements. n: a
// multiple of 32. Tessera's products keep scales of 32 bits, which differ by up to 2^-11 of them.
//
// to[i] is the code times the scale. Rounding that again to 8 bits gives the same codes, one of which is 127 or -127, and this
// scale: 127 times it is exact. What f16 can't hold stays as it is.
void round_activations(const float* x, float* to, tessera::index_t n);

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_ACTIVATIONS_H_
