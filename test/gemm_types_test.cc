// SPDX-License-Identifier: Apache-2.0
// gemm with every combination of element types, against the specification bit for bit.

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "executors.h"
#include "guarded.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "matrix.h"
#include "random.h"
#include "tessera/core/dtype.h"
#include "tessera/ops/gemm.h"
#include "tessera/ref/gemm.h"
#include "testing.h"

namespace tessera::test::gemm_types_test {

template <class TA, class TB, class TC>
struct Types {
  using A = TA;
  using B = TB;
  using C = TC;
  static constexpr bool kIntegers = std::is_integral_v<TA>;
};

using s8 = std::int8_t;
using u8 = std::uint8_t;
using s32 = std::int32_t;

enum class Operand { kView, kPacked };

struct TypedCase {
  Target target = Target::kScalar;
  GemmTuning tuning{};
  index_t m = 0, n = 0, k = 0;
  Layout a = Layout::kRowMajor, b = Layout::kRowMajor, c = Layout::kRowMajor;
  Operand a_kind = Operand::kView, b_kind = Operand::kView;
  double alpha = 1, beta = 0;
  unsigned edges = 7;
  Executor executor{};
  bool small_caches = false;  // whatever has a few rows is larger than L2
};

std::string describe(const TypedCase& g) {
  const auto number = [](auto x) { return " " + std::to_string(x); };
  return std::string(name(g.target)) + " tile" + number(g.tuning.tile) + " packing" +
         number(static_cast<int>(g.tuning.packing)) + " mc,kc,nc" + number(g.tuning.mc) +
         number(g.tuning.kc) + number(g.tuning.nc) + ", m,n,k" + number(g.m) + number(g.n) +
         number(g.k) + ", layouts" + number(static_cast<int>(g.a)) + number(static_cast<int>(g.b)) +
         number(static_cast<int>(g.c)) + ", packed" + number(g.a_kind == Operand::kPacked) +
         number(g.b_kind == Operand::kPacked) + ", alpha,beta" + number(g.alpha) + number(g.beta) +
         ", edges" + number(g.edges) + ", small caches" + number(g.small_caches);
}

struct Workspace {
  GuardedMemory a, b, c;
  Random random;
};

// Sums of products of such numbers are exact in f32, so that targets without FMA give the same.
template <class T>
void fill_exact(Random& random, const View<T, 2>& v) {
  for (index_t i = 0; i < v.extent(0); ++i) {
    for (index_t j = 0; j < v.extent(1); ++j) {
      v(i, j) = static_cast<T>(static_cast<float>(random.below(33) - 16) / 8);
    }
  }
}

template <class Combination>
std::string run_case(Workspace& w, const TypedCase& g) {
  using A = typename Combination::A;
  using B = typename Combination::B;
  using C = typename Combination::C;
  const auto edge = [&](unsigned bit) { return g.edges & bit ? Edge::kEnd : Edge::kStart; };
  Matrix<A> a(w.a, g.m, g.k, g.a, edge(1));
  Matrix<B> b(w.b, g.k, g.n, g.b, edge(2));
  Matrix<C> c(w.c, g.m, g.n, g.c, edge(4));
  if (Combination::kIntegers || has_fma(g.target)) {
    a.fill(w.random, Values::kModerate);
    b.fill(w.random, Values::kModerate);
    if (g.beta != 0) c.fill(w.random, Values::kModerate);
  } else if constexpr (!Combination::kIntegers) {
    fill_exact(w.random, a.view());
    fill_exact(w.random, b.view());
    if (g.beta != 0) fill_exact(w.random, c.view());
  }
  std::vector<A> old_a = a.copy();
  std::vector<B> old_b = b.copy();
  std::vector<C> expected = c.copy();
  ref::gemm(a.read_only(), b.read_only(), c.view_of(expected), g.alpha, g.beta);

  Context context;
  context.target = g.target;
  context.gemm = g.tuning;
  context.executor = g.executor;
  if (g.small_caches) context.caches = small_caches();
  const GemmOptions options{.alpha = g.alpha, .beta = g.beta, .context = &context};
  const PackOptions packing{.context = &context};
  const bool pack_a_too = g.a_kind == Operand::kPacked, pack_b_too = g.b_kind == Operand::kPacked;
  if constexpr (std::is_same_v<B, u8>) {  // takes no packed A
    if (pack_b_too) {
      gemm(a.read_only(), pack_b(b.read_only(), packing), c.view(), options);
    } else {
      gemm(a.read_only(), b.read_only(), c.view(), options);
    }
  } else if (pack_a_too && pack_b_too) {
    gemm(pack_a(a.read_only(), packing), pack_b(b.read_only(), packing), c.view(), options);
  } else if (pack_a_too) {
    gemm(pack_a(a.read_only(), packing), b.read_only(), c.view(), options);
  } else if (pack_b_too) {
    gemm(a.read_only(), pack_b(b.read_only(), packing), c.view(), options);
  } else {
    gemm(a.read_only(), b.read_only(), c.view(), options);
  }
  if (auto text = a.difference(old_a); !text.empty()) return "a changed: " + text;
  if (auto text = b.difference(old_b); !text.empty()) return "b changed: " + text;
  return c.difference(expected);
}

constexpr GemmTuning::Packing kPackings[] = {
    GemmTuning::Packing::kAuto, GemmTuning::Packing::kNever, GemmTuning::Packing::kAlways};

TEMPLATE_TEST_CASE("gemm of mixed types", "[gemm][types]", (Types<float, bf16, float>),
                   (Types<bf16, bf16, bf16>), (Types<f16, f16, float>), (Types<float, f16, f16>),
                   (Types<bf16, float, s8>), (Types<f16, bf16, u8>), (Types<s8, s8, s32>),
                   (Types<u8, s8, s32>), (Types<s8, u8, s32>), (Types<u8, u8, s32>),
                   (Types<s8, s8, float>), (Types<u8, s8, s8>), (Types<s8, s8, u8>),
                   (Types<s8, u8, bf16>), (Types<u8, u8, f16>)) {
  using Combination = TestType;
  constexpr bool kSumsAreResult = std::is_same_v<typename Combination::C, s32>;
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(24);
    unsigned count = 0;
    Context plan_context;
    plan_context.target = target;
    const GemmPlan plan =
        plan_gemm<typename Combination::A, typename Combination::B, typename Combination::C>(
            100, 100, 100, &plan_context);
    const index_t lanes = plan.nr / plan.tile.vectors;
    const GemmTuning tunings[] = {
        {}, {.mc = 1, .kc = 1, .nc = 1}, {.mc = 2 * plan.mr + 1, .kc = 13, .nc = plan.nr + 1}};
    for (const index_t m : {index_t{1}, index_t{2}, plan.mr, plan.mr + 1, 3 * plan.mr + 2}) {
      for (const index_t n : {index_t{1}, lanes - 1, lanes + 1, plan.nr, 2 * plan.nr + lanes + 1}) {
        if (n == 0) continue;
        for (const index_t k : {1, 2, 3, 4, 5, 31, 70}) {
          for (const GemmTuning& blocks : tunings) {
            for (unsigned kinds = 0; kinds < 4; ++kinds) {
              ++count;
              if (sampler.skip()) continue;
              const auto layout = [](unsigned i) {
                return kInputLayouts[i % kInputLayouts.size()];
              };
              TypedCase g{.target = target, .tuning = blocks, .m = m, .n = n, .k = k};
              g.tuning.packing = kPackings[count % 3];
              g.a = layout(count / 3);
              g.b = layout(count / 5);
              g.c = kOutputLayouts[count / 7 % kOutputLayouts.size()];
              g.a_kind = kinds & 1 ? Operand::kPacked : Operand::kView;
              g.b_kind = kinds & 2 ? Operand::kPacked : Operand::kView;
              if (!Combination::kIntegers) {
                constexpr double kFactors[] = {1, 1, 0, -1, 0.5};
                g.alpha = kFactors[count / 2 % 5];
                g.beta = kFactors[count / 11 % 5];
                if (std::is_integral_v<typename Combination::C>) g.beta = 0;
              } else if (kSumsAreResult) {
                g.beta = count / 2 % 2;
              }
              g.edges = count % 8;
              tally.add(run_case<Combination>(w, g), [&] { return describe(g); });
            }
          }
        }
      }
    }
  });
}

