// SPDX-License-Identifier: Apache-2.0
// rope: rotary position embeddings of queries and keys.
#ifndef TESSERA_OPS_ROPE_H_
#define TESSERA_OPS_ROPE_H_

#include <cstdint>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/rope_table.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

struct RopeOptions {
  bool interleaved = false;  // pairs are neighbours (2 i, 2 i + 1), not halves (i, i + dims / 2)
  View<const std::int32_t, 2> positions{};  // [batch, tokens]; none: 0, 1 .. of each sequence
  Context* context = nullptr;
};

namespace impl {

struct RopeProblem {
  TensorMemory x, y;  // [batch, tokens, heads, head size]
  View<const float, 2> cos, sin;
  RopeOptions options;
};

// Checks everything, then does it. Defined in rope_driver.h.
void checked_rope(const RopeProblem& problem);

// [tokens, heads, head size] as one sequence.
inline TensorMemory with_batch(const TensorMemory& t) {
  if (t.rank == 4) return t;
  TensorMemory four = t;
  four.rank = 4;
  for (int axis = 0; axis < 4; ++axis) {
    four.extents[axis] = axis == 0 ? 1 : t.extents[axis - 1];
    four.strides[axis] = axis == 0 ? 0 : t.strides[axis - 1];
  }
  return four;
}

}  // namespace impl

// The first `dims` elements of each head of x, as dims / 2 points of a plane, each turned by its angle at the position of
// the token; the other elements are copied.
//
// x: View<const T, 4>  [batch, tokens, heads, head size], or 3 without batch; any strides: of memory [batch, heads,
//    tokens, head size] the view with these axes swapped. Fast where those of head size are 1.
// cos, sin: View<const float, 2>  [positions, dims / 2], with contiguous rows: from rope_table(), or by half the head size
//    less for a partial rotation
// y: like x, with elements of U, strides that visit no element twice; may be x itself
// T, U: f32, bf16, f16
//
// With options.interleaved pairs are neighbours (GPT-J, the first Llama), without halves of the rotated elements (GPT-NeoX,
// the Llama of Hugging Face).
//
// Numerics: in f32, (a, b) to (a c - b s, b c + a s), each one product, then a fused one, rounded to U. The same bits on
// every target with FMA.
//
// Tokens are shared out to the context's executor. Elements that are not f32 with unit stride take 4 * head size bytes of
// scratch per task. Empty tensors do nothing.
//
// Errors (tessera::Error, before anything is written): y of other extents than x, tables with more pairs than half the
// head size, of different extents or with rows that are not contiguous, positions that the tables don't have, negative
// extents, null data, sizes that overflow, y that overlaps itself, the tables, the positions, or x without being the same.
template <class X, class Y>
void rope(const X& x, const View<const float, 2>& cos, const View<const float, 2>& sin, const Y& y,
          const RopeOptions& options = {}) {
  constexpr int kRank = decltype(impl::as_view(x))::kRank;
  static_assert(kRank == 3 || kRank == 4,
                "tessera: x must be [batch, tokens, heads, head size], or without batch");
  impl::checked_rope({impl::with_batch(FloatView<kRank>(x).memory()),
                      impl::with_batch(MutableFloatView<kRank>(y).memory()), cos, sin, options});
}

}  // namespace tessera::inline TESSERA_ABI

#if !TESSERA_COMPILED
#include "tessera/ops/rope_driver.h"
#endif

#endif  // TESSERA_OPS_ROPE_H_
