// SPDX-License-Identifier: Apache-2.0
// Products of integers with zero points, against the specification bit for bit.

#include "tessera/ops/zero_points.h"

#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "executors.h"
#include "guarded.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "matrix.h"
#include "random.h"
#include "tessera/ops/gemm.h"
#include "tessera/ref/gemm.h"
#include "testing.h"

namespace tessera::test::zero_points_test {

template <class TA, class TB, class TC>
struct Types {
  using A = TA;
  using B = TB;
  using C = TC;
};

using s8 = std::int8_t;
using u8 = std::uint8_t;
using s32 = std::int32_t;

// How an operand is passed, and its zero points.
enum class Operand { kView, kPacked };
enum class Zeros { kNone, kOne, kPerLine, kPerLineS32 };

struct Side {
  Operand kind = Operand::kView;
  Zeros zeros = Zeros::kNone;
  index_t stride = 1;  // of zero points; 0: the first one for all lines
  Edge edge = Edge::kEnd;
};

struct Case {
  Target target = Target::kScalar;
  GemmTuning tuning{};
  index_t m = 0, n = 0, k = 0;
  Layout a = Layout::kRowMajor, b = Layout::kRowMajor, c = Layout::kRowMajor;
  Side a_side{}, b_side{};
  double beta = 0;
  Executor executor{};
};

std::string describe(const Case& g) {
  const auto number = [](auto x) { return " " + std::to_string(x); };
  const auto side = [&](const Side& s) {
    return number(s.kind == Operand::kPacked) + number(static_cast<int>(s.zeros)) +
           number(s.stride);
  };
  return std::string(name(g.target)) + " packing" + number(static_cast<int>(g.tuning.packing)) +
         " mc,kc,nc" + number(g.tuning.mc) + number(g.tuning.kc) + number(g.tuning.nc) + ", m,n,k" +
         number(g.m) + number(g.n) + number(g.k) + ", layouts" + number(static_cast<int>(g.a)) +
         number(static_cast<int>(g.b)) + number(static_cast<int>(g.c)) +
         ", a packed, zeros, stride" + side(g.a_side) + ", b" + side(g.b_side) + ", beta" +
         number(g.beta);
}

// Zero points of T, one in two an extreme of it.
template <class T>
T random_zero(Random& random) {
  switch (random.below(4)) {
    case 0:
      return std::numeric_limits<T>::min();
    case 1:
      return std::numeric_limits<T>::max();
    default:
      return random.value<T>(Values::kModerate);
  }
}

// The zero points of an operand of T, in guarded memory that holds no more than them.
template <class T>
struct ZeroPointValues {
  std::vector<s32> values;  // of each line
  View<const T, 1> own;
  View<const s32, 1> wide;

  template <class Z>
  static View<const Z, 1> place(GuardedMemory& memory, Random& random, index_t count,
                                const Side& side) {
    const index_t reach = std::abs(side.stride) * (count - 1);
    Z* const p = memory.place<Z>(static_cast<std::size_t>(reach + 1), side.edge);
    Z* const first = side.stride < 0 ? p + reach : p;
    const View<Z, 1> v(first, {count}, {side.stride});
    for (index_t i = 0; i < count; ++i) v(i) = random_zero<T>(random);
    return v;
  }

  ZeroPointValues(GuardedMemory& memory, Random& random, index_t count, const Side& side)
      : values(static_cast<std::size_t>(count)) {
    if (side.zeros == Zeros::kOne) values.assign(values.size(), random_zero<T>(random));
    if (side.zeros == Zeros::kPerLine) own = place<T>(memory, random, count, side);
    if (side.zeros == Zeros::kPerLineS32) wide = place<s32>(memory, random, count, side);
    for (index_t i = 0; i < count; ++i) {
      if (own.data != nullptr) values[static_cast<std::size_t>(i)] = own(i);
      if (wide.data != nullptr) values[static_cast<std::size_t>(i)] = wide(i);
    }
  }

