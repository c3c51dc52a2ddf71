// SPDX-License-Identifier: Apache-2.0
// Operands packed once: the same results as unpacked ones, and what a packed operand remembers.

#include "tessera/ops/packed.h"

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "executors.h"
#include "gemm_case.h"
#include "testing.h"

namespace tessera::test::packed_test {

// Which operands are packed; they are packed under the tuning of the case.
enum class Packs { kA, kB, kBoth };

// Runs a case with packed operands; gemm itself runs under `call_tuning`, which must not matter.
template <class T>
std::string run_packed(Workspace& w, const GemmCase& g, Packs packs,
                       const GemmTuning& call_tuning) {
  Context pack_context;
  pack_context.target = g.target;
  pack_context.gemm = g.tuning;
  return run_case<T>(w, g, [&](const auto& a, const auto& b, const auto& c, GemmOptions options) {
    options.context->gemm = call_tuning;
    if (packs == Packs::kA) {
      gemm(pack_a(a, {&pack_context}), b, c, options);
    } else if (packs == Packs::kB) {
      gemm(a, pack_b(b, {&pack_context}), c, options);
    } else {
      gemm(pack_a(a, {&pack_context}), pack_b(b, {&pack_context}), c, options);
    }
  });
}

constexpr Packs kPacks[] = {Packs::kA, Packs::kB, Packs::kBoth};

TEMPLATE_TEST_CASE("packed operands around every edge of every tile", "[packed]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(12);
    unsigned count = 0;
    for (int tile = 0; tile < tile_count<T>(target); ++tile) {
      const TileSize size = tile_size<T>(target, tile);
      for (const Packs packs : kPacks) {
        for (const index_t kc : {0, 1, 7}) {
          for (const Shape& s : shapes_around(size, 7)) {
            const GemmCase g{.target = target,
                             .tuning = {.tile = tile, .kc = kc},
                             .m = s.m,
                             .n = s.n,
                             .k = s.k,
                             .beta = ++count % 3 == 0 ? 1.0 : 0.0,
                             .edges = count % 8};
            // The call's own wishes: other blocks, another way of packing; not another tile.
            const GemmTuning call{.mc = static_cast<index_t>(count % 4) * size.mr,
                                  .kc = static_cast<index_t>(count % 5),
                                  .nc = static_cast<index_t>(count % 3) * size.nr,
                                  .packing = static_cast<Packing>(count % 3)};
            if (sampler.skip()) continue;
            tally.add(run_packed<T>(w, g, packs, call), [&] {
              return describe(g) + ", packs " + std::to_string(static_cast<int>(packs));
            });
          }
        }
      }
    }
  });
}

TEMPLATE_TEST_CASE("packed operands of every layout", "[packed]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(16);
    unsigned count = 0;
    constexpr double kFactors[] = {1, 0.3, -1, 0, 1.7};
    for (int tile = -1; tile < tile_count<T>(target); ++tile) {
      const TileSize size = tile_size<T>(target, std::max(tile, 0));
      for (const Packs packs : kPacks) {
        // Left alone, each packing chooses the tile for its own operand: two may not fit.
        if (tile < 0 && packs == Packs::kBoth) continue;
        for (const Layout packed : kInputLayouts) {
          for (const Layout other : kInputLayouts) {
            for (const Layout c :
                 {Layout::kRowMajor, Layout::kColMajor, Layout::kStrided, Layout::kReversedBoth}) {
              ++count;
              if (sampler.skip()) continue;
              const GemmCase g{.target = target,
                               .tuning = {.tile = tile, .kc = 6},
                               .m = size.mr + 1 + static_cast<index_t>(count % 2) * size.mr,
                               .n = size.nr + 1,
                               .k = 13,
                               .a = packs == Packs::kB ? other : packed,
                               .b = packs == Packs::kB ? packed : other,
                               .c = c,
                               .alpha = kFactors[count % 5],
                               .beta = kFactors[count / 5 % 5],
                               .edges = count % 8};
              tally.add(run_packed<T>(w, g, packs, {}), [&] {
                return describe(g) + ", packs " + std::to_string(static_cast<int>(packs));
              });
            }
          }
        }
      }
    }
  });
}

