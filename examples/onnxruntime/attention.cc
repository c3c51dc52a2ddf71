// SPDX-License-Identifier: Apache-2.0
// Attention of ONNX, MultiHeadAttention and GroupQueryAttention of com.microsoft.
#include <cstring>
#include <limits>

#include "kernel.h"

namespace tessera::ort {
namespace {

using Heads = View<const float, 4>;  // [batch, heads, tokens, dim]

// [batch, heads, tokens, dim] of memory in this order, or of [batch, tokens, heads * dim].
template <class T>
View<T, 4> heads_view(const Tensor& t, index_t heads) {
  if (t.rank() == 4) return row_major(t.as<T>(), {t.shape[0], t.shape[1], t.shape[2], t.shape[3]});
  return tokens_first(t.as<T>(), {t.shape[0], t.shape[1], static_cast<std::int64_t>(heads),
                                  t.shape[2] / static_cast<std::int64_t>(heads)});
}

void check_heads(const char* name, const Tensor& t, index_t heads) {
  if (t.rank() == 3 && (heads < 1 || t.shape[2] % heads != 0)) {
    throw std::invalid_argument(std::string(name) + ": expected columns for " +
                                std::to_string(heads) + " heads, got " + to_string(t.shape));
  }
}

// A mask of up to four axes, which are broadcast.
template <class T>
View<const T, 4> mask_view(const Tensor& mask, index_t batch, index_t heads, index_t tokens,
                           index_t keys) {
  std::array<index_t, 4> extents{batch, heads, tokens, keys}, strides{};
  index_t stride = 1;
  for (std::size_t i = 0; i < mask.rank(); ++i) {
    const std::int64_t extent = mask.shape[mask.rank() - 1 - i];
    const std::size_t axis = 3 - i;
    if (extent != 1 && extent != extents[axis]) {
      throw std::invalid_argument("mask: expected extents that broadcast to " +
                                  to_string({batch, heads, tokens, keys}) + ", got " +
                                  to_string(mask.shape));
    }
    strides[axis] = extent == 1 ? 0 : stride;
    stride *= static_cast<index_t>(extent);
  }
  return {mask.as<const T>(), extents, strides};
}

AttentionMask attention_mask(const Tensor& mask, index_t batch, index_t heads, index_t tokens,
                             index_t keys) {
  if (mask.type == kBool) return mask_view<bool>(mask, batch, heads, tokens, keys);
  return mask_view<float>(mask, batch, heads, tokens, keys);
}

// What was before and what is new, one behind the other: [batch, heads, past + tokens, dim].
void concatenate(Step& step, const Tensor& past, const Heads& now, const Tensor& all) {
  const auto to = heads_view<float>(all, 0);
  const index_t before = static_cast<index_t>(past.shape[2]);
  const auto part = [&](index_t first, index_t count) {
    return View<float, 4>(to.data + first * to.stride(2),
                          {to.extent(0), to.extent(1), count, to.extent(3)}, to.strides);
  };
  copy(heads_view<const float>(past, 0), part(0, before), {.context = &step.context()});
  copy(now, part(before, now.extent(2)), {.context = &step.context()});
}

class Attention : public Kernel {
 public:
  bool read(const NodeView& node) {
    heads_ = static_cast<index_t>(node.integer("q_num_heads", 0));
    kv_heads_ = static_cast<index_t>(node.integer("kv_num_heads", 0));
    causal_ = node.integer("is_causal", 0) != 0;
    scale_ = node.get<float>("scale", 0);
    softcap_ = node.get<float>("softcap", 0);
    for (std::size_t i = 0; i < 3; ++i) {
      if (!node.is_float(i)) return false;
      if (node.rank(i) != 4 && (node.rank(i) != 3 || heads_ < 1 || kv_heads_ < 1)) return false;
    }
    if (node.has_input(3) && node.type(3) != kFloat && node.type(3) != kBool) return false;
    const bool has_past = node.has_input(4) || node.has_input(5);
    if (has_past && !(node.is_float(4) && node.is_float(5))) return false;
    // Where the first query stands among earlier keys, versions of the operator disagree.
    if (causal_ && (has_past || !has_as_many_keys(node))) return false;
    return node.output(3) == nullptr && !node.has_input(6);
  }

