// SPDX-License-Identifier: Apache-2.0
// The interface of Winograd's transforms for 3x3 filters, F(m x m, 3x3): plain data.
#ifndef TESSERA_KERNELS_WINOGRAD_KERNELS_H_
#define TESSERA_KERNELS_WINOGRAD_KERNELS_H_

#include "tessera/core/view.h"

namespace tessera::detail {

// A tile of (m + 2)^2 pixels, `row` and `pixel` elements apart, becomes (m + 2)^2 vectors of channels, `step` apart.
struct WinogradInput {
  const float* x;
  index_t row, pixel;
  index_t channels;
  float* to;
  index_t step;
};

// And back: (m + 2)^2 vectors become m^2 pixels, of which the first rows x cols are stored.
struct WinogradOutput {
  const float* from;
  index_t step;
  index_t channels;
  float* y;
  index_t row, pixel;
  index_t rows, cols;
};

struct WinogradKernels {
  void (*input)(const WinogradInput&) = nullptr;
  void (*output)(const WinogradOutput&) = nullptr;
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_WINOGRAD_KERNELS_H_
