// SPDX-License-Identifier: Apache-2.0
// Norms: bits of the specification over random rows, residuals, codes, large means, NaN and infinities, threads, errors.

#include "tessera/ops/norm.h"

#include <algorithm>
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
#include "tessera/ops/affine_quantize.h"
#include "tessera/ref/norm.h"
#include "testing.h"

namespace tessera::test::norm_test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  index_t rows = 1, cols = 1;
  bool mean = false, weight = true, bias = false, residual = false, sum = false;
  int in_place = 0;  // y is: 0 apart, 1 x, 2 the residual
  float epsilon = 1e-5f;
  std::array<Order, 5> orders{};  // of x, y, residual, sum, weight and bias
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  std::string text = c.mean ? "layer norm of " : "rms norm of ";
  text += std::to_string(c.rows) + " x " + std::to_string(c.cols) + " (" + describe(c.orders[0]) +
          " to " + describe(c.orders[1]) + ")";
  return text + (c.weight ? ", weight" : "") + (c.bias ? ", bias" : "") +
         (c.residual ? ", residual" : "") + (c.sum ? ", sum" : "") + ", in place " +
         std::to_string(c.in_place);
}

struct Memories {
  GuardedMemory x, y, residual, sum, weight, bias;
  Random random;
};

std::vector<float> expected_row(const Case& c, std::span<const float> x,
                                std::span<const float> weight, std::span<const float> bias,
                                bool fused) {
  std::vector<float> y(x.size());
  if (c.mean) {
    fused ? ref::layer_norm_row<true>(x, weight, bias, c.epsilon, y)
          : ref::layer_norm_row<false>(x, weight, bias, c.epsilon, y);
  } else {
    fused ? ref::rms_norm_row<true>(x, weight, bias, c.epsilon, y)
          : ref::rms_norm_row<false>(x, weight, bias, c.epsilon, y);
  }
  return y;
}

template <class X, class Y>
void run_norm(const Case& c, const X& x, const Y& y, const NormOptions& options) {
  c.mean ? layer_norm(x, y, options) : rms_norm(x, y, options);
}

// X: of x and the sum; R: of the residual; W: of weight and bias.
template <class X, class Y, class R, class W>
std::string run_case(Memories& m, const Case& c) {
  Tensor<X, 2> x(m.x, m.random, {c.rows, c.cols}, c.orders[0], c.edge);
  Tensor<Y, 2> y(m.y, m.random, {c.rows, c.cols}, c.orders[1], c.edge);
  Tensor<R, 2> residual(m.residual, m.random, {c.rows, c.cols}, c.orders[2], c.edge);
  Tensor<X, 2> sum(m.sum, m.random, {c.rows, c.cols}, c.orders[3], c.edge);
  Tensor<W, 1> weight(m.weight, m.random, {c.cols}, c.orders[4], c.edge);
  Tensor<W, 1> bias(m.bias, m.random, {c.cols}, c.orders[4], c.edge);
  x.fill(m.random, c.values);
  residual.fill(m.random, c.values);
  weight.fill(m.random, Values::kModerate);
  bias.fill(m.random, Values::kModerate);

  const bool fused = has_fma(c.context->target.value());
  std::vector<float> w, b;
  for (index_t j = 0; j < c.cols; ++j) {
    if (c.weight) w.push_back(static_cast<float>(weight.view()(j)));
    if (c.bias) b.push_back(static_cast<float>(bias.view()(j)));
  }
  std::vector<X> x_after = x.copy(), sum_after = sum.copy();
  std::vector<Y> y_after = y.copy();
  std::vector<R> residual_after = residual.copy();
  for (index_t i = 0; i < c.rows; ++i) {
    std::vector<float> row;
    for (index_t j = 0; j < c.cols; ++j) {
      float v = static_cast<float>(x.view()(i, j));
      if (c.residual) v += static_cast<float>(residual.view()(i, j));
      if (c.sum) {
        const auto rounded = static_cast<X>(v);
        sum.view_of(sum_after)(i, j) = rounded;
        v = static_cast<float>(rounded);
      }
      row.push_back(v);
    }
    const std::vector<float> result = expected_row(c, row, w, b, fused);
    for (index_t j = 0; j < c.cols; ++j) {
      const float v = result[static_cast<std::size_t>(j)];
      if (c.in_place == 0) y.view_of(y_after)(i, j) = static_cast<Y>(v);
      if (c.in_place == 1) x.view_of(x_after)(i, j) = static_cast<X>(v);
      if (c.in_place == 2) residual.view_of(residual_after)(i, j) = static_cast<R>(v);
    }
  }
  NormOptions options{.epsilon = c.epsilon, .context = c.context};
  if (c.weight) options.weight = weight.read_only();
  if (c.bias) options.bias = bias.view();
  if (c.residual) options.residual = residual.read_only();
  if (c.sum) options.sum = sum.view();
  if (c.in_place == 0) run_norm(c, x.read_only(), y.view(), options);
  if (c.in_place == 1) run_norm(c, x.read_only(), x.view(), options);
  if (c.in_place == 2) run_norm(c, x.read_only(), residual.view(), options);
  std::string failure = y.difference(y_after) + x.difference(x_after) + sum.difference(sum_after);
  return failure + residual.difference(residual_after);
}