  void run(Step& step) const override {
    const Tensor &q = *step.dense_input(0), &k = *step.dense_input(1), &v = *step.dense_input(2);
    check_heads("Q", q, heads_);
    check_heads("K", k, kv_heads_);
    check_heads("V", v, kv_heads_);
    const Heads vq = heads_view<const float>(q, heads_);
    const Heads vk = with_past(step, heads_view<const float>(k, kv_heads_), step.dense_input(4), 1);
    const Heads vv = with_past(step, heads_view<const float>(v, kv_heads_), step.dense_input(5), 2);
    AttentionOptions options{
        .scale = scale_, .causal = causal_, .softcap = softcap_, .context = &step.context()};
    if (const Tensor* const mask = step.dense_input(3)) {
      options.mask = attention_mask(*mask, vq.extent(0), vq.extent(1), vq.extent(2), vk.extent(2));
    }
    Shape shape = q.shape;
    shape.back() = q.rank() == 4 ? vv.extent(3) : vv.extent(3) * heads_;
    attention(vq, vk, vv, heads_view<float>(*step.output(0, shape), heads_), options);
  }

 private:
  static bool has_as_many_keys(const NodeView& node) {
    const auto tokens = [&](std::size_t i) {
      return node.input(i)->tensor.shape[node.rank(i) == 4 ? 2 : 1];
    };
    return tokens(0) >= 0 && tokens(0) == tokens(1);
  }

  // Present keys or values: an output of the node if somebody wants it.
  static Heads with_past(Step& step, const Heads& now, const Tensor* past, std::size_t output) {
    Shape shape(now.extents.begin(), now.extents.end());
    if (past != nullptr) shape[2] += past->shape.at(2);
    const Tensor* present = step.output(output, shape);
    if (past == nullptr && present == nullptr) return now;
    Tensor memory{nullptr, kFloat, shape};
    if (present == nullptr) {
      memory.data = step.scratch_of<float>(count(shape));
      present = &memory;
    }
    if (past == nullptr) {
      copy(now, heads_view<float>(*present, 0), {.context = &step.context()});
    } else {
      concatenate(step, *past, now, *present);
    }
    return heads_view<const float>(*present, 0);
  }

  index_t heads_ = 0, kv_heads_ = 0;
  bool causal_ = false;
  float scale_ = 0, softcap_ = 0;
};

// Of [batch, tokens, hidden], as the fused models of the host have it.
class MultiHeadAttention : public Kernel {
 public:
  bool read(const NodeView& node) {
    heads_ = static_cast<index_t>(node.integer("num_heads", 0));
    scale_ = node.get<float>("scale", 0);
    causal_ = node.integer("unidirectional", 0) != 0;
    for (std::size_t i = 0; i < 3; ++i) {
      if (!node.is_float(i) || node.rank(i) != 3) return false;
    }
    if (node.has_input(3) && !node.is_float(3)) return false;
    if (node.has_input(5) && !node.is_float(5)) return false;
    for (const std::size_t i : {4, 6, 7, 8, 9}) {
      if (node.has_input(i)) return false;
    }
    if (causal_ && !(node.input(0)->tensor.shape[1] >= 0 &&
                     node.input(0)->tensor.shape[1] == node.input(1)->tensor.shape[1])) {
      return false;
    }
    return heads_ > 0 && node.output(1) == nullptr && node.output(2) == nullptr &&
           node.output(3) == nullptr;
  }

