// SPDX-License-Identifier: Apache-2.0
// Embeddings: bits of the specification over random tables and indices, block formats, threads, errors.

#include "tessera/ops/embedding.h"

#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/block_formats.h"
#include "tessera/ops/quantize.h"
#include "tessera/ref/embedding.h"
#include "testing.h"

namespace tessera::test::embedding_test {

struct Case {
  index_t rows = 1, columns = 1, count = 1;
  float scale = 1;
  std::array<Order, 3> orders{};  // of table, y, indices
  Edge edge = Edge::kEnd;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  return std::to_string(c.count) + " of " + std::to_string(c.rows) + " x " +
         std::to_string(c.columns) + " (" + describe(c.orders[0]) + " to " + describe(c.orders[1]) +
         "), scale " + std::to_string(c.scale);
}

struct Memories {
  GuardedMemory table, y, indices;
  Random random;
};

template <class T, class U, class I>
std::string run_case(Memories& m, const Case& c) {
  Tensor<T, 2> table(m.table, m.random, {c.rows, c.columns}, c.orders[0], c.edge);
  Tensor<U, 2> y(m.y, m.random, {c.count, c.columns}, c.orders[1], c.edge);
  Tensor<I, 1> indices(m.indices, m.random, {c.count}, c.orders[2], c.edge);
  table.fill(m.random, Values::kAnyBits);
  indices.for_each([&](I& index) { index = static_cast<I>(m.random.below(c.rows)); });
  std::vector<U> expected = y.copy();
  ref::embedding(table.read_only(), indices.read_only(), y.view_of(expected), c.scale);
  embedding(table.read_only(), indices.view(), y.view(), {.scale = c.scale, .context = c.context});
  return y.difference(expected);
}

Case random_case(Random& random) {
  Case c;
  c.rows = 1 + random.below(9);
  c.columns = 1 + random.below(random.below(3) == 0 ? 300 : 40);
  c.count = 1 + random.below(12);
  c.scale = random.below(2) != 0 ? 1.0f : 11.3137f;
  for (Order& order : c.orders) order = random_order(random);
  c.edge = random_edge(random);
  return c;
}

TEMPLATE_TEST_CASE("embedding has the bits of its specification", "[embedding]", float, bf16, f16) {
  for_random_cases<Memories>(300, 8, random_case, [](Memories& m, const Case& c, int i) {
    return i % 3 == 0   ? run_case<TestType, TestType, std::int64_t>(m, c)
           : i % 3 == 1 ? run_case<TestType, float, std::int32_t>(m, c)
                        : run_case<TestType, bf16, std::int32_t>(m, c);
  });
}

TEST_CASE("embedding of blocks is that of their values", "[embedding]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Sampler sampler(4);
    for (const BlockFormat format : kBlockFormats) {
      constexpr index_t kRows = 5, kColumns = 512, kCount = 4;
      std::vector<float> values(static_cast<std::size_t>(kRows * kColumns));
      for (float& v : values) v = m.random.value<float>(Values::kModerate);
      // At an odd address, too.
      for (const index_t skipped : {0, 1}) {
        if (sampler.skip()) continue;
        std::vector<std::byte> bytes(
            static_cast<std::size_t>(row_bytes(format, kColumns) * kRows + skipped));
        const BlockView table = blocks(format, bytes.data() + skipped, kRows, kColumns, 0.37f);
        quantize(row_major(values, {kRows, kColumns}), table, {.context = &context});
        std::vector<float> exact(values.size());
        dequantize(table, row_major(exact, {kRows, kColumns}), {.context = &context});
        const std::vector<std::int64_t> indices = {4, 0, 4, 2};
        const auto check = [&]<class U>(U, Order order, float scale) {
          Tensor<U, 2> y(m.y, m.random, {kCount, kColumns}, order, Edge::kEnd);
          std::vector<U> expected = y.copy();
          ref::embedding(View<const float, 2>(row_major(exact, {kRows, kColumns})),
                         View<const std::int64_t, 1>(row_major(indices, {kCount})),
                         y.view_of(expected), scale);
          embedding(table, row_major(indices, {kCount}), y.view(),
                    {.scale = scale, .context = &context});
          CAPTURE(info(format).name, skipped, scale);
          CHECK(y.difference(expected) == "");
        };
        check(float{}, Order::kDense, 1.0f);
        check(bf16{}, Order::kApart, 3.3f);
        check(float{}, Order::kAny, 0.7f);
      }
    }
  });
}

