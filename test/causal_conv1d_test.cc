// SPDX-License-Identifier: Apache-2.0
// Causal convolutions: bits of the specification, states, prompts in pieces, lengths, threads, errors.

#include "tessera/ops/causal_conv1d.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/causal_conv1d.h"
#include "testing.h"

namespace tessera::test::causal_conv1d_test {

struct Case {
  index_t batch = 1, tokens = 1, channels = 1, width = 4;
  bool bias = true, silu = true, state = true;
  std::vector<std::int32_t> lengths{};
  std::array<Order, 4> orders{};  // of x, weights, y, state
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;

  index_t tokens_of(index_t b) const {
    return lengths.empty() ? tokens : lengths[static_cast<std::size_t>(b)];
  }
};

std::string describe(const Case& c) {
  std::string text = std::to_string(c.batch) + " x " + std::to_string(c.tokens) + " x " +
                     std::to_string(c.channels) + ", width " + std::to_string(c.width);
  for (const Order order : c.orders) text.append(", ").append(describe(order));
  text += (c.bias ? ", bias" : "") + std::string(c.silu ? ", silu" : "");
  return text + (c.state ? ", state" : "") + (c.lengths.empty() ? "" : ", lengths");
}

struct Memories {
  GuardedMemory x, weights, y, state, bias;
  Random random;
};

// X: of x and the state; W: of weights; B: of the bias.
template <class X, class W, class Y, class B>
std::string run_case(Memories& m, const Case& c) {
  Tensor<X, 3> x(m.x, m.random, {c.batch, c.tokens, c.channels}, c.orders[0], c.edge);
  Tensor<W, 2> weights(m.weights, m.random, {c.channels, c.width}, c.orders[1], c.edge);
  Tensor<Y, 3> y(m.y, m.random, {c.batch, c.tokens, c.channels}, c.orders[2], c.edge);
  Tensor<X, 3> state(m.state, m.random, {c.batch, c.width - 1, c.channels}, c.orders[3], c.edge);
  Tensor<B, 1> bias(m.bias, m.random, {c.channels}, Order::kDense, c.edge);
  x.fill(m.random, c.values);
  weights.fill(m.random, Values::kModerate);
  state.fill(m.random, c.values);
  bias.fill(m.random, Values::kModerate);

  const bool fused = has_fma(c.context->target.value());
  std::vector<Y> y_after = y.copy();
  std::vector<X> state_after = state.copy();
  for (index_t b = 0; b < c.batch; ++b) {
    for (index_t channel = 0; channel < c.channels; ++channel) {
      std::vector<X> inputs;
      for (index_t i = 0; i + 1 < c.width; ++i) {
        inputs.push_back(c.state ? state.view()(b, i, channel) : static_cast<X>(0.0f));
      }
      for (index_t t = 0; t < c.tokens_of(b); ++t) inputs.push_back(x.view()(b, t, channel));
      std::vector<float> numbers, taps;
      for (const X v : inputs) numbers.push_back(static_cast<float>(v));
      for (index_t k = 0; k < c.width; ++k) {
        taps.push_back(static_cast<float>(weights.view()(channel, k)));
      }
      const float start = c.bias ? static_cast<float>(bias.view()(channel)) : 0;
      for (index_t t = 0; t < c.tokens_of(b); ++t) {
        const std::span<const float> window(numbers.data() + t, taps.size());
        y.view_of(y_after)(b, t, channel) =
            static_cast<Y>(fused ? ref::causal_conv1d<true>(window, taps, start, c.silu)
                                 : ref::causal_conv1d<false>(window, taps, start, c.silu));
      }
      for (index_t i = 0; c.state && i + 1 < c.width; ++i) {
        state.view_of(state_after)(b, i, channel) =
            inputs[static_cast<std::size_t>(c.tokens_of(b) + i)];
      }
    }
  }
  CausalConv1dOptions options{.silu = c.silu, .lengths = c.lengths, .context = c.context};
  if (c.bias) options.bias = bias.read_only();
  if (c.state) options.state = state.view();
  causal_conv1d(x.read_only(), weights.read_only(), y.view(), options);
  return y.difference(y_after) + state.difference(state_after);
}

Case random_case(Random& random) {
  Case c;
  c.batch = 1 + random.below(3);
  c.tokens = random.below(4) == 0 ? 1 : 1 + random.below(40);
  c.channels = random.below(8) == 0 ? 500 + random.below(100) : 1 + random.below(70);
  c.width = 2 + random.below(7);
  c.bias = random.below(2) != 0;
  c.silu = random.below(2) != 0;
  c.state = random.below(3) != 0;
  if (random.below(3) == 0) {
    for (index_t b = 0; b < c.batch; ++b) {
      c.lengths.push_back(static_cast<std::int32_t>(random.below(c.tokens + 1)));
    }
  }
  for (Order& order : c.orders) order = random_order(random);
  c.edge = random_edge(random);
  c.values = random_values(random, 6, 3);
  return c;
}

TEMPLATE_TEST_CASE("causal convolutions have the bits of their specification", "[causal_conv1d]",
                   float, bf16, f16) {
  for_random_cases<Memories>(300, 20, random_case, [](Memories& m, const Case& c, int i) {
    return i % 2 != 0 ? run_case<TestType, float, TestType, bf16>(m, c)
                      : run_case<float, TestType, float, float>(m, c);
  });
}

TEST_CASE("causal convolutions around the edges of vectors and blocks", "[causal_conv1d]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(16);
    for (index_t n = 1; n <= 70; ++n) {
      Case c{.tokens = n % 9 + 1, .channels = n, .context = &context};
      if (!sampler.skip()) {
        tally.add(run_case<float, float, float, float>(m, c), [&] { return describe(c); });
      }
      Case tall{.tokens = 100 + n, .channels = 3, .width = 2 + n % 7, .context = &context};
      if (!sampler.skip()) {
        tally.add(run_case<float, float, float, float>(m, tall), [&] { return describe(tall); });
      }
    }
  });
}

