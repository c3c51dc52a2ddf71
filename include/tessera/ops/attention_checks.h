// SPDX-License-Identifier: Apache-2.0
// What attention refuses.
#ifndef TESSERA_OPS_ATTENTION_CHECKS_H_
#define TESSERA_OPS_ATTENTION_CHECKS_H_

#include <array>
#include <cmath>
#include <span>
#include <string>
#include <string_view>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/ops/attention_problem.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

// Of each tensor that is written: each element once, apart from all others.
inline void check_written(const char* function, std::span<const NamedTensor> written,
                          std::span<const NamedTensor> read) {
  for (const NamedTensor& w : written) {
    check_nested(function, w);
    for (const NamedTensor& other : read) check_apart(function, w, other);
    for (const NamedTensor& other : written) {
      if (&other != &w) check_apart(function, w, other);
    }
  }
}

inline void check_extent(const char* function, const char* argument, const TensorMemory& t,
                         int axis, index_t expected, const char* what, const char* of) {
  if (t.extents[axis] == expected) return;
  fail(function, argument, std::to_string(expected) + " " + what + " (" + of + ")",
       std::to_string(t.extents[axis]));
}

inline void check_number(const char* function, const char* argument, float x) {
  if (std::isfinite(x) && x >= 0) return;
  fail(function, argument, "a finite number of at least 0", std::to_string(x));
}

// A vector of one element per head or per batch.
template <class T>
void check_vector(const char* function, const char* argument, const View<T, 1>& v, index_t n,
                  const char* what) {
  if (v.data == nullptr && v.extent(0) == 0) return;
  check_tensor(function, argument, tensor_memory(v));
  if (v.extent(0) != n) {
    fail(function, argument, std::to_string(n) + " elements, one for each " + what,
         std::to_string(v.extent(0)));
  }
}

// Factors of codes, one for each head or one for all.
inline void check_scales(const char* function, const char* argument, const View<const float, 1>& v,
                         index_t kv_heads) {
  if (v.data == nullptr && v.extent(0) == 0) return;
  check_tensor(function, argument, tensor_memory(v));
  if (v.extent(0) != 1 && v.extent(0) != kv_heads) {
    fail(function, argument,
         "1 element, or " + std::to_string(kv_heads) + ", one for each head of keys",
         std::to_string(v.extent(0)));
  }
  for (index_t i = 0; i < v.extent(0); ++i) {
    if (std::isfinite(v(i)) && v(i) > 0) continue;
    fail(function, argument, "positive finite numbers", std::to_string(v(i)));
  }
}

// What belongs to one sequence.
struct AttentionSequence {
  index_t q_batch, q_first, tokens;  // in q and out
  index_t kv_batch, kv_first, keys;  // in k and v, unless they are pages
};

inline index_t sequences_of(const AttentionProblem& p) {
  return p.q_starts.data != nullptr ? p.q_starts.extent(0) - 1 : p.q.extents[0];
}

inline AttentionSequence sequence_of(const AttentionProblem& p, index_t s) {
  AttentionSequence a{s, 0, p.q.extents[2], s, 0, p.k.memory.extents[2]};
  if (p.q_starts.data != nullptr) {
    a.q_batch = 0;
    a.q_first = p.q_starts(s);
    a.tokens = p.q_starts(s + 1) - p.q_starts(s);
  }
  if (p.kv_starts.data != nullptr) {
    a.kv_batch = 0;
    a.kv_first = p.kv_starts(s);
    a.keys = p.kv_starts(s + 1) - p.kv_starts(s);
  }
  if (p.options.kv_lengths.data != nullptr) a.keys = p.options.kv_lengths(s);
  return a;
}

// The tokens that k has room for.
inline index_t key_capacity(const AttentionProblem& p) {
  const index_t tokens = p.k.memory.extents[2];
  return p.paged ? p.block_table.extent(1) * tokens : tokens;
}