  // f(operand with its zero points)
  template <class M, class F>
  void apply(const Side& side, const M& operand, F f) const {
    switch (side.zeros) {
      case Zeros::kNone:
        return f(operand);
      case Zeros::kOne:
        return f(with_zero_point(operand, values[0]));
      case Zeros::kPerLine:
        return f(with_zero_points(operand, own));
      case Zeros::kPerLineS32:
        return f(with_zero_points(operand, wide));
    }
  }
  auto lookup() const {
    return [this](index_t i) { return values[static_cast<std::size_t>(i)]; };
  }
};

struct Workspace {
  GuardedMemory a, b, c, a_zeros, b_zeros;
  Random random;
};

template <class Combination>
std::string run_case(Workspace& w, const Case& g) {
  using A = typename Combination::A;
  using B = typename Combination::B;
  using C = typename Combination::C;
  Matrix<A> a(w.a, g.m, g.k, g.a, g.a_side.edge);
  Matrix<B> b(w.b, g.k, g.n, g.b, g.b_side.edge);
  Matrix<C> c(w.c, g.m, g.n, g.c, Edge::kEnd);
  a.fill(w.random, Values::kModerate);
  b.fill(w.random, Values::kModerate);
  if (g.beta != 0) c.fill(w.random, Values::kModerate);
  const ZeroPointValues<A> za(w.a_zeros, w.random, g.m, g.a_side);
  const ZeroPointValues<B> zb(w.b_zeros, w.random, g.n, g.b_side);

  // c of 8 bits is requantized, by a scale per column.
  constexpr bool kRequantizes = sizeof(C) == 1;
  constexpr int kZero = std::is_same_v<C, u8> ? 120 : -5;
  std::vector<float> scales(static_cast<std::size_t>(g.n));
  for (index_t j = 0; j < g.n; ++j) {
    scales[static_cast<std::size_t>(j)] =
        static_cast<float>(j % 5 + 1) / (2000.0f * std::sqrt(static_cast<float>(g.k)));
  }
  const View<const float, 1> scale = row_major(scales, {g.n});
  std::vector<C> expected = c.copy();
  ref::gemm(
      a.read_only(), b.read_only(), c.view_of(expected), 1, g.beta,
      [&](auto sum, index_t, index_t j) {
        if constexpr (kRequantizes) {
          return std::nearbyint(sum * scale(j)) + static_cast<float>(kZero);
        } else {
          return sum;
        }
      },
      za.lookup(), zb.lookup());

  Context context;
  context.target = g.target;
  context.gemm = g.tuning;
  context.executor = g.executor;
  const PackOptions packing{.context = &context};
  const Epilogue epilogue = kRequantizes ? epi::requantize(scale, kZero) : Epilogue();
  const auto call = [&](const auto& x, const auto& y) {
    za.apply(g.a_side, x, [&](const auto& xz) {
      zb.apply(g.b_side, y, [&](const auto& yz) {
        gemm(xz, yz, c.view(), {.beta = g.beta, .context = &context}, epilogue);
      });
    });
  };
  const bool packs_a = g.a_side.kind == Operand::kPacked && !std::is_same_v<B, u8>;
  const bool packs_b = g.b_side.kind == Operand::kPacked;
  if (packs_a && packs_b) {
    call(pack_a(a.read_only(), packing), pack_b(b.read_only(), packing));
  } else if (packs_a) {
    call(pack_a(a.read_only(), packing), b.read_only());
  } else if (packs_b) {
    call(a.read_only(), pack_b(b.read_only(), packing));
  } else {
    call(a.read_only(), b.read_only());
  }
  return c.difference(expected);
}

constexpr index_t kStrides[] = {1, 2, -1, 0, -3};

Side side_of(unsigned count, unsigned zeros, bool packed) {
  return {packed ? Operand::kPacked : Operand::kView, static_cast<Zeros>(zeros),
          kStrides[count % 5], count % 2 ? Edge::kStart : Edge::kEnd};
}

TEMPLATE_TEST_CASE("gemm with zero points", "[gemm][zero_points]", (Types<s8, s8, s32>),
                   (Types<u8, s8, s32>), (Types<s8, u8, float>), (Types<u8, u8, s8>),
                   (Types<u8, s8, u8>), (Types<s8, s8, bf16>)) {
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(32);
    unsigned count = 0;
    Context plan_context;
    plan_context.target = target;
    const GemmPlan plan =
        plan_gemm<typename TestType::A, typename TestType::B, typename TestType::C>(100, 100, 100,
                                                                                    &plan_context);
    const index_t lanes = plan.nr / plan.tile.vectors;
    const GemmTuning tunings[] = {
        {}, {.mc = 1, .kc = 3, .nc = 1}, {.mc = 2 * plan.mr + 1, .kc = 13, .nc = plan.nr + 1}};
    for (const index_t m : {index_t{1}, plan.mr, 2 * plan.mr + 1}) {
      for (const index_t n : {index_t{1}, lanes + 1, 2 * plan.nr + lanes - 1}) {
        for (const index_t k : {1, 5, 70, 300}) {
          for (const GemmTuning& blocks : tunings) {
            for (unsigned zeros = 0; zeros < 16; ++zeros) {
              const unsigned kinds = ++count * 7 / 5 % 4;
              if (sampler.skip()) continue;
              Case g{.target = target, .tuning = blocks, .m = m, .n = n, .k = k};
              g.a = kInputLayouts[count / 3 % kInputLayouts.size()];
              g.b = kInputLayouts[count / 5 % kInputLayouts.size()];
              g.c = kOutputLayouts[count / 7 % kOutputLayouts.size()];
              g.a_side = side_of(count / 2, zeros % 4, kinds & 1);
              g.b_side = side_of(count / 3, zeros / 4, kinds & 2);
              if (std::is_same_v<typename TestType::C, s32>) g.beta = count / 2 % 2;
              tally.add(run_case<TestType>(w, g), [&] { return describe(g); });
            }
          }
        }
      }
    }
  });
}

