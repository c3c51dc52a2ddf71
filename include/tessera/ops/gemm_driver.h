// SPDX-License-Identifier: Apache-2.0
// The five loops around the GEMM kernels: plan, packing, blocks, threads. Compiled once, for every
// target and type; the kernels are function pointers of the target's table.
//
// After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3),
// 2008. Nothing that is decided here changes a bit of the result.
#ifndef TESSERA_OPS_GEMM_DRIVER_H_
#define TESSERA_OPS_GEMM_DRIVER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm_checks.h"
#include "tessera/ops/gemm_problem.h"
#include "tessera/ops/gemm_profile.h"
#include "tessera/ops/weights_driver.h"
#include "tessera/ops/zero_point_terms.h"

namespace tessera::inline TESSERA_ABI::impl {

// How one problem will be computed. Extents and blocks count elements of the matrices.
struct GemmSchedule {
  const GemmKernels* kernels;
  const GemmTile* tile;
  int tile_index;
  index_t mr, nr, pad;  // rows per panel of A, columns per panel of B, their padding
  index_t mc, kc, nc;   // cache blocks
  bool pack_a, pack_b;  // into scratch, in this call
  bool b_in_place;      // otherwise packed, by this call or before
  bool to_result;       // C is more than the sums: it is reached through GemmResult
  bool few_rows;        // not by tiles, but by the kernel that streams B

