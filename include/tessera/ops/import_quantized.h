// SPDX-License-Identifier: Apache-2.0
// Weights from the tensors of AWQ and GPTQ checkpoints, as [n, k] rows in groups: row j holds the weights of
// output j, so that y[m, n] = x[m, k] * transposed(weights).
#ifndef TESSERA_OPS_IMPORT_QUANTIZED_H_
#define TESSERA_OPS_IMPORT_QUANTIZED_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/quantized.h"
#include "tessera/core/quantized_matrix.h"
#include "tessera/core/view.h"
#include "tessera/ops/memory_checks.h"

namespace tessera::inline TESSERA_ABI {

struct GptqOptions {
  int bits = 4;  // 8, 4 or 2
  // What qzeros hold: the zero point less one (checkpoint format "gptq", the default of most writers), or
  // itself ("gptq_v2").
  bool zero_points_less_one = true;
  // The group of each input, [k], or empty: input i is in group i / (k / groups).
  std::span<const std::int32_t> g_idx{};
  Context* context = nullptr;
};

struct GptqWeights {
  GroupQuantizedMatrix matrix;      // [n, k]
  std::vector<std::int32_t> order;  // column i is that of input order[i]; empty: of input i
};

namespace impl {

// Field `at` of a word, the lowest first.
constexpr int field(std::int32_t word, int at, int bits) {
  return static_cast<int>(static_cast<std::uint32_t>(word) >> at * bits & ((1u << bits) - 1));
}

// Shapes of the three tensors, which all importers take: words of so many inputs or outputs, zero points packed
// along the outputs.
inline GroupQuantizedLayout check_import(const char* function, int bits, int inputs, int outputs,
                                         const View<const std::int32_t, 2>& qweight,
                                         const View<const std::int32_t, 2>& qzeros,
                                         const View<const f16, 2>& scales) {
  NamedMemory memory[] = {
      {"qweight", {qweight.data, DType::kS32, qweight.extents, qweight.strides}},
      {"qzeros", {qzeros.data, DType::kS32, qzeros.extents, qzeros.strides}},
      {"scales", {scales.data, DType::kF16, scales.extents, scales.strides}}};
  check_memory(function, memory);
  index_t k = 0, n = 0;
  if (__builtin_mul_overflow(qweight.extent(0), inputs, &k) ||
      __builtin_mul_overflow(qweight.extent(1), outputs, &n)) {
    fail(function, "qweight", "sizes within the address space", to_string(qweight.extents));
  }
  const index_t groups = scales.extent(0);
  if (scales.extent(1) != n) {
    fail(function, "scales", std::to_string(n) + " columns, one per output",
         std::to_string(scales.extent(1)));
  }
  if (groups < 1 ? k > 0 : k % groups != 0) {
    fail(function, "scales", "a number of rows that divides " + std::to_string(k) + ", the inputs",
         std::to_string(groups));
  }
  const Extents packed{groups, ceil_div(n, 32 / bits)};
  if (qzeros.extents != packed) {
    fail(function, "qzeros", "extents " + to_string(packed), to_string(qzeros.extents));
  }
  return {.rows = n,
          .cols = k,
          .bits = bits,
          .is_signed = false,
          .group = groups > 0 ? k / groups : 0,
          .scale_type = DType::kF16,
          .has_zero_points = true};
}

// Fills a matrix from code(i, j), zero_point(g, j) and scales, by outputs j that lie next to each other there.
template <class Code, class ZeroPointOf>
GroupQuantizedMatrix import_rows(const GroupQuantizedLayout& layout,
                                 const View<const f16, 2>& scales, const Context* context,
                                 Code code, ZeroPointOf zero_point) {
  constexpr index_t kOutputs = 32;
  GroupQuantizedMatrix matrix(layout);
  const MutableGroupQuantizedView to = matrix.view();
  const Executor executor = context ? context->executor : Executor{};
  executor.parallel_for(ceil_div(layout.rows, kOutputs), [&](index_t task) {
    const index_t first = task * kOutputs, last = std::min(layout.rows, first + kOutputs);
    for (index_t g = 0; g < scales.extent(0); ++g) {
      for (index_t j = first; j < last; ++j) {
        to.set_scale(j, g, static_cast<float>(scales(g, j)));
        to.set_zero_point(j, g, zero_point(g, j));
      }
    }
    for (index_t i = 0; i < layout.cols; ++i) {
      for (index_t j = first; j < last; ++j) to.set_code(j, i, code(i, j));
    }
  });
  return matrix;
}

// Inputs sorted by group, or nothing where they are.
inline std::vector<std::int32_t> order_of_groups(const char* function,
                                                 std::span<const std::int32_t> g_idx, index_t k,
                                                 index_t groups) {
  if (static_cast<index_t>(g_idx.size()) != k) {
    fail(function, "options.g_idx", std::to_string(k) + " elements, one per input",
         std::to_string(g_idx.size()));
  }
  const index_t group = groups > 0 ? k / groups : 0;
  std::vector<std::int32_t> order(g_idx.size());
  std::vector<index_t> used(static_cast<std::size_t>(groups));
  bool in_order = true;
  for (std::size_t i = 0; i < g_idx.size(); ++i) {
    const std::int32_t g = g_idx[i];
    if (g < 0 || g >= groups || used[static_cast<std::size_t>(g)] == group) {
      fail(function, "options.g_idx",
           std::to_string(group) + " inputs in each of " + std::to_string(groups) + " groups",
           "group " + std::to_string(g) + " at input " + std::to_string(i));
    }
    const index_t at = g * group + used[static_cast<std::size_t>(g)]++;
    order[static_cast<std::size_t>(at)] = static_cast<std::int32_t>(i);
    in_order = in_order && at == static_cast<index_t>(i);
  }
  if (in_order) order.clear();
  return order;
}

}  // namespace impl

// Weights of AWQ ("gemm" version, 4 bits).
//
// qweight: View<const std::int32_t, 2>  [k, n / 8]: nibbles of word w, from the lowest: the codes of outputs
//                                       8 w + 0, 2, 4, 6, 1, 3, 5, 7
// qzeros:  View<const std::int32_t, 2>  [groups, n / 8]: zero points in the same order
// scales:  View<const f16, 2>           [groups, n]
// Any strides; groups divides k. value = (code - zero point) * scale.
//
// Outputs are shared out to the context's executor.
// Errors (tessera::Error): extents that don't match, null data, sizes that overflow.
inline GroupQuantizedMatrix import_awq(const View<const std::int32_t, 2>& qweight,
                                       const View<const std::int32_t, 2>& qzeros,
                                       const View<const f16, 2>& scales,
                                       Context* context = nullptr) {
  const GroupQuantizedLayout layout =
      impl::check_import("import_awq", 4, 1, 8, qweight, qzeros, scales);
  const auto nibble = [](const View<const std::int32_t, 2>& words, index_t i, index_t j) {
    constexpr std::array<int, 8> kPlaceOf = {0, 4, 1, 5, 2, 6, 3, 7};  // of output 8 w + index
    return impl::field(words(i, j / 8), kPlaceOf[static_cast<std::size_t>(j % 8)], 4);
  };
  return impl::import_rows(
      layout, scales, context, [&](index_t i, index_t j) { return nibble(qweight, i, j); },
      [&](index_t g, index_t j) { return nibble(qzeros, g, j); });
}

// Weights of GPTQ, p = 32 / options.bits codes to a word, the first in its lowest bits.
//
// qweight: View<const std::int32_t, 2>  [k / p, n]: inputs p w .. p w + p - 1 of an output in word w
// qzeros:  View<const std::int32_t, 2>  [groups, n / p]: zero points of outputs p w .. p w + p - 1
// scales:  View<const f16, 2>           [groups, n]
// Any strides; groups divides k. value = (code - zero point) * scale. A zero point stored less one is a byte
// again after adding it: 16 for a stored 15 of 4 bits, as the usual kernels have it.
//
// With options.g_idx (activation order) inputs are sorted by group, and within a group stay in order; `order`
// says where each column comes from: gather the activations likewise. It is empty where that changes nothing.
//
// Outputs are shared out to the context's executor.
// Errors (tessera::Error): extents that don't match, null data, sizes that overflow, other bits, a g_idx that
// does not have k / groups inputs in each group.
inline GptqWeights import_gptq(const View<const std::int32_t, 2>& qweight,
                               const View<const std::int32_t, 2>& qzeros,
                               const View<const f16, 2>& scales, const GptqOptions& options = {}) {
  const char* const function = "import_gptq";
  const int bits = options.bits;
  if (bits != 8 && bits != 4 && bits != 2) {
    detail::fail(function, "options.bits", "8, 4 or 2", std::to_string(bits));
  }
  const int per_word = 32 / bits;
  const GroupQuantizedLayout layout =
      impl::check_import(function, bits, per_word, 1, qweight, qzeros, scales);
  GptqWeights weights;
  if (!options.g_idx.empty()) {
    weights.order = impl::order_of_groups(function, options.g_idx, layout.cols, scales.extent(0));
  }
  const auto column = [&](index_t i) -> index_t {
    return weights.order.empty() ? i : weights.order[static_cast<std::size_t>(i)];
  };
  const int offset = options.zero_points_less_one ? 1 : 0;
  weights.matrix = impl::import_rows(
      layout, scales, options.context,
      [&](index_t i, index_t j) {
        const index_t from = column(i);
        return impl::field(qweight(from / per_word, j), static_cast<int>(from % per_word), bits);
      },
      [&](index_t g, index_t j) {
        return impl::field(qzeros(g, j / per_word), static_cast<int>(j % per_word), bits) + offset;
      });
  return weights;
}

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_IMPORT_QUANTIZED_H_
