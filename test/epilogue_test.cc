// SPDX-License-Identifier: Apache-2.0
// Epilogues of gemm: every step, their order, where they read, and that each runs once per element.

#include "tessera/ops/epilogue.h"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "executors.h"
#include "guarded.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "matrix.h"
#include "random.h"
#include "tessera/ops/gemm.h"
#include "tessera/ref/gemm.h"
#include "testing.h"

namespace tessera::test::epilogue_test {

using s8 = std::int8_t;
using u8 = std::uint8_t;

// Inputs whose products and sums are exact in f32, so that every target gives the same sums.
template <class T>
std::vector<T> exact_values(Random& random, index_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& x : values) x = static_cast<T>(static_cast<float>(random.below(33) - 16) / 4);
  return values;
}

// f(context, description) with K in one block and in several, packed and in place, on one and three threads.
template <class F>
void for_each_way(Target target, F f) {
  hwy::ThreadPool pool(3);
  for (const index_t kc : {0, 5}) {
    for (const auto packing : {GemmTuning::Packing::kNever, GemmTuning::Packing::kAlways}) {
      for (const bool threads : {false, true}) {
        Context context;
        context.target = target;
        context.gemm.kc = kc;
        context.gemm.mc = kc;
        context.gemm.packing = packing;
        if (threads) context.executor = Executor::from_pool(pool);
        f(context, std::string(name(target)) + ", kc " + std::to_string(kc) + ", packing " +
                       std::to_string(static_cast<int>(packing)) + (threads ? ", threads" : ""));
      }
    }
  }
}

// A GEMM of TA x TB -> TC with an epilogue, against the specification with `spec` in double or float.
template <class TA, class TB, class TC, class Spec>
void check_epilogue(const Epilogue& epilogue, Spec spec, double tolerance = 0) {
  constexpr index_t m = 19, n = 71, k = 17;
  Random random;
  const auto a = exact_values<TA>(random, m * k);
  const auto b = exact_values<TB>(random, k * n);
  for_each_target([&](Target target) {
    Tally tally;
    GuardedMemory memory;
    for (const Layout layout : {Layout::kRowMajor, Layout::kStrided, Layout::kColMajor}) {
      for_each_way(target, [&](Context& context, const std::string& text) {
        Matrix<TC> c(memory, m, n, layout, Edge::kEnd);
        std::vector<TC> expected = c.copy();
        ref::gemm(row_major(a, {m, k}), row_major(b, {k, n}), c.view_of(expected), 1, 0, spec);
        gemm(row_major(a, {m, k}), row_major(b, {k, n}), c.view(), {.context = &context}, epilogue);
        if (tolerance > 0) {
          const auto want = c.view_of(expected);
          for (index_t i = 0; i < m; ++i) {
            for (index_t j = 0; j < n; ++j) {
              const double w = as_double(want(i, j)), got = as_double(c.view()(i, j));
              if (std::abs(got - w) <= tolerance * (1 + std::abs(w))) want(i, j) = c.view()(i, j);
            }
          }
        }
        tally.add(c.difference(expected), [&] { return text; });
      });
    }
  });
}

constexpr index_t kRows = 19, kCols = 71;

// Vectors and matrices that steps read; with gaps.
struct Data {
  std::vector<float> row, column, matrix;
  Data() {
    Random random(7);
    row = exact_values<float>(random, 3 * kRows);
    column = exact_values<float>(random, 2 * kCols);
    matrix = exact_values<float>(random, kRows * (kCols + 4));
  }
  View<const float, 1> rows() const { return {row.data(), {kRows}, {3}}; }
  View<const float, 1> columns() const { return {column.data(), {kCols}, {2}}; }
  View<const float, 1> dense_columns() const { return {column.data(), {kCols}, {1}}; }
  View<const float, 2> residual() const { return {matrix.data(), {kRows, kCols}, {kCols + 4, 1}}; }
};