// The kernel that streams B, in place and packed in 16 bits.
TEMPLATE_TEST_CASE("gemm of mixed types with few rows", "[gemm][types][gemv]",
                   (Types<float, bf16, float>), (Types<bf16, f16, bf16>), (Types<f16, bf16, s8>)) {
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(60);
    unsigned count = 0;
    Context context;
    context.target = target;
    const GemmPlan plan = plan_gemm<float>(100, 100, 100, &context);
    const index_t nr = plan.nr, lanes = nr / plan.tile.vectors;
    for (const index_t n : {4 * nr, 4 * nr + lanes - 1, index_t{2099}}) {
      for (const index_t k : {1, 3, 8, 67, 530}) {  // 530: two packed blocks
        for (const index_t m : {1, 2, 3, 8}) {
          for (const Layout b : {Layout::kRowMajor, Layout::kColMajor, Layout::kRowsApart,
                                 Layout::kColsApart, Layout::kStrided, Layout::kReversedBoth}) {
            for (const Operand kind : {Operand::kView, Operand::kPacked}) {
              ++count;
              if (sampler.skip()) continue;
              TypedCase g{.target = target, .m = m, .n = n, .k = k, .b = b, .b_kind = kind};
              g.a = kInputLayouts[count / 2 % kInputLayouts.size()];
              g.c = kOutputLayouts[count / 3 % kOutputLayouts.size()];
              g.beta = std::is_integral_v<typename TestType::C> ? 0 : count / 7 % 2;
              g.edges = count % 8;
              g.small_caches = true;
              tally.add(run_case<TestType>(w, g), [&] { return describe(g); });
            }
          }
        }
      }
    }
  });
}