TEST_CASE("embedding does not depend on threads", "[embedding]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    Case c{.rows = 50, .columns = 1000, .count = 70, .scale = 2.5f};
    c.context = &context;
    if (reduced_effort()) c.count = 20;
    tally.add(run_case<f16, float, std::int32_t>(m, c), [&] { return describe(c); });
    tally.add(run_case<bf16, f16, std::int64_t>(m, c), [&] { return describe(c); });
    c.scale = 1;
    tally.add(run_case<bf16, bf16, std::int64_t>(m, c), [&] { return describe(c); });
  });
}

TEST_CASE("embedding: the same bits everywhere", "[embedding][reproducibility]") {
  constexpr std::uint64_t kGolden = 0xdc064d9619fe4ba4;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    for (const BlockFormat format : kBlockFormats) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(3 * row_bytes(format, 256)));
      for (std::byte& b : bytes) b = static_cast<std::byte>(random.below(64));  // no NaN
      std::vector<float> y(2 * 256);
      const std::vector<std::int32_t> indices = {2, 0};
      embedding(blocks(format, bytes.data(), 3, 256), row_major(indices, {2}),
                row_major(y, {2, 256}), {.scale = 1.1f, .context = &context});
      for (const float v : y) digest.add(v);
    }
    append_digest("embedding", target, digest.value());
    CHECK(digest.value() == kGolden);  // no sums: also without fused multiply-adds
  });
}

TEST_CASE("embedding refuses wrong arguments and writes nothing", "[embedding]") {
  std::vector<float> table(12, 1.0f), y(8, 7.0f);
  std::vector<std::int32_t> indices = {2, 0};
  const auto from = row_major(table, {3, 4});
  const auto to = row_major(y, {2, 4});
  const auto error = [&](std::int32_t index) {
    indices[1] = index;
    return error_of([&] { embedding(from, row_major(indices, {2}), to); });
  };
  CHECK(error(3) ==
        "embedding: indices: expected numbers from 0 to 2 (the rows of table), got 3 (element 1)");
  CHECK(error(-1) ==
        "embedding: indices: expected numbers from 0 to 2 (the rows of table), got -1 (element 1)");
  indices[1] = 0;
  const std::vector<std::int64_t> wide = {0, std::int64_t{1} << 32};
  CHECK(error_of([&] { embedding(from, row_major(wide, {2}), to); }) ==
        "embedding: indices: expected numbers from 0 to 2 (the rows of table), got 4294967296 "
        "(element 1)");
  CHECK(
      error_of([&] { embedding(from, row_major(indices, {2}), row_major(y, {2, 3})); }) ==
      "embedding: y: expected extents {2, 4}, the number of indices and the columns of table, got "
      "{2, 3}");
  CHECK(error_of([&] {
          embedding(from, row_major(indices, {2}), row_major(table.data(), {2, 4}));
        }) == "embedding: y: expected memory that does not overlap table, got an overlapping view");
  CHECK(error_of([&] { embedding(from, row_major(indices, {2}), to, {.scale = 1.0f / 0.0f}); }) ==
        "embedding: options.scale: expected a finite number, got inf");
  std::vector<std::byte> bytes(3 * 34);
  ConstBlockView q = blocks(BlockFormat::kQ8_0, bytes.data(), 3, 32);
  q.cols = 33;
  CHECK(error_of([&] {
          embedding(q, row_major(indices, {2}), to);
        }).starts_with("embedding: table.cols: expected a multiple of 32 (a block of Q8_0)"));
  q.cols = 32;
  const View<float, 2> inside(reinterpret_cast<float*>(bytes.data()), {2, 32}, {-1, 1});
  CHECK(error_of([&] {
          embedding(q, row_major(indices, {2}), inside);
        }).starts_with("embedding: y: expected"));
  CHECK(y == std::vector<float>(8, 7.0f));

  // Nothing to do.
  embedding(from, row_major(indices.data(), {0}), row_major(y.data(), {0, 4}));
  CHECK(y == std::vector<float>(8, 7.0f));
}

}  // namespace tessera::test::embedding_test
