// SPDX-License-Identifier: Apache-2.0
// Wrong arguments: each is refused with its name, what was expected and what came, and nothing is
// written.

#include "tessera/core/check.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <ostream>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "gemm_case.h"
#include "testing.h"

namespace tessera::test {
namespace {

constexpr index_t kHuge = std::numeric_limits<index_t>::max();

// What a call was refused with; with empty strings if it was not.
struct Refusal {
  std::string function, argument, expected, got;
  bool operator==(const Refusal&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Refusal& r) {
    return out << "{" << r.function << ": " << r.argument << ": " << r.expected << ", got " << r.got
               << "}";
  }
};

template <class F>
Refusal refusal(F call) {
  try {
    call();
  } catch (const Error& e) {
    CHECK(std::string(e.what()) ==
          e.function() + ": " + e.argument() + ": expected " + e.expected() + ", got " + e.got());
    return {e.function(), e.argument(), e.expected(), e.got()};
  }
  return {};
}

// Operands that fit each other, C poisoned. A test spoils one.
struct Fixture {
  GuardedMemory memory_a, memory_b, memory_c;
  Matrix<float> a{memory_a, 2, 3, Layout::kRowMajor, Edge::kEnd};
  Matrix<float> b{memory_b, 3, 4, Layout::kRowMajor, Edge::kEnd};
  Matrix<float> c{memory_c, 2, 4, Layout::kRowMajor, Edge::kEnd};
  View<const float, 2> va = a.read_only(), vb = b.read_only();
  View<float, 2> vc = c.view();
  Context context;

  Refusal run(double alpha = 1) {
    const Refusal r = refusal([&] { gemm(va, vb, vc, {.alpha = alpha, .context = &context}); });
    CHECK(untouched(a));
    CHECK(untouched(b));
    CHECK(untouched(c));
    return r;
  }

