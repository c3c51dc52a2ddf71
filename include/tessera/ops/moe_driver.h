// SPDX-License-Identifier: Apache-2.0
// What moe.h does: checks, the choice of experts, a counting sort, and rows that are moved and added.
#ifndef TESSERA_OPS_MOE_DRIVER_H_
#define TESSERA_OPS_MOE_DRIVER_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>

#include "tessera/core/check.h"
#include "tessera/core/dtype.h"
#include "tessera/core/elementwise_ops.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/kernels/nn_kernels.h"
#include "tessera/kernels/tensor_kernels.h"
#include "tessera/ops/float_rows.h"
#include "tessera/ops/float_view.h"
#include "tessera/ops/moe.h"
#include "tessera/ops/rows.h"
#include "tessera/ops/tensor_checks.h"
#include "tessera/ops/top_k_driver.h"

namespace tessera::inline TESSERA_ABI::impl {

// ---- route_to_experts

inline void check_route(const RouteProblem& p) {
  constexpr const char* kName = "route_to_experts";
  const RouteOptions& o = p.options;
  const NamedTensor logits{"logits", p.logits}, weights{"weights", p.weights},
      experts{"experts", tensor_memory(p.experts)},
      bias{"options.selection_bias", o.selection_bias.memory()};
  check_tensor(kName, "logits", p.logits);
  const index_t tokens = p.logits.extents[0], count = p.logits.extents[1], k = p.experts.extent(1);
  if (count > std::numeric_limits<std::int32_t>::max()) {
    fail(kName, "logits", "less than 2^31 columns", std::to_string(count));
  }
  if (o.groups < 1 || count % o.groups != 0) {
    fail(kName, "options.groups",
         "a divisor of " + std::to_string(count) + " (the columns of logits)",
         std::to_string(o.groups));
  }
  if (o.kept_groups < 1 || o.kept_groups > o.groups) {
    fail(kName, "options.kept_groups", "from 1 to " + std::to_string(o.groups) + " (the groups)",
         std::to_string(o.kept_groups));
  }
  const index_t most = count / o.groups * o.kept_groups;
  if (p.experts.extent(0) != tokens || k < 0 || k > most) {
    fail(kName, "experts",
         "extents {" + std::to_string(tokens) + ", k}, the rows of logits and k from 0 to " +
             std::to_string(most),
         to_string(p.experts.extents));
  }
  check_operand(kName, weights, experts.memory.extents, ", those of experts");
  if (o.selection_bias.is_given()) {
    check_operand(kName, bias, {count, 1, 1, 1, 1}, ", the columns of logits");
  }
  if (!(std::abs(o.scale) <= std::numeric_limits<float>::max())) {
    fail(kName, "options.scale", "a finite number", std::to_string(o.scale));
  }
  for (const NamedTensor& result : {weights, experts}) {
    check_result_memory(kName, result);
    check_apart(kName, result, logits);
    if (o.selection_bias.is_given()) check_apart(kName, result, bias);
  }
  check_apart(kName, weights, experts);
}

// Scores of experts in the groups that are not kept become -infinity. `ranks`: room for one per group.
inline void keep_groups(const RouteOptions& o, float* selection, index_t experts,
                        std::uint64_t* ranks) {
  const index_t each = experts / o.groups;
  const bool two = o.group_scores == GroupScores::kSumOfTop2 && each > 1;
  for (index_t g = 0; g < o.groups; ++g) {
    const float* const group = selection + g * each;
    std::uint64_t first = 0, second = 0;  // below all ranks
    for (index_t e = 0; e < each; ++e) {
      const std::uint64_t rank = rank_of(group[e], e);
      second = std::max(second, std::min(first, rank));
      first = std::max(first, rank);
    }
    const float best = group[column_of_rank(first)];
    ranks[g] = rank_of(two ? best + group[column_of_rank(second)] : best, g);
  }
  std::sort(ranks, ranks + o.groups, std::greater<>());
  for (index_t i = o.kept_groups; i < o.groups; ++i) {
    std::fill_n(selection + column_of_rank(ranks[i]) * each, each,
                -std::numeric_limits<float>::infinity());
  }
}

TESSERA_LIBRARY_FUNCTION void checked_route(const RouteProblem& p) {
  constexpr const char* kName = "route_to_experts";
  const RouteOptions& o = p.options;
  const KernelTable& kernels = kernels_for < kNnFamily | kTensorFamily > (kName, o.context);
  check_route(p);
  const index_t tokens = p.logits.extents[0], count = p.logits.extents[1], k = p.experts.extent(1);
  if (tokens == 0 || k == 0) return;
  const bool biased = o.selection_bias.is_given(), grouped = o.kept_groups < o.groups;
  const RowRuns runs(o.context, tokens, 8 * count);
  const RowScratch scratch(o.context, count, runs.tasks(), 2 * k + 2 * o.groups + 2 * count, kName);
  float* const bias = scratch.shared();
  if (biased) {
    const TensorMemory& m = o.selection_bias.memory();
    kernels.nn.load(m.dtype, m.data, m.strides[0], bias, count);
  }
  runs.run([&](index_t t, index_t task) {
    auto* const kept = reinterpret_cast<std::uint64_t*>(scratch.of(task));
    std::uint64_t* const ranks = kept + k;
    float* const scores = scratch.of(task) + 2 * k + 2 * o.groups;
    float* const selection = scores + count;
    const float* const logits = load_row(kernels.nn, p.logits, t, count, selection);
    if (o.scores == RouterScores::kSoftmax) {
      kernels.nn.softmax({logits, 0, scores, 0, 1, count, 1, nullptr});
    } else {
      kernels.nn.of(UnaryOp::kSigmoid)(logits, scores, count);
    }
    if (biased) {
      kernels.nn.of(BinaryOp::kAdd)(scores, bias, selection, count);
    } else {
      std::copy_n(scores, count, selection);
    }
    if (grouped) keep_groups(o, selection, count, ranks);
    const TensorMemory line{selection, DType::kF32, 2, {1, count, 1, 1, 1}, {count, 1}};
    FloatPieces pieces(kernels.nn, line, 0);
    top_k_of_row(kernels.tensor, pieces, count, k, kept);
    float* const weights = selection;
    float sum = 0;
    for (index_t s = 0; s < k; ++s) {
      p.experts(t, s) = column_of_rank(kept[s]);
      weights[s] = scores[column_of_rank(kept[s])];
      sum += weights[s];
    }
    for (index_t s = 0; s < k; ++s) {
      if (o.renormalize && sum != 0) weights[s] = weights[s] / sum;
      weights[s] *= o.scale;
    }
    kernels.nn.store(weights, p.weights.dtype, mutable_element(p.weights, t), p.weights.strides[1],
                     k);
  });
}

// ---- sort_by_expert

TESSERA_LIBRARY_FUNCTION void checked_sort(const View<const std::int32_t, 2>& experts,
                                           const View<std::int32_t, 1>& offsets,
                                           const View<std::int32_t, 1>& order,
                                           const View<std::int32_t, 2>& places) {
  constexpr const char* kName = "sort_by_expert";
  const NamedTensor from{"experts", tensor_memory(experts)};
  check_tensor(kName, "experts", from.memory);
  const index_t tokens = experts.extent(0), k = experts.extent(1), pairs = tokens * k;
  if (pairs > std::numeric_limits<std::int32_t>::max()) {
    fail(kName, "experts", "less than 2^31 elements", std::to_string(pairs));
  }
  const index_t count = offsets.extent(0) - 1;
  if (count < 0) {
    fail(kName, "offsets", "one element for each expert and one more",
         std::to_string(offsets.extent(0)));
  }
  const std::array<TensorMemory, 3> memory = {tensor_memory(offsets), tensor_memory(order),
                                              tensor_memory(places)};
  const std::array<NamedTensor, 3> results = {NamedTensor{"offsets", memory[0]},
                                              NamedTensor{"order", memory[1]},
                                              NamedTensor{"places", memory[2]}};
  check_operand(kName, results[1], {pairs, 1, 1, 1, 1}, ", the elements of experts");
  check_operand(kName, results[2], from.memory.extents, ", those of experts");
  for (std::size_t i = 0; i < results.size(); ++i) {
    check_result_memory(kName, results[i]);
    check_apart(kName, results[i], from);
    for (std::size_t j = 0; j < i; ++j) check_apart(kName, results[i], results[j]);
  }
  for (index_t t = 0; t < tokens; ++t) {
    for (index_t s = 0; s < k; ++s) {
      if (experts(t, s) >= 0 && experts(t, s) < count) continue;
      fail(kName, "experts", "numbers from 0 to " + std::to_string(count - 1),
           std::to_string(experts(t, s)) + " (token " + std::to_string(t) + ", slot " +
               std::to_string(s) + ")");
    }
  }
  // How many there are of each expert, where the first goes, and behind the last pass where the first of the next is.
  for (index_t e = 0; e <= count; ++e) offsets(e) = 0;
  for (index_t t = 0; t < tokens; ++t) {
    for (index_t s = 0; s < k; ++s) ++offsets(experts(t, s));
  }
  std::int32_t place = 0;
  for (index_t e = 0; e <= count; ++e) {
    const std::int32_t here = offsets(e);
    offsets(e) = place;
    place += here;
  }
  for (index_t t = 0; t < tokens; ++t) {
    for (index_t s = 0; s < k; ++s) {
      places(t, s) = offsets(experts(t, s))++;
      order(places(t, s)) = static_cast<std::int32_t>(t * k + s);
    }
  }
  for (index_t e = count; e > 0; --e) offsets(e) = offsets(e - 1);
  offsets(0) = 0;
}

// ---- gather_to_experts

TESSERA_LIBRARY_FUNCTION void checked_gather(const GatherProblem& p) {
  constexpr const char* kName = "gather_to_experts";
  const auto& kernels = nn_kernels_for(kName, p.context);
  const NamedTensor x{"x", p.x}, order{"order", tensor_memory(p.order)}, y{"y", p.y};
  check_tensor(kName, "x", p.x);
  const index_t tokens = p.x.extents[0], columns = p.x.extents[1], pairs = p.order.extent(0);
  if (p.slots < 1) fail(kName, "k", "at least 1", std::to_string(p.slots));
  check_tensor(kName, "order", order.memory);
  check_operand(kName, y, {pairs, columns, 1, 1, 1}, ", the elements of order and columns of x");
  for (index_t i = 0; i < pairs; ++i) {
    if (p.order(i) >= 0 && p.order(i) / p.slots < tokens) continue;
    fail(kName, "order",
         "numbers from 0 to " + std::to_string(tokens) + " * " + std::to_string(p.slots) +
             " - 1 (the rows of x times k)",
         std::to_string(p.order(i)) + " (element " + std::to_string(i) + ")");
  }
  check_result_memory(kName, y);
  check_apart(kName, y, x);
  check_apart(kName, y, order);
  if (p.y.is_empty()) return;
  const RowRuns runs(p.context, pairs, columns);
  const auto is_contiguous = [&](const TensorMemory& t) {
    return t.strides[1] == 1 || columns == 1;
  };
  const bool copies = p.x.dtype == p.y.dtype && is_contiguous(p.x) && is_contiguous(p.y);
  const RowScratch scratch(p.context, 0, runs.tasks(), copies ? 0 : columns, kName);
  runs.run([&](index_t i, index_t task) {
    const index_t token = p.order(i) / p.slots;
    if (copies) {
      std::memcpy(mutable_element(p.y, i), element(p.x, token),
                  static_cast<std::size_t>(columns * size_of(p.y.dtype)));
    } else {
      store_row(kernels, load_row(kernels, p.x, token, columns, scratch.of(task)), p.y, i, columns);
    }
  });
}

// ---- combine_experts

inline void check_combine(const CombineProblem& p) {
  constexpr const char* kName = "combine_experts";
  const bool has_base = p.options.base.is_given();
  const NamedTensor x{"x", p.x}, weights{"weights", p.weights},
      places{"places", tensor_memory(p.places)}, y{"y", p.y},
      base{"options.base", p.options.base.memory()};
  check_tensor(kName, "x", p.x);
  check_tensor(kName, "places", places.memory);
  check_operand(kName, weights, places.memory.extents, ", those of places");
  const index_t tokens = p.places.extent(0), k = p.places.extent(1);
  const std::array<index_t, kMostAxes> extents = {tokens, p.x.extents[1], 1, 1, 1};
  check_operand(kName, y, extents, ", the rows of places and the columns of x");
  if (has_base) check_operand(kName, base, extents, ", the rows of places and the columns of x");
  for (index_t t = 0; t < tokens; ++t) {
    for (index_t s = 0; s < k; ++s) {
      const index_t place = p.places(t, s);
      if (place >= 0 && place < p.x.extents[0]) continue;
      fail(kName, "places",
           "numbers from 0 to " + std::to_string(p.x.extents[0] - 1) + " (the rows of x)",
           std::to_string(place) + " (token " + std::to_string(t) + ", slot " + std::to_string(s) +
               ")");
    }
  }
  check_result_memory(kName, y);
  for (const NamedTensor& operand : {x, weights, places}) check_apart(kName, y, operand);
  if (has_base) check_apart(kName, y, base, true);
}

TESSERA_LIBRARY_FUNCTION void checked_combine(const CombineProblem& p) {
  constexpr const char* kName = "combine_experts";
  Context* const context = p.options.context;
  const KernelTable& kernels = kernels_for < kNnFamily | kTensorFamily > (kName, context);
  check_combine(p);
  if (p.y.is_empty()) return;
  const index_t columns = p.y.extents[1], k = p.places.extent(1);
  const TensorMemory& base = p.options.base.memory();
  // Elements [j, j + n) of a row, as f32.
  const auto load = [&](const TensorMemory& m, index_t row, index_t j, index_t n, float* line) {
    if (is_f32_rows(m)) return static_cast<const float*>(element(m, row, j));
    kernels.nn.load(m.dtype, element(m, row, j), m.strides[1], line, n);
    return static_cast<const float*>(line);
  };
  for_rows(context, p.y.extents[0], columns * (k + 1), [&](index_t t) {
    constexpr index_t kPiece = 1024;  // of a row, which stays in L1 for all slots
    alignas(64) float buffer[kPiece], line[kPiece];
    for (index_t j = 0; j < columns; j += kPiece) {
      const index_t n = std::min(kPiece, columns - j);
      const bool in_place = is_f32_rows(p.y);
      float* const sums = in_place ? static_cast<float*>(mutable_element(p.y, t, j)) : buffer;
      if (!p.options.base.is_given()) {
        std::fill_n(sums, n, 0.0f);
      } else if (const float* const from = load(base, t, j, n, line); from != sums) {
        std::copy_n(from, n, sums);
      }
      for (index_t s = 0; s < k; ++s) {
        float weight;
        kernels.nn.load(p.weights.dtype, element(p.weights, t, s), 1, &weight, 1);
        kernels.tensor.add_weighted(load(p.x, p.places(t, s), j, n, line), weight, sums, n);
      }
      if (in_place) continue;
      kernels.nn.store(sums, p.y.dtype, mutable_element(p.y, t, j), p.y.strides[1], n);
    }
  });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_MOE_DRIVER_H_