  index_t padded(index_t width) const { return width / nr * nr + round_up(width % nr, pad); }
  index_t groups(index_t k) const { return (k + kernels->group - 1) / kernels->group; }
  // Elements of the packed blocks of K that lie before k, for each row of A or padded column of B.
  index_t a_rows_before(index_t k) const { return k / std::max<index_t>(kc, 1) * groups(kc); }
  index_t b_rows_before(index_t k) const {
    return k / std::max<index_t>(kc, 1) * kernels->panel_rows(kc);
  }
};

// Vector work of a tile over an m x n result, in register operations: what it multiplies, counted as `least` where it is
// less, plus half a slot for each load of B and A, for edges are where tiles differ.
inline double tile_cost(const GemmTile& tile, index_t m, index_t n, index_t least) {
  const index_t lanes = tile.lanes(), nr = lanes * tile.shape.vectors;
  const auto cost = [&](index_t rows, index_t cols) {
    const index_t vectors = (cols + lanes - 1) / lanes * tile.shape.lmul;
    return static_cast<double>(std::max(rows * vectors, least)) +
           0.5 * static_cast<double>(vectors + rows);
  };
  const auto row_of_tiles = [&](index_t rows) {
    return static_cast<double>(n / nr) * cost(rows, nr) + (n % nr > 0 ? cost(rows, n % nr) : 0);
  };
  const RowPanels panels(m, tile.shape.rows);
  const index_t full = m / tile.shape.rows;
  double sum = static_cast<double>(full) * row_of_tiles(tile.shape.rows);
  for (index_t p = full; p < panels.count(); ++p) sum += row_of_tiles(panels.rows(p));
  return sum;
}

// The first tile of a target is its measured favourite, and another must promise a clear gain. What was measured on
// this machine yields only where it fits badly: a few columns with long vectors.
inline int choose_tile(const GemmKernels& kernels, index_t m, index_t n, const TunedBlocks* tuned,
                       index_t least = 0) {
  const double clear = tuned ? 0.6 : 0.93;
  int best = tuned ? tuned->tile : 0;
  const auto cost = [&](int i) { return tile_cost(kernels.tiles[i], m, n, least); };
  for (int i = 0; i < kernels.tile_count; ++i) {
    if (cost(i) < clear * cost(best)) best = i;
  }
  return best;
}

// The same number of blocks, of even length.
inline index_t even_blocks(index_t total, index_t block, index_t multiple) {
  const index_t count = std::max<index_t>((total + block - 1) / block, 1);
  return std::max(round_up((total + count - 1) / count, multiple), multiple);
}

inline GemmTuning tuning_of(const Context* context) {
  return context ? context->gemm : GemmTuning{};
}

// What a call is told, and where it is told nothing, what the profile says of this tile. Blocks of the profile are
// for the caches of this machine, not for others that a context describes.
inline GemmTuning tuning_for_tile(int index, const Context* context, const TunedBlocks* tuned) {
  GemmTuning tuning = tuning_of(context);
  if (tuned == nullptr || tuned->tile != index || (context && context->caches)) return tuning;
  if (tuning.mc <= 0) tuning.mc = tuned->mc;
  if (tuning.kc <= 0) tuning.kc = tuned->kc;
  if (tuning.nc <= 0) tuning.nc = tuned->nc;
  return tuning;
}

inline GemmSchedule schedule_for_tile(const GemmKernels& kernels, const Context* context, int index,
                                      index_t k, const TunedBlocks* tuned) {
  const GemmTuning tuning = tuning_for_tile(index, context, tuned);
  GemmSchedule s{};
  s.kernels = &kernels;
  s.tile_index = index;
  s.tile = &kernels.tiles[index];
  s.mr = s.tile->shape.rows;
  s.pad = s.tile->lanes();
  s.nr = s.pad * s.tile->shape.vectors;
  const GemmBlocks blocks = gemm_blocks(
      caches_of(context), static_cast<std::size_t>(kernels.element_bytes), s.tile->shape, s.nr);
  const auto block = [](index_t wanted, index_t chosen) {
    constexpr index_t kLargest = index_t{1} << 40;  // no blocks at all, and no overflow
    return wanted > 0 ? std::min(wanted, kLargest) : chosen;
  };
  s.mc = block(tuning.mc, blocks.mc);
  s.kc = even_blocks(k, block(tuning.kc, blocks.kc * kernels.group), kernels.group);
  s.nc = round_up(block(tuning.nc, blocks.nc), s.nr);
  return s;
}

// With one row of A the time goes into reading B, and the kernel that streams it is ahead; with two, where tiles
// would have to pack B. Sapphire Rapids, N = K = 4096, against tiles, M = 1: f32 5 to 20 %, B of 16 bits in
// place three times, B^T 15 to 40 %. Narrow ones lose: the few vectors of C go through memory every eighth step of k.
// Packed panels are streamed where several are read at once, or B is of 16 bits, which tiles must widen first.
// But tiles pass twice over what is not whole vectors, and can't read rows shorter than one in place: M = 1,
// N = 31 1.5 times, N = 15 5 times.
inline bool streams_b(const GemmSchedule& s, const GemmTuning& tuning, const GemmProblem& p,
                      bool b_in_l2) {
  if (s.kernels->few_rows == nullptr || p.a.packed || p.k == 0) return false;
  if (tuning.packing != GemmTuning::Packing::kAuto) return false;
  if (p.b.packed) {
    return is_narrow(p.b.dtype) ? p.m <= 2 : p.m == 1 && p.n >= s.nr && s.kernels->rows_by_panels;
  }
  if (tuning.kc > 0) return false;  // somebody wants blocks
  if (p.b.strides[1] == 1 && !is_narrow(p.b.dtype)) {
    constexpr index_t kFewRows = 4;
    if (p.n < s.pad ? p.m <= kFewRows : p.m == 1 && p.n % s.pad != 0) return true;
  }
  if (p.n < (s.tile->shape.vectors == 1 ? 2 : 4) * s.nr) return false;
  return p.m == 1 || (p.m == 2 && !b_in_l2 && (is_narrow(p.b.dtype) || p.b.strides[1] != 1));
}

// True if rows of B in place would push each other out of L1 before the next panel of A reads them again: at a distance of
// a power of two they share few of its sets (by 4 KiB, one). Where a vector is a whole cache line, L2 keeps up with the
// tiles. (Zen 3, f32 squares of 128 and 256 in place .79 and .72 of OpenBLAS, packed 1.06 and 1.02.)
inline bool evicts_itself(const GemmKernels& kernels, const GemmTile& tile, const GemmProblem& p,
                          const CacheLevel& l1) {
  constexpr index_t kLine = 64;
  const index_t vector_bytes = tile.lanes() * kernels.element_bytes;
  if (vector_bytes >= kLine || p.m <= tile.shape.rows || p.k <= 1) return false;
  const index_t lines = (vector_bytes * tile.shape.vectors + kLine - 1) / kLine;
  const auto size = static_cast<index_t>(l1.bytes), way = size / std::max<index_t>(l1.ways, 1);
  const index_t distance = std::gcd(p.b.strides[0] * kernels.element_bytes, way);
  return distance > kLine && p.k * lines > size / distance;
}

// Where the kernels read A and B: in place, packed before, or packed by this call; and the blocks that suit that.
inline void place_operands(GemmSchedule& s, const GemmProblem& p, const GemmTuning& tuning,
                           const CacheSizes& caches) {
  const index_t l2 = bytes_per_thread(caches.l2);
  const GemmKernels& kernels = *s.kernels;
  const DType sums = type_of_sums(p.a.dtype);
  // In place where the kernels can read it and the copy would not pay: B is copied once and read
  // again for each row panel, A once and read again for each column panel.
  const bool floats = sums != DType::kS32 && p.k > 0;
  const bool a_readable =
      floats && !p.a.packed && p.a.dtype == sums && p.a.strides[1] == 1 && p.alpha == 1;
  const bool b_readable = floats && !p.b.packed && p.b.dtype == sums && p.b.strides[1] == 1 &&
                          p.n >= s.pad;  // read in whole vectors
  // Sapphire Rapids, f32: in place is 4 to 10 % ahead up to 384^3 where no columns are left over, else up
  // to 256^3, and 12 % behind at 512^3, where B outgrows a third of L2.
  const bool even = p.n % s.pad == 0;
  const double size = even ? 384 : 256;
  const bool small =
      static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k) <=
      size * size * size;
  const bool b_in_l2 = p.k < l2 / std::max<index_t>(p.n * kernels.element_bytes, 1);
  const bool few = p.m <= 2 * s.mr;
  s.b_in_place = b_readable && tuning.packing != GemmTuning::Packing::kAlways &&
                 ((small && !evicts_itself(kernels, *s.tile, p, caches.l1d)) || few ||
                  tuning.packing == GemmTuning::Packing::kNever);
  const bool a_in_place =
      a_readable && tuning.packing != GemmTuning::Packing::kAlways &&
      (s.b_in_place || p.n <= 2 * s.nr || tuning.packing == GemmTuning::Packing::kNever);
  s.pack_a = !p.a.packed && !a_in_place;
  if (p.a.packed && p.alpha != 1) s.pack_a = true;  // a scaled copy
  s.pack_b = !p.b.packed && !s.b_in_place;
  // Rows that lie far apart are a page each: no more of them at a time than the TLB of L1 holds. (Sapphire
  // Rapids, f32, M = 2 to 8, N = K = 1024 to 3000: 1.3 to 1.8 times as fast as deep blocks or a packed B.)
  constexpr index_t kPages = 64;
  if (few && s.b_in_place && !b_in_l2 && !p.a.packed && tuning.kc <= 0) {
    s.kc = even_blocks(p.k, std::min(s.kc, kPages), kernels.group);
  }
  s.few_rows = streams_b(s, tuning, p, b_in_l2);
  if (s.few_rows) {
    s.pack_a = !a_readable;
    s.pack_b = false;
    s.b_in_place = !p.b.packed;
    if (s.b_in_place) s.kc = p.k, s.nc = round_up(p.n, s.nr);
  }
  if (s.pack_b && p.m <= 8 * std::min<index_t>(s.mr, 8) && tuning.nc <= 0) {
    // B is used but a few times, so it should not go farther than L2 in between. Flat blocks are long runs along
    // rows (Sapphire Rapids, N = K = 4096: f32 and s8, M = 8 to 32, 20 to 40 % ahead of deep ones).
    const index_t flat = std::max<index_t>(128, 8 * kernels.group);
    const bool along_rows = p.b.strides[1] == 1 && !p.a.packed && tuning.kc <= 0;
    if (along_rows) s.kc = even_blocks(p.k, std::min(s.kc, flat), kernels.group);
    const index_t column = s.kc / kernels.group * kernels.element_bytes;
    s.nc = std::min(s.nc, round_down(l2 / 4 / std::max<index_t>(column, 1), s.nr));
  }
}

