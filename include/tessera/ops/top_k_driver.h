// SPDX-License-Identifier: Apache-2.0
// What top_k.h does: checks, rows shared by the threads, and a heap of what is kept.
#ifndef TESSERA_OPS_TOP_K_DRIVER_H_
#define TESSERA_OPS_TOP_K_DRIVER_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ops/top_k.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_top_k(const TopKProblem& p) {
  const bool ranks = p.values.is_given();
  const NamedTensor x{"x", p.x}, values{"values", p.values.memory()},
      indices{"indices", tensor_memory(p.indices)};
  check_tensor(p.function, "x", p.x);
  const index_t rows = p.x.extents[0], cols = p.x.extents[1], k = p.indices.extent(1);
  if (cols > std::numeric_limits<std::int32_t>::max()) {
    fail(p.function, "x", "less than 2^31 columns", std::to_string(cols));
  }
  if (!ranks && rows > 0 && cols == 0) fail(p.function, "x", "at least 1 column", "0");
  if (!ranks && p.indices.extent(0) != rows) {
    fail(p.function, "indices", std::to_string(rows) + " elements, one for each row of x",
         std::to_string(p.indices.extent(0)));
  }
  if (ranks && (k < 0 || k > cols || p.indices.extent(0) != rows)) {
    fail(p.function, "indices",
         "extents {" + std::to_string(rows) + ", k}, the rows of x and k from 0 to " +
             std::to_string(cols),
         to_string(p.indices.extents));
  }
  check_result_memory(p.function, indices);
  check_apart(p.function, indices, x);
  if (!ranks) return;
  check_operand(p.function, values, indices.memory.extents, ", those of indices");
  check_result_memory(p.function, values);
  check_apart(p.function, values, x);
  check_apart(p.function, values, indices);
}

// A row of x as f32, piece by piece: in place, or through a buffer.
class FloatPieces {
 public:
  static constexpr index_t kPiece = 1024;

  FloatPieces(const NnKernels& kernels, const TensorMemory& x, index_t row)
      : kernels_(kernels), x_(x), row_(row), in_place_(is_f32_rows(x)) {}

  // Elements [begin, begin + n), n <= kPiece, until the next call.
  const float* at(index_t begin, index_t n) {
    const void* const from = element(x_, row_, begin);
    if (in_place_) return static_cast<const float*>(from);
    kernels_.load(x_.dtype, from, x_.strides[1], buffer_, n);
    return buffer_;
  }
  float value(index_t column) { return *at(column, 1); }

 private:
  const NnKernels& kernels_;
  const TensorMemory& x_;
  index_t row_;
  bool in_place_;
  alignas(64) float buffer_[kPiece];
};

// f(piece, its first column, its elements) for all of a row, until f returns false.
template <class F>
void for_pieces(FloatPieces& row, index_t first, index_t cols, F f) {
  for (index_t begin = first; begin < cols; begin += FloatPieces::kPiece) {
    const index_t n = std::min(FloatPieces::kPiece, cols - begin);
    if (!f(row.at(begin, n), begin, n)) return;
  }
}

inline index_t argmax_of_row(const TensorKernels& kernels, FloatPieces& row, index_t cols) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  float most = -kInf;
  index_t begin_of_most = 0;
  for_pieces(row, 0, cols, [&](const float* x, index_t begin, index_t n) {
    const float largest = kernels.largest(x, n);
    if (largest <= most) return true;
    most = largest;
    begin_of_most = begin;
    return !std::isnan(largest);
  });
  if (most == -kInf) return 0;
  const index_t n = std::min(FloatPieces::kPiece, cols - begin_of_most);
  // The first that is larger than all that are less.
  const float below = std::isnan(most) ? kInf : std::nextafter(most, -kInf);
  return begin_of_most + kernels.find_larger(row.at(begin_of_most, n), 0, n, below);
}

// An element and its column as a number: of two the larger one comes first.
inline std::uint64_t rank_of(float x, index_t column) {
  const auto bits = std::bit_cast<std::uint32_t>(x == 0 ? 0.0f : x);
  std::uint32_t order = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  if (std::isnan(x)) order = 0xffffffffu;
  return std::uint64_t{order} << 32 | (0xffffffffu - static_cast<std::uint32_t>(column));
}
inline float value_of_rank(std::uint64_t rank) {
  const auto order = static_cast<std::uint32_t>(rank >> 32);
  return std::bit_cast<float>(order >> 31 != 0 ? order & 0x7fffffffu : ~order);
}
inline std::int32_t column_of_rank(std::uint64_t rank) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(rank));
}

// The k largest of a row, in order, k > 0.
inline void top_k_of_row(const TensorKernels& kernels, FloatPieces& row, index_t cols, index_t k,
                         std::uint64_t* kept) {
  std::uint64_t* const end = kept + k;
  constexpr std::greater<std::uint64_t> kLast;  // the heap has the one that goes first at its top
  for_pieces(row, 0, k, [&](const float* x, index_t begin, index_t n) {
    for (index_t i = 0; i < n; ++i) kept[begin + i] = rank_of(x[i], begin + i);
    return true;
  });
  std::make_heap(kept, end, kLast);
  for_pieces(row, k, cols, [&](const float* x, index_t begin, index_t n) {
    for (index_t i = 0; i < n; ++i) {
      const float bound = value_of_rank(*kept);
      if (std::isnan(bound)) return false;
      i = kernels.find_larger(x, i, n, bound);
      if (i == n) break;
      std::pop_heap(kept, end, kLast);
      *(end - 1) = rank_of(x[i], begin + i);
      std::push_heap(kept, end, kLast);
    }
    return true;
  });
  std::sort_heap(kept, end, kLast);
}

TESSERA_LIBRARY_FUNCTION void checked_top_k(const TopKProblem& p) {
  const KernelTable& kernels = kernels_for < kNnFamily | kTensorFamily > (p.function, p.context);
  check_top_k(p);
  const index_t rows = p.x.extents[0], cols = p.x.extents[1], k = p.indices.extent(1);
  if (rows == 0 || k == 0) return;
  const bool ranks = p.values.is_given();
  const RowRuns runs(p.context, rows, cols);
  const RowScratch scratch(p.context, 0, runs.tasks(), ranks ? 3 * k : 0, p.function);
  runs.run([&](index_t i, index_t task) {
    FloatPieces row(kernels.nn, p.x, i);
    if (!ranks) {
      p.indices(i, 0) = static_cast<std::int32_t>(argmax_of_row(kernels.tensor, row, cols));
      return;
    }
    auto* const kept = reinterpret_cast<std::uint64_t*>(scratch.of(task));
    float* const values = scratch.of(task) + 2 * k;
    top_k_of_row(kernels.tensor, row, cols, k, kept);
    for (index_t s = 0; s < k; ++s) {
      p.indices(i, s) = column_of_rank(kept[s]);
      values[s] = row.value(p.indices(i, s));
    }
    store_row(kernels.nn, values, p.values.memory(), i, k);
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_TOP_K_DRIVER_H_
