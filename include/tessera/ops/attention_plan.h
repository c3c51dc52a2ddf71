// SPDX-License-Identifier: Apache-2.0
// How attention is cut into tasks, which rows and keys a task has, and where its scratch lies.
#ifndef TESSERA_OPS_ATTENTION_PLAN_H_
#define TESSERA_OPS_ATTENTION_PLAN_H_

#include <algorithm>
#include <cstddef>

#include "tessera/core/attention.h"
#include "tessera/core/context.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/attention_problem.h"
#include "tessera/ops/attention_checks.h"
#include "tessera/ops/attention_keys.h"
#include "tessera/ops/gemm_driver.h"

namespace tessera::inline TESSERA_ABI::impl {

// Pieces of one block of memory.
class PieceCounter {
 public:
  template <class T>
  index_t add(index_t count) {
    const index_t at = bytes_;
    bytes_ += aligned(count * static_cast<index_t>(sizeof(T)));
    return at;
  }
  index_t bytes() const { return bytes_; }

 private:
  index_t bytes_ = 0;
};

// Does a product of m rows end in a tile of fewer chains than two FMA units of latency 4 take?
inline bool ends_thin(const GemmTile& tile, index_t m, index_t n) {
  const index_t lanes = tile.lanes();
  const index_t last = (n + lanes - 1) / lanes % tile.shape.vectors;
  return m >= tile.shape.rows && last > 0 && last * tile.shape.rows < 8;
}

// Not the tile with a thin end, if another has none: values of dim 128 are five times three vectors of AVX2 and one, or eight
// times two (Zen 3, 2026-11-22: prompts of 2048 1.04 times as fast with those, of 512 level).
inline AttentionTile attention_tile(const GemmKernels& gemm, const Context* context, index_t m,
                                    index_t n) {
  const int told = tuning_of(context).tile;
  const bool is_told = told >= 0 && told < gemm.tile_count;
  int index = is_told ? told : choose_tile(gemm, m, n, nullptr);
  if (!is_told && ends_thin(gemm.tiles[index], m, n)) {
    for (int i = gemm.tile_count - 1; i >= 0; --i) {
      if (!ends_thin(gemm.tiles[i], m, n)) index = i;
    }
  }
  const GemmTile* const tile = &gemm.tiles[index];
  return {tile, tile->lanes() * tile->shape.vectors, tile->lanes()};
}

class AttentionPlan {
 public:
  AttentionPlan(const AttentionProblem& p, const KernelTable& table)
      : p_(p),
        o_(p.options),
        table_(table),
        gemm_(table.gemm_f32),
        kernels_(table.attention),
        executor_(o_.context ? o_.context->executor : Executor{}),
        sequences_(sequences_of(p)),
        kv_heads_(p.k.memory.extents[1]),
        group_(p.q.extents[1] / std::max<index_t>(kv_heads_, 1)),
        depth_(p.q.extents[3]),
        columns_(p.v.dim),
        rows_(group_ * most_tokens(p)),
        window_(o_.window > 0 ? std::min(o_.window, tessera::detail::kNoWindow)
                              : tessera::detail::kNoWindow),
        scores_(attention_tile(gemm_, o_.context, std::min(rows_, kRowsPerPass), kAttentionBlock)),
        values_(attention_tile(gemm_, o_.context, std::min(rows_, kRowsPerPass), columns_)) {
    choose_rows();
    value_stride_ = values_.padded(columns_);
    // Not a power of two: the rows of a tile would share few sets of the cache.
    score_stride_ = scores_.padded(kAttentionBlock) + 16;
    query_stride_ = round_up(depth_, 16) + 16;
    chunks_ = (most_keys(p) + kAttentionChunk - 1) / kAttentionChunk;
    choose_tasks();
    lay_out();
  }

  std::size_t scratch_bytes() const {
    const index_t sums = split_ ? row_tasks_ * (wave_ + 1) : 0;
    return static_cast<std::size_t>(places_ * place_bytes_ + sums * sums_bytes_);
  }

 protected:
  using AttentionSums = tessera::detail::AttentionSums;
  using AttentionRow = tessera::detail::AttentionRow;
  using KeyRange = tessera::detail::KeyRange;

  // Sapphire Rapids, 2026-11: 32, 48, 64 and 96 are level at dims of 64 and 128.
  static constexpr index_t kRowsPerPass = 64;
  static constexpr index_t kSlice = 32;  // rows of V that are in L1 together