inline GemmSchedule schedule(const KernelTable& table, const Context* context,
                             const GemmProblem& p) {
  const GemmKernels& kernels = table.gemm(p.b.dtype);
  const bool packed = p.a.packed || p.b.packed;  // for large products, whatever this one is
  const TunedBlocks* tuned = machine_profile().find(
      table.target, p.b.dtype, packed ? ShapeClass::kLarge : shape_class(p.m, p.n, p.k));
  int index = tuning_of(context).tile;
  if (p.a.packed) index = p.a.packed->layout().tile;
  if (p.b.packed) index = p.b.packed->layout().tile;
  if (index < 0) index = choose_tile(kernels, p.m, p.n, tuned);
  const GemmTuning tuning = tuning_for_tile(index, context, tuned);

  GemmSchedule s = schedule_for_tile(kernels, context, index, p.k, tuned);
  if (p.a.packed) s.kc = p.a.packed->layout().kc;
  if (p.b.packed) {
    s.kc = p.b.packed->layout().kc;
    s.nr = p.b.packed->layout().panel;
    s.pad = p.b.packed->layout().pad;
    s.nc = round_up(s.nc, s.nr);
  }
  s.to_result = p.c_col_stride != 1 || p.c_dtype != type_of_sums(p.a.dtype) ||
                p.epilogue.size() != 0 || uses_zero_points(p);
  place_operands(s, p, tuning, caches_of(context));
  return s;
}

// Rows [k0, k1) of B[k, n], one block of K, into `packed`, panels that hold the whole block; `narrow`: in 16 bits.
inline void pack_b_panels(const GemmSchedule& s, const GemmOperand& b, bool narrow, index_t k,
                          index_t n, index_t k0, index_t k1, std::byte* packed) {
  if (k0 >= k1) return;
  const GemmKernels& kernels = *s.kernels;
  const auto pack = narrow ? kernels.pack_narrow : kernels.pack_b;
  const index_t element = narrow ? size_of(b.dtype) : kernels.element_bytes;
  for (index_t j = 0; j < n; j += s.nr) {
    const index_t width = std::min(s.nr, n - j), padded = round_up(width, s.pad);
    const index_t at = j * kernels.panel_rows(k) + k0 / kernels.group * padded;
    pack({offset(b.data, (k0 * b.strides[0] + j * b.strides[1]) * size_of(b.dtype)), b.dtype,
          b.strides[1], b.strides[0], width, k1 - k0, 1, packed + at * element, padded});
  }
}

// Where rows of B are contiguous they are read along, all panels side by side, a few steps of k at a time,
// for the prefetchers and the TLB. Where columns are, or sums of columns are wanted, it goes panel by panel.
inline index_t pack_steps(const GemmSchedule& s) { return std::max<index_t>(8, s.kernels->group); }
inline bool packs_by_panel(const GemmSchedule& s, const GemmOperand& b) {
  return s.kernels->column_sums || b.strides[1] != 1;
}

// Can C hold sums, between blocks of K? Not where the epilogue wants to read what was there.
inline bool sums_fit_in_c(const GemmProblem& p) {
  if (p.c_col_stride != 1 || size_of(p.c_dtype) != size_of(type_of_sums(p.a.dtype))) return false;
  for (int i = 0; i < p.epilogue.size(); ++i) {
    if (p.epilogue.steps()[i].data == p.c) return false;
  }
  return true;
}

