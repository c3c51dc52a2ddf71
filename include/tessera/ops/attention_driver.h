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
#include "tessera/ops/attention_plan.h"
#include "tessera/ops/gemm_driver.h"

namespace tessera::inline TESSERA_ABI::impl {

class AttentionRun : private AttentionPlan {
 public:
  using AttentionPlan::AttentionPlan;
  using AttentionPlan::scratch_bytes;

  void operator()(std::byte* scratch) const {
    if (split_) return run_waves(scratch);
    share(row_tasks_, [&](index_t place, index_t task) {
      const Place at = place_at(scratch + place * place_bytes_);
      const Rows rows = rows_of(task);
      if (rows.count > 0) run_all_chunks(rows, at);
    });
  }

 private:
  // Few rows and many keys: the sums of some chunks at a time, then those of the chunks so far, of the same rows.
  void run_waves(std::byte* scratch) const {
    std::byte* const all = scratch + places_ * place_bytes_;
    const auto sums = [&](index_t task, index_t i) {  // 0: of the chunks so far
      return sums_at(all + (task * (wave_ + 1) + i) * sums_bytes_);
    };
    for (index_t first = 0; first < chunks_; first += wave_) {
      const index_t count = std::min(wave_, chunks_ - first);
      share(row_tasks_ * count, [&](index_t place, index_t i) {
        const index_t task = i / count, chunk = first + i % count;
        const Place at = place_at(scratch + place * place_bytes_);
        const Rows rows = rows_of(task);
        if (rows.count <= 0) return;
        load_queries(rows, at);
        run_chunk(rows, chunk, at, sums(task, chunk == 0 ? 0 : chunk - first + 1));
      });
      share(row_tasks_, [&](index_t place, index_t task) {
        const Rows rows = rows_of(task);
        if (rows.count <= 0) return;
        for (index_t chunk = std::max<index_t>(first, 1); chunk < first + count; ++chunk) {
          kernels_.merge({sums(task, 0), sums(task, chunk - first + 1), rows.count, columns_});
        }
        if (first + count == chunks_) {
          finish(rows, sums(task, 0), place_at(scratch + place * place_bytes_));
        }
      });
    }
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
  //
  // One token, 32/8 heads of 128, 4096 keys of f32, against packing both: 4.5 ms before, 1.9 to 3.7 now as the memory of a busy
  // machine allows (Sapphire Rapids, 2026-11). While a tile runs it asks for the next panel of K or slice of V: no gain there,
  // but on Zen 3 1.22 times as fast with f32, 1.12 with f16 and 1.1 with Q8_0 (2026-11-22).
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
      b.b_ahead = rows.k.ahead_of(at.keys, block + j + width, rows.where.keys);
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
      b.b_ahead = rows.v.ahead_of(static_cast<const float*>(b.b), block + j + b.k, rows.where.keys);
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
    const double scale = (o_.scale == 0 ? 1 / std::sqrt(static_cast<double>(depth_))
                                        : static_cast<double>(o_.scale)) *
                         static_cast<double>(scale_of(o_.k_scales, rows.kv_head));
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

  static float scale_of(const View<const float, 1>& scales, index_t kv_head) {
    return scales.data == nullptr ? 1 : scales(scales.extent(0) == 1 ? 0 : kv_head);
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
                     .log_sums = o_.log_sums.data ? at.log_sums : nullptr,
                     .factor = scale_of(o_.v_scales, rows.kv_head)});
  }
};

TESSERA_LIBRARY_FUNCTION void checked_attention(const AttentionProblem& problem) {
  const Context* const context = problem.options.context;
  const KernelTable& table =
      kernels_for < kGemmFamily | kBlocksFamily | kAttentionFamily > (problem.function, context);
  check_attention(problem);
  if (problem.out.is_empty() || sequences_of(problem) == 0) return;
  const AttentionRun run(problem, table);
  Scratch& scratch = context ? problem.options.context->scratch : tessera::detail::thread_scratch();
  run(scratch.reserve(run.scratch_bytes(), problem.function));
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ATTENTION_DRIVER_H_
