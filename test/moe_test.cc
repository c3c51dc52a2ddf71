// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts: bits of the specification of routing, sorting, gathering and combining; a whole layer against a
// model in f64; threads, errors.

#include "tessera/ops/moe.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/block_formats.h"
#include "tessera/ops/elementwise.h"
#include "tessera/ops/gemm.h"
#include "tessera/ops/quantize.h"
#include "tessera/ref/moe.h"
#include "testing.h"

namespace tessera::test::moe_test {

struct Case {
  index_t tokens = 1, experts = 1, k = 1;
  ref::Router router{};
  bool bias = false;
  std::array<Order, 4> orders{};  // of logits, weights, experts, bias
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  return std::to_string(c.k) + " of " + std::to_string(c.experts) + " experts, " +
         std::to_string(c.router.kept_groups) + " of " + std::to_string(c.router.groups) +
         " groups" + (c.bias ? ", bias" : "") +
         (c.router.scores == RouterScores::kSigmoid ? ", sigmoid" : "") +
         (c.router.renormalize ? ", renormalized" : "");
}

struct Memories {
  GuardedMemory logits, weights, experts, bias;
  Random random;
};

template <class T, class U>
std::string run_case(Memories& m, const Case& c) {
  Tensor<T, 2> logits(m.logits, m.random, {c.tokens, c.experts}, c.orders[0], c.edge);
  Tensor<U, 2> weights(m.weights, m.random, {c.tokens, c.k}, c.orders[1], c.edge);
  Tensor<std::int32_t, 2> experts(m.experts, m.random, {c.tokens, c.k}, c.orders[2], c.edge);
  Tensor<T, 1> bias(m.bias, m.random, {c.experts}, c.orders[3], c.edge);
  logits.fill(m.random, c.values);
  // Some equal ones.
  logits.for_each([&](T& e) {
    if (m.random.below(8) == 0) e = static_cast<T>(1.0f);
  });
  bias.fill(m.random, Values::kModerate);
  const bool fused = has_fma(c.context->target.value());
  std::vector<U> weights_after = weights.copy();
  std::vector<std::int32_t> experts_after = experts.copy();
  std::vector<float> row(static_cast<std::size_t>(c.experts)), row_bias;
  for (index_t e = 0; c.bias && e < c.experts; ++e) {
    row_bias.push_back(static_cast<float>(bias.view()(e)));
  }
  ref::Router router = c.router;
  router.selection_bias = row_bias;
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(c.k));
  std::vector<float> w(chosen.size());
  for (index_t t = 0; t < c.tokens; ++t) {
    for (index_t e = 0; e < c.experts; ++e) {
      row[static_cast<std::size_t>(e)] = static_cast<float>(logits.view()(t, e));
    }
    fused ? ref::route_token<true>(row, router, chosen, w)
          : ref::route_token<false>(row, router, chosen, w);
    for (index_t s = 0; s < c.k; ++s) {
      experts.view_of(experts_after)(t, s) = chosen[static_cast<std::size_t>(s)];
      weights.view_of(weights_after)(t, s) = static_cast<U>(w[static_cast<std::size_t>(s)]);
    }
  }
  RouteOptions options{.scores = router.scores,
                       .groups = router.groups,
                       .kept_groups = router.kept_groups,
                       .group_scores = router.group_scores,
                       .renormalize = router.renormalize,
                       .scale = router.scale,
                       .context = c.context};
  if (c.bias) options.selection_bias = bias.view();
  route_to_experts(logits.read_only(), weights.view(), experts.view(), options);
  return weights.difference(weights_after) + experts.difference(experts_after);
}

Case random_case(Random& random) {
  Case c;
  c.tokens = 1 + random.below(4);
  const index_t each = 1 + random.below(random.below(2) != 0 ? 5 : 40);
  ref::Router& r = c.router;
  r.groups = 1 + random.below(6);
  r.kept_groups = 1 + random.below(r.groups);
  c.experts = each * r.groups;
  c.k = 1 + random.below(std::min<index_t>(each * r.kept_groups, 10));
  r.scores = static_cast<RouterScores>(random.below(2));
  r.group_scores = static_cast<GroupScores>(random.below(2));
  r.renormalize = random.below(2) != 0;
  r.scale = random.below(2) != 0 ? 1.0f : 2.5f;
  c.bias = random.below(2) != 0;
  for (Order& order : c.orders) order = random_order(random);
  c.edge = random_edge(random);
  c.values = random_values(random, 8, 4);
  return c;
}

