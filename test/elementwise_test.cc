// SPDX-License-Identifier: Apache-2.0
// Elementwise functions: bits of the specification over random tensors, broadcasting, gates, in place, threads, errors.

#include "tessera/ops/elementwise.h"

#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/elementwise.h"
#include "testing.h"

namespace tessera::test::elementwise_test {

enum class Kind { kUnary, kBinary, kGated };

struct Case {
  Kind kind = Kind::kUnary;
  int op = 0;
  std::array<index_t, 4> extents{};
  std::array<bool, 4> a_repeats{}, b_repeats{};  // the axis has extent 1 there
  int in_place = 0;                              // y is: 0 apart, 1 a, 2 b
  Order a = Order::kDense, b = Order::kDense, y = Order::kDense;
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  return "kind " + std::to_string(static_cast<int>(c.kind)) + " op " + std::to_string(c.op) +
         " of " + detail::to_string(c.extents) + " (" + describe(c.a) + ", " + describe(c.b) +
         " to " + describe(c.y) + "), in place " + std::to_string(c.in_place);
}

struct Memories {
  GuardedMemory a, b, y;
  Random random;
};

float expected_of(const Case& c, float a, float b, bool fused) {
  const auto unary = [&](int op) {
    return fused ? ref::unary<true>(static_cast<UnaryOp>(op), a)
                 : ref::unary<false>(static_cast<UnaryOp>(op), a);
  };
  if (c.kind == Kind::kUnary) return unary(c.op);
  if (c.kind == Kind::kBinary) return ref::binary(static_cast<BinaryOp>(c.op), a, b);
  return ref::product(unary(c.op), b);
}

template <class A, class B, class Y>
void run(const Case& c, const A& a, const B& b, const Y& y) {
  const ElementwiseOptions options{.context = c.context};
  if (c.kind == Kind::kUnary) elementwise(static_cast<UnaryOp>(c.op), a, y, options);
  if (c.kind == Kind::kBinary) elementwise(static_cast<BinaryOp>(c.op), a, b, y, options);
  if (c.kind == Kind::kGated) gated(static_cast<UnaryOp>(c.op), a, b, y, options);
}

// Of a copy of a tensor with the extents of y, but for the axes that it repeats. (The indices not by value: g++ 12 with
// -march=sapphirerapids mixes up two such copies.)
template <class T>
float value_at(const Tensor<T, 4>& t, const std::array<index_t, 4>& at, std::vector<T>& copy) {
  const View<T, 4> view = t.view_of(copy);
  index_t offset = 0;
  for (int axis = 0; axis < 4; ++axis) {
    offset += view.extent(axis) == 1 ? 0 : at[axis] * view.stride(axis);
  }
  return static_cast<float>(view.data[offset]);
}

template <class A, class B, class Y>
std::string run_case(Memories& m, const Case& c) {
  std::array<index_t, 4> a_extents = c.extents, b_extents = c.extents;
  for (int axis = 0; axis < 4; ++axis) {
    if (c.a_repeats[axis]) a_extents[axis] = 1;
    if (c.b_repeats[axis]) b_extents[axis] = 1;
  }
  Tensor<A, 4> a(m.a, m.random, a_extents, c.a, c.edge);
  Tensor<B, 4> b(m.b, m.random, b_extents, c.b, c.edge);
  Tensor<Y, 4> y(m.y, m.random, c.extents, c.y, c.edge);
  a.fill(m.random, c.values);
  b.fill(m.random, c.values);
  const bool fused = has_fma(c.context->target.value());
  std::vector<A> a_before = a.copy();
  std::vector<B> b_before = b.copy();
  const auto result = [&](const std::array<index_t, 4>& at) {
    return expected_of(c, value_at(a, at, a_before), value_at(b, at, b_before), fused);
  };
  std::vector<A> a_after = a_before;
  std::vector<B> b_after = b_before;
  std::vector<Y> y_after = y.copy();
  const auto set = [&](auto& tensor, auto& after) {
    using T = std::remove_cvref_t<decltype(after[0])>;
    const auto to = tensor.view_of(after);
    tensor.for_each_index([&](T&, const std::array<index_t, 4>& at) {
      to(at[0], at[1], at[2], at[3]) = static_cast<T>(result(at));
    });
  };
  if (c.in_place == 1) {
    set(a, a_after);
    run(c, a.read_only(), b.read_only(), a.view());
  } else if (c.in_place == 2) {
    set(b, b_after);
    run(c, a.read_only(), b.read_only(), b.view());
  } else {
    set(y, y_after);
    run(c, a.read_only(), b.read_only(), y.view());
  }
  return a.difference(a_after) + b.difference(b_after) + y.difference(y_after);
}

Case random_case(Random& random) {
  Case c;
  c.kind = static_cast<Kind>(random.below(3));
  c.op = static_cast<int>(random.below(c.kind == Kind::kBinary ? kBinaryOps : kUnaryOps));
  for (index_t& extent : c.extents) extent = 1 + random.below(6);
  c.extents[3] = random.below(8) == 0 ? 1 + random.below(1500) : 1 + random.below(70);
  if (random.below(2) != 0) std::swap(c.extents[3], c.extents[1]);
  c.in_place = static_cast<int>(random.below(c.kind == Kind::kUnary ? 2 : 3));
  if (random.below(2) != 0) {
    for (int axis = 0; axis < 4; ++axis) {
      c.a_repeats[axis] = c.in_place != 1 && random.below(3) == 0;
      c.b_repeats[axis] = c.in_place != 2 && random.below(3) == 0;
    }
  }
  for (Order* order : {&c.a, &c.b, &c.y}) *order = random_order(random);
  c.edge = random_edge(random);
  c.values = random_values(random, 3, 3);
  return c;
}

TEMPLATE_TEST_CASE("elementwise functions have the bits of their specification", "[elementwise]",
                   float, bf16, f16) {
  for_random_cases<Memories>(600, 24, random_case, [](Memories& m, const Case& c, int i) {
    const int types = i % 3;
    return types == 0   ? run_case<TestType, float, bf16>(m, c)
           : types == 1 ? run_case<TestType, TestType, TestType>(m, c)
                        : run_case<float, TestType, float>(m, c);
  });
}

TEST_CASE("elementwise functions of all lengths", "[elementwise]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(16);
    for (int op = 0; op < kUnaryOps + kBinaryOps; ++op) {
      for (index_t n = 1; n <= 70; ++n) {
        Case c{.kind = op < kUnaryOps ? Kind::kUnary : Kind::kBinary, .extents = {1, 1, 1, n}};
        c.op = op < kUnaryOps ? op : op - kUnaryOps;
        c.edge = n % 2 != 0 ? Edge::kEnd : Edge::kStart;
        c.context = &context;
        if (sampler.skip()) continue;
        tally.add(run_case<float, float, float>(m, c), [&] { return describe(c); });
      }
    }
  });
}

