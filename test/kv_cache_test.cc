// SPDX-License-Identifier: Apache-2.0
// Caches of keys and values: codes of one byte with scales, keys that are turned on their way in, and pages that sequences
// take, share and give back, in any order, against sequences that have their tokens in one piece.

#include <algorithm>
#include <array>
#include <bit>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/kv_cache.h"
#include "tessera/core/minifloat.h"
#include "tessera/ops/append_to_cache.h"
#include "tessera/ops/attention.h"
#include "tessera/ops/rope.h"
#include "tessera/ref/attention.h"
#include "testing.h"

namespace tessera::test::kv_cache_test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class T>
T code_from(std::uint8_t bits) {
  if constexpr (std::is_same_v<T, std::int8_t>) {
    return static_cast<std::int8_t>(bits);
  } else {
    return T::from_bits(bits);
  }
}
// The definition: what a cache makes of a quotient.
template <class T>
T code_of(float x) {
  if constexpr (std::is_same_v<T, std::int8_t>) {
    if (x != x) return 0;
    return static_cast<std::int8_t>(std::nearbyint(std::clamp(x, -128.0f, 127.0f)));
  } else {
    return static_cast<T>(x);
  }
}
template <class T>
std::uint8_t bits_of(T x) {
  return std::bit_cast<std::uint8_t>(x);
}

// As f32, in the same order.
template <class T>
std::vector<float> values_of(const Tensor<T, 4>& codes) {
  std::vector<float> values;
  codes.for_each([&](T& x) { values.push_back(static_cast<float>(x)); });
  return values;
}

TEMPLATE_TEST_CASE("attention of codes has the bits of its specification", "[kv_cache]", fp8_e4m3,
                   fp8_e5m2, std::int8_t) {
  for_each_target([](Target target) {
    GuardedMemory qm, km, vm, om;
    Random random;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(12);
    for (int i = 0; i < 40; ++i) {
      const index_t kv_heads = 1 + random.below(2), heads = kv_heads * (1 + random.below(2));
      const index_t tokens = random.below(4) == 0 ? 70 : 1 + random.below(3);
      const index_t keys = 1 + random.below(random.below(3) == 0 ? 600 : 60);
      const index_t dim = 1 + random.below(40), value_dim = 1 + random.below(70);
      const Order order = kOrders[static_cast<std::size_t>(random.below(4))];
      const Edge edge = random_edge(random);
      Tensor<float, 4> q(qm, random, {1, heads, tokens, dim}, order, edge);
      Tensor<TestType, 4> k(km, random, {1, kv_heads, keys, dim}, order, edge);
      Tensor<TestType, 4> v(vm, random, {1, kv_heads, keys, value_dim}, order, edge);
      Tensor<float, 4> out(om, random, {1, heads, tokens, value_dim}, order, edge);
      const bool any = random.below(4) == 0;  // NaN and infinities too
      q.fill(random, Values::kModerate);
      const auto fill = [&](const Tensor<TestType, 4>& t) {
        t.for_each([&](TestType& x) {
          do x = code_from<TestType>(static_cast<std::uint8_t>(random.next()));
          while (!any && !std::isfinite(static_cast<float>(x)));
        });
      };
      fill(k);
      fill(v);
      const float scales[] = {0.013f, 0.3f, 7};
      const auto scales_of = [&]() -> View<const float, 1> {
        const index_t n = random.below(3) == 0 ? 1 : kv_heads;
        return random.below(4) == 0 ? View<const float, 1>()
                                    : row_major(&scales[random.below(2)], {n});
      };
      const View<const float, 1> k_scales = scales_of(), v_scales = scales_of();
      const bool causal = random.below(2) != 0;
      const float softcap = random.below(4) == 0 ? 2.5f : 0;
      context.caches = random.below(2) != 0 ? std::optional(small_caches()) : std::nullopt;
      const AttentionOptions options{.causal = causal,
                                     .softcap = softcap,
                                     .k_scales = k_scales,
                                     .v_scales = v_scales,
                                     .context = &context};
      if (sampler.skip()) continue;

      // Codes are numbers: the same as f32 give the same bits, on every target.
      std::vector<float> expected = out.copy();
      const std::vector<float> kf = values_of(k), vf = values_of(v);
      const auto kv = row_major(kf, {index_t{1}, kv_heads, keys, dim});
      const auto vv = row_major(vf, {index_t{1}, kv_heads, keys, value_dim});
      attention(q.read_only(), kv, vv, out.view_of(expected), options);
      attention(q.read_only(), k.read_only(), v.read_only(), out.view(), options);
      const auto describe = [&] {
        return std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads, " +
               std::to_string(tokens) + " of " + std::to_string(keys) + " tokens, dims " +
               std::to_string(dim) + ", " + std::to_string(value_dim);
      };
      tally.add(out.difference(expected), describe);
      if (!has_fma(target)) continue;
      ref::attention(
          q.read_only(), k.read_only(), v.read_only(), out.view_of(expected),
          {.causal = causal, .softcap = softcap, .k_scales = k_scales, .v_scales = v_scales});
      tally.add(out.difference(expected), describe);
    }
  });
}