TEST_CASE("route_to_experts has the bits of its specification", "[moe]") {
  for_random_cases<Memories>(800, 16, random_case, [](Memories& m, const Case& c, int i) {
    return i % 3 == 0   ? run_case<float, float>(m, c)
           : i % 3 == 1 ? run_case<bf16, float>(m, c)
                        : run_case<f16, bf16>(m, c);
  });
}

TEST_CASE("sort_by_expert sorts, stably", "[moe]") {
  Memories m;
  for (int i = 0; i < 40; ++i) {
    const index_t tokens = m.random.below(30), k = 1 + m.random.below(4),
                  count = 1 + m.random.below(9);
    GuardedMemory memory[4];
    const Order order_of = kOrders[static_cast<std::size_t>(m.random.below(4))];
    Tensor<std::int32_t, 2> experts(memory[0], m.random, {tokens, k}, order_of, Edge::kEnd);
    Tensor<std::int32_t, 1> offsets(memory[1], m.random, {count + 1}, order_of, Edge::kEnd);
    Tensor<std::int32_t, 1> order(memory[2], m.random, {tokens * k}, order_of, Edge::kEnd);
    Tensor<std::int32_t, 2> places(memory[3], m.random, {tokens, k}, order_of, Edge::kEnd);
    experts.for_each(
        [&](std::int32_t& e) { e = static_cast<std::int32_t>(m.random.below(count)); });
    std::vector<std::int32_t> offsets_after = offsets.copy(), order_after = order.copy(),
                              places_after = places.copy();
    std::int32_t place = 0;
    for (index_t e = 0; e < count; ++e) {
      offsets.view_of(offsets_after)(e) = place;
      for (index_t t = 0; t < tokens; ++t) {
        for (index_t s = 0; s < k; ++s) {
          if (experts.view()(t, s) != e) continue;
          order.view_of(order_after)(place) = static_cast<std::int32_t>(t * k + s);
          places.view_of(places_after)(t, s) = place++;
        }
      }
    }
    offsets.view_of(offsets_after)(count) = place;
    sort_by_expert(experts.read_only(), offsets.view(), order.view(), places.view());
    CHECK(offsets.difference(offsets_after) == "");
    CHECK(order.difference(order_after) == "");
    CHECK(places.difference(places_after) == "");
  }
}

// Rows of x to places and back with weights, of random sizes.
template <class X, class Y, class W>
void check_rows(Random& random, Context* context, index_t tokens, index_t columns) {
  const index_t k = 1 + random.below(4), count = 5, pairs = tokens * k;
  const Order order_of = kOrders[static_cast<std::size_t>(random.below(4))];
  const Edge edge = random_edge(random);
  GuardedMemory memory[5];
  Tensor<X, 2> x(memory[0], random, {tokens, columns}, order_of, edge);
  Tensor<Y, 2> gathered(memory[1], random, {pairs, columns}, order_of, edge);
  Tensor<X, 2> y(memory[2], random, {tokens, columns}, Order::kDense, edge);
  Tensor<W, 2> weights(memory[3], random, {tokens, k}, order_of, edge);
  Tensor<X, 2> base(memory[4], random, {tokens, columns}, order_of, edge);
  std::vector<std::int32_t> experts(static_cast<std::size_t>(pairs)), order(experts.size()),
      places(experts.size()), offsets(static_cast<std::size_t>(count + 1));
  for (std::int32_t& e : experts) e = static_cast<std::int32_t>(random.below(count));
  sort_by_expert(row_major(experts, {tokens, k}), row_major(offsets, {count + 1}),
                 row_major(order, {pairs}), row_major(places, {tokens, k}));
  x.fill(random, Values::kModerate);
  base.fill(random, Values::kModerate);
  weights.fill(random, Values::kModerate);
  std::vector<Y> gathered_after = gathered.copy();
  for (index_t p = 0; p < pairs; ++p) {
    for (index_t j = 0; j < columns; ++j) {
      const X v = x.view()(order[static_cast<std::size_t>(p)] / k, j);
      gathered.view_of(gathered_after)(p, j) = static_cast<Y>(static_cast<float>(v));
    }
  }
  gather_to_experts(x.read_only(), row_major(order, {pairs}), k, gathered.view(),
                    {.context = context});
  CHECK(gathered.difference(gathered_after) == "");

  const bool fused = has_fma(context->target.value());
  const auto expected = [&](index_t t, index_t j, bool with_base) {
    std::vector<float> w, e;
    for (index_t s = 0; s < k; ++s) {
      w.push_back(static_cast<float>(weights.view()(t, s)));
      e.push_back(
          static_cast<float>(gathered.view()(places[static_cast<std::size_t>(t * k + s)], j)));
    }
    const float from = with_base ? static_cast<float>(base.view()(t, j)) : 0.0f;
    return static_cast<X>(fused ? ref::combine<true>(from, w, e) : ref::combine<false>(from, w, e));
  };
  std::vector<X> y_after = y.copy(), base_after = base.copy();
  for (const bool with_base : {false, true}) {
    for (index_t t = 0; t < tokens; ++t) {
      for (index_t j = 0; j < columns; ++j) {
        y.view_of(y_after)(t, j) = expected(t, j, with_base);
        if (with_base) base.view_of(base_after)(t, j) = y.view_of(y_after)(t, j);
      }
    }
    CombineOptions options{.context = context};
    if (with_base) options.base = base.read_only();
    combine_experts(gathered.view(), weights.view(), row_major(places, {tokens, k}), y.view(),
                    options);
    CHECK(y.difference(y_after) == "");
  }
  combine_experts(gathered.view(), weights.view(), row_major(places, {tokens, k}), base.view(),
                  {.base = base.read_only(), .context = context});
  CHECK(base.difference(base_after) == "");
}

