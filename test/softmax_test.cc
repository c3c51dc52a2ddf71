// SPDX-License-Identifier: Apache-2.0
// Softmax: bits of the specification over random rows, exact sums, masks, NaN and infinities, threads, errors.

#include "tessera/ops/softmax.h"

#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "past_the_caches.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/softmax.h"
#include "testing.h"

namespace tessera::test::softmax_test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  index_t rows = 1, cols = 1;
  bool log = false, in_place = false, lengths = false;
  float scale = 1;
  Order x = Order::kDense, y = Order::kDense;
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  index_t masked = 0;  // one in so many elements is -infinity
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  return std::to_string(c.rows) + " x " + std::to_string(c.cols) + " (" + describe(c.x) + " to " +
         (c.in_place ? "itself" : describe(c.y)) + ") scale " + std::to_string(c.scale) +
         (c.log ? ", log" : "") + (c.lengths ? ", lengths" : "");
}

struct Memories {
  GuardedMemory x, y;
  Random random;
};

template <class X, class Y>
void expect_rows(const Case& c, const View<const X, 2>& x, const View<Y, 2>& y, bool fused,
                 const std::vector<std::int32_t>& lengths) {
  for (index_t i = 0; i < c.rows; ++i) {
    const View<const X, 1> from(x.data + i * x.stride(0), {c.cols}, {x.stride(1)});
    const View<Y, 1> to(y.data + i * y.stride(0), {c.cols}, {y.stride(1)});
    const index_t n = lengths.empty() ? c.cols : lengths[static_cast<std::size_t>(i)];
    if (fused) {
      c.log ? ref::softmax_row<true, true>(from, to, c.scale, n)
            : ref::softmax_row<false, true>(from, to, c.scale, n);
    } else {
      c.log ? ref::softmax_row<true, false>(from, to, c.scale, n)
            : ref::softmax_row<false, false>(from, to, c.scale, n);
    }
  }
}

template <class X, class Y>
std::string run_case(Memories& m, const Case& c) {
  Tensor<X, 2> x(m.x, m.random, {c.rows, c.cols}, c.x, c.edge);
  x.for_each([&](X& element) {
    element = m.random.template value<X>(c.values);
    if (c.masked > 0 && m.random.below(c.masked) == 0) element = static_cast<X>(-kInf);
  });
  std::vector<std::int32_t> lengths;
  for (index_t i = 0; c.lengths && i < c.rows; ++i) {
    lengths.push_back(static_cast<std::int32_t>(m.random.below(c.cols + 1)));
  }
  const Target target = c.context->target.value();
  const SoftmaxOptions options{.scale = c.scale, .lengths = lengths, .context = c.context};
  const auto run = [&](const auto& from, const auto& to) {
    c.log ? log_softmax(from, to, options) : softmax(from, to, options);
  };
  if (c.in_place) {
    std::vector<X> before = x.copy(), expected = before;
    expect_rows<X, X>(c, x.view_of(before), x.view_of(expected), has_fma(target), lengths);
    run(x.read_only(), x.view());
    return x.difference(expected);
  }
  Tensor<Y, 2> y(m.y, m.random, {c.rows, c.cols}, c.y, c.edge);
  std::vector<Y> expected = y.copy();
  expect_rows<X, Y>(c, x.read_only(), y.view_of(expected), has_fma(target), lengths);
  run(x.read_only(), y.view());
  return y.difference(expected);
}

Case random_case(Random& random) {
  Case c;
  c.rows = 1 + random.below(4);
  c.cols = random.below(3) == 0 ? 1 + random.below(700) : 1 + random.below(100);
  c.log = random.below(2) != 0;
  c.in_place = random.below(3) == 0;
  c.lengths = random.below(4) == 0;
  c.scale = random.below(2) != 0 ? 1.0f : std::fabs(random.value<float>(Values::kModerate));
  c.x = kOrders[static_cast<std::size_t>(random.below(4))];
  c.y = kOrders[static_cast<std::size_t>(random.below(4))];
  c.edge = random_edge(random);
  c.values = random_values(random, 6, 3);
  c.masked = random.below(3) == 0 ? 1 + random.below(4) : 0;
  return c;
}

