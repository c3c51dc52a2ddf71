// SPDX-License-Identifier: Apache-2.0
// gemm on every target, register tile, way of packing and cache blocking.

#include "tessera/ops/gemm.h"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "executors.h"
#include "gemm_case.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "tessera/ref/gemm.h"
#include "testing.h"

namespace tessera::test::gemm_test {

constexpr Packing kPackings[] = {Packing::kAuto, Packing::kNever, Packing::kAlways};

// No blocks to speak of; those of the machine, which small shapes never fill; blocks of one panel,
// so that every loop around the kernels turns; blocks that are no multiple of the tile.
std::vector<GemmTuning> blockings(const TileSize& tile) {
  return {{}, {.mc = 1, .kc = 1, .nc = 1}, {.mc = 2 * tile.mr + 1, .kc = 7, .nc = tile.nr + 1}};
}

// f(tuning) for every tile, packing and blocking of a target.
template <class T, class F>
void for_each_tuning(Target target, F f) {
  for (int tile = 0; tile < tile_count<T>(target); ++tile) {
    const TileSize size = tile_size<T>(target, tile);
    for (GemmTuning tuning : blockings(size)) {
      for (const Packing packing : kPackings) {
        tuning.tile = tile;
        tuning.packing = packing;
        f(size, tuning);
      }
    }
  }
}

TEMPLATE_TEST_CASE("gemm around every edge of every tile", "[gemm]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(16);
    unsigned count = 0;
    for_each_tuning<T>(target, [&](const TileSize& size, const GemmTuning& tuning) {
      for (const Shape& s : shapes_around(size, 7)) {
        const GemmCase g{.target = target,
                         .tuning = tuning,
                         .m = s.m,
                         .n = s.n,
                         .k = s.k,
                         .beta = ++count % 3 == 0 ? 1.0 : 0.0,
                         .edges = count % 8};
        if (sampler.skip()) continue;
        tally.add(run_case<T>(w, g), [&] { return describe(g); });
      }
    });
  });
}

TEMPLATE_TEST_CASE("gemm with every layout of every operand", "[gemm]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(40);
    unsigned count = 0;
    constexpr double kFactors[] = {1, 0, -1, 0.1, 1.7};
    for (int tile = 0; tile < tile_count<T>(target); ++tile) {
      const TileSize size = tile_size<T>(target, tile);
      const Shape shapes[] = {{size.mr + 1, size.nr + 1, 9},
                              {1, size.nr + 1, 9},
                              {size.mr + 1, 1, 9},
                              {2 * size.mr, size.nr, 1},
                              {3, size.lanes, 5}};
      const auto tunings = blockings(size);
      for (const Layout a : kInputLayouts) {
        for (const Layout b : kInputLayouts) {
          for (const Layout c : kOutputLayouts) {
            ++count;
            if (sampler.skip()) continue;
            const Shape& s = shapes[count % std::size(shapes)];
            GemmTuning tuning = tunings[count / 2 % tunings.size()];
            tuning.tile = tile;
            tuning.packing = kPackings[count / 7 % std::size(kPackings)];
            const GemmCase g{.target = target,
                             .tuning = tuning,
                             .m = s.m,
                             .n = s.n,
                             .k = s.k,
                             .a = a,
                             .b = b,
                             .c = c,
                             .alpha = kFactors[count / 3 % std::size(kFactors)],
                             .beta = kFactors[count / 11 % std::size(kFactors)],
                             .edges = count / 5 % 8};
            tally.add(run_case<T>(w, g), [&] { return describe(g); });
          }
        }
      }
    }
  });
}

TEMPLATE_TEST_CASE("gemm with every alpha and beta", "[gemm]", float, double) {
  using T = TestType;
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const double factors[] = {1,    0,     -0.0, -1,    0.5,   0.1,
                            -3.3, 1e-40, 1e30, 1e300, -kInf, std::nan("")};
  for_each_target([&](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(16);
    for (int tile = 0; tile < tile_count<T>(target); ++tile) {
      const TileSize size = tile_size<T>(target, tile);
      for (const double alpha : factors) {
        for (const double beta : factors) {
          const bool moderate =
              std::abs(alpha) < 10 && std::abs(beta) < 10 && alpha != 1e-40 && beta != 1e-40;
          if (!has_fma(target) && !moderate) continue;  // no error bound for those
          for (const Packing packing : kPackings) {
            for (const Layout c : {Layout::kRowMajor, Layout::kColMajor, Layout::kStrided}) {
              if (sampler.skip()) continue;
              const GemmCase g{.target = target,
                               .tuning = {.tile = tile, .kc = 5, .packing = packing},
                               .m = size.mr + 1,
                               .n = size.nr + 1,
                               .k = 12,
                               .c = c,
                               .alpha = alpha,
                               .beta = beta};
              tally.add(run_case<T>(w, g), [&] { return describe(g); });
            }
          }
        }
      }
    }
  });
}

