// SPDX-License-Identifier: Apache-2.0
// Importers, against packers that put each code where the layout says it is.

#include "tessera/ops/import_quantized.h"

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "matrix.h"
#include "random.h"
#include "testing.h"

namespace tessera::test {
namespace {

using Words = std::vector<std::int32_t>;

void put(std::int32_t& word, int shift, int code) {
  word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) |
                                   static_cast<std::uint32_t>(code) << shift);
}

// Codes [k, n], zero points and scales [groups, n], as a checkpoint has them before packing.
struct Weights {
  index_t k, n, groups;
  int bits;
  std::vector<int> codes, zero_points;
  std::vector<f16> scales;

  Weights(index_t k_, index_t n_, index_t groups_, int bits_, Random& random)
      : k(k_), n(n_), groups(groups_), bits(bits_) {
    for (index_t i = 0; i < k * n; ++i) codes.push_back(static_cast<int>(random.below(1 << bits)));
    for (index_t i = 0; i < groups * n; ++i) {
      zero_points.push_back(static_cast<int>(random.below(1 << bits)));
      scales.push_back(random.value<f16>(Values::kModerate));
    }
  }

  int code(index_t i, index_t j) const { return codes[static_cast<std::size_t>(i * n + j)]; }
  int zero_point(index_t g, index_t j) const {
    return zero_points[static_cast<std::size_t>(g * n + j)];
  }
  auto scale_view() const { return row_major(scales, {groups, n}); }

  // The value of the weight of input i in group g.
  float value(index_t i, index_t g, index_t j) const {
    return static_cast<float>(code(i, j) - zero_point(g, j)) *
           static_cast<float>(scales[static_cast<std::size_t>(g * n + j)]);
  }
};

// Eight outputs to a word, those of even number first.
template <class F>
Words pack_awq(index_t rows, index_t n, F code) {
  constexpr std::array<int, 8> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};
  Words words(static_cast<std::size_t>(rows * n / 8));
  for (index_t i = 0; i < rows; ++i) {
    for (index_t w = 0; w < n / 8; ++w) {
      for (int t = 0; t < 8; ++t) {
        put(words[static_cast<std::size_t>(i * n / 8 + w)], 4 * t,
            code(i, 8 * w + kOrder[static_cast<std::size_t>(t)]));
      }
    }
  }
  return words;
}

TEST_CASE("import of AWQ", "[import]") {
  Random random;
  StdThreads threads{3};
  Context context;
  context.executor = Executor::from_function(3, threads);
  for (const auto& [k, n, groups] :
       {std::array<index_t, 3>{128, 8, 1}, {96, 40, 3}, {64, 104, 2}, {1, 16, 1}, {10, 64, 5}}) {
    const Weights w(k, n, groups, 4, random);
    const Words qweight = pack_awq(k, n, [&](index_t i, index_t j) { return w.code(i, j); });
    const Words qzeros =
        pack_awq(groups, n, [&](index_t g, index_t j) { return w.zero_point(g, j); });
    const GroupQuantizedMatrix matrix =
        import_awq(row_major(qweight, {k, n / 8}), row_major(qzeros, {groups, n / 8}),
                   w.scale_view(), &context);
    const GroupQuantizedView v = matrix.view();
    CHECK((v.rows == n && v.cols == k && v.bits == 4 && !v.is_signed && v.group == k / groups));
    int wrong = 0;
    for (index_t j = 0; j < n; ++j) {
      for (index_t i = 0; i < k; ++i) wrong += v.value(j, i) != w.value(i, i / (k / groups), j);
    }
    CHECK(wrong == 0);
  }
}

struct Gptq {
  Words qweight, qzeros;
  index_t words, zero_words;
};

Gptq pack_gptq(const Weights& w, int less) {
  const int per_word = 32 / w.bits;
  Gptq g{.qweight = {}, .qzeros = {}, .words = w.k / per_word, .zero_words = w.n / per_word};
  g.qweight.resize(static_cast<std::size_t>(g.words * w.n));
  g.qzeros.resize(static_cast<std::size_t>(w.groups * g.zero_words));
  for (index_t i = 0; i < w.k; ++i) {
    for (index_t j = 0; j < w.n; ++j) {
      put(g.qweight[static_cast<std::size_t>(i / per_word * w.n + j)],
          static_cast<int>(i % per_word) * w.bits, w.code(i, j));
    }
  }
  for (index_t i = 0; i < w.groups; ++i) {
    for (index_t j = 0; j < w.n; ++j) {
      put(g.qzeros[static_cast<std::size_t>(i * g.zero_words + j / per_word)],
          static_cast<int>(j % per_word) * w.bits, w.zero_point(i, j) - less);
    }
  }
  return g;
}

