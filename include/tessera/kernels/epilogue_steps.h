// SPDX-License-Identifier: Apache-2.0
// What happens to a tile of results before it is stored, as plain data: the drivers and the kernels
// share it. ops/epilogue.h has the functions that users call.
#ifndef TESSERA_KERNELS_EPILOGUE_STEPS_H_
#define TESSERA_KERNELS_EPILOGUE_STEPS_H_

#include <array>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera {

// Results on their way to memory, as a user's function sees them: values(i, j) is element
// (row + i, col + j) of the result.
template <class T>
struct EpilogueTile {
  View<T, 2> values;
  index_t row = 0, col = 0;
};

namespace detail {

enum class EpilogueOp : std::uint8_t {
  // With a vector or matrix:
  kAddRow,  // x[i]
  kAddColumn,
  kScaleRow,
  kScaleColumn,
  kResidual,
  // With constants p[0], p[1]:
  kScale,
  kLeakyRelu,
  kClamp,
  kRequantize,
  // With nothing:
  kRelu,
  kGelu,
  kGeluTanh,
  kSilu,
  kSigmoid,
  kTanh,
  kHardSwish,
  // With a user's function:
  kFunction,
};

// True for ops that read memory of the user.
constexpr bool has_data(EpilogueOp op) { return op <= EpilogueOp::kResidual; }
// True for ops that exist in f32 only.
constexpr bool is_transcendental(EpilogueOp op) {
  return op >= EpilogueOp::kGelu && op <= EpilogueOp::kHardSwish;
}

struct EpilogueStep {
  EpilogueOp op{};
  DType dtype{};         // of data
  std::int8_t rank = 0;  // of data; of more than 2 axes, Epilogue::tensor() has extents and strides
  const void* data = nullptr;        // kResidual: [m, n], or a tensor; others: [extents[0]]
  std::array<index_t, 2> extents{};  // of data
  std::array<index_t, 2> strides{};  // of data
  std::array<double, 2> p{};         // rounded to the type of the sums
  void (*function)(void*,
                   const void*) = nullptr;  // (state, an EpilogueTile of the type of the sums)
  void* state = nullptr;
};

}  // namespace detail
}  // namespace tessera

#endif  // TESSERA_KERNELS_EPILOGUE_STEPS_H_
