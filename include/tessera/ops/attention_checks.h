// SPDX-License-Identifier: Apache-2.0
// What attention refuses.
#ifndef TESSERA_OPS_ATTENTION_CHECKS_H_
#define TESSERA_OPS_ATTENTION_CHECKS_H_

#include <array>
#include <cmath>
#include <span>
#include <string>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/ops/attention.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI::impl {

struct NamedTensor {
  const char* name;
  TensorMemory memory;
  AddressRange range{};
};

// Of each tensor that is written: each element once, apart from all others.
inline void check_written(const char* function, std::span<const NamedTensor> written,
                          std::span<const NamedTensor> read) {
  for (const NamedTensor& w : written) {
    if (w.memory.is_empty()) continue;
    const TensorMemory& m = w.memory;
    if (!is_nested(m)) {
      fail(function, w.name,
           "strides that visit each element once, each beyond the reach of the smaller",
           "extents " + text_of(m.extents, m.rank) + ", strides " + text_of(m.strides, m.rank));
    }
    const auto check = [&](const NamedTensor& other) {
      if (&other == &w || other.memory.is_empty()) return;
      if (overlap(other.memory, other.range, m, w.range)) {
        fail(function, w.name, std::string("memory that does not overlap ") + other.name,
             "an overlapping view");
      }
    };
    for (const NamedTensor& other : read) check(other);
    for (const NamedTensor& other : written) check(other);
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

inline void check_attention_options(const AttentionProblem& p) {
  const AttentionOptions& o = p.options;
  check_number(p.function, "options.scale", o.scale);
  check_number(p.function, "options.softcap", o.softcap);
  if (o.window < 0) {
    fail(p.function, "options.window", "at least 0", std::to_string(o.window));
  }
  const index_t batch = p.q.extents[0], heads = p.q.extents[1], tokens = p.q.extents[2];
  const index_t keys = p.k.extents[2];
  check_vector(p.function, "options.alibi_slopes", o.alibi_slopes, heads, "head");
  check_vector(p.function, "options.sinks", o.sinks, heads, "head");
  check_vector(p.function, "options.kv_lengths", o.kv_lengths, batch, "sequence");
  for (index_t b = 0; b < o.kv_lengths.extent(0); ++b) {
    const index_t length = o.kv_lengths(b);
    if (length < 0 || length > keys) {
      fail(p.function, "options.kv_lengths",
           "lengths from 0 to the " + std::to_string(keys) + " tokens of k",
           std::to_string(length));
    }
  }
  if (o.mask.is_given()) {
    const TensorMemory& m = o.mask.memory();
    check_tensor(p.function, "options.mask", m);
    const std::array<index_t, 4> full = {batch, heads, tokens, keys};
    for (int axis = 0; axis < 4; ++axis) {
      if (m.extents[axis] != full[static_cast<std::size_t>(axis)] && m.extents[axis] != 1) {
        fail(p.function, "options.mask", "extents " + text_of(full, 4) + ", each as it is or 1",
             text_of(m.extents, 4));
      }
    }
  }
}

inline void check_attention(const AttentionProblem& p) {
  std::array<NamedTensor, 4> read = {NamedTensor{"q", p.q}, NamedTensor{"k", p.k},
                                     NamedTensor{"v", p.v},
                                     NamedTensor{"options.mask", p.options.mask.memory()}};
  std::array<NamedTensor, 2> written = {
      NamedTensor{"out", p.out},
      NamedTensor{"options.log_sums", tensor_memory(p.options.log_sums)}};
  for (std::size_t i = 0; i < 3; ++i) {
    read[i].range = check_tensor(p.function, read[i].name, read[i].memory);
  }
  written[0].range = check_tensor(p.function, "out", p.out);
  const auto& q = p.q.extents;
  if (q[3] < 1) {
    fail(p.function, "q", "a dim of at least 1", std::to_string(q[3]));
  }
  check_extent(p.function, "k", p.k, 0, q[0], "sequences", "the batch of q");
  check_extent(p.function, "k", p.k, 3, q[3], "elements per row", "the dim of q");
  const index_t kv_heads = p.k.extents[1];
  if (kv_heads < 1 ? q[1] > 0 : q[1] % kv_heads != 0) {
    fail(p.function, "k", "kv_heads that divide the " + std::to_string(q[1]) + " heads of q",
         std::to_string(kv_heads));
  }
  check_extent(p.function, "v", p.v, 0, q[0], "sequences", "the batch of q");
  check_extent(p.function, "v", p.v, 1, kv_heads, "heads", "those of k");
  check_extent(p.function, "v", p.v, 2, p.k.extents[2], "tokens", "those of k");
  check_extent(p.function, "out", p.out, 0, q[0], "sequences", "the batch of q");
  check_extent(p.function, "out", p.out, 1, q[1], "heads", "those of q");
  check_extent(p.function, "out", p.out, 2, q[2], "tokens", "those of q");
  check_extent(p.function, "out", p.out, 3, p.v.extents[3], "elements per row", "the dim of v");
  check_attention_options(p);
  if (p.options.mask.is_given()) {
    read[3].range = check_tensor(p.function, read[3].name, read[3].memory);
  }
  const View<float, 3>& log_sums = p.options.log_sums;
  if (log_sums.data != nullptr || log_sums.extents != std::array<index_t, 3>{}) {
    written[1].range = check_tensor(p.function, written[1].name, written[1].memory);
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
