// SPDX-License-Identifier: Apache-2.0
// Attention: bits of the specification over random problems, its error, special values, that neither the number of
// queries in a call nor threads nor blocks change a bit, errors.

#include "tessera/ops/attention.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/attention_layout.h"
#include "tessera/core/kv_cache.h"
#include "tessera/ops/append_to_cache.h"
#include "tessera/ref/attention.h"
#include "tessera/ref/block_formats.h"
#include "testing.h"

namespace tessera::test::attention_test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

enum class MaskKind { kNone, kF32, kF16, kBool };

struct Case {
  index_t batch = 1, heads = 1, kv_heads = 1, tokens = 1, keys = 1, dim = 1, value_dim = 1;
  float scale = 0;
  bool causal = false;
  index_t window = 0;
  float softcap = 0;
  bool slopes = false, sinks = false, lengths = false, log_sums = false;
  MaskKind mask = MaskKind::kNone;
  std::array<bool, 4> mask_axes{};  // those that it has
  Order order = Order::kDense;
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  std::string text = std::to_string(c.batch) + " x " + std::to_string(c.heads) + "/" +
                     std::to_string(c.kv_heads) + " heads, " + std::to_string(c.tokens) + " of " +
                     std::to_string(c.keys) + " tokens, dims " + std::to_string(c.dim) + ", " +
                     std::to_string(c.value_dim) + ", " + describe(c.order);
  if (c.causal) text += ", causal";
  if (c.window > 0) text += ", window " + std::to_string(c.window);
  if (c.softcap > 0) text += ", softcap";
  if (c.slopes) text += ", slopes";
  if (c.sinks) text += ", sinks";
  if (c.lengths) text += ", lengths";
  if (c.mask != MaskKind::kNone) text += ", mask " + std::to_string(static_cast<int>(c.mask));
  return text;
}

struct Memories {
  GuardedMemory q, k, v, out, mask, log_sums;
  Random random;
};

// A mask of any kind, and what it adds to scores.
class Mask {
 public:
  Mask(Memories& m, const Case& c) : kind_(c.mask), axes_(c.mask_axes) {
    std::array<index_t, 4> extents = {c.batch, c.heads, c.tokens, c.keys};
    for (std::size_t i = 0; i < 4; ++i) extents[i] = axes_[i] ? extents[i] : 1;
    if (kind_ == MaskKind::kNone) return;
    const auto draw = [&] {
      return m.random.below(4) == 0 ? -kInf : m.random.value<float>(Values::kModerate);
    };
    if (kind_ == MaskKind::kF32) {
      const Tensor<float, 4> t(m.mask, m.random, extents, c.order, c.edge);
      t.for_each([&](float& x) { x = draw(); });
      f32_ = t.view();
    } else if (kind_ == MaskKind::kF16) {
      const Tensor<f16, 4> t(m.mask, m.random, extents, c.order, c.edge);
      t.for_each([&](f16& x) { x = static_cast<f16>(draw()); });
      f16_ = t.view();
    } else {
      const Tensor<bool, 4> t(m.mask, m.random, extents, c.order, c.edge);
      t.for_each([&](bool& x) { x = draw() != -kInf; });
      bool_ = t.view();
    }
  }

  AttentionMask option() const {
    if (kind_ == MaskKind::kF32) return f32_;
    if (kind_ == MaskKind::kF16) return f16_;
    if (kind_ == MaskKind::kBool) return bool_;
    return {};
  }
  float operator()(index_t b, index_t h, index_t i, index_t j) const {
    b = axes_[0] ? b : 0, h = axes_[1] ? h : 0, i = axes_[2] ? i : 0, j = axes_[3] ? j : 0;
    if (kind_ == MaskKind::kF32) return f32_(b, h, i, j);
    if (kind_ == MaskKind::kF16) return static_cast<float>(f16_(b, h, i, j));
    if (kind_ == MaskKind::kBool) return bool_(b, h, i, j) ? 0.0f : -kInf;
    return 0;
  }

 private:
  MaskKind kind_;
  std::array<bool, 4> axes_;
  View<const float, 4> f32_;
  View<const f16, 4> f16_;
  View<const bool, 4> bool_;
};

// How far results and log_sums of moderate values (below 2^4) may be from the specification where there is no FMA: each step
// of a score rounds once more, the exponential of the error of two scores is that of a weight, and sums of weights
// round once for each key.
double error_bound(const Case& c, bool narrow) {
  constexpr double kUnit = 0x1p-23, kLargest = 16;
  const double dim = static_cast<double>(c.dim), keys = static_cast<double>(c.keys);
  const double scale = c.scale == 0 ? 1 / std::sqrt(dim) : static_cast<double>(c.scale);
  const double score = scale * dim * kLargest * kLargest + kLargest + (c.slopes ? keys : 0);
  const double of_score = (dim + 16) * kUnit * score;
  const double of_weights = std::exp(2 * of_score) - 1 + (keys + 16) * kUnit;
  return of_weights * kLargest + (narrow ? kLargest * 0x1p-7 : 0);
}

template <class Out>
bool is_near(Out got, Out want, double bound) {
  const auto x = static_cast<double>(static_cast<float>(got));
  const auto y = static_cast<double>(static_cast<float>(want));
  return x == y || std::abs(x - y) <= bound;
}