// The kernel that takes several panels at once, some panels that are left over, and a part of one.
TEMPLATE_TEST_CASE("one row and packed panels", "[packed][gemv]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(6);
    unsigned count = 0;
    constexpr double kFactors[] = {1, 0.3, -1, 0, 1.7};
    for (int tile = 0; tile < tile_count<T>(target); ++tile) {
      const TileSize size = tile_size<T>(target, tile);
      for (const index_t n : {size.nr, 3 * size.nr, 4 * size.nr, 4 * size.nr + 1,
                              9 * size.nr + size.lanes - 1, 11 * size.nr}) {
        for (const index_t k : {1, 2, 7, 64, 130}) {
          for (const index_t kc : {0, 1, 50}) {
            for (const Layout c : kOutputLayouts) {
              ++count;
              if (sampler.skip()) continue;
              const GemmCase g{.target = target,
                               .tuning = {.tile = tile, .kc = kc},
                               .m = 1,
                               .n = n,
                               .k = k,
                               .a = kInputLayouts[count / 2 % kInputLayouts.size()],
                               .c = c,
                               .alpha = kFactors[count / 5 % std::size(kFactors)],
                               .beta = kFactors[count / 7 % std::size(kFactors)],
                               .edges = count % 8};
              tally.add(run_packed<T>(w, g, count % 4 == 0 ? Packs::kBoth : Packs::kB, {}),
                        [&] { return describe(g); });
            }
          }
        }
      }
    }
  });
}

TEST_CASE("packed operands with threads", "[packed][threads]") {
  Shuffled shuffled;
  StdThreads threads{3};
  const bool real = GENERATE(false, true);
  for_each_target([&](Target target) {
    Workspace w;
    Tally tally;
    const TileSize size = tile_size<float>(target, 0);
    for (const Packs packs : kPacks) {
      for (const double alpha : {1.0, 0.3}) {
        for (const Layout c : {Layout::kRowMajor, Layout::kStrided}) {
          const GemmCase g{.target = target,
                           .tuning = {.mc = 3, .kc = 8, .nc = size.nr},
                           .m = 5 * size.mr + 1,
                           .n = (reduced_effort() ? 2 : 5) * size.nr + 1,
                           .k = 20,
                           .c = c,
                           .alpha = alpha,
                           .beta = 1,
                           .executor = real ? Executor::from_function(3, threads)
                                            : Executor::from_function(3, shuffled)};
          tally.add(run_packed<float>(w, g, packs, {.mc = 5, .nc = 2 * size.nr}),
                    [&] { return describe(g); });
        }
      }
    }
  });
}

// One packing, many calls.
TEST_CASE("a packed operand serves any number of rows or columns", "[packed]") {
  for_each_target([](Target target) {
    if (!has_fma(target)) return;
    Context context;
    context.target = target;
    Random random;
    const index_t k = reduced_effort() ? 70 : 300, n = 37, most = 40;
    const auto cells = [&](index_t count) {
      std::vector<float> v(static_cast<std::size_t>(count));
      for (float& x : v) x = random.value<float>(Values::kModerate);
      return v;
    };
    const std::vector<float> a = cells(most * k), b = cells(k * n);
    const PackedB<float> packed_b = pack_b(row_major(b, {k, n}), {&context});
    const PackedA<float> packed_a = pack_a(col_major(b, {n, k}), {&context});
    std::vector<float> c(static_cast<std::size_t>(most * n)), expected(c);
    for (index_t m = 1; m <= most; m += 3) {
      const auto rows = row_major(a.data(), {m, k});
      gemm(rows, packed_b, row_major(c.data(), {m, n}), {.context = &context});
      ref::gemm(rows, row_major(b, {k, n}), row_major(expected.data(), {m, n}));
      CHECK(c == expected);
      const auto cols = col_major(a.data(), {k, m});
      gemm(packed_a, cols, row_major(c.data(), {n, m}), {.context = &context});
      ref::gemm(col_major(b, {n, k}), cols, row_major(expected.data(), {n, m}));
      CHECK(c == expected);
    }
  });
}

TEST_CASE("a packed operand remembers its matrix, target and tile", "[packed]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    std::vector<double> cells(35, 1.0);
    for (int tile = 0; tile < tile_count<double>(target); ++tile) {
      context.gemm.tile = tile;
      const auto a = pack_a(row_major(cells, {5, 7}), {&context});
      const auto b = pack_b(row_major(cells, {5, 7}), {&context});
      STATIC_REQUIRE(std::is_same_v<decltype(a), const PackedA<double>>);
      STATIC_REQUIRE(std::is_same_v<decltype(b), const PackedB<double>>);
      CHECK(a.rows() == 5);
      CHECK(a.cols() == 7);
      CHECK(b.rows() == 5);
      CHECK(b.cols() == 7);
      CHECK(a.target() == target);
      CHECK(b.target() == target);
      CHECK(a.layout().tile == tile);
      CHECK(b.layout().tile == tile);
      CHECK(a.bytes() >= 35 * sizeof(double));
      CHECK(b.bytes() >= 35 * sizeof(double));
      CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % 64 == 0);
    }
  });
}