Case random_case(Random& random) {
  Case c;
  c.rows = 1 + random.below(4);
  c.cols = random.below(3) == 0 ? 1 + random.below(700) : 1 + random.below(100);
  c.mean = random.below(2) != 0;
  c.weight = random.below(4) != 0;
  c.bias = random.below(2) != 0;
  c.residual = random.below(2) != 0;
  c.sum = c.residual && random.below(2) != 0;
  c.in_place = static_cast<int>(random.below(c.residual ? 3 : 2));
  c.epsilon = random.below(2) != 0 ? 1e-5f : random.below(2) != 0 ? 0 : 0.3f;
  for (Order& order : c.orders) order = random_order(random);
  c.edge = random_edge(random);
  c.values = random_values(random, 6, 3);
  return c;
}

TEST_CASE("norms past the caches have the same bits", "[norm]") {
  check_past_the_caches(
      [](const auto& kernels) { return std::array{kernels.rms_norm, kernels.layer_norm}; },
      [](auto kernel, const StreamedRows& r, bool streams, index_t bits) {
        const float* const weight = (bits & 1) != 0 ? r.more : nullptr;
        const float* const bias = (bits & 2) != 0 ? r.more : nullptr;
        kernel({r.x, r.cols, weight, bias, r.y, r.stride, r.kRows, r.cols, 1e-5f, streams});
      });
}

TEMPLATE_TEST_CASE("norms have the bits of their specification", "[norm]", float, bf16, f16) {
  for_random_cases<Memories>(800, 16, random_case, [](Memories& m, const Case& c, int i) {
    const int types = i % 4;
    return types == 0   ? run_case<TestType, bf16, float, TestType>(m, c)
           : types == 1 ? run_case<TestType, f16, TestType, float>(m, c)
           : types == 2 ? run_case<TestType, TestType, TestType, bf16>(m, c)
                        : run_case<TestType, float, f16, float>(m, c);
  });
}

TEST_CASE("norms around the edges of vectors and virtual lanes", "[norm]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(8);
    for (index_t cols = 1; cols <= 200; ++cols) {
      for (const Edge edge : {Edge::kStart, Edge::kEnd}) {
        Case c{.cols = cols, .mean = cols % 2 != 0, .edge = edge, .context = &context};
        if (sampler.skip()) continue;
        tally.add(run_case<float, float, float, float>(m, c), [&] { return describe(c); });
      }
    }
  });
}

TEST_CASE("norms with codes are norms and quantize", "[norm]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Random random;
    for (const index_t cols : {1, 63, 300}) {
      for (const index_t group : {cols, index_t{32}}) {
        for (const Scaling scaling : {Scaling::kMinMax, Scaling::kGiven}) {
          constexpr index_t kRows = 3;
          const auto count = static_cast<std::size_t>(kRows * cols);
          std::vector<float> x(count), y(count);
          for (float& v : x) v = random.value<float>(Values::kModerate);
          const index_t groups = (cols + group - 1) / group;
          const auto scale_count = static_cast<std::size_t>(kRows * groups);
          std::vector<std::uint8_t> codes(count), want(count);
          std::vector<float> scales(scale_count, 0.01f), want_scales(scale_count, 0.01f);
          const auto view = [&](std::vector<std::uint8_t>& c, std::vector<float>& s) {
            MutableGroupQuantizedView v;
            v.codes = c.data();
            v.rows = kRows;
            v.cols = v.row_bytes = cols;
            v.group = group;
            v.scales = s.data();
            v.scale_strides = {groups, 1};
            return v;
          };
          const auto from = row_major(x, {kRows, cols});
          const Case c{.mean = group == cols};
          run_norm(c, from, row_major(y, {kRows, cols}), {.context = &context});
          quantize(row_major(y, {kRows, cols}), view(want, want_scales), {.scaling = scaling});
          run_norm(c, from, view(codes, scales), {.scaling = scaling, .context = &context});
          CHECK(codes == want);
          CHECK(scales == want_scales);
        }
      }
    }
  });
}