template <class T, class KV>
std::string run_case(Memories& m, const Case& c) {
  const Mask mask(m, c);
  std::vector<float> slopes, sinks;
  std::vector<std::int32_t> lengths;
  for (index_t h = 0; h < c.heads; ++h) {
    slopes.push_back(std::ldexp(1.0f, -static_cast<int>(h) - 1) * 1.1f);
    sinks.push_back(m.random.value<float>(Values::kModerate));
  }
  for (index_t b = 0; b < c.batch; ++b) {
    lengths.push_back(static_cast<std::int32_t>(m.random.below(c.keys + 1)));
  }
  Tensor<T, 4> q(m.q, m.random, {c.batch, c.heads, c.tokens, c.dim}, c.order, c.edge);
  Tensor<KV, 4> k(m.k, m.random, {c.batch, c.kv_heads, c.keys, c.dim}, c.order, c.edge);
  Tensor<KV, 4> v(m.v, m.random, {c.batch, c.kv_heads, c.keys, c.value_dim}, c.order, c.edge);
  Tensor<T, 4> out(m.out, m.random, {c.batch, c.heads, c.tokens, c.value_dim}, c.order, c.edge);
  Tensor<float, 3> log_sums(m.log_sums, m.random, {c.batch, c.heads, c.tokens}, Order::kApart,
                            c.edge);
  q.fill(m.random, c.values);
  k.fill(m.random, c.values);
  v.fill(m.random, c.values);
  AttentionOptions o{
      .scale = c.scale, .causal = c.causal, .window = c.window, .softcap = c.softcap};
  ref::AttentionTerms terms{
      .scale = c.scale, .causal = c.causal, .window = c.window, .softcap = c.softcap};
  if (c.slopes) terms.alibi_slopes = o.alibi_slopes = row_major(std::as_const(slopes), {c.heads});
  if (c.sinks) terms.sinks = o.sinks = row_major(std::as_const(sinks), {c.heads});
  if (c.lengths) terms.kv_lengths = o.kv_lengths = row_major(std::as_const(lengths), {c.batch});
  std::vector<T> expected = out.copy();
  std::vector<float> expected_sums = log_sums.copy();
  if (c.log_sums) {
    o.log_sums = log_sums.view();
    terms.log_sums = log_sums.view_of(expected_sums);
  }
  o.context = c.context;
  o.mask = mask.option();
  ref::attention(q.read_only(), k.read_only(), v.read_only(), out.view_of(expected), terms, mask);
  attention(q.read_only(), k.read_only(), v.read_only(), out.view(), o);
  const bool exact = has_fma(*c.context->target);
  const auto good = [&](auto got, auto want, const auto&) {
    return !exact && is_near(got, want, error_bound(c, sizeof(got) == 2));
  };
  std::string failure = out.difference(expected, good);
  if (failure.empty()) failure = log_sums.difference(expected_sums, good);
  return failure;
}

Case random_case(Random& random) {
  const auto maybe = [&](std::int64_t one_in) { return random.below(one_in) == 0; };
  Case c;
  c.batch = 1 + random.below(2);
  c.kv_heads = 1 + random.below(2);
  c.heads = c.kv_heads * (1 + random.below(3));
  c.tokens = 1 + (maybe(4) ? random.below(90) : random.below(9));
  c.keys = maybe(6) ? random.below(1200) : maybe(3) ? random.below(300) : random.below(70);
  if (maybe(4)) c.keys = c.tokens;
  c.dim = 1 + (maybe(8) ? random.below(100) : random.below(20));
  c.value_dim = maybe(2) ? c.dim : 1 + (maybe(8) ? random.below(100) : random.below(20));
  c.scale = maybe(3) ? 0.3f : 0;
  c.causal = maybe(2);
  c.window = maybe(4) ? 1 + random.below(c.keys + 3) : 0;
  c.softcap = maybe(6) ? 2.5f : 0;
  c.slopes = maybe(6);
  c.sinks = maybe(6);
  c.lengths = maybe(6);
  c.log_sums = maybe(3);
  c.mask = maybe(3) ? static_cast<MaskKind>(1 + random.below(3)) : MaskKind::kNone;
  for (bool& has : c.mask_axes) has = maybe(2);
  c.order = kOrders[static_cast<std::size_t>(random.below(4))];
  c.edge = maybe(2) ? Edge::kEnd : Edge::kStart;
  c.values = maybe(6) ? Values::kAnyBits : maybe(6) ? Values::kWide : Values::kModerate;
  return c;
}

template <class Q, class KV>
struct Types {
  using Query = Q;
  using Key = KV;
};

using F32 = Types<float, float>;
using F32F16 = Types<float, f16>;
using BF16 = Types<bf16, bf16>;
using F16F32 = Types<f16, float>;

TEMPLATE_TEST_CASE("attention has the bits of its specification", "[attention]", F32, F32F16, BF16,
                   F16F32) {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(30);
    for (int i = 0; i < 240; ++i) {
      Case c = random_case(m.random);
      c.context = &context;
      if (!has_fma(target)) c.values = Values::kModerate;
      context.gemm.tile = static_cast<int>(m.random.below(3)) - 1;
      context.caches = m.random.below(2) != 0 ? std::optional(small_caches()) : std::nullopt;
      if (sampler.skip()) continue;
      tally.add(run_case<typename TestType::Query, typename TestType::Key>(m, c),
                [&] { return describe(c); });
    }
  });
}

// About normal, of deviation `size`: exact sums of integers, so that no compiler fuses what makes them.
std::vector<float> normal_like(Random& random, index_t n, float size = 1) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& e : x) {
    std::int64_t sum = 0;
    for (int i = 0; i < 6; ++i) sum += random.below(2001) - 1000;
    e = static_cast<float>(sum) * (size / 1414);
  }
  return x;
}

// One problem [1, heads, tokens, dim], in which keys may be repeated and everything else varied.
struct Problem {
  index_t heads = 2, kv_heads = 1, tokens, keys, dim, value_dim;
  std::vector<float> q, k, v;

  Problem(Random& random, index_t t, index_t n, index_t d, index_t dv, float size = 1)
      : tokens(t),
        keys(n),
        dim(d),
        value_dim(dv),
        q(normal_like(random, heads * t * d, size)),
        k(normal_like(random, kv_heads * n * d, size)),
        v(normal_like(random, kv_heads * n * dv)) {}