class GemmRun {
 public:
  GemmRun(const GemmProblem& p, const GemmSchedule& s, const Executor& executor,
          const ZeroPointTerms* zero_points)
      : p_(p),
        s_(s),
        kernels_(*s.kernels),
        executor_(executor),
        serial_(executor.concurrency() == 1),
        result_{p.c,
                p.c_dtype,
                p.c_row_stride,
                p.c_col_stride,
                p.epilogue.steps(),
                p.epilogue.size(),
                zero_points} {
    nc_ = std::min(s.nc, round_up(p.n, s.nr));
    // Serially, the block of A is packed right before use and stays in L2. In parallel, all rows at
    // once (up to a bound), so that the threads wait for each other rarely.
    constexpr index_t kParallelRows = 8192;
    const index_t rows = serial_ ? s.mc : std::max(kParallelRows, s.mc);
    panels_per_pass_ = std::max<index_t>(rows / s.mr, 1);
    const index_t pass_rows = std::min(p.m, panels_per_pass_ * s.mr);
    const index_t kc = std::min(s.kc, p.k);
    // Sums wait for the next block of K in C itself where they fit, else in scratch, for all rows.
    if (s.to_result && s.kc < p.k && !sums_fit_in_c(p)) {
      constexpr index_t kMostSums = 16 << 20;  // bytes
      nc_ = std::min(nc_, round_down(kMostSums / (p.m * kernels_.sum_bytes), s.nr));
      sums_bytes_ = aligned(p.m * std::min(nc_, p.n) * kernels_.sum_bytes);
    }
    const index_t n = std::min(nc_, p.n);
    a_bytes_ = s.pack_a ? aligned(pass_rows * s.groups(kc) * kernels_.element_bytes) : 0;
    b_bytes_ =
        s.pack_b ? aligned(s.padded(n) * kernels_.panel_rows(kc) * kernels_.element_bytes) : 0;
    if (p.b.packed && is_narrow(p.b.dtype) && !s.few_rows) {
      wide_bytes_ = aligned(s.nr * kc * kernels_.element_bytes);
    }
  }

  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(a_bytes_ + b_bytes_ + sums_bytes_ + wide_bytes_ * max_tasks());
  }

  void operator()(std::byte* scratch) const {
    const Spaces spaces{scratch, scratch + a_bytes_, scratch + a_bytes_ + b_bytes_,
                        scratch + a_bytes_ + b_bytes_ + sums_bytes_};
    const RowPanels panels(p_.m, s_.mr);
    for (index_t j = 0; j < p_.n; j += nc_) {
      const index_t n = std::min(nc_, p_.n - j);
      index_t k = 0;
      do {  // once also for k = 0
        const index_t kc = std::min(s_.kc, p_.k - k);
        if (s_.pack_b) pack_b(k, kc, j, n, spaces.b);
        for (index_t panel = 0; panel < panels.count(); panel += panels_per_pass_) {
          const index_t last = std::min(panel + panels_per_pass_, panels.count());
          const Range rows{panels.start(panel), panels.start(last)};
          if (s_.pack_a) pack_a(panels, panel, last, k, kc, spaces.a);
          compute(panels, panel, last, {rows, {k, k + kc}, {j, j + n}}, spaces);
        }
        k += s_.kc;
      } while (k < p_.k);
    }
  }

 private:
  struct Range {
    index_t begin, end;
    index_t size() const { return end - begin; }
  };
  // What one pass over the packed blocks works on.
  struct Pass {
    Range rows, k, cols;
  };
  struct Spaces {
    std::byte *a, *b, *sums, *wide;
  };

  // Where packed_a holds row `i` of the K block that starts at k.
  const std::byte* packed_a_at(index_t i, index_t k, index_t kc) const {
    return p_.a.packed->data() +
           (s_.a_rows_before(k) * p_.m + i * s_.groups(kc)) * kernels_.element_bytes;
  }

  void pack_b(index_t k, index_t kc, index_t j, index_t n, std::byte* to) const {
    GemmOperand from = p_.b;
    if (kc > 0) {
      from.data =
          offset(from.data, (k * from.strides[0] + j * from.strides[1]) * size_of(from.dtype));
    }
    if (packs_by_panel(s_, p_.b)) {
      executor_.parallel_for((n + s_.nr - 1) / s_.nr, [&](index_t task) {
        const index_t j0 = task * s_.nr;
        GemmOperand panel = from;
        panel.data = offset(from.data, j0 * from.strides[1] * size_of(from.dtype));
        pack_b_panels(s_, panel, false, kc, std::min(s_.nr, n - j0), 0, kc,
                      to + j0 * kernels_.panel_rows(kc) * kernels_.element_bytes);
      });
      return;
    }
    const index_t steps = pack_steps(s_);
    executor_.parallel_for((kc + steps - 1) / steps, [&](index_t task) {
      const index_t k0 = task * steps;
      pack_b_panels(s_, from, false, kc, n, k0, std::min(k0 + steps, kc), to);
    });
  }

  void pack_a(const RowPanels& panels, index_t first, index_t last, index_t k, index_t kc,
              std::byte* to) const {
    if (kc == 0) return;
    const index_t origin = panels.start(first);
    executor_.parallel_for(last - first, [&](index_t task) {
      const index_t i = panels.start(first + task), rows = panels.rows(first + task);
      std::byte* const panel = to + (i - origin) * s_.groups(kc) * kernels_.element_bytes;
      if (p_.a.packed) {  // already [kc][rows], but not scaled
        const DType sums = type_of_sums(p_.a.dtype);
        kernels_.pack_a({packed_a_at(i, k, kc), sums, 1, rows, rows, kc, p_.alpha, panel, rows});
      } else {
        const index_t at = i * p_.a.strides[0] + k * p_.a.strides[1];
        kernels_.pack_a({offset(p_.a.data, at * size_of(p_.a.dtype)), p_.a.dtype, p_.a.strides[0],
                         p_.a.strides[1], rows, kc, p_.alpha, panel, rows});
      }
    });
  }

  // In parallel a grid of about four tasks per thread.
  index_t wanted_tasks() const { return 4 * executor_.concurrency(); }
  index_t max_tasks() const { return serial_ ? 1 : 4 * wanted_tasks(); }

  void compute(const RowPanels& panels, index_t first, index_t last, const Pass& pass,
               const Spaces& spaces) const {
    index_t panels_per_task = last - first, cols_per_task = round_up(pass.cols.size(), s_.nr);
    if (!serial_) {
      const index_t wanted = wanted_tasks();
      panels_per_task = std::clamp<index_t>((last - first + wanted - 1) / wanted, 1,
                                            std::max<index_t>(s_.mc / s_.mr, 1));
      const index_t row_tasks = (last - first + panels_per_task - 1) / panels_per_task;
      const index_t col_tasks = std::max<index_t>((wanted + row_tasks - 1) / row_tasks, 1);
      cols_per_task =
          even_blocks(pass.cols.size(), (pass.cols.size() + col_tasks - 1) / col_tasks, s_.nr);
    }
    const index_t row_tasks = (last - first + panels_per_task - 1) / panels_per_task;
    const index_t col_tasks = (pass.cols.size() + cols_per_task - 1) / cols_per_task;
    // Panels that are widened need a place per task.
    const index_t places =
        wide_bytes_ > 0 ? std::min(max_tasks(), row_tasks * col_tasks) : row_tasks * col_tasks;
    const index_t per_place = (row_tasks * col_tasks + places - 1) / std::max<index_t>(places, 1);
    executor_.parallel_for(places, [&](index_t place) {
      const index_t end = std::min((place + 1) * per_place, row_tasks * col_tasks);
      for (index_t task = place * per_place; task < end; ++task) {
        const index_t p0 = first + task % row_tasks * panels_per_task;
        const index_t p1 = std::min(p0 + panels_per_task, last);
        const index_t j0 = pass.cols.begin + task / row_tasks * cols_per_task;
        const Range i{panels.start(p0), panels.start(p1)};
        const Range j{j0, std::min(j0 + cols_per_task, pass.cols.end)};
        run_block(i, j, pass, spaces, spaces.wide + place * wide_bytes_);
      }
    });
  }

  void run_block(Range i, Range j, const Pass& pass, const Spaces& spaces, std::byte* wide) const {
    const index_t k = pass.k.size(), groups = s_.groups(k), element = kernels_.element_bytes;
    const index_t panel_rows = kernels_.panel_rows(k);
    GemmBlock block{};
    block.m = i.size();
    block.n = j.size();
    block.k = groups;
    if (s_.pack_a) {
      block.a = spaces.a + (i.begin - pass.rows.begin) * groups * element;
    } else if (p_.a.packed) {
      block.a = packed_a_at(i.begin, pass.k.begin, k);
    } else {
      block.a = offset(p_.a.data, (i.begin * p_.a.strides[0] + pass.k.begin) * element);
      block.a_stride = p_.a.strides[0];
      block.a_in_place = true;
    }
    block.a_dtype = p_.a.dtype;
    block.a_panel = s_.mr;
    block.b_panel = s_.nr;
    block.b_pad = s_.pad;
    block.b_dtype = type_of_sums(p_.a.dtype);
    if (is_narrow(p_.b.dtype) && !s_.pack_b) block.b_dtype = p_.b.dtype;
    if (s_.pack_b) {
      block.b = spaces.b + (j.begin - pass.cols.begin) * panel_rows * element;
    } else if (p_.b.packed) {
      const index_t stored = is_narrow(p_.b.dtype) ? size_of(p_.b.dtype) : element;
      block.b = p_.b.packed->data() +
                (s_.b_rows_before(pass.k.begin) * s_.padded(p_.n) + j.begin * panel_rows) * stored;
      block.b_wide = wide;
    } else {
      block.b = offset(p_.b.data, (pass.k.begin * p_.b.strides[0] + j.begin * p_.b.strides[1]) *
                                      size_of(p_.b.dtype));
      block.b_stride = p_.b.strides[0];
      block.b_col_stride = p_.b.strides[1];
      block.b_in_place = true;
    }
    if (kernels_.column_sums && k > 0 && (p_.a.dtype == DType::kU8) != kernels_.a_unsigned) {
      block.sum_factor = kernels_.a_unsigned ? -128 : 128;
    }
    block.first = pass.k.begin == 0;
    block.last = pass.k.end == p_.k;
    block.beta = block.first ? p_.beta : 1;
    block.row = i.begin;
    block.col = j.begin;
    if (s_.to_result) block.result = &result_;
    if (sums_bytes_ > 0) {
      block.c_stride = pass.cols.size();
      const index_t at = i.begin * block.c_stride + (j.begin - pass.cols.begin);
      block.c = spaces.sums + at * kernels_.sum_bytes;
    } else {  // not used where one block of K goes to a result
      const index_t at = i.begin * p_.c_row_stride + j.begin * p_.c_col_stride;
      block.c = static_cast<std::byte*>(p_.c) + at * size_of(p_.c_dtype);
      block.c_stride = p_.c_row_stride;
    }
    (s_.few_rows ? kernels_.few_rows : s_.tile->run)(block);
  }

  const GemmProblem& p_;
  const GemmSchedule& s_;
  const GemmKernels& kernels_;
  const Executor& executor_;
  bool serial_;
  GemmResult result_;
  index_t nc_, panels_per_pass_;
  index_t a_bytes_, b_bytes_, sums_bytes_ = 0, wide_bytes_ = 0;
};