// The blocks of this machine's caches, K beyond one of them, and sums long enough to err.
TEMPLATE_TEST_CASE("gemm of large matrices", "[gemm]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    for (int tile = -1; tile < tile_count<T>(target); ++tile) {
      const bool is_scalar =
          target == Target::kScalar || target == Target::kScalar3 || target == Target::kScalar5;
      const index_t size = reduced_effort() ? 20 : is_scalar ? 40 : 160;
      for (const Shape s : {Shape{size, size, 1100}, Shape{size + 13, 2 * size + 1, 523},
                            Shape{3, 2 * size, 600}, Shape{2 * size + 5, 2, 600}}) {
        const GemmCase g{.target = target,
                         .tuning = {.tile = tile},
                         .m = s.m,
                         .n = s.n,
                         .k = s.k,
                         .beta = 1,
                         .values = Values::kModerate};
        tally.add(run_case<T>(w, g), [&] { return describe(g); });
      }
    }
  });
}

// Above the size up to which gemm leaves its operands where they are.
TEST_CASE("gemm packs large operands by itself", "[gemm]") {
  if (reduced_effort()) SKIP("seconds under an emulator");
  Workspace w;
  GemmCase g{.target = active_target(), .m = 100, .n = 161, .k = 500};
  Context context;
  context.target = g.target;
  while (!plan_gemm<float>(g.m, g.n, g.k, &context).packs_b && g.k < 10000) g.k += 500;
  const GemmPlan plan = plan_gemm<float>(g.m, g.n, g.k, &context);
  CHECK(plan.packs_b);
  CHECK(plan.packs_a);
  CHECK(run_case<float>(w, g) == "");
}

TEMPLATE_TEST_CASE("gemm keeps the error bound", "[gemm]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    for (int tile = 0; tile < tile_count<T>(target); ++tile) {
      const TileSize size = tile_size<T>(target, tile);
      for (const index_t k : {1, 2, 10, 100, 333}) {
        for (const double alpha : {1.0, 0.3}) {
          for (const double beta : {0.0, 1.0, -0.7}) {
            const GemmCase g{.target = target,
                             .tuning = {.tile = tile},
                             .m = size.mr + 1,
                             .n = size.lanes + 1,
                             .k = k,
                             .alpha = alpha,
                             .beta = beta,
                             .values = Values::kModerate};
            Operands<T> o(w, g);
            Context context;
            context.target = target;
            context.gemm = g.tuning;
            gemm(o.a.read_only(), o.b.read_only(), o.c.view(),
                 {.alpha = alpha, .beta = beta, .context = &context});
            tally.add(outside_error_bound(g, o), [&] { return describe(g); });
          }
        }
      }
    }
  });
}

TEMPLATE_TEST_CASE("gemm with any bit pattern", "[gemm]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    if (!has_fma(target)) return;  // nothing to compare with
    Workspace w;
    Tally tally;
    Sampler sampler(8);
    for_each_tuning<T>(target, [&](const TileSize& size, const GemmTuning& tuning) {
      for (const index_t k : {1, 2, 9}) {  // with more, every sum is a NaN
        for (const double beta : {0.0, 1.0, 0.5}) {
          for (const Layout c : {Layout::kRowMajor, Layout::kColMajor, Layout::kStrided}) {
            if (sampler.skip()) continue;
            const GemmCase g{.target = target,
                             .tuning = tuning,
                             .m = size.mr + 2,
                             .n = size.nr + 3,
                             .k = k,
                             .c = c,
                             .beta = beta,
                             .values = Values::kAnyBits};
            tally.add(run_case<T>(w, g), [&] { return describe(g); });
          }
        }
      }
    });
  });
}

