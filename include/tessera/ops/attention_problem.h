// SPDX-License-Identifier: Apache-2.0
// The options of attention, and a call of it as data.
#ifndef TESSERA_OPS_ATTENTION_PROBLEM_H_
#define TESSERA_OPS_ATTENTION_PROBLEM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/attention.h"
#include "tessera/core/block_formats.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/kv_cache.h"
#include "tessera/core/minifloat.h"
#include "tessera/core/view.h"
#include "tessera/kernels/attention_kernels.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

// What is added to scores: View<const T, 4> [batch, heads, tokens, kv_tokens], each extent as it is or 1 for all.
// T: f32, bf16, f16, where -infinity leaves a key out, or bool, where false does.
class AttentionMask {
 public:
  AttentionMask() = default;
  template <class T>
  AttentionMask(const View<T, 4>& mask) {  // NOLINT: implicit by design
    using Value = std::remove_const_t<T>;
    static_assert(std::is_same_v<Value, float> || std::is_same_v<Value, bf16> ||
                      std::is_same_v<Value, f16> || std::is_same_v<Value, bool>,
                  "tessera: a mask has elements of f32, bf16, f16 or bool");
    given_ = true;
    memory_.data = mask.data;
    memory_.rank = 4;
    memory_.extents.fill(1);
    if constexpr (std::is_same_v<Value, bool>) {
      memory_.dtype = DType::kU8;
    } else {
      memory_.dtype = DTypeTraits<Value>::kDType;
    }
    for (int axis = 0; axis < 4; ++axis) {
      memory_.extents[axis] = mask.extents[axis];
      memory_.strides[axis] = mask.strides[axis];
    }
  }

  bool is_given() const { return given_; }
  const impl::TensorMemory& memory() const { return memory_; }

 private:
  impl::TensorMemory memory_{};
  bool given_ = false;
};

struct AttentionOptions {
  float scale = 0;  // of the scores; 0: 1 / sqrt(dim)
  bool causal =
      false;  // queries see no key behind their own position, which is that of the last key for the last query
  index_t window = 0;  // queries see keys less than `window` positions away; 0: any
  float softcap = 0;   // scores become softcap * tanh(score / softcap); 0: not
  View<const float, 1> alibi_slopes{};  // [heads]: scores lose slope * distance of the positions
  AttentionMask mask{};                 // is added to the scores
  View<const float, 1> sinks{};         // [heads]: the score of one more key, whose value is 0
  View<const std::int32_t, 1>
      kv_lengths{};  // [batch]: the keys that there are; those behind are not read
  // [kv_heads], or [1] for all heads: keys, values are their elements times these; none: 1
  View<const float, 1> k_scales{}, v_scales{};
  View<float, 3>
      log_sums{};  // [batch, heads, tokens]: ln of the sum of e^score, for merging results
  Context* context = nullptr;
};

namespace impl {

// K or V: elements, or rows of blocks, whose memory is bytes.
struct KeyTensor {
  TensorMemory memory;  // [batch or pages, kv_heads, tokens, dim or bytes of a row]
  index_t dim = 0;
  bool is_blocks = false;
  BlockFormat format{};
  float tensor_scale = 1;
  tessera::detail::KeyCode
      code{};  // of elements that are neither blocks nor floats of 16 or 32 bits

  bool is_coded() const { return is_blocks || code != tessera::detail::KeyCode::kNone; }
};

struct AttentionProblem {
  const char* function;
  TensorMemory q,
      out;  // [batch, heads, tokens, dim]; with q_starts one sequence after the other: batch is 1
  KeyTensor k, v;
  AttentionOptions options;
  View<const std::int32_t, 1> q_starts{}, kv_starts{};  // [sequences + 1]
  bool paged = false;                                   // k and v are pages
  View<const std::int32_t, 2> block_table{};            // [sequences, pages of each]
};

template <class T>
inline constexpr bool kIsAttentionType =
    std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

template <class T>
inline constexpr tessera::detail::KeyCode kKeyCode =
    std::is_same_v<T, fp8_e4m3>      ? tessera::detail::KeyCode::kE4M3
    : std::is_same_v<T, fp8_e5m2>    ? tessera::detail::KeyCode::kE5M2
    : std::is_same_v<T, std::int8_t> ? tessera::detail::KeyCode::kS8
                                     : tessera::detail::KeyCode::kNone;

// As memory of four axes; of rank 3, [tokens, heads, dim], with a batch of 1.
template <class T, int Rank>
TensorMemory four_axes(const View<T, Rank>& v) {
  TensorMemory m = tensor_memory(v);
  if constexpr (Rank == 3) {
    m.rank = 4;
    m.extents = {1, v.extents[1], v.extents[0], v.extents[2], 1};
    m.strides = {0, v.strides[1], v.strides[0], v.strides[2], 0};
  }
  return m;
}

template <int Rank, class X>
TensorMemory attention_memory(const X& x) {
  const auto v = as_view(x);
  static_assert(kIsAttentionType<std::remove_const_t<typename decltype(v)::Element>>,
                "tessera: attention takes elements of f32, bf16 or f16");
  static_assert(
      decltype(v)::kRank == Rank,
      "tessera: attention takes views [batch, heads, tokens, dim], or [tokens, heads, dim] of "
      "sequences one after the other");
  return four_axes(v);
}

template <int Rank, class X>
KeyTensor key_tensor(const X& x) {
  KeyTensor k;
  if constexpr (std::is_convertible_v<X, ConstBlockCacheView>) {
    static_assert(Rank == 4, "tessera: caches of blocks are [batch, kv_heads, tokens, dim]");
    const ConstBlockCacheView v = x;
    k.dim = v.extents[3];
    k.is_blocks = true;
    k.format = v.format;
    k.tensor_scale = v.tensor_scale;
    k.memory = {v.data, DType::kU8, 4, {}, {}};
    k.memory.extents = {v.extents[0], v.extents[1], v.extents[2],
                        k.dim / info(v.format).block * info(v.format).bytes, 1};
    k.memory.strides = {v.strides[0], v.strides[1], v.strides[2], 1, 0};
  } else {
    const auto v = as_view(x);
    using T = std::remove_const_t<typename decltype(v)::Element>;
    k.code = kKeyCode<T>;
    if constexpr (kKeyCode<T> != tessera::detail::KeyCode::kNone) {
      static_assert(decltype(v)::kRank == Rank,
                    "tessera: attention takes keys and values [batch, kv_heads, tokens, dim], or "
                    "[tokens, kv_heads, dim] of sequences one after the other");
      const auto* const bytes = reinterpret_cast<const std::uint8_t*>(v.data);
      k.memory = four_axes(View<const std::uint8_t, Rank>(bytes, v.extents, v.strides));
    } else {
      k.memory = attention_memory<Rank>(x);
    }
    k.dim = k.memory.extents[3];
  }
  return k;
}

}  // namespace impl

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_ATTENTION_PROBLEM_H_