TEST_CASE("scales of keys and values are what they say", "[kv_cache]") {
  // By powers of two: the bits of scaled keys, and scaled results.
  Random random;
  std::vector<float> q(4 * 3 * 8), k(2 * 20 * 8), v(2 * 20 * 8), out(4 * 3 * 8), want(out);
  for (auto* x : {&q, &k, &v}) {
    for (float& e : *x) e = random.value<float>(Values::kModerate);
  }
  const auto run = [&](std::vector<float>& to, const AttentionOptions& o) {
    attention(row_major(std::as_const(q), {1, 4, 3, 8}), row_major(std::as_const(k), {1, 2, 20, 8}),
              row_major(std::as_const(v), {1, 2, 20, 8}), row_major(to, {1, 4, 3, 8}), o);
  };
  const float halves[] = {0.5f}, each[] = {4, 0.25f};
  run(out, {.scale = 1, .k_scales = row_major(halves, {1}), .v_scales = row_major(each, {2})});
  run(want, {.scale = 0.5f});
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == want[i] * each[i / (2 * 3 * 8)]);
}

TEST_CASE("attention of codes gives the same bits everywhere", "[kv_cache][reproducibility]") {
  for_each_target([](Target target) {
    Random random(11);
    Context context;
    context.target = target;
    Digest digest;
    const auto run = [&]<class T>(T) {
      std::vector<float> q(4 * 2 * 24), out(4 * 2 * 24);
      std::vector<T> k(2 * 300 * 24), v(2 * 300 * 24);
      for (float& x : q) x = random.value<float>(Values::kModerate);
      for (auto* codes : {&k, &v}) {
        for (T& x : *codes) {
          do x = code_from<T>(static_cast<std::uint8_t>(random.next()));
          while (!std::isfinite(static_cast<float>(x)));
        }
      }
      const float k_scales[] = {0.01f, 0.02f}, v_scales[] = {0.3f};
      attention(row_major(q, {1, 4, 2, 24}), row_major(k, {1, 2, 300, 24}),
                row_major(v, {1, 2, 300, 24}), row_major(out, {1, 4, 2, 24}),
                {.k_scales = row_major(k_scales, {2}),
                 .v_scales = row_major(v_scales, {1}),
                 .context = &context});
      for (const float x : out) digest.add(x);
    };
    run(fp8_e4m3{});
    run(fp8_e5m2{});
    run(std::int8_t{});
    append_digest("kv_cache", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == 0xa1d9e8bc40de27ee);
  });
}