TEST_CASE("layer_norm keeps its digits beside a large mean", "[norm]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    constexpr std::size_t kCols = 1000;
    std::vector<float> x(kCols), y(kCols);
    for (std::size_t i = 0; i < kCols; ++i) x[i] = 10000 + (i % 2 != 0 ? 0.5f : -0.5f);
    layer_norm(row_major(x, {std::size_t{1}, kCols}), row_major(y, {std::size_t{1}, kCols}),
               {.epsilon = 0, .context = &context});
    for (std::size_t i = 0; i < kCols; ++i) {
      CHECK(std::fabs(static_cast<double>(y[i]) - (i % 2 != 0 ? 1 : -1)) < 1e-2);
    }
  });
}

TEST_CASE("norms are close to the exact ones", "[norm]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    for (const std::size_t cols : {1, 10, 1000, 20000}) {
      if (cols > 1000 && reduced_effort()) continue;
      std::vector<float> x(cols), y(cols);
      for (float& v : x) v = random.value<float>(Values::kModerate);
      for (const bool mean : {false, true}) {
        run_norm(Case{.mean = mean}, row_major(x, {std::size_t{1}, cols}),
                 row_major(y, {std::size_t{1}, cols}), {.context = &context});
        double m = 0, squares = 0, scale = 0;
        for (const float v : x) m += mean ? static_cast<double>(v) / static_cast<double>(cols) : 0;
        for (const float v : x) {
          squares += (static_cast<double>(v) - m) * (static_cast<double>(v) - m);
          scale = std::max(scale, std::fabs(static_cast<double>(v)));
        }
        const double root =
            std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(1e-5f));
        // Sums of 32 lanes: cols / 32 + 5 roundings of positive terms, half of which the root leaves; of the mean
        // the same, relative to the largest element.
        const double roundings = static_cast<double>(cols) / 32 + 5;
        const double bound = 0x1p-24 * (roundings + 8) * (scale + std::fabs(m)) / root;
        double worst = 0;
        for (std::size_t i = 0; i < cols; ++i) {
          worst = std::max(
              worst, std::fabs(static_cast<double>(y[i]) - (static_cast<double>(x[i]) - m) / root));
        }
        CAPTURE(cols, mean);
        CHECK(worst <= bound);
      }
    }
  });
}

TEST_CASE("norms of NaN, infinities and zeros", "[norm]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    std::vector<float> x(70), y(70);
    const auto run = [&](bool mean) {
      run_norm(Case{.mean = mean}, row_major(x, {1, 70}), row_major(y, {1, 70}),
               {.context = &context});
    };
    const auto all = [&](std::size_t n, float value) {
      return std::all_of(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(n),
                         [&](float v) { return same(v, value); });
    };
    for (const bool mean : {false, true}) {
      run(mean);
      CHECK(all(70, 0));
      x[69] = kNaN;
      run(mean);
      CHECK(all(70, kNaN));
      x[69] = kInf;
      run(mean);
      CHECK(all(69, mean ? kNaN : 0));
      CHECK(same(y[69], kNaN));
      x[69] = 0;
    }
  });
}

TEST_CASE("norms do not depend on threads", "[norm]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    for (const bool mean : {false, true}) {
      Case c{.rows = 67, .cols = 1000, .mean = mean, .residual = true, .sum = true};
      c.context = &context;
      if (reduced_effort()) c.rows = 19;
      tally.add(run_case<float, float, float, float>(m, c), [&] { return describe(c); });
      tally.add(run_case<bf16, bf16, bf16, bf16>(m, c), [&] { return describe(c); });
    }
  });
}

TEST_CASE("norms: the same bits everywhere", "[norm][reproducibility]") {
  constexpr std::uint64_t kGolden = 0xbb10058a0a554c2c;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    for (const std::size_t n : {1, 3, 31, 32, 33, 100, 777}) {
      std::vector<float> x(n), y(n), w(n);
      for (float& v : x) v = random.value<float>(Values::kModerate);
      for (float& v : w) v = random.value<float>(Values::kModerate);
      for (const bool mean : {false, true}) {
        run_norm(Case{.mean = mean}, row_major(x, {std::size_t{1}, n}),
                 row_major(y, {std::size_t{1}, n}),
                 {.weight = row_major(w, {n}), .bias = row_major(w, {n}), .context = &context});
        for (const float v : y) digest.add(v);
      }
    }
    append_digest("norm", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == kGolden);
  });
}