TEST_CASE("import of GPTQ", "[import]") {
  Random random;
  StdThreads threads{3};
  Context context;
  context.executor = Executor::from_function(3, threads);
  for (const int bits : {8, 4, 2}) {
    for (const bool less_one : {false, true}) {
      for (const int order : {0, 1, 2}) {  // none, one that changes nothing, a shuffled one
        constexpr index_t kInputs = 96, kOutputs = 80, kGroups = 3;
        Weights w(kInputs, kOutputs, kGroups, bits, random);
        if (less_one) {  // 1 .. 2^bits
          for (int& z : w.zero_points) z += z < 255 ? 1 : 0;
        }
        const Gptq g = pack_gptq(w, less_one ? 1 : 0);
        std::vector<std::int32_t> g_idx(order == 0 ? 0 : kInputs);
        for (std::size_t i = 0; i < g_idx.size(); ++i) {
          g_idx[i] = static_cast<std::int32_t>(i / (kInputs / kGroups));
        }
        for (std::size_t i = g_idx.size(); order == 2 && i > 1; --i) {
          std::swap(g_idx[i - 1],
                    g_idx[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
        }
        const GptqWeights imported = import_gptq(
            row_major(g.qweight, {g.words, kOutputs}), row_major(g.qzeros, {kGroups, g.zero_words}),
            w.scale_view(),
            {.bits = bits, .zero_points_less_one = less_one, .g_idx = g_idx, .context = &context});
        const GroupQuantizedView v = imported.matrix.view();
        CHECK((v.rows == kOutputs && v.cols == kInputs && v.bits == bits && !v.is_signed));
        CHECK(imported.order.empty() == (order != 2));
        int wrong = 0;
        for (index_t column = 0; column < kInputs; ++column) {
          const index_t i =
              imported.order.empty() ? column : imported.order[static_cast<std::size_t>(column)];
          const index_t group =
              order == 2 ? g_idx[static_cast<std::size_t>(i)] : i / (kInputs / kGroups);
          for (index_t j = 0; j < kOutputs; ++j) {
            wrong += v.value(j, column) != w.value(i, group, j);
          }
        }
        CAPTURE(bits, less_one, order);
        CHECK(wrong == 0);
        std::vector<std::int32_t> all = imported.order;
        std::sort(all.begin(), all.end());
        for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i] == static_cast<std::int32_t>(i));
      }
    }
  }
}

TEST_CASE("zero points of GPTQ at the end of their range", "[import]") {
  const Words qweight(8), qzeros = {-1};  // all fields full
  const std::vector<f16> scales(8, f16(1.0f));
  const auto zero_point = [&](bool less_one) {
    return import_gptq(row_major(qweight, {1, 8}), row_major(qzeros, {1, 1}),
                       row_major(scales, {1, 8}), {.zero_points_less_one = less_one})
        .matrix.view()
        .zero_point(7, 0);
  };
  CHECK(zero_point(true) == 16);
  CHECK(zero_point(false) == 15);
}

TEST_CASE("importers refuse tensors that do not fit", "[import]") {
  const Words words(64);
  const std::vector<f16> halves(64, f16(1.0f));
  const auto view = [&](index_t rows, index_t cols) {
    return row_major(words.data(), {rows, cols});
  };
  const auto scales = [&](index_t rows, index_t cols) {
    return row_major(halves.data(), {rows, cols});
  };
  CHECK(error_of([&] { import_awq(view(8, 2), view(2, 2), scales(2, 8)); }) ==
        "import_awq: scales: expected 16 columns, one per output, got 8");
  CHECK(error_of([&] { import_awq(view(8, 2), view(3, 2), scales(3, 16)); }) ==
        "import_awq: scales: expected a number of rows that divides 8, the inputs, got 3");
  CHECK(error_of([&] { import_awq(view(8, 2), view(2, 3), scales(2, 16)); }) ==
        "import_awq: qzeros: expected extents {2, 2}, got {2, 3}");
  CHECK(error_of([&] {
          import_awq(row_major(static_cast<const std::int32_t*>(nullptr), {8, 2}), view(2, 2),
                     scales(2, 16));
        }) == "import_awq: qweight: expected data for extents {8, 2}, got a null pointer");
  CHECK(error_of([&] {
          import_awq(row_major(words.data(), {index_t{0}, index_t{1} << 61}), view(0, 0),
                     scales(0, 0));
        }).starts_with("import_awq: qweight: expected sizes within the address space"));
  GptqOptions options;
  const auto gptq = [&] {
    return error_of([&] { import_gptq(view(2, 8), view(2, 1), scales(2, 8), options); });
  };
  CHECK(gptq() == "no error");
  options.bits = 3;
  CHECK(gptq() == "import_gptq: options.bits: expected 8, 4 or 2, got 3");
  options.bits = 4;
  std::vector<std::int32_t> g_idx(15);
  options.g_idx = g_idx;
  CHECK(gptq() == "import_gptq: options.g_idx: expected 16 elements, one per input, got 15");
  g_idx.resize(16);
  options.g_idx = g_idx;
  CHECK(
      gptq() ==
      "import_gptq: options.g_idx: expected 8 inputs in each of 2 groups, got group 0 at input 8");
  g_idx[3] = -1;
  CHECK(
      gptq() ==
      "import_gptq: options.g_idx: expected 8 inputs in each of 2 groups, got group -1 at input 3");
  CHECK(error_of([&] { import_gptq(view(0, 8), view(0, 1), scales(0, 8)); }) == "no error");
}

}  // namespace
}  // namespace tessera::test