TEMPLATE_TEST_CASE("tokens are appended as codes", "[kv_cache]", fp8_e4m3, fp8_e5m2, std::int8_t) {
  GuardedMemory xm, cm;
  Random random;
  StdThreads threads{2};
  Context context;
  context.executor = Executor::from_function(2, threads);
  for (const Order order : kOrders) {
    constexpr index_t kHeads = 3, kTokens = 5, kCapacity = 7, kDim = 70;
    Tensor<float, 4> x(xm, random, {2, kHeads, kTokens, kDim}, order, Edge::kEnd);
    Tensor<TestType, 4> cache(cm, random, {2, kHeads, kCapacity, kDim}, order, Edge::kEnd);
    x.for_each([&](float& e) {
      const float special[] = {kNaN, kInf, -kInf, 500, -126.5f, 0.5f, 0.0f, -0.0f};
      e = random.below(8) == 0 ? special[random.below(8)]
                               : random.value<float>(Values::kModerate) * 20;
    });
    const float scales[] = {0.5f, 0.3f, 1};
    for (const index_t count : {0, 1, 3}) {
      std::vector<TestType> expected = cache.copy();
      const View<TestType, 4> want = cache.view_of(expected);
      const std::int32_t positions[] = {2, 0};
      x.for_each_index([&](float e, const auto& i) {
        const float scale = count == 0 ? 1 : scales[count == 1 ? 0 : i[1]];
        want(i[0], i[1], positions[i[0]] + i[2], i[3]) = code_of<TestType>(e / scale);
      });
      const View<const float, 1> given =
          count == 0 ? View<const float, 1>() : row_major(scales, {count});
      append_to_cache(x.read_only(), cache.view(), row_major(positions, {2}),
                      {.scales = given, .context = &context});
      const std::vector<TestType> got = cache.copy();
      CHECK(cm.margin_intact());
      CHECK(std::equal(got.begin(), got.end(), expected.begin(),
                       [](TestType a, TestType b) { return bits_of(a) == bits_of(b); }));
    }
  }
}

// The same as rope() to f32, then the cache.
TEST_CASE("keys are turned on their way into the cache", "[kv_cache]") {
  for_each_target([](Target target) {
    GuardedMemory xm, cm;
    Random random;
    Context context;
    context.target = target;
    constexpr index_t kHeads = 2, kTokens = 4, kCapacity = 9, kRows = 20;
    for (const Order order : kOrders) {
      for (const index_t dim : {64, 96}) {
        const index_t pairs = dim == 64 ? 32 : 20;
        std::vector<float> cos(static_cast<std::size_t>(kRows * pairs)), sin(cos);
        for (auto* table : {&cos, &sin}) {
          for (float& e : *table) e = random.value<float>(Values::kModerate);
        }
        const auto vc = row_major(std::as_const(cos), {kRows, pairs});
        const auto vs = row_major(std::as_const(sin), {kRows, pairs});
        Tensor<f16, 4> x(xm, random, {2, kHeads, kTokens, dim}, order, Edge::kEnd);
        x.fill(random, Values::kModerate);
        const std::int32_t positions[] = {5, 0};
        const bool interleaved = random.below(2) != 0, moved = random.below(2) != 0;
        std::vector<std::int32_t> rope_positions;
        for (index_t i = 0; i < 2 * kTokens; ++i) {
          rope_positions.push_back(static_cast<std::int32_t>(
              moved ? random.below(kRows) : positions[i / kTokens] + i % kTokens));
        }
        const auto at = row_major(std::as_const(rope_positions), {index_t{2}, kTokens});
        AppendOptions options{
            .cos = vc, .sin = vs, .interleaved = interleaved, .context = &context};
        if (moved) options.rope_positions = at;

        std::vector<float> turned(static_cast<std::size_t>(2 * kHeads * kTokens * dim));
        const auto heads_second = [](auto view) {
          std::swap(view.extents[1], view.extents[2]);
          std::swap(view.strides[1], view.strides[2]);
          return view;
        };
        const auto vt = row_major(turned, {index_t{2}, kHeads, kTokens, dim});
        rope(heads_second(x.read_only()), vc, vs, heads_second(vt),
             {.interleaved = interleaved, .positions = at, .context = &context});
        const auto check = [&]<class T>(T) {
          const Tensor<T, 4> cache(cm, random, {2, kHeads, kCapacity, dim}, order, Edge::kEnd);
          const auto bytes_after = [&](const auto& from, const AppendOptions& o) {
            cache.for_each([](T& e) { e = T{}; });
            append_to_cache(from, cache.view(), row_major(positions, {2}), o);
            const std::vector<T> all = cache.copy();
            const auto bytes = std::as_bytes(std::span(all));
            return std::vector(bytes.begin(), bytes.end());
          };
          CHECK(bytes_after(x.read_only(), options) == bytes_after(vt, {.context = &context}));
          CHECK(cm.margin_intact());
        };
        check(float{});
        check(f16{});
        check(fp8_e4m3{});
        const auto bytes =
            static_cast<std::size_t>(2 * kHeads * kTokens * row_bytes(BlockFormat::kQ8_0, dim));
        std::vector<std::byte> got(bytes), want(bytes);
        const auto blocks_of = [&](std::vector<std::byte>& to) {
          return block_cache(to.data(), BlockFormat::kQ8_0, {2, kHeads, kTokens, dim});
        };
        const std::int32_t zeros[] = {0, 0};
        options.rope_positions = at;
        append_to_cache(x.read_only(), blocks_of(got), row_major(zeros, {2}), options);
        append_to_cache(vt, blocks_of(want), row_major(zeros, {2}), {.context = &context});
        CHECK(got == want);
      }
    }
  });
}

