// SPDX-License-Identifier: Apache-2.0
// Rotary embeddings: bits of the specification, tables against functions of long double, scalings, threads, errors.

#include "tessera/ops/rope.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/double_math.h"
#include "tessera/ref/rope.h"
#include "testing.h"

namespace tessera::test::rope_test {

struct Case {
  std::array<index_t, 4> extents{};  // batch, tokens, heads, head size
  index_t pairs = 0;
  bool interleaved = false, in_place = false, positions = false;
  Order x = Order::kDense, y = Order::kDense;
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  return detail::to_string(c.extents) + ", " + std::to_string(c.pairs) + " pairs (" +
         describe(c.x) + " to " + (c.in_place ? "itself" : describe(c.y)) + ")" +
         (c.interleaved ? ", interleaved" : "") + (c.positions ? ", positions" : "");
}

struct Memories {
  GuardedMemory x, y, cos, sin, positions;
  Random random;
};

template <class X, class Y>
std::string run_case(Memories& m, const Case& c) {
  constexpr index_t kPositions = 11;
  Tensor<X, 4> x(m.x, m.random, c.extents, c.x, c.edge);
  Tensor<Y, 4> y(m.y, m.random, c.extents, c.y, c.edge);
  Tensor<float, 2> cos(m.cos, m.random, {kPositions, c.pairs}, Order::kDense, c.edge);
  Tensor<float, 2> sin(m.sin, m.random, {kPositions, c.pairs}, Order::kApart, c.edge);
  Tensor<std::int32_t, 2> positions(m.positions, m.random, {c.extents[0], c.extents[1]},
                                    Order::kAny, c.edge);
  x.fill(m.random, c.values);
  cos.fill(m.random, Values::kModerate);
  sin.fill(m.random, Values::kModerate);
  positions.for_each(
      [&](std::int32_t& p) { p = static_cast<std::int32_t>(m.random.below(kPositions)); });
  const bool fused = has_fma(c.context->target.value());
  const auto expect = [&](const auto& from, const auto& to) {
    using From = std::remove_cvref_t<decltype(*from.data)>;
    using To = std::remove_cvref_t<decltype(*to.data)>;
    for (index_t b = 0; b < c.extents[0]; ++b) {
      for (index_t t = 0; t < c.extents[1]; ++t) {
        const index_t p = c.positions ? positions.view()(b, t) : t;
        const std::span<const float> row_cos(cos.view().data + p * cos.view().stride(0),
                                             static_cast<std::size_t>(c.pairs));
        const std::span<const float> row_sin(sin.view().data + p * sin.view().stride(0),
                                             static_cast<std::size_t>(c.pairs));
        for (index_t h = 0; h < c.extents[2]; ++h) {
          const View<const From, 1> f(&from(b, t, h, 0), {c.extents[3]}, {from.stride(3)});
          const View<To, 1> g(&to(b, t, h, 0), {c.extents[3]}, {to.stride(3)});
          fused ? ref::rope_row<true>(f, row_cos, row_sin, c.interleaved, g)
                : ref::rope_row<false>(f, row_cos, row_sin, c.interleaved, g);
        }
      }
    }
  };
  RopeOptions options{.interleaved = c.interleaved, .context = c.context};
  if (c.positions) options.positions = positions.read_only();
  std::vector<X> x_after = x.copy();
  if (c.in_place) {
    std::vector<X> before = x.copy();
    expect(x.view_of(before), x.view_of(x_after));
    rope(x.read_only(), cos.read_only(), sin.read_only(), x.view(), options);
    return x.difference(x_after);
  }
  std::vector<Y> y_after = y.copy();
  expect(x.view(), y.view_of(y_after));
  rope(x.read_only(), cos.read_only(), sin.read_only(), y.view(), options);
  return y.difference(y_after) + x.difference(x_after);
}

Case random_case(Random& random) {
  Case c;
  for (index_t& extent : c.extents) extent = 1 + random.below(4);
  c.extents[3] = random.below(4) == 0 ? 1 + random.below(300) : 1 + random.below(80);
  c.pairs = random.below(2) != 0 ? c.extents[3] / 2 : random.below(c.extents[3] / 2 + 1);
  c.interleaved = random.below(2) != 0;
  c.in_place = random.below(2) != 0;
  c.positions = random.below(2) != 0;
  c.x = kOrders[static_cast<std::size_t>(random.below(4))];
  c.y = kOrders[static_cast<std::size_t>(random.below(4))];
  c.edge = random_edge(random);
  c.values = random.below(4) == 0 ? Values::kAnyBits : Values::kModerate;
  return c;
}

TEMPLATE_TEST_CASE("rope has the bits of its specification", "[rope]", float, bf16, f16) {
  for_random_cases<Memories>(500, 16, random_case, [](Memories& m, const Case& c, int i) {
    return i % 3 == 0   ? run_case<TestType, bf16>(m, c)
           : i % 3 == 1 ? run_case<TestType, TestType>(m, c)
                        : run_case<float, TestType>(m, c);
  });
}

TEST_CASE("rope does not depend on threads or the order of axes", "[rope]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    for (const Order order : {Order::kDense, Order::kAny}) {
      Case c{.extents = {8, 11, 8, 64}, .pairs = 32, .x = order, .y = order, .context = &context};
      tally.add(run_case<float, float>(m, c), [&] { return describe(c); });
      tally.add(run_case<bf16, bf16>(m, c), [&] { return describe(c); });
    }
  });
}