// A NaN or an infinity reaches the elements that it should, and no other: not by way of padding, of
// zeros that are multiplied with it, or of vectors that are longer than the matrix.
TEMPLATE_TEST_CASE("gemm propagates NaN and infinity", "[gemm]", float, double) {
  using T = TestType;
  constexpr T kInf = std::numeric_limits<T>::infinity();
  constexpr T kNan = std::numeric_limits<T>::quiet_NaN();
  for_each_target([&](Target target) {
    for_each_tuning<T>(target, [&](const TileSize& size, const GemmTuning& tuning) {
      const index_t m = size.mr + 1, n = size.nr + 1, k = 5;
      Context context;
      context.target = target;
      context.gemm = tuning;
      const auto cells = [](index_t rows, index_t cols) {
        return std::vector<T>(static_cast<std::size_t>(rows * cols), T{1});
      };
      std::vector<T> a_cells = cells(m, k), b_cells = cells(k, n), c_cells = cells(m, n);
      const auto a = row_major(a_cells, {m, k});
      const auto b = row_major(b_cells, {k, n});
      const auto c = row_major(c_cells, {m, n});
      for (const T special : {kNan, kInf, -kInf}) {
        for (const index_t i : {index_t{0}, m / 2, m - 1}) {
          a(i, 2) = special;
          b(2, n - 1) = 0;
          gemm(a, b, c, {.context = &context});
          bool good = true;
          for (index_t r = 0; r < m; ++r) {
            for (index_t j = 0; j < n; ++j) {
              const bool times_zero = j == n - 1;
              const T got = c(r, j);
              good &= r != i                             ? got == (times_zero ? T{4} : T{5})
                      : times_zero || special != special ? got != got
                                                         : got == special;
            }
          }
          CHECK(good);
          a(i, 2) = 1;
          b(2, n - 1) = 1;
        }
        for (const index_t j : {index_t{0}, n / 2, n - 1}) {
          b(k - 1, j) = special;
          gemm(a, b, c, {.context = &context});
          bool good = true;
          for (index_t r = 0; r < m; ++r) {
            for (index_t s = 0; s < n; ++s) good &= s == j ? same(c(r, s), special) : c(r, s) == 5;
          }
          CHECK(good);
          b(k - 1, j) = 1;
        }
      }
      // Infinities of both signs in one sum.
      a(0, 0) = kInf, a(0, 1) = -kInf;
      gemm(a, b, c, {.context = &context});
      CHECK(std::isnan(c(0, 0)));
      CHECK(c(1, 0) == 5);
    });
  });
}

// Memory that cannot be read at all.
TEST_CASE("gemm does not read what it need not", "[gemm]") {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const p = mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(p != MAP_FAILED);
  const auto* const forbidden = static_cast<const float*>(p);
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    std::vector<float> c_cells = {1, 2, 3, 4, 5, 6};
    const auto c = row_major(c_cells, {2, 3});
    SECTION("alpha = 0: a and b") {
      gemm(row_major(forbidden, {2, 4}), row_major(forbidden, {4, 3}), c,
           {.alpha = 0, .beta = 0.5, .context = &context});
      CHECK(c_cells == std::vector<float>{0.5, 1, 1.5, 2, 2.5, 3});
    }
    SECTION("k = 0: a and b") {
      gemm(row_major(forbidden, {2, 0}), row_major(forbidden, {0, 3}), c,
           {.beta = -1, .context = &context});
      CHECK(c_cells == std::vector<float>{-1, -2, -3, -4, -5, -6});
    }
    SECTION("an empty c: anything") {
      gemm(row_major(forbidden, {0, 4}), row_major(forbidden, {4, 3}),
           row_major(c_cells.data(), {0, 3}), {.beta = 1, .context = &context});
      gemm(row_major(forbidden, {2, 4}), row_major(forbidden, {4, 0}),
           row_major(c_cells.data(), {2, 0}), {.beta = 0, .context = &context});
      CHECK(c_cells == std::vector<float>{1, 2, 3, 4, 5, 6});
    }
  });
  munmap(p, page);
}

TEMPLATE_TEST_CASE("gemm with k = 0 or alpha = 0 is beta * C", "[gemm]", float, double) {
  using T = TestType;
  const double nan = std::nan("");
  for_each_target([&](Target target) {
    Workspace w;
    Tally tally;
    for (const Layout c : kOutputLayouts) {
      for (const double beta : {0.0, -0.0, 1.0, -2.0, 0.1, nan}) {
        for (const auto& [k, alpha] : {std::pair{0, 1.0}, {0, 0.3}, {6, 0.0}, {6, -0.0}}) {
          if (!has_fma(target) && beta != beta) continue;
          const GemmCase g{.target = target,
                           .m = 5,
                           .n = 11,
                           .k = k,
                           .c = c,
                           .alpha = alpha,
                           .beta = beta,
                           .values = Values::kAnyBits};
          tally.add(run_case<T>(w, g), [&] { return describe(g); });
        }
      }
    }
  });
}

