// SPDX-License-Identifier: Apache-2.0
// Convolutions with 3x3 filters by Winograd's minimal filtering, F(m x m, 3x3): tiles of m x m outputs cost (m + 2)^2
// multiplications for each pair of channels instead of 9 m^2, and are sums of (m + 2)^2 products of matrices. (Lavin and Gray,
// "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308.)
//
// Rounding errors grow with m: the transforms add and subtract numbers that are larger than the results. conv.h
// states the bounds.
#ifndef TESSERA_OPS_CONV_WINOGRAD_H_
#define TESSERA_OPS_CONV_WINOGRAD_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/conv_gemm.h"
#include "tessera/ops/conv_geometry.h"
#include "tessera/ops/conv_output.h"
#include "tessera/ops/conv_problem.h"
#include "tessera/ops/conv_strip.h"

namespace tessera::inline TESSERA_ABI::impl {

// Outputs of a tile along an axis; 0 for other algorithms.
constexpr index_t winograd_outputs(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::kWinograd2:
      return 2;
    case ConvAlgorithm::kWinograd4:
      return 4;
    case ConvAlgorithm::kWinograd6:
      return 6;
    default:
      return 0;
  }
}

inline bool suits_winograd(const ConvProblem& p) {
  const Spatial ones{1, 1, 1};
  return p.w.extents[1] == 1 && p.w.extents[2] == 3 && p.w.extents[3] == 3 && p.groups == 1 &&
         p.stride == ones && p.dilation == ones && !p.transposed &&
         type_of_sums(p.w.dtype) == DType::kF32;
}

