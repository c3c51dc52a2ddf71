// SPDX-License-Identifier: Apache-2.0
// The Hadamard transform: bits of the butterfly, the definition in f64, its own inverse, norms, memory, errors.

#include "tessera/ops/hadamard.h"

#include <array>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tessera/ref/hadamard.h"
#include "testing.h"

namespace tessera::test {
namespace {

struct Case {
  index_t rows = 1, cols = 1, block = 0;
  Layout layout = Layout::kRowMajor;
  Edge edge = Edge::kEnd;
  bool signs = false, inverse = false;
  Executor executor{};
};

std::string describe(const Case& c) {
  return "rows " + std::to_string(c.rows) + ", cols " + std::to_string(c.cols) + ", block " +
         std::to_string(c.block) + ", layout " + std::to_string(static_cast<int>(c.layout)) +
         (c.signs ? ", signs" : "") + (c.inverse ? ", inverse" : "");
}

// Each stage adds a rounding to each of n terms, the norm and the product one each: the error of an element is at most
// gamma(log2 n + 2) sum |x| / sqrt(n) (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., chapter 3).
std::string outside_error_bound(const std::vector<float>& x, const std::vector<float>& y) {
  const std::size_t n = x.size();
  const double sum = std::accumulate(x.begin(), x.end(), 0.0, [](double s, float v) {
    return s + std::abs(static_cast<double>(v));
  });
  const double root = std::sqrt(static_cast<double>(n));
  const double bound = (std::bit_width(n) + 1) * 0x1.01p-24 * sum / root;
  for (std::size_t i = 0; i < n; ++i) {
    double exact = 0;
    for (std::size_t j = 0; j < n; ++j) {
      exact +=
          std::popcount(i & j) % 2 == 0 ? static_cast<double>(x[j]) : -static_cast<double>(x[j]);
    }
    if (!(std::abs(static_cast<double>(y[i]) - exact / root) <= bound)) {
      return "element " + std::to_string(i) + " is " + show(y[i]) + ", expected about " +
             show(exact / root);
    }
  }
  return "";
}

std::string run_case(GuardedMemory& memory, Random& random, const Case& c) {
  Matrix<float> x(memory, c.rows, c.cols, c.layout, c.edge);
  x.fill(random, Values::kModerate);
  std::vector<float> signs(c.signs ? static_cast<std::size_t>(c.cols) : 0);
  random_signs(random.next(), signs);
  const index_t block = c.block == 0 ? c.cols : c.block;
  const auto sign = [&](index_t j) { return c.signs ? signs[static_cast<std::size_t>(j)] : 1.0f; };

  std::vector<float> expected = x.copy();
  const View<float, 2> want = x.view_of(expected);
  std::string failure;
  for (index_t i = 0; i < c.rows; ++i) {
    for (index_t j = 0; j < c.cols && !c.inverse; ++j) want(i, j) *= sign(j);
    for (index_t first = 0; first < c.cols; first += block) {
      std::vector<float> before, after;
      for (index_t j = 0; j < block; ++j) before.push_back(want(i, first + j));
      ref::hadamard(slice(want, {i, first}, {index_t{1}, block}), block);
      for (index_t j = 0; j < block; ++j) after.push_back(want(i, first + j));
      if (failure.empty()) failure = outside_error_bound(before, after);
    }
    for (index_t j = 0; j < c.cols && c.inverse; ++j) want(i, j) *= sign(j);
  }
  if (!failure.empty()) return "specification: " + failure;
  Context context;
  context.executor = c.executor;
  hadamard(x.view(), {.block = c.block, .signs = signs, .inverse = c.inverse, .context = &context});
  return x.difference(expected);
}

TEST_CASE("hadamard has the bits of its reference", "[hadamard]") {
  GuardedMemory memory;
  Random random;
  Tally tally;
  unsigned count = 0;
  for (index_t block = 1; block <= 512; block *= 2) {
    for (const index_t blocks : {1, 3}) {
      for (const index_t rows : {1, 3}) {
        for (unsigned flags = 0; flags < 4; ++flags) {
          ++count;
          Case c{.rows = rows, .cols = block * blocks, .block = blocks == 1 ? 0 : block};
          c.layout = kOutputLayouts[count % kOutputLayouts.size()];
          c.edge = count / 2 % 2 ? Edge::kStart : Edge::kEnd;
          c.signs = flags & 1;
          c.inverse = flags & 2;
          tally.add(run_case(memory, random, c), [&] { return describe(c); });
          c.layout = Layout::kRowMajor;
          tally.add(run_case(memory, random, c), [&] { return describe(c); });
        }
      }
    }
  }
}

TEST_CASE("hadamard does not depend on threads", "[hadamard]") {
  GuardedMemory memory;
  Random random;
  Tally tally;
  for_each_executor([&](Context& context) {
    for (const Layout layout : {Layout::kRowMajor, Layout::kColMajor}) {
      const Case c{.rows = 301,
                   .cols = 128,
                   .block = 64,
                   .layout = layout,
                   .signs = true,
                   .executor = context.executor};
      tally.add(run_case(memory, random, c), [&] { return describe(c); });
    }
  });
}

TEST_CASE("hadamard has the same bits everywhere", "[hadamard]") {
  Random random;
  Digest digest;
  for (const index_t block : {2, 8, 64, 4096}) {
    std::vector<float> x(static_cast<std::size_t>(3 * block)), signs(x.size());
    for (float& v : x) v = random.value<float>(Values::kModerate);
    random_signs(5, signs);
    hadamard(row_major(x, {index_t{1}, 3 * block}), {.block = block, .signs = signs});
    for (const float v : x) digest.add(v);
  }
  CHECK(digest.value() == 0x53a90181c874b5b2);
}

TEST_CASE("hadamard is its own inverse and keeps norms and products", "[hadamard]") {
  constexpr index_t kRows = 4, kCols = 1024;
  Random random;
  std::vector<float> x(kRows * kCols), signs(kCols);
  for (float& v : x) v = random.value<float>(Values::kModerate);
  random_signs(7, signs);
  const auto product = [](const View<const float, 2>& v, index_t i, index_t k) {
    double sum = 0;
    for (index_t j = 0; j < v.extent(1); ++j) {
      sum += static_cast<double>(v(i, j)) * static_cast<double>(v(k, j));
    }
    return sum;
  };
  for (const index_t block : {index_t{4}, index_t{128}, kCols}) {
    std::vector<float> y = x;
    const auto view = row_major(y, {kRows, kCols});
    const auto before = row_major(x, {kRows, kCols});
    hadamard(view, {.block = block, .signs = signs});
    CHECK(y != x);
    for (index_t i = 0; i < kRows; ++i) {
      for (index_t k = 0; k < kRows; ++k) {
        const double size = std::sqrt(product(before, i, i) * product(before, k, k));
        CHECK(std::abs(product(view, i, k) - product(before, i, k)) < 1e-6 * size);
      }
    }
    hadamard(view, {.block = block, .signs = signs, .inverse = true});
    for (index_t i = 0; i < kRows; ++i) {
      const double norm = std::sqrt(product(before, i, i));
      for (index_t j = 0; j < kCols; ++j) CHECK(std::abs(view(i, j) - before(i, j)) < 1e-6 * norm);
    }
  }
}

TEST_CASE("an outlier is spread evenly", "[hadamard]") {
  std::vector<float> x(256);
  x[77] = 16;
  hadamard(row_major(x, {1, 256}));
  for (const float v : x) CHECK(std::abs(v) == 1);
}

TEST_CASE("NaN and infinity spread over their block only", "[hadamard]") {
  std::vector<float> x(16, 1.0f);
  x[9] = std::numeric_limits<float>::infinity();
  hadamard(row_major(x, {1, 16}), {.block = 8});
  for (std::size_t j = 0; j < 16; ++j) CHECK(std::isfinite(x[j]) == (j < 8));
}

TEST_CASE("random signs are the same for the same seed", "[hadamard]") {
  std::vector<float> a(1000), b(1000), c(1000);
  random_signs(1, a);
  random_signs(1, b);
  random_signs(2, c);
  CHECK(a == b);
  CHECK(a != c);
  float sum = 0;
  for (const float sign : a) {
    CHECK(std::abs(sign) == 1);
    sum += sign;
  }
  CHECK(std::abs(sum) < 150);  // five times the deviation
  CHECK(std::vector<float>(a.begin(), a.begin() + 8) ==
        std::vector<float>{-1, -1, -1, 1, 1, -1, -1, -1});
}

TEST_CASE("hadamard refuses wrong arguments and writes nothing", "[hadamard]") {
  std::vector<float> x(24, 1.0f);
  const std::vector<float> signs(12, -1.0f);
  const auto view = row_major(x, {2, 12});
  CHECK(error_of([&] { hadamard(view); }) ==
        "hadamard: options.block: expected a power of two that divides 12 (the columns of x), got "
        "12");
  CHECK(
      error_of([&] { hadamard(view, {.block = 8}); }) ==
      "hadamard: options.block: expected a power of two that divides 12 (the columns of x), got 8");
  CHECK(error_of([&] { hadamard(view, {.block = -4}); }).starts_with("hadamard: options.block"));
  CHECK(error_of([&] { hadamard(view, {.block = 4, .signs = std::span(signs).first(4)}); }) ==
        "hadamard: options.signs: expected 12 elements (the columns of x), or none, got 4");
  CHECK(
      error_of([&] { hadamard(view, {.block = 4, .signs = std::span(x).first(12)}); }) ==
      "hadamard: x: expected memory that does not overlap options.signs, got an overlapping view");
  CHECK(error_of([&] { hadamard(strided(x.data(), {2, 8}, {4, 1})); }) ==
        "hadamard: x: expected strides that visit each element once, got extents {2, 8}, strides "
        "{4, 1}");
  CHECK(error_of([&] { hadamard(row_major(static_cast<float*>(nullptr), {2, 8})); }) ==
        "hadamard: x: expected data for extents {2, 8}, got a null pointer");
  CHECK(error_of([&] { hadamard(row_major(x.data(), {-1, 8})); }) ==
        "hadamard: x: expected extents of at least 0, got {-1, 8}");
  CHECK(x == std::vector<float>(24, 1.0f));
  hadamard(row_major(x.data(), {0, 8}));
  hadamard(row_major(x.data(), {2, 0}));
  CHECK(x == std::vector<float>(24, 1.0f));
}

}  // namespace
}  // namespace tessera::test
