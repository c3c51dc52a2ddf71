// SPDX-License-Identifier: Apache-2.0
// Rows of f32, bf16 or f16 with any strides, for kernels that take contiguous f32.
#ifndef TESSERA_OPS_FLOAT_ROWS_H_
#define TESSERA_OPS_FLOAT_ROWS_H_

#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>

#include "tessera/config.h"
#include "tessera/core/cache.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/scratch.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline const tessera::detail::NnKernels& nn_kernels_for(const char* function,
                                                        const Context* context) {
  return kernels_for<tessera::detail::kNnFamily>(function, context).nn;
}

inline const void* element(const TensorMemory& t, index_t i, index_t j = 0, index_t k = 0,
                           index_t l = 0) {
  const index_t to = i * t.strides[0] + j * t.strides[1] + k * t.strides[2] + l * t.strides[3];
  return offset(t.data, to * size_of(t.dtype));
}
inline void* mutable_element(const TensorMemory& t, index_t i, index_t j = 0, index_t k = 0,
                             index_t l = 0) {
  return const_cast<void*>(element(t, i, j, k, l));
}

// Rows that kernels can read and write where they are.
inline bool is_f32_rows(const TensorMemory& t) {
  return t.dtype == DType::kF32 && (t.strides[1] == 1 || t.extents[1] == 1);
}

// Whether results go past the caches: rows of f32 that are shorter than caches are, of a matrix that is larger than they
// are, so that its lines would be read before they are written, and push others out. Not where those of x were just read.
inline bool streams(const TensorMemory& x, const TensorMemory& y) {
  constexpr index_t kMostColumns = 16384;
  const auto bytes = static_cast<std::size_t>(y.extents[0] * y.extents[1]) * sizeof(float);
  const std::size_t l3 = machine_caches().l3.bytes;
  return l3 != 0 && bytes > l3 && y.extents[1] <= kMostColumns && x.data != y.data;
}

// Row i as f32: in place, or the first n elements of it in `line`.
inline const float* load_row(const tessera::detail::NnKernels& kernels, const TensorMemory& t,
                             index_t i, index_t n, float* line) {
  if (is_f32_rows(t)) return static_cast<const float*>(element(t, i));
  kernels.load(t.dtype, element(t, i), t.strides[1], line, n);
  return line;
}

// Where row i of a result is computed, and its way from there to the result.
inline float* row_to_write(const TensorMemory& t, index_t i, float* line) {
  return is_f32_rows(t) ? static_cast<float*>(mutable_element(t, i)) : line;
}
inline void store_row(const tessera::detail::NnKernels& kernels, const float* row,
                      const TensorMemory& t, index_t i, index_t n) {
  if (row == element(t, i)) return;
  kernels.store(row, t.dtype, mutable_element(t, i), t.strides[1], n);
}

// Floats for each task of a call, and some that all of them read. Their number is at most a few times that of the
// elements of an operand, whose size was checked.
class RowScratch {
 public:
  RowScratch(Context* context, index_t shared, index_t tasks, index_t floats, const char* function)
      : shared_(aligned_floats(shared)), each_(aligned_floats(floats)) {
    const index_t count = shared_ + tasks * each_;
    if (count == 0) return;
    Scratch& scratch = context != nullptr ? context->scratch : tessera::detail::thread_scratch();
    memory_ = reinterpret_cast<float*>(
        scratch.reserve(static_cast<std::size_t>(count) * sizeof(float), function));
  }
  float* shared() const { return memory_; }
  float* of(index_t task) const { return memory_ + shared_ + task * each_; }

 private:
  static index_t aligned_floats(index_t floats) {
    constexpr auto kSize = static_cast<index_t>(sizeof(float));
    return tessera::detail::aligned(floats * kSize) / kSize;
  }

  index_t shared_, each_;
  float* memory_ = nullptr;
};

// Extents, null, overflow; each element of the result once.
inline void check_result_memory(const char* function, const NamedTensor& y) {
  check_tensor(function, y.name, y.memory);
  check_nested(function, y);
}

// Extents, null, overflow of an operand that must have these extents, which `why` explains.
inline void check_operand(const char* function, const NamedTensor& x,
                          const std::array<index_t, kMostAxes>& expected, const char* why) {
  check_tensor(function, x.name, x.memory);
  if (x.memory.extents == expected) return;
  fail(function, x.name, "extents " + text_of(expected, x.memory.rank) + why,
       text_of(x.memory.extents, x.memory.rank));
}

// options.epsilon, which is added to a mean of squares.
inline void check_epsilon(const char* function, float epsilon) {
  if (epsilon >= 0 && epsilon <= std::numeric_limits<float>::max()) return;
  fail(function, "options.epsilon", "a finite number of at least 0", std::to_string(epsilon));
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_FLOAT_ROWS_H_