inline void check_starts(const AttentionProblem& p, const char* argument,
                         const View<const std::int32_t, 1>& starts, index_t sequences,
                         index_t tokens) {
  check_tensor(p.function, argument, tensor_memory(starts));
  if (starts.extent(0) != sequences + 1 || sequences < 0) {
    fail(p.function, argument, "one more element than there are sequences",
         std::to_string(starts.extent(0)));
  }
  if (starts(0) != 0) fail(p.function, argument, "0 first", std::to_string(starts(0)));
  for (index_t s = 0; s < sequences; ++s) {
    if (starts(s + 1) < starts(s) || starts(s + 1) > tokens) {
      fail(p.function, argument,
           "starts that never fall, up to the " + std::to_string(tokens) + " tokens",
           std::to_string(starts(s + 1)) + " after " + std::to_string(starts(s)));
    }
  }
}

inline void check_table(const AttentionProblem& p, index_t sequences) {
  check_tensor(p.function, "block_table", tensor_memory(p.block_table));
  if (p.block_table.extent(0) != sequences) {
    fail(p.function, "block_table", std::to_string(sequences) + " rows, one for each sequence",
         std::to_string(p.block_table.extent(0)));
  }
  if (p.options.kv_lengths.data == nullptr && sequences > 0) {
    fail(p.function, "options.kv_lengths", "the lengths of the sequences", "none");
  }
  if (p.k.memory.extents[2] < 1) fail(p.function, "k", "pages of at least 1 token", "0");
}

// The pages that will be read.
inline void check_pages(const AttentionProblem& p, index_t sequences) {
  const index_t pages = p.k.memory.extents[0], page_tokens = p.k.memory.extents[2];
  for (index_t s = 0; s < sequences; ++s) {
    for (index_t i = 0; i * page_tokens < p.options.kv_lengths(s); ++i) {
      const index_t page = p.block_table(s, i);
      if (page < 0 || page >= pages) {
        fail(p.function, "block_table", "pages from 0 to " + std::to_string(pages - 1),
             std::to_string(page));
      }
    }
  }
}

inline void check_attention_options(const AttentionProblem& p, index_t sequences) {
  const AttentionOptions& o = p.options;
  check_number(p.function, "options.scale", o.scale);
  check_number(p.function, "options.softcap", o.softcap);
  if (o.window < 0) {
    fail(p.function, "options.window", "at least 0", std::to_string(o.window));
  }
  const index_t heads = p.q.extents[1], keys = key_capacity(p);
  check_vector(p.function, "options.alibi_slopes", o.alibi_slopes, heads, "head");
  check_vector(p.function, "options.sinks", o.sinks, heads, "head");
  check_scales(p.function, "options.k_scales", o.k_scales, p.k.memory.extents[1]);
  check_scales(p.function, "options.v_scales", o.v_scales, p.k.memory.extents[1]);
  check_vector(p.function, "options.kv_lengths", o.kv_lengths, sequences, "sequence");
  if (p.kv_starts.data != nullptr && o.kv_lengths.data != nullptr) {
    fail(p.function, "options.kv_lengths", "none beside kv_starts", "lengths");
  }
  for (index_t b = 0; b < o.kv_lengths.extent(0); ++b) {
    const index_t length = o.kv_lengths(b);
    if (length < 0 || length > keys) {
      fail(p.function, "options.kv_lengths",
           "lengths from 0 to the " + std::to_string(keys) + " tokens of k",
           std::to_string(length));
    }
  }
  if (!o.mask.is_given()) return;
  if (p.q_starts.data != nullptr) {
    fail(p.function, "options.mask", "none for sequences of any lengths", "a mask");
  }
  const TensorMemory& m = o.mask.memory();
  check_tensor(p.function, "options.mask", m);
  const std::array<index_t, 4> full = {sequences, heads, p.q.extents[2], keys};
  for (int axis = 0; axis < 4; ++axis) {
    if (m.extents[axis] != full[static_cast<std::size_t>(axis)] && m.extents[axis] != 1) {
      fail(p.function, "options.mask", "extents " + text_of(full, 4) + ", each as it is or 1",
           text_of(m.extents, 4));
    }
  }
}

