// SPDX-License-Identifier: Apache-2.0
// What rope.h does: checks, and tokens shared by the threads.
#ifndef TESSERA_OPS_ROPE_DRIVER_H_
#define TESSERA_OPS_ROPE_DRIVER_H_

#include <algorithm>
#include <cstdint>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rope.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

inline void check_rope(const RopeProblem& p) {
  const char* const function = "rope";
  const TensorMemory cos = tensor_memory(p.cos), sin = tensor_memory(p.sin),
                     positions = tensor_memory(p.options.positions);
  const NamedTensor y{"y", p.y};
  check_tensor(function, "x", p.x);
  check_operand(function, y, p.x.extents, ", those of x");
  check_result_memory(function, y);
  check_apart(function, y, {"x", p.x}, true);
  check_tensor(function, "cos", cos);
  check_operand(function, {"sin", sin}, cos.extents, ", those of cos");
  check_apart(function, y, {"cos", cos}, false);
  check_apart(function, y, {"sin", sin}, false);
  for (const NamedTensor& t : {NamedTensor{"cos", cos}, NamedTensor{"sin", sin}}) {
    if (t.memory.extents[1] > 1 && t.memory.strides[1] != 1) {
      fail(function, t.name, "rows of stride 1", "stride " + std::to_string(t.memory.strides[1]));
    }
  }
  if (cos.extents[1] > p.x.extents[3] / 2) {
    fail(function, "cos",
         "at most " + std::to_string(p.x.extents[3] / 2) + " columns (half of the head size)",
         std::to_string(cos.extents[1]));
  }
  const std::string range =
      "positions below " + std::to_string(cos.extents[0]) + ", the rows of cos";
  if (positions.data == nullptr) {
    if (!p.x.is_empty() && p.x.extents[1] > cos.extents[0]) {
      fail(function, "x", range, std::to_string(p.x.extents[1]) + " tokens");
    }
    return;
  }
  check_operand(function, {"options.positions", positions},
                {p.x.extents[0], p.x.extents[1], 1, 1, 1}, ", the batch and the tokens of x");
  check_apart(function, y, {"options.positions", positions}, false);
  for (index_t b = 0; b < p.x.extents[0]; ++b) {
    for (index_t t = 0; t < p.x.extents[1]; ++t) {
      const std::int32_t position = p.options.positions(b, t);
      if (position < 0 || position >= cos.extents[0]) {
        fail(function, "options.positions", range, std::to_string(position));
      }
    }
  }
}

TESSERA_LIBRARY_FUNCTION void checked_rope(const RopeProblem& p) {
  Context* const context = p.options.context;
  const auto& kernels = nn_kernels_for("rope", context);
  check_rope(p);
  if (p.x.is_empty()) return;
  const index_t tokens = p.x.extents[1], heads = p.x.extents[2], size = p.x.extents[3];
  const index_t pairs = p.cos.extent(1);
  const auto is_f32 = [&](const TensorMemory& t) {
    return t.dtype == DType::kF32 && (t.strides[3] == 1 || size == 1);
  };
  const bool x_in_place = is_f32(p.x), y_in_place = is_f32(p.y);
  const RowRuns runs(context, p.x.extents[0] * tokens, heads * size);
  const RowScratch scratch(context, 0, runs.tasks(), x_in_place && y_in_place ? 0 : size, "rope");
  const auto kernel = p.options.interleaved ? kernels.rope_neighbours : kernels.rope_halves;
  runs.run([&](index_t i, index_t task) {
    const index_t batch = i / tokens, token = i % tokens;
    const index_t position =
        p.options.positions.data != nullptr ? p.options.positions(batch, token) : token;
    const float* const cos = p.cos.data + position * p.cos.stride(0);
    const float* const sin = p.sin.data + position * p.sin.stride(0);
    for (index_t head = 0; head < heads; ++head) {
      float* const line = scratch.of(task);
      const void* const x = element(p.x, batch, token, head);
      void* const y = mutable_element(p.y, batch, token, head);
      const float* from = static_cast<const float*>(x);
      if (!x_in_place) {
        kernels.load(p.x.dtype, x, p.x.strides[3], line, size);
        from = line;
      }
      float* const to = y_in_place ? static_cast<float*>(y) : line;
      kernel(from, cos, sin, to, pairs);
      if (from != to) std::copy(from + 2 * pairs, from + size, to + 2 * pairs);
      if (!y_in_place) kernels.store(to, p.y.dtype, y, p.y.strides[3], size);
    }
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ROPE_DRIVER_H_
