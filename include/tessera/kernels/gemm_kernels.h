// SPDX-License-Identifier: Apache-2.0
// The interface between the GEMM driver, compiled once, and the kernels, compiled once per target:
// plain data and function pointers. Nothing here depends on a vector length known to the compiler.
//
// Panels. Packed A is cut into row panels of at most MR rows, each stored [k][rows]; packed B into
// column panels of NR columns, each stored [k][columns], the last one narrower and padded with
// zeros to `pad` columns. A panel that starts at row i (column j) starts at element i*k (j*k).
#ifndef TESSERA_KERNELS_GEMM_KERNELS_H_
#define TESSERA_KERNELS_GEMM_KERNELS_H_

#include "tessera/core/view.h"
#include "tessera/tune/generic.h"

namespace tessera::detail {

// Rows are dealt out evenly: 16 rows in panels of at most 7 are 6 + 5 + 5, not 7 + 7 + 2, because a
// tile of few rows has too few independent chains to fill the pipelines.
struct RowPanels {
  index_t count, base, longer;  // `longer` panels of base + 1 rows come first

  constexpr RowPanels(index_t m, index_t mr)
      : count((m + mr - 1) / mr), base(count ? m / count : 0), longer(count ? m % count : 0) {}

  constexpr index_t rows(index_t panel) const { return base + (panel < longer); }
  constexpr index_t start(index_t panel) const {
    return panel * base + (panel < longer ? panel : longer);
  }
};

// C[m, n] = beta * C + A[m, k] * B[k, n], one block of a GEMM whose operands are in the caches.
template <class T>
struct GemmBlock {
  index_t m, n, k;
  bool a_in_place, b_in_place;  // rows of unit column stride; otherwise packed panels
  const T* a;
  index_t a_stride;  // of rows in place
  const T* b;
  index_t b_stride;  // of rows in place
  index_t b_panel;   // columns per packed panel (NR when it was packed)
  index_t b_pad;     // the last packed panel is padded to a multiple of this
  T* c;
  index_t c_stride;  // rows of unit column stride
  T beta;            // the chain of each element starts at beta * c; 0 never reads c
};

// Source of a packing: element (i, j) is data[i * row_stride + j * col_stride].
template <class T>
struct PackSource {
  const T* data;
  index_t row_stride, col_stride;
};

// One register tile of one target.
template <class T>
struct GemmTile {
  TileShape shape;
  index_t (*lanes)();  // elements per vector group at the vector length of this thread
  void (*run)(const GemmBlock<T>&);
  // alpha * A[m, k] into panels of at most shape.rows rows.
  void (*pack_a)(PackSource<T>, index_t m, index_t k, T alpha, T* packed);
  // B[k, n] into panels of `panel` columns.
  void (*pack_b)(PackSource<T>, index_t k, index_t n, index_t panel, index_t pad, T* packed);
};

template <class T>
struct GemmKernels {
  const GemmTile<T>* tiles = nullptr;
  int tile_count = 0;
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_GEMM_KERNELS_H_
