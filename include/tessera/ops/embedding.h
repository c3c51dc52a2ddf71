// SPDX-License-Identifier: Apache-2.0
// embedding: rows of a table, by their numbers.
#ifndef TESSERA_OPS_EMBEDDING_H_
#define TESSERA_OPS_EMBEDDING_H_

#include <cstdint>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/block_formats.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct EmbeddingOptions {
  float scale = 1;  // of the elements
  Context* context = nullptr;
};

namespace impl {

// Integers of 32 or 64 bits.
struct IndexView {
  const void* data = nullptr;
  bool is_wide = false;
  index_t count = 0, stride = 0;

  template <class T>
  explicit IndexView(const View<T, 1>& v)
      : data(v.data), is_wide(sizeof(T) == 8), count(v.extent(0)), stride(v.stride(0)) {
    static_assert(
        std::is_integral_v<T> && std::is_signed_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
        "tessera: indices are int32_t or int64_t");
  }

  index_t operator()(index_t i) const {
    if (is_wide) return static_cast<const std::int64_t*>(data)[i * stride];
    return static_cast<const std::int32_t*>(data)[i * stride];
  }
  TensorMemory memory() const {
    return {data, is_wide ? DType::kF64 : DType::kS32, 1, {count, 1, 1, 1, 1}, {stride}};
  }
};

struct EmbeddingProblem {
  TensorMemory table;
  const ConstBlockView* blocks;  // instead of the table
  IndexView indices;
  TensorMemory y;
  EmbeddingOptions options;
};

// Checks everything, then does it. Defined in embedding_driver.h.
void checked_embedding(const EmbeddingProblem& problem);

}  // namespace impl

// y[i] = table[indices[i]] * scale.
//
// table: View<const T, 2>    [vocabulary, columns], any strides; or ConstBlockView, any block format
// indices: View<const I, 1>  [n], int32_t or int64_t
// y: View<U, 2>              [n, columns], strides that visit no element twice
// T, U: f32, bf16, f16 in any mix
//
// Numerics: elements as f32 (of blocks as dequantize() gives them), times scale unless it is 1, rounded to U. The same
// bits on every target.
//
// Rows are shared out to the context's executor. Scratch: 4 * columns bytes, and per task as many. Empty results do nothing.
//
// Errors (tessera::Error, before anything is written): an index that is no row of the table, with its place; extents that
// don't match or are negative, null data, sizes that overflow, columns that are no whole blocks, a scale that is not
// finite, y that overlaps itself, the table or the indices.
template <class Table, class Indices, class Y>
void embedding(const Table& table, const Indices& indices, const Y& y,
               const EmbeddingOptions& options = {}) {
  const impl::IndexView rows(impl::as_view(indices));
  const impl::TensorMemory to = MutableFloatView<2>(y).memory();
  if constexpr (std::is_convertible_v<Table, ConstBlockView>) {
    const ConstBlockView blocks = table;
    impl::checked_embedding({{}, &blocks, rows, to, options});
  } else {
    impl::checked_embedding({FloatView<2>(table).memory(), nullptr, rows, to, options});
  }
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/embedding_driver.h"
#endif

#endif  // TESSERA_OPS_EMBEDDING_H_