TEST_CASE("rows go to their experts and back", "[moe]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    Sampler sampler(4);
    for (int i = 0; i < 60; ++i) {
      const index_t tokens = 1 + random.below(7);
      const index_t columns = 1 + random.below(i % 10 == 0 ? 2500 : 90);
      if (sampler.skip()) continue;
      if (i % 3 == 0) check_rows<float, float, float>(random, &context, tokens, columns);
      if (i % 3 == 1) check_rows<bf16, bf16, float>(random, &context, tokens, columns);
      if (i % 3 == 2) check_rows<float, f16, bf16>(random, &context, tokens, columns);
    }
  });
}

// ---- A layer: of each expert down(silu(gate(x)) * up(x)), of each token the weighted sum of its experts.

constexpr index_t kTokens = 13, kColumns = 64, kHidden = 96, kExperts = 8, kSlots = 2;

struct Layer {
  std::vector<float> x, router;  // [tokens, columns], [columns, experts]
  std::vector<std::vector<float>> up,
      down;  // [columns, 2 hidden]: gates and ups; [hidden, columns]

  explicit Layer(std::uint64_t seed) {
    Random random(seed);
    const auto numbers = [&](index_t n, float scale) {
      std::vector<float> v(static_cast<std::size_t>(n));
      for (float& e : v) {
        e = static_cast<float>(random.below(2001) - 1000) * 0.001f * scale;
      }
      return v;
    };
    x = numbers(kTokens * kColumns, 1);
    router = numbers(kColumns * kExperts, 0.3f);
    for (index_t e = 0; e < kExperts; ++e) {
      up.push_back(numbers(kColumns * 2 * kHidden, 0.2f));
      down.push_back(numbers(kHidden * kColumns, 0.2f));
    }
  }
};

