// SPDX-License-Identifier: Apache-2.0
// The five loops around the GEMM kernels: plan, packing, blocks, threads. Compiled once, for every
// target; the kernels are function pointers of the target's table.
//
// After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3),
// 2008. Nothing that is decided here changes a bit of the result.
#ifndef TESSERA_OPS_GEMM_DRIVER_H_
#define TESSERA_OPS_GEMM_DRIVER_H_

#include <algorithm>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm_checks.h"
#include "tessera/ops/gemm_problem.h"

namespace tessera::inline TESSERA_ABI::impl {

// How one problem will be computed.
template <class T>
struct GemmSchedule {
  const GemmTile<T>* tile;
  int tile_index;
  void (*pack)(const PackPanel<T>&);
  index_t mr, nr, pad;  // rows per panel of A, columns per panel of B, their padding
  index_t mc, kc, nc;   // cache blocks
  bool pack_a, pack_b;  // into scratch, in this call
  bool b_in_place;      // otherwise packed, by this call or before
  bool stage_c;         // C has no unit stride: its blocks are gathered and scattered

  index_t padded(index_t width) const { return width / nr * nr + round_up(width % nr, pad); }
};

// Vector work of a tile over an m x n result, in register operations: what it multiplies, plus half
// a slot for each load of B and A, for edges are where tiles differ.
template <class T>
double tile_cost(const GemmTile<T>& tile, index_t m, index_t n) {
  const index_t lanes = tile.lanes(), nr = lanes * tile.shape.vectors;
  const auto vectors = static_cast<double>((n + lanes - 1) / lanes * tile.shape.lmul);
  const auto row_panels = static_cast<double>(RowPanels(m, tile.shape.rows).count());
  const auto col_panels = static_cast<double>((n + nr - 1) / nr);
  const auto rows = static_cast<double>(m);
  return rows * vectors + 0.5 * (row_panels * vectors + rows * col_panels);
}

template <class T>
int choose_tile(const GemmKernels<T>& kernels, index_t m, index_t n) {
  int best = 0;
  for (int i = 1; i < kernels.tile_count; ++i) {
    // The first is the measured favourite; another must promise a clear gain.
    if (tile_cost(kernels.tiles[i], m, n) < 0.9 * tile_cost(kernels.tiles[best], m, n)) best = i;
  }
  return best;
}

// The same number of blocks, of even length.
inline index_t even_blocks(index_t total, index_t block, index_t multiple) {
  const index_t count = std::max<index_t>((total + block - 1) / block, 1);
  return std::max(round_up((total + count - 1) / count, multiple), multiple);
}

template <class T>
GemmSchedule<T> schedule_for_tile(const KernelTable& kernels, const Context* context, int index,
                                  index_t k) {
  const GemmKernels<T>& all = kernels.gemm<T>();
  const GemmTuning tuning = context ? context->gemm : GemmTuning{};
  const CacheSizes& caches = context && context->caches ? *context->caches : machine_caches();
  GemmSchedule<T> s{};
  s.tile_index = index;
  s.tile = &all.tiles[index];
  s.pack = all.pack;
  s.mr = s.tile->shape.rows;
  s.pad = s.tile->lanes();
  s.nr = s.pad * s.tile->shape.vectors;
  const GemmBlocks blocks = gemm_blocks(caches, sizeof(T), s.tile->shape, s.nr);
  const auto block = [](index_t wanted, index_t chosen) {
    constexpr index_t kLargest = index_t{1} << 40;  // no blocks at all, and no overflow
    return wanted > 0 ? std::min(wanted, kLargest) : chosen;
  };
  s.mc = block(tuning.mc, blocks.mc);
  s.kc = even_blocks(k, block(tuning.kc, blocks.kc), 1);
  s.nc = round_up(block(tuning.nc, blocks.nc), s.nr);
  return s;
}

template <class T>
GemmSchedule<T> schedule(const KernelTable& kernels, const Context* context,
                         const GemmProblem<T>& p) {
  const GemmKernels<T>& all = kernels.gemm<T>();
  const GemmTuning tuning = context ? context->gemm : GemmTuning{};
  int index = tuning.tile;
  if (p.packed_a) index = p.packed_a->layout().tile;
  if (p.packed_b) index = p.packed_b->layout().tile;
  if (index < 0) index = choose_tile(all, p.m, p.n);

  GemmSchedule<T> s = schedule_for_tile<T>(kernels, context, index, p.k);
  if (p.packed_a) s.kc = p.packed_a->layout().kc;
  if (p.packed_b) {
    s.kc = p.packed_b->layout().kc;
    s.nr = p.packed_b->layout().panel;
    s.pad = p.packed_b->layout().pad;
    s.nc = round_up(s.nc, s.nr);
  }
  s.stage_c = p.c_col_stride != 1;

  // In place where the kernels can read it and the copy would not pay: B is copied once and read
  // again for each row panel, A once and read again for each column panel.
  const bool a_readable = !p.packed_a && p.a.col_stride == 1 && p.alpha == T{1};
  const bool b_readable = !p.packed_b && p.b.col_stride == 1;
  // Sapphire Rapids, f32: in place is 4 to 10 % ahead up to 384^3 where no columns are left over, else up
  // to 256^3, and 12 % behind at 512^3, where B outgrows a third of L2.
  const bool even = p.n % s.pad == 0;
  const double size = even ? 384 : 256;
  const bool small =
      static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k) <=
      size * size * size;
  s.b_in_place = b_readable && tuning.packing != GemmTuning::Packing::kAlways &&
                 (small || p.m <= 2 * s.mr || tuning.packing == GemmTuning::Packing::kNever);
  const bool a_in_place =
      a_readable && tuning.packing != GemmTuning::Packing::kAlways &&
      (s.b_in_place || p.n <= 2 * s.nr || tuning.packing == GemmTuning::Packing::kNever);
  s.pack_a = !p.packed_a && !a_in_place;
  if (p.packed_a && p.alpha != T{1}) s.pack_a = true;  // a scaled copy
  s.pack_b = !p.packed_b && !s.b_in_place;
  return s;
}