TEMPLATE_TEST_CASE("softmax has the bits of its specification", "[softmax]", float, bf16, f16) {
  for_random_cases<Memories>(600, 16, random_case, [](Memories& m, const Case& c, int i) {
    const int to = i % 4;
    return to == 0   ? run_case<TestType, bf16>(m, c)
           : to == 1 ? run_case<TestType, f16>(m, c)
           : to == 2 ? run_case<TestType, TestType>(m, c)
                     : run_case<TestType, float>(m, c);
  });
}

TEST_CASE("softmax around the edges of vectors and virtual lanes", "[softmax]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(8);
    for (index_t cols = 1; cols <= 200; ++cols) {
      for (const Edge edge : {Edge::kStart, Edge::kEnd}) {
        Case c{.cols = cols, .log = cols % 2 != 0, .edge = edge, .context = &context};
        if (!sampler.skip()) tally.add(run_case<float, float>(m, c), [&] { return describe(c); });
      }
    }
  });
}

TEST_CASE("softmax is close to the exact one", "[softmax]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    for (const std::size_t cols : {1, 10, 1000, 20000}) {
      if (cols > 1000 && reduced_effort()) continue;
      std::vector<float> x(cols), y(cols), log_y(cols);
      for (float& v : x) v = random.value<float>(Values::kModerate);
      softmax(row_major(x, {std::size_t{1}, cols}), row_major(y, {std::size_t{1}, cols}),
              {.context = &context});
      log_softmax(row_major(x, {std::size_t{1}, cols}), row_major(log_y, {std::size_t{1}, cols}),
                  {.context = &context});
      double sum = 0, total = 0, worst = 0, worst_log = 0;
      for (const float v : x) sum += std::exp(static_cast<double>(v));
      for (std::size_t i = 0; i < cols; ++i) {
        const double exact = std::exp(static_cast<double>(x[i])) / sum;
        // x - m is at most 32 in magnitude: three roundings of it and its factor move e by 3 * 2^-24 * 32 of itself.
        worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - exact) / exact);
        worst_log = std::max(worst_log, std::fabs(static_cast<double>(log_y[i]) - std::log(exact)));
        total += static_cast<double>(y[i]);
      }
      CAPTURE(cols);
      CHECK(worst < 0x1p-20 + 0x1.8p-18);
      CHECK(worst_log < 0x1p-18);
      CHECK(std::fabs(total - 1) < 0x1p-18);
    }
  });
}

TEST_CASE("softmax past the caches has the same bits", "[softmax]") {
  check_past_the_caches(
      [](const auto& kernels) { return std::array{kernels.softmax, kernels.log_softmax}; },
      [](auto kernel, const StreamedRows& r, bool streams, index_t) {
        float* const line = streams ? r.more : nullptr;
        kernel({r.x, r.cols, r.y, r.stride, r.kRows, r.cols, 0.7f, line});
      });
}

TEST_CASE("softmax of masked, infinite and NaN elements", "[softmax]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    for (const std::size_t n : {2, 70}) {
      std::vector<float> x(n), y(n);
      const auto run = [&](bool log) {
        const auto from = row_major(x, {std::size_t{1}, n});
        const auto to = row_major(y, {std::size_t{1}, n});
        log ? log_softmax(from, to, {.context = &context})
            : softmax(from, to, {.context = &context});
      };
      const auto all = [&](float value) {
        return std::all_of(y.begin(), y.end(), [&](float v) { return same(v, value); });
      };
      x.assign(n, -kInf);
      run(false);
      CHECK(all(0));
      run(true);
      CHECK(all(-kInf));
      x[n - 1] = 5;
      run(false);
      CHECK(y[0] == 0);
      CHECK(y[n - 1] == 1);
      run(true);
      CHECK(y[0] == -kInf);
      CHECK(same(y[n - 1], 0.0f));
      for (const float bad : {kNaN, kInf}) {
        for (const float other : {-kInf, 1.0f}) {
          x.assign(n, other);
          x[n - 1] = bad;
          run(false);
          CHECK(all(kNaN));
          run(true);
          CHECK(all(kNaN));
        }
      }
      // Differences that overflow.
      x.assign(n, -std::numeric_limits<float>::max());
      x[0] = std::numeric_limits<float>::max();
      run(false);
      CHECK(y[0] == 1);
      CHECK(same(y[n - 1], 0.0f));
    }
  });
}