TEST_CASE("functions of double are as exact as they say", "[rope]") {
  Random random;
  double sine = 0, log2 = 0, exp2 = 0;
  for (int i = 0; i < (reduced_effort() ? 1000 : 20000); ++i) {
    const double unit = static_cast<double>(random.next() >> 11) * 0x1p-53;
    const double x = unit * std::ldexp(1.0, static_cast<int>(random.below(41)));
    const detail::SineCosine of = detail::portable_sine_cosine(i % 2 != 0 ? x : -x);
    const long double exact = i % 2 != 0 ? x : -x;
    sine = std::max(sine, static_cast<double>(std::fabs(of.sine - std::sin(exact))));
    sine = std::max(sine, static_cast<double>(std::fabs(of.cosine - std::cos(exact))));
    const double y = std::ldexp(1 + unit, static_cast<int>(random.below(200)) - 100);
    const long double l = std::log2(static_cast<long double>(y));
    log2 = std::max(log2, static_cast<double>(std::fabs(detail::portable_log2(y) - l) /
                                              std::max(1.0L, std::fabs(l))));
    const double z = (unit - 0.5) * 1000;
    const long double e = std::exp2(static_cast<long double>(z));
    exp2 = std::max(exp2, static_cast<double>(std::fabs(detail::portable_exp2(z) - e) / e));
  }
  CHECK(sine < 0x1p-51);
  CHECK(log2 < 0x1p-50);
  CHECK(exp2 < 0x1p-50);
  CHECK(detail::portable_sine_cosine(0).sine == 0);
  CHECK(detail::portable_sine_cosine(0).cosine == 1);
  CHECK(detail::portable_log2(1024) == 10);
  CHECK(detail::portable_exp2(-3) == 0.125);
}

TEST_CASE("tables are close to the exact ones, and the same everywhere",
          "[rope][reproducibility]") {
  constexpr std::uint64_t kGolden = 0x8ab67a724f348b1a;
  Digest digest;
  for (const index_t first : {0, 1000000}) {
    const std::vector<double> frequencies = rope_frequencies({.dims = 64});
    std::vector<float> cos(40 * 32), sin(40 * 32);
    rope_table(frequencies, row_major(cos, {40, 32}), row_major(sin, {40, 32}),
               {.first_position = first});
    double worst = 0;
    for (index_t p = 0; p < 40; ++p) {
      for (index_t i = 0; i < 32; ++i) {
        const long double angle = static_cast<long double>(first + p) *
                                  std::pow(10000.0L, -static_cast<long double>(i) / 32);
        const auto at = static_cast<std::size_t>(p * 32 + i);
        worst = std::max(worst, static_cast<double>(std::fabs(cos[at] - std::cos(angle))));
        worst = std::max(worst, static_cast<double>(std::fabs(sin[at] - std::sin(angle))));
      }
    }
    CHECK(worst < 0x1.01p-25);
    for (const float v : cos) digest.add(v);
    for (const float v : sin) digest.add(v);
  }
  for (const RopeScaling scaling :
       {RopeScaling::kLinear, RopeScaling::kNtk, RopeScaling::kYarn, RopeScaling::kLlama3}) {
    for (const double f : rope_frequencies({.dims = 128,
                                            .base = 500000,
                                            .scaling = scaling,
                                            .factor = 8,
                                            .original_context = 8192})) {
      digest.add(f);
    }
  }
  append_digest("rope_table", tested_targets().back(), digest.value());
  CHECK(digest.value() == kGolden);
}