  static bool untouched(const Matrix<float>& m) {
    const std::vector<float> cells = m.copy();
    const auto* bytes = reinterpret_cast<const unsigned char*>(cells.data());
    return std::all_of(bytes, bytes + cells.size() * sizeof(float),
                       [](unsigned char x) { return x == kPoison; });
  }
};

TEST_CASE("gemm refuses extents that do not match", "[check]") {
  Fixture f;
  SECTION("rows of b") {
    f.vb.extents[0] = 4;
    CHECK(f.run() == Refusal{"gemm", "b", "3 rows (the columns of a)", "4"});
  }
  SECTION("rows of c") {
    f.vc.extents[0] = 1;
    CHECK(f.run() == Refusal{"gemm", "c", "2 rows (the rows of a)", "1"});
  }
  SECTION("columns of c") {
    f.vc.extents[1] = 3;
    CHECK(f.run() == Refusal{"gemm", "c", "4 columns (the columns of b)", "3"});
  }
  SECTION("also where c is empty") {
    f.vc.extents = {0, 0};
    CHECK(f.run().argument == "c");
  }
  SECTION("also where alpha is 0") {
    f.vb.extents[0] = 4;
    CHECK(f.run(0).argument == "b");
  }
}

TEST_CASE("gemm refuses negative extents", "[check]") {
  const int axis = GENERATE(0, 1);
  Fixture f;
  SECTION("a") {
    f.va.extents[axis] = -1;
    const Refusal r = f.run();
    CHECK(r.argument == "a");
    CHECK(r.expected == "extents of at least 0");
    CHECK(r.got == (axis == 0 ? "{-1, 3}" : "{2, -1}"));
  }
  SECTION("b") {
    f.vb.extents[axis] = -kHuge;
    CHECK(f.run().argument == "b");
  }
  SECTION("c") {
    f.vc.extents[axis] = std::numeric_limits<index_t>::min();
    CHECK(f.run().argument == "c");
  }
  SECTION("both at once") {
    f.va.extents = {-1, -1};
    CHECK(f.run().argument == "a");
  }
}

TEST_CASE("gemm refuses null pointers", "[check]") {
  Fixture f;
  SECTION("a") {
    f.va.data = nullptr;
    CHECK(f.run() == Refusal{"gemm", "a", "data for extents {2, 3}", "a null pointer"});
  }
  SECTION("b") {
    f.vb.data = nullptr;
    CHECK(f.run() == Refusal{"gemm", "b", "data for extents {3, 4}", "a null pointer"});
  }
  SECTION("c") {
    f.vc.data = nullptr;
    CHECK(f.run() == Refusal{"gemm", "c", "data for extents {2, 4}", "a null pointer"});
  }
}

TEST_CASE("gemm refuses sizes that overflow", "[check]") {
  Fixture f;
  SECTION("a: a stride") {
    f.va.strides[0] = kHuge;
    CHECK(f.run().argument == "a");
  }
  SECTION("a: a negative stride") {
    f.va.strides[1] = std::numeric_limits<index_t>::min() / 2;
    const Refusal r = f.run();
    CHECK(r.argument == "a");
    CHECK(r.expected == "sizes within the address space");
  }
  SECTION("b: bytes, not elements") {
    f.vb.strides[0] = index_t{1} << 61;
    CHECK(f.run().argument == "b");
  }
  SECTION("b: the sum of both axes") {
    f.vb.strides = {(kHuge / 4) / 2, (kHuge / 4) / 2};
    CHECK(f.run().argument == "b");
  }
  SECTION("b: beyond the end of memory") {
    f.vb.strides[0] = std::numeric_limits<index_t>::max() / 4 / 4;  // 2 * that, in bytes, is 2^61
    f.vb.data = reinterpret_cast<const float*>(~std::uintptr_t{0} - 4095);
    CHECK(f.run().argument == "b");
  }
  SECTION("b: before the start of memory") {
    f.vb.strides[0] = -(index_t{1} << 58);
    CHECK(f.run().argument == "b");
  }
  SECTION("c: extents") {
    f.va.extents[0] = f.vc.extents[0] = kHuge;
    f.va.strides = {0, 0};
    CHECK(f.run().argument != "");
  }
  SECTION("row_major of absurd extents") {
    const index_t n = index_t{1} << 40;
    f.va = row_major(f.va.data, {n, n});
    CHECK(f.run().argument == "a");
  }
}

TEST_CASE("strides along axes of length one do not matter", "[check]") {
  const index_t stride =
      GENERATE(std::numeric_limits<index_t>::min(), -kHuge, index_t{-3}, index_t{0}, kHuge);
  std::vector<float> a = {1, 2}, b = {3, 4}, c(4);
  gemm(strided(a.data(), {2, 1}, {index_t{1}, stride}),
       strided(b.data(), {1, 2}, {stride, index_t{1}}), row_major(c, {2, 2}));
  CHECK(c == std::vector<float>{3, 4, 6, 8});
  std::vector<float> row(2), column(2);
  gemm(row_major(a, {1, 2}), row_major(b, {2, 1}), strided(row.data(), {1, 1}, {stride, stride}));
  CHECK(row[0] == 11);
  gemm(row_major(a, {1, 1}), row_major(b, {1, 2}),
       strided(row.data(), {1, 2}, {stride, index_t{1}}));
  CHECK(row == std::vector<float>{3, 4});
  gemm(row_major(a, {2, 1}), row_major(b, {1, 1}),
       strided(column.data(), {2, 1}, {index_t{1}, stride}));
  CHECK(column == std::vector<float>{3, 6});
}

// ---- Overlap

// All views of up to 4 x 4 elements with strides of up to 5: refused if and only if two index pairs
// are one element.
TEST_CASE("gemm refuses a c that overlaps itself, and no other", "[check]") {
  std::vector<float> cells(200), unread(16);
  Tally tally;
  for (index_t m = 1; m <= 4; ++m) {
    for (index_t n = 1; n <= 4; ++n) {
      for (index_t s0 = -5; s0 <= 5; ++s0) {
        for (index_t s1 = -5; s1 <= 5; ++s1) {
          std::set<index_t> offsets;
          for (index_t i = 0; i < m; ++i) {
            for (index_t j = 0; j < n; ++j) offsets.insert(i * s0 + j * s1);
          }
          const bool overlaps = static_cast<index_t>(offsets.size()) != m * n;
          const auto c = strided(cells.data() + 100, {m, n}, {s0, s1});
          std::fill(cells.begin(), cells.end(), 1.0f);
          const Refusal r = refusal([&] {
            gemm(row_major(unread.data(), {m, index_t{0}}),
                 row_major(unread.data(), {index_t{0}, n}), c, {.beta = 2});
          });
          bool good = overlaps == !r.argument.empty();
          for (index_t x = -100; x < 100; ++x) {
            const bool written = !overlaps && offsets.count(x) != 0;
            good &= cells[static_cast<std::size_t>(100 + x)] == (written ? 2.0f : 1.0f);
          }
          if (overlaps) {
            good &= r.function == "gemm" && r.argument == "c" &&
                    r.expected == "strides that visit each element once";
          }
          tally.add(good ? "" : "wrong",
                    [&] { return impl::to_string(c.extents) + impl::to_string(c.strides); });
        }
      }
    }
  }
}

TEST_CASE("gemm refuses a c that overlaps an input", "[check]") {
  Fixture f;
  SECTION("a, exactly") {
    f.vc = View<float, 2>(f.a.view().data, {2, 4}, {1, 2});
    CHECK(f.run() == Refusal{"gemm", "c", "memory that does not overlap a", "an overlapping view"});
  }
  SECTION("b, exactly") {
    f.vc = row_major(f.b.view().data, {2, 4});
    CHECK(f.run() == Refusal{"gemm", "c", "memory that does not overlap b", "an overlapping view"});
  }
  SECTION("b, by one element at its end") {
    f.vc = row_major(f.b.view().data + 11, {2, 4});
    CHECK(f.run().argument == "c");
  }
  SECTION("b, by half an element") {
    auto* bytes = reinterpret_cast<unsigned char*>(f.b.view().data);
    f.vc = View<float, 2>(reinterpret_cast<float*>(bytes + 12 * sizeof(float) - 2), {2, 4}, {4, 1});
    CHECK(f.run().argument == "c");
  }
  SECTION("b, reversed") {
    f.vc = View<float, 2>(f.b.view().data + 18, {2, 4}, {-4, -1});
    CHECK(f.run().argument == "c");
  }
}

// Blocks of columns, of rows and of both in one matrix: different elements though the addresses interleave.
TEST_CASE("gemm accepts blocks of one matrix that do not meet", "[check]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    constexpr index_t kRows = 6, kCols = 20;
    for (const bool by_columns : {false, true}) {
      std::vector<float> cells(kRows * kCols);
      for (std::size_t i = 0; i < cells.size(); ++i) cells[i] = static_cast<float>(i % 7);
      const View<float, 2> whole = by_columns ? transposed(row_major(cells, {kCols, kRows}))
                                              : row_major(cells, {kRows, kCols});
      const auto a = slice(whole, {0, 0}, {6, 5}), b = slice(whole, {1, 5}, {5, 9});
      const auto c = slice(whole, {0, 14}, {6, 6});
      std::vector<float> expected = cells;
      const View<float, 2> copy(expected.data(), whole.extents, whole.strides);
      const auto expected_c = slice(copy, {0, 14}, {6, 6});
      ref::gemm(a, slice(b, {0, 0}, {5, 6}), expected_c);
      if (by_columns) {
        gemm(transposed(slice(b, {0, 0}, {5, 6})), transposed(a), transposed(c),
             {.context = &context});
      } else {
        gemm(a, slice(b, {0, 0}, {5, 6}), c, {.context = &context});
      }
      CHECK(cells == expected);
    }
    // Rows one after the other.
    std::vector<float> cells = {1, 2, 3, 4, 5, 6, 0, 0};
    gemm(row_major(cells.data(), {1, 2}), row_major(cells.data() + 2, {2, 2}),
         row_major(cells.data() + 6, {1, 2}), {.context = &context});
    CHECK(cells == std::vector<float>{1, 2, 3, 4, 5, 6, 13, 16});
  });
}