TEMPLATE_TEST_CASE("gemm with zero points on threads", "[gemm][zero_points]", (Types<u8, s8, s32>),
                   (Types<s8, u8, s8>)) {
  for_each_target([](Target target) {
    Workspace w;
    Tally tally;
    Sampler sampler(4);
    hwy::ThreadPool pool(3);
    for (unsigned count = 0; count < 32; ++count) {
      if (sampler.skip()) continue;
      Case g{.target = target, .m = 61, .n = 333, .k = 75};
      g.tuning = {.mc = 17, .kc = 20, .nc = 70};
      g.b = count % 3 ? Layout::kColMajor : Layout::kRowMajor;
      g.a_side = side_of(count, count % 4, count & 16);
      g.b_side = side_of(count, count / 4 % 4, count & 8);
      g.executor = Executor::from_pool(pool);
      tally.add(run_case<TestType>(w, g), [&] { return describe(g); });
      // Thin and deep: the threads share k.
      Case deep{.target = target, .m = 3, .n = 5, .k = 4999, .a = g.b, .b = g.b};
      deep.a_side = side_of(count, count % 4, false);
      deep.b_side = side_of(count, count / 4 % 4, false);
      deep.executor = g.executor;
      tally.add(run_case<TestType>(w, deep), [&] { return describe(deep); });
    }
  });
}