  // Rows [first, first + count) of a group of heads: row i is head i % group_ of token i / group_.
  struct Rows {
    index_t sequence, kv_head, first;
    index_t count;  // 0 or less where the sequence is shorter than others
    AttentionSequence where;
    KeyRows k, v;
  };

  // The scratch of one thread.
  struct Place {
    float *queries, *keys, *values, *scores, *converted, *before;
    AttentionSums sums, more;
    AttentionRow* row;
    bool* started;
    float* sinks;
    void** out;
    float** log_sums;
  };

  // ---- Shapes

  static index_t most_tokens(const AttentionProblem& p) {
    index_t most = 0;
    for (index_t s = 0; s < sequences_of(p); ++s) most = std::max(most, sequence_of(p, s).tokens);
    return most;
  }
  static index_t most_keys(const AttentionProblem& p) {
    index_t most = 0;
    for (index_t s = 0; s < sequences_of(p); ++s) most = std::max(most, sequence_of(p, s).keys);
    return most;
  }

  // The rows of a task share the packing of keys, and pass through L2 with their sums block by block. Twice of what L2 holds,
  // against half: prompts of 2048 1.0 to 1.06 times as fast, of 512 level (Zen 3, 512 KiB, 2026-11-22).
  void choose_rows() {
    const index_t l2 = bytes_per_thread(caches_of(o_.context).l2);
    const index_t bytes = 4 * (depth_ + 2 * values_.padded(columns_));
    task_rows_ = std::clamp<index_t>(2 * l2 / std::max<index_t>(bytes, 1), kRowsPerPass, 1024);
    pass_rows_ = round_up(kRowsPerPass, scores_.tile->shape.rows);
    task_rows_ = round_up(task_rows_, pass_rows_);
    if (executor_.concurrency() > 1) {
      const index_t wanted = 4 * executor_.concurrency();
      while (task_rows_ > pass_rows_ && row_tasks_of(task_rows_) < wanted) {
        task_rows_ = round_up(task_rows_ / 2, pass_rows_);
      }
    }
    task_rows_ = std::min(task_rows_, std::max<index_t>(rows_, 1));
    pass_rows_ = std::min(pass_rows_, task_rows_);
  }

  index_t tiles_of(index_t rows) const { return (rows_ + rows - 1) / rows; }
  index_t row_tasks_of(index_t rows) const { return sequences_ * kv_heads_ * tiles_of(rows); }

  void choose_tasks() {
    row_tasks_ = row_tasks_of(task_rows_);
    const index_t threads = executor_.concurrency();
    const index_t wanted = threads > 1 ? 4 * threads : 1;
    split_ = threads > 1 && chunks_ > 1 && row_tasks_ < wanted;
    if (split_)
      wave_ = std::min(chunks_, (2 * wanted + row_tasks_ - 1) / std::max<index_t>(row_tasks_, 1));
    places_ = std::max<index_t>(std::min(split_ ? row_tasks_ * wave_ : row_tasks_, wanted), 1);
  }

  // run(place, task): equal shares of the tasks.
  template <class F>
  void share(index_t tasks, F run) const {
    const index_t each = (tasks + places_ - 1) / places_;
    executor_.parallel_for(places_, [&](index_t place) {
      for (index_t i = place * each; i < std::min((place + 1) * each, tasks); ++i) run(place, i);
    });
  }

  // ---- Scratch

  void lay_out() {
    PieceCounter sums;
    at_.exponents = sums.add<float>(task_rows_);
    at_.sums = sums.add<float>(task_rows_);
    at_.sum_values = sums.add<float>(task_rows_ * value_stride_);
    sums_bytes_ = sums.bytes();
    PieceCounter c;
    at_.queries = c.add<float>(task_rows_ * query_stride_);
    at_.keys = c.add<float>(depth_ * scores_.padded(kAttentionBlock));
    at_.values = c.add<float>(kAttentionBlock * value_stride_);
    at_.scores = c.add<float>(pass_rows_ * score_stride_);
    at_.converted = c.add<float>(std::max(scores_.panel * depth_, kSlice * value_stride_));
    at_.before = c.add<float>(pass_rows_ * value_stride_);
    at_.row = c.add<AttentionRow>(pass_rows_);
    at_.started = c.add<bool>(task_rows_);
    at_.sinks = c.add<float>(task_rows_);
    at_.out = c.add<void*>(task_rows_);
    at_.log_sums = c.add<float*>(task_rows_);
    at_.first_sums = c.add<std::byte>(split_ ? 0 : sums_bytes_);
    at_.second_sums = c.add<std::byte>(split_ || chunks_ < 2 ? 0 : sums_bytes_);
    place_bytes_ = c.bytes();
  }