// Rows [k0, k1) of B[k, n] into `packed`, panels that hold all k rows.
template <class T>
void pack_b_rows(const GemmSchedule<T>& s, Strided<T> b, index_t k, index_t n, index_t k0,
                 index_t k1, T* packed) {
  for (index_t j = 0; j < n; j += s.nr) {
    const index_t width = std::min(s.nr, n - j), padded = round_up(width, s.pad);
    s.pack({b.data + k0 * b.row_stride + j * b.col_stride, b.col_stride, b.row_stride, width,
            k1 - k0, T{1}, packed + j * k + k0 * padded, padded});
  }
}

// How many rows of B to pack at a time. Rows that are contiguous are read along, a few side by side, for
// the prefetchers and the TLB; columns that are contiguous are transposed in longer pieces.
template <class T>
index_t pack_b_step(Strided<T> b) {
  return b.col_stride == 1 ? 8 : 64;
}

template <class T>
class GemmRun {
 public:
  GemmRun(const GemmProblem<T>& p, const GemmSchedule<T>& s, const Executor& executor)
      : p_(p), s_(s), executor_(executor), serial_(executor.concurrency() == 1) {
    nc_ = std::min(s.nc, round_up(p.n, s.nr));
    // Serially, the block of A is packed right before use and stays in L2. In parallel, all rows at
    // once (up to a bound), so that the threads wait for each other rarely.
    constexpr index_t kParallelRows = 8192;
    const index_t rows = serial_ ? s.mc : std::max(kParallelRows, s.mc);
    panels_per_pass_ = std::max<index_t>(rows / s.mr, 1);
    const index_t pass_rows = std::min(p.m, panels_per_pass_ * s.mr);
    a_elements_ = s.pack_a ? pass_rows * std::min(s.kc, p.k) : 0;
    b_elements_ = s.pack_b ? s.padded(std::min(nc_, p.n)) * std::min(s.kc, p.k) : 0;
    c_elements_ = s.stage_c ? pass_rows * std::min(nc_, p.n) : 0;
  }

  std::size_t scratch_bytes() const {
    return aligned(a_elements_) + aligned(b_elements_) + aligned(c_elements_);
  }

  void operator()(std::byte* scratch) const {
    T* a_space = reinterpret_cast<T*>(scratch);
    T* b_space = reinterpret_cast<T*>(scratch + aligned(a_elements_));
    T* c_space = reinterpret_cast<T*>(scratch + aligned(a_elements_) + aligned(b_elements_));
    const RowPanels panels(p_.m, s_.mr);
    for (index_t j = 0; j < p_.n; j += nc_) {
      const index_t n = std::min(nc_, p_.n - j);
      for (index_t k = 0; k < p_.k; k += s_.kc) {
        const index_t kc = std::min(s_.kc, p_.k - k);
        if (s_.pack_b) pack_b(k, kc, j, n, b_space);
        for (index_t panel = 0; panel < panels.count(); panel += panels_per_pass_) {
          const index_t last = std::min(panel + panels_per_pass_, panels.count());
          const Range rows{panels.start(panel), panels.start(last)};
          if (s_.pack_a) pack_a(panels, panel, last, k, kc, a_space);
          compute(panels, panel, last, rows, {k, k + kc}, {j, j + n}, a_space, b_space, c_space);
        }
      }
    }
  }