  View<const float, 4> query() const { return row_major(q, {index_t{1}, heads, tokens, dim}); }
  View<const float, 4> key() const { return row_major(k, {index_t{1}, kv_heads, keys, dim}); }
  View<const float, 4> value() const {
    return row_major(v, {index_t{1}, kv_heads, keys, value_dim});
  }
  std::vector<float> room() const {
    return std::vector<float>(static_cast<std::size_t>(heads * tokens * value_dim), kNaN);
  }
  View<float, 4> view_of(std::vector<float>& out) const {
    return row_major(out, {index_t{1}, heads, tokens, value_dim});
  }
  std::vector<float> run(const AttentionOptions& o) const {
    std::vector<float> out = room();
    attention(query(), key(), value(), view_of(out), o);
    return out;
  }
};

// Some of the tokens of a view.
template <class T>
View<T, 4> tokens_of(View<T, 4> v, index_t first, index_t count) {
  v.data += first * v.strides[2];
  v.extents[2] = count;
  return v;
}

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                    [](float a, float b) { return same(a, b); });
}

TEST_CASE("queries of a sequence may come in any portions", "[attention]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    const index_t keys = reduced_effort() ? 280 : 1300;
    const Problem p(random, keys, keys, 5, 7);
    for (const index_t window : {0, 100}) {
      const AttentionOptions options{.causal = true, .window = window, .context = &context};
      const std::vector<float> all = p.run(options);
      std::vector<float> parts = p.room();
      for (index_t first = 0, count = 0; first < keys; first += count) {
        constexpr index_t kCounts[] = {1, 64, 1, 2, 300, 33};
        count = std::min(kCounts[first % 6], keys - first);
        attention(tokens_of(p.query(), first, count), tokens_of(p.key(), 0, first + count),
                  tokens_of(p.value(), 0, first + count), tokens_of(p.view_of(parts), first, count),
                  options);
      }
      CHECK(same_bits(all, parts));
    }
  });
}

TEST_CASE("attention does not depend on threads, tiles or caches", "[attention]") {
  for_each_target([](Target target) {
    Random random;
    StdThreads threads{3};
    Reversed reversed;
    const index_t keys = reduced_effort() ? 1100 : 3000;
    for (const index_t tokens : {1, 150}) {
      if (tokens > 1 && reduced_effort()) continue;
      const Problem p(random, tokens, keys, 8, 9);
      Context context;
      context.target = target;
      const AttentionOptions o{.causal = true, .context = &context};
      const std::vector<float> expected = p.run(o);
      for (const Executor& executor : {Executor(), Executor::from_function(3, threads),
                                       Executor::from_function(16, reversed)}) {
        for (int tile = -1; tile < tile_count<float>(target); ++tile) {
          context.executor = executor;
          context.gemm.tile = tile;
          context.caches = tile % 2 == 0 ? std::optional(small_caches()) : std::nullopt;
          CHECK(same_bits(p.run(o), expected));
        }
      }
    }
  });
}

TEST_CASE("masks, windows and lengths say the same", "[attention]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    const index_t tokens = 40, keys = 300;
    const Problem p(random, tokens, keys, 6, 6);
    const auto size = static_cast<std::size_t>(tokens * keys);
    std::vector<float> bias(size);
    const auto seen = std::make_unique<bool[]>(size);
    for (index_t i = 0; i < tokens; ++i) {
      for (index_t j = 0; j < keys; ++j) {
        const index_t position = keys - tokens + i;
        const bool visible = j <= position && position - j < 50;
        bias[static_cast<std::size_t>(i * keys + j)] = visible ? 0 : -kInf;
        seen[static_cast<std::size_t>(i * keys + j)] = visible;
      }
    }
    const std::vector<float> expected = p.run({.causal = true, .window = 50, .context = &context});
    CHECK(same_bits(
        p.run({.mask = row_major(std::as_const(bias), {index_t{1}, index_t{1}, tokens, keys}),
               .context = &context}),
        expected));
    const View<const bool, 4> mask =
        row_major(static_cast<const bool*>(seen.get()), {index_t{1}, index_t{1}, tokens, keys});
    CHECK(same_bits(p.run({.mask = mask, .context = &context}), expected));

    // A sequence of a cache is as long as it says.
    const index_t length = 270;
    const std::int32_t lengths[] = {static_cast<std::int32_t>(length)};
    const AttentionOptions cut{
        .causal = true, .kv_lengths = row_major(lengths, {1}), .context = &context};
    std::vector<float> out = p.room();
    attention(p.query(), tokens_of(p.key(), 0, length), tokens_of(p.value(), 0, length),
              p.view_of(out), {.causal = true, .context = &context});
    CHECK(same_bits(p.run(cut), out));
  });
}

// Of attention and of a plain loop in f32, each against f64.
TEST_CASE("the error of attention is that of a plain loop, or less", "[attention]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    struct Variant {
      index_t tokens, keys, dim;
      float size, softcap;
    };
    for (const Variant& x : {Variant{4, 1500, 16, 1, 0}, Variant{20, 400, 64, 1, 0},
                             Variant{20, 400, 64, 3, 0}, Variant{20, 300, 32, 2, 10}}) {
      if (reduced_effort() && x.tokens > 4) continue;
      const Problem p(random, x.tokens, x.keys, x.dim, 8, x.size);
      const std::vector<float> got = p.run({.softcap = x.softcap, .context = &context});
      std::vector<float> plain = p.room();
      std::vector<double> exact(got.size());
      const auto none = [](index_t, index_t, index_t, index_t) { return 0; };
      const ref::AttentionTerms terms{.softcap = static_cast<double>(x.softcap)};
      ref::plain_attention(p.query(), p.key(), p.value(), p.view_of(plain), terms, none);
      ref::plain_attention(p.query(), p.key(), p.value(),
                           row_major(exact, {index_t{1}, p.heads, p.tokens, p.value_dim}), terms,
                           none);
      double error = 0, plain_error = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        error = std::max(error, std::abs(static_cast<double>(got[i]) - exact[i]));
        plain_error = std::max(plain_error, std::abs(static_cast<double>(plain[i]) - exact[i]));
      }
      CHECK(error <= 2 * plain_error);
      CHECK(plain_error > 0);
    }
  });
}

