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
#include <string>
#include <type_traits>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/attention.h"
#include "testing.h"

namespace tessera::test {
namespace {

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

// Masks of one type, with what they add to scores.
template <class T>
float mask_value(T x) {
  if constexpr (std::is_same_v<T, bool>) {
    return x ? 0.0f : -kInf;
  } else {
    return static_cast<float>(x);
  }
}

// What a plain loop in f32 makes of moderate values is the yardstick where there is no FMA.
template <class Out>
bool is_near(Out got, Out want, double scale) {
  const auto x = static_cast<double>(static_cast<float>(got));
  const auto y = static_cast<double>(static_cast<float>(want));
  return std::abs(x - y) <= scale;
}

template <class T, class KV, class M>
std::string run_masked(Memories& m, const Case& c, const Tensor<M, 4>* mask) {
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
  if (mask != nullptr) o.mask = mask->read_only();
  ref::attention(
      q.read_only(), k.read_only(), v.read_only(), out.view_of(expected), terms,
      [&](index_t b, index_t h, index_t i, index_t j) {
        if (mask == nullptr) return 0.0f;
        const auto& a = c.mask_axes;
        return mask_value(mask->view()(a[0] ? b : 0, a[1] ? h : 0, a[2] ? i : 0, a[3] ? j : 0));
      });
  attention(q.read_only(), k.read_only(), v.read_only(), out.view(), o);
  const bool exact = has_fma(*c.context->target);
  const auto good = [&](auto got, auto want, const auto&) {
    return !exact && c.values == Values::kModerate && is_near(got, want, 0.05);
  };
  std::string failure = out.difference(expected, good);
  if (failure.empty()) failure = log_sums.difference(expected_sums, good);
  return failure;
}

template <class T, class KV>
std::string run_case(Memories& m, const Case& c) {
  const auto with = [&]<class M>(M) {
    std::array<index_t, 4> extents = {c.batch, c.heads, c.tokens, c.keys};
    for (std::size_t i = 0; i < 4; ++i) extents[i] = c.mask_axes[i] ? extents[i] : 1;
    Tensor<M, 4> mask(m.mask, m.random, extents, c.order, c.edge);
    mask.for_each([&](M& element) {
      const bool out = m.random.below(4) == 0;
      if constexpr (std::is_same_v<M, bool>) {
        element = !out;
      } else {
        element = static_cast<M>(out ? -kInf : m.random.value<float>(Values::kModerate));
      }
    });
    return run_masked<T, KV>(m, c, &mask);
  };
  if (c.mask == MaskKind::kF32) return with(float{});
  if (c.mask == MaskKind::kF16) return with(f16{});
  if (c.mask == MaskKind::kBool) return with(bool{});
  return run_masked<T, KV, float>(m, c, nullptr);
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
    Sampler sampler(24);
    for (int i = 0; i < 300; ++i) {
      Case c = random_case(m.random);
      c.context = &context;
      context.gemm.tile = static_cast<int>(m.random.below(3)) - 1;
      context.caches = m.random.below(2) != 0 ? std::optional(small_caches()) : std::nullopt;
      if (sampler.skip()) continue;
      tally.add(run_case<typename TestType::Query, typename TestType::Key>(m, c),
                [&] { return describe(c); });
    }
  });
}

}  // namespace
}  // namespace tessera::test