TEMPLATE_TEST_CASE("gemm of mixed types on threads", "[gemm][types]", (Types<float, bf16, bf16>),
                   (Types<f16, f16, float>), (Types<s8, s8, s32>), (Types<u8, u8, s8>)) {
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(4);
    for (int threads = 1; threads <= 4; ++threads) {
      hwy::ThreadPool pool(static_cast<std::size_t>(threads));
      for (unsigned kinds = 0; kinds < 4; ++kinds) {
        if (sampler.skip()) continue;
        TypedCase g{.target = target, .m = 61, .n = 133, .k = 75};
        g.tuning = {.mc = 17, .kc = 20, .nc = 70};
        g.a_kind = kinds & 1 ? Operand::kPacked : Operand::kView;
        g.b_kind = kinds & 2 ? Operand::kPacked : Operand::kView;
        g.b = kinds & 1 ? Layout::kColMajor : Layout::kRowMajor;
        g.executor = Executor::from_pool(pool);
        tally.add(run_case<TestType>(w, g), [&] { return describe(g); });
      }
    }
  });
}

// Thin and deep: threads share k, as the order of sums of integers does not matter.
TEMPLATE_TEST_CASE("gemm of integers splits k", "[gemm][types]", (Types<s8, s8, s32>),
                   (Types<u8, s8, float>), (Types<s8, u8, s8>), (Types<u8, u8, bf16>)) {
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    for (const Layout layout : {Layout::kRowMajor, Layout::kColMajor, Layout::kStrided}) {
      Noting noting;
      TypedCase g{
          .target = target, .m = 3, .n = 5, .k = 4999, .a = layout, .b = layout, .c = layout};
      g.executor = Executor::from_function(4, noting);
      tally.add(run_case<TestType>(w, g), [&] { return describe(g); });
      CHECK(noting.first == 4);
    }
  });
}

// The extremes of every type at the largest sums, where 16-bit intermediates would saturate.
TEMPLATE_TEST_CASE("gemm of integers is exact at the corners", "[gemm][types]",
                   (Types<s8, s8, s32>), (Types<u8, s8, s32>), (Types<s8, u8, s32>),
                   (Types<u8, u8, s32>)) {
  using A = typename TestType::A;
  using B = typename TestType::B;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const index_t m = 9, n = 53, k = 1030;
    for (const int corners : {0, 1, 2, 3}) {
      const A x = corners & 1 ? std::numeric_limits<A>::max() : std::numeric_limits<A>::min();
      const B y = corners & 2 ? std::numeric_limits<B>::max() : std::numeric_limits<B>::min();
      const std::vector<A> a(static_cast<std::size_t>(m * k), x);
      const std::vector<B> b(static_cast<std::size_t>(k * n), y);
      std::vector<s32> c(static_cast<std::size_t>(m * n), -1);
      gemm(row_major(a, {m, k}), row_major(b, {k, n}), row_major(c, {m, n}), {.context = &context});
      const auto sum = static_cast<s32>(k * int{x} * int{y});
      CHECK(c == std::vector<s32>(c.size(), sum));
    }
  });
}

TEST_CASE("packed operands keep the width of their type", "[gemm][types]") {
  const index_t k = 64, n = 96;
  const std::vector<bf16> b(static_cast<std::size_t>(k * n), bf16(1.0f));
  const auto packed = pack_b(row_major(b, {k, n}));
  CHECK(packed.bytes() >= b.size() * sizeof(bf16));
  CHECK(packed.bytes() < 2 * b.size() * sizeof(bf16));
  CHECK(packed.layout().dtype == DType::kBF16);
}

TEST_CASE("gemm refuses what integers can't do", "[gemm][types][check]") {
  const std::vector<s8> a(12), b(12);
  std::vector<s32> c(16, 7);
  std::vector<float> f(16, 7);
  const auto va = row_major(a, {4, 3});
  const auto vb = row_major(b, {3, 4});
  const auto vc = row_major(c, {4, 4});
  const auto argument_of = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.argument();
    }
    return "accepted";
  };
  CHECK(argument_of([&] { gemm(va, vb, vc, {.alpha = 2}); }) == "options.alpha");
  CHECK(argument_of([&] { gemm(va, vb, vc, {.beta = 0.5}); }) == "options.beta");
  CHECK(argument_of([&] { gemm(va, vb, row_major(f, {4, 4}), {.beta = 1}); }) == "options.beta");
  CHECK(argument_of([&] { gemm(va, vb, vc, {}, epi::relu()); }) == "epilogue");
  const std::vector<u8> unsigned_b(12);
  CHECK(argument_of([&] { gemm(pack_a(va), row_major(unsigned_b, {3, 4}), vc); }) == "a");
  CHECK(c == std::vector<s32>(16, 7));
  CHECK(f == std::vector<float>(16, 7));
}

}  // namespace tessera::test::gemm_types_test
