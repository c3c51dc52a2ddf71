// SPDX-License-Identifier: Apache-2.0
// The gated delta rule: bits of the specification, prompts in pieces, what it recalls, lengths, threads, errors.

#include "tessera/ops/gated_delta_rule.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/gated_delta_rule.h"
#include "testing.h"

namespace tessera::test::gated_delta_rule_test {

struct Case {
  index_t batch = 1, tokens = 1, key_heads = 1, groups = 1, key_size = 1, value_size = 1;
  bool normalize = true, in_place = false;
  std::vector<std::int32_t> lengths{};
  std::array<Order, 5> orders{};  // of q and k, v, gate and beta, state, y
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  std::string text = std::to_string(c.batch) + " x " + std::to_string(c.tokens) + " tokens, " +
                     std::to_string(c.key_heads) + " x " + std::to_string(c.groups) + " heads, " +
                     std::to_string(c.key_size) + " x " + std::to_string(c.value_size);
  for (const Order order : c.orders) text.append(", ").append(describe(order));
  return text + (c.normalize ? ", normalized" : "") + (c.in_place ? ", in place" : "") +
         (c.lengths.empty() ? "" : ", lengths");
}

struct Memories {
  GuardedMemory q, k, v, gate, beta, state, y;
  Random random;
};

// The row of a tensor that the first three indices pick, as f32.
template <class T>
std::vector<float> row_of(const Tensor<T, 4>& t, index_t a, index_t b, index_t c) {
  std::vector<float> row;
  const View<T, 4> view = t.view();
  for (index_t i = 0; i < view.extent(3); ++i) row.push_back(static_cast<float>(view(a, b, c, i)));
  return row;
}

// Q: of q and gate; K: of k and beta; V: of v.
template <class Q, class K, class V, class Y>
std::string run_case(Memories& m, const Case& c) {
  const index_t heads = c.key_heads * c.groups;
  const std::array<index_t, 4> key_extents = {c.batch, c.tokens, c.key_heads, c.key_size};
  const std::array<index_t, 4> value_extents = {c.batch, c.tokens, heads, c.value_size};
  Tensor<Q, 4> q(m.q, m.random, key_extents, c.orders[0], c.edge);
  Tensor<K, 4> k(m.k, m.random, key_extents, c.orders[0], c.edge);
  Tensor<V, 4> v(m.v, m.random, value_extents, c.orders[1], c.edge);
  Tensor<Q, 3> gate(m.gate, m.random, {c.batch, c.tokens, heads}, c.orders[2], c.edge);
  Tensor<K, 3> beta(m.beta, m.random, {c.batch, c.tokens, heads}, c.orders[2], c.edge);
  Tensor<float, 4> state(m.state, m.random, {c.batch, heads, c.key_size, c.value_size}, c.orders[3],
                         c.edge);
  Tensor<Y, 4> y(m.y, m.random, value_extents, c.orders[4], c.edge);
  q.fill(m.random, c.values);
  k.fill(m.random, c.values);
  v.fill(m.random, c.values);
  gate.fill(m.random, c.values);
  if (c.values == Values::kModerate) {  // mostly decays
    gate.for_each([](Q& g) { g = static_cast<Q>(-std::fabs(static_cast<float>(g)) / 4); });
  }
  beta.fill(m.random, c.values);
  state.fill(m.random, c.values);

  const bool fused = has_fma(c.context->target.value());
  std::vector<V> v_after = v.copy();
  std::vector<Y> y_after = y.copy();
  std::vector<float> state_after = state.copy();
  GatedDeltaRuleOptions options{
      .normalize = c.normalize, .lengths = c.lengths, .context = c.context};
  if (c.key_size % 2 != 0) options.scale = 0.3f;
  const float scale = options.scale.value_or(1 / std::sqrt(static_cast<float>(c.key_size)));
  const auto used = [&](std::vector<float> x) {
    if (!c.normalize) return x;
    return fused ? ref::l2_normalized<true>(x, options.epsilon)
                 : ref::l2_normalized<false>(x, options.epsilon);
  };
  for (index_t b = 0; b < c.batch; ++b) {
    for (index_t h = 0; h < heads; ++h) {
      std::vector<float> s, result(static_cast<std::size_t>(c.value_size));
      const auto after = state.view_of(state_after);
      for (index_t i = 0; i < c.key_size; ++i) {
        for (index_t j = 0; j < c.value_size; ++j) s.push_back(after(b, h, i, j));
      }
      const index_t tokens = c.lengths.empty() ? c.tokens : c.lengths[static_cast<std::size_t>(b)];
      for (index_t t = 0; t < tokens; ++t) {
        std::vector<float> query = used(row_of(q, b, t, h / c.groups));
        for (float& x : query) x = ref::product(x, scale);
        const std::vector<float> key = used(row_of(k, b, t, h / c.groups)),
                                 value = row_of(v, b, t, h);
        const auto g = static_cast<float>(gate.view()(b, t, h)),
                   rate = static_cast<float>(beta.view()(b, t, h));
        fused ? ref::gated_delta_rule<true>(query, key, value, g, rate, s, result)
              : ref::gated_delta_rule<false>(query, key, value, g, rate, s, result);
        for (index_t j = 0; j < c.value_size; ++j) {
          const float x = result[static_cast<std::size_t>(j)];
          if (c.in_place) {
            v.view_of(v_after)(b, t, h, j) = static_cast<V>(x);
          } else {
            y.view_of(y_after)(b, t, h, j) = static_cast<Y>(x);
          }
        }
      }
      for (index_t i = 0; i < c.key_size; ++i) {
        for (index_t j = 0; j < c.value_size; ++j) {
          after(b, h, i, j) = s[static_cast<std::size_t>(i * c.value_size + j)];
        }
      }
    }
  }
  const auto run = [&](const auto& to) {
    gated_delta_rule(q.read_only(), k.read_only(), v.read_only(), gate.read_only(),
                     beta.read_only(), state.view(), to, options);
  };
  c.in_place ? run(v.view()) : run(y.view());
  return y.difference(y_after) + v.difference(v_after) + state.difference(state_after);
}

Case random_case(Random& random) {
  Case c;
  c.batch = 1 + random.below(2);
  c.tokens = random.below(3) == 0 ? 1 : 1 + random.below(20);
  c.key_heads = 1 + random.below(2);
  c.groups = 1 + random.below(3);
  c.key_size = 1 + random.below(40);
  c.value_size = random.below(4) == 0 ? 60 + random.below(80) : 1 + random.below(20);
  c.normalize = random.below(2) != 0;
  c.in_place = random.below(4) == 0;
  if (random.below(3) == 0) {
    for (index_t b = 0; b < c.batch; ++b) {
      c.lengths.push_back(static_cast<std::int32_t>(random.below(c.tokens + 1)));
    }
  }
  for (Order& order : c.orders) order = random_order(random);
  c.edge = random_edge(random);
  c.values = random_values(random, 8, 4);
  return c;
}

TEMPLATE_TEST_CASE("the gated delta rule has the bits of its specification", "[gated_delta_rule]",
                   float, bf16, f16) {
  for_random_cases<Memories>(150, 16, random_case, [](Memories& m, const Case& c, int i) {
    return i % 2 != 0 ? run_case<TestType, float, TestType, bf16>(m, c)
                      : run_case<float, TestType, TestType, TestType>(m, c);
  });
}

TEST_CASE("the gated delta rule around the edges of vectors and blocks", "[gated_delta_rule]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(12);
    for (index_t n = 1; n <= 70; ++n) {
      if (sampler.skip()) continue;
      Case c{.tokens = n % 3 + 1, .key_size = 3, .value_size = n, .context = &context};
      tally.add(run_case<float, float, float, float>(m, c), [&] { return describe(c); });
    }
    // More columns than a block has, more tokens than are brought to f32 at a time.
    Case c{.tokens = reduced_effort() ? 17 : 40, .key_size = 130, .value_size = 67};
    c.context = &context;
    tally.add(run_case<bf16, bf16, bf16, bf16>(m, c), [&] { return describe(c); });
  });
}