 private:
  struct Range {
    index_t begin, end;
    index_t size() const { return end - begin; }
  };

  static std::size_t aligned(index_t elements) {
    const std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(T);
    return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
  }

  // Where packed_a_ holds row `i` of the K block that starts at k.
  const T* packed_a_at(index_t i, index_t k, index_t kc) const {
    return p_.packed_a->data() + k * p_.m + i * kc;
  }

  void pack_b(index_t k, index_t kc, index_t j, index_t n, T* to) const {
    const Strided<T> from{p_.b.data + k * p_.b.row_stride + j * p_.b.col_stride, p_.b.row_stride,
                          p_.b.col_stride};
    const index_t step = pack_b_step(p_.b);
    executor_.parallel_for((kc + step - 1) / step, [&](index_t task) {
      pack_b_rows(s_, from, kc, n, task * step, std::min((task + 1) * step, kc), to);
    });
  }

  void pack_a(const RowPanels& panels, index_t first, index_t last, index_t k, index_t kc,
              T* to) const {
    const index_t origin = panels.start(first);
    executor_.parallel_for(last - first, [&](index_t task) {
      const index_t i = panels.start(first + task), rows = panels.rows(first + task);
      T* const panel = to + (i - origin) * kc;
      if (p_.packed_a) {  // already [kc][rows], but not scaled
        s_.pack({packed_a_at(i, k, kc), 1, rows, rows, kc, p_.alpha, panel, rows});
      } else {
        const T* from = p_.a.data + i * p_.a.row_stride + k * p_.a.col_stride;
        s_.pack({from, p_.a.row_stride, p_.a.col_stride, rows, kc, p_.alpha, panel, rows});
      }
    });
  }

  void compute(const RowPanels& panels, index_t first, index_t last, Range rows, Range k,
               Range cols, const T* a_space, const T* b_space, T* c_space) const {
    // Serially one task; in parallel a grid of about four per thread, at least a panel each.
    index_t panels_per_task = last - first, cols_per_task = round_up(cols.size(), s_.nr);
    if (!serial_) {
      const index_t wanted = 4 * executor_.concurrency();
      panels_per_task = std::clamp<index_t>((last - first + wanted - 1) / wanted, 1,
                                            std::max<index_t>(s_.mc / s_.mr, 1));
      const index_t row_tasks = (last - first + panels_per_task - 1) / panels_per_task;
      const index_t col_tasks = std::max<index_t>((wanted + row_tasks - 1) / row_tasks, 1);
      cols_per_task = even_blocks(cols.size(), (cols.size() + col_tasks - 1) / col_tasks, s_.nr);
    }
    const index_t row_tasks = (last - first + panels_per_task - 1) / panels_per_task;
    const index_t col_tasks = (cols.size() + cols_per_task - 1) / cols_per_task;
    executor_.parallel_for(row_tasks * col_tasks, [&](index_t task) {
      const index_t p0 = first + task % row_tasks * panels_per_task;
      const index_t p1 = std::min(p0 + panels_per_task, last);
      const index_t j0 = cols.begin + task / row_tasks * cols_per_task;
      const Range i{panels.start(p0), panels.start(p1)};
      const Range j{j0, std::min(j0 + cols_per_task, cols.end)};
      run_block(i, j, k, rows, cols, a_space, b_space, c_space);
    });
  }