TEST_CASE("a prompt in pieces gives the bits of one call", "[causal_conv1d]") {
  constexpr index_t kTokens = 45, kChannels = 37, kWidth = 5;
  Random random;
  std::vector<bf16> x(kTokens * kChannels);
  std::vector<float> weights(kChannels * kWidth);
  for (bf16& v : x) v = random.value<bf16>(Values::kModerate);
  for (float& v : weights) v = random.value<float>(Values::kModerate);
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    const auto results_of = [&](index_t piece, std::vector<bf16>& state) {
      std::vector<float> y(x.size());
      state.assign((kWidth - 1) * kChannels, bf16(0.0f));
      for (index_t t = 0; t < kTokens; t += piece) {
        const index_t n = std::min(piece, kTokens - t);
        causal_conv1d(row_major(x.data() + t * kChannels, {index_t{1}, n, kChannels}),
                      row_major(weights, {kChannels, kWidth}),
                      row_major(y.data() + t * kChannels, {index_t{1}, n, kChannels}),
                      {.silu = true,
                       .state = row_major(state.data(), {index_t{1}, kWidth - 1, kChannels}),
                       .context = &context});
      }
      return y;
    };
    std::vector<bf16> state, state_of_pieces;
    const std::vector<float> whole = results_of(kTokens, state);
    for (const index_t piece : {1, 2, 3, 7, 44}) {
      CAPTURE(piece);
      CHECK(results_of(piece, state_of_pieces) == whole);
      CHECK(std::memcmp(state.data(), state_of_pieces.data(), state.size() * sizeof(bf16)) == 0);
    }
    std::vector<float> without(x.size());  // no state: zeros
    causal_conv1d(
        row_major(x, {index_t{1}, kTokens, kChannels}), row_major(weights, {kChannels, kWidth}),
        row_major(without, {index_t{1}, kTokens, kChannels}), {.silu = true, .context = &context});
    CHECK(without == whole);
  });
}

TEST_CASE("causal convolutions do not depend on threads", "[causal_conv1d]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    Case c{.batch = 2, .tokens = 300, .channels = 600, .context = &context};
    if (reduced_effort()) c.tokens = 140, c.channels = 520;
    tally.add(run_case<float, float, float, float>(m, c), [&] { return describe(c); });
    c.orders = {Order::kAny, Order::kAny, Order::kAny, Order::kAny};
    c.channels = 40;
    tally.add(run_case<bf16, bf16, bf16, bf16>(m, c), [&] { return describe(c); });
  });
}