TEST_CASE("a prompt in pieces leaves the bits of one call", "[gated_delta_rule]") {
  constexpr index_t kTokens = 37, kHeads = 3, kKey = 24, kValue = 21;
  Random random;
  const auto numbers = [&](index_t n) {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (float& x : v) x = random.value<float>(Values::kModerate);
    return v;
  };
  const std::vector<float> q = numbers(kTokens * kKey), k = numbers(kTokens * kKey),
                           v = numbers(kTokens * kHeads * kValue);
  const std::vector<float> gate(kTokens * kHeads, -0.1f), beta(kTokens * kHeads, 0.7f);
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    const auto results_of = [&](index_t piece, std::vector<float>& state) {
      std::vector<float> y(v.size());
      state.assign(kHeads * kKey * kValue, 0.5f);
      for (index_t t = 0; t < kTokens; t += piece) {
        const index_t n = std::min(piece, kTokens - t), one = 1;
        gated_delta_rule(row_major(q.data() + t * kKey, {one, n, one, kKey}),
                         row_major(k.data() + t * kKey, {one, n, one, kKey}),
                         row_major(v.data() + t * kHeads * kValue, {one, n, kHeads, kValue}),
                         row_major(gate.data() + t * kHeads, {one, n, kHeads}),
                         row_major(beta.data() + t * kHeads, {one, n, kHeads}),
                         row_major(state.data(), {one, kHeads, kKey, kValue}),
                         row_major(y.data() + t * kHeads * kValue, {one, n, kHeads, kValue}),
                         {.normalize = true, .context = &context});
      }
      return y;
    };
    std::vector<float> state, state_of_pieces;
    const std::vector<float> whole = results_of(kTokens, state);
    for (const index_t piece : {1, 2, 5, 16, 36}) {
      CAPTURE(piece);
      CHECK(results_of(piece, state_of_pieces) == whole);
      CHECK(state_of_pieces == state);
    }
  });
}

