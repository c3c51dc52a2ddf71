// SPDX-License-Identifier: Apache-2.0
// argmax and top_k: the order of the specification with ties, NaN, infinities and zeros of both signs, threads, errors.

#include "tessera/ops/top_k.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/top_k.h"
#include "testing.h"

namespace tessera::test::top_k_test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// What elements are: of any, few of which are equal; of few, so that most are; and sorted ones.
enum class Draw { kAny, kFew, kUp, kDown };

struct Case {
  index_t rows = 1, cols = 1, k = 1;
  Draw draw = Draw::kAny;
  std::array<Order, 3> orders{};  // of x, values, indices
  Edge edge = Edge::kEnd;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  return std::to_string(c.k) + " of " + std::to_string(c.rows) + " x " + std::to_string(c.cols) +
         " (" + describe(c.orders[0]) + "), draw " + std::to_string(static_cast<int>(c.draw));
}

struct Memories {
  GuardedMemory x, values, indices, first;
  Random random;
};

template <class T>
T drawn(Random& random, Draw draw, index_t column) {
  constexpr float kValues[] = {0.0f, -0.0f, 1, -1, 0x1p-130f, -kInf, kInf, kNaN, -kNaN, 2, 3, 5};
  if (draw == Draw::kAny) return random.value<T>(Values::kWide);
  if (draw == Draw::kUp) return static_cast<T>(static_cast<float>(column));
  if (draw == Draw::kDown) return static_cast<T>(static_cast<float>(-column));
  // Of most rows numbers only, the last ones seldom.
  const index_t count = random.below(200) == 0 ? 12 : random.below(20) == 0 ? 6 : 4;
  return static_cast<T>(kValues[random.below(count)]);
}

template <class T, class U>
std::string run_case(Memories& m, const Case& c) {
  Tensor<T, 2> x(m.x, m.random, {c.rows, c.cols}, c.orders[0], c.edge);
  Tensor<U, 2> values(m.values, m.random, {c.rows, c.k}, c.orders[1], c.edge);
  Tensor<std::int32_t, 2> indices(m.indices, m.random, {c.rows, c.k}, c.orders[2], c.edge);
  Tensor<std::int32_t, 1> first(m.first, m.random, {c.rows}, c.orders[2], c.edge);
  x.for_each_index(
      [&](T& e, const std::array<index_t, 2>& at) { e = drawn<T>(m.random, c.draw, at[1]); });
  std::vector<U> values_after = values.copy();
  std::vector<std::int32_t> indices_after = indices.copy(), first_after = first.copy();
  std::vector<T> x_after = x.copy();
  for (index_t i = 0; i < c.rows; ++i) {
    const View<const T, 1> row(&x.view()(i, 0), {c.cols}, {x.view().stride(1)});
    const std::vector<std::int32_t> order = ref::top_k_row(row, std::max<index_t>(c.k, 1));
    first.view_of(first_after)(i) = order[0];
    for (index_t s = 0; s < c.k; ++s) {
      const std::int32_t column = order[static_cast<std::size_t>(s)];
      indices.view_of(indices_after)(i, s) = column;
      values.view_of(values_after)(i, s) = static_cast<U>(static_cast<float>(row(column)));
    }
  }
  top_k(x.read_only(), values.view(), indices.view(), {.context = c.context});
  argmax(x.view(), first.view(), {.context = c.context});
  return values.difference(values_after) + indices.difference(indices_after) +
         first.difference(first_after) + x.difference(x_after);
}

Case random_case(Random& random) {
  Case c;
  c.rows = 1 + random.below(3);
  c.cols = random.below(8) == 0 ? 1 + random.below(3000) : 1 + random.below(150);
  c.k = random.below(3) == 0 ? random.below(c.cols + 1)
                             : 1 + random.below(std::min<index_t>(c.cols, 9));
  c.draw = static_cast<Draw>(random.below(8) == 0 ? 2 + random.below(2) : random.below(2));
  for (Order& order : c.orders) order = random_order(random);
  c.edge = random_edge(random);
  return c;
}

TEMPLATE_TEST_CASE("top_k and argmax have the order of their specification", "[top_k]", float, bf16,
                   f16) {
  for_random_cases<Memories>(400, 12, random_case, [](Memories& m, const Case& c, int i) {
    return i % 2 == 0 ? run_case<TestType, float>(m, c) : run_case<TestType, TestType>(m, c);
  });
}