// Whatever is accepted must be right: every pair of small views in a small memory. (Refusing more than
// necessary is allowed; that the common cases are not refused is tested above.)
TEST_CASE("gemm never accepts an overlap", "[check]") {
  std::vector<float> cells(400), unread(16);
  std::size_t accepted = 0;
  Tally tally;
  Random random;
  const int cases = reduced_effort() ? 5000 : 60000;
  for (int i = 0; i < cases; ++i) {
    const index_t m = 1 + random.below(3), n = 1 + random.below(3), k = 1 + random.below(3);
    const auto stride = [&] { return random.below(2) ? random.below(13) - 6 : index_t{1}; };
    // Often with the same pitch, as blocks of one matrix have.
    const index_t pitch = stride();
    const View<float, 2> a(cells.data() + 200 + random.below(24) - 12, {m, k},
                           {random.below(2) ? pitch : stride(), stride()});
    const View<float, 2> c(cells.data() + 200, {m, n}, {pitch, stride()});
    std::set<const float*> read;
    for (index_t x = 0; x < m; ++x) {
      for (index_t y = 0; y < k; ++y) read.insert(&a(x, y));
    }
    bool overlaps = false;
    for (index_t x = 0; x < m; ++x) {
      for (index_t y = 0; y < n; ++y) overlaps |= read.count(&c(x, y)) != 0;
    }
    const auto b = strided(unread.data(), {k, n}, {0, 0});
    const bool swapped = i % 2;
    const Refusal r = refusal([&] {
      if (swapped)
        gemm(transposed(b), transposed(a), transposed(c));
      else
        gemm(a, b, c);
    });
    accepted += r.argument.empty();
    tally.add(overlaps && r.argument.empty() ? "accepted" : "", [&] {
      return impl::to_string(a.extents) + impl::to_string(a.strides) + " and " +
             impl::to_string(c.extents) + impl::to_string(c.strides) + ", " +
             std::to_string(a.data - c.data) + " apart";
    });
  }
  CHECK(accepted > static_cast<std::size_t>(cases / 20));  // else the test would say nothing
}