// What makes it a memory: without decay, a value stored under a key is recalled by it, and replaced by another one.
TEST_CASE("the gated delta rule recalls what a key stored last", "[gated_delta_rule]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    std::vector<float> state(8), y(8);
    const std::vector<float> keys = {2, 0, 0, 3, 5, 0, 0, 1}, values = {1, 2, 3, 4, 5, 6, 7, 8};
    const std::vector<float> gate(4, 0.0f), beta(4, 1.0f);
    const auto run = [&](const std::vector<float>& k, const std::vector<float>& v, index_t n) {
      gated_delta_rule(row_major(k.data(), {index_t{1}, n, index_t{1}, index_t{2}}),
                       row_major(k.data(), {index_t{1}, n, index_t{1}, index_t{2}}),
                       row_major(v.data(), {index_t{1}, n, index_t{1}, index_t{2}}),
                       row_major(gate.data(), {index_t{1}, n, index_t{1}}),
                       row_major(beta.data(), {index_t{1}, n, index_t{1}}),
                       row_major(state.data(), {1, 1, 2, 2}),
                       row_major(y.data(), {index_t{1}, n, index_t{1}, index_t{2}}),
                       {.scale = 1, .normalize = true, .epsilon = 0, .context = &context});
    };
    run(keys, values, 4);
    CHECK(y == values);  // each is read where it was just written
    CHECK(std::vector<float>(state.begin(), state.begin() + 4) == std::vector<float>{5, 6, 7, 8});
  });
}

TEST_CASE("the gated delta rule does not depend on threads", "[gated_delta_rule]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    Case c{.batch = 2, .tokens = 5, .key_heads = 2, .groups = 2, .key_size = 64, .value_size = 150};
    c.context = &context;
    if (reduced_effort()) c.batch = 1;
    tally.add(run_case<float, float, float, float>(m, c), [&] { return describe(c); });
    c.orders = {Order::kAny, Order::kAny, Order::kAny, Order::kAny, Order::kAny};
    c.tokens = 1;
    tally.add(run_case<bf16, bf16, bf16, bf16>(m, c), [&] { return describe(c); });
  });
}

TEST_CASE("the gated delta rule: the same bits everywhere", "[gated_delta_rule][reproducibility]") {
  constexpr std::uint64_t kGolden = 0xa4fd821aacf9d3aa;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    constexpr index_t kTokens = 7, kHeads = 2, kKey = 33, kValue = 77, kOne = 1;
    std::vector<float> q(kTokens * kKey), k(q.size()), v(kTokens * kHeads * kValue), y(v.size()),
        beta(kTokens * kHeads, 0.6f), gate(kTokens * kHeads), state(kHeads * kKey * kValue);
    for (auto* x : {&q, &k, &v}) {
      for (float& e : *x) e = random.value<float>(Values::kModerate);
    }
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = -0.01f * static_cast<float>(i);
    gated_delta_rule(
        row_major(q, {kOne, kTokens, kOne, kKey}), row_major(k, {kOne, kTokens, kOne, kKey}),
        row_major(v, {kOne, kTokens, kHeads, kValue}), row_major(gate, {kOne, kTokens, kHeads}),
        row_major(beta, {kOne, kTokens, kHeads}),
        row_major(state.data(), {kOne, kHeads, kKey, kValue}),
        row_major(y, {kOne, kTokens, kHeads, kValue}), {.normalize = true, .context = &context});
    for (const float e : y) digest.add(e);
    for (const float e : state) digest.add(e);
    append_digest("gated_delta_rule", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == kGolden);
  });
}