TEST_CASE("broadcasting is that of numpy", "[elementwise]") {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6}, b = {10, 20, 30}, c = {100, 200};
  std::vector<float> y(6);
  const auto to = row_major(y, {2, 3});
  elementwise(BinaryOp::kAdd, row_major(a, {2, 3}), row_major(b, {3}), to);
  CHECK(y == std::vector<float>{11, 22, 33, 14, 25, 36});
  elementwise(BinaryOp::kMul, row_major(c, {2, 1}), row_major(b, {1, 3}), to);
  CHECK(y == std::vector<float>{1000, 2000, 3000, 2000, 4000, 6000});
  elementwise(BinaryOp::kSub, row_major(a, {1}), row_major(c, {2, 1}), to);
  CHECK(y == std::vector<float>{-99, -99, -99, -199, -199, -199});
  elementwise(UnaryOp::kNeg, row_major(b, {3}), to);
  CHECK(y == std::vector<float>{-10, -20, -30, -10, -20, -30});
}

TEST_CASE("gates and ups in one matrix", "[elementwise]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Random random;
    constexpr index_t kRows = 3, kCols = 70;
    std::vector<float> x(kRows * 2 * kCols), y(kRows * kCols), want(y.size());
    for (float& v : x) v = random.value<float>(Values::kModerate);
    const auto from = row_major(x, {kRows, 2 * kCols});
    const auto to = row_major(y, {kRows, kCols});
    const auto check = [&](GateOrder order, index_t gate, index_t up, index_t step) {
      const View<const float, 2> gates(x.data() + gate, {kRows, kCols}, {2 * kCols, step});
      const View<const float, 2> ups(x.data() + up, {kRows, kCols}, {2 * kCols, step});
      swiglu(gates, ups, row_major(want, {kRows, kCols}), {.context = &context});
      swiglu(from, to, {.order = order, .context = &context});
      CHECK(y == want);
      const bool fused = has_fma(target);
      CHECK(y[5] ==
            ref::product(fused ? ref::silu<true>(gates(0, 5)) : ref::silu<false>(gates(0, 5)),
                         ups(0, 5)));
      geglu(gates, ups, row_major(want, {kRows, kCols}), {.context = &context});
      geglu(from, to, {.order = order, .context = &context});
      CHECK(y == want);
    };
    check(GateOrder::kGateFirst, 0, kCols, 1);
    check(GateOrder::kGateSecond, kCols, 0, 1);
    check(GateOrder::kGateEven, 0, 1, 2);
    check(GateOrder::kGateOdd, 1, 0, 2);
    // Onto the ups.
    geglu(from, to, {.context = &context});
    geglu(from, slice(from, {index_t{0}, kCols}, {kRows, kCols}), {.context = &context});
    for (index_t i = 0; i < kRows; ++i) CHECK(from(i, kCols + 7) == to(i, 7));
  });
}

