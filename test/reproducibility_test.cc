// SPDX-License-Identifier: Apache-2.0
// The same bits everywhere: the digest of a family of results does not depend on register tiles,
// cache blocks, packing, threads, vector length, target, compiler or architecture.
//
// Prints a table, and appends to TESSERA_DIGEST_FILE (digest.h).

#include <catch2/catch_test_macros.hpp>
#include <cinttypes>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "executors.h"
#include "gemm_case.h"
#include "tessera/core/dtype.h"
#include "tessera/core/layout.h"
#include "tessera/ops/gemm.h"
#include "tessera/ops/pool.h"
#include "tessera/ops/resize.h"
#include "tessera/ref/gemm.h"
#include "testing.h"

namespace tessera::test::reproducibility_test {

// What the specification gives, in f32 and f64. They change only with the numerics of gemm, which
// would break every user who compares results, or with the family below.
constexpr std::uint64_t kGolden32 = 0xc8fa34ee730a47c9, kGolden64 = 0xe7ad043b96d709dc;
constexpr std::uint64_t kGoldenZeroPoints = 0xe30cdae1ac5fe4f9;

template <class T>
constexpr std::uint64_t kGolden = std::is_same_v<T, float> ? kGolden32 : kGolden64;

struct Member {
  index_t m, n, k;
  double alpha = 1, beta = 0;
  Layout a = Layout::kRowMajor, b = Layout::kRowMajor, c = Layout::kRowMajor;
  Values values = Values::kModerate;
};

constexpr Member kFamily[] = {
    {1, 1, 1},
    {5, 7, 3, 1, 1},
    {16, 16, 16},
    {33, 65, 17, 0.1, -1.7},
    {1, 100, 50, 1, 1},
    {100, 1, 50},
    {31, 29, 37, 1, 0, Layout::kColMajor, Layout::kColMajor, Layout::kColMajor},
    {31, 29, 37, 0.3, 1, Layout::kRowMajor, Layout::kRowMajor, Layout::kColMajor},
    {14, 48, 40, 1, 1, Layout::kStrided, Layout::kReversedBoth, Layout::kStrided},
    {9, 40, 530},                                   // several blocks of K on any machine
    {20, 40, 30, 1, 0, {}, {}, {}, Values::kWide},  // overflow, underflow, infinities, NaN
    {9, 21, 5, 1e-30, 1e-30, {}, {}, {}, Values::kWide},
};

// Calls compute(a, b, c, options) for each member and digests all elements of C.
template <class T, class F>
std::uint64_t digest_of_family(F compute) {
  Digest digest;
  Workspace w;
  w.random = Random(2025);
  for (const Member& f : kFamily) {
    Matrix<T> a(w.a, f.m, f.k, f.a, Edge::kEnd), b(w.b, f.k, f.n, f.b, Edge::kEnd);
    Matrix<T> c(w.c, f.m, f.n, f.c, Edge::kEnd);
    a.fill(w.random, f.values);
    b.fill(w.random, f.values);
    c.fill(w.random, f.values);
    compute(a.read_only(), b.read_only(), c.view(), GemmOptions{.alpha = f.alpha, .beta = f.beta});
    for (index_t i = 0; i < f.m; ++i) {
      for (index_t j = 0; j < f.n; ++j) {
        const T x = c.view()(i, j);
        digest.add(x != x ? std::numeric_limits<T>::quiet_NaN() : x);  // NaNs have no fixed bits
      }
    }
  }
  return digest.value();
}

template <class T>
std::uint64_t digest_of_specification() {
  return digest_of_family<T>([](auto a, auto b, auto c, const GemmOptions& o) {
    ref::gemm(a, b, c, static_cast<T>(o.alpha), static_cast<T>(o.beta));
  });
}

// One way to compute: everything that must not matter.
struct Way {
  GemmTuning tuning;
  int threads = 1;  // 0: one, with the tasks in random order
  bool packed_a = false, packed_b = false;
};

// A few that vary all of them at once; every combination is gemm_test.cc's business.
template <class T>
std::vector<Way> ways(Target target) {
  std::vector<Way> list = {{}};
  for (int tile = 0; tile < tile_count<T>(target); ++tile) {
    const TileSize size = tile_size<T>(target, tile);
    list.push_back({{.tile = tile, .packing = Packing::kNever}, 4});
    list.push_back({{.tile = tile, .mc = 1, .kc = 3, .nc = 1, .packing = Packing::kAlways}, 0});
    list.push_back({{.tile = tile, .mc = 3 * size.mr, .kc = 50, .nc = 2 * size.nr}, 3});
    list.push_back({{.tile = tile, .kc = 10}, 2, true, true});
    list.push_back({{.tile = tile}, 1, false, true});
  }
  return list;
}

template <class T>
std::uint64_t digest_of(Target target, const Way& way) {
  StdThreads threads{way.threads};
  Shuffled shuffled;
  Context context;
  context.target = target;
  context.gemm = way.tuning;
  if (way.threads == 0) context.executor = Executor::from_function(3, shuffled);
  if (way.threads > 1) context.executor = Executor::from_function(way.threads, threads);
  return digest_of_family<T>([&](auto a, auto b, auto c, GemmOptions o) {
    o.context = &context;
    if (way.packed_a && way.packed_b) {
      gemm(pack_a(a, {&context}), pack_b(b, {&context}), c, o);
    } else if (way.packed_b) {
      gemm(a, pack_b(b, {&context}), c, o);
    } else {
      gemm(a, b, c, o);
    }
  });
}

// The digest of a target. With FMA every way to compute must have the same.
template <class T>
std::uint64_t digest_of(Target target) {
  const auto all = ways<T>(target);
  const std::uint64_t first = digest_of<T>(target, all[0]);
  for (std::size_t i = 1; i < all.size() && has_fma(target); ++i) {
    const Way& way = all[i];
    CAPTURE(name(target), DTypeTraits<T>::kName, way.tuning.tile, way.tuning.mc, way.tuning.kc,
            way.tuning.nc, way.threads, way.packed_a, way.packed_b);
    CHECK(digest_of<T>(target, way) == first);
  }
  return first;
}

TEST_CASE("gemm gives the same bits everywhere", "[reproducibility]") {
  const std::uint64_t golden32 = digest_of_specification<float>();
  const std::uint64_t golden64 = digest_of_specification<double>();
  CHECK(golden32 == kGolden<float>);
  CHECK(golden64 == kGolden<double>);
  std::printf("%-14s %5s  %-16s  %-16s\n", "target", "lanes", "gemm f32", "gemm f64");
  std::printf("%-14s %5s  %016" PRIx64 "  %016" PRIx64 "\n", "specification", "", golden32,
              golden64);
  for (const Target target : tested_targets()) {
    const std::uint64_t digest32 = digest_of<float>(target);
    const std::uint64_t digest64 = digest_of<double>(target);
    const bool equal = digest32 == golden32 && digest64 == golden64;
    Context context;
    context.target = target;
    const GemmPlan plan = plan_gemm<float>(100, 100, 100, &context);
    const auto lanes = static_cast<int>(plan.nr / plan.tile.vectors / plan.tile.lmul);
    std::printf("%-14s %5d  %016" PRIx64 "  %016" PRIx64 "  %s\n", name(target).data(), lanes,
                digest32, digest64,
                equal             ? "equal"
                : has_fma(target) ? "DIFFERS"
                                  : "other bits: no fused multiply-add");
    append_digest("gemm_f32", target, digest32);
    append_digest("gemm_f64", target, digest64);
    if (!has_fma(target)) continue;
    CAPTURE(name(target));
    CHECK(digest32 == golden32);
    CHECK(digest64 == golden64);
  }
  std::fflush(stdout);
}

// u8 x s8 and s8 x u8, zero points of both, sums and their requantization. compute<TA, TB, TC>(a, b, c, zero points of
// a, of b, scales of the columns) for each shape.
template <class F>
std::uint64_t digest_of_zero_points(F compute) {
  Digest digest;
  Random random(2025);
  const auto run = [&]<class TA, class TB, class TC>(TA, TB, TC, const Shape& f) {
    const auto draw = [&]<class T>(T, index_t count) {
      std::vector<T> values(static_cast<std::size_t>(count));
      for (T& x : values) x = random.value<T>(Values::kModerate);
      return values;
    };
    const auto a = draw(TA{}, f.m * f.k), za = draw(TA{}, f.m);
    const auto b = draw(TB{}, f.k * f.n), zb = draw(TB{}, f.n);
    std::vector<float> scales(static_cast<std::size_t>(f.n));
    for (float& s : scales) s = static_cast<float>(random.below(1000) + 1) * 0x1p-20f;
    std::vector<TC> c(static_cast<std::size_t>(f.m * f.n));
    compute(View<const TA, 2>(row_major(a, {f.m, f.k})),
            View<const TB, 2>(col_major(b, {f.k, f.n})), row_major(c, {f.m, f.n}),
            View<const TA, 1>(row_major(za, {f.m})), View<const TB, 1>(row_major(zb, {f.n})),
            View<const float, 1>(row_major(scales, {f.n})));
    for (const TC x : c) digest.add(x);
  };
  using s8 = std::int8_t;
  using u8 = std::uint8_t;
  for (const Shape& f : {Shape{1, 1, 1}, Shape{5, 7, 3}, Shape{33, 65, 17}, Shape{9, 40, 530}}) {
    run(u8{}, s8{}, std::int32_t{}, f);
    run(u8{}, s8{}, s8{}, f);
    run(s8{}, u8{}, u8{}, f);
  }
  return digest.value();
}

TEST_CASE("gemm with zero points gives the same bits everywhere", "[reproducibility]") {
  constexpr int kZero = 3;
  const std::uint64_t golden =
      digest_of_zero_points([](auto a, auto b, auto c, auto za, auto zb, auto scales) {
        using C = typename decltype(c)::Element;
        ref::gemm(
            a, b, c, 1, 0,
            [&](auto sum, index_t, index_t j) {
              if constexpr (sizeof(C) == 4) return sum;
              return static_cast<decltype(sum)>(
                  std::nearbyint(static_cast<float>(sum) * scales(j)) + kZero);
            },
            [&](index_t i) { return int{za(i)}; }, [&](index_t j) { return int{zb(j)}; });
      });
  CHECK(golden == kGoldenZeroPoints);
  for (const Target target : tested_targets()) {
    CAPTURE(name(target));
    for (const Way& way :
         {Way{}, Way{{.kc = 16, .packing = Packing::kAlways}, 0},
          Way{{.mc = 5, .kc = 40, .nc = 20}, 3}, Way{{.kc = 10}, 2, false, true}}) {
      StdThreads threads{way.threads};
      Shuffled shuffled;
      Context context;
      context.target = target;
      context.gemm = way.tuning;
      if (way.threads == 0) context.executor = Executor::from_function(3, shuffled);
      if (way.threads > 1) context.executor = Executor::from_function(way.threads, threads);
      const std::uint64_t digest =
          digest_of_zero_points([&](auto a, auto b, auto c, auto za, auto zb, auto scales) {
            using C = typename decltype(c)::Element;
            const Epilogue epilogue = sizeof(C) == 4 ? Epilogue() : epi::requantize(scales, kZero);
            const auto qa = with_zero_points(a, za);
            if (way.packed_b) {
              const auto packed = pack_b(b, {&context});
              gemm(qa, with_zero_points(packed, zb), c, {.context = &context}, epilogue);
            } else {
              gemm(qa, with_zero_points(b, zb), c, {.context = &context}, epilogue);
            }
          });
      CHECK(digest == golden);
      if (way.threads == 1) append_digest("gemm_zero_points", target, digest);
    }
  }
}

// Averages and interpolation have no multiply-add: the digest is that of targets without FMA, too.
TEST_CASE("pooling and resizing give the same bits everywhere", "[reproducibility]") {
  for (const Target target : tested_targets()) {
    Context context;
    context.target = target;
    Random random;
    Digest digest;
    const auto add = [&]<class T>(T) {
      constexpr index_t kChannels = 37;
      std::vector<T> x(13 * 17 * kChannels), y(20 * 20 * kChannels);
      for (T& element : x) element = random.value<T>(Values::kModerate);
      const auto from = nhwc(x.data(), {index_t{1}, index_t{13}, index_t{17}, kChannels});
      const auto results = [&](index_t h, index_t w) {
        y.assign(y.size(), T{});
        return nhwc(y.data(), {index_t{1}, h, w, kChannels});
      };
      const auto add_results = [&] {
        for (const T element : y) digest.add(element);
      };
      max_pool2d(from, results(6, 8), {.kernel = {3, 3}, .stride = {2, 2}, .context = &context});
      add_results();
      average_pool2d(
          from, results(7, 9),
          {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}, .context = &context});
      add_results();
      global_average_pool(from, row_major(results(1, 1).data, {index_t{1}, kChannels}),
                          {.context = &context});
      add_results();
      resize_bilinear2d(from, results(20, 20), {.context = &context});
      add_results();
      resize_nearest2d(from, results(20, 20), {.context = &context});
      add_results();
    };
    add(float{});
    add(bf16{});
    add(f16{});
    add(std::int8_t{});
    add(std::uint8_t{});
    append_digest("images", target, digest.value());
    CAPTURE(name(target));
    CHECK(digest.value() == 0x3e389d2752785c8e);
  }
}

}  // namespace tessera::test::reproducibility_test
