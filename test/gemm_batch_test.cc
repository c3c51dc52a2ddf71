// SPDX-License-Identifier: Apache-2.0
// gemm_batched and gemm_grouped: the same bits as one gemm after another.

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "executors.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "random.h"
#include "tessera/ops/gemm.h"
#include "testing.h"

namespace tessera::test {
namespace {

template <class T>
std::vector<T> random_values(Random& random, index_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& x : values) x = random.value<T>(Values::kModerate);
  return values;
}

TEMPLATE_TEST_CASE("gemm_batched is gemm for each matrix", "[batch]", float, double, std::int8_t) {
  using T = TestType;
  using C = std::conditional_t<std::is_integral_v<T>, std::int32_t, T>;
  Random random;
  const index_t batch = 7, m = 5, n = 19, k = 11;
  const auto a = random_values<T>(random, batch * m * k);
  const auto b = random_values<T>(random, batch * k * n);
  // Matrix after matrix; the batch between rows and columns; one B for all.
  const View<const T, 3> as[] = {{a.data(), {batch, m, k}, {m * k, k, 1}},
                                 {a.data(), {batch, m, k}, {k, batch * k, 1}}};
  const View<const T, 3> bs[] = {{b.data(), {batch, k, n}, {k * n, n, 1}},
                                 {b.data(), {batch, k, n}, {0, 1, k}}};
  const std::array<index_t, 3> c_strides[] = {{m * n, n, 1}, {n, batch * n, 1}};
  for_each_target([&](Target target) {
    for (const int threads : {1, 3}) {
      hwy::ThreadPool pool(static_cast<std::size_t>(threads));
      Context context;
      context.target = target;
      context.executor = Executor::from_pool(pool);
      for (const auto& va : as) {
        for (const auto& vb : bs) {
          for (const auto& strides : c_strides) {
            std::vector<C> c(static_cast<std::size_t>(batch * m * n), C(77));
            std::vector<C> expected = c;
            const View<C, 3> vc(c.data(), {batch, m, n}, strides);
            for (index_t i = 0; i < batch; ++i) {
              gemm(View<const T, 2>(va.data + i * va.strides[0], {m, k},
                                    {va.strides[1], va.strides[2]}),
                   View<const T, 2>(vb.data + i * vb.strides[0], {k, n},
                                    {vb.strides[1], vb.strides[2]}),
                   View<C, 2>(expected.data() + i * strides[0], {m, n}, {strides[1], strides[2]}),
                   {.context = &context});
            }
            gemm_batched(va, vb, vc, {.context = &context});
            CHECK(c == expected);
          }
        }
      }
    }
  });
}

TEST_CASE("gemm_batched with one packed matrix and an epilogue", "[batch]") {
  Random random;
  const index_t batch = 3, m = 4, n = 33, k = 20;
  const auto a = random_values<float>(random, batch * m * k);
  const auto b = random_values<float>(random, k * n);
  const auto bias = random_values<float>(random, n);
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    const auto epilogue = epi::bias(row_major(bias, {n})) | epi::relu();
    std::vector<float> c(static_cast<std::size_t>(batch * m * n)), expected = c;
    gemm(row_major(a, {batch * m, k}), row_major(b, {k, n}), row_major(expected, {batch * m, n}),
         {.context = &context}, epilogue);
    const auto packed = pack_b(row_major(b, {k, n}), {.context = &context});
    gemm_batched(row_major(a, {batch, m, k}), packed, row_major(c, {batch, m, n}),
                 {.context = &context}, epilogue);
    CHECK(c == expected);
  });
}

// A mixture of experts: other numbers of rows for each, some of none, weights packed.
TEST_CASE("gemm_grouped is gemm for each group", "[batch]") {
  Random random;
  const index_t n = 40, k = 24;
  const index_t rows[] = {3, 0, 17, 1, 8, 0, 2, 30};
  const auto weights = random_values<bf16>(random, 8 * k * n);
  for_each_target([&](Target target) {
    for (const int threads : {1, 3}) {
      hwy::ThreadPool pool(static_cast<std::size_t>(threads));
      Context context;
      context.target = target;
      context.executor = Executor::from_pool(pool);
      index_t total = 0;
      for (const index_t m : rows) total += m;
      Random inputs(3);
      const auto a = random_values<float>(inputs, total * k);
      std::vector<float> c(static_cast<std::size_t>(total * n), 5), expected = c;
      std::vector<PackedB<bf16>> packed;
      for (index_t e = 0; e < 8; ++e) {
        packed.push_back(
            pack_b(row_major(weights.data() + e * k * n, {k, n}), {.context = &context}));
      }
      using Group = GemmGroup<View<const float, 2>, PackedB<bf16>, View<float, 2>>;
      std::vector<Group> groups;
      index_t row = 0;
      for (std::size_t e = 0; e < 8; ++e) {
        const index_t m = rows[e];
        const View<const float, 2> va = row_major(a.data() + row * k, {m, k});
        gemm(va, packed[e], row_major(expected.data() + row * n, {m, n}), {.context = &context});
        groups.push_back({va, &packed[e], row_major(c.data() + row * n, {m, n})});
        row += m;
      }
      gemm_grouped<View<const float, 2>, PackedB<bf16>, View<float, 2>>(groups,
                                                                        {.context = &context});
      CHECK(c == expected);
    }
  });
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.function() + ": " + e.argument();
  }
  return "accepted";
}

TEST_CASE("batches and groups are checked before anything is written", "[batch][check]") {
  std::vector<float> a(24), b(24), c(24, 7);
  const auto va = row_major(a, {2, 3, 4}), vb = row_major(b, {2, 4, 3});
  CHECK(refusal([&] { gemm_batched(va, vb, row_major(c, {1, 3, 3})); }) == "gemm_batched: c");
  CHECK(refusal([&] { gemm_batched(va, row_major(b, {1, 4, 3}), row_major(c, {2, 3, 3})); }) ==
        "gemm_batched: b");
  const auto batch_of = [&](index_t batch) {
    return View<float, 3>(a.data(), {batch, 3, 3}, {9, 3, 1});
  };
  CHECK(refusal([&] {
          gemm_batched(batch_of(-1), batch_of(-1), View<float, 3>(c.data(), {-1, 3, 3}, {9, 3, 1}));
        }) == "gemm_batched: a");
  // Matrices of the result that meet.
  CHECK(refusal([&] { gemm_batched(va, vb, View<float, 3>(c.data(), {2, 3, 3}, {5, 3, 1})); }) ==
        "gemm_batched: c");
  CHECK(refusal([&] { gemm_batched(va, vb, View<float, 3>(c.data(), {2, 3, 3}, {0, 3, 1})); }) ==
        "gemm_batched: c");
  // The second group is wrong: the first is not computed.
  using Group = GemmGroup<View<float, 2>, View<float, 2>, View<float, 2>>;
  const auto good_b = row_major(b.data(), {4, 3});
  const View<float, 2> bad_b = row_major(b.data(), {3, 3});
  const View<float, 2> b_view = good_b;
  const std::vector<Group> groups = {
      {row_major(a.data(), {3, 4}), &b_view, row_major(c.data(), {3, 3})},
      {row_major(a.data(), {3, 4}), &bad_b, row_major(c.data() + 9, {3, 3})}};
  CHECK(refusal([&] { gemm_grouped<View<float, 2>, View<float, 2>, View<float, 2>>(groups); }) ==
        "gemm_grouped: b");
  CHECK(c == std::vector<float>(24, 7));
}

}  // namespace
}  // namespace tessera::test
