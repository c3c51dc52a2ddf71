// SPDX-License-Identifier: Apache-2.0
// GroupQueryAttention of com.microsoft.
#include <cstring>

#include "attention.h"

namespace tessera::ort {
namespace {

// Causal, with the keys and values of earlier tokens in a cache: prompts from the start, then a few tokens at a time.
class GroupQueryAttention : public Kernel {
 public:
  bool read(const NodeView& node) {
    heads_ = static_cast<index_t>(node.integer("num_heads", 0));
    kv_heads_ = static_cast<index_t>(node.integer("kv_num_heads", 0));
    scale_ = node.get<float>("scale", 0);
    softcap_ = node.get<float>("softcap", 0);
    const std::int64_t before = node.integer("local_window_size", -1);
    window_ = before > 0 ? static_cast<index_t>(before) + 1 : 0;  // with the token itself
    rotates_ = node.integer("do_rotary", 0) != 0;
    interleaved_ = node.integer("rotary_interleaved", 0) != 0;
    has_empty_key_ = node.integer("smooth_softmax", 0) > 0;
    const bool is_packed = !node.has_input(1) && !node.has_input(2);
    for (const std::size_t i : {1, 2}) {
      if (!is_packed && node.rank(i) != 3) return false;
    }
    for (const std::size_t i : {1, 2, 3, 4, 7, 8, 10, 11}) {
      if (!node.is_like_first(i)) return false;
    }
    if (!node.is_real(0) || node.rank(0) != 3) return false;
    if (node.has_input(3) != node.has_input(4)) return false;
    if (node.type(5) != kInt32 || node.type(6) != kInt32) return false;
    if (rotates_ && !(node.has_input(7) && node.has_input(8))) return false;
    if (node.has_input(9) && node.type(9) != kInt64) return false;
    if (node.has_input(12) || node.has_input(13)) return false;
    return heads_ > 0 && kv_heads_ > 0 && node.output(1) != nullptr && node.output(2) != nullptr &&
           node.output(3) == nullptr;
  }

  void prepare(Preparation& p) override {
    cos_.prepare(p);
    sin_.prepare(p);
  }

  void run(Step& step) const override {
    with_real(step.input(0)->type, [&]<class T>(T) { run_as<T>(step); });
  }

 private:
  // Tokens of the sequences in the cache, and with the new ones. The padding of a prompt counts as tokens that nobody looks at.
  struct Lengths {
    index_t batch, tokens;
    index_t longest;  // sequence
    index_t room;     // in the cache
    std::int32_t *starts, *ends, *positions;
  };

  template <class T>
  void run_as(Step& step) const {
    const QkvViews<const T> now = queries_keys_values<T>(step);
    const Lengths lengths = read_lengths(step, now.q.extent(0), now.q.extent(2));
    auto where = row_major<const std::int32_t>(lengths.positions, {lengths.batch, lengths.tokens});
    if (const Tensor* const ids = step.dense_input(9)) {
      Tensor given = *ids;
      if (lengths.tokens == lengths.longest) given.shape = {1};  // of a prompt the first one counts
      where = positions_view(step, given, lengths.batch, lengths.tokens);
    }
    const Heads<T> q = rotated<T>(step, now.q, where), new_k = rotated<T>(step, now.k, where);
    const Heads<T> keys = append<T>(step, 1, step.dense_input(3), new_k, lengths);
    const Heads<T> values = append<T>(step, 2, step.dense_input(4), now.v, lengths);
    AttentionOptions options{
        .scale = scale_,
        .causal = true,
        .window = window_,
        .softcap = softcap_,
        .sinks = sinks<T>(step),
        .kv_lengths = row_major<const std::int32_t>(lengths.ends, {lengths.batch}),
        .context = &step.context()};
    if (const Tensor* const bias = step.dense_input(10)) {
      options.mask = scores_view<T>(*bias, {q.extent(0), heads_, lengths.tokens, lengths.longest});
    }
    const Tensor& y = *step.output(0, {q.extent(0), q.extent(2), values.extent(3) * heads_});
    attention(q, part(keys, 2, 0, lengths.longest), part(values, 2, 0, lengths.longest),
              heads_view<T>(y, heads_), options);
  }

  // Of three inputs, or of one that has all of a token in a row.
  template <class T>
  QkvViews<const T> queries_keys_values(Step& step) const {
    const Tensor& q = *step.dense_input(0);
    const Tensor *const k = step.dense_input(1), *const v = step.dense_input(2);
    if (k == nullptr) {
      const index_t heads = heads_ + 2 * kv_heads_;
      check_heads("query", q, heads);
      return packed_qkv(q.as<const T>(), static_cast<index_t>(q.shape[0]),
                        static_cast<index_t>(q.shape[1]), heads_, kv_heads_,
                        static_cast<index_t>(q.shape[2]) / heads);
    }
    check_heads("query", q, heads_);
    check_heads("key", *k, kv_heads_);
    check_heads("value", *v, kv_heads_);
    return {heads_view<const T>(q, heads_), heads_view<const T>(*k, kv_heads_),
            heads_view<const T>(*v, kv_heads_)};
  }