TEST_CASE("softmax does not depend on threads", "[softmax]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    for (const Order order : {Order::kDense, Order::kAny}) {
      Case c{.rows = 67, .cols = 1000, .x = order, .y = order, .context = &context};
      if (reduced_effort()) c.rows = 19;
      tally.add(run_case<float, float>(m, c), [&] { return describe(c); });
      tally.add(run_case<bf16, bf16>(m, c), [&] { return describe(c); });
    }
  });
}

TEST_CASE("softmax: the same bits everywhere", "[softmax][reproducibility]") {
  constexpr std::uint64_t kGolden = 0x03a8328e576544c4;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    for (const std::size_t n : {1, 3, 31, 32, 33, 100, 777}) {
      std::vector<float> x(n), y(n);
      for (float& v : x) v = random.value<float>(Values::kModerate);
      for (const float scale : {1.0f, 0.3f}) {
        const auto from = row_major(x, {std::size_t{1}, n});
        const auto to = row_major(y, {std::size_t{1}, n});
        softmax(from, to, {.scale = scale, .context = &context});
        for (const float v : y) digest.add(v);
        log_softmax(from, to, {.scale = scale, .context = &context});
        for (const float v : y) digest.add(v);
      }
    }
    append_digest("softmax", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == kGolden);
  });
}

TEST_CASE("softmax refuses wrong arguments and writes nothing", "[softmax]") {
  std::vector<float> x(12, 1.0f), y(12, 7.0f);
  const auto from = row_major(x, {3, 4});
  const auto to = row_major(y, {3, 4});
  const auto error = [&](const SoftmaxOptions& o) {
    return error_of([&] { softmax(from, to, o); });
  };
  CHECK(error_of([&] { softmax(from, row_major(y, {4, 3})); }) ==
        "softmax: y: expected extents {3, 4}, those of x, got {4, 3}");
  CHECK(error({.scale = 0}) ==
        "softmax: options.scale: expected a finite number of at least 2^-100, got 0.000000");
  CHECK(error({.scale = kInf}) ==
        "softmax: options.scale: expected a finite number of at least 2^-100, got inf");
  CHECK(error({.scale = kNaN}).starts_with("softmax: options.scale: expected a finite number"));
  const std::vector<std::int32_t> few = {1, 2}, low = {1, -1, 2}, high = {4, 5, 0};
  CHECK(error({.lengths = few}) ==
        "softmax: options.lengths: expected 3 (the rows of x), or none, got 2");
  CHECK(error({.lengths = low}) ==
        "softmax: options.lengths: expected numbers from 0 to 4 (the columns of x), got -1");
  CHECK(error({.lengths = high}) ==
        "softmax: options.lengths: expected numbers from 0 to 4 (the columns of x), got 5");
  CHECK(error_of([&] { log_softmax(row_major(static_cast<float*>(nullptr), {3, 4}), to); }) ==
        "log_softmax: x: expected data for extents {3, 4}, got a null pointer");
  CHECK(error_of([&] { softmax(row_major(x.data(), {3, -4}), to); }) ==
        "softmax: x: expected extents of at least 0, got {3, -4}");
  CHECK(error_of([&] { softmax(from, strided(y.data(), {3, 4}, {0, 1})); }) ==
        "softmax: y: expected strides that visit each element once, each beyond the reach of the "
        "smaller, got extents {3, 4}, strides {0, 1}");
  CHECK(error_of([&] { softmax(row_major(x.data(), {2, 4}), row_major(x.data() + 2, {2, 4})); }) ==
        "softmax: y: expected memory that does not overlap x, or is the same, got an overlapping "
        "view");
  CHECK(error_of([&] {
          softmax(from, View<bf16, 2>(reinterpret_cast<bf16*>(x.data()), {3, 4}, {4, 1}));
        }) ==
        "softmax: y: expected memory that does not overlap x, or is the same, got an overlapping "
        "view");
  Context lent;
  lent.scratch = Scratch(std::span<std::byte>());
  CHECK(error_of([&] {
          softmax(transposed(row_major(x, {4, 3})), to, {.context = &lent});
        }).starts_with("softmax: context.scratch: expected at least"));
  CHECK(y == std::vector<float>(12, 7.0f));
  CHECK(x == std::vector<float>(12, 1.0f));

  // Nothing to do.
  softmax(row_major(x.data(), {0, 4}), row_major(y.data(), {0, 4}));
  softmax(row_major(x.data(), {3, 0}), row_major(y.data(), {3, 0}));
  CHECK(y == std::vector<float>(12, 7.0f));
}

}  // namespace tessera::test::softmax_test