// Sequences that append tokens, are forked, cut short and dropped, in pages that are shared until somebody writes to them,
// beside a model in which each has its rows for itself.
template <class T>
class PagedModel {
 public:
  static constexpr index_t kHeads = 2, kPage = 8, kPages = 24, kDim = 5, kMost = 6;

  PagedModel(Context& context, Random& random) : context_(context), random_(random) {
    for (auto* pages : {&k_, &v_}) {
      pages->assign(static_cast<std::size_t>(kPages * kPageSize), T(kNaN));  // read by nobody
    }
    users_.assign(static_cast<std::size_t>(kPages), 0);
  }

  // Does something; false if it could not.
  bool step() {
    const index_t what = random_.below(8);
    if (sequences_.empty() || what == 0) return add();
    const auto s = static_cast<std::size_t>(random_.below(size()));
    if (what == 1) return fork(s);
    if (what == 2) return drop(s);
    if (what == 3) return cut(s);
    return append(s, 1 + random_.below(2 * kPage));
  }

  // All sequences in one call, with a table of garbage behind their pages, beside each for itself.
  bool is_right() {
    const index_t batch = size(), columns = kPages;
    if (batch == 0) return true;
    std::vector<float> q(static_cast<std::size_t>(batch * 2 * kHeads * kDim)), got(q.size(), kNaN);
    for (float& x : q) x = random_.template value<float>(Values::kModerate);
    std::vector<std::int32_t> table, lengths;
    for (const Sequence& s : sequences_) {
      std::vector<std::int32_t> row = s.pages;
      row.resize(static_cast<std::size_t>(columns), -1);
      table.insert(table.end(), row.begin(), row.end());
      lengths.push_back(static_cast<std::int32_t>(s.length()));
    }
    attention_paged(
        row_major(std::as_const(q), {batch, 2 * kHeads, index_t{1}, kDim}),
        pages(std::as_const(k_)), pages(std::as_const(v_)),
        row_major(std::as_const(table), {batch, columns}),
        row_major(got, {batch, 2 * kHeads, index_t{1}, kDim}),
        {.kv_lengths = row_major(std::as_const(lengths), {batch}), .context = &context_});
    bool right = true;
    for (index_t b = 0; b < batch; ++b) {
      const Sequence& s = sequences_[static_cast<std::size_t>(b)];
      std::vector<float> want(static_cast<std::size_t>(2 * kHeads * kDim));
      const auto own = [&](const std::vector<T>& rows) {  // [tokens, heads, dim] in memory
        return View<const T, 4>(rows.data(), {1, kHeads, s.length(), kDim},
                                {0, kDim, kHeads * kDim, 1});
      };
      const float* const first = q.data() + b * 2 * kHeads * kDim;
      attention(row_major(first, {index_t{1}, 2 * kHeads, index_t{1}, kDim}), own(s.k), own(s.v),
                row_major(want, {index_t{1}, 2 * kHeads, index_t{1}, kDim}),
                {.context = &context_});
      right = right && std::equal(want.begin(), want.end(), got.begin() + b * 2 * kHeads * kDim,
                                  [](float x, float y) { return same(x, y); });
    }
    return right;
  }

  bool all_pages_are_accounted_for() const {
    std::vector<int> users(users_.size());
    for (const Sequence& s : sequences_) {
      for (const std::int32_t page : s.pages) ++users[static_cast<std::size_t>(page)];
    }
    return users == users_;
  }
  index_t forks() const { return forks_; }