  static Lengths read_lengths(Step& step, index_t batch, index_t tokens) {
    const Tensor &last = *step.dense_input(5), &total = *step.dense_input(6);
    if (count(last.shape) != batch || count(total.shape) != 1) {
      throw std::invalid_argument("seqlens_k: expected one per sequence, got " +
                                  to_string(last.shape));
    }
    const Tensor* const past = step.dense_input(3);
    const index_t cached = past == nullptr ? 0 : static_cast<index_t>(past->shape[2]);
    const index_t longest = total.as<const std::int32_t>()[0];
    Lengths l{batch,
              tokens,
              longest,
              std::max(cached, longest),
              step.scratch_of<std::int32_t>(batch),
              step.scratch_of<std::int32_t>(batch),
              step.scratch_of<std::int32_t>(batch * tokens)};
    for (index_t b = 0; b < batch; ++b) {
      const index_t end = last.as<const std::int32_t>()[b] + 1;
      const index_t start = tokens == longest ? 0 : end - tokens;
      if (start < 0 || start > cached || start + tokens > longest) {
        throw std::invalid_argument("seqlens_k: expected lengths within the cache, got " +
                                    std::to_string(end) + " of " + std::to_string(longest));
      }
      l.starts[b] = static_cast<std::int32_t>(start);
      l.ends[b] = static_cast<std::int32_t>(start + tokens);
      for (index_t t = 0; t < tokens; ++t)
        l.positions[b * tokens + t] = l.starts[b] + static_cast<std::int32_t>(t);
    }
    return l;
  }

  // One more key per head, whose value is 0: of the score that is given, or of 0.
  template <class T>
  View<const float, 1> sinks(Step& step) const {
    const Tensor* const given = step.dense_input(11);
    if (given == nullptr && !has_empty_key_) return {};
    if (given != nullptr && count(given->shape) != heads_) {
      throw std::invalid_argument("head_sink: expected one per head, got " +
                                  to_string(given->shape));
    }
    float* const scores = step.scratch_of<float>(heads_);
    for (index_t h = 0; h < heads_; ++h) {
      scores[h] = given == nullptr ? 0 : static_cast<float>(given->as<const T>()[h]);
    }
    return row_major<const float>(scores, {heads_});
  }

  // Queries or keys with their positions, in scratch.
  template <class T>
  Heads<T> rotated(Step& step, const Heads<T>& x,
                   const View<const std::int32_t, 2>& positions) const {
    if (!rotates_) return x;
    const auto y =
        tokens_first(step.scratch_of<T>(x.extent(0) * x.extent(1) * x.extent(2) * x.extent(3)),
                     {x.extent(0), x.extent(2), x.extent(1), x.extent(3)});
    rope(tokens_outside(x), cos_.view(step), sin_.view(step), tokens_outside(y),
         {.interleaved = interleaved_, .positions = positions, .context = &step.context()});
    return y;
  }

  // The cache with the new tokens behind the old ones. The host may have given both one memory.
  template <class T>
  static Heads<T> append(Step& step, std::size_t output, const Tensor* past, const Heads<T>& now,
                         const Lengths& lengths) {
    const index_t dim = now.extent(3), tokens = now.extent(2), room = lengths.room;
    const Tensor& all = *step.output(output, {now.extent(0), now.extent(1), room, dim});
    const auto to = heads_view<T>(all, 0);
    for (index_t b = 0; b < now.extent(0); ++b) {
      const index_t start = lengths.starts[b], end = lengths.ends[b];
      for (index_t h = 0; h < now.extent(1); ++h) {
        T* const head = &to(b, h, 0, 0);
        if (past != nullptr && past->data != all.data && start != 0) {
          const index_t cached = static_cast<index_t>(past->shape[2]);
          std::memcpy(head, past->as<const T>() + (b * now.extent(1) + h) * cached * dim,
                      static_cast<std::size_t>(start * dim) * sizeof(T));
        }
        std::fill(head + end * dim, head + room * dim, T());
        copy(View<const T, 2>(&now(b, h, 0, 0), {tokens, dim}, {now.stride(2), now.stride(3)}),
             row_major(head + start * dim, {tokens, dim}), {.context = &step.context()});
      }
    }
    return to;
  }

  index_t heads_ = 0, kv_heads_ = 0, window_ = 0;
  float scale_ = 0, softcap_ = 0;
  bool rotates_ = false, interleaved_ = false, has_empty_key_ = false;
  RotaryTable cos_{7}, sin_{8};
};

}  // namespace

void add_group_query_attention(std::vector<Operator>& operators) {
  operators.push_back({kMicrosoft, "GroupQueryAttention", make_if_read<GroupQueryAttention>});
}

}  // namespace tessera::ort
