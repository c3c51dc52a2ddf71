// SPDX-License-Identifier: Apache-2.0
// axpby on every target: bits, edges, strides, memory, special values, errors.
//
// In the library: test/axpby_test.cc.

#include "axpby.h"

#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "axpby_ref.h"
#include "matrix.h"
#include "testing.h"

namespace tessera {
namespace {

using test::Edge;
using test::GuardedMemory;
using test::Layout;
using test::Matrix;
using test::Random;
using test::Values;

// A matrix of one row, as the vector that axpby takes.
template <class T>
View<T, 1> row(const View<T, 2>& v) {
  return {v.data, {v.extent(1)}, {v.stride(1)}};
}

// Where a target has no FMA, products round on their own: twice half a unit of the larger term.
template <class T>
std::string close(const View<T, 1>& y, const View<const T, 1>& x, const View<T, 1>& y_before,
                  const View<T, 1>& expected, T a, T b) {
  for (index_t i = 0; i < y.extent(0); ++i) {
    const T scale = std::abs(a * x(i)) + (b == T{0} ? T{0} : std::abs(b * y_before(i)));
    if (!(std::abs(y(i) - expected(i)) <= 2 * std::numeric_limits<T>::epsilon() * scale)) {
      return "y(" + std::to_string(i) + ") is " + test::show(y(i)) + ", expected about " +
             test::show(expected(i));
    }
  }
  return "";
}

constexpr std::array kXLayouts = {Layout::kRowMajor, Layout::kStrided, Layout::kReversedCols,
                                  Layout::kSameCol};
constexpr std::array kYLayouts = {Layout::kRowMajor, Layout::kStrided, Layout::kReversedCols};
constexpr std::array<std::array<double, 2>, 5> kCoefficients = {
    {{1, 0}, {1, 1}, {-0.3, 0}, {1.7, 0.1}, {0, 2}}};

TEMPLATE_TEST_CASE("axpby has the bits of its reference", "[axpby]", float, double) {
  using T = TestType;
  test::for_each_target([](Target target) {
    test::Sampler sample(8);
    test::Tally tally;
    Random random(7);
    GuardedMemory x_memory, y_memory;
    Context context;
    context.target = target;
    for (index_t n = 0; n <= 70; ++n) {  // more than two vectors of any target
      for (const Layout x_layout : kXLayouts) {
        for (const Layout y_layout : kYLayouts) {
          for (const Edge edge : {Edge::kStart, Edge::kEnd}) {
            for (const auto& [a, b] : kCoefficients) {
              if (sample.skip()) continue;
              Matrix<T> x(x_memory, 1, n, x_layout, edge), y(y_memory, 1, n, y_layout, edge);
              x.fill(random, Values::kModerate);
              if (b != 0) y.fill(random, Values::kModerate);  // else it stays NaN and is not read
              const std::vector<T> before = y.copy();
              std::vector<T> expected = before, old = before;
              const View<T, 1> want = row(y.view_of(expected));
              ref::axpby(row(x.read_only()), want, static_cast<T>(a), static_cast<T>(b));
              axpby(row(x.read_only()), row(y.view()), {.a = a, .b = b, .context = &context});
              if (!has_fma(target)) {
                const std::string failure =
                    close(row(y.view()), row(x.read_only()), row(y.view_of(old)), want,
                          static_cast<T>(a), static_cast<T>(b));
                tally.add(failure, [&] { return "n = " + std::to_string(n); });
                for (index_t i = 0; i < n; ++i) want(i) = row(y.view())(i);  // now for the gaps
              }
              tally.add(y.difference(expected), [&] {
                return "n = " + std::to_string(n) + ", strides " +
                       std::to_string(x.view().stride(1)) + " and " +
                       std::to_string(y.view().stride(1)) + ", a = " + std::to_string(a) +
                       ", b = " + std::to_string(b);
              });
            }
          }
        }
      }
    }
  });
}

TEST_CASE("axpby works in place", "[axpby]") {
  test::for_each_target([](Target target) {
    Context context;
    context.target = target;
    std::vector<float> y = {1, 2, 3, 4, 5, 6, 7};
    axpby(row_major(y, {7}), row_major(y, {7}), {.a = 2, .b = 3, .context = &context});
    CHECK(y == std::vector<float>{5, 10, 15, 20, 25, 30, 35});
  });
}

TEST_CASE("axpby propagates NaN and infinity", "[axpby]") {
  const float inf = std::numeric_limits<float>::infinity();
  test::for_each_target([&](Target target) {
    Context context;
    context.target = target;
    const std::vector<float> x = {inf, -inf, NAN, 1, 0};
    std::vector<float> y = {inf, inf, 1, NAN, inf};
    axpby(row_major(x, {5}), row_major(y, {5}), {.b = 1, .context = &context});
    CHECK(y[0] == inf);
    CHECK(std::isnan(y[1]));
    CHECK(std::isnan(y[2]));
    CHECK(std::isnan(y[3]));
    CHECK(y[4] == inf);
  });
}

// What the call raises: "argument: expected ..., got ..."
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("axpby refuses wrong arguments and writes nothing", "[axpby]") {
  const std::vector<float> x = {1, 2, 3, 4};
  std::vector<float> y = {5, 6, 7, 8};
  const std::vector<float> before = y;
  const auto xv = row_major(x, {4});
  const auto yv = row_major(y, {4});

  CHECK(error_of([&] { axpby(xv, row_major(y, {3})); }) ==
        "axpby: y: expected 4 elements, as many as x, got 3");
  CHECK(error_of([&] {
          axpby(strided(x.data(), {-1}, {1}), yv);
        }).starts_with("axpby: x: expected extents of at least 0"));
  CHECK(error_of([&] {
          axpby(row_major(static_cast<float*>(nullptr), {4}), yv);
        }).starts_with("axpby: x: expected data"));
  CHECK(error_of([&] { axpby(xv, strided(y.data(), {4}, {0})); }) ==
        "axpby: y: expected a stride that visits each element once, got 0");
  CHECK(error_of([&] {
          axpby(row_major(y.data(), {3}), row_major(y.data() + 1, {3}));
        }).starts_with("axpby: y: expected x itself, or memory that does not overlap x"));
  CHECK(error_of([&] {
          axpby(strided(x.data(), {4}, {std::numeric_limits<index_t>::max() / 2}), yv);
        }).starts_with("axpby: x: expected sizes within the address space"));
  Context context;
  context.target = Target::kXsimdAvx2;  // never there in a build with run-time dispatch
  CHECK(error_of([&] {
          axpby(xv, yv, {.context = &context});
        }).starts_with("axpby: context.target: expected one of"));
  CHECK(y == before);
}

}  // namespace
}  // namespace tessera