TEST_CASE("argmax finds one element wherever it is", "[top_k]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const index_t cols = reduced_effort() ? 300 : 1100;
    for (const float background : {-kInf, 0.0f, -3.0f}) {
      for (const float special : {kInf, kNaN, -kNaN, 0x1p-149f}) {
        std::vector<float> x(static_cast<std::size_t>(cols), background);
        std::vector<std::int32_t> index(1);
        bool good = true;
        for (index_t i = 0; i < cols; ++i) {
          x[static_cast<std::size_t>(i)] = special;
          argmax(row_major(x, {index_t{1}, cols}), row_major(index, {1}), {.context = &context});
          good = good && index[0] == i;
          x[static_cast<std::size_t>(i)] = background;
        }
        argmax(row_major(x, {index_t{1}, cols}), row_major(index, {1}), {.context = &context});
        CAPTURE(background, special);
        CHECK(good);
        CHECK(index[0] == 0);
      }
    }
  });
}

TEST_CASE("top_k does not depend on threads", "[top_k]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    Case c{.rows = 40, .cols = 1500, .k = 20};
    c.context = &context;
    if (reduced_effort()) c.rows = 15;
    tally.add(run_case<float, float>(m, c), [&] { return describe(c); });
    c.draw = Draw::kFew;
    tally.add(run_case<bf16, f16>(m, c), [&] { return describe(c); });
  });
}

TEST_CASE("top_k: the same everywhere", "[top_k][reproducibility]") {
  constexpr std::uint64_t kGolden = 0xaa3da1dcdd4cbf79;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    std::vector<float> x(3 * 2000), values(3 * 50);
    std::vector<std::int32_t> indices(3 * 50);
    for (float& v : x) v = drawn<float>(random, random.below(2) != 0 ? Draw::kFew : Draw::kAny, 0);
    top_k(row_major(x, {3, 2000}), row_major(values, {3, 50}), row_major(indices, {3, 50}),
          {.context = &context});
    for (const std::int32_t index : indices) digest.add(index);
    append_digest("top_k", target, digest.value());
    CHECK(digest.value() == kGolden);
  });
}

TEST_CASE("top_k and argmax refuse wrong arguments and write nothing", "[top_k]") {
  std::vector<float> x(12, 1.0f), values(6, 7.0f);
  std::vector<std::int32_t> indices(16, 9);
  const auto from = row_major(x, {3, 4});
  CHECK(error_of([&] { top_k(from, row_major(values, {3, 2}), row_major(indices, {2, 2})); }) ==
        "top_k: indices: expected extents {3, k}, the rows of x and k from 0 to 4, got {2, 2}");
  CHECK(error_of([&] { top_k(from, row_major(values, {3, 2}), row_major(indices, {3, 5})); }) ==
        "top_k: indices: expected extents {3, k}, the rows of x and k from 0 to 4, got {3, 5}");
  CHECK(error_of([&] { top_k(from, row_major(values, {3, 2}), row_major(indices, {3, 1})); }) ==
        "top_k: values: expected extents {3, 1}, those of indices, got {3, 2}");
  CHECK(error_of([&] { top_k(from, row_major(x.data(), {3, 2}), row_major(indices, {3, 2})); }) ==
        "top_k: values: expected memory that does not overlap x, got an overlapping view");
  CHECK(error_of([&] {
          top_k(from, row_major(values, {3, 2}), strided(indices.data(), {3, 2}, {0, 1}));
        }).starts_with("top_k: indices: expected strides that visit each element once"));
  CHECK(error_of([&] { argmax(from, row_major(indices, {4})); }) ==
        "argmax: indices: expected 3 elements, one for each row of x, got 4");
  CHECK(error_of([&] { argmax(row_major(x.data(), {3, 0}), row_major(indices, {3})); }) ==
        "argmax: x: expected at least 1 column, got 0");
  CHECK(error_of([&] { argmax(from, row_major(static_cast<std::int32_t*>(nullptr), {3})); }) ==
        "argmax: indices: expected data for extents {3, 1}, got a null pointer");
  CHECK(values == std::vector<float>(6, 7.0f));
  CHECK(indices == std::vector<std::int32_t>(16, 9));

  // Nothing to do.
  top_k(from, row_major(values.data(), {3, 0}), row_major(indices.data(), {3, 0}));
  argmax(row_major(x.data(), {0, 0}), row_major(indices.data(), {0}));
  CHECK(indices == std::vector<std::int32_t>(16, 9));
}

}  // namespace tessera::test::top_k_test