// Elements and zero points at both ends of their types. Sums are exact up to k of 33025, and wrap beyond.
TEMPLATE_TEST_CASE("zero points are exact at the corners", "[gemm][zero_points]",
                   (Types<s8, s8, s32>), (Types<u8, s8, s32>), (Types<s8, u8, s32>),
                   (Types<u8, u8, s32>)) {
  using A = typename TestType::A;
  using B = typename TestType::B;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const auto corner = []<class T>(T, bool high) {
      return high ? std::numeric_limits<T>::max() : std::numeric_limits<T>::min();
    };
    const index_t m = 3, n = 21;
    for (const index_t k : {1030, 33025, 33100}) {
      if (k > 2000 && reduced_effort() && k == 33025) continue;
      for (unsigned corners = 0; corners < 16; ++corners) {
        if (k > 2000 && corners % 5 != 2)
          continue;  // 2: opposite corners of A, whose zero point is 255 away
        const A x = corner(A{}, corners & 1), x0 = corner(A{}, corners & 2);
        const B y = corner(B{}, corners & 4), y0 = corner(B{}, corners & 8);
        const std::vector<A> a(static_cast<std::size_t>(m * k), x);
        const std::vector<B> b(static_cast<std::size_t>(k * n), y);
        std::vector<s32> c(static_cast<std::size_t>(m * n), -1);
        gemm(with_zero_point(row_major(a, {m, k}), x0), with_zero_point(row_major(b, {k, n}), y0),
             row_major(c, {m, n}), {.context = &context});
        const std::int64_t sum = std::int64_t{k} * (x - x0) * (y - y0);
        CHECK(c == std::vector<s32>(c.size(), static_cast<s32>(static_cast<std::uint32_t>(sum))));
      }
      // The largest sum: all four 255 apart.
      const std::vector<A> a(static_cast<std::size_t>(m * k), corner(A{}, true));
      const std::vector<B> b(static_cast<std::size_t>(k * n), corner(B{}, false));
      std::vector<s32> c(static_cast<std::size_t>(m * n), -1);
      gemm(with_zero_point(row_major(a, {m, k}), corner(A{}, false)),
           with_zero_point(row_major(b, {k, n}), corner(B{}, true)), row_major(c, {m, n}),
           {.context = &context});
      const std::int64_t sum = std::int64_t{k} * 255 * -255;
      CHECK((sum == static_cast<s32>(sum)) == (k <= 33025));
      CHECK(c == std::vector<s32>(c.size(), static_cast<s32>(static_cast<std::uint32_t>(sum))));
    }
  });
}

// A packed operand is referred to: a temporary one is refused.
template <class M>
concept TakesZeroPoint = requires(M&& m, const View<const s32, 1>& z) {
  with_zero_point(std::forward<M>(m), 1);
  with_zero_points(std::forward<M>(m), z);
};
static_assert(TakesZeroPoint<View<const s8, 2>> && TakesZeroPoint<View<u8, 3>&>);
static_assert(TakesZeroPoint<PackedA<u8>&> && TakesZeroPoint<const PackedB<s8>&>);
static_assert(!TakesZeroPoint<PackedA<u8>> && !TakesZeroPoint<PackedB<s8>>);

// Like std::mdspan, which C++20 lacks.
struct Span2D {
  s8* p;
  index_t rows, cols;
  s8* data_handle() const { return p; }
  static constexpr std::size_t rank() { return 2; }
  index_t extent(std::size_t i) const { return i == 0 ? rows : cols; }
  index_t stride(std::size_t i) const { return i == 0 ? cols : 1; }
};

TEST_CASE("operands like mdspan have zero points", "[gemm][zero_points]") {
  std::vector<s8> a = {1, 2, 3, 4}, b = {5, 6, 7, 8};
  const std::vector<s8> zeros = {5, 6};
  std::vector<s32> c(4);
  gemm(with_zero_point(Span2D{a.data(), 2, 2}, 1),
       with_zero_points(Span2D{b.data(), 2, 2}, row_major(zeros, {2})), row_major(c, {2, 2}));
  CHECK(c == std::vector<s32>{2, 2, 6, 6});
}

TEST_CASE("zero points of nothing to multiply", "[gemm][zero_points]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const std::vector<s8> a(4), b(6);
    std::vector<float> c(6, 7);
    const auto none = row_major(a.data(), {2, 0});
    const auto empty = row_major(b.data(), {0, 3});
    gemm(with_zero_point(none, 5), with_zero_point(empty, -7), row_major(c, {2, 3}),
         {.context = &context}, epi::requantize(1, 3));
    CHECK(c == std::vector<float>(6, 3));
    const auto packed = pack_b(empty, {&context});
    gemm(with_zero_point(none, 5), with_zero_point(packed, -7), row_major(c, {2, 3}),
         {.context = &context});
    CHECK(c == std::vector<float>(6, 0));
  });
}

template <class T>
std::vector<T> random_values(Random& random, index_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& x : values) x = random.value<T>(Values::kModerate);
  return values;
}