 private:
  static constexpr index_t kPageSize = kHeads * kPage * kDim;

  struct Sequence {
    std::vector<std::int32_t> pages;
    std::vector<T> k, v;  // rows of the model
    index_t length() const { return static_cast<index_t>(k.size()) / (kHeads * kDim); }
  };

  index_t size() const { return static_cast<index_t>(sequences_.size()); }

  template <class U>
  static View<U, 4> pages(std::vector<U>& memory) {
    return row_major(memory.data(), {kPages, kHeads, kPage, kDim});
  }
  static View<const T, 4> pages(const std::vector<T>& memory) {
    return row_major(memory.data(), {kPages, kHeads, kPage, kDim});
  }

  std::int32_t take_page() {
    const auto free = std::find(users_.begin(), users_.end(), 0);
    if (free == users_.end()) return -1;
    *free = 1;
    return static_cast<std::int32_t>(free - users_.begin());
  }
  void give_page(std::int32_t page) {
    if (--users_[static_cast<std::size_t>(page)] > 0) return;
    for (auto* memory : {&k_, &v_}) {
      std::fill_n(memory->begin() + page * kPageSize, kPageSize, T(kNaN));
    }
  }

  bool add() {
    if (size() == kMost) return false;
    sequences_.emplace_back();
    return true;
  }
  bool fork(std::size_t from) {
    if (size() == kMost) return false;
    sequences_.push_back(Sequence(sequences_[from]));
    for (const std::int32_t page : sequences_.back().pages)
      ++users_[static_cast<std::size_t>(page)];
    ++forks_;
    return true;
  }
  bool drop(std::size_t at) {
    for (const std::int32_t page : sequences_[at].pages) give_page(page);
    sequences_.erase(sequences_.begin() + static_cast<std::ptrdiff_t>(at));
    return true;
  }
  bool cut(std::size_t at) {
    Sequence& s = sequences_[at];
    const index_t length = random_.below(s.length() + 1);
    while (static_cast<index_t>(s.pages.size()) > (length + kPage - 1) / kPage) {
      give_page(s.pages.back());
      s.pages.pop_back();
    }
    for (auto* rows : {&s.k, &s.v}) rows->resize(static_cast<std::size_t>(length * kHeads * kDim));
    return true;
  }
  bool append(std::size_t at, index_t tokens) {
    Sequence& s = sequences_[at];
    const index_t length = s.length();
    if (static_cast<index_t>(s.pages.size()) * kPage > length) {
      // Its last page may be that of others too.
      std::int32_t& last = s.pages.back();
      if (users_[static_cast<std::size_t>(last)] > 1) {
        const std::int32_t copy = take_page();
        if (copy < 0) return false;
        for (auto* memory : {&k_, &v_}) {
          std::copy_n(memory->begin() + last * kPageSize, kPageSize,
                      memory->begin() + copy * kPageSize);
        }
        give_page(last);
        last = copy;
      }
    }
    while (static_cast<index_t>(s.pages.size()) * kPage < length + tokens) {
      const std::int32_t page = take_page();
      if (page < 0) return false;  // those that it has are used later
      s.pages.push_back(page);
    }
    const auto position = static_cast<std::int32_t>(length);
    const auto put = [&](std::vector<T>& memory, std::vector<T>& rows) {
      std::vector<float> x(static_cast<std::size_t>(tokens * kHeads * kDim));
      for (float& e : x) {
        e = random_.template value<float>(Values::kModerate);
        rows.push_back(static_cast<T>(e));
      }
      const View<const float, 4> view(x.data(), {1, kHeads, tokens, kDim},
                                      {0, kDim, kHeads * kDim, 1});
      append_to_pages(view, pages(memory),
                      row_major(std::as_const(s.pages), {std::size_t{1}, s.pages.size()}),
                      row_major(&position, {1}), {.context = &context_});
    };
    put(k_, s.k);
    put(v_, s.v);
    return true;
  }

  Context& context_;
  Random& random_;
  std::vector<T> k_, v_;
  std::vector<int> users_;  // of each page
  std::vector<Sequence> sequences_;
  index_t forks_ = 0;
};