TEST_CASE("a packed operand is a value of its own", "[packed]") {
  std::vector<float> b = {1, 2, 3, 4, 5, 6};
  const std::vector<float> a = {1, 0, 0, 1};
  std::vector<float> c(6);
  PackedB<float> packed = pack_b(row_major(b, {2, 3}));
  std::fill(b.begin(), b.end(), -1.0f);  // the source is no longer needed
  gemm(row_major(a, {2, 2}), packed, row_major(c, {2, 3}));
  CHECK(c == std::vector<float>{1, 2, 3, 4, 5, 6});
  PackedB<float> moved = std::move(packed);
  std::fill(c.begin(), c.end(), 0.0f);
  gemm(row_major(a, {2, 2}), moved, row_major(c, {2, 3}));
  CHECK(c == std::vector<float>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("empty operands can be packed", "[packed]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    context.gemm.tile = 0;  // left alone, each packing chooses for its own operand
    float* const none = nullptr;
    std::vector<float> two = {2, 3}, c = {5, 7};
    SECTION("no columns") {
      const auto b = pack_b(row_major(none, {1, 0}), {&context});
      gemm(row_major(two, {2, 1}), b, row_major(none, {2, 0}), {.context = &context});
      CHECK(b.cols() == 0);
    }
    SECTION("k = 0") {
      const auto a = pack_a(row_major(none, {1, 0}), {&context});
      const auto b = pack_b(row_major(none, {0, 2}), {&context});
      gemm(a, b, row_major(c, {1, 2}), {.beta = 2, .context = &context});
      CHECK(c == std::vector<float>{10, 14});
      gemm(a, row_major(none, {0, 2}), row_major(c, {1, 2}), {.context = &context});
      CHECK(c == std::vector<float>{0, 0});
    }
    SECTION("no rows") {
      const auto a = pack_a(row_major(none, {0, 2}), {&context});
      gemm(a, row_major(two, {2, 1}), row_major(none, {0, 1}), {.context = &context});
      CHECK(a.rows() == 0);
    }
  });
}

// Some RISC-V machines have cores with vectors of different lengths, and a thread may move between
// packing and multiplying. So an operand may have panels of another width than this core's tile, and
// be padded to other vectors. The layout is the documented one of kernels/gemm_kernels.h.
TEMPLATE_TEST_CASE("an operand packed with another vector length", "[packed]", float, double) {
  using T = TestType;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    for (int tile = 0; tile < tile_count<T>(target); ++tile) {
      const TileSize size = tile_size<T>(target, tile);
      const index_t vectors = size.nr / size.lanes;
      for (const index_t lanes : {size.lanes / 2, size.lanes, 2 * size.lanes, 4 * size.lanes}) {
        if (lanes == 0) continue;
        for (const index_t n : extents({1, lanes - 1, lanes + 1, vectors * lanes,
                                        2 * vectors * lanes + 1, size.nr - 1, size.nr + 1})) {
          for (const bool both : {false, true}) {
            const GemmCase g{.target = target,
                             .tuning = {.tile = tile, .kc = 4},
                             .m = size.mr + 2,
                             .n = n,
                             .k = 10,
                             .beta = 1};
            const auto call = [&](const auto& a, const auto& b, const auto& c,
                                  const GemmOptions& options) {
              const PackedLayout layout{.rows = g.k,
                                        .cols = n,
                                        .kc = 4,
                                        .panel = vectors * lanes,
                                        .pad = lanes,
                                        .target = target,
                                        .tile = tile};
              const auto padded = [&](index_t width) {
                return (width + lanes - 1) / lanes * lanes;
              };
              const index_t width = n / layout.panel * layout.panel + padded(n % layout.panel);
              PackedB<T> packed(
                  detail::PackedPanels(layout, g.k * width * static_cast<index_t>(sizeof(T))));
              T* to = reinterpret_cast<T*>(packed.data());
              for (index_t k0 = 0; k0 < g.k; k0 += layout.kc) {
                for (index_t j0 = 0; j0 < n; j0 += layout.panel) {
                  const index_t columns = padded(std::min(layout.panel, n - j0));
                  for (index_t k = k0; k < std::min(k0 + layout.kc, g.k); ++k) {
                    for (index_t j = j0; j < j0 + columns; ++j) *to++ = j < n ? b(k, j) : T{0};
                  }
                }
              }
              if (both) {
                const auto packed_a = pack_a(a, {options.context});
                // Blocks of K are even: 10 in blocks of at most 4 are 4 + 4 + 2 here as well.
                REQUIRE(packed_a.layout().kc == layout.kc);
                gemm(packed_a, packed, c, options);
              } else {
                gemm(a, packed, c, options);
              }
            };
            tally.add(run_case<T>(w, g, call), [&] {
              return describe(g) + ", packed with " + std::to_string(lanes) + " lanes";
            });
          }
        }
      }
    }
  });
}

}  // namespace tessera::test::packed_test