TEST_CASE("keys that nobody sees may be anything", "[attention]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    for (const index_t tokens : {2, 70}) {
      const index_t keys = 90, seen = 60;
      Problem p(random, tokens, keys, 6, 20);
      std::vector<float> bias(static_cast<std::size_t>(keys));
      for (index_t j = seen; j < keys; ++j) bias[static_cast<std::size_t>(j)] = -kInf;
      const AttentionOptions o{
          .mask = row_major(std::as_const(bias), {index_t{1}, index_t{1}, index_t{1}, keys}),
          .context = &context};
      const std::vector<float> expected = p.run(o);
      for (const float x : {kNaN, kInf, -kInf}) {
        std::fill(p.k.begin() + seen * p.dim, p.k.end(), x);
        std::fill(p.v.begin() + seen * p.value_dim, p.v.end(), x);
        CHECK(same_bits(p.run(o), expected));
      }
      // An infinite value of a key that is seen is seen, in its column.
      p.v[static_cast<std::size_t>(3 * p.value_dim + 1)] = kInf;
      const std::vector<float> with = p.run(o);
      for (std::size_t i = 0; i < with.size(); ++i) {
        CHECK(same(with[i], i % 20 == 1 ? kInf : expected[i]));
      }
      // So is a NaN among the scores.
      p.k[0] = kNaN;
      for (const float y : p.run(o)) CHECK(y != y);
    }
  });
}

TEST_CASE("queries that see no key give zeros", "[attention]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    const Problem p(random, 5, 3, 4, 4);  // causal: the first two come before all keys
    std::vector<float> log_sums(10, kNaN);
    AttentionOptions o{
        .causal = true, .log_sums = row_major(log_sums, {1, 2, 5}), .context = &context};
    std::vector<float> out = p.run(o);
    for (index_t h = 0; h < 2; ++h) {
      for (index_t i = 0; i < 5; ++i) {
        CHECK((log_sums[static_cast<std::size_t>(h * 5 + i)] == -kInf) == (i < 2));
        const float first = out[static_cast<std::size_t>((h * 5 + i) * 4)];
        CHECK((i < 2 ? first == 0 && !std::signbit(first) : first != 0));
      }
    }
    // The first query that sees a key sees one: its value.
    CHECK(std::abs(out[2 * 4] - p.v[0]) <= 1e-6f * std::abs(p.v[0]));
    // A sink is a key without a value.
    const float sinks[] = {0, -kInf};
    o.sinks = row_major(sinks, {2});
    out = p.run(o);
    CHECK(out[0] == 0);
    CHECK(log_sums[0] == 0);
    CHECK(log_sums[5] == -kInf);
    // No keys at all.
    const Problem none(random, 2, 0, 4, 4);
    for (const float y : none.run({.context = &context})) CHECK(y == 0);
  });
}