  void run(Step& step) const override {
    const Tensor* tensors[3];
    index_t offset = 0;  // in the bias
    const Tensor* const bias = step.dense_input(3);
    Tensor biased[3];
    for (std::size_t i = 0; i < 3; ++i) {
      tensors[i] = step.dense_input(i);
      check_heads("query, key, value", *tensors[i], heads_);
      if (bias == nullptr) continue;
      const Tensor& x = *tensors[i];
      const index_t cols = static_cast<index_t>(x.shape[2]);
      if (offset + cols > count(bias->shape)) throw std::invalid_argument("bias: too short");
      biased[i] = {step.scratch_of<float>(count(x.shape)), kFloat, x.shape};
      elementwise(BinaryOp::kAdd, rows_view<const float>(x, 2),
                  View<const float, 1>(bias->as<const float>() + offset, {cols}, {1}),
                  rows_view<float>(biased[i], 2), {.context = &step.context()});
      tensors[i] = &biased[i];
      offset += cols;
    }
    const Heads q = heads_view<const float>(*tensors[0], heads_),
                k = heads_view<const float>(*tensors[1], heads_),
                v = heads_view<const float>(*tensors[2], heads_);
    AttentionOptions options{.scale = scale_, .causal = causal_, .context = &step.context()};
    if (const Tensor* const mask = step.dense_input(5)) {
      options.mask = attention_mask(*mask, q.extent(0), q.extent(1), q.extent(2), k.extent(2));
    }
    const Tensor& y =
        *step.output(0, {tensors[0]->shape[0], tensors[0]->shape[1], tensors[2]->shape[2]});
    attention(q, k, v, heads_view<float>(y, heads_), options);
  }

 private:
  index_t heads_ = 0;
  bool causal_ = false;
  float scale_ = 0;
};

// Causal, with the keys and values of earlier tokens in a cache: prompts from the start, then a few tokens at a time.
class GroupQueryAttention : public Kernel {
 public:
  bool read(const NodeView& node) {
    heads_ = static_cast<index_t>(node.integer("num_heads", 0));
    kv_heads_ = static_cast<index_t>(node.integer("kv_num_heads", 0));
    scale_ = node.get<float>("scale", 0);
    softcap_ = node.get<float>("softcap", 0);
    const std::int64_t window = node.integer("local_window_size", -1);
    window_ = window > 0 ? static_cast<index_t>(window) : 0;
    rotates_ = node.integer("do_rotary", 0) != 0;
    interleaved_ = node.integer("rotary_interleaved", 0) != 0;
    for (std::size_t i = 0; i < 3; ++i) {
      if (!node.is_float(i) || node.rank(i) != 3) return false;
    }
    if (node.has_input(3) != node.has_input(4) ||
        (node.has_input(3) && !(node.is_float(3) && node.is_float(4)))) {
      return false;
    }
    if (node.type(5) != kInt32 || node.type(6) != kInt32) return false;
    if (rotates_ && !(node.is_float(7) && node.is_float(8))) return false;
    for (std::size_t i = 9; i < 14; ++i) {
      if (node.has_input(i)) return false;
    }
    const bool has_sinks =
        node.integer("smooth_softmax", 0) > 0 || node.integer("k_quant_type", 0) != 0;
    return heads_ > 0 && kv_heads_ > 0 && !has_sinks && node.output(1) != nullptr &&
           node.output(2) != nullptr && node.output(3) == nullptr;
  }

  void run(Step& step) const override {
    const Tensor &q = *step.dense_input(0), &k = *step.dense_input(1), &v = *step.dense_input(2);
    check_heads("query", q, heads_);
    check_heads("key", k, kv_heads_);
    check_heads("value", v, kv_heads_);
    const Tensor &last = *step.dense_input(5), &total = *step.dense_input(6);
    const Tensor* const past_k = step.dense_input(3);
    const index_t batch = static_cast<index_t>(q.shape[0]),
                  tokens = static_cast<index_t>(q.shape[1]);
    if (count(last.shape) != batch || count(total.shape) != 1) {
      throw std::invalid_argument("seqlens_k: expected one per sequence, got " +
                                  to_string(last.shape));
    }
    const index_t longest = total.as<const std::int32_t>()[0];
    const index_t cached = past_k == nullptr ? 0 : static_cast<index_t>(past_k->shape[2]);
    const index_t room = std::max(cached, longest);
    // Tokens in the cache, and with the new ones. The padding of a prompt counts as tokens that nobody looks at.
    std::int32_t* const starts = step.scratch_of<std::int32_t>(batch);
    std::int32_t* const lengths = step.scratch_of<std::int32_t>(batch);
    std::int32_t* const positions = step.scratch_of<std::int32_t>(batch * tokens);
    for (index_t b = 0; b < batch; ++b) {
      const index_t end = last.as<const std::int32_t>()[b] + 1;
      const index_t start = tokens == longest ? 0 : end - tokens;
      if (start < 0 || start > cached || start + tokens > room) {
        throw std::invalid_argument("seqlens_k: expected lengths within the cache, got " +
                                    std::to_string(end) + " of " + std::to_string(room));
      }
      starts[b] = static_cast<std::int32_t>(start);
      lengths[b] = static_cast<std::int32_t>(start + tokens);
      for (index_t t = 0; t < tokens; ++t)
        positions[b * tokens + t] = starts[b] + static_cast<std::int32_t>(t);
    }
    const auto where = row_major<const std::int32_t>(positions, {batch, tokens});
    const Heads vq = rotated(step, q, heads_, where), vk = rotated(step, k, kv_heads_, where);
    const Heads vv = heads_view<const float>(v, kv_heads_);
    const Heads keys = append(step, 1, past_k, vk, starts, room);
    const Heads values = append(step, 2, step.dense_input(4), vv, starts, room);
    const AttentionOptions options{.scale = scale_,
                                   .causal = true,
                                   .window = window_,
                                   .softcap = softcap_,
                                   .kv_lengths = row_major<const std::int32_t>(lengths, {batch}),
                                   .context = &step.context()};
    const Tensor& y = *step.output(0, {q.shape[0], q.shape[1], vv.extent(3) * heads_});
    attention(vq, keys, values, heads_view<float>(y, heads_), options);
  }