  AttentionSums sums_at(std::byte* p) const {
    return {reinterpret_cast<float*>(p + at_.exponents), reinterpret_cast<float*>(p + at_.sums),
            reinterpret_cast<float*>(p + at_.sum_values), value_stride_};
  }

  Place place_at(std::byte* p) const {
    return {.queries = reinterpret_cast<float*>(p + at_.queries),
            .keys = reinterpret_cast<float*>(p + at_.keys),
            .values = reinterpret_cast<float*>(p + at_.values),
            .scores = reinterpret_cast<float*>(p + at_.scores),
            .converted = reinterpret_cast<float*>(p + at_.converted),
            .before = reinterpret_cast<float*>(p + at_.before),
            .sums = sums_at(p + at_.first_sums),
            .more = sums_at(p + at_.second_sums),
            .row = reinterpret_cast<AttentionRow*>(p + at_.row),
            .started = reinterpret_cast<bool*>(p + at_.started),
            .sinks = reinterpret_cast<float*>(p + at_.sinks),
            .out = reinterpret_cast<void**>(p + at_.out),
            .log_sums = reinterpret_cast<float**>(p + at_.log_sums)};
  }

  // ---- Rows

  Rows rows_of(index_t task) const {
    const index_t tiles = tiles_of(task_rows_), tile = task % tiles;
    const index_t sequence = task / tiles / kv_heads_, kv_head = task / tiles % kv_heads_;
    const AttentionSequence where = sequence_of(p_, sequence);
    const auto* const table = p_.paged ? &p_.block_table : nullptr;
    return {.sequence = sequence,
            .kv_head = kv_head,
            .first = tile * task_rows_,
            .count = std::min(task_rows_, group_ * where.tokens - tile * task_rows_),
            .where = where,
            .k = {p_.k, table, table_, sequence, where, kv_head},
            .v = {p_.v, table, table_, sequence, where, kv_head}};
  }

  // Of row i of a task.
  index_t head(const Rows& rows, index_t i) const {
    return rows.kv_head * group_ + (rows.first + i) % group_;
  }
  index_t token(const Rows& rows, index_t i) const { return (rows.first + i) / group_; }
  index_t position(const Rows& rows, index_t i) const {
    return rows.where.keys - rows.where.tokens + token(rows, i);
  }
  KeyRange visible(const Rows& rows, index_t i) const {
    return tessera::detail::visible_keys(position(rows, i), rows.where.keys, o_.causal, window_);
  }
  // The keys that rows [i, end) see, and perhaps some between them: later rows see later keys.
  KeyRange visible(const Rows& rows, index_t i, index_t end) const {
    KeyRange all{};
    // Rows without keys are at either end.
    while (i < end && visible(rows, i).is_empty()) ++i;
    while (i < end && visible(rows, end - 1).is_empty()) --end;
    if (i < end) all = {visible(rows, i).begin, visible(rows, end - 1).end};
    return all;
  }

  // Row i of a task in q or out.
  const std::byte* row(const TensorMemory& t, const Rows& rows, index_t i) const {
    return offset(t.data, (rows.where.q_batch * t.strides[0] + head(rows, i) * t.strides[1] +
                           (rows.where.q_first + token(rows, i)) * t.strides[2]) *
                              size_of(t.dtype));
  }

  // Offsets in the scratch of a place, and in sums.
  struct Offsets {
    index_t queries, keys, values, scores, converted, before, row, started, sinks, out, log_sums;
    index_t first_sums, second_sums;
    index_t exponents, sums, sum_values;
  };

  const AttentionProblem& p_;
  const AttentionOptions& o_;
  const KernelTable& table_;
  const GemmKernels& gemm_;
  const tessera::detail::AttentionKernels& kernels_;
  Executor executor_;
  index_t sequences_, kv_heads_, group_, depth_, columns_, rows_, window_;
  AttentionTile scores_, values_;
  index_t task_rows_ = 0, pass_rows_ = 0;
  index_t value_stride_ = 0, score_stride_ = 0, query_stride_ = 0;
  index_t chunks_ = 0, row_tasks_ = 0, places_ = 1;
  bool split_ = false;  // chunks are tasks of their own,
  index_t wave_ = 0;    // so many of them at a time
  Offsets at_{};
  index_t place_bytes_ = 0, sums_bytes_ = 0;
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ATTENTION_PLAN_H_
