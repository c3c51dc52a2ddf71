// SPDX-License-Identifier: Apache-2.0

// The transposition of a plane of elements of 1, 2, 4 or 8 bytes, whatever they are: bits are moved.
//
// Squares are transposed into a buffer in L1 and go from there in whole lines: a column of y is then no line that others
// push out between its elements, also where the strides are powers of two. Sapphire Rapids, 2026-11, GB/s read and written,
// in turns with a loop over blocks of 32 x 32 (g++ 12, AVX-512) and with memcpy:
//                 1 byte          2 bytes         4 bytes         8 bytes
//   64 x 64       21, 6.2, 149    30, 13, 216     55, 26, 269     44, 50, 107
//   1024 x 1024   17, 6.4, 69     14, 9.8, 34     16, 12, 30      18, 15, 30
//   4096 x 4096   6.0, 2.2, 19    2.5, 2.5, 7.9   3.4, 2.5, 8.0   4.7, 4.2, 8.1
// With squares of one line of 4 and 8 bytes 4096 x 4096 was at 2.7 and 2.5; of four at 2.8 and 3.1; with planes that were
// not cut into blocks of a few pages (ops/permute_driver.h) at 2.4 and 2.0. On RVV a column of many rows is one strided load:
// .47, .25, .14 instructions per element of 4 bytes with vectors of 128, 256, 512 bits, .14, .084, .057 of 1 byte.

#if defined(TESSERA_KERNELS_PERMUTE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_PERMUTE_INL_H_
#undef TESSERA_KERNELS_PERMUTE_INL_H_
#else
#define TESSERA_KERNELS_PERMUTE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tessera/core/view.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace permute {

using detail::Plane;

// A line of the cache: squares of lines are read and written as a whole.
inline constexpr index_t kLineBytes = 64;
template <class T>  // of a square, in each direction
inline constexpr index_t kLines = sizeof(T) >= 4 ? 2 : 1;
inline constexpr index_t kThin = 8;  // elements: fewer, and loops are as good

// Elements of 1 and 2 bytes: four or two rows are interleaved, and the columns are transposed as units of 4 bytes.
template <class T>
TESSERA_INLINE void transpose_square(const T* x, index_t stride, index_t rows, index_t cols,
                                     T* to) {
  constexpr index_t kSide = kLines<T> * kLineBytes / static_cast<index_t>(sizeof(T));
  if constexpr (sizeof(T) >= 4 || kHasLmul || TESSERA_BACKEND_SCALAR) {
    transpose(Tag<T>(), x, static_cast<size_t>(stride), static_cast<size_t>(rows),
              static_cast<size_t>(cols), to, static_cast<size_t>(kSide));
  } else {
    const Tag<T> d;
    constexpr index_t kUnit = 4 / static_cast<index_t>(sizeof(T)), kUnits = kSide / kUnit;
    constexpr size_t kWidth = static_cast<size_t>(kSide) + max_lanes(Tag<T>());
    alignas(64) uint32_t units[static_cast<size_t>(kUnits) * kWidth];
    const auto step = static_cast<index_t>(lanes(d));
    const index_t count = (rows + kUnit - 1) / kUnit;
    for (index_t u = 0; u < count; ++u) {
      // Of rows that are not there, others: their elements are not stored.
      const auto row = [&](index_t k) { return x + std::min(u * kUnit + k, rows - 1) * stride; };
      T* const line = reinterpret_cast<T*>(units + static_cast<size_t>(u) * kWidth);
      for (index_t j = 0; j < cols; j += step) {
        const auto n = static_cast<size_t>(std::min(step, cols - j));
        if constexpr (kUnit == 2) {
          interleave(d, load_n(d, row(0) + j, n), load_n(d, row(1) + j, n), line + 2 * j);
        } else {
          interleave(d, load_n(d, row(0) + j, n), load_n(d, row(1) + j, n),
                     load_n(d, row(2) + j, n), load_n(d, row(3) + j, n), line + 4 * j);
        }
      }
    }
    transpose(Tag<uint32_t>(), units, kWidth, static_cast<size_t>(count), static_cast<size_t>(cols),
              reinterpret_cast<uint32_t*>(to), static_cast<size_t>(kUnits));
  }
}

// y[j * y_stride + i] = x[i * x_stride + j].
template <class T>
void transpose_plane(const Plane& plane) {
  constexpr index_t kSide = kLines<T> * kLineBytes / static_cast<index_t>(sizeof(T));
  const Plane p = plane;
  const T* const x = static_cast<const T*>(p.x);
  T* const y = static_cast<T*>(p.y);
  const Tag<T> d;
  if (kHasLmul || std::min(p.rows, p.cols) < kThin) {
    return transpose(d, x, static_cast<size_t>(p.x_stride), static_cast<size_t>(p.rows),
                     static_cast<size_t>(p.cols), y, static_cast<size_t>(p.y_stride));
  }
  alignas(64) T square[static_cast<size_t>(kSide * kSide)];
  for (index_t i = 0; i < p.rows; i += kSide) {
    const index_t rows = std::min(kSide, p.rows - i);
    for (index_t j = 0; j < p.cols; j += kSide) {
      const index_t cols = std::min(kSide, p.cols - j);
      transpose_square(x + i * p.x_stride + j, p.x_stride, rows, cols, square);
      for (index_t k = 0; k < cols; ++k) {
        const T* const from = square + k * kSide;
        T* const to = y + (j + k) * p.y_stride + i;
        for_vectors(d, 0, rows, [&]<bool kAll>(index_t c, size_t n) TESSERA_LAMBDA {
          store_part<kAll>(d, load_part<kAll>(d, from + c, n), to + c, n);
        });
      }
    }
  }
}

}  // namespace permute

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_PERMUTE_INL_H_
