// SPDX-License-Identifier: Apache-2.0
// Products with quantized weights: a column panel of them is unpacked, a chunk of k at a time, into L1, and multiplied
// by all rows of activations, which wait in L2. Nothing that is decided here changes a bit of the result.
#ifndef TESSERA_OPS_WEIGHTS_DRIVER_H_
#define TESSERA_OPS_WEIGHTS_DRIVER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/fp8_quantize.h"
#include "tessera/ops/gemm_checks.h"
#include "tessera/ops/gemm_problem.h"
#include "tessera/ops/quantize_driver.h"
#include "tessera/ops/weights_pack.h"

namespace tessera::inline TESSERA_ABI::impl {

// Of all products: whether one has quantized weights turns out at run time.
inline constexpr Families kProductFamilies = kGemmFamily | kWeightsFamily;

inline const CacheSizes& caches_of(const Context* context) {
  return context && context->caches ? *context->caches : machine_caches();
}

class WeightRun {
 public:
  WeightRun(const GemmProblem& p, const KernelTable& table, const Context* context,
            const Executor& executor)
      : p_(p),
        w_(*p.b.weights),
        f_(w_.format()),
        table_(table),
        products_(f_.narrow ? table.weights.narrow : table.weights.any),
        executor_(executor),
        result_{
            p.c, p.c_dtype, p.c_row_stride, p.c_col_stride, p.epilogue.steps(), p.epilogue.size()},
        integers_(p.activations != Activations::kFloat) {
    k_ = p.alpha == 0 ? 0 : p.k;
    if (integers_) {
      // A chunk is the longest block that fits, so that a block of activations is never cut.
      mr_ = table.weights.rows;
      chunk_ = kMostUnit;
      padded_k_ = round_up(k_, f_.unit);
      block_ = p.activations == Activations::kInt8Block32    ? 32
               : p.activations == Activations::kInt8Block256 ? 256
                                                             : std::max<index_t>(padded_k_, 1);
      run_ = std::min(f_.group, block_cut());
    } else {
      // [chunk, panel] floats are half of L1.
      mr_ = table.gemm_f32.tiles[0].shape.rows;
      chunk_ = 128;
      padded_k_ = k_;
    }
    const index_t element = integers_ ? products_.element_bytes : 4;
    const index_t part = integers_ ? products_.part : 1;
    const index_t row = std::max<index_t>(padded_k_ / part * element, 1);
    const index_t l2 = bytes_per_thread(caches_of(context).l2);
    rows_ = std::min(p.m, std::max(round_down(l2 / 2 / row, mr_), 4 * mr_));
    a_in_place_ =
        !integers_ && p.a.dtype == DType::kF32 && p.a.strides[1] == 1 && p.alpha == 1 && p.m <= mr_;
    if (!a_in_place_) a_bytes_ = aligned(rows_ * row);
    if (integers_) {
      a_sums_bytes_ = aligned(rows_ * padded_k_ / run_ * 4);
      a_scales_bytes_ = aligned(rows_ * scale_rows() * 4);
    }
    tasks_ = executor.concurrency() == 1 ? 1 : std::min(w_.panels(), 4 * executor.concurrency());
    codes_bytes_ = aligned(chunk_ / part * w_.panel() * element);
    scales_bytes_ = aligned(kMostUnit / kLeastGroup * w_.panel() * 4);
    words_bytes_ = aligned(8 * w_.panel() * 4);
    sums_bytes_ = aligned(rows_ * w_.panel() * 4);
  }

  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(a_bytes_ + a_sums_bytes_ + a_scales_bytes_ +
                                    tasks_ * task_bytes());
  }

  void operator()(std::byte* scratch) const {
    const index_t per_task = (w_.panels() + tasks_ - 1) / tasks_;
    std::byte* const tasks = scratch + a_bytes_ + a_sums_bytes_ + a_scales_bytes_;
    for (index_t i = 0; i < p_.m; i += rows_) {
      const index_t rows = std::min(rows_, p_.m - i);
      if (!a_in_place_) pack_rows(i, rows, scratch);
      executor_.parallel_for(tasks_, [&](index_t task) {
        const index_t end = std::min((task + 1) * per_task, w_.panels());
        for (index_t panel = task * per_task; panel < end; ++panel) {
          const Place place{i, rows, panel, scratch, tasks + task * task_bytes()};
          integers_ ? multiply_integers(place) : multiply_floats(place);
        }
      });
    }
  }

 private:
  // Rows [row, row + rows) of the result and a column panel.
  struct Place {
    index_t row, rows, panel;
    const std::byte* a;
    std::byte* scratch;
  };

  index_t task_bytes() const {
    return codes_bytes_ + 2 * scales_bytes_ + words_bytes_ + sums_bytes_;
  }
  // Steps after which the kernel applies the scale of the activations.
  index_t block_cut() const { return std::min(block_, chunk_); }
  index_t scale_rows() const { return (std::max(padded_k_, index_t{1}) + block_ - 1) / block_; }