TEST_CASE("epilogue steps that read memory", "[epilogue]") {
  const Data d;
  const auto r = d.rows(), c = d.columns();
  const auto x = d.residual();
  check_epilogue<float, float, float>(epi::bias(c),
                                      [&](float s, index_t, index_t j) { return s + c(j); });
  check_epilogue<float, bf16, float>(epi::row_bias(r),
                                     [&](float s, index_t i, index_t) { return s + r(i); });
  check_epilogue<float, float, float>(epi::column_scale(c),
                                      [&](float s, index_t, index_t j) { return s * c(j); });
  check_epilogue<s8, s8, float>(epi::row_scale(r),
                                [&](float s, index_t i, index_t) { return s * r(i); });
  check_epilogue<float, float, bf16>(epi::residual(x),
                                     [&](float s, index_t i, index_t j) { return s + x(i, j); });
  const auto dense = d.dense_columns();
  check_epilogue<float, float, float>(epi::bias(dense) | epi::row_scale(r) | epi::residual(x) |
                                          epi::column_scale(dense) | epi::row_bias(r) |
                                          epi::leaky_relu(-0.5) | epi::clamp(-300, 200),
                                      [&](float s, index_t i, index_t j) {
                                        s = ((s + dense(j)) * r(i) + x(i, j)) * dense(j) + r(i);
                                        s = s < 0 ? s * -0.5f : s;
                                        return s < -300 ? -300 : s > 200 ? 200 : s;
                                      });
  std::vector<bf16> narrow(static_cast<std::size_t>(kRows * kCols));
  const auto n = col_major(narrow, {kRows, kCols});
  for (index_t i = 0; i < kRows; ++i) {
    for (index_t j = 0; j < kCols; ++j) n(i, j) = bf16(static_cast<float>(i - j) / 2);
  }
  check_epilogue<float, float, float>(epi::residual(n), [&](float s, index_t i, index_t j) {
    return s + static_cast<float>(n(i, j));
  });
}

TEST_CASE("epilogue steps with constants", "[epilogue]") {
  const auto value = [](auto f) {
    return [f](float s, index_t, index_t) { return static_cast<float>(f(s)); };
  };
  check_epilogue<float, float, float>(epi::scale(0.3), value([](float x) { return x * 0.3f; }));
  check_epilogue<float, float, float>(epi::relu(), value([](float x) { return x < 0 ? 0 : x; }));
  check_epilogue<float, float, f16>(epi::relu6(), value([](float x) {
                                      return x < 0 ? 0 : x > 6 ? 6 : x;
                                    }));
  check_epilogue<float, float, float>(epi::leaky_relu(0.1),
                                      value([](float x) { return x < 0 ? x * 0.1f : x; }));
  check_epilogue<float, float, float>(epi::clamp(-3, 2), value([](float x) {
                                        return x < -3 ? -3 : x > 2 ? 2 : x;
                                      }));
}

TEST_CASE("epilogue activations", "[epilogue]") {
  const auto value = [](auto f) {
    return [f](float s, index_t, index_t) { return static_cast<float>(f(static_cast<double>(s))); };
  };
  constexpr double kTolerance = 4e-7;  // math_test.cc has the exact bounds
  const auto logistic = [](double x) { return 1 / (1 + std::exp(-x)); };
  check_epilogue<float, float, float>(
      epi::gelu(), value([](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }),
      kTolerance);
  check_epilogue<float, float, float>(
      epi::gelu_tanh(), value([](double x) {
        return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      }),
      kTolerance);
  check_epilogue<float, float, float>(epi::silu(), value([&](double x) { return x * logistic(x); }),
                                      kTolerance);
  check_epilogue<float, float, float>(epi::sigmoid(), value(logistic), kTolerance);
  check_epilogue<float, float, float>(epi::tanh(), value([](double x) { return std::tanh(x); }),
                                      kTolerance);
  check_epilogue<float, float, float>(
      epi::hard_swish(), value([](double x) { return x * std::fmin(std::fmax(x + 3, 0), 6) / 6; }),
      kTolerance);
}