// The kernels of the library, with weights that pack() makes of [k, n] views.
template <class Pack>
std::vector<float> run_layer(const Layer& layer, const Pack& pack, Context* context) {
  std::vector<float> logits(kTokens * kExperts), weights(kTokens * kSlots);
  std::vector<std::int32_t> experts(kTokens * kSlots), order(experts.size()),
      places(experts.size()), offsets(kExperts + 1);
  constexpr index_t kPairs = kTokens * kSlots;
  std::vector<float> gathered(kPairs * kColumns), hidden(kPairs * 2 * kHidden),
      active(kPairs * kHidden), results(kPairs * kColumns), y(kTokens * kColumns);
  const auto x = row_major(layer.x, {kTokens, kColumns});
  gemm(x, row_major(layer.router, {kColumns, kExperts}), row_major(logits, {kTokens, kExperts}),
       {.context = context});
  const auto slots = row_major(experts, {kTokens, kSlots});
  route_to_experts(row_major(logits, {kTokens, kExperts}), row_major(weights, {kTokens, kSlots}),
                   slots, {.renormalize = true, .context = context});
  sort_by_expert(slots, row_major(offsets, {kExperts + 1}), row_major(order, {kPairs}),
                 row_major(places, {kTokens, kSlots}));
  gather_to_experts(x, row_major(order, {kPairs}), kSlots, row_major(gathered, {kPairs, kColumns}),
                    {.context = context});

  using B = decltype(pack(View<const float, 2>()));
  using Group = GemmGroup<View<float, 2>, B, View<float, 2>>;
  const auto starts = row_major(offsets, {kExperts + 1});
  const auto product = [&](const View<float, 2>& a, const std::vector<std::vector<float>>& b,
                           index_t k, index_t n, const View<float, 2>& c) {
    std::vector<B> packed;
    for (const auto& matrix : b)
      packed.push_back(pack(View<const float, 2>(row_major(matrix, {k, n}))));
    std::vector<Group> groups;
    for (index_t e = 0; e < kExperts; ++e) {
      groups.push_back({expert_rows(a, starts, e),
                        &packed[static_cast<std::size_t>(e)],
                        expert_rows(c, starts, e),
                        {}});
    }
    gemm_grouped(std::span<const Group>(groups), {.context = context});
  };
  product(row_major(gathered, {kPairs, kColumns}), layer.up, kColumns, 2 * kHidden,
          row_major(hidden, {kPairs, 2 * kHidden}));
  swiglu(row_major(hidden, {kPairs, 2 * kHidden}), row_major(active, {kPairs, kHidden}),
         {.context = context});
  product(row_major(active, {kPairs, kHidden}), layer.down, kHidden, kColumns,
          row_major(results, {kPairs, kColumns}));
  combine_experts(row_major(results, {kPairs, kColumns}), row_major(weights, {kTokens, kSlots}),
                  row_major(places, {kTokens, kSlots}), row_major(y, {kTokens, kColumns}),
                  {.context = context});
  return y;
}

// The same in f64, with `bounds` on the error of f32: of a sum, the unit roundoff times the number of its terms times the sum
// of their magnitudes; what enters a step has errors that leave it magnified by its slope.
std::vector<double> model(const Layer& layer, std::vector<double>& bounds) {
  constexpr double kUnit = 0x1p-24;
  std::vector<double> y(kTokens * kColumns);
  bounds.assign(y.size(), 0);
  for (index_t t = 0; t < kTokens; ++t) {
    const auto x = [&](index_t i) {
      return static_cast<double>(layer.x[static_cast<std::size_t>(t * kColumns + i)]);
    };
    std::vector<double> logits, magnitudes;
    for (index_t e = 0; e < kExperts; ++e) {
      double sum = 0, magnitude = 0;
      for (index_t i = 0; i < kColumns; ++i) {
        const double p =
            x(i) * static_cast<double>(layer.router[static_cast<std::size_t>(i * kExperts + e)]);
        sum += p;
        magnitude += std::fabs(p);
      }
      logits.push_back(sum);
      magnitudes.push_back(magnitude);
    }
    std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5, 6, 7};
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    const double logit_error =
        kColumns * kUnit * *std::max_element(magnitudes.begin(), magnitudes.end());
    // Chosen for sure: no rounding makes another choice.
    REQUIRE(logits[order[kSlots - 1]] - logits[order[kSlots]] > 2 * logit_error);
    double total = 0;
    for (std::size_t s = 0; s < kSlots; ++s) total += std::exp(logits[order[s]] - logits[order[0]]);
    for (std::size_t s = 0; s < kSlots; ++s) {
      const std::size_t e = order[s];
      const double weight = std::exp(logits[e] - logits[order[0]]) / total;
      // Of e^logit in numerator and sum, and softmax's own (ops/softmax.h).
      const double weight_error = 4 * logit_error + 0x1p-19;
      std::vector<double> active, errors;  // of f32
      for (index_t h = 0; h < kHidden; ++h) {
        double gate = 0, up = 0, gate_magnitude = 0, up_magnitude = 0;
        for (index_t i = 0; i < kColumns; ++i) {
          const auto at = static_cast<std::size_t>(i * 2 * kHidden + h);
          const double g = x(i) * static_cast<double>(layer.up[e][at]);
          const double u = x(i) * static_cast<double>(layer.up[e][at + kHidden]);
          gate += g;
          up += u;
          gate_magnitude += std::fabs(g);
          up_magnitude += std::fabs(u);
        }
        const double silu = gate / (1 + std::exp(-gate));
        active.push_back(silu * up);
        // The slope of silu is below 1.1; it and the product round by 5 units.
        errors.push_back(
            (kColumns + 1) * kUnit *
                (1.1 * gate_magnitude * std::fabs(up) + std::fabs(silu) * up_magnitude) +
            5 * kUnit * std::fabs(silu * up));
      }
      for (index_t j = 0; j < kColumns; ++j) {
        double sum = 0, error = 0;
        for (index_t h = 0; h < kHidden; ++h) {
          const auto i = static_cast<std::size_t>(h);
          const auto d =
              static_cast<double>(layer.down[e][i * kColumns + static_cast<std::size_t>(j)]);
          sum += active[i] * d;
          error += (errors[i] + (kHidden + 1) * kUnit * std::fabs(active[i])) * std::fabs(d);
        }
        const auto at = static_cast<std::size_t>(t * kColumns + j);
        y[at] += weight * sum;
        bounds[at] += weight * (1.01 * error + (weight_error + kSlots * kUnit) * std::fabs(sum));
      }
    }
  }
  return y;
}

