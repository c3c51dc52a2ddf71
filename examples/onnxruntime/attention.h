// SPDX-License-Identifier: Apache-2.0
// What the operators of attention share: heads, masks, what was before, positions.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_ATTENTION_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_ATTENTION_H_

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "floats.h"
#include "kernel.h"

namespace tessera::ort {

template <class T>
using Heads = View<const T, 4>;  // [batch, heads, tokens, dim]

// [batch, heads, tokens, dim] of memory in this order, or of [batch, tokens, heads * dim].
template <class T>
View<T, 4> heads_view(const Tensor& t, index_t heads) {
  if (t.rank() == 4) return row_major(t.as<T>(), {t.shape[0], t.shape[1], t.shape[2], t.shape[3]});
  return tokens_first(t.as<T>(), {t.shape[0], t.shape[1], static_cast<std::int64_t>(heads),
                                  t.shape[2] / static_cast<std::int64_t>(heads)});
}

// [batch, heads, tokens, dim] as [batch, tokens, heads, dim].
template <class T>
View<T, 4> tokens_outside(View<T, 4> v) {
  std::swap(v.extents[1], v.extents[2]);
  std::swap(v.strides[1], v.strides[2]);
  return v;
}

inline void check_heads(const char* name, const Tensor& t, index_t heads) {
  if (t.rank() == 3 && (heads < 1 || t.shape[2] % heads != 0)) {
    throw std::invalid_argument(std::string(name) + ": expected columns for " +
                                std::to_string(heads) + " heads, got " + to_string(t.shape));
  }
}

// A tensor of up to four axes, which are broadcast to [batch, heads, tokens, keys].
template <class T>
View<const T, 4> scores_view(const Tensor& t, const std::array<index_t, 4>& extents) {
  std::array<index_t, 4> strides{};
  index_t stride = 1;
  for (std::size_t i = 0; i < t.rank(); ++i) {
    const std::int64_t extent = t.shape[t.rank() - 1 - i];
    const std::size_t axis = 3 - i;
    if (extent != 1 && extent != extents[axis]) {
      throw std::invalid_argument("mask: expected extents that broadcast to " +
                                  to_string({extents.begin(), extents.end()}) + ", got " +
                                  to_string(t.shape));
    }
    strides[axis] = extent == 1 ? 0 : stride;
    stride *= static_cast<index_t>(extent);
  }
  return {t.as<const T>(), extents, strides};
}

// f(view of the mask's elements), which are numbers to add or bool.
template <class F>
void with_mask(const Tensor& mask, const std::array<index_t, 4>& extents, F&& f) {
  if (mask.type == kBool) return f(scores_view<bool>(mask, extents));
  with_real(mask.type, [&]<class T>(T) { f(scores_view<T>(mask, extents)); });
}

// attention() as the host has it, with `past` keys before those of the first query: if it is causal, query i sees the keys
// [0, past + i], though there may be more or less of them than of queries. `mask` may be null.
template <class T>
void attend(const Heads<T>& q, const Heads<T>& k, const Heads<T>& v, const View<T, 4>& y,
            const Tensor* mask, index_t past, AttentionOptions options) {
  const bool causal = options.causal;
  const auto attend_part = [&](index_t first, index_t count, index_t keys, bool in_order) {
    if (count == 0) return;
    options.causal = in_order;
    if (mask != nullptr) {
      const std::array<index_t, 4> extents{q.extent(0), q.extent(1), q.extent(2), k.extent(2)};
      with_mask(*mask, extents, [&](const auto& scores) {
        options.mask = part(part(scores, 2, first, count), 3, 0, keys);
      });
    }
    attention(part(q, 2, first, count), part(k, 2, 0, keys), part(v, 2, 0, keys),
              part(y, 2, first, count), options);
  };
  const index_t tokens = q.extent(2), keys = k.extent(2);
  if (!causal) return attend_part(0, tokens, keys, false);
  // Tessera's last query sees the last key: keys behind that are cut off, and queries behind all keys see all.
  const index_t in_order = std::clamp<index_t>(keys - past, 0, tokens);
  attend_part(0, in_order, past + in_order, true);
  attend_part(in_order, tokens - in_order, keys, false);
}

// Present keys or values, [batch, heads, past + tokens, dim], an output of the node if somebody wants it. `past` may be null.
template <class T>
Heads<T> with_past(Step& step, const Heads<T>& now, const Tensor* past, std::size_t output) {
  const index_t before = past == nullptr ? 0 : static_cast<index_t>(past->shape.at(2));
  Shape shape(now.extents.begin(), now.extents.end());
  shape[2] += before;
  const Tensor* present = step.output(output, shape);
  if (past == nullptr && present == nullptr) return now;
  T* const memory = present != nullptr ? present->as<T>() : step.scratch_of<T>(count(shape));
  const auto all = row_major(memory, {shape[0], shape[1], shape[2], shape[3]});
  const PermuteOptions options{.context = &step.context()};
  if (past != nullptr) copy(heads_view<const T>(*past, 0), part(all, 2, 0, before), options);
  copy(now, part(all, 2, before, now.extent(2)), options);
  return all;
}

// Positions as indices; `batch` sequences of `tokens`.
inline View<const std::int32_t, 2> positions_view(Step& step, const Tensor& ids, index_t batch,
                                                  index_t tokens) {
  std::int32_t* const positions = step.scratch_of<std::int32_t>(batch * tokens);
  const std::int64_t* const from = ids.as<const std::int64_t>();
  const bool is_offset = count(ids.shape) == 1 && batch * tokens != 1;  // of the first token
  if (!is_offset && count(ids.shape) != batch * tokens) {
    throw std::invalid_argument("position_ids: expected one per token, got " +
                                to_string(ids.shape));
  }
  for (index_t i = 0; i < batch * tokens; ++i) {
    positions[i] = static_cast<std::int32_t>(is_offset ? from[0] + i % tokens : from[i]);
  }
  return row_major<const std::int32_t>(positions, {batch, tokens});
}

// Cosines or sines of rotary embeddings, an input of the node: [positions, pairs].
class RotaryTable {
 public:
  explicit RotaryTable(std::size_t input) : values_(input) {}

  void prepare(Preparation& p) { values_.prepare(p); }

  View<const float, 2> view(Step& step) const {
    const Tensor table = *values_.tensor(step);
    return rows_view<const float>(table, table.rank() - 1);
  }

 private:
  FloatInput values_;
};

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_ATTENTION_H_