TEST_CASE("causal convolutions: the same bits everywhere", "[causal_conv1d][reproducibility]") {
  constexpr std::uint64_t kGolden = 0xc90d97b5ddbfaddc;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    constexpr index_t kTokens = 19, kChannels = 77, kWidth = 4;
    std::vector<float> x(kTokens * kChannels), weights(kChannels * kWidth), y(x.size());
    for (float& v : x) v = random.value<float>(Values::kModerate);
    for (float& v : weights) v = random.value<float>(Values::kModerate);
    for (const bool silu : {false, true}) {
      causal_conv1d(
          row_major(x, {index_t{1}, kTokens, kChannels}), row_major(weights, {kChannels, kWidth}),
          row_major(y, {index_t{1}, kTokens, kChannels}),
          {.bias = row_major(weights.data(), {kChannels}), .silu = silu, .context = &context});
      for (const float v : y) digest.add(v);
    }
    append_digest("causal_conv1d", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == kGolden);
  });
}

TEST_CASE("causal convolutions refuse wrong arguments and write nothing", "[causal_conv1d]") {
  std::vector<float> x(24, 1.0f), y(24, 7.0f), w(32, 1.0f), s(24, 3.0f);
  std::vector<bf16> half(24, bf16(1.0f));
  const auto from = row_major(x, {2, 3, 4});
  const auto to = row_major(y, {2, 3, 4});
  const auto taps = row_major(w, {4, 3});
  const auto error = [&](const CausalConv1dOptions& o) {
    return error_of([&] { causal_conv1d(from, taps, to, o); });
  };
  CHECK(error_of([&] { causal_conv1d(from, taps, row_major(y, {2, 4, 3})); }) ==
        "causal_conv1d: y: expected extents {2, 3, 4}, those of x, got {2, 4, 3}");
  CHECK(error_of([&] { causal_conv1d(from, row_major(w, {3, 4}), to); }) ==
        "causal_conv1d: weights: expected extents {4, 4}, the channels of x and the width, got {3, "
        "4}");
  CHECK(error_of([&] { causal_conv1d(from, row_major(w.data(), {4, 1}), to); }) ==
        "causal_conv1d: weights: expected 2 to 8 columns (the width), got 1");
  CHECK(error_of([&] { causal_conv1d(from, taps, row_major(x, {2, 3, 4})); }) ==
        "causal_conv1d: y: expected memory that does not overlap x, got an overlapping view");
  CHECK(error({.bias = row_major(w.data(), {3})}) ==
        "causal_conv1d: options.bias: expected extents {4}, the channels of x, got {3}");
  CHECK(error({.state = row_major(s.data(), {2, 3, 4})}) ==
        "causal_conv1d: options.state: expected extents {2, 2, 4}, the batch of x, the width less "
        "1, the channels of x, got {2, 3, 4}");
  CHECK(error({.state = row_major(half.data(), {2, 2, 4})}) ==
        "causal_conv1d: options.state: expected elements of f32, those of x, got bf16");
  CHECK(error({.state = row_major(x.data(), {2, 2, 4})}) ==
        "causal_conv1d: options.state: expected memory that does not overlap x, got an overlapping "
        "view");
  CHECK(error({.state = strided(s.data(), {2, 2, 4}, {4, 4, 1})})
            .starts_with("causal_conv1d: options.state: expected strides that visit each element"));
  const std::vector<std::int32_t> three = {1, 2, 3}, long_one = {1, 4};
  CHECK(error({.lengths = three}) ==
        "causal_conv1d: options.lengths: expected 2 (the batch of x), or none, got 3");
  CHECK(error({.lengths = long_one}) ==
        "causal_conv1d: options.lengths: expected numbers from 0 to 3 (the tokens of x), got 4");
  CHECK(y == std::vector<float>(24, 7.0f));
  CHECK(s == std::vector<float>(24, 3.0f));

  // Nothing to do.
  causal_conv1d(row_major(x.data(), {2, 0, 4}), taps, row_major(y.data(), {2, 0, 4}),
                {.state = row_major(s.data(), {2, 2, 4})});
  CHECK(y == std::vector<float>(24, 7.0f));
  CHECK(s == std::vector<float>(24, 3.0f));
}

}  // namespace tessera::test::causal_conv1d_test