TEST_CASE("the gated delta rule refuses wrong arguments and writes nothing", "[gated_delta_rule]") {
  // 1 sequence, 2 tokens, 2 key heads of 3, 4 heads of 5.
  std::vector<float> q(12, 1.0f), k(12, 1.0f), v(40, 1.0f), gate(8, 0.0f), beta(8, 1.0f),
      state(60, 3.0f), y(40, 7.0f);
  struct Views {
    View<const float, 4> q, k, v;
    View<const float, 3> gate, beta;
    View<float, 4> state, y;
    GatedDeltaRuleOptions options{};
  };
  const Views good{
      row_major(std::as_const(q), {1, 2, 2, 3}), row_major(std::as_const(k), {1, 2, 2, 3}),
      row_major(std::as_const(v), {1, 2, 4, 5}), row_major(std::as_const(gate), {1, 2, 4}),
      row_major(std::as_const(beta), {1, 2, 4}), row_major(state.data(), {1, 4, 3, 5}),
      row_major(y.data(), {1, 2, 4, 5})};
  const auto error = [&](auto change) {
    Views w = good;
    change(w);
    return error_of(
        [&] { gated_delta_rule(w.q, w.k, w.v, w.gate, w.beta, w.state, w.y, w.options); });
  };
  const std::string start = "gated_delta_rule: ";
  CHECK(error([&](Views& w) { w.k = row_major(k.data(), {1, 2, 3, 2}); }) ==
        start + "k: expected extents {1, 2, 2, 3}, those of q, got {1, 2, 3, 2}");
  CHECK(error([&](Views& w) { w.v = row_major(v.data(), {1, 1, 4, 5}); }) ==
        start + "v: expected extents {1, 2, 4, 5}, the batch and tokens of q, got {1, 1, 4, 5}");
  CHECK(error([&](Views& w) { w.v = row_major(v.data(), {1, 2, 3, 5}); }) ==
        start + "v: expected a multiple of 2 heads (those of q), got 3");
  CHECK(error([&](Views& w) { w.gate = row_major(gate.data(), {1, 2, 2}); }) ==
        start +
            "gate: expected extents {1, 2, 4}, the batch, tokens and heads of v, got {1, 2, 2}");
  CHECK(error([&](Views& w) { w.beta = row_major(static_cast<float*>(nullptr), {1, 2, 4}); }) ==
        start + "beta: expected data for extents {1, 2, 4}, got a null pointer");
  CHECK(error([&](Views& w) { w.state = row_major(state.data(), {1, 4, 5, 3}); }) ==
        start +
            "state: expected extents {1, 4, 3, 5}, the batch and heads of v, the sizes of k and "
            "v, got {1, 4, 5, 3}");
  CHECK(error([&](Views& w) {
          w.state.strides[1] = 14;
        }).starts_with(start + "state: expected strides that visit each element once"));
  CHECK(error([&](Views& w) { w.y = row_major(y.data(), {1, 2, 4, 4}); }) ==
        start + "y: expected extents {1, 2, 4, 5}, those of v, got {1, 2, 4, 4}");
  CHECK(error([&](Views& w) { w.y = row_major(v.data() + 1, {1, 2, 4, 5}); }) ==
        start +
            "y: expected memory that does not overlap v, or is the same, got an overlapping view");
  CHECK(error([&](Views& w) { w.y = row_major(state.data(), {1, 2, 4, 5}); }) ==
        start + "y: expected memory that does not overlap state, got an overlapping view");
  CHECK(error([&](Views& w) { w.q = row_major(state.data(), {1, 2, 2, 3}); }) ==
        start + "state: expected memory that does not overlap q, got an overlapping view");
  CHECK(error([&](Views& w) { w.options.scale = std::numeric_limits<float>::infinity(); }) ==
        start + "options.scale: expected a finite number, got inf");
  CHECK(error([&](Views& w) { w.options.epsilon = -1; }) ==
        start + "options.epsilon: expected a finite number of at least 0, got -1.000000");
  const std::vector<std::int32_t> two = {1, 2}, long_one = {3};
  CHECK(error([&](Views& w) { w.options.lengths = two; }) ==
        start + "options.lengths: expected 1 (the batch of q), or none, got 2");
  CHECK(error([&](Views& w) { w.options.lengths = long_one; }) ==
        start + "options.lengths: expected numbers from 0 to 2 (the tokens of q), got 3");
  CHECK(state == std::vector<float>(60, 3.0f));
  CHECK(y == std::vector<float>(40, 7.0f));
}

}  // namespace tessera::test::gated_delta_rule_test