TEST_CASE("gemm with empty extents does nothing", "[gemm]") {
  for_each_target([](Target target) {
    Workspace w;
    for (const Shape s : {Shape{0, 3, 4}, {3, 0, 4}, {0, 0, 4}, {0, 0, 0}, {0, 3, 0}, {3, 0, 0}}) {
      for (const double beta : {0.0, 2.0}) {
        const GemmCase g{.target = target, .m = s.m, .n = s.n, .k = s.k, .beta = beta};
        CHECK(run_case<float>(w, g) == "");
      }
    }
    // No memory at all.
    Context context;
    context.target = target;
    float* const none = nullptr;
    gemm(row_major(none, {0, 4}), row_major(none, {4, 0}), row_major(none, {0, 0}),
         {.context = &context});
    float c = 3;
    gemm(row_major(none, {1, 0}), row_major(none, {0, 1}), row_major(&c, {1, 1}),
         {.beta = 2, .context = &context});
    CHECK(c == 6);
  });
}

// ---- Threads

// Enough blocks that every loop around the kernels has several tasks. Waking threads that outnumber
// the cores takes long, so not every combination runs on each executor.
template <class T>
void check_executor(Target target, const Executor& executor, unsigned one_in) {
  Workspace w;
  Tally tally;
  unsigned count = 0;
  for (int tile = 0; tile < tile_count<T>(target); ++tile) {
    const TileSize size = tile_size<T>(target, tile);
    for (const Packing packing : kPackings) {
      for (const Layout c : {Layout::kRowMajor, Layout::kColMajor, Layout::kStrided}) {
        for (const Shape s : {Shape{5 * size.mr + 2, 3 * size.nr + 1, 20},
                              Shape{1, 4 * size.nr + 3, 30}, Shape{9 * size.mr, 1, 10}}) {
          for (GemmTuning tuning :
               {GemmTuning{.mc = 2, .kc = 9, .nc = 2 * size.nr}, GemmTuning{}}) {
            if (count++ % one_in != 0) continue;
            tuning.tile = tile;
            tuning.packing = packing;
            const GemmCase g{.target = target,
                             .tuning = tuning,
                             .m = s.m,
                             .n = s.n,
                             .k = s.k,
                             .b = c,
                             .c = c,
                             .beta = 1,
                             .executor = executor};
            tally.add(run_case<T>(w, g), [&] { return describe(g); });
          }
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("gemm on 1 to 4 threads of hwy::ThreadPool", "[gemm][threads]", float, double) {
  const unsigned threads = GENERATE(1u, 2u, 3u, 4u);
  hwy::ThreadPool pool(threads - 1);
  CAPTURE(threads);
  REQUIRE(pool.NumWorkers() == threads);
  for_each_target([&](Target target) {
    const unsigned one_in = threads == 1 ? 1 : threads == 2 ? 5 : 11;
    check_executor<TestType>(target, Executor::from_pool(pool),
                             reduced_effort() ? 2 * one_in + 1 : one_in);
  });
}

TEST_CASE("gemm on the user's own threads", "[gemm][threads]") {
  const int threads = GENERATE(2, 4);
  StdThreads parallel_for{threads};
  for_each_target([&](Target target) {
    Workspace w;
    const TileSize size = tile_size<float>(target, 0);
    for (const Packing packing : kPackings) {
      const GemmCase g{.target = target,
                       .tuning = {.kc = 9, .packing = packing},
                       .m = 5 * size.mr + 2,
                       .n = 3 * size.nr + 1,
                       .k = 20,
                       .executor = Executor::from_function(threads, parallel_for)};
      CHECK(run_case<float>(w, g) == "");
    }
  });
}

TEST_CASE("gemm whose tasks run in any order", "[gemm][threads]") {
  Reversed reversed;
  Shuffled shuffled;
  for_each_target([&](Target target) {
    for (const index_t concurrency : {2, 3, 16}) {
      const unsigned one_in = reduced_effort() ? 7 : 1;
      check_executor<float>(target, Executor::from_function(concurrency, reversed), one_in);
      check_executor<double>(target, Executor::from_function(concurrency, shuffled), one_in);
    }
  });
}

// Thin and deep: threads have nothing to share but k.
TEMPLATE_TEST_CASE("gemm splits k where it may", "[gemm][threads]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    for (const Numerics numerics : {Numerics::kReproducible, Numerics::kFast}) {
      Noting noting;
      const GemmCase g{.target = target,
                       .m = 3,
                       .n = 5,
                       .k = 5000,
                       .alpha = 0.5,
                       .values = Values::kModerate,
                       .executor = Executor::from_function(4, noting)};
      const auto call = [&](const auto& a, const auto& b, const auto& c, GemmOptions options) {
        options.numerics = numerics;
        gemm(a, b, c, options);
      };
      if (numerics == Numerics::kReproducible) {
        CHECK(run_case<T>(w, g, call) == "");
        CHECK(noting.first != 4);
        continue;
      }
      Operands<T> o(w, g);
      Context context;
      context.target = target;
      context.executor = g.executor;
      call(o.a.read_only(), o.b.read_only(), o.c.view(), {.alpha = g.alpha, .context = &context});
      CHECK(outside_error_bound(g, o) == "");
      CHECK(noting.first == 4);
    }
  });
}

TEST_CASE("gemm in two threads with a Context each", "[gemm][threads]") {
  const auto targets = tested_targets();
  std::string failures[2];
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      Workspace w;
      StdThreads parallel_for{2};
      for (int round = 0; round < 20; ++round) {
        const Target target = targets[static_cast<std::size_t>(round + t) % targets.size()];
        const GemmCase g{.target = target,
                         .tuning = {.kc = 16, .packing = Packing::kAlways},
                         .m = 30 + round,
                         .n = 41 + t,
                         .k = 50,
                         .executor = Executor::from_function(t + 1, parallel_for)};
        failures[t] += run_case<double>(w, g);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures[0] == "");
  CHECK(failures[1] == "");
}

TEST_CASE("gemm in several threads without a Context", "[gemm][threads]") {
  std::string failures[4];
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Workspace w;
      for (int round = 0; round < 10; ++round) {
        const GemmCase g{.target = active_target(),
                         .m = 20 + t,
                         .n = 33,
                         .k = 40 + round,
                         .a = Layout::kColMajor,
                         .b = Layout::kColMajor,
                         .c = Layout::kStrided};
        failures[t] += run_case<float>(
            w, g,
            [](const auto& a, const auto& b, const auto& c, const GemmOptions&) { gemm(a, b, c); });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : failures) CHECK(text == "");
}

// ---- Ways to pass operands

// As much of std::mdspan as is needed, with another index type.
template <class T>
struct Mdspan {
  using index_type = unsigned;
  T* pointer;
  unsigned rows, cols, row_stride, col_stride;
  T* data_handle() const { return pointer; }
  static constexpr std::size_t rank() { return 2; }
  unsigned extent(std::size_t i) const { return i == 0 ? rows : cols; }
  unsigned stride(std::size_t i) const { return i == 0 ? row_stride : col_stride; }
};

TEST_CASE("gemm takes anything like std::mdspan", "[gemm]") {
  std::vector<float> a = {1, 2, 3, 4, 5, 6}, b = {1, 0, 0, 1, 1, 1}, c(4);
  const Mdspan<const float> a_span{a.data(), 2, 3, 3, 1}, b_span{b.data(), 3, 2, 2, 1};
  const Mdspan<float> c_span{c.data(), 2, 2, 1, 2};
  gemm(a_span, b_span, c_span);
  CHECK(c == std::vector<float>{4, 10, 5, 11});
  gemm(a_span, row_major(b, {3, 2}), c_span, {.beta = 1});
  CHECK(c == std::vector<float>{8, 20, 10, 22});
  gemm(a_span, pack_b(b_span), c_span);
  CHECK(c == std::vector<float>{4, 10, 5, 11});
}

TEST_CASE("gemm takes views of const and of mutable elements", "[gemm]") {
  double a[] = {1, 2, 3, 4}, c[4];
  const double b[] = {0, 1, 1, 0};
  gemm(row_major(a, {2, 2}), row_major(b, {2, 2}), row_major(c, {2, 2}));
  CHECK(std::vector<double>(c, c + 4) == std::vector<double>{2, 1, 4, 3});
}

TEST_CASE("gemm of a matrix with itself", "[gemm]") {
  for_each_target([](Target target) {
    if (!has_fma(target)) return;
    Random random;
    for (const index_t n : {3, 16, 49}) {
      std::vector<float> cells(static_cast<std::size_t>(n * n)), c(cells.size()), expected(c);
      for (float& x : cells) x = random.value<float>(Values::kWide);
      const auto a = row_major(cells.data(), {n, n});
      Context context;
      context.target = target;
      gemm(a, transposed(a), row_major(c, {n, n}), {.context = &context});
      ref::gemm(a, transposed(a), row_major(expected, {n, n}));
      CHECK(std::memcmp(c.data(), expected.data(), c.size() * sizeof(float)) == 0);
    }
  });
}

TEST_CASE("gemm with nothing chosen", "[gemm]") {
  Workspace w;
  const GemmCase g{.target = active_target(), .m = 37, .n = 41, .k = 43};
  CHECK(run_case<float>(w, g, [](const auto& a, const auto& b, const auto& c, const GemmOptions&) {
          gemm(a, b, c);
        }) == "");
}

// Blocks larger than anything mean: none.
TEST_CASE("gemm with absurd blocks", "[gemm]") {
  constexpr index_t kHuge = std::numeric_limits<index_t>::max();
  for_each_target([](Target target) {
    Workspace w;
    for (const index_t block : {index_t{1} << 40, kHuge, index_t{-1}, -kHuge}) {
      const GemmCase g{
          .target = target,
          .tuning = {.mc = block, .kc = block, .nc = block, .packing = Packing::kAlways},
          .m = 20,
          .n = 70,
          .k = 30};
      CHECK(run_case<float>(w, g) == "");
    }
  });
}

// The kernel that streams B: strips of C, the last vectors of a row, all remainders of k.
TEMPLATE_TEST_CASE("gemm with few rows", "[gemm][gemv]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(32);
    unsigned count = 0, streamed = 0;
    constexpr double kFactors[] = {1, 0, -1, 0.1, 1};
    hwy::ThreadPool pool(2);
    const TileSize tile = tile_size<T>(target, 0);
    const index_t nr = tile.nr, lanes = tile.lanes;
    for (const index_t n : {4 * nr, 4 * nr + 1, 4 * nr + lanes - 1, index_t{2099}}) {
      for (const index_t k : {1, 2, 3, 7, 8, 9, 15, 64, 67, 130}) {
        for (const index_t m : {1, 2, 3, 8}) {
          for (const Layout b : kInputLayouts) {
            ++count;
            if (sampler.skip()) continue;
            GemmCase g{.target = target, .m = m, .n = n, .k = k, .b = b, .small_caches = true};
            g.a = kInputLayouts[count / 2 % kInputLayouts.size()];
            g.c = kOutputLayouts[count / 3 % kOutputLayouts.size()];
            g.alpha = kFactors[count / 5 % std::size(kFactors)];
            g.beta = kFactors[count / 7 % std::size(kFactors)];
            g.edges = count % 8;
            if (count % 3 == 0) g.executor = Executor::from_pool(pool);
            tally.add(run_case<T>(w, g), [&] { return describe(g); });
            Context context;
            context.target = target;
            context.caches = small_caches();
            streamed += plan_gemm<T>(m, n, k, &context).streams_b;
          }
        }
      }
    }
    CHECK(streamed > 0);
  });
}