TEST_CASE("epilogue steps run in order, and once", "[epilogue]") {
  const Data d;
  const auto c = d.columns();
  const auto x = d.residual();
  // Each order gives other numbers.
  check_epilogue<float, float, float>(
      epi::bias(c) | epi::scale(0.5) | epi::relu() | epi::residual(x) | epi::clamp(-5, 5),
      [&](float s, index_t i, index_t j) {
        s = (s + c(j)) * 0.5f;
        s = (s < 0 ? 0 : s) + x(i, j);
        return s < -5 ? -5 : s > 5 ? 5 : s;
      });
  check_epilogue<float, float, float>(epi::relu() | epi::bias(c), [&](float s, index_t, index_t j) {
    return (s < 0 ? 0 : s) + c(j);
  });
}

TEST_CASE("epilogue requantizes", "[epilogue]") {
  const Data d;
  const auto c = d.columns();
  // Halves are common here: ties must go to even, and sums beyond 8 bits must saturate.
  const auto spec = [](float scale, float zero_point) {
    return [=](float s, index_t, index_t) { return std::nearbyint(s * scale) + zero_point; };
  };
  check_epilogue<s8, s8, s8>(epi::requantize(0.5), spec(0.5f, 0));
  check_epilogue<s8, s8, u8>(epi::requantize(0.25, 128), spec(0.25f, 128));
  check_epilogue<u8, s8, s8>(epi::requantize(4, -3), spec(4, -3));
  check_epilogue<s8, s8, s8>(
      epi::column_scale(c) | epi::requantize(1, 5),
      [&](float s, index_t, index_t j) { return std::nearbyint(s * c(j)) + 5; });
  check_epilogue<u8, s8, s8>(epi::requantize(c, -7), [&](float s, index_t, index_t j) {
    return std::nearbyint(s * c(j)) - 7;
  });
  check_epilogue<float, float, s8>(Epilogue(), spec(1, 0));

  // Contiguous scales: sums that are known to be within the range of 32 bits, and some that are not, or no numbers.
  std::vector<float> scales(kCols);
  for (index_t j = 0; j < kCols; ++j)
    scales[static_cast<std::size_t>(j)] = d.dense_columns()(j) / 64;
  const auto check_scales = [&](int zero_point) {
    const auto scaled = [&](float s, index_t, index_t j) {
      const float x = s * scales[static_cast<std::size_t>(j)];
      return std::nearbyint(x) + static_cast<float>(zero_point);
    };
    const auto x = row_major(scales, {kCols});
    check_epilogue<s8, s8, s8>(epi::requantize(x, zero_point), scaled);
    check_epilogue<u8, s8, u8>(epi::requantize(x, zero_point), scaled);
  };
  check_scales(0);
  check_scales(100);
  for (index_t j = 0; j < kCols; j += 7) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float extremes[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 1e30f,
                              -1e8f};
    scales[static_cast<std::size_t>(j)] = extremes[j % 5];
  }
  check_scales(0);
  check_scales(-128);
}

TEST_CASE("epilogue in f64", "[epilogue]") {
  std::vector<double> column(kCols);
  for (std::size_t j = 0; j < column.size(); ++j) column[j] = static_cast<double>(j) / 3;
  const View<const double, 1> c(column.data(), {kCols}, {1});
  check_epilogue<double, double, double>(epi::column_scale(c) | epi::clamp(-7, 9),
                                         [&](double s, index_t, index_t j) {
                                           s *= c(j);
                                           return s < -7 ? -7 : s > 9 ? 9 : s;
                                         });
}

TEST_CASE("an epilogue function sees every element once", "[epilogue]") {
  for_each_target([](Target target) {
    Tally tally;
    for_each_way(target, [&](Context& context, const std::string& text) {
      constexpr index_t m = 23, n = 65, k = 12;
      Random random;
      const auto a = exact_values<float>(random, m * k);
      const auto b = exact_values<float>(random, k * n);
      std::vector<float> c(m * n), expected(m * n);
      ref::gemm(
          row_major(a, {m, k}), row_major(b, {k, n}), row_major(expected, {m, n}), 1, 0,
          [](float s, index_t i, index_t j) { return 2 * s + static_cast<float>(100 * i + j); });
      const auto f = [](const EpilogueTile<float>& t) {
        for (index_t i = 0; i < t.values.extent(0); ++i) {
          for (index_t j = 0; j < t.values.extent(1); ++j) {
            t.values(i, j) = 2 * t.values(i, j) + static_cast<float>(100 * (t.row + i) + t.col + j);
          }
        }
      };
      gemm(row_major(a, {m, k}), row_major(b, {k, n}), row_major(c, {m, n}), {.context = &context},
           epi::function(f));
      tally.add(c == expected ? "" : "wrong", [&] { return text; });
    });
  });
}