  void run_block(Range i, Range j, Range k, Range rows, Range cols, const T* a_space,
                 const T* b_space, T* c_space) const {
    GemmBlock<T> block{};
    block.m = i.size();
    block.n = j.size();
    block.k = k.size();
    if (s_.pack_a) {
      block.a = a_space + (i.begin - rows.begin) * k.size();
    } else if (p_.packed_a) {
      block.a = packed_a_at(i.begin, k.begin, k.size());
    } else {
      block.a = p_.a.data + i.begin * p_.a.row_stride + k.begin;
      block.a_stride = p_.a.row_stride;
      block.a_in_place = true;
    }
    block.b_panel = s_.nr;
    block.b_pad = s_.pad;
    if (s_.pack_b) {
      block.b = b_space + (j.begin - cols.begin) * k.size();
    } else if (p_.packed_b) {
      block.b = p_.packed_b->data() + k.begin * s_.padded(p_.n) + j.begin * k.size();
    } else {
      block.b = p_.b.data + k.begin * p_.b.row_stride + j.begin;
      block.b_stride = p_.b.row_stride;
      block.b_in_place = true;
    }
    block.c = p_.c + i.begin * p_.c_row_stride + j.begin * p_.c_col_stride;
    block.c_stride = p_.c_row_stride;
    block.beta = k.begin == 0 ? p_.beta : T{1};
    if (!s_.stage_c) {
      s_.tile->run(block);
      return;
    }
    // A C without unit stride: gather, compute, scatter.
    T* const c = block.c;
    block.c_stride = cols.size();
    block.c = c_space + (i.begin - rows.begin) * block.c_stride + (j.begin - cols.begin);
    const auto each = [&](auto f) {
      for (index_t r = 0; r < block.m; ++r) {
        for (index_t s = 0; s < block.n; ++s) {
          f(c[r * p_.c_row_stride + s * p_.c_col_stride], block.c[r * block.c_stride + s]);
        }
      }
    };
    if (block.beta != T{0}) each([](T& user, T& staged) { staged = user; });
    s_.tile->run(block);
    each([](T& user, T& staged) { user = staged; });
  }

  const GemmProblem<T>& p_;
  const GemmSchedule<T>& s_;
  const Executor& executor_;
  bool serial_;
  index_t nc_, panels_per_pass_, a_elements_, b_elements_, c_elements_;
};

// C = beta * C, where there is nothing to add.
template <class T>
void scale_c(const GemmProblem<T>& p) {
  if (p.beta == T{1}) return;
  for (index_t i = 0; i < p.m; ++i) {
    for (index_t j = 0; j < p.n; ++j) {
      T& c = p.c[i * p.c_row_stride + j * p.c_col_stride];
      c = p.beta == T{0} ? T{0} : p.beta * c;
    }
  }
}

// Swaps the roles of rows and columns where C^T = B^T A^T suits the kernels, which want unit stride
// along the columns of C.
template <class T>
void orient(GemmProblem<T>& p) {
  if (p.packed_a || p.packed_b) return;
  if (p.alpha != T{1}) return;  // alpha * a is rounded, alpha * b would be other bits
  const bool columns_contiguous = p.c_row_stride == 1 || p.m == 1;
  const bool rows_contiguous = p.c_col_stride == 1 || p.n == 1;
  const bool swap = columns_contiguous && (!rows_contiguous || (p.n == 1 && p.m > 1));
  if (swap) {
    std::swap(p.m, p.n);
    std::swap(p.a, p.b);
    std::swap(p.a.row_stride, p.a.col_stride);
    std::swap(p.b.row_stride, p.b.col_stride);
    std::swap(p.c_row_stride, p.c_col_stride);
  }
}

template <class T>
void normalise(GemmProblem<T>& p) {
  orient(p);
  // The stride along an axis of length one is never used: call it contiguous.
  if (p.n == 1) p.c_col_stride = p.b.col_stride = 1;
  if (p.k == 1) p.a.col_stride = 1;
}

// The part of a schedule that a packed operand fixes for all its calls.
template <class T>
PackedLayout layout_of(const GemmSchedule<T>& s, Target target, index_t rows, index_t cols) {
  return {
      .rows = rows, .cols = cols, .kc = s.kc, .pad = s.pad, .target = target, .tile = s.tile_index};
}

// Both operands are packed for the target's default tile, whatever their sizes, so that any packed A meets
// any packed B of the same context.
inline int packing_tile(const Context* context) {
  return context && context->gemm.tile >= 0 ? context->gemm.tile : 0;
}

template <class T>
PackedB<T> pack_operand_b(const View<const T, 2>& b, const KernelTable& kernels,
                          const Context* context) {
  const index_t k = b.extents[0], n = b.extents[1];
  const GemmSchedule<T> s = schedule_for_tile<T>(kernels, context, packing_tile(context), k);
  PackedLayout layout = layout_of(s, kernels.target, k, n);
  layout.panel = s.nr;
  index_t elements = 0, bytes = 0;  // with the padding they may overflow where the view did not
  if (__builtin_mul_overflow(k, s.padded(n), &elements) ||
      __builtin_mul_overflow(elements, static_cast<index_t>(sizeof(T)), &bytes)) {
    fail("pack_b", "b", "a size within the address space, padding included", to_string(b.extents));
  }
  PackedB<T> packed(layout, elements);
  for (index_t k0 = 0; k0 < k; k0 += s.kc) {
    const Strided<T> from{b.data + k0 * b.strides[0], b.strides[0], b.strides[1]};
    const index_t kc = std::min(s.kc, k - k0), step = pack_b_step(from);
    for (index_t l = 0; l < kc; l += step) {
      pack_b_rows(s, from, kc, n, l, std::min(l + step, kc), packed.data() + k0 * s.padded(n));
    }
  }
  return packed;
}