std::vector<float> layer_with_floats(const Layer& layer, Context* context) {
  return run_layer(
      layer, [&](const View<const float, 2>& b) { return pack_b(b, {.context = context}); },
      context);
}

TEST_CASE("a layer of experts is that of a model in f64", "[moe]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const Layer layer(3);
    std::vector<double> bounds;
    const std::vector<double> expected = model(layer, bounds);
    const std::vector<float> y = layer_with_floats(layer, &context);
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - expected[i]) / bounds[i]);
      largest = std::max(largest, std::fabs(expected[i]) / bounds[i]);
    }
    CHECK(worst <= 1);
    CHECK(largest > 1000);  // the bounds say something
  });
}

TEST_CASE("a layer of quantized experts is that of their values", "[moe]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Layer layer(4);
    // Q8_0 blocks lie along k: columns of b are rows of blocks.
    const auto quantized = [&](const View<const float, 2>& b, std::vector<std::byte>& bytes) {
      bytes.resize(
          static_cast<std::size_t>(row_bytes(BlockFormat::kQ8_0, b.extent(0)) * b.extent(1)));
      const BlockView to = blocks(BlockFormat::kQ8_0, bytes.data(), b.extent(1), b.extent(0));
      quantize(transposed(b), to, {.context = &context});
      return to;
    };
    const std::vector<float> y = run_layer(
        layer,
        [&](const View<const float, 2>& b) {
          std::vector<std::byte> bytes;
          return pack_weights(quantized(b, bytes), {.context = &context});
        },
        &context);
    // The layer of the dequantized weights, bit for bit.
    const auto dequantized = [&](std::vector<float>& matrix, index_t k, index_t n) {
      std::vector<std::byte> bytes;
      const auto view = row_major(matrix, {k, n});
      dequantize(quantized(view, bytes), transposed(view), {.context = &context});
    };
    for (auto& matrix : layer.up) dequantized(matrix, kColumns, 2 * kHidden);
    for (auto& matrix : layer.down) dequantized(matrix, kHidden, kColumns);
    CHECK(y == layer_with_floats(layer, &context));
  });
}

TEST_CASE("a layer of experts does not depend on threads or targets", "[moe][reproducibility]") {
  constexpr std::uint64_t kGolden = 0x2750974be476d1ba;
  StdThreads threads{3};
  Reversed reversed;
  const Layer layer(3);
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    const auto digest_of = [&] {
      Digest digest;
      for (const float v : layer_with_floats(layer, &context)) digest.add(v);
      return digest.value();
    };
    const std::uint64_t digest = digest_of();
    append_digest("moe", target, digest);
    if (has_fma(target)) CHECK(digest == kGolden);
    context.executor = Executor::from_function(3, threads);
    CHECK(digest_of() == digest);
    context.executor = Executor::from_function(16, reversed);
    CHECK(digest_of() == digest);
  });
}

TEST_CASE("route_to_experts: DeepSeek-V3's choice, by hand", "[moe]") {
  // Sigmoids of 0 are .5; the bias alone chooses: groups {9, 1}, {6, 5}, {8, 0}, two of which are kept.
  const std::vector<float> logits(6), bias = {9, 1, 6, 5, 8, 0};
  std::vector<float> weights(3);
  std::vector<std::int32_t> experts(3);
  RouteOptions options{.scores = RouterScores::kSigmoid,
                       .selection_bias = row_major(bias, {6}),
                       .groups = 3,
                       .kept_groups = 2,
                       .renormalize = true,
                       .scale = 3};
  const auto run = [&] {
    route_to_experts(row_major(logits, {1, 6}), row_major(weights, {1, 3}),
                     row_major(experts, {1, 3}), options);
  };
  run();
  CHECK(experts == std::vector<std::int32_t>{0, 2, 3});
  CHECK(weights == std::vector<float>{1, 1, 1});
  options.group_scores = GroupScores::kMax;
  run();
  CHECK(experts == std::vector<std::int32_t>{0, 4, 1});
}

