// SPDX-License-Identifier: Apache-2.0
// What append_to_cache.h does: checks, and rows that are converted or quantized.
#ifndef TESSERA_OPS_APPEND_TO_CACHE_DRIVER_H_
#define TESSERA_OPS_APPEND_TO_CACHE_DRIVER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "tessera/core/block_formats.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/append_to_cache.h"
#include "tessera/ops/attention_checks.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ref/block_formats.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_append(const AppendProblem& p) {
  const bool paged = p.paged;
  const char* const name = paged ? "pages" : "cache";
  const auto& x = p.x.extents;
  const auto& c = p.cache.memory.extents;
  if (p.cache.is_blocks && p.cache.dim % info(p.cache.format).block != 0) {
    fail(p.function, name, "rows of whole blocks of " + std::to_string(info(p.cache.format).block),
         std::to_string(p.cache.dim) + " elements");
  }
  const std::array<NamedTensor, 3> read = {
      NamedTensor{"x", p.x}, NamedTensor{"positions", tensor_memory(p.positions)},
      NamedTensor{"block_table", tensor_memory(p.block_table)}};
  const std::array<NamedTensor, 1> written = {NamedTensor{name, p.cache.memory}};
  for (const NamedTensor& t : read) check_tensor(p.function, t.name, t.memory);
  check_tensor(p.function, name, p.cache.memory);
  if (!paged) check_extent(p.function, name, p.cache.memory, 0, x[0], "sequences", "those of x");
  check_extent(p.function, name, p.cache.memory, 1, x[1], "heads", "those of x");
  if (p.cache.dim != x[3]) {
    fail(p.function, name, std::to_string(x[3]) + " elements per row (those of x)",
         std::to_string(p.cache.dim));
  }
  if (p.positions.extent(0) != x[0]) {
    fail(p.function, "positions", std::to_string(x[0]) + " elements, one for each sequence",
         std::to_string(p.positions.extent(0)));
  }
  if (paged && p.block_table.extent(0) != x[0]) {
    fail(p.function, "block_table", std::to_string(x[0]) + " rows, one for each sequence",
         std::to_string(p.block_table.extent(0)));
  }
  if (paged && c[2] < 1) fail(p.function, name, "pages of at least 1 token", "0");
  const index_t capacity = paged ? p.block_table.extent(1) * c[2] : c[2];
  for (index_t b = 0; b < x[0]; ++b) {
    const index_t first = p.positions(b);
    if (first < 0 || x[2] > capacity - first) {
      fail(p.function, "positions",
           "room for " + std::to_string(x[2]) + " of " + std::to_string(capacity) + " tokens",
           "position " + std::to_string(first));
    }
    for (index_t i = first; paged && i < first + x[2]; ++i) {
      const index_t page = p.block_table(b, i / c[2]);
      if (page < 0 || page >= c[0]) {
        fail(p.function, "block_table", "pages from 0 to " + std::to_string(c[0] - 1),
             std::to_string(page));
      }
    }
  }
  check_written(p.function, written, read);
}

// A row of x into the cache. Pieces of rows pass through f32.
inline void append_row(const AppendProblem& p, const KernelTable& kernels, const std::byte* from,
                       std::byte* to) {
  constexpr index_t kPiece = 256;  // a multiple of all blocks
  alignas(64) float piece[kPiece];
  const index_t dim = p.x.extents[3], size = size_of(p.x.dtype);
  const BlockFormatInfo format = info(p.cache.format);
  for (index_t i = 0; i < dim; i += kPiece) {
    const index_t n = std::min(kPiece, dim - i);
    kernels.gemm_f32.convert_a(p.x.dtype, offset(from, i * p.x.strides[3] * size), p.x.strides[3],
                               piece, n, 0);
    if (!p.cache.is_blocks) {
      const index_t stride = p.cache.memory.strides[3];
      const DType dtype = p.cache.memory.dtype;
      kernels.attention.store_row(piece, to + i * stride * size_of(dtype), dtype, stride, n);
      continue;
    }
    const auto quantize = kernels.blocks.quantize(p.cache.format);
    std::byte* const blocks = to + i / format.block * format.bytes;
    const bool even = reinterpret_cast<std::uintptr_t>(blocks) % 2 == 0;
    for (index_t j = 0, count = n / format.block; j < count; ++j) {
      if (quantize != nullptr && even)
        j += quantize(piece + j * format.block, blocks + j * format.bytes, count - j);
      if (j < count) {
        ref::quantize_block(p.cache.format, piece + j * format.block, blocks + j * format.bytes,
                            nullptr, p.cache.tensor_scale);
      }
    }
  }
}

TESSERA_LIBRARY_FUNCTION void checked_append(const AppendProblem& p) {
  const KernelTable& kernels =
      kernels_for(p.function, p.context ? p.context->target : std::nullopt);
  check_append(p);
  if (p.x.is_empty()) return;
  const auto& x = p.x;
  const TensorMemory& c = p.cache.memory;
  const index_t heads = x.extents[1], tokens = x.extents[2];
  for_rows(p.context, x.extents[0] * tokens * heads, x.extents[3], [&](index_t i) {
    const index_t h = i % heads, t = i / heads % tokens, b = i / heads / tokens;
    index_t batch = b, token = p.positions(b) + t;
    if (p.paged) {
      batch = p.block_table(b, token / c.extents[2]);
      token %= c.extents[2];
    }
    const index_t at = batch * c.strides[0] + h * c.strides[1] + token * c.strides[2];
    append_row(
        p, kernels,
        offset(x.data, (b * x.strides[0] + h * x.strides[1] + t * x.strides[2]) * size_of(x.dtype)),
        const_cast<std::byte*>(offset(c.data, at * size_of(c.dtype))));
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_APPEND_TO_CACHE_DRIVER_H_
