// SPDX-License-Identifier: Apache-2.0
// What append_to_cache.h does: checks, and rows that are turned, converted or quantized.
#ifndef TESSERA_OPS_APPEND_TO_CACHE_DRIVER_H_
#define TESSERA_OPS_APPEND_TO_CACHE_DRIVER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "tessera/core/affine.h"
#include "tessera/core/block_formats.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/minifloat.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/append_to_cache.h"
#include "tessera/ops/attention_checks.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ref/block_formats.h"

namespace tessera::inline TESSERA_ABI::impl {

// The row of cos and sin for a token.
inline index_t rope_position(const AppendProblem& p, index_t b, index_t t) {
  const auto& given = p.options.rope_positions;
  return given.data != nullptr ? given(b, t) : p.positions(b) + t;
}

inline void check_rotation(const AppendProblem& p) {
  const View<const float, 2>&cos = p.options.cos, &sin = p.options.sin;
  const auto& x = p.x.extents;
  if (sin.extents != cos.extents) {
    fail(p.function, "options.sin", "extents " + to_string(cos.extents) + ", those of cos",
         to_string(sin.extents));
  }
  for (const auto* table : {&cos, &sin}) {
    if (table->extent(1) > 1 && table->stride(1) != 1) {
      fail(p.function, table == &cos ? "options.cos" : "options.sin", "rows of stride 1",
           "stride " + std::to_string(table->stride(1)));
    }
  }
  if (cos.extent(1) > x[3] / 2) {
    fail(p.function, "options.cos",
         "at most " + std::to_string(x[3] / 2) + " columns (half of the dim)",
         std::to_string(cos.extent(1)));
  }
  const auto& positions = p.options.rope_positions;
  const std::array<index_t, 2> expected = {x[0], x[2]};
  if (positions.data != nullptr && positions.extents != expected) {
    fail(p.function, "options.rope_positions",
         "extents " + to_string(expected) + ", the batch and the tokens of x",
         to_string(positions.extents));
  }
  if (cos.extent(1) == 0) return;
  for (index_t b = 0; b < x[0]; ++b) {
    for (index_t t = 0; t < x[2]; ++t) {
      const index_t position = rope_position(p, b, t);
      if (position >= 0 && position < cos.extent(0)) continue;
      fail(p.function, positions.data != nullptr ? "options.rope_positions" : "positions",
           "positions below " + std::to_string(cos.extent(0)) + ", the rows of cos",
           std::to_string(position));
    }
  }
}

inline void check_append(const AppendProblem& p) {
  const bool paged = p.paged;
  const char* const name = paged ? "pages" : "cache";
  const auto& x = p.x.extents;
  const auto& c = p.cache.memory.extents;
  if (p.cache.is_blocks && p.cache.dim % info(p.cache.format).block != 0) {
    fail(p.function, name, "rows of whole blocks of " + std::to_string(info(p.cache.format).block),
         std::to_string(p.cache.dim) + " elements");
  }
  const TensorMemory positions = tensor_memory(p.positions), pages = tensor_memory(p.block_table),
                     scales = tensor_memory(p.options.scales), cos = tensor_memory(p.options.cos),
                     sin = tensor_memory(p.options.sin),
                     rope_positions = tensor_memory(p.options.rope_positions);
  const std::array<NamedTensor, 7> read = {NamedTensor{"x", p.x},
                                           NamedTensor{"positions", positions},
                                           NamedTensor{"block_table", pages},
                                           NamedTensor{"options.scales", scales},
                                           NamedTensor{"options.cos", cos},
                                           NamedTensor{"options.sin", sin},
                                           NamedTensor{"options.rope_positions", rope_positions}};
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
  check_scales(p.function, "options.scales", p.options.scales, x[1]);
  check_rotation(p);
  check_written(p.function, written, read);
}

inline std::uint8_t code_of(float x, tessera::detail::KeyCode code) {
  using tessera::detail::KeyCode;
  if (code == KeyCode::kE4M3) return fp8_e4m3(x).bits;
  if (code == KeyCode::kE5M2) return fp8_e5m2(x).bits;
  return static_cast<std::uint8_t>(affine_code(x, 1, 0, -128, 127));
}

inline void store_cache_row(const KeyTensor& cache, const KernelTable& kernels, const float* row,
                            std::byte* to) {
  const index_t stride = cache.memory.strides[3];
  if (!cache.is_coded()) {
    return kernels.attention.store_row(row, to, cache.memory.dtype, stride, cache.dim);
  }
  if (!cache.is_blocks) {
    for (index_t i = 0; i < cache.dim; ++i) {
      to[i * stride] = static_cast<std::byte>(code_of(row[i], cache.code));
    }
    return;
  }
  const BlockFormatInfo format = info(cache.format);
  const auto quantize = kernels.blocks.quantize(cache.format);
  const bool even = reinterpret_cast<std::uintptr_t>(to) % 2 == 0;
  for (index_t j = 0, count = cache.dim / format.block; j < count; ++j) {
    if (quantize != nullptr && even) {
      j += quantize(row + j * format.block, to + j * format.bytes, count - j);
    }
    if (j < count) {
      ref::quantize_block(cache.format, row + j * format.block, to + j * format.bytes, nullptr,
                          cache.tensor_scale);
    }
  }
}

TESSERA_LIBRARY_FUNCTION void checked_append(const AppendProblem& p) {
  const AppendOptions& o = p.options;
  const KernelTable& kernels = kernels_for < kGemmFamily | kBlocksFamily | kNnFamily |
                               kAttentionFamily > (p.function, o.context);
  check_append(p);
  if (p.x.is_empty()) return;
  const auto& x = p.x;
  const TensorMemory& c = p.cache.memory;
  const index_t heads = x.extents[1], tokens = x.extents[2], dim = x.extents[3];
  const index_t pairs = o.cos.extent(1);
  const auto rotate = o.interleaved ? kernels.nn.rope_neighbours : kernels.nn.rope_halves;
  const RowRuns runs(o.context, x.extents[0] * tokens * heads, dim);
  const RowScratch scratch(o.context, 0, runs.tasks(), dim, p.function);
  runs.run([&](index_t i, index_t task) {
    const index_t h = i % heads, t = i / heads % tokens, b = i / heads / tokens;
    index_t batch = b, token = p.positions(b) + t;
    if (p.paged) {
      batch = p.block_table(b, token / c.extents[2]);
      token %= c.extents[2];
    }
    const index_t from = b * x.strides[0] + h * x.strides[1] + t * x.strides[2];
    const index_t to = batch * c.strides[0] + h * c.strides[1] + token * c.strides[2];
    float* const row = scratch.of(task);
    kernels.gemm_f32.convert_a(x.dtype, offset(x.data, from * size_of(x.dtype)), x.strides[3], row,
                               dim, 0);
    if (pairs > 0) {
      const index_t position = rope_position(p, b, t);
      rotate(row, &o.cos(position, 0), &o.sin(position, 0), row, pairs);
    }
    if (o.scales.data != nullptr) {
      const float scale = o.scales(o.scales.extent(0) == 1 ? 0 : h);
      for (index_t j = 0; j < dim; ++j) row[j] /= scale;
    }
    store_cache_row(p.cache, kernels, row,
                    const_cast<std::byte*>(offset(c.data, to * size_of(c.dtype))));
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_APPEND_TO_CACHE_DRIVER_H_