  // The rows of A as panels of each chunk of k.
  void pack_rows(index_t row, index_t rows, std::byte* to) const {
    const RowPanels panels(rows, mr_);
    const index_t size = size_of(p_.a.dtype);
    const index_t count = integers_ ? (rows + mr_ - 1) / mr_ : panels.count();
    executor_.parallel_for(count, [&](index_t panel) {
      const index_t start = integers_ ? panel * mr_ : panels.start(panel);
      const index_t height = integers_ ? std::min(mr_, rows - start) : panels.rows(panel);
      const void* const from = offset(p_.a.data, (row + start) * p_.a.strides[0] * size);
      if (integers_) {
        products_.quantize({from, p_.a.dtype, p_.a.strides[0], p_.a.strides[1], height, k_,
                            padded_k_, block_, chunk_, run_, start, rows,
                            static_cast<float>(p_.alpha), to,
                            reinterpret_cast<std::int32_t*>(to + a_bytes_),
                            reinterpret_cast<float*>(to + a_bytes_ + a_sums_bytes_)});
        return;
      }
      for (index_t k = 0; k < k_; k += chunk_) {
        const index_t depth = std::min(chunk_, k_ - k);
        table_.gemm_f32.pack_a({offset(from, k * p_.a.strides[1] * size), p_.a.dtype,
                                p_.a.strides[0], p_.a.strides[1], height, depth, p_.alpha,
                                to + (k * rows + start * depth) * 4, height});
      }
    });
  }

  UnpackWeights unpacking(const Place& place, index_t k, index_t depth) const {
    std::byte* const scales = place.scratch + codes_bytes_;
    std::byte* const mins = scales + scales_bytes_;
    return {&f_,
            w_.data() + place.panel * w_.panel_bytes(),
            w_.panel(),
            k,
            depth,
            place.scratch,
            reinterpret_cast<float*>(scales),
            reinterpret_cast<float*>(mins),
            reinterpret_cast<std::int32_t*>(mins + scales_bytes_)};
  }
  std::byte* sums_of(const Place& place) const {
    return place.scratch + codes_bytes_ + 2 * scales_bytes_ + words_bytes_;
  }

  index_t columns(index_t panel) const { return std::min(w_.panel(), p_.n - panel * w_.panel()); }

  void multiply_floats(const Place& place) const {
    const index_t j = place.panel * w_.panel();
    GemmBlock block{};
    block.m = place.rows;
    block.n = columns(place.panel);
    block.a_in_place = a_in_place_;
    block.a_dtype = DType::kF32;
    block.a_stride = p_.a.strides[0];
    block.a_panel = mr_;
    block.b = place.scratch;
    block.b_panel = block.b_pad = w_.panel();
    block.b_dtype = DType::kF32;
    block.c = sums_of(place);
    block.c_stride = block.n;
    block.result = &result_;
    block.row = place.row;
    block.col = j;
    const bool stream = place.rows <= 2 && table_.gemm_f32.few_rows != nullptr;
    index_t k = 0;
    do {  // once also for k = 0
      block.k = std::min(chunk_, k_ - k);
      block.a = a_in_place_ ? offset(p_.a.data, (place.row * p_.a.strides[0] + k) * 4)
                            : place.a + k * place.rows * 4;
      block.first = k == 0;
      block.last = k + block.k == k_;
      block.beta = block.first ? p_.beta : 1;
      if (block.k > 0) {
        table_.weights.unpack_floats(unpacking(place, k, round_up(block.k, 32)));
      }
      (stream ? table_.gemm_f32.few_rows : table_.gemm_f32.tiles[0].run)(block);
      k += chunk_;
    } while (k < k_);
  }

  // For a single row there may be a kernel that does all of a panel.
  bool multiply_row(const Place& place, float* sums) const {
    if (place.rows != 1 || products_.multiply_row == nullptr) return false;
    const UnpackWeights u = unpacking(place, 0, padded_k_);
    return products_.multiply_row(
        {&f_, u.from, w_.panel(), padded_k_, chunk_, run_, block_, place.a,
         reinterpret_cast<const std::int32_t*>(place.a + a_bytes_),
         reinterpret_cast<const float*>(place.a + a_bytes_ + a_sums_bytes_), u.scales, u.mins,
         sums});
  }