TEST_CASE("plan_gemm says what gemm does", "[gemm]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    for (int tile = -1; tile < tile_count<float>(target); ++tile) {
      context.gemm = {.tile = tile};
      const GemmPlan plan = plan_gemm<float>(100, 200, 300, &context);
      CHECK(plan.target == target);
      CHECK(plan.mr == plan.tile.rows);
      CHECK(plan.nr % plan.tile.vectors == 0);
      CHECK(plan.nc % plan.nr == 0);
      CHECK(plan.kc >= 1);
      CHECK(plan.kc <= 300);
      CHECK(plan.mc >= plan.mr);
      context.gemm.packing = Packing::kAlways;
      CHECK(plan_gemm<float>(5, 5, 5, &context).packs_a);
      CHECK(plan_gemm<float>(5, 5, 5, &context).packs_b);
      context.gemm.packing = Packing::kNever;
      CHECK_FALSE(plan_gemm<float>(500, 500, 500, &context).packs_a);
      CHECK_FALSE(plan_gemm<float>(500, 500, 500, &context).packs_b);
      context.gemm = {.tile = tile, .mc = 24, .kc = 10, .nc = 3 * plan.nr};
      const GemmPlan tuned = plan_gemm<float>(100, 200, 300, &context);
      CHECK(tuned.mc == 24);
      CHECK(tuned.kc == 10);
      CHECK(tuned.nc == 3 * plan.nr);
    }
  });
}

}  // namespace tessera::test::gemm_test