TEST_CASE("batches have zero points for all matrices or for each", "[batch][zero_points]") {
  Random random;
  const index_t batch = 3, m = 4, n = 33, k = 20;
  const auto a = random_values<u8>(random, batch * m * k);
  const auto b = random_values<s8>(random, batch * k * n);
  const auto a_zeros = random_values<u8>(random, batch * m);
  const auto b_zeros = random_values<s8>(random, batch * n);
  const View<const u8, 3> va = row_major(a, {batch, m, k});
  const View<const s8, 3> vb = row_major(b, {batch, k, n});
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    const auto check = [&](const auto& xa, const auto& xb, bool b_shared, auto a_zero,
                           auto b_zero) {
      std::vector<s32> c(static_cast<std::size_t>(batch * m * n), 9), expected = c;
      for (index_t i = 0; i < batch; ++i) {
        ref::gemm(
            row_major(a.data() + i * m * k, {m, k}),
            row_major(b.data() + (b_shared ? 0 : i * k * n), {k, n}),
            row_major(expected.data() + i * m * n, {m, n}), 1, 0,
            [](s32 x, index_t, index_t) { return x; },
            [&](index_t row) { return int{a_zero(i, row)}; },
            [&](index_t col) { return int{b_zero(i, col)}; });
      }
      gemm_batched(xa, xb, row_major(c, {batch, m, n}), {.context = &context});
      CHECK(c == expected);
    };
    const View<const u8, 2> za = row_major(a_zeros, {batch, m});
    const View<const s8, 2> zb = row_major(b_zeros, {batch, n});
    const View<const s8, 1> zb0 = row_major(b_zeros.data(), {n});
    const auto packed = pack_b(row_major(b.data(), {k, n}), {&context});
    check(with_zero_points(va, za), with_zero_points(vb, zb), false, za, zb);
    check(with_zero_points(va, za), vb, false, za, [](index_t, index_t) { return 0; });
    check(
        with_zero_point(va, 77), with_zero_points(vb, zb0), false,
        [](index_t, index_t) { return 77; }, [&](index_t, index_t j) { return zb0(j); });
    check(with_zero_points(va, za), with_zero_points(packed, zb0), true, za,
          [&](index_t, index_t j) { return zb0(j); });
    check(
        va, with_zero_point(packed, -128), true, [](index_t, index_t) { return 0; },
        [](index_t, index_t) { return -128; });
  });
}

// A mixture of experts, quantized per token: other rows, scales and zero points for each, weights packed.
TEST_CASE("groups have zero points of their own", "[batch][zero_points]") {
  Random random;
  const index_t n = 40, k = 24;
  const index_t rows[] = {3, 0, 17, 1};
  const auto weights = random_values<s8>(random, 4 * k * n);
  const auto channel_zeros = random_values<s8>(random, 4 * n);
  const auto a = random_values<u8>(random, 21 * k), zeros = random_values<u8>(random, 21);
  std::vector<float> scales(21);
  for (float& s : scales) s = static_cast<float>(random.below(100) + 1) / 64;
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    std::vector<PackedB<s8>> packed;
    std::vector<WithZeroPoints<PackedB<s8>>> experts;
    for (index_t e = 0; e < 4; ++e) {
      packed.push_back(pack_b(row_major(weights.data() + e * k * n, {k, n}), {&context}));
    }
    for (index_t e = 0; e < 4; ++e) {
      const View<const s8, 1> z = row_major(channel_zeros.data() + e * n, {n});
      experts.push_back(with_zero_points(packed[static_cast<std::size_t>(e)], z));
    }
    using A = WithZeroPoints<View<const u8, 2>>;
    using Group = GemmGroup<A, WithZeroPoints<PackedB<s8>>, View<float, 2>>;
    std::vector<Group> groups;
    std::vector<float> c(static_cast<std::size_t>(21 * n), 5), expected = c;
    index_t row = 0;
    for (index_t e = 0; e < 4; ++e) {
      const index_t m = rows[e];
      const View<const u8, 2> va = row_major(a.data() + row * k, {m, k});
      const View<const u8, 1> za = row_major(zeros.data() + row, {m});
      const View<const float, 1> sa = row_major(scales.data() + row, {m});
      groups.push_back({with_zero_points(va, za), &experts[static_cast<std::size_t>(e)],
                        row_major(c.data() + row * n, {m, n}), epi::row_scale(sa)});
      ref::gemm(
          va, row_major(weights.data() + e * k * n, {k, n}),
          row_major(expected.data() + row * n, {m, n}), 1, 0,
          [&](float x, index_t i, index_t) { return x * sa(i); },
          [&](index_t i) { return int{za(i)}; },
          [&](index_t j) { return int{channel_zeros[static_cast<std::size_t>(e * n + j)]}; });
      row += m;
    }
    gemm_grouped(std::span<const Group>(groups), {.context = &context});
    CHECK(c == expected);
  });
}

