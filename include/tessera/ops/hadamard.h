// SPDX-License-Identifier: Apache-2.0
// hadamard: the orthonormal Walsh-Hadamard transform of rows, which spreads outliers over all columns before
// they are quantized.
#ifndef TESSERA_OPS_HADAMARD_H_
#define TESSERA_OPS_HADAMARD_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/ops/memory_checks.h"
#include "tessera/ops/rows.h"

namespace tessera::inline TESSERA_ABI {

struct HadamardOptions {
  index_t block = 0;  // columns per transform: a power of two that divides cols; 0: all columns
  std::span<const float> signs{};  // 1 or -1 for each column, or none
  bool inverse = false;            // signs after the transform, not before
  Context* context = nullptr;
};

namespace impl {

// Two stages of the butterfly in one pass over memory: of elements `half` and 2 * `half` apart.
template <class Half>
void butterfly4(float* x, index_t n, Half half) {
  for (index_t i = 0; i < n; i += 4 * half) {
    for (index_t j = i; j < i + half; ++j) {
      const float a = x[j], b = x[j + half], c = x[j + 2 * half], d = x[j + 3 * half];
      const float ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
      x[j] = ab + cd;
      x[j + half] = a_b + c_d;
      x[j + 2 * half] = ab - cd;
      x[j + 3 * half] = a_b - c_d;
    }
  }
}

// In place, n a power of two. Compilers make vectors of this as it stands; elements close to each other need to
// know at compile time how close.
inline void hadamard_block(float* x, index_t n, float norm) {
  index_t half = 1;
  for (; 4 * half <= n; half *= 4) {
    if (half == 1) {
      butterfly4(x, n, std::integral_constant<index_t, 1>());
    } else if (half == 4) {
      butterfly4(x, n, std::integral_constant<index_t, 4>());
    } else {
      butterfly4(x, n, half);
    }
  }
  for (index_t j = 0; 2 * half == n && j < half; ++j) {
    const float a = x[j], b = x[j + half];
    x[j] = a + b;
    x[j + half] = a - b;
  }
  for (index_t j = 0; j < n; ++j) x[j] *= norm;
}

inline void multiply(float* x, std::span<const float> signs) {
  for (std::size_t j = 0; j < signs.size(); ++j) x[j] *= signs[j];
}

inline void check_hadamard(const View<float, 2>& x, const HadamardOptions& options) {
  const char* const function = "hadamard";
  const auto signs = static_cast<index_t>(options.signs.size());
  const index_t cols = x.extent(1);
  std::vector<NamedMemory> memory = {
      {"x", {x.data, DType::kF32, x.extents, x.strides}, true},
      {"options.signs", {options.signs.data(), DType::kF32, {1, signs}, {signs, 1}}}};
  check_memory(function, memory);
  if (signs != 0 && signs != cols) {
    fail(function, "options.signs", std::to_string(cols) + " elements (the columns of x), or none",
         std::to_string(signs));
  }
  const index_t block = options.block == 0 ? cols : options.block;
  if (block < 0 ||
      (cols > 0 && (!std::has_single_bit(static_cast<std::size_t>(block)) || cols % block != 0))) {
    fail(function, "options.block",
         "a power of two that divides " + std::to_string(cols) + " (the columns of x)",
         std::to_string(block));
  }
}

}  // namespace impl

// In each row, in each block of columns: x = H D x, or with options.inverse x = D H x.
//
// x:    View<float, 2>  [rows, cols], any strides that visit no element twice; fast where that of cols is 1
// H:    orthonormal: 1 / sqrt(block) times the matrix whose element (i, j) is -1 where the binary i and j have
//       an odd number of ones in common, and 1 elsewhere (Sylvester's order). It is its own inverse.
// D:    the diagonal of options.signs, or 1
//
// Products of rows do not change when both are transformed: x W^T = (H D x) (H D W)^T, row by row, which is how
// activations and weights are rotated alike (Ashkboos et al., "QuaRot", 2024; with signs: Tseng et al.,
// "QuIP#", 2024).
//
// Numerics: log2(block) stages of sums and differences in f32, of elements 1, 2, 4 .. block / 2 apart in that
// order, then one product with 1 / sqrt(block) rounded to f32. The bits do not depend on threads, strides or
// machine. Sums overflow where the magnitudes of a block add up to more than the largest float; NaN and
// infinities spread over their block.
//
// Rows are shared out to the context's executor. Empty matrices do nothing.
//
// Errors (tessera::Error, before anything is written): negative extents, null data, sizes that overflow,
// elements that overlap each other or the signs, a block that is no power of two or does not divide cols, a
// wrong number of signs.
inline void hadamard(const View<float, 2>& x, const HadamardOptions& options = {}) {
  impl::check_hadamard(x, options);
  const index_t cols = x.extent(1);
  if (cols == 0) return;
  const index_t block = options.block == 0 ? cols : options.block;
  const auto norm = static_cast<float>(1 / std::sqrt(static_cast<double>(block)));
  const auto transform = [&](float* row) {
    if (!options.inverse) impl::multiply(row, options.signs);
    for (index_t j = 0; j < cols; j += block) impl::hadamard_block(row + j, block, norm);
    if (options.inverse) impl::multiply(row, options.signs);
  };
  impl::for_rows(options.context, x.extent(0), cols, [&](index_t i) {
    if (x.stride(1) == 1) {
      transform(&x(i, 0));
      return;
    }
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (index_t j = 0; j < cols; ++j) row[static_cast<std::size_t>(j)] = x(i, j);
    transform(row.data());
    for (index_t j = 0; j < cols; ++j) x(i, j) = row[static_cast<std::size_t>(j)];
  });
}

// Fills `signs` with 1 and -1, the same ones for the same seed everywhere (SplitMix64, a bit of each number).
inline void random_signs(std::uint64_t seed, std::span<float> signs) {
  for (float& sign : signs) {
    seed += 0x9e3779b97f4a7c15u;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    sign = z >> 63 != 0 ? -1.0f : 1.0f;
  }
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_HADAMARD_H_