  void multiply_integers(const Place& place) const {
    const index_t j = place.panel * w_.panel(), cols = columns(place.panel), rows = place.rows;
    auto* const sums = reinterpret_cast<float*>(sums_of(place));
    std::fill_n(sums, rows * w_.panel(), 0.0f);
    if (p_.beta != 0) {
      table_.weights.start(result_, sums, w_.panel(), rows, cols, place.row, j);
      for (index_t i = 0; i < rows * w_.panel(); ++i) sums[i] *= static_cast<float>(p_.beta);
    }
    for (index_t k = multiply_row(place, sums) ? padded_k_ : 0; k < padded_k_; k += chunk_) {
      const index_t depth = std::min(chunk_, padded_k_ - k);
      const UnpackWeights u = unpacking(place, k, depth);
      products_.unpack(u);
      WeightBlock block{};
      block.m = rows;
      block.width = w_.panel();
      block.k = depth;
      block.run = run_;
      block.group = f_.group;
      block.block = std::min(block_, depth);
      block.offset = f_.offset;
      block.words_in_s16 = f_.words_in_s16();
      block.a = place.a + k * rows / products_.part * products_.element_bytes;
      block.a_sums = reinterpret_cast<const std::int32_t*>(place.a + a_bytes_) + k * rows / run_;
      block.a_scales =
          reinterpret_cast<const float*>(place.a + a_bytes_ + a_sums_bytes_) + k / block_ * rows;
      block.a_scale_stride = rows;
      block.b = u.codes;
      block.scales = u.scales;
      block.mins = f_.min == WeightMin::kNone ? nullptr : u.mins;
      block.sums = sums;
      block.next = u.from + (k + depth) / f_.unit * f_.unit_bytes(w_.panel());
      block.next_share = f_.unit_bytes(w_.panel()) * 32 / f_.unit;
      products_.multiply(block);
    }
    table_.weights.finish(result_, sums, w_.panel(), rows, cols, place.row, j);
  }

  const GemmProblem& p_;
  const PackedWeights& w_;
  const WeightFormat& f_;
  const KernelTable& table_;
  const WeightProducts& products_;
  const Executor& executor_;
  GemmResult result_;
  bool integers_, a_in_place_;
  index_t mr_, rows_;  // of a row panel; that wait in L2
  index_t k_, padded_k_, chunk_;
  index_t block_ = 1, run_ = 1;  // steps with one scale of the activations; with one of either
  index_t tasks_;
  index_t a_bytes_ = 0, a_sums_bytes_ = 0, a_scales_bytes_ = 0;
  index_t codes_bytes_, scales_bytes_, words_bytes_, sums_bytes_;
};

inline void run_weights(const GemmProblem& p, const KernelTable& table, const Context* context,
                        const Executor& executor, Scratch& scratch) {
  const WeightRun run(p, table, context, executor);
  run(scratch.reserve(run.scratch_bytes(), "gemm"));
}

// ---- Packing

template <class Weights>
PackedWeights pack_weights(const Weights& w, const KernelTable& table, const Context* context) {
  const WeightFormat format = weight_format(w);
  const GemmTile& tile = table.gemm_f32.tiles[0];
  PackedWeights packed(format, table.target, w.cols, w.rows, tile.lanes() * tile.shape.vectors);
  const index_t units = packed.padded_rows() / format.unit;
  const auto pack_panel = [&](index_t panel) {
    std::byte* unit = packed.data() + panel * packed.panel_bytes();
    for (index_t u = 0; u < units; ++u, unit += format.unit_bytes(packed.panel())) {
      for (index_t j = 0; j < packed.panel(); ++j) {
        const index_t row = panel * packed.panel() + j;
        WeightColumn column{};
        if (row < w.rows) read_unit(w, format, row, u, column);
        store_column(format, column, table.weights.by_rows, unit, packed.panel(), j);
      }
    }
  };
  const Executor executor = context ? context->executor : Executor{};
  executor.parallel_for(packed.panels(), pack_panel);
  return packed;
}

inline void check_weights(const ConstBlockView& w) { check_blocks("pack_weights", "weights", w); }

// Groups of any number of columns, but for the codes of one word and the steps that share a plane.
inline void check_groups(const char* argument, index_t group, index_t cols) {
  if (cols > 0 && unit_of_groups(group, cols) < 32) {
    fail("pack_weights", argument,
         "a multiple of 32, or at least " + std::to_string(cols) + " (all columns)",
         std::to_string(group));
  }
}
inline void check_weights(const GroupQuantizedView& w) {
  auto memory = check_view("pack_weights", "weights", w, false);
  check_memory("pack_weights", memory);
  check_groups("weights.group", w.group, w.cols);
}
inline void check_weights(const Fp8BlockView& w) {
  auto memory = check_view("pack_weights", "weights", w, false);
  check_memory("pack_weights", memory);
  check_groups("weights.block_cols", w.block_cols, w.cols);
}

template <class Weights>
PackedWeights check_and_pack(const Weights& weights, Context* context) {
  const KernelTable& table = kernels_for<kProductFamilies>("pack_weights", context);
  check_weights(weights);
  return pack_weights(weights, table, context);
}

TESSERA_LIBRARY_FUNCTION PackedWeights checked_pack_weights(const ConstBlockView& weights,
                                                            Context* context) {
  return check_and_pack(weights, context);
}
TESSERA_LIBRARY_FUNCTION PackedWeights checked_pack_weights(const GroupQuantizedView& weights,
                                                            Context* context) {
  return check_and_pack(weights, context);
}
TESSERA_LIBRARY_FUNCTION PackedWeights checked_pack_weights(const Fp8BlockView& weights,
                                                            Context* context) {
  return check_and_pack(weights, context);
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_WEIGHTS_DRIVER_H_