TEST_CASE("elementwise functions do not depend on threads", "[elementwise]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    for (const Order order : {Order::kDense, Order::kAny}) {
      for (const int in_place : {0, 2}) {
        Case c{.kind = Kind::kGated, .op = 1, .extents = {3, 50, 20, 20}, .in_place = in_place};
        if (reduced_effort()) c.extents[1] = 10;
        c.a = c.b = c.y = order;
        c.context = &context;
        tally.add(run_case<float, float, float>(m, c), [&] { return describe(c); });
        tally.add(run_case<bf16, bf16, bf16>(m, c), [&] { return describe(c); });
      }
    }
  });
}

TEST_CASE("elementwise functions: the same bits everywhere", "[elementwise][reproducibility]") {
  constexpr std::uint64_t kGolden = 0x541351ce145f1529;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    std::vector<float> x(777), z(777), y(777);
    for (float& v : x) v = random.value<float>(Values::kModerate);
    for (float& v : z) v = random.value<float>(Values::kModerate);
    const auto to = row_major(y, {777});
    const auto add = [&] {
      for (const float v : y) digest.add(v != v ? 0 : v);
    };
    for (int op = 0; op < kUnaryOps; ++op) {
      elementwise(static_cast<UnaryOp>(op), row_major(x, {777}), to, {.context = &context});
      add();
    }
    for (int op = 0; op < kBinaryOps; ++op) {
      elementwise(static_cast<BinaryOp>(op), row_major(x, {777}), row_major(z, {777}), to,
                  {.context = &context});
      add();
    }
    append_digest("elementwise", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == kGolden);
  });
}

TEST_CASE("elementwise functions refuse wrong arguments and write nothing", "[elementwise]") {
  std::vector<float> x(24, 1.0f), y(24, 7.0f);
  const auto from = row_major(x, {2, 3, 4});
  const auto to = row_major(y, {2, 3, 4});
  const auto error = [&](const auto& a, const auto& b) {
    return error_of([&] { elementwise(BinaryOp::kAdd, a, b, to); });
  };
  CHECK(error(row_major(x, {3, 3}), from) ==
        "elementwise: a: expected extents that broadcast to {2, 3, 4}, those of y, got {3, 3}");
  CHECK(error(from, row_major(x, {3})) ==
        "elementwise: b: expected extents that broadcast to {2, 3, 4}, those of y, got {3}");
  CHECK(
      error(from, row_major(x, {1, 2, 3, 4})) ==
      "elementwise: b: expected extents that broadcast to {2, 3, 4}, those of y, got {1, 2, 3, 4}");
  CHECK(error(row_major(static_cast<float*>(nullptr), {4}), from) ==
        "elementwise: a: expected data for extents {4}, got a null pointer");
  CHECK(error(from, row_major(x.data(), {-4})) ==
        "elementwise: b: expected extents of at least 0, got {-4}");
  CHECK(error_of([&] {
          elementwise(UnaryOp::kExp, row_major(x.data(), {12}), row_major(x.data() + 1, {12}));
        }) ==
        "elementwise: y: expected memory that does not overlap x, or is the same, got an "
        "overlapping view");
  CHECK(
      error_of([&] {
        elementwise(UnaryOp::kExp, row_major(x.data(), {4}), strided(y.data(), {3, 4}, {0, 1}));
      }) ==
      "elementwise: y: expected strides that visit each element once, each beyond the reach of the "
      "smaller, got extents {3, 4}, strides {0, 1}");
  CHECK(error_of([&] { swiglu(row_major(x, {4, 5}), row_major(y, {4, 3})); }) ==
        "swiglu: x: expected extents {4, 3}, those of y, with twice as many columns, got {4, 5}");
  CHECK(error_of([&] { geglu(row_major(x, {3, 6}), row_major(y, {4, 3})); }) ==
        "geglu: x: expected extents {4, 3}, those of y, with twice as many columns, got {3, 6}");
  CHECK(y == std::vector<float>(24, 7.0f));
  CHECK(x == std::vector<float>(24, 1.0f));

  // Nothing to do.
  elementwise(UnaryOp::kExp, row_major(x.data(), {0, 4}), row_major(y.data(), {0, 4}));
  swiglu(row_major(x.data(), {3, 0}), row_major(y.data(), {3, 0}));
  CHECK(y == std::vector<float>(24, 7.0f));
}

}  // namespace tessera::test::elementwise_test
