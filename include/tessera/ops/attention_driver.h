// SPDX-License-Identifier: Apache-2.0
// What attention.h does: checks, and the rows of a group of heads on the register tiles of GEMM.
//
// The heads that share keys are rows of one product, token by token. A task is some of these rows; it goes through the keys
// block by block, packs K^T and V of a block once, and passes over it with a few rows at a time, whose scores stay in cache
// between the two products. Nothing that is decided here changes a bit: ref/attention.h says which sums there are.
#ifndef TESSERA_OPS_ATTENTION_DRIVER_H_
#define TESSERA_OPS_ATTENTION_DRIVER_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>

#include "tessera/core/attention.h"
#include "tessera/core/context.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/attention.h"
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

inline AttentionTile attention_tile(const GemmKernels& gemm, const Context* context, index_t m,
                                    index_t n) {
  const int told = tuning_of(context).tile;
  const int index = told >= 0 && told < gemm.tile_count ? told : choose_tile(gemm, m, n, nullptr);
  const GemmTile* const tile = &gemm.tiles[index];
  return {tile, tile->lanes() * tile->shape.vectors, tile->lanes()};
}

class AttentionRun {
 public:
  AttentionRun(const AttentionProblem& p, const KernelTable& table)
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
    return static_cast<std::size_t>(places_ * place_bytes_ + (split_ ? tasks() * sums_bytes_ : 0));
  }

  void operator()(std::byte* scratch) const {
    if (!split_) {
      return share(tasks(), [&](index_t place, index_t task) {
        const Place at = place_at(scratch + place * place_bytes_);
        const Rows rows = rows_of(task);
        if (rows.count > 0) run_all_chunks(rows, at);
      });
    }
    // Sums of each chunk, then those of all chunks of the same rows.
    std::byte* const all = scratch + places_ * place_bytes_;
    share(tasks(), [&](index_t place, index_t task) {
      const Place at = place_at(scratch + place * place_bytes_);
      const Rows rows = rows_of(task / chunks_);
      if (rows.count <= 0) return;
      load_queries(rows, at);
      run_chunk(rows, task % chunks_, at, sums_at(all + task * sums_bytes_));
    });
    share(row_tasks_, [&](index_t place, index_t task) {
      const Place at = place_at(scratch + place * place_bytes_);
      const Rows rows = rows_of(task);
      if (rows.count <= 0) return;
      const AttentionSums sums = sums_at(all + task * chunks_ * sums_bytes_);
      for (index_t c = 1; c < chunks_; ++c) {
        kernels_.merge(
            {sums, sums_at(all + (task * chunks_ + c) * sums_bytes_), rows.count, columns_});
      }
      finish(rows, sums, at);
    });
  }

 private:
  using AttentionSums = tessera::detail::AttentionSums;
  using AttentionRow = tessera::detail::AttentionRow;
  using KeyRange = tessera::detail::KeyRange;

  static constexpr index_t kRowsPerPass = 64;
  static constexpr index_t kSlice =
      32;  // keys whose values are read at a time where they are few in L1

  // Rows [first, first + count) of a group of heads: row i is head i % group_ of token i / group_.
  struct Rows {
    index_t sequence, kv_head, first,
        count;  // no more than 0 where a sequence is shorter than others
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

  // As many rows as let queries and sums stay in half of L2: they share the packing of keys.
  void choose_rows() {
    const index_t l2 = bytes_per_thread(caches_of(o_.context).l2);
    const index_t bytes = 4 * (depth_ + 2 * values_.padded(columns_));
    task_rows_ = std::clamp<index_t>(l2 / 2 / std::max<index_t>(bytes, 1), kRowsPerPass, 1024);
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
    split_ = threads > 1 && chunks_ > 1 && row_tasks_ < 4 * threads;
    places_ = std::max<index_t>(std::min(tasks(), threads > 1 ? 4 * threads : 1), 1);
  }
  index_t tasks() const { return split_ ? row_tasks_ * chunks_ : row_tasks_; }

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
    return {.sequence = sequence,
            .kv_head = kv_head,
            .first = tile * task_rows_,
            .count = std::min(task_rows_, group_ * where.tokens - tile * task_rows_),
            .where = where,
            .k = {p_.k, p_.block_table, table_, sequence, where, kv_head},
            .v = {p_.v, p_.block_table, table_, sequence, where, kv_head}};
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

  void load_queries(const Rows& rows, const Place& at) const {
    for (index_t i = 0; i < rows.count; ++i) {
      gemm_.convert_a(p_.q.dtype, row(p_.q, rows, i), p_.q.strides[3],
                      at.queries + i * query_stride_, depth_, 0);
    }
  }

  // ---- Keys

  void run_all_chunks(const Rows& rows, const Place& at) const {
    load_queries(rows, at);
    run_chunk(rows, 0, at, at.sums);
    const KeyRange keys = visible(rows, 0, rows.count);
    for (index_t c = 1; c * kAttentionChunk < keys.end; ++c) {
      if ((c + 1) * kAttentionChunk <= keys.begin) continue;
      run_chunk(rows, c, at, at.more);
      kernels_.merge({at.sums, at.more, rows.count, columns_});
    }
    finish(rows, at.sums, at);
  }

  // The sums over the keys of a chunk.
  void run_chunk(const Rows& rows, index_t chunk, const Place& at,
                 const AttentionSums& sums) const {
    std::fill_n(sums.exponents, rows.count, -std::numeric_limits<float>::max());
    std::fill_n(sums.sums, rows.count, 0.0f);
    const index_t passes = (rows.count + pass_rows_ - 1) / pass_rows_;
    std::fill_n(at.started, passes, false);
    const KeyRange keys = visible(rows, 0, rows.count);
    const index_t begin = std::max(keys.begin, chunk * kAttentionChunk);
    const index_t end = std::min(keys.end, (chunk + 1) * kAttentionChunk);
    for (index_t block = begin / kAttentionBlock * kAttentionBlock; block < end;
         block += kAttentionBlock) {
      run_block(rows, block, std::min(kAttentionBlock, end - block), at, sums);
    }
    for (index_t pass = 0; pass < passes; ++pass) {
      if (at.started[pass]) continue;
      const index_t i = pass * pass_rows_, n = std::min(pass_rows_, rows.count - i);
      std::fill_n(sums.values + i * value_stride_, n * value_stride_, 0.0f);
    }
  }

  void run_block(const Rows& rows, index_t block, index_t keys, const Place& at,
                 const AttentionSums& sums) const {
    if (rows.count <= pass_rows_) return stream_block(rows, block, keys, at, sums);
    for (index_t j = 0; j < keys; j += scores_.panel) {
      const index_t width = std::min(scores_.panel, keys - j);
      rows.k.pack_columns(block + j, width, at.converted, at.keys + j * depth_,
                          round_up(width, scores_.pad));
    }
    rows.v.pack_rows(block, keys, values_, kSlice, at.converted, at.values);
    const bool finite = kernels_.all_finite(at.values, keys * value_stride_);
    for (index_t i = 0; i < rows.count; i += pass_rows_) {
      const index_t count = std::min(pass_rows_, rows.count - i);
      KeyRange range = visible(rows, i, i + count);
      range.begin = std::max<index_t>(range.begin - block, 0);
      range.end = std::min(range.end - block, keys);
      if (range.is_empty()) continue;
      bool& started = at.started[i / pass_rows_];
      multiply_keys(i, count, keys, range, at);
      weigh(rows, i, count, block, range, started, at, sums);
      float* const values = sums.values + i * value_stride_;
      if (finite) {
        multiply_values({at.scores, score_stride_, count}, keys, range, started, at, values);
      } else {
        multiply_any_values(count, keys, range, started, at, values);
      }
      started = true;
    }
  }

  // One pass of rows, such as the heads of one token: what counts is how often K and V are touched. Scores follow the
  // packing panel by panel, V is read in place. Whether V was finite shows in the sums.
  void stream_block(const Rows& rows, index_t block, index_t keys, const Place& at,
                    const AttentionSums& sums) const {
    KeyRange range = visible(rows, 0, rows.count);
    range.begin = std::max<index_t>(range.begin - block, 0);
    range.end = std::min(range.end - block, keys);
    if (range.is_empty()) return;
    stream_keys(rows, block, keys, range, at);
    weigh(rows, 0, rows.count, block, range, at.started[0], at, sums);
    const bool started = at.started[0];
    at.started[0] = true;
    const index_t values = rows.count * value_stride_;
    if (started) std::copy_n(sums.values, values, at.before);
    stream_values(rows, block, range, started, at, sums.values);
    for (index_t i = 0; i < rows.count; ++i) {
      if (kernels_.all_finite(sums.values + i * value_stride_, columns_)) continue;
      if (started) std::copy_n(at.before, values, sums.values);
      rows.v.pack_rows(block, keys, values_, kSlice, at.converted, at.values);
      return multiply_any_values(rows.count, keys, range, started, at, sums.values);
    }
  }

  void stream_keys(const Rows& rows, index_t block, index_t keys, const KeyRange& range,
                   const Place& at) const {
    const AttentionTile& t = scores_;
    GemmBlock b = block_of(t);
    b.m = rows.count;
    b.k = depth_;
    b.a = at.queries;
    b.a_stride = query_stride_;
    b.b = at.keys;
    b.c_stride = score_stride_;
    for (index_t j = range.begin / t.panel * t.panel; j < range.end; j += t.panel) {
      const index_t width = std::min(t.panel, keys - j), padded = round_up(width, t.pad);
      rows.k.pack_columns(block + j, width, at.converted, at.keys, padded);
      b.n = padded;
      b.c = at.scores + j;
      t.tile->run(b);
    }
  }

  void stream_values(const Rows& rows, index_t block, const KeyRange& range, bool add,
                     const Place& at, float* to) const {
    const AttentionTile& t = values_;
    GemmBlock b = block_of(t);
    b.m = rows.count;
    b.n = round_up(columns_, t.pad);
    b.a_stride = score_stride_;
    b.b_in_place = true;
    b.c = to;
    b.c_stride = value_stride_;
    const bool in_place = rows.v.is_plain() && columns_ == b.n;
    if (!in_place && b.n > columns_) std::fill_n(at.converted, kSlice * b.n, 0.0f);
    for (index_t j = range.begin; j < range.end; j += b.k) {
      b.k = std::min(kSlice, range.end - j);
      if (in_place) b.k = std::min(b.k, rows.v.run(block + j));
      b.a = at.scores + j;
      b.beta = add ? 1 : 0;
      add = true;
      if (in_place) {
        b.b = rows.v.row(block + j);
        b.b_stride = rows.v.stride();
      } else {
        rows.v.convert(block + j, b.k, at.converted, b.n);
        b.b = at.converted;
        b.b_stride = b.n;
      }
      t.tile->run(b);
    }
  }

  static GemmBlock block_of(const AttentionTile& t) {
    GemmBlock b{};
    b.a_in_place = true;
    b.a_dtype = b.b_dtype = DType::kF32;
    b.b_panel = t.panel;
    b.b_pad = t.pad;
    b.b_col_stride = 1;
    b.first = b.last = true;
    return b;
  }

  // Scores of rows [i, i + count) for the keys of the block in `range`, and for others that share vectors with them.
  void multiply_keys(index_t i, index_t count, index_t keys, const KeyRange& range,
                     const Place& at) const {
    const AttentionTile& t = scores_;
    GemmBlock b = block_of(t);
    b.m = count;
    b.k = depth_;
    b.a = at.queries + i * query_stride_;
    b.a_stride = query_stride_;
    b.c_stride = score_stride_;
    const index_t first = range.begin / t.panel * t.panel;
    const index_t whole = range.end / t.panel * t.panel;
    const auto run = [&](index_t column, index_t n) {
      b.n = n;
      b.b = at.keys + column * depth_;
      b.c = at.scores + column;
      t.tile->run(b);
    };
    if (whole > first) run(first, whole - first);
    const index_t rest = range.end - std::max(first, whole);
    if (rest > 0) {
      // Some of the columns of a panel are as a B in place.
      const index_t column = std::max(first, whole);
      b.b_in_place = true;
      b.b_stride = round_up(std::min(t.panel, keys - column), t.pad);
      run(column, round_up(rest, t.pad));
    }
  }

  void weigh(const Rows& rows, index_t i, index_t count, index_t block, const KeyRange& range,
             bool started, const Place& at, const AttentionSums& sums) const {
    const double scale =
        o_.scale == 0 ? 1 / std::sqrt(static_cast<double>(depth_)) : static_cast<double>(o_.scale);
    constexpr double kLog2E = 1.4426950408889634;
    constexpr float kLog2EFloat = 0x1.715476p+0f;
    const TensorMemory& mask = o_.mask.memory();
    for (index_t r = 0; r < count; ++r) {
      AttentionRow& row = at.row[r];
      const index_t h = head(rows, i + r), at_token = token(rows, i + r);
      row.visible = visible(rows, i + r);
      row.visible.begin = std::clamp<index_t>(row.visible.begin - block, 0, kAttentionBlock);
      row.visible.end = std::clamp<index_t>(row.visible.end - block, 0, kAttentionBlock);
      row.position = position(rows, i + r) - block;
      row.slope = o_.alibi_slopes.data ? o_.alibi_slopes(h) * kLog2EFloat : 0;
      row.mask = nullptr;
      if (o_.mask.is_given()) {
        const auto stride = [&](int axis) {
          return mask.extents[axis] == 1 ? 0 : mask.strides[axis];
        };
        row.mask = offset(mask.data, (rows.sequence * stride(0) + h * stride(1) +
                                      at_token * stride(2) + block * stride(3)) *
                                         size_of(mask.dtype));
      }
    }
    const float softcap = o_.softcap;
    kernels_.weigh(
        {.scores = at.scores,
         .stride = score_stride_,
         .rows = count,
         .begin = range.begin,
         .end = range.end,
         .row = at.row,
         .scale = static_cast<float>(scale * kLog2E),
         .cap_in = softcap > 0 ? static_cast<float>(scale / static_cast<double>(softcap)) : 0,
         .cap_out = static_cast<float>(static_cast<double>(softcap) * kLog2E),
         .biased = o_.mask.is_given() || o_.alibi_slopes.data != nullptr,
         .mask = {mask.dtype, mask.extents[3] == 1 ? 0 : mask.strides[3]},
         .sums = {sums.exponents + i, sums.sums + i, sums.values + i * value_stride_,
                  value_stride_},
         .value_columns = started ? columns_ : 0});
  }

  struct Weights {
    const float* data;
    index_t stride, rows;
  };

  // values (+)= weights * V, of the keys in `range`; `keys`: those that V was packed with.
  void multiply_values(const Weights& w, index_t keys, const KeyRange& range, bool add,
                       const Place& at, float* to) const {
    const AttentionTile& t = values_;
    GemmBlock b = block_of(t);
    b.m = w.rows;
    b.k = range.end - range.begin;
    b.a = w.data + range.begin;
    b.a_stride = w.stride;
    b.beta = add ? 1 : 0;
    b.c_stride = value_stride_;
    for (index_t j = 0; j < columns_; j += t.panel) {
      b.n = round_up(std::min(t.panel, columns_ - j), t.pad);
      b.b = at.values + j * keys + range.begin * b.n;
      b.c = to + j;
      t.tile->run(b);
    }
  }

  // The same where V has infinities or NaNs: only keys with a weight, row by row.
  void multiply_any_values(index_t count, index_t keys, const KeyRange& range, bool add,
                           const Place& at, float* to) const {
    for (index_t r = 0; r < count; ++r, to += value_stride_) {
      const float* const weights = at.scores + r * score_stride_;
      bool started = add;
      for (index_t j = range.begin; j < range.end; ++j) {
        if (weights[j] == 0) continue;
        index_t end = j + 1;
        while (end < range.end && weights[end] != 0) ++end;
        multiply_values({weights, score_stride_, 1}, keys, {j, end}, started, at, to);
        started = true;
        j = end;
      }
      if (!started) std::fill_n(to, value_stride_, 0.0f);
    }
  }

  void finish(const Rows& rows, const AttentionSums& sums, const Place& at) const {
    constexpr float kLog2E = 0x1.715476p+0f;
    for (index_t i = 0; i < rows.count; ++i) {
      const index_t h = head(rows, i);
      at.out[i] = const_cast<std::byte*>(row(p_.out, rows, i));
      if (o_.sinks.data) at.sinks[i] = o_.sinks(h) * kLog2E;
      if (o_.log_sums.data) {
        at.log_sums[i] = &o_.log_sums(rows.where.q_batch, h, rows.where.q_first + token(rows, i));
      }
    }
    kernels_.finish({.sums = sums,
                     .rows = rows.count,
                     .value_columns = columns_,
                     .sinks = o_.sinks.data ? at.sinks : nullptr,
                     .out = at.out,
                     .dtype = p_.out.dtype,
                     .out_stride = p_.out.strides[3],
                     .log_sums = o_.log_sums.data ? at.log_sums : nullptr});
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
  bool split_ = false;
  Offsets at_{};
  index_t place_bytes_ = 0, sums_bytes_ = 0;
};

TESSERA_LIBRARY_FUNCTION void checked_attention(const AttentionProblem& problem) {
  const Context* const context = problem.options.context;
  const KernelTable& table =
      kernels_for(problem.function, context ? context->target : std::nullopt);
  check_attention(problem);
  if (problem.out.is_empty() || sequences_of(problem) == 0) return;
  const AttentionRun run(problem, table);
  Scratch& scratch = context ? problem.options.context->scratch : tessera::detail::thread_scratch();
  run(scratch.reserve(run.scratch_bytes(), problem.function));
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ATTENTION_DRIVER_H_