TEST_CASE("mixtures of experts refuse wrong arguments and write nothing", "[moe]") {
  std::vector<float> logits(12, 1.0f), weights(4, 7.0f);
  std::vector<std::int32_t> experts(4, 9);
  const auto from = row_major(logits, {2, 6});
  const auto to = row_major(weights, {2, 2});
  const auto chosen = row_major(experts, {2, 2});
  const auto error = [&](const RouteOptions& o) {
    return error_of([&] { route_to_experts(from, to, chosen, o); });
  };
  CHECK(error({.groups = 4}) ==
        "route_to_experts: options.groups: expected a divisor of 6 (the columns of logits), got 4");
  CHECK(error({.groups = 3, .kept_groups = 4}) ==
        "route_to_experts: options.kept_groups: expected from 1 to 3 (the groups), got 4");
  CHECK(error({.groups = 6, .kept_groups = 1}) ==
        "route_to_experts: experts: expected extents {2, k}, the rows of logits and k from 0 to 1, "
        "got {2, 2}");
  CHECK(
      error({.selection_bias = row_major(logits, {5})}) ==
      "route_to_experts: options.selection_bias: expected extents {6}, the columns of logits, got "
      "{5}");
  CHECK(error({.scale = std::numeric_limits<float>::infinity()}) ==
        "route_to_experts: options.scale: expected a finite number, got inf");
  CHECK(error_of([&] { route_to_experts(from, row_major(logits.data(), {2, 2}), chosen); }) ==
        "route_to_experts: weights: expected memory that does not overlap logits, got an "
        "overlapping view");

  std::vector<std::int32_t> pairs = {0, 3, 1, -1}, offsets(4, 9), order(4, 9), places(4, 9);
  const auto sort = [&] {
    return error_of([&] {
      sort_by_expert(row_major(pairs, {2, 2}), row_major(offsets, {4}), row_major(order, {4}),
                     row_major(places, {2, 2}));
    });
  };
  CHECK(sort() == "sort_by_expert: experts: expected numbers from 0 to 2, got 3 (token 0, slot 1)");
  pairs[1] = 2;
  CHECK(sort() ==
        "sort_by_expert: experts: expected numbers from 0 to 2, got -1 (token 1, slot 1)");
  CHECK(error_of([&] {
          sort_by_expert(row_major(pairs, {2, 2}), row_major(offsets, {4}), row_major(order, {3}),
                         row_major(places, {2, 2}));
        }) == "sort_by_expert: order: expected extents {4}, the elements of experts, got {3}");

  std::vector<float> x(6, 1.0f), y(12, 7.0f);
  const std::vector<std::int32_t> wrong = {0, 1, 2, 4};
  CHECK(error_of([&] {
          gather_to_experts(row_major(x, {2, 3}), row_major(wrong, {4}), 2, row_major(y, {4, 3}));
        }) ==
        "gather_to_experts: order: expected numbers from 0 to 2 * 2 - 1 (the rows of x times k), "
        "got 4 (element 3)");
  CHECK(error_of([&] {
          combine_experts(row_major(x, {2, 3}), to, row_major(wrong, {2, 2}),
                          row_major(y.data(), {2, 3}));
        }) ==
        "combine_experts: places: expected numbers from 0 to 1 (the rows of x), got 2 (token 1, "
        "slot 0)");
  CHECK(weights == std::vector<float>(4, 7.0f));
  CHECK(experts == std::vector<std::int32_t>(4, 9));
  CHECK(order == std::vector<std::int32_t>(4, 9));
  CHECK(y == std::vector<float>(12, 7.0f));

  // Nothing to do.
  route_to_experts(row_major(logits.data(), {0, 6}), row_major(weights.data(), {0, 2}),
                   row_major(experts.data(), {0, 2}));
  CHECK(weights == std::vector<float>(4, 7.0f));
}

}  // namespace tessera::test::moe_test