TEST_CASE("zero points are checked before anything is written", "[gemm][zero_points][check]") {
  const std::vector<s8> a(12), b(12);
  const std::vector<u8> ua(12);
  std::vector<s32> c(16, 7), wide(4, 3);
  const std::vector<s8> three(3);
  const auto va = row_major(a, {4, 3});
  const auto vb = row_major(b, {3, 4});
  const auto vu = row_major(ua, {4, 3});
  const auto vc = row_major(c, {4, 4});
  const auto refusal = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.argument() + ": " + e.expected() + ": " + e.got();
    }
    return "accepted";
  };
  CHECK(refusal([&] { gemm(with_zero_point(va, 128), vb, vc); }) ==
        "a.zero_points: -128 to 127, the values of s8: 128");
  CHECK(refusal([&] { gemm(with_zero_point(vu, -1), vb, vc); }) ==
        "a.zero_points: 0 to 255, the values of u8: -1");
  CHECK(refusal([&] { gemm(va, with_zero_point(vb, -129), vc); }) ==
        "b.zero_points: -128 to 127, the values of s8: -129");
  CHECK(refusal([&] { gemm(with_zero_points(va, row_major(three, {3})), vb, vc); }) ==
        "a.zero_points: 4 elements (the rows of a): 3");
  CHECK(refusal([&] { gemm(va, with_zero_points(vb, row_major(three, {3})), vc); }) ==
        "b.zero_points: 4 elements (the columns of b): 3");
  CHECK(refusal([&] {
          gemm(with_zero_points(va, View<const s8, 1>(nullptr, {4}, {1})), vb, vc);
        }).substr(0, 19) == "a.zero_points: data");
  CHECK(refusal([&] {
          gemm(with_zero_points(va, row_major(c.data(), {4})), vb, vc);
        }).substr(0, 21) == "a.zero_points: memory");
  wide[2] = 300;
  CHECK(refusal([&] { gemm(va, with_zero_points(vb, row_major(wide, {4})), vc); }) ==
        "b.zero_points: -128 to 127, the values of s8: 300 at index 2");
  const auto ba = row_major(a.data(), {2, 2, 3});
  const auto bc = row_major(c.data(), {2, 2, 2});
  const auto bb = row_major(b.data(), {2, 3, 2});
  CHECK(refusal([&] {
          gemm_batched(with_zero_points(ba, row_major(a.data(), {3, 2})), bb, bc);
        }).substr(0, 14) == "a.zero_points:");
  CHECK(refusal([&] {
          gemm_batched(ba, with_zero_points(bb, row_major(a.data(), {2, 3})), bc);
        }).substr(0, 14) == "b.zero_points:");
  // Scratch that holds the packed operands, but not what zero points take.
  const auto takes = [&](std::size_t bytes, bool zeros) {
    std::vector<std::byte> memory(bytes);
    Context context;
    context.scratch = Scratch(memory);
    return refusal([&] {
      zeros ? gemm(with_zero_point(va, 1), vb, vc, {.beta = 1, .context = &context})
            : gemm(va, vb, vc, {.beta = 1, .context = &context});
    });
  };
  std::size_t enough = 0;
  while (takes(enough, false) != "accepted") enough += 128;
  CHECK(c == std::vector<s32>(16, 7));  // products of zeros
  CHECK(takes(enough, true).substr(0, 16) == "context.scratch:");
  CHECK(c == std::vector<s32>(16, 7));
}

}  // namespace tessera::test::zero_points_test