TEST_CASE("a residual may be the result itself", "[epilogue]") {
  for_each_target([](Target target) {
    for_each_way(target, [&](Context& context, const std::string& text) {
      INFO(text);
      const index_t m = 9, n = 40, k = 31;
      const std::vector<float> a(static_cast<std::size_t>(m * k), 0.5f);
      const std::vector<float> b(static_cast<std::size_t>(k * n), 2.0f);
      std::vector<float> c(static_cast<std::size_t>(m * n), -3.0f);
      const auto view = row_major(c, {m, n});
      gemm(row_major(a, {m, k}), row_major(b, {k, n}), view, {.context = &context},
           epi::residual(view));
      CHECK(c == std::vector<float>(c.size(), 31.0f - 3.0f));
    });
  });
}

TEST_CASE("an epilogue of nothing to multiply", "[epilogue]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const std::vector<float> a(4), b(6);
    std::vector<float> bias = {1, 2, 3}, c = {1, 2, 3, 4, 5, 6};
    gemm(row_major(a.data(), {2, 0}), row_major(b.data(), {0, 3}), row_major(c, {2, 3}),
         {.beta = 2, .context = &context}, epi::bias(row_major(bias, {3})));
    CHECK(c == std::vector<float>{3, 6, 9, 9, 12, 15});
    gemm(row_major(a, {2, 2}), row_major(b, {2, 3}), row_major(c, {2, 3}),
         {.alpha = 0, .context = &context}, epi::bias(row_major(bias, {3})));
    CHECK(c == std::vector<float>{1, 2, 3, 1, 2, 3});
  });
}

// What a call was refused for.
std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.argument() + ": " + e.expected();
  }
  return "accepted";
}

TEST_CASE("epilogues are checked before anything is written", "[epilogue][check]") {
  std::vector<float> a(6), b(12), c(8, 7), x(8);
  std::vector<double> wide(8), da(6), db(12), dc(8);
  const auto run = [&](const Epilogue& e) {
    return refusal(
        [&] { gemm(row_major(a, {2, 3}), row_major(b, {3, 4}), row_major(c, {2, 4}), {}, e); });
  };
  CHECK(run(epi::bias(row_major(x, {3}))) == "epilogue, step 0: 4 elements");
  CHECK(run(epi::relu() | epi::row_scale(row_major(x, {4}))) == "epilogue, step 1: 2 elements");
  CHECK(run(epi::residual(row_major(x, {4, 2}))) == "epilogue, step 0: extents {2, 4}");
  CHECK(run(epi::bias(row_major(wide, {4}))) == "epilogue, step 0: elements of f32");
  CHECK(run(epi::bias(View<const float, 1>(nullptr, {4}, {1}))).substr(0, 21) ==
        "epilogue, step 0: dat");
  CHECK(run(epi::residual(View<const float, 2>(c.data(), {2, 4}, {4, -1}))).substr(0, 21) ==
        "epilogue, step 0: mem");
  CHECK(run(epi::bias(View<const float, 1>(c.data() + 2, {4}, {1}))).substr(0, 21) ==
        "epilogue, step 0: mem");
  CHECK(c == std::vector<float>(8, 7));
  CHECK(refusal([&] {
          gemm(row_major(da, {2, 3}), row_major(db, {3, 4}), row_major(dc, {2, 4}), {},
               epi::gelu());
        }).substr(0, 21) == "epilogue, step 0: ste");
  Epilogue many;
  CHECK(refusal([&] {
          for (int i = 0; i <= Epilogue::kMaxSteps; ++i) many = many | epi::relu();
        }) == "steps: at most 8");
}

}  // namespace tessera::test::epilogue_test