// ---- Packed operands and tuning

TEST_CASE("gemm refuses operands packed for another target", "[check]") {
  const auto targets = available_targets();
  if (targets.size() < 2) SKIP("there is one target only");
  for (const Target packed_for : targets) {
    for (const Target runs_on : targets) {
      if (packed_for == runs_on) continue;
      Fixture f;
      f.context.target = packed_for;
      std::vector<float> cells(12, 1.0f);
      const auto a = pack_a(row_major(cells, {2, 3}), {&f.context});
      const auto b = pack_b(row_major(cells, {3, 4}), {&f.context});
      f.context.target = runs_on;
      const std::string expected = "an operand packed for " + std::string(name(runs_on));
      const std::string got = "one packed for " + std::string(name(packed_for));
      CHECK(refusal([&] { gemm(a, f.vb, f.vc, {.context = &f.context}); }) ==
            Refusal{"gemm", "a", expected, got});
      CHECK(refusal([&] { gemm(f.va, b, f.vc, {.context = &f.context}); }) ==
            Refusal{"gemm", "b", expected, got});
      CHECK(Fixture::untouched(f.c));
    }
  }
}

TEST_CASE("gemm refuses packed operands that do not fit", "[check]") {
  for_each_target([](Target target) {
    Fixture f;
    f.context.target = target;
    std::vector<float> cells(12, 1.0f);
    SECTION("another matrix") {
      const auto a = pack_a(row_major(cells, {2, 4}), {&f.context});
      CHECK(refusal([&] { gemm(a, f.vb, f.vc, {.context = &f.context}); }) ==
            Refusal{"gemm", "b", "4 rows (the columns of a)", "3"});
      const auto b = pack_b(row_major(cells, {4, 3}), {&f.context});
      CHECK(refusal([&] { gemm(f.va, b, f.vc, {.context = &f.context}); }) ==
            Refusal{"gemm", "b", "3 rows (the columns of a)", "4"});
    }
    SECTION("blocks of K of another length") {
      f.context.gemm = {.tile = 0, .kc = 1};
      const auto a = pack_a(row_major(cells, {2, 3}), {&f.context});
      f.context.gemm.kc = 3;
      const auto b = pack_b(row_major(cells, {3, 4}), {&f.context});
      const Refusal r = refusal([&] { gemm(a, b, f.vc, {.context = &f.context}); });
      CHECK(r == Refusal{"gemm", "b", "the packing of a: tile 0, K blocks of 1",
                         "tile 0, K blocks of 3"});
    }
    SECTION("another tile") {
      if (tile_count<float>(target) < 2) return;
      f.context.gemm.tile = 0;
      const auto a = pack_a(row_major(cells, {2, 3}), {&f.context});
      f.context.gemm.tile = 1;
      const auto b = pack_b(row_major(cells, {3, 4}), {&f.context});
      const Refusal r = refusal([&] { gemm(a, b, f.vc, {.context = &f.context}); });
      CHECK(r == Refusal{"gemm", "b", "the packing of a: tile 0, K blocks of 3",
                         "tile 1, K blocks of 3"});
    }
    SECTION("moved from") {
      auto b = pack_b(row_major(cells, {3, 4}), {&f.context});
      const auto other = std::move(b);
      CHECK(refusal([&] { gemm(f.va, b, f.vc, {.context = &f.context}); }).argument == "b");
      std::vector<float> c(8);
      gemm(f.va, other, row_major(c, {2, 4}), {.context = &f.context});
    }
    SECTION("never packed") {
      const PackedA<float> a;
      const PackedB<float> b;
      CHECK(refusal([&] { gemm(a, f.vb, f.vc, {.context = &f.context}); }).argument != "");
      CHECK(refusal([&] { gemm(f.va, b, f.vc, {.context = &f.context}); }).argument != "");
    }
    CHECK(Fixture::untouched(f.c));
  });
}