// Sequences one after the other, keys dense or in pages, against attention() of each.
TEST_CASE("sequences of any lengths, and keys in pages, are attention of each", "[attention]") {
  for_each_target([](Target target) {
    Random random(3);
    Context context;
    context.target = target;
    StdThreads threads{2};
    constexpr index_t kHeads = 4, kKvHeads = 2, kDim = 10, kValueDim = 7, kSequences = 4;
    const index_t tokens[kSequences] = {3, 0, 70, 1};
    const index_t keys[kSequences] = {3, 5, 290, reduced_effort() ? 100 : 1500};
    std::vector<std::int32_t> q_starts = {0}, kv_starts = {0}, lengths;
    for (int s = 0; s < kSequences; ++s) {
      q_starts.push_back(q_starts.back() + static_cast<std::int32_t>(tokens[s]));
      kv_starts.push_back(kv_starts.back() + static_cast<std::int32_t>(keys[s]));
      lengths.push_back(static_cast<std::int32_t>(keys[s]));
    }
    const index_t all_tokens = q_starts.back(), all_keys = kv_starts.back();
    const std::vector<float> q = normal_like(random, all_tokens * kHeads * kDim);
    const std::vector<float> k = normal_like(random, all_keys * kKvHeads * kDim);
    const std::vector<float> v = normal_like(random, all_keys * kKvHeads * kValueDim);
    const auto vq = row_major(q, {all_tokens, kHeads, kDim});
    const auto vk = row_major(k, {all_keys, kKvHeads, kDim});
    const auto vv = row_major(v, {all_keys, kKvHeads, kValueDim});
    // [tokens, heads, dim] of one sequence as [1, heads, tokens, dim].
    const auto part = [](const auto& x, index_t first, index_t count) {
      using T = typename std::remove_cvref_t<decltype(x)>::Element;
      return View<T, 4>(x.data + first * x.stride(0), {1, x.extent(1), count, x.extent(2)},
                        {0, x.stride(1), x.stride(0), x.stride(2)});
    };
    const auto out_size = static_cast<std::size_t>(all_tokens * kHeads * kValueDim);
    const auto view_out = [&](std::vector<float>& out) {
      return row_major(out, {all_tokens, kHeads, kValueDim});
    };
    const AttentionOptions o{.causal = true, .window = 400, .context = &context};
    std::vector<float> expected(out_size, kNaN),
        sums(static_cast<std::size_t>(all_tokens * kHeads));
    for (index_t s = 0; s < kSequences; ++s) {
      const index_t i = q_starts[static_cast<std::size_t>(s)],
                    j = kv_starts[static_cast<std::size_t>(s)];
      attention(part(vq, i, tokens[s]), part(vk, j, keys[s]), part(vv, j, keys[s]),
                part(view_out(expected), i, tokens[s]), o);
    }

    const auto starts = row_major(std::as_const(q_starts), {kSequences + 1});
    for (const bool parallel : {false, true}) {
      context.executor = parallel ? Executor::from_function(2, threads) : Executor();
      std::vector<float> out(out_size, kNaN);
      AttentionOptions with_sums = o;
      with_sums.log_sums = row_major(sums, {index_t{1}, kHeads, all_tokens});
      attention_varlen(vq, vk, vv, starts, row_major(std::as_const(kv_starts), {kSequences + 1}),
                       view_out(out), with_sums);
      CHECK(same_bits(out, expected));
      for (const float x : sums) CHECK(std::isfinite(x));

      for (const index_t page : {1, 16, 300}) {
        // Pages in any order, those that nobody uses full of NaN.
        const index_t row = (1500 + page - 1) / page, pages = kSequences * row + 3;
        std::vector<std::int32_t> table(static_cast<std::size_t>(kSequences * row), -1);
        const auto size = static_cast<std::size_t>(pages * page * kKvHeads);
        std::vector<float> k_pages(size * kDim, kNaN), v_pages(size * kValueDim, kNaN);
        for (index_t s = 0; s < kSequences; ++s) {
          for (index_t t = 0; t < keys[s]; ++t) {
            const index_t number = (t / page * kSequences + s) * 7 % pages;
            table[static_cast<std::size_t>(s * row + t / page)] = static_cast<std::int32_t>(number);
            const index_t from = kv_starts[static_cast<std::size_t>(s)] + t;
            const index_t to = number * page + t % page;
            std::copy_n(&vk(from, 0, 0), kKvHeads * kDim,
                        &k_pages[static_cast<std::size_t>(to * kKvHeads * kDim)]);
            std::copy_n(&vv(from, 0, 0), kKvHeads * kValueDim,
                        &v_pages[static_cast<std::size_t>(to * kKvHeads * kValueDim)]);
          }
        }
        REQUIRE(std::gcd(pages, index_t{7}) == 1);  // no page is shared
        const View<const float, 4> kp(k_pages.data(), {pages, kKvHeads, page, kDim},
                                      {page * kKvHeads * kDim, kDim, kKvHeads * kDim, 1});
        const View<const float, 4> vp(
            v_pages.data(), {pages, kKvHeads, page, kValueDim},
            {page * kKvHeads * kValueDim, kValueDim, kKvHeads * kValueDim, 1});
        AttentionOptions paged = o;
        paged.kv_lengths = row_major(std::as_const(lengths), {kSequences});
        std::fill(out.begin(), out.end(), kNaN);
        const auto view_table = row_major(std::as_const(table), {kSequences, row});
        attention_varlen_paged(vq, kp, vp, starts, view_table, view_out(out), paged);
        CHECK(same_bits(out, expected));
        // The last sequence as a batch of one.
        std::fill(out.begin(), out.end(), kNaN);
        const index_t last = q_starts[3];
        paged.kv_lengths = row_major(lengths.data() + 3, {1});
        attention_paged(part(vq, last, 1), kp, vp,
                        row_major(table.data() + 3 * row, {index_t{1}, row}),
                        part(view_out(out), last, 1), paged);
        CHECK(std::equal(out.begin() + last * kHeads * kValueDim, out.end(),
                         expected.begin() + last * kHeads * kValueDim));
      }
    }
  });
}

TEST_CASE("keys and values in block formats are those that they stand for", "[attention]") {
  for_each_target([](Target target) {
    Random random(5);
    Context context;
    context.target = target;
    constexpr index_t kKeys = 300, kDim = 64, kValueDim = 96;
    for (const BlockFormat format :
         {BlockFormat::kQ8_0, BlockFormat::kQ4_0, BlockFormat::kQ5_1, BlockFormat::kMXFP8_E4M3}) {
      for (const index_t tokens : {1, 80}) {
        Problem p(random, tokens, kKeys, kDim, kValueDim);
        std::vector<std::byte> kb(static_cast<std::size_t>(row_bytes(format, kDim) * kKeys));
        std::vector<std::byte> vb(static_cast<std::size_t>(row_bytes(format, kValueDim) * kKeys));
        const auto there_and_back = [&](std::vector<float>& x, std::vector<std::byte>& blocks) {
          const BlockFormatInfo f = info(format);
          for (std::size_t i = 0; i * static_cast<std::size_t>(f.block) < x.size(); ++i) {
            float* const values = x.data() + i * static_cast<std::size_t>(f.block);
            std::byte* const block = blocks.data() + i * static_cast<std::size_t>(f.bytes);
            ref::quantize_block(format, values, block);
            ref::dequantize_block(format, block, values);
          }
        };
        there_and_back(p.k, kb);
        there_and_back(p.v, vb);
        const AttentionOptions o{.causal = true, .context = &context};
        const std::vector<float> expected = p.run(o);
        std::vector<float> out = p.room();
        attention(p.query(), block_cache(std::as_const(kb).data(), format, {1, 1, kKeys, kDim}),
                  block_cache(std::as_const(vb).data(), format, {1, 1, kKeys, kValueDim}),
                  p.view_of(out), o);
        CHECK(same_bits(out, expected));
      }
    }
  });
}

