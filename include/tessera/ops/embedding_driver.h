// SPDX-License-Identifier: Apache-2.0
// What embedding.h does: checks, and rows shared by the threads.
#ifndef TESSERA_OPS_EMBEDDING_DRIVER_H_
#define TESSERA_OPS_EMBEDDING_DRIVER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "tessera/core/block_formats.h"
#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/ops/embedding.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/quantize_driver.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ref/block_formats.h"

namespace tessera::inline TESSERA_ABI::impl {

// Each index is a row of what has `rows` of them, which `why` names.
inline void check_indices(const char* function, const char* argument, const IndexView& indices,
                          index_t rows, const char* why) {
  for (index_t i = 0; i < indices.count; ++i) {
    const index_t index = indices(i);
    if (index >= 0 && index < rows) continue;
    fail(function, argument, "numbers from 0 to " + std::to_string(rows - 1) + why,
         std::to_string(index) + " (element " + std::to_string(i) + ")");
  }
}

inline void check_embedding(const EmbeddingProblem& p) {
  constexpr const char* kName = "embedding";
  AddressRange range;
  index_t rows = p.table.extents[0], columns = p.table.extents[1];
  if (p.blocks != nullptr) {
    range = check_blocks(kName, "table", *p.blocks);
    rows = p.blocks->rows;
    columns = p.blocks->cols;
  } else {
    range = check_tensor(kName, "table", p.table);
  }
  const NamedTensor indices{"indices", p.indices.memory()}, y{"y", p.y};
  check_tensor(kName, "indices", indices.memory);
  check_operand(kName, y, {p.indices.count, columns, 1, 1, 1},
                ", the number of indices and the columns of table");
  if (!(std::abs(p.options.scale) <= std::numeric_limits<float>::max())) {
    fail(kName, "options.scale", "a finite number", std::to_string(p.options.scale));
  }
  check_indices(kName, "indices", p.indices, rows, " (the rows of table)");
  check_result_memory(kName, y);
  check_apart(kName, y, indices);
  if (p.blocks == nullptr) {
    check_apart(kName, y, {"table", p.table});
  } else if (!p.y.is_empty() && range.meets(check_tensor(kName, "y", p.y))) {
    fail(kName, "y", "memory that does not overlap table", "an overlapping view");
  }
}

// A row of blocks as f32.
inline void dequantize_row(const ConstBlockView& table, DequantizeBlocks kernel, index_t row,
                           float* to) {
  const BlockFormatInfo format = info(table.format);
  const std::byte* const from = table.row(row);
  const index_t count = table.cols / format.block;
  if (kernel != nullptr && is_even(from)) return kernel(from, to, count);
  for (index_t i = 0; i < count; ++i) {
    ref::dequantize_block(table.format, from + i * format.bytes, to + i * format.block,
                          table.tensor_scale);
  }
}

TESSERA_LIBRARY_FUNCTION void checked_embedding(const EmbeddingProblem& p) {
  constexpr const char* kName = "embedding";
  Context* const context = p.options.context;
  const KernelTable& kernels = kernels_for < kBlocksFamily | kNnFamily > (kName, context);
  check_embedding(p);
  if (p.y.is_empty()) return;
  const index_t columns = p.y.extents[1];
  const RowRuns runs(context, p.y.extents[0], columns);
  const auto is_contiguous = [&](const TensorMemory& t) {
    return t.strides[1] == 1 || columns == 1;
  };
  const bool scales = p.options.scale != 1;
  if (!scales && p.blocks == nullptr && p.table.dtype == p.y.dtype && is_contiguous(p.table) &&
      is_contiguous(p.y)) {
    return runs.run([&](index_t i, index_t) {
      std::memcpy(mutable_element(p.y, i), element(p.table, p.indices(i)),
                  static_cast<std::size_t>(columns * size_of(p.y.dtype)));
    });
  }
  const RowScratch scratch(context, scales ? columns : 0, runs.tasks(), columns, kName);
  if (scales) std::fill_n(scratch.shared(), columns, p.options.scale);
  const DequantizeBlocks dequantize =
      p.blocks != nullptr ? kernels.blocks.dequantize(p.blocks->format) : nullptr;
  runs.run([&](index_t i, index_t task) {
    float* const to = row_to_write(p.y, i, scratch.of(task));
    const float* from = to;
    if (p.blocks != nullptr) {
      dequantize_row(*p.blocks, dequantize, p.indices(i), to);
    } else {
      from = load_row(kernels.nn, p.table, p.indices(i), columns, to);
    }
    if (scales) {
      kernels.nn.of(BinaryOp::kMul)(from, scratch.shared(), to, columns);
      from = to;
    }
    store_row(kernels.nn, from, p.y, i, columns);
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_EMBEDDING_DRIVER_H_