TEST_CASE("a register tile that does not exist is refused", "[check]") {
  for_each_target([](Target target) {
    Fixture f;
    f.context.target = target;
    const int count = tile_count<float>(target);
    for (const int tile : {count, 1000, std::numeric_limits<int>::max()}) {
      f.context.gemm.tile = tile;
      const std::string expected = "less than " + std::to_string(count) + " (the tiles of " +
                                   std::string(name(target)) + ")";
      const auto refused_by = [&](const char* function) {
        return Refusal{function, "context.gemm.tile", expected, std::to_string(tile)};
      };
      CHECK(f.run() == refused_by("gemm"));
      CHECK(refusal([&] { pack_a(f.va, {&f.context}); }) == refused_by("pack_a"));
      CHECK(refusal([&] { pack_b(f.vb, {&f.context}); }) == refused_by("pack_b"));
      CHECK(refusal([&] { plan_gemm<float>(2, 3, 4, &f.context); }) == refused_by("plan_gemm"));
    }
    f.context.gemm.tile = std::numeric_limits<int>::min();  // negative: choose
    gemm(f.va, f.vb, f.vc, {.context = &f.context});
  });
}

TEST_CASE("pack_a and pack_b refuse wrong views", "[check]") {
  std::vector<float> cells(12);
  const auto pack = [](bool is_a, View<const float, 2> v) {
    return refusal([&] {
      if (is_a)
        pack_a(v);
      else
        pack_b(v);
    });
  };
  for (const bool is_a : {true, false}) {
    const std::string function = is_a ? "pack_a" : "pack_b", argument = is_a ? "a" : "b";
    CHECK(pack(is_a, row_major(cells.data(), {-1, 4})) ==
          Refusal{function, argument, "extents of at least 0", "{-1, 4}"});
    CHECK(pack(is_a, row_major(static_cast<float*>(nullptr), {3, 4})) ==
          Refusal{function, argument, "data for extents {3, 4}", "a null pointer"});
    CHECK(pack(is_a, strided(cells.data(), {3, 4}, {kHuge, index_t{1}})).argument == argument);
  }
}

// The view fits the address space; its panels, padded to whole vectors, do not.
TEST_CASE("pack_b refuses sizes that overflow with the padding", "[check]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const float one = 1;
    REQUIRE(tile_size<float>(target, 0).lanes > 1);
    const auto b = strided(&one, {index_t{1} << 60, index_t{1}}, {0, 0});
    CHECK(refusal([&] { pack_b(b, {&context}); }).argument == "b");
  });
}