// The steps that do to C^T what those of `epilogue` do to C. Functions of the user are called with rows of C.
inline bool can_transpose(const Epilogue& epilogue) {
  const auto steps = std::span(epilogue.steps(), static_cast<std::size_t>(epilogue.size()));
  return std::none_of(steps.begin(), steps.end(),
                      [](const EpilogueStep& s) { return s.op == EpilogueOp::kFunction; });
}
inline Epilogue transposed(const Epilogue& epilogue) {
  Epilogue result;
  for (int i = 0; i < epilogue.size(); ++i) {
    EpilogueStep step = epilogue.steps()[i];
    switch (step.op) {
      case EpilogueOp::kAddRow:
        step.op = EpilogueOp::kAddColumn;
        break;
      case EpilogueOp::kAddColumn:
        step.op = EpilogueOp::kAddRow;
        break;
      case EpilogueOp::kScaleRow:
        step.op = EpilogueOp::kScaleColumn;
        break;
      case EpilogueOp::kScaleColumn:
        step.op = EpilogueOp::kScaleRow;
        break;
      case EpilogueOp::kResidual:
        std::swap(step.extents[0], step.extents[1]);
        std::swap(step.strides[0], step.strides[1]);
        break;
      default:
        break;
    }
    result = result | Epilogue(step);
  }
  return result;
}