TEMPLATE_TEST_CASE("pages are taken, shared and given back in any order", "[kv_cache]", float,
                   fp8_e4m3) {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    PagedModel<TestType> model(context, random);
    int done = 0, wrong = 0;
    for (int i = 0; i < (reduced_effort() ? 60 : 300); ++i) {
      if (!model.step()) continue;
      ++done;
      if (i % 3 == 0 && !model.is_right()) ++wrong;
    }
    CHECK(wrong == 0);
    CHECK(done > 30);
    CHECK(model.forks() > 0);
    CHECK(model.all_pages_are_accounted_for());
  });
}

TEST_CASE("caches refuse wrong scales and angles and write nothing", "[kv_cache]") {
  std::vector<float> x(2 * 2 * 3 * 8), table(10 * 4), out(2 * 2 * 3 * 8, 7);
  std::vector<fp8_e4m3> cache(2 * 2 * 3 * 8, fp8_e4m3::from_bits(1));
  const auto vx = row_major(std::as_const(x), {2, 2, 3, 8});
  const auto vk = row_major(cache, {2, 2, 3, 8});
  const std::int32_t zeros[] = {0, 0};
  const auto angles = row_major(std::as_const(table), {10, 4});
  const auto error = [&](const AppendOptions& o) {
    return error_of([&] { append_to_cache(vx, vk, row_major(zeros, {2}), o); });
  };
  const float good[] = {1, 2, 3}, bad[] = {1, -2};
  CHECK(error({.scales = row_major(good, {3})}) ==
        "append_to_cache: options.scales: expected 1 element, or 2, one for each head of keys, got "
        "3");
  CHECK(error({.scales = row_major(bad, {2})}) ==
        "append_to_cache: options.scales: expected positive finite numbers, got -2.000000");
  CHECK(error({.cos = angles, .sin = row_major(std::as_const(table), {8, 4})}) ==
        "append_to_cache: options.sin: expected extents {10, 4}, those of cos, got {8, 4}");
  const auto wide = row_major(std::as_const(table), {8, 5});
  CHECK(error({.cos = wide, .sin = wide}) ==
        "append_to_cache: options.cos: expected at most 4 columns (half of the dim), got 5");
  const auto apart = strided(std::as_const(table).data(), {5, 4}, {8, 2});
  CHECK(error({.cos = apart, .sin = apart}) ==
        "append_to_cache: options.cos: expected rows of stride 1, got stride 2");
  const auto low = row_major(std::as_const(table), {2, 4});
  CHECK(error({.cos = low, .sin = low}) ==
        "append_to_cache: positions: expected positions below 2, the rows of cos, got 2");
  const std::int32_t six[] = {0, 1, 2, 10, 4, 5};
  CHECK(
      error({.cos = angles, .sin = angles, .rope_positions = row_major(six, {2, 3})}) ==
      "append_to_cache: options.rope_positions: expected positions below 10, the rows of cos, got "
      "10");
  CHECK(
      error({.cos = angles, .sin = angles, .rope_positions = row_major(six, {3, 2})}) ==
      "append_to_cache: options.rope_positions: expected extents {2, 3}, the batch and the tokens "
      "of x, got {3, 2}");
  const auto inside = row_major(reinterpret_cast<const float*>(cache.data()), {3, 4});
  CHECK(error({.cos = inside, .sin = inside}) ==
        "append_to_cache: cache: expected memory that does not overlap options.cos, got an "
        "overlapping view");
  for (const fp8_e4m3 code : cache) CHECK(code.bits == 1);

  const auto attend = [&](const AttentionOptions& o) {
    return error_of([&] { attention(vx, vk, vk, row_major(out, {2, 2, 3, 8}), o); });
  };
  CHECK(attend({.k_scales = row_major(good, {3})}) ==
        "attention: options.k_scales: expected 1 element, or 2, one for each head of keys, got 3");
  const float nan[] = {kNaN};
  CHECK(attend({.v_scales = row_major(nan, {1})})
            .find("attention: options.v_scales: expected positive") == 0);
  for (const float e : out) CHECK(e == 7);
}

}  // namespace tessera::test::kv_cache_test