TEST_CASE("norms refuse wrong arguments and write nothing", "[norm]") {
  std::vector<float> x(12, 1.0f), y(12, 7.0f), r(12, 2.0f), w(5, 1.0f);
  const auto from = row_major(x, {3, 4});
  const auto to = row_major(y, {3, 4});
  const auto error = [&](const NormOptions& o) { return error_of([&] { rms_norm(from, to, o); }); };
  CHECK(error_of([&] { layer_norm(from, row_major(y, {4, 3})); }) ==
        "layer_norm: y: expected extents {3, 4}, those of x, got {4, 3}");
  CHECK(error({.weight = row_major(w, {5})}) ==
        "rms_norm: options.weight: expected extents {4}, the columns of x, got {5}");
  CHECK(error({.bias = row_major(w, {3})}) ==
        "rms_norm: options.bias: expected extents {4}, the columns of x, got {3}");
  CHECK(error({.weight = row_major(static_cast<float*>(nullptr), {4})}) ==
        "rms_norm: options.weight: expected data for extents {4}, got a null pointer");
  CHECK(error({.epsilon = -1}) ==
        "rms_norm: options.epsilon: expected a finite number of at least 0, got -1.000000");
  CHECK(error({.epsilon = kNaN}).starts_with("rms_norm: options.epsilon: expected a finite"));
  CHECK(error({.residual = row_major(r, {4, 3})}) ==
        "rms_norm: options.residual: expected extents {3, 4}, those of x, got {4, 3}");
  CHECK(error({.sum = row_major(r, {3, 4})}) ==
        "rms_norm: options.sum: expected a residual for it, got none");
  CHECK(error({.residual = row_major(r, {3, 4}), .sum = to}) ==
        "rms_norm: y: expected memory that does not overlap options.sum, got an overlapping view");
  CHECK(error({.residual = row_major(r, {3, 4}), .sum = row_major(x.data() + 2, {2, 4})}) ==
        "rms_norm: options.sum: expected extents {3, 4}, those of x, got {2, 4}");
  CHECK(
      error({.weight = row_major(y.data(), {4})}) ==
      "rms_norm: y: expected memory that does not overlap options.weight, got an overlapping view");
  CHECK(error_of([&] { rms_norm(row_major(x.data(), {2, 4}), row_major(x.data() + 2, {2, 4})); }) ==
        "rms_norm: y: expected memory that does not overlap x, or is the same, got an overlapping "
        "view");
  CHECK(error_of([&] { rms_norm(from, strided(y.data(), {3, 4}, {0, 1})); }) ==
        "rms_norm: y: expected strides that visit each element once, each beyond the reach of the "
        "smaller, got extents {3, 4}, strides {0, 1}");
  std::vector<std::uint8_t> codes(12, 9);
  std::vector<float> scales(3, 9.0f);
  MutableGroupQuantizedView q;
  q.codes = codes.data();
  q.rows = 3;
  q.cols = q.row_bytes = q.group = 4;
  q.scales = scales.data();
  q.scale_strides = {0, 0};
  const auto code_error = [&](const NormOptions& o) {
    return error_of([&] { rms_norm(from, q, o); });
  };
  CHECK(code_error({}) ==
        "rms_norm: options.scaling: expected kGiven, as rows share their scales, got kMinMax");
  q.scale_strides = {1, 1};
  CHECK(code_error({.scaling = Scaling::kAbsMean}) ==
        "rms_norm: options.scaling: expected kMinMax or kGiven, got kAbsMean");
  q.cols = 3;
  CHECK(code_error({}) == "rms_norm: y: expected extents {3, 4}, those of x, got {3, 3}");
  q.cols = 4;
  q.scales = x.data();
  CHECK(code_error({}).starts_with("rms_norm: y.scales: expected memory that does not overlap x"));
  CHECK(codes == std::vector<std::uint8_t>(12, 9));
  CHECK(y == std::vector<float>(12, 7.0f));
  CHECK(x == std::vector<float>(12, 1.0f));
  CHECK(r == std::vector<float>(12, 2.0f));

  // Nothing to do.
  rms_norm(row_major(x.data(), {0, 4}), row_major(y.data(), {0, 4}));
  layer_norm(row_major(x.data(), {3, 0}), row_major(y.data(), {3, 0}));
  CHECK(y == std::vector<float>(12, 7.0f));
}

}  // namespace tessera::test::norm_test