// (m + 2) x 3: what turns a filter of three taps into m + 2 factors.
inline const double (*winograd_filter_matrix(index_t m))[3] {
  static constexpr double k2[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
  static constexpr double k4[6][3] = {{1. / 4, 0, 0},
                                      {-1. / 6, -1. / 6, -1. / 6},
                                      {-1. / 6, 1. / 6, -1. / 6},
                                      {1. / 24, 1. / 12, 1. / 6},
                                      {1. / 24, -1. / 12, 1. / 6},
                                      {0, 0, 1}};
  static constexpr double k6[8][3] = {{1, 0, 0},
                                      {-2. / 9, -2. / 9, -2. / 9},
                                      {-2. / 9, 2. / 9, -2. / 9},
                                      {1. / 90, 1. / 45, 2. / 45},
                                      {1. / 90, -1. / 45, 2. / 45},
                                      {32. / 45, 16. / 45, 8. / 45},
                                      {32. / 45, -16. / 45, 8. / 45},
                                      {0, 0, 1}};
  return m == 2 ? k2 : m == 4 ? k4 : k6;
}

// The (m + 2)^2 matrices [channels of x, channels of y] that filters are turned into, as packed panels.
struct WinogradFilters {
  const ConvKernels& kernels;
  index_t m;

  index_t points() const { return (m + 2) * (m + 2); }
  index_t kc() const { return even_blocks(kernels.in, kernels.most_kc, 1); }
  index_t matrix_bytes() const {
    return kernels.in * kernels.padded(kernels.out) * static_cast<index_t>(sizeof(float));
  }
  index_t bytes() const { return points() * matrix_bytes(); }
  // Of one panel, before it is packed.
  index_t gather_bytes() const {
    return points() * std::min(kernels.panel, kernels.out) * kernels.in *
           static_cast<index_t>(sizeof(float));
  }
};

inline void pack_winograd_filters(const ConvProblem& p, const WinogradFilters& f, std::byte* to,
                                  std::byte* scratch) {
  const ConvKernels& kernels = f.kernels;
  const index_t n = f.m + 2, in = kernels.in, size = size_of(p.w.dtype), kc = f.kc();
  const double(*const g)[3] = winograd_filter_matrix(f.m);
  auto* const gathered = reinterpret_cast<float*>(scratch);
  const auto& s = p.w.strides;
  for (index_t j = 0; j < kernels.out; j += kernels.panel) {
    const index_t width = std::min(kernels.panel, kernels.out - j);
    const index_t matrix = width * in;
    for (index_t o = 0; o < width; ++o) {
      for (index_t i = 0; i < in; ++i) {
        double half[8][3] = {};
        for (index_t h = 0; h < 3; ++h) {
          for (index_t w = 0; w < 3; ++w) {
            float tap = 0;
            const index_t at = (j + o) * s[0] + h * s[2] + w * s[3] + i * s[4];
            kernels.gemm->convert_a(p.w.dtype, offset(p.w.data, at * size), 1, &tap, 1, 0);
            for (index_t a = 0; a < n; ++a) half[a][w] += g[a][h] * static_cast<double>(tap);
          }
        }
        for (index_t a = 0; a < n; ++a) {
          for (index_t b = 0; b < n; ++b) {
            const double sum = half[a][0] * g[b][0] + half[a][1] * g[b][1] + half[a][2] * g[b][2];
            gathered[(a * n + b) * matrix + o * in + i] = static_cast<float>(sum);
          }
        }
      }
    }
    for (index_t point = 0; point < f.points(); ++point) {
      for (index_t k = 0; k < in; k += kc) {
        const index_t steps = std::min(kc, in - k);
        const index_t at = k * kernels.padded(kernels.out) + j * steps;
        kernels.gemm->pack_b({gathered + point * matrix + k, DType::kF32, in, 1, width, steps, 1,
                              to + point * f.matrix_bytes() + at * 4,
                              round_up(width, kernels.pad)});
      }
    }
  }
}

class ConvWinogradRun {
 public:
  ConvWinogradRun(const ConvProblem& p, const ConvKernels& kernels, const WinogradKernels& winograd,
                  index_t m, const ConvPhase& phase, const std::byte* filters,
                  const Executor& executor, index_t l2)
      : p_(p),
        kernels_(kernels),
        gemm_(*kernels.gemm),
        winograd_(winograd),
        filters_{kernels, m},
        phase_(phase),
        packed_(filters),
        executor_(executor),
        m_(m),
        strip_(p, phase, {kernels.gemm, 1, kernels.in, kernels.in}),
        output_(p, phase, DType::kF32) {
    choose_block(l2);
  }

  bool in_place() const { return false; }
  index_t rows_per_block() const { return tiles() * m_ * m_; }
  std::size_t scratch_bytes() const { return static_cast<std::size_t>(places_ * place_bytes()); }

  void operator()(std::byte* scratch) const {
    share_tasks(executor_, blocks_, places_, [&](index_t place, index_t first, index_t end) {
      for (index_t i = first; i < end; ++i) run_block(i, scratch + place * place_bytes());
    });
  }

 private:
  // As many tiles as leave their (m + 2)^2 vectors of channels of x and y in half of L2, but enough to share the filters,
  // which each block reads. (Zen 3, 512 KiB, 2026-11, F(4x4) against at least 16 tiles: 64 channels of 56^2 1.12 times as
  // fast with 32, 1.08 with 64, 1.14 with 98; 128 of 28^2 1.13, 1.22, 1.20.)
  void choose_block(index_t l2) {
    const index_t rows = (phase_.axes[1].count + m_ - 1) / m_,
                  cols = (phase_.axes[2].count + m_ - 1) / m_;
    constexpr index_t kFewestTiles = 64;
    const index_t bytes = filters_.points() * (kernels_.in + kernels_.out) * 4;
    const index_t most = std::max(l2 / 2 / std::max<index_t>(bytes, 1), kFewestTiles);
    tile_cols_ = even_blocks(cols, std::min(cols, most), 1);
    tile_rows_ =
        tile_cols_ < cols ? 1 : even_blocks(rows, std::clamp<index_t>(most / cols, 1, rows), 1);
    const index_t wanted = wanted_tasks(executor_);
    blocks_ = shrink_to_share(p_, phase_, wanted, m_, tile_rows_, tile_cols_ * m_);
    places_ = std::min(blocks_, wanted);
  }

  index_t tiles() const { return tile_rows_ * tile_cols_; }
  index_t strip_bytes() const { return aligned(strip_.bytes(tile_rows_ * m_, tile_cols_ * m_)); }
  index_t inputs_bytes() const { return aligned(filters_.points() * tiles() * kernels_.in * 4); }
  index_t products_bytes() const { return aligned(filters_.points() * tiles() * kernels_.out * 4); }
  // A row of tiles before the epilogue.
  index_t sums_bytes() const {
    return output_.is_sums() ? 0 : aligned(m_ * tile_cols_ * m_ * kernels_.out * 4);
  }
  index_t place_bytes() const {
    return strip_bytes() + inputs_bytes() + products_bytes() + sums_bytes();
  }

  void run_block(index_t i, std::byte* scratch) const {
    std::byte* const strip = scratch;
    auto* const inputs = reinterpret_cast<float*>(strip + strip_bytes());
    auto* const products = inputs + inputs_bytes() / 4;
    float* const sums = products + products_bytes() / 4;
    const PixelBlock b = pixel_block(phase_, i, tile_rows_ * m_, tile_cols_ * m_);
    const index_t rows = (b.height + m_ - 1) / m_, cols = (b.width + m_ - 1) / m_;
    // Whole tiles: what they reach beyond y, they find in x or in its padding, zeros if need be.
    strip_.fill({b.n, b.d, b.h, b.w, rows * m_, cols * m_}, tile_rows_ * m_, tile_cols_ * m_,
                strip);
    const StripStrides strides = strip_.strides(tile_rows_ * m_, tile_cols_ * m_);
    const index_t count = rows * cols;
    const auto* const x = reinterpret_cast<const float*>(strip);
    for (index_t r = 0, tile = 0; r < rows; ++r) {
      for (index_t c = 0; c < cols; ++c, ++tile) {
        winograd_.input({x + r * m_ * strides.row + c * m_ * strides.pixel, strides.row,
                         strides.pixel, kernels_.in, inputs + tile * kernels_.in,
                         count * kernels_.in});
      }
    }
    for (index_t point = 0; point < filters_.points(); ++point) {
      multiply(point, count, inputs + point * count * kernels_.in,
               products + point * count * kernels_.out);
    }
    for (index_t r = 0; r < rows; ++r) {
      finish_row(b, r, cols, products + r * cols * kernels_.out, count * kernels_.out, sums);
    }
  }

  void multiply(index_t point, index_t count, const float* inputs, float* products) const {
    const index_t kc = filters_.kc();
    const std::byte* const matrix = packed_ + point * filters_.matrix_bytes();
    GemmBlock block{};
    block.m = count;
    block.n = kernels_.out;
    block.a_in_place = true;
    block.a_stride = kernels_.in;
    block.b_panel = kernels_.panel;
    block.b_pad = kernels_.pad;
    block.b_dtype = DType::kF32;
    block.c = products;
    block.c_stride = kernels_.out;
    for (index_t k = 0; k < kernels_.in; k += kc) {
      block.k = std::min(kc, kernels_.in - k);
      block.a = inputs + k;
      block.b = matrix + k * kernels_.padded(kernels_.out) * 4;
      block.first = k == 0;
      block.last = k + block.k == kernels_.in;
      block.beta = block.first ? 0 : 1;
      gemm_.tiles[kernels_.tile].run(block);
    }
  }

  // Row `r` of the block's tiles, from their products.
  void finish_row(const PixelBlock& b, index_t r, index_t cols, const float* products, index_t step,
                  float* sums) const {
    const index_t height = std::min(m_, b.height - r * m_);
    const bool direct = output_.is_sums();
    index_t row = b.width * kernels_.out, pixel = kernels_.out;
    float* y = sums;
    if (direct) {
      y = reinterpret_cast<float*>(output_.rows({b.n, b.d, b.h + r * m_, b.w, 1, 1}).first);
      row = p_.y.strides[2];
      pixel = p_.y.strides[3];
    }
    for (index_t c = 0; c < cols; ++c) {
      winograd_.output({products + c * kernels_.out, step, kernels_.out, y + c * m_ * pixel, row,
                        pixel, height, std::min(m_, b.width - c * m_)});
    }
    for (index_t h = 0; h < height && !direct; ++h) {
      ConvOutput::Rows rows = output_.rows({b.n, b.d, b.h + r * m_ + h, b.w, 1, b.width});
      rows.result.steps = rows.steps.data();
      gemm_.finish({&rows.result, rows.row, 0, b.width, kernels_.out, sums + h * row});
    }
  }

  const ConvProblem& p_;
  const ConvKernels& kernels_;
  const GemmKernels& gemm_;
  const WinogradKernels& winograd_;
  WinogradFilters filters_;
  const ConvPhase& phase_;
  const std::byte* packed_;
  const Executor& executor_;
  index_t m_;
  ConvStrip strip_;
  ConvOutput output_;
  index_t tile_rows_ = 1, tile_cols_ = 1, blocks_ = 0, places_ = 1;
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_WINOGRAD_H_