// Swaps the roles of rows and columns where C^T = B^T A^T suits the kernels, which want unit stride
// along the columns of C.
inline void orient(GemmProblem& p) {
  if (p.a.packed || p.b.packed || type_of_sums(p.a.dtype) == DType::kS32) return;
  if (p.alpha != 1) return;  // alpha * a is rounded, alpha * b would be other bits
  if (!can_transpose(p.epilogue)) return;
  const bool columns_contiguous = p.c_row_stride == 1 || p.m == 1;
  const bool rows_contiguous = p.c_col_stride == 1 || p.n == 1;
  const bool swap = columns_contiguous && (!rows_contiguous || (p.n == 1 && p.m > 1));
  if (swap) {
    std::swap(p.m, p.n);
    std::swap(p.a, p.b);
    for (GemmOperand* x : {&p.a, &p.b}) {
      std::swap(x->extents[0], x->extents[1]);
      std::swap(x->strides[0], x->strides[1]);
    }
    std::swap(p.c_row_stride, p.c_col_stride);
    p.epilogue = transposed(p.epilogue);
  }
}

inline void normalise(GemmProblem& p) {
  if (p.alpha == 0) p.k = 0;
  orient(p);
  // The stride along an axis of length one is never used: call it contiguous.
  if (p.n == 1) p.c_col_stride = p.b.strides[1] = 1;
  if (p.k == 1) p.a.strides[1] = 1;
  // Packed operands are cut into the blocks of the K they were packed for: not read for alpha = 0.
  if (p.k == 0) p.a.packed = p.b.packed = nullptr, p.alpha = 1;
}

// How many parts of k threads may work on: several where m and n give too little to share and the order of the sums
// does not matter.
inline index_t parts_of_k(const GemmProblem& p, const GemmSchedule& s, const Executor& executor,
                          const Scratch& scratch) {
  constexpr index_t kShortest = 1024;
  if (executor.concurrency() == 1) return 1;
  const bool any_order = type_of_sums(p.a.dtype) == DType::kS32 || p.numerics == Numerics::kFast;
  if (!any_order || p.beta != 0 || p.a.packed || p.b.packed || scratch.is_lent()) return 1;
  const index_t tiles = RowPanels(p.m, s.mr).count() * ((p.n + s.nr - 1) / s.nr);
  if (tiles >= 2 * executor.concurrency()) return 1;
  return std::clamp<index_t>(p.k / kShortest, 1, executor.concurrency());
}

// sums[i] += more[i]
inline void add_sums(DType type, std::byte* sums, const std::byte* more, index_t n) {
  const auto add = [&]<class T>(T* to) {
    const T* const from = reinterpret_cast<const T*>(more);
    for (index_t i = 0; i < n; ++i) to[i] += from[i];
  };
  if (type == DType::kS32) return add(reinterpret_cast<std::uint32_t*>(sums));  // may wrap
  if (type == DType::kF32) return add(reinterpret_cast<float*>(sums));
  add(reinterpret_cast<double*>(sums));
}

inline void run_gemm(const GemmProblem& problem, const KernelTable& table, const Context* context,
                     const Executor& executor, Scratch& scratch);

// Parts of k as products of their own, then their sums in order, then what an empty last block of K does.
inline void run_split_gemm(const GemmProblem& p, const GemmSchedule& s, index_t parts,
                           const KernelTable& table, const Context* context,
                           const Executor& executor, Scratch& scratch) {
  const DType type = type_of_sums(p.a.dtype);
  const index_t bytes = aligned(p.m * p.n * size_of(type));
  ZeroPointRun zero_points(p);
  const auto all_bytes = static_cast<std::size_t>(parts * bytes);
  std::byte* const sums = scratch.reserve(all_bytes + zero_points.scratch_bytes(), "gemm");
  zero_points(sums + all_bytes, *s.kernels, executor);
  const index_t step = (p.k + parts - 1) / parts;
  executor.parallel_for(parts, [&](index_t i) {
    const index_t k = i * step;
    GemmProblem part = p;
    part.k = std::clamp<index_t>(p.k - k, 0, step);
    part.a.data = offset(p.a.data, k * p.a.strides[1] * size_of(p.a.dtype));
    part.b.data = offset(p.b.data, k * p.b.strides[0] * size_of(p.b.dtype));
    part.a.extents[1] = part.b.extents[0] = part.k;
    part.c = sums + i * bytes;
    part.c_dtype = type;
    part.c_row_stride = p.n;
    part.c_col_stride = 1;
    part.epilogue = {};
    part.a.zero_points = part.b.zero_points = {};
    run_gemm(part, table, context, Executor{}, thread_scratch());
  });
  for (index_t i = 1; i < parts; ++i) add_sums(type, sums, sums + i * bytes, p.m * p.n);
  const GemmResult result{p.c,
                          p.c_dtype,
                          p.c_row_stride,
                          p.c_col_stride,
                          p.epilogue.steps(),
                          p.epilogue.size(),
                          zero_points.terms()};
  GemmBlock end{};
  end.m = p.m, end.n = p.n;
  end.a = end.b = sums;  // nothing is read of them
  end.a_panel = s.mr, end.b_panel = s.nr, end.b_pad = s.pad;
  end.b_dtype = type;
  end.c = sums, end.c_stride = p.n, end.beta = 1;
  end.result = &result, end.last = true;
  s.tile->run(end);
}