inline void check_key_tensor(const AttentionProblem& p, const char* argument, const KeyTensor& k) {
  if (!k.is_blocks) return;
  const index_t block = info(k.format).block;
  if (k.dim % block != 0) {
    fail(p.function, argument, "rows of whole blocks of " + std::to_string(block),
         std::to_string(k.dim) + " elements");
  }
}

inline void check_attention(const AttentionProblem& p) {
  const std::array<NamedTensor, 4> read = {NamedTensor{"q", p.q}, NamedTensor{"k", p.k.memory},
                                           NamedTensor{"v", p.v.memory},
                                           NamedTensor{"options.mask", p.options.mask.memory()}};
  const TensorMemory sums = tensor_memory(p.options.log_sums);
  const std::array<NamedTensor, 2> written = {NamedTensor{"out", p.out},
                                              NamedTensor{"options.log_sums", sums}};
  check_key_tensor(p, "k", p.k);
  check_key_tensor(p, "v", p.v);
  for (std::size_t i = 0; i < 3; ++i) {
    check_tensor(p.function, read[i].name, read[i].memory);
  }
  check_tensor(p.function, "out", p.out);
  const auto& q = p.q.extents;
  const auto& k = p.k.memory.extents;
  if (q[3] < 1) {
    fail(p.function, "q", "a dim of at least 1", std::to_string(q[3]));
  }
  if (!p.paged) check_extent(p.function, "k", p.k.memory, 0, q[0], "sequences", "the batch of q");
  if (p.k.dim != q[3]) {
    fail(p.function, "k", std::to_string(q[3]) + " elements per row (the dim of q)",
         std::to_string(p.k.dim));
  }
  if (k[1] < 1 ? q[1] > 0 : q[1] % k[1] != 0) {
    fail(p.function, "k", "kv_heads that divide the " + std::to_string(q[1]) + " heads of q",
         std::to_string(k[1]));
  }
  check_extent(p.function, "v", p.v.memory, 0, k[0], p.paged ? "pages" : "sequences", "those of k");
  check_extent(p.function, "v", p.v.memory, 1, k[1], "heads", "those of k");
  check_extent(p.function, "v", p.v.memory, 2, k[2], "tokens", "those of k");
  check_extent(p.function, "out", p.out, 0, q[0], "sequences", "the batch of q");
  check_extent(p.function, "out", p.out, 1, q[1], "heads", "those of q");
  check_extent(p.function, "out", p.out, 2, q[2], "tokens", "those of q");
  check_extent(p.function, "out", p.out, 3, p.v.dim, "elements per row", "the dim of v");
  const index_t sequences = sequences_of(p);
  if (p.function == std::string_view("attention_varlen") ||
      p.function == std::string_view("attention_varlen_paged")) {
    check_starts(p, "q_starts", p.q_starts, sequences_of(p), q[2]);
  }
  if (p.function == std::string_view("attention_varlen")) {
    check_starts(p, "kv_starts", p.kv_starts, sequences, k[2]);
  }
  if (p.paged) check_table(p, sequences);
  check_attention_options(p, sequences);
  if (p.paged) check_pages(p, sequences);
  if (p.options.mask.is_given()) {
    check_tensor(p.function, read[3].name, read[3].memory);
  }
  const View<float, 3>& log_sums = p.options.log_sums;
  if (log_sums.data != nullptr || log_sums.extents != std::array<index_t, 3>{}) {
    check_tensor(p.function, written[1].name, written[1].memory);
    const std::array<index_t, 3> expected = {q[0], q[1], q[2]};
    if (log_sums.extents != expected) {
      fail(p.function, written[1].name, "extents " + to_string(expected) + ", those of q",
           to_string(log_sums.extents));
    }
  }
  check_written(p.function, written, std::span(read).first(p.options.mask.is_given() ? 4 : 3));
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ATTENTION_CHECKS_H_