TEST_CASE("scalings keep what they should", "[rope]") {
  const auto close = [](double a, double b) { return std::fabs(a - b) < 1e-12 * std::fabs(b); };
  const RopeFrequencyOptions plain{.dims = 128, .base = 500000};
  const std::vector<double> f = rope_frequencies(plain);
  REQUIRE(f.size() == 64);
  CHECK(f[0] == 1);
  CHECK(close(f[32], 1 / std::sqrt(500000.0)));
  RopeFrequencyOptions o = plain;
  o.factor = 8;
  o.original_context = 8192;
  o.scaling = RopeScaling::kLinear;
  for (std::size_t i = 0; i < 64; ++i) CHECK(rope_frequencies(o)[i] == f[i] / 8);
  o.scaling = RopeScaling::kNtk;  // the highest stays, the lowest is that of the linear scaling
  CHECK(rope_frequencies(o)[0] == 1);
  CHECK(close(rope_frequencies(o)[63], f[63] / 8));
  o.scaling = RopeScaling::kLlama3;
  for (std::size_t i = 0; i < 64; ++i) {
    const double length = 2 * 3.14159265358979323846 / f[i], got = rope_frequencies(o)[i];
    if (length < 8192.0 / 4) {
      CHECK(close(got, f[i]));
    } else if (length > 8192) {
      CHECK(close(got, f[i] / 8));
    } else {
      const double smooth = (8192 / length - 1) / 3;
      CHECK(close(got, (1 - smooth) * f[i] / 8 + smooth * f[i]));
    }
  }
  o.scaling = RopeScaling::kYarn;
  const auto index = [&](double turns) {
    return 128 * std::log(8192 / (turns * 2 * 3.14159265358979323846)) / (2 * std::log(500000.0));
  };
  const double low = std::floor(index(32)), high = std::ceil(index(1));
  for (std::size_t i = 0; i < 64; ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    CHECK(close(rope_frequencies(o)[i], f[i] / 8 * ramp + f[i] * (1 - ramp)));
  }
  CHECK(close(yarn_attention_factor(8), 0.1 * std::log(8.0) + 1));
  CHECK(yarn_attention_factor(1) == 1);
}

TEST_CASE("rope turns by angles", "[rope]") {
  // Lengths stay, and products of queries and keys depend on the distance of their positions alone.
  std::vector<float> cos(20 * 4), sin(20 * 4);
  rope_table(rope_frequencies({.dims = 8}), row_major(cos, {20, 4}), row_major(sin, {20, 4}));
  const auto c = row_major(static_cast<const float*>(cos.data()), {20, 4});
  const auto s = row_major(static_cast<const float*>(sin.data()), {20, 4});
  const std::vector<float> q = {1, 2, 3, 4, 5, 6, 7, 8}, k = {2, -1, 0, 3, 1, 1, -2, 4};
  for (const bool interleaved : {false, true}) {
    const auto product = [&](std::int32_t p, std::int32_t r) {
      std::vector<float> a(8), b(8);
      const std::vector<std::int32_t> at = {p}, bt = {r};
      rope(row_major(q, {1, 1, 8}), c, s, row_major(a, {1, 1, 8}),
           {.interleaved = interleaved, .positions = row_major(at, {1, 1})});
      rope(row_major(k, {1, 1, 8}), c, s, row_major(b, {1, 1, 8}),
           {.interleaved = interleaved, .positions = row_major(bt, {1, 1})});
      double sum = 0;
      for (std::size_t i = 0; i < 8; ++i)
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      return sum;
    };
    CHECK(std::fabs(product(3, 5) - product(17, 19)) < 1e-4);
    CHECK(std::fabs(product(3, 5) - product(3, 6)) > 1e-2);
  }
}