// A product so small that planning it would take longer: one block, in place, with the tile that fits best.
inline bool run_tiny_gemm(const GemmProblem& p, const KernelTable& table, const Context* context) {
  constexpr index_t kMost = 64;
  if (p.m > kMost || p.n > kMost || p.k > kMost || p.m < 2 || p.k == 0 || p.alpha != 1)
    return false;
  const DType sums = type_of_sums(p.a.dtype);
  if (sums == DType::kS32 || p.a.packed || p.b.packed || p.c_dtype != sums || p.a.dtype != sums ||
      p.b.dtype != sums || p.epilogue.size() != 0 || p.a.strides[1] != 1 || p.b.strides[1] != 1 ||
      p.c_col_stride != 1) {
    return false;
  }
  if (context != nullptr && !(context->gemm == GemmTuning{})) return false;
  const GemmKernels& kernels = table.gemm(p.b.dtype);
  const GemmTile& tile = kernels.tiles[choose_tile(kernels, p.m, p.n, nullptr)];
  if (p.n < tile.lanes()) return false;  // B is read in whole vectors
  if (evicts_itself(kernels, tile, p, caches_of(context).l1d)) return false;
  GemmBlock block{};
  block.m = p.m, block.n = p.n, block.k = p.k;
  block.a_in_place = block.b_in_place = true;
  block.a = p.a.data, block.a_stride = p.a.strides[0];
  block.b = p.b.data, block.b_stride = p.b.strides[0], block.b_col_stride = 1;
  block.b_dtype = sums;
  block.c = p.c, block.c_stride = p.c_row_stride;
  block.beta = p.beta;
  block.first = block.last = true;
  tile.run(block);
  return true;
}

inline void run_gemm(const GemmProblem& problem, const KernelTable& table, const Context* context,
                     const Executor& executor, Scratch& scratch) {
  if (problem.m == 0 || problem.n == 0) return;
  if (problem.b.weights) return run_weights(problem, table, context, executor, scratch);
  if (run_tiny_gemm(problem, table, context)) return;
  GemmProblem p = problem;
  normalise(p);
  const GemmSchedule s = schedule(table, context, p);
  const index_t parts = parts_of_k(p, s, executor, scratch);
  if (parts > 1) return run_split_gemm(p, s, parts, table, context, executor, scratch);
  ZeroPointRun zero_points(p);
  const GemmRun run(p, s, executor, zero_points.terms());
  const std::size_t bytes = run.scratch_bytes();
  std::byte* const memory = scratch.reserve(bytes + zero_points.scratch_bytes(), "gemm");
  zero_points(memory + bytes, *s.kernels, executor);
  run(memory);
}

// Both operands are packed for large products, with the target's default tile or that of the profile, whatever
// their sizes, so that any packed A meets any packed B of the same context.
inline GemmSchedule packing_schedule(const KernelTable& table, const GemmKernels& kernels, DType b,
                                     const Context* context, index_t k) {
  const TunedBlocks* tuned = machine_profile().find(table.target, b, ShapeClass::kLarge);
  const int told = tuning_of(context).tile;
  return schedule_for_tile(kernels, context, told >= 0 ? told : tuned ? tuned->tile : 0, k, tuned);
}

// The part of a schedule that a packed operand fixes for all its calls.
inline PackedLayout layout_of(const GemmSchedule& s, Target target, const GemmOperand& x,
                              index_t panel) {
  return {.rows = x.extents[0],
          .cols = x.extents[1],
          .kc = s.kc,
          .panel = panel,
          .pad = s.pad,
          .dtype = x.dtype,
          .target = target,
          .tile = s.tile_index};
}

// bytes = a * b * c, checked: with padding they may overflow where the view did not.
inline index_t packed_bytes(const char* function, const char* argument, index_t a, index_t b,
                            index_t c, const GemmOperand& x) {
  index_t bytes = 0;
  if (__builtin_mul_overflow(a, b, &bytes) || __builtin_mul_overflow(bytes, c, &bytes)) {
    fail(function, argument, "a size within the address space, padding included",
         to_string(x.extents));
  }
  return bytes;
}

inline PackedPanels pack_operand_b(const GemmOperand& b, const KernelTable& table,
                                   const Context* context) {
  const GemmKernels& kernels = table.gemm(b.dtype);
  const index_t k = b.extents[0], n = b.extents[1];
  const GemmSchedule s = packing_schedule(table, kernels, b.dtype, context, k);
  const bool narrow = is_narrow(b.dtype);
  const index_t element = narrow ? size_of(b.dtype) : kernels.element_bytes;
  const index_t last = k % s.kc;
  const index_t rows = s.b_rows_before(k) + (last > 0 ? kernels.panel_rows(last) : 0);
  PackedPanels packed(layout_of(s, table.target, b, s.nr),
                      packed_bytes("pack_b", "b", rows, s.padded(n), element, b),
                      kernels.sum_lines ? n : 0);
  for (index_t k0 = 0; k0 < k; k0 += s.kc) {
    GemmOperand from = b;
    from.data = offset(b.data, k0 * b.strides[0] * size_of(b.dtype));
    const index_t kc = std::min(s.kc, k - k0), step = packs_by_panel(s, b) ? kc : pack_steps(s);
    std::byte* const to = packed.data() + s.b_rows_before(k0) * s.padded(n) * element;
    for (index_t l = 0; l < kc; l += step) {
      pack_b_panels(s, from, narrow, kc, n, l, std::min(l + step, kc), to);
    }
  }
  if (kernels.sum_lines) {
    kernels.sum_lines({b.data, b.dtype, b.strides[1], b.strides[0], n, k, packed.sums()});
  }
  return packed;
}