TEST_CASE("a latent cache is keys and values at once", "[attention]") {
  Random random;
  // Absorbed MLA: values are the first elements of the keys; one head of them for all queries.
  Problem p(random, 3, 300, 36, 32);
  for (index_t j = 0; j < p.keys; ++j) {
    for (index_t c = 0; c < p.value_dim; ++c) {
      p.v[static_cast<std::size_t>(j * p.value_dim + c)] =
          p.k[static_cast<std::size_t>(j * p.dim + c)];
    }
  }
  const AttentionOptions o{.scale = 0.2f, .causal = true};
  View<const float, 4> latent = p.key();
  latent.extents[3] = p.value_dim;
  std::vector<float> out = p.room();
  attention(p.query(), p.key(), latent, p.view_of(out), o);
  CHECK(same_bits(out, p.run(o)));
}

TEST_CASE("layouts are views of the same numbers", "[attention]") {
  const int x[2 * 3 * 8 * 5] = {};
  const auto [q, k, v] = packed_qkv(x, 2, 3, 4, 2, 5);
  CHECK(q.extents == std::array<index_t, 4>{2, 4, 3, 5});
  CHECK(v.extents == std::array<index_t, 4>{2, 2, 3, 5});
  CHECK(&q(1, 3, 2, 4) - x == (1 * 3 + 2) * 40 + 3 * 5 + 4);
  CHECK(&k(0, 1, 2, 0) - x == 2 * 40 + (4 + 1) * 5);
  CHECK(&v(1, 1, 2, 4) - x == 2 * 3 * 40 - 1);
  const auto t = tokens_first(x, {2, 3, 8, 5});
  CHECK(t.extents == std::array<index_t, 4>{2, 8, 3, 5});
  CHECK(&t(1, 7, 2, 4) - x == 2 * 3 * 40 - 1);
  CHECK(&t(0, 0, 1, 0) - x == 40);
}

TEMPLATE_TEST_CASE("tokens are appended to caches", "[attention]", float, bf16, f16) {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    StdThreads threads{2};
    context.executor = Executor::from_function(2, threads);
    for (const Order order : kOrders) {
      constexpr index_t kBatch = 2, kHeads = 3, kTokens = 5, kCapacity = 12;
      for (const index_t dim : {1, 70, 300}) {
        Tensor<TestType, 4> x(m.q, m.random, {kBatch, kHeads, kTokens, dim}, order, Edge::kEnd);
        x.fill(m.random, Values::kAnyBits);
        const std::int32_t positions[] = {7, 0};
        const auto check = [&]<class U>(U) {
          Tensor<U, 4> cache(m.k, m.random, {kBatch, kHeads, kCapacity, dim}, order, Edge::kEnd);
          std::vector<U> expected = cache.copy();
          const View<U, 4> want = cache.view_of(expected);
          x.for_each_index([&](TestType e, const auto& i) {
            want(i[0], i[1], positions[i[0]] + i[2], i[3]) = static_cast<U>(static_cast<float>(e));
          });
          append_to_cache(x.read_only(), cache.view(), row_major(positions, {kBatch}),
                          {.context = &context});
          CHECK(cache.difference(expected) == "");
        };
        check(float{});
        check(bf16{});
        check(f16{});
      }
    }
  });
}

TEST_CASE("tokens are appended to pages and to blocks", "[attention]") {
  Random random;
  constexpr index_t kHeads = 2, kTokens = 7, kPage = 4, kPages = 5, kDim = 288;
  std::vector<float> x = normal_like(random, 2 * kHeads * kTokens * kDim);
  x[5] = kNaN;  // not for the kernels
  const auto vx = row_major(std::as_const(x), {index_t{2}, kHeads, kTokens, kDim});
  const std::int32_t positions[] = {1, 0}, table[] = {4, 0, 2, 3};
  const auto view_table = row_major(table, {2, 2});
  std::vector<float> pages(static_cast<std::size_t>(kPages * kHeads * kPage * kDim), 7);
  const auto vp = row_major(pages, {kPages, kHeads, kPage, kDim});
  append_to_pages(vx, vp, view_table, row_major(positions, {2}));
  bool good = true;
  for (index_t b = 0; b < 2; ++b) {
    for (index_t h = 0; h < kHeads; ++h) {
      for (index_t t = 0; t < 2 * kPage; ++t) {
        const index_t token = t - positions[b];
        for (index_t i = 0; i < kDim; ++i) {
          const float want = token < 0 || token >= kTokens ? 7 : vx(b, h, token, i);
          good = good && same(vp(table[b * 2 + t / kPage], h, t % kPage, i), want);
        }
      }
    }
  }
  for (index_t i = 0; i < kHeads * kPage * kDim; ++i) good = good && (&vp(1, 0, 0, 0))[i] == 7;
  CHECK(good);

  for (const BlockFormat format : {BlockFormat::kQ8_0, BlockFormat::kQ4_0, BlockFormat::kQ5_0}) {
    const auto bytes = static_cast<std::size_t>(2 * kHeads * kTokens * row_bytes(format, kDim));
    std::vector<std::byte> cache(bytes), want(bytes);
    const std::int32_t zeros[] = {0, 0};
    append_to_cache(vx, block_cache(cache.data(), format, {2, kHeads, kTokens, kDim}),
                    row_major(zeros, {2}));
    const BlockFormatInfo f = info(format);
    for (std::size_t i = 0; i * static_cast<std::size_t>(f.block) < x.size(); ++i) {
      ref::quantize_block(format, x.data() + i * static_cast<std::size_t>(f.block),
                          want.data() + i * static_cast<std::size_t>(f.bytes));
    }
    CHECK(cache == want);
  }

  const auto error = [&](const auto& from, const auto& to, View<const std::int32_t, 1> first) {
    return error_of([&] { append_to_cache(from, to, first); });
  };
  const std::vector<float> before = pages;
  const std::int32_t late[] = {0, 1}, early[] = {0, -1};
  const auto cache = row_major(pages, {index_t{2}, kHeads, kTokens, kDim});
  CHECK(error(vx, cache, row_major(late, {2})) ==
        "append_to_cache: positions: expected room for 7 of 7 tokens, got position 1");
  CHECK(error(vx, cache, row_major(early, {2})) ==
        "append_to_cache: positions: expected room for 7 of 7 tokens, got position -1");
  CHECK(error(vx, cache, row_major(late, {1})) ==
        "append_to_cache: positions: expected 2 elements, one for each sequence, got 1");
  CHECK(
      error(vx, row_major(pages, {index_t{2}, kHeads, kTokens, kDim - 1}), row_major(late, {2})) ==
      "append_to_cache: cache: expected 288 elements per row (those of x), got 287");
  CHECK(error(vx, row_major(pages, {index_t{1}, kHeads, kTokens, kDim}), row_major(late, {2})) ==
        "append_to_cache: cache: expected 2 sequences (those of x), got 1");
  CHECK(error(cache, cache, row_major(positions, {2})).find("room") != std::string::npos);
  const std::int32_t zeros[] = {0, 0};
  CHECK(error(cache, cache, row_major(zeros, {2})) ==
        "append_to_cache: cache: expected memory that does not overlap x, got an overlapping view");
  const std::int32_t none[] = {4, 5, 2, 3};
  CHECK(error_of([&] {
          append_to_pages(vx, vp, row_major(none, {2, 2}), row_major(zeros, {2}));
        }) == "append_to_pages: block_table: expected pages from 0 to 4, got 5");
  CHECK(same_bits(pages, before));
}