TEST_CASE("rope refuses wrong arguments and writes nothing", "[rope]") {
  std::vector<float> x(24, 1.0f), y(24, 7.0f), table(20, 0.5f);
  const auto from = row_major(x, {3, 2, 4});
  const auto to = row_major(y, {3, 2, 4});
  const auto cos = row_major(static_cast<const float*>(table.data()), {5, 2});
  const auto sin = row_major(static_cast<const float*>(table.data() + 10), {5, 2});
  CHECK(error_of([&] { rope(from, cos, sin, row_major(y, {3, 4, 2})); }) ==
        "rope: y: expected extents {1, 3, 2, 4}, those of x, got {1, 3, 4, 2}");
  CHECK(error_of([&] { rope(from, cos, slice(sin, {0, 0}, {4, 2}), to); }) ==
        "rope: sin: expected extents {5, 2}, those of cos, got {4, 2}");
  CHECK(error_of([&] { rope(from, slice(cos, {0, 0}, {2, 2}), slice(sin, {0, 0}, {2, 2}), to); }) ==
        "rope: x: expected positions below 2, the rows of cos, got 3 tokens");
  CHECK(error_of([&] { rope(row_major(x, {4, 2, 3}), cos, sin, row_major(y, {4, 2, 3})); }) ==
        "rope: cos: expected at most 1 columns (half of the head size), got 2");
  CHECK(error_of([&] { rope(from, strided(table.data(), {5, 2}, {4, 2}), sin, to); }) ==
        "rope: cos: expected rows of stride 1, got stride 2");
  const std::vector<std::int32_t> few = {1, 2}, wrong = {1, 5, 0}, low = {1, -1, 0};
  const auto error = [&](const View<const std::int32_t, 2>& positions) {
    return error_of([&] { rope(from, cos, sin, to, {.positions = positions}); });
  };
  CHECK(error(row_major(few, {1, 2})) ==
        "rope: options.positions: expected extents {1, 3}, the batch and the tokens of x, got {1, "
        "2}");
  CHECK(error(row_major(wrong, {1, 3})) ==
        "rope: options.positions: expected positions below 5, the rows of cos, got 5");
  CHECK(error(row_major(low, {1, 3})) ==
        "rope: options.positions: expected positions below 5, the rows of cos, got -1");
  CHECK(
      error_of([&] {
        rope(row_major(x.data(), {2, 2, 4}), cos, sin, row_major(x.data() + 1, {2, 2, 4}));
      }) ==
      "rope: y: expected memory that does not overlap x, or is the same, got an overlapping view");
  CHECK(error_of([&] { rope(from, row_major(y.data(), {5, 2}), sin, to); }) ==
        "rope: y: expected memory that does not overlap cos, got an overlapping view");
  CHECK(y == std::vector<float>(24, 7.0f));

  const auto frequency_error = [](const RopeFrequencyOptions& o) {
    return error_of([&] { rope_frequencies(o); });
  };
  CHECK(frequency_error({.dims = 3}) ==
        "rope_frequencies: options.dims: expected an even number of at least 0, got 3");
  CHECK(frequency_error({.dims = 4, .base = 1}) ==
        "rope_frequencies: options.base: expected a number above 1, and below 1e30, got 1.000000");
  CHECK(frequency_error({.dims = 4, .scaling = RopeScaling::kYarn, .factor = 2}) ==
        "rope_frequencies: options.original_context: expected at least 1, and below 1e30, got "
        "0.000000");
  CHECK(frequency_error({.dims = 4, .scaling = RopeScaling::kLinear, .factor = 0.5}) ==
        "rope_frequencies: options.factor: expected at least 1, and below 1e30, got 0.500000");
  const std::vector<double> frequencies = {1, 2, 3};
  CHECK(error_of([&] { rope_table(frequencies, row_major(y, {3, 2}), row_major(x, {3, 2})); }) ==
        "rope_table: cos: expected 3 columns (the frequencies), got 2");
  CHECK(error_of([&] { rope_table(frequencies, row_major(y, {3, 3}), row_major(y, {3, 3})); }) ==
        "rope_table: cos: expected memory that does not overlap sin, got an overlapping view");
  CHECK(error_of([&] {
          rope_table(frequencies, row_major(y, {3, 3}), row_major(x, {3, 3}),
                     {.first_position = index_t{1} << 40});
        }).starts_with("rope_table: frequencies: expected angles below 2^40"));
  CHECK(y == std::vector<float>(24, 7.0f));

  // Nothing to do.
  rope(row_major(x.data(), {0, 2, 4}), cos, sin, row_major(y.data(), {0, 2, 4}));
  rope(row_major(x.data(), {3, 0, 4}), cos, sin, row_major(y.data(), {3, 0, 4}));
  CHECK(rope_frequencies({}).empty());
  CHECK(y == std::vector<float>(24, 7.0f));
}

}  // namespace tessera::test::rope_test