inline PackedPanels pack_operand_a(const GemmOperand& a, const KernelTable& table,
                                   const Context* context) {
  const DType b = packed_a_is_for(a.dtype);
  const GemmKernels& kernels = table.gemm(b);
  const index_t m = a.extents[0], k = a.extents[1], element = kernels.element_bytes;
  const GemmSchedule s = packing_schedule(table, kernels, b, context, k);
  const index_t groups = s.a_rows_before(k) + s.groups(k % s.kc);
  PackedPanels packed(layout_of(s, table.target, a, s.mr),
                      packed_bytes("pack_a", "a", m, groups, element, a),
                      kernels.sum_lines ? m : 0);
  const RowPanels panels(m, s.mr);
  for (index_t k0 = 0; k0 < k; k0 += s.kc) {
    const index_t kc = std::min(s.kc, k - k0);
    for (index_t panel = 0, i = 0; panel < panels.count(); i += panels.rows(panel), ++panel) {
      const index_t rows = panels.rows(panel);
      const index_t at = s.a_rows_before(k0) * m + i * s.groups(kc);
      kernels.pack_a({offset(a.data, (i * a.strides[0] + k0 * a.strides[1]) * size_of(a.dtype)),
                      a.dtype, a.strides[0], a.strides[1], rows, kc, 1,
                      packed.data() + at * element, rows});
    }
  }
  if (kernels.sum_lines) {
    kernels.sum_lines({a.data, a.dtype, a.strides[0], a.strides[1], m, k, packed.sums()});
  }
  return packed;
}

// ---- What gemm.h calls

TESSERA_LIBRARY_FUNCTION void checked_gemm(const GemmProblem& problem, Context* context) {
  const KernelTable& table = kernels_for<kProductFamilies>("gemm", context);
  check_gemm("gemm", problem, table, context);
  run_gemm(problem, table, context, context ? context->executor : Executor{},
           context ? context->scratch : thread_scratch());
}

TESSERA_LIBRARY_FUNCTION void checked_gemms(const char* function,
                                            std::span<const GemmProblem> problems,
                                            Context* context) {
  const KernelTable& table = kernels_for<kProductFamilies>(function, context);
  for (const GemmProblem& p : problems) check_gemm(function, p, table, context);
  const Executor executor = context ? context->executor : Executor{};
  const auto count = static_cast<index_t>(problems.size());
  // Threads share the problems where there are enough of them, else each problem in turn. A thread works
  // in its own scratch, which memory lent by the user can't be.
  if (executor.concurrency() > 1 && count >= 2 * executor.concurrency() &&
      !context->scratch.is_lent()) {
    executor.parallel_for(count, [&](index_t i) {
      run_gemm(problems[static_cast<std::size_t>(i)], table, context, Executor{}, thread_scratch());
    });
    return;
  }
  for (const GemmProblem& p : problems) {
    run_gemm(p, table, context, executor, context ? context->scratch : thread_scratch());
  }
}

TESSERA_LIBRARY_FUNCTION PackedPanels checked_pack_b(const GemmOperand& b, Context* context) {
  const KernelTable& table = kernels_for<kProductFamilies>("pack_b", context);
  check_memory("pack_b", "b", memory_of(b));
  check_tuning("pack_b", table.gemm(b.dtype), table.target, context);
  return pack_operand_b(b, table, context);
}

TESSERA_LIBRARY_FUNCTION PackedPanels checked_pack_a(const GemmOperand& a, Context* context) {
  const KernelTable& table = kernels_for<kProductFamilies>("pack_a", context);
  check_memory("pack_a", "a", memory_of(a));
  check_tuning("pack_a", table.gemm(packed_a_is_for(a.dtype)), table.target, context);
  return pack_operand_a(a, table, context);
}

TESSERA_LIBRARY_FUNCTION GemmPlan checked_plan(DType a, DType b, DType c, index_t m, index_t n,
                                               index_t k, const Context* context) {
  const KernelTable& table = kernels_for<kProductFamilies>("plan_gemm", context);
  check_tuning("plan_gemm", table.gemm(b), table.target, context);
  GemmProblem p;
  p.m = m, p.n = n, p.k = k;
  p.a = {nullptr, a, {m, k}, {k, 1}, nullptr};
  p.b = {nullptr, b, {k, n}, {n, 1}, nullptr};
  p.c_dtype = c;
  p.c_row_stride = n, p.c_col_stride = 1;
  const GemmSchedule s = schedule(table, context, p);
  return {table.target, s.tile->shape, s.mr,     s.nr,     s.mc,
          s.kc,         s.nc,          s.pack_a, s.pack_b, s.few_rows};
}

TESSERA_LIBRARY_FUNCTION int checked_tile_count(DType b, const Context* context) {
  return kernels_for<kProductFamilies>("gemm_tile_count", context).gemm(b).tile_count;
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_GEMM_DRIVER_H_