template <class T>
PackedA<T> pack_operand_a(const View<const T, 2>& a, const KernelTable& kernels,
                          const Context* context) {
  const index_t m = a.extents[0], k = a.extents[1];
  const GemmSchedule<T> s = schedule_for_tile<T>(kernels, context, packing_tile(context), k);
  PackedLayout layout = layout_of(s, kernels.target, m, k);
  layout.panel = s.mr;
  PackedA<T> packed(layout, m * k);
  const RowPanels panels(m, s.mr);
  for (index_t k0 = 0; k0 < k; k0 += s.kc) {
    const index_t kc = std::min(s.kc, k - k0);
    for (index_t panel = 0, i = 0; panel < panels.count(); i += panels.rows(panel), ++panel) {
      const index_t rows = panels.rows(panel);
      s.pack({a.data + i * a.strides[0] + k0 * a.strides[1], a.strides[0], a.strides[1], rows, kc,
              T{1}, packed.data() + k0 * m + i * kc, rows});
    }
  }
  return packed;
}

template <class T>
void run_gemm(GemmProblem<T> p, const KernelTable& kernels, Context* context) {
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0 || p.alpha == T{0}) return scale_c(p);
  normalise(p);
  const GemmSchedule<T> s = schedule(kernels, context, p);
  const Executor executor = context ? context->executor : Executor{};
  Scratch& scratch = context ? context->scratch : thread_scratch();

  // B in place is read in full vectors; the columns left over are a problem of their own, packed.
  GemmProblem<T> edge = p;
  GemmSchedule<T> edge_schedule = s;
  edge.n = s.b_in_place ? p.n % s.pad : 0;
  p.n -= edge.n;
  edge.b.data += p.n;
  edge.c += p.n * p.c_col_stride;
  edge_schedule.b_in_place = false;
  edge_schedule.pack_b = true;

  const GemmRun<T> run(p, s, executor), edge_run(edge, edge_schedule, executor);
  std::byte* const memory =
      scratch.reserve(std::max(run.scratch_bytes(), edge_run.scratch_bytes()), "gemm");
  run(memory);
  edge_run(memory);
}

// ---- What gemm.h calls

template <class T>
void checked_gemm(const GemmProblem<T>& problem, const Extents& a, const Extents& b,
                  Context* context) {
  const KernelTable& kernels = kernels_for("gemm", context ? context->target : std::nullopt);
  check_gemm(problem, a, b, kernels, context);
  run_gemm(problem, kernels, context);
}

template <class T>
PackedB<T> checked_pack_b(const View<const T, 2>& b, Context* context) {
  const KernelTable& kernels = kernels_for("pack_b", context ? context->target : std::nullopt);
  check_input("pack_b", "b", b);
  check_tuning<T>("pack_b", kernels, context);
  return pack_operand_b<T>(b, kernels, context);
}

template <class T>
PackedA<T> checked_pack_a(const View<const T, 2>& a, Context* context) {
  const KernelTable& kernels = kernels_for("pack_a", context ? context->target : std::nullopt);
  check_input("pack_a", "a", a);
  check_tuning<T>("pack_a", kernels, context);
  return pack_operand_a<T>(a, kernels, context);
}

template <class T>
GemmPlan checked_plan(index_t m, index_t n, index_t k, const Context* context) {
  const KernelTable& kernels = kernels_for("plan_gemm", context ? context->target : std::nullopt);
  check_tuning<T>("plan_gemm", kernels, context);
  GemmProblem<T> p{};
  p.m = m, p.n = n, p.k = k;
  p.a = {nullptr, k, 1}, p.b = {nullptr, n, 1};
  p.c_row_stride = n, p.c_col_stride = 1;
  p.alpha = 1;
  const auto s = schedule(kernels, context, p);
  return {kernels.target, s.tile->shape, s.mr, s.nr, s.mc, s.kc, s.nc, s.pack_a, s.pack_b};
}

template <class T>
int checked_tile_count(const Context* context) {
  return kernels_for("gemm_tile_count", context ? context->target : std::nullopt)
      .template gemm<T>()
      .tile_count;
}

#if TESSERA_COMPILED_SOURCE
TESSERA_GEMM_ENTRIES(, float)
TESSERA_GEMM_ENTRIES(, double)
#endif

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_GEMM_DRIVER_H_