TEST_CASE("a target that is not there is refused", "[check]") {
  Fixture f;
  const auto available = available_targets();
  for (std::size_t i = 0; i < kTargetNames.size(); ++i) {
    const auto target = static_cast<Target>(i);
    if (std::find(available.begin(), available.end(), target) != available.end()) continue;
    f.context.target = target;
    const Refusal r = f.run();
    CHECK(r.argument == "context.target");
    CHECK(r.got == "\"" + std::string(name(target)) + "\"");
    for (const Target valid : available) CHECK(r.expected.find(name(valid)) != std::string::npos);
  }
}

// ---- Scratch

// With every size from 0 on: a call either does all of its work or none.
TEST_CASE("gemm refuses scratch that is too small before it writes", "[check]") {
  for_each_target([](Target target) {
    GuardedMemory scratch_memory;
    for (const Layout layout : {Layout::kRowMajor, Layout::kColMajor, Layout::kStrided}) {
      for (const Packing packing : {Packing::kAuto, Packing::kAlways}) {
        for (const index_t n : {4, 37}) {
          GuardedMemory ma, mb, mc;
          Random random;
          Matrix<float> a(ma, 9, 11, layout, Edge::kEnd), b(mb, 11, n, layout, Edge::kEnd);
          a.fill(random, Values::kModerate);
          b.fill(random, Values::kModerate);
          Context context;
          context.target = target;
          context.gemm = {.kc = 4, .packing = packing};
          std::size_t bytes = 0;
          bool done = false;
          for (int attempt = 0; attempt < 20 && !done; ++attempt) {
            CAPTURE(layout, packing, n, bytes);
            Matrix<float> c(mc, 9, n, layout, Edge::kEnd);
            auto* lent = scratch_memory.place<std::byte>(bytes, Edge::kEnd);
            context.scratch = Scratch(std::span(lent, bytes));
            const Refusal r = refusal(
                [&] { gemm(a.read_only(), b.read_only(), c.view(), {.context = &context}); });
            CHECK(scratch_memory.margin_intact());
            if (r == Refusal{}) {
              done = true;
              break;
            }
            CHECK(r.function == "gemm");
            CHECK(r.argument == "context.scratch");
            CHECK(r.got == std::to_string(bytes));
            CHECK(Fixture::untouched(c));
            // It says how much, and that is enough for memory with this alignment.
            std::size_t wanted = 0;
            REQUIRE(std::sscanf(r.expected.c_str(), "at least %zu bytes", &wanted) == 1);
            REQUIRE(wanted > bytes);
            bytes = attempt % 2 ? wanted : wanted - 1;
          }
          CHECK(done);
        }
      }
    }
  });
}

// ---- The handler

int calls = 0;
std::string last_message;

TEST_CASE("the error handler can be replaced", "[check]") {
  Fixture f;
  f.vb.data = nullptr;
  calls = 0;
  SECTION("one that returns: the error is thrown all the same") {
    const ErrorHandler before = set_error_handler([](const Error& e) {
      ++calls;
      last_message = e.what();
    });
    CHECK(before == nullptr);
    CHECK(f.run().argument == "b");
    CHECK(calls == 1);
    CHECK(last_message == "gemm: b: expected data for extents {3, 4}, got a null pointer");
  }
  SECTION("one that throws its own exception") {
    set_error_handler([](const Error& e) { throw std::runtime_error(e.argument()); });
    CHECK_THROWS_AS(f.run(), std::runtime_error);
    CHECK(Fixture::untouched(f.c));
  }
  const ErrorHandler ours = set_error_handler(nullptr);
  CHECK(ours != nullptr);
  calls = 0;
  CHECK(f.run().argument == "b");
  CHECK(calls == 0);
}

TEST_CASE("Error is a std::exception and can be copied", "[check]") {
  const Error e("f", "x", "1", "2");
  const Error copy = e;
  CHECK(std::string(static_cast<const std::exception&>(copy).what()) == "f: x: expected 1, got 2");
  CHECK(copy.function() == "f");
  CHECK(copy.argument() == "x");
  CHECK(copy.expected() == "1");
  CHECK(copy.got() == "2");
}

}  // namespace
}  // namespace tessera::test