TEST_CASE("attention gives the same bits everywhere", "[attention][reproducibility]") {
  for_each_target([](Target target) {
    Random random(7);
    Context context;
    context.target = target;
    Digest digest;
    const Problem p(random, 3, 1100, 33, 17);
    const float slopes[] = {0.5f, 0.25f}, sinks[] = {0.3f, -1};
    std::vector<float> log_sums(6);
    for (const AttentionOptions& o :
         {AttentionOptions{.log_sums = row_major(log_sums, {1, 2, 3}), .context = &context},
          AttentionOptions{.causal = true, .window = 700, .softcap = 3, .context = &context},
          AttentionOptions{.alibi_slopes = row_major(slopes, {2}),
                           .sinks = row_major(sinks, {2}),
                           .context = &context}}) {
      for (const float x : p.run(o)) digest.add(x);
    }
    for (const float x : log_sums) digest.add(x);
    append_digest("attention", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == 0x9b8623a40eff9b84);
  });
}

TEST_CASE("attention refuses wrong arguments and writes nothing", "[attention]") {
  std::vector<float> q(2 * 4 * 3 * 8), k(2 * 2 * 5 * 8), v(2 * 2 * 5 * 6), out(2 * 4 * 3 * 6, 7.0f);
  const auto vq = row_major(q, {2, 4, 3, 8}), vk = row_major(k, {2, 2, 5, 8});
  const auto vv = row_major(v, {2, 2, 5, 6}), vo = row_major(out, {2, 4, 3, 6});
  const auto error = [&](const auto& a, const auto& b, const auto& c, const auto& d,
                         const AttentionOptions& o = {}) {
    return error_of([&] { attention(a, b, c, d, o); });
  };
  const auto with = [&](const AttentionOptions& o) { return error(vq, vk, vv, vo, o); };
  CHECK(error(vq, row_major(k, {1, 2, 5, 8}), vv, vo) ==
        "attention: k: expected 2 sequences (the batch of q), got 1");
  CHECK(error(vq, row_major(k, {2, 2, 5, 7}), vv, vo) ==
        "attention: k: expected 8 elements per row (the dim of q), got 7");
  CHECK(error(row_major(q, {2, 3, 4, 8}), vk, vv, vo) ==
        "attention: k: expected kv_heads that divide the 3 heads of q, got 2");
  CHECK(error(vq, vk, row_major(v, {2, 1, 5, 6}), vo) ==
        "attention: v: expected 2 heads (those of k), got 1");
  CHECK(error(vq, vk, row_major(v, {2, 2, 4, 6}), vo) ==
        "attention: v: expected 5 tokens (those of k), got 4");
  CHECK(error(vq, vk, vv, row_major(out, {2, 4, 3, 5})) ==
        "attention: out: expected 6 elements per row (the dim of v), got 5");
  CHECK(error(vq, vk, vv, row_major(out, {2, 4, 2, 6})) ==
        "attention: out: expected 3 tokens (those of q), got 2");
  CHECK(error(row_major(q, {2, 4, 3, 0}), row_major(k, {2, 2, 5, 0}), vv, vo) ==
        "attention: q: expected a dim of at least 1, got 0");
  CHECK(error(row_major(static_cast<float*>(nullptr), {2, 4, 3, 8}), vk, vv, vo) ==
        "attention: q: expected data for extents {2, 4, 3, 8}, got a null pointer");
  CHECK(
      error(vq, vk, vv, strided(out.data(), {2, 4, 3, 6}, {72, 18, 0, 1})) ==
      "attention: out: expected strides that visit each element once, each beyond the reach of the "
      "smaller, got extents {2, 4, 3, 6}, strides {72, 18, 0, 1}");
  CHECK(error(vq, vk, vv, row_major(q, {2, 4, 3, 6})) ==
        "attention: out: expected memory that does not overlap q, got an overlapping view");
  CHECK(with({.scale = -1}) ==
        "attention: options.scale: expected a finite number of at least 0, got -1.000000");
  CHECK(with({.softcap = kNaN}).find("options.softcap: expected a finite number of at least 0") !=
        std::string::npos);
  CHECK(with({.window = -1}) == "attention: options.window: expected at least 0, got -1");
  const float three[3] = {};
  CHECK(with({.alibi_slopes = row_major(three, {3})}) ==
        "attention: options.alibi_slopes: expected 4 elements, one for each head, got 3");
  CHECK(with({.sinks = row_major(three, {3})}) ==
        "attention: options.sinks: expected 4 elements, one for each head, got 3");
  const std::int32_t lengths[] = {5, 6};
  CHECK(with({.kv_lengths = row_major(lengths, {2})}) ==
        "attention: options.kv_lengths: expected lengths from 0 to the 5 tokens of k, got 6");
  CHECK(with({.mask = row_major(std::as_const(q), {1, 1, 3, 4})}) ==
        "attention: options.mask: expected extents {2, 4, 3, 5}, each as it is or 1, got {1, 1, 3, "
        "4}");
  std::vector<float> sums(24, 7.0f);
  CHECK(with({.log_sums = row_major(sums, {2, 3, 4})}) ==
        "attention: options.log_sums: expected extents {2, 4, 3}, those of q, got {2, 3, 4}");
  CHECK(with({.log_sums = row_major(out, {2, 4, 3})}) ==
        "attention: out: expected memory that does not overlap options.log_sums, got an "
        "overlapping view");
  for (const float x : out) CHECK(x == 7);
  for (const float x : sums) CHECK(x == 7);

  // Sequences and pages.
  const auto q3 = row_major(q, {24, 1, 8}), k3 = row_major(k, {20, 1, 8});
  const auto v3 = row_major(v, {20, 1, 6}), o3 = row_major(out, {24, 1, 6});
  const auto varlen = [&](const std::vector<std::int32_t>& qs, const std::vector<std::int32_t>& ks,
                          const AttentionOptions& o = {}) {
    return error_of([&] {
      attention_varlen(q3, k3, v3, row_major(qs, {qs.size()}), row_major(ks, {ks.size()}), o3, o);
    });
  };
  CHECK(varlen({0, 5, 25}, {0, 5, 20}) ==
        "attention_varlen: q_starts: expected starts that never fall, up to the 24 tokens, got 25 "
        "after 5");
  CHECK(varlen({1, 5, 6}, {0, 5, 20}) == "attention_varlen: q_starts: expected 0 first, got 1");
  CHECK(varlen({0, 5, 6}, {0, 5, 4}) ==
        "attention_varlen: kv_starts: expected starts that never fall, up to the 20 tokens, got 4 "
        "after 5");
  CHECK(varlen({0, 5, 6}, {0, 5}) ==
        "attention_varlen: kv_starts: expected one more element than there are sequences, got 2");
  CHECK(varlen({}, {}).find("attention_varlen: q_starts: expected") != std::string::npos);
  CHECK(varlen({0, 5, 6}, {0, 5, 6}, {.kv_lengths = row_major(lengths, {2})}) ==
        "attention_varlen: options.kv_lengths: expected none beside kv_starts, got lengths");
  const auto paged = [&](std::vector<std::int32_t> table, const AttentionOptions& o) {
    return error_of([&] {
      attention_paged(vq, row_major(k, {4, 2, 5, 4}), row_major(v, {4, 2, 5, 3}),
                      row_major(std::as_const(table), {std::size_t{2}, table.size() / 2}), vo, o);
    });
  };
  CHECK(paged({0, 1, 2, 3}, {}) ==
        "attention_paged: k: expected 8 elements per row (the dim of q), got 4");
  const auto pages = [&](std::vector<std::int32_t> table, index_t rows, const AttentionOptions& o) {
    return error_of([&] {
      attention_paged(
          vq, row_major(k, {2, 2, 5, 8}), row_major(v, {2, 2, 5, 6}),
          row_major(std::as_const(table), {rows, static_cast<index_t>(table.size()) / rows}), vo,
          o);
    });
  };
  CHECK(pages({0, 1}, 2, {}) ==
        "attention_paged: options.kv_lengths: expected the lengths of the sequences, got none");
  CHECK(pages({0, 1, 0}, 3, {}) ==
        "attention_paged: block_table: expected 2 rows, one for each sequence, got 3");
  const std::int32_t five[] = {5, 1};
  CHECK(pages({0, 2}, 2, {.kv_lengths = row_major(five, {2})}) ==
        "attention_paged: block_table: expected pages from 0 to 1, got 2");
  CHECK(pages({0, 1}, 2, {.kv_lengths = row_major(lengths, {2})}) ==
        "attention_paged: options.kv_lengths: expected lengths from 0 to the 5 tokens of k, got 6");
  CHECK(error_of([&] {
          attention_paged(vq, row_major(k, {2, 2, 5, 8}), row_major(v, {2, 2, 5, 6}),
                          View<const std::int32_t, 2>(nullptr, {2, 0}, {0, 1}), vo,
                          {.kv_lengths = row_major(five, {2})});
        }) ==
        "attention_paged: options.kv_lengths: expected lengths from 0 to the 0 tokens of k, got 5");
  const std::vector<std::byte> blocks(1000);
  CHECK(error(vq, block_cache(blocks.data(), BlockFormat::kQ8_0, {2, 2, 5, 32}), vv, vo) ==
        "attention: k: expected 8 elements per row (the dim of q), got 32");
  CHECK(error(vq, ConstBlockCacheView{blocks.data(), BlockFormat::kQ8_0, {2, 2, 5, 8}, {80, 40, 8}},
              vv, vo) == "attention: k: expected rows of whole blocks of 32, got 8 elements");
  for (const float x : out) CHECK(x == 7);

  // Scratch that is too small, and work that there is none of.
  std::byte few[64];
  Context context;
  context.scratch = Scratch(few);
  CHECK(with({.context = &context}).find("context.scratch") != std::string::npos);
  for (const float x : out) CHECK(x == 7);
  CHECK(error(row_major(q, {2, 4, 0, 8}), vk, vv, row_major(out, {2, 4, 0, 6})) == "no error");
}

}  // namespace tessera::test::attention_test