 private:
  // Queries or keys with their positions, in scratch.
  Heads rotated(Step& step, const Tensor& x, index_t heads,
                const View<const std::int32_t, 2>& positions) const {
    if (!rotates_) return heads_view<const float>(x, heads);
    const Tensor y{step.scratch_of<float>(count(x.shape)), kFloat, x.shape};
    const auto tokens_view = [&]<class T>(const Tensor& t, T*) {
      return row_major(t.as<T>(), {x.shape[0], x.shape[1], static_cast<std::int64_t>(heads),
                                   x.shape[2] / static_cast<std::int64_t>(heads)});
    };
    rope(tokens_view(x, static_cast<const float*>(nullptr)),
         rows_view<const float>(*step.dense_input(7), 1),
         rows_view<const float>(*step.dense_input(8), 1),
         tokens_view(y, static_cast<float*>(nullptr)),
         {.interleaved = interleaved_, .positions = positions, .context = &step.context()});
    return heads_view<const float>(y, heads);
  }

  // The cache with the new tokens behind the old ones. The host may have given both one memory.
  static Heads append(Step& step, std::size_t output, const Tensor* past, const Heads& now,
                      const std::int32_t* starts, index_t room) {
    const Tensor& all = *step.output(output, {now.extent(0), now.extent(1), room, now.extent(3)});
    const auto to = heads_view<float>(all, 0);
    const index_t dim = now.extent(3), tokens = now.extent(2);
    for (index_t b = 0; b < now.extent(0); ++b) {
      for (index_t h = 0; h < now.extent(1); ++h) {
        float* const head = &to(b, h, 0, 0);
        if (past != nullptr && past->data != all.data) {
          const index_t cached = static_cast<index_t>(past->shape[2]);
          const float* const from =
              past->as<const float>() + (b * now.extent(1) + h) * cached * dim;
          std::memcpy(
              head, from,
              static_cast<std::size_t>(std::min<index_t>(starts[b], cached) * dim) * sizeof(float));
        }
        const index_t end = starts[b] + tokens;
        std::fill(head + end * dim, head + room * dim, 0.0f);
        copy(View<const float, 2>(&now(b, h, 0, 0), {tokens, dim}, {now.stride(2), now.stride(3)}),
             row_major(head + starts[b] * dim, {tokens, dim}));
      }
    }
    return heads_view<const float>(all, 0);
  }

  index_t heads_ = 0, kv_heads_ = 0, window_ = 0;
  float scale_ = 0, softcap_ = 0;
  bool rotates_ = false, interleaved_ = false;
};

}  // namespace

void add_attention(std::vector<Operator>& operators) {
  operators.push_back({kOnnx, "Attention", make_if_read<Attention>});
  operators.push_back({kMicrosoft, "MultiHeadAttention", make_if_read<MultiHeadAttention>});
  operators.push_back({kMicrosoft, "GroupQueryAttention", make_if_read<GroupQueryAttention>});
}

}  // namespace tessera::ort
