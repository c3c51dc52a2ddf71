// SPDX-License-Identifier: Apache-2.0
// Padding: the specification over random problems, the modes by hand, threads, errors.

#include "tessera/ops/pad.h"

#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "random.h"
#include "tensor.h"
#include "tessera/ref/pad.h"
#include "testing.h"

namespace tessera::test {
namespace {

struct Memories {
  GuardedMemory x, y;
  Random random;
};

template <class T, int Rank>
std::string run_case(Memories& m, Context* context) {
  Random& random = m.random;
  PadOptions<Rank> options;
  options.mode = static_cast<PadMode>(random.below(3));
  options.value = std::is_integral_v<T> ? 17.0f : 0.1f;
  options.context = context;
  std::array<index_t, Rank> from{}, to{};
  for (std::size_t i = 0; i < Rank; ++i) {
    from[i] = 1 + random.below(5);
    const index_t most = options.mode == PadMode::kReflect ? from[i] : 5;
    options.padding[i] = random.below(most);
    options.padding[Rank + i] = random.below(most);
    to[i] = from[i] + options.padding[i] + options.padding[Rank + i];
  }
  const Edge edge = random_edge(random);
  Tensor<T, Rank> x(m.x, random, from, kOrders[static_cast<std::size_t>(random.below(4))], edge);
  x.fill(random, Values::kAnyBits);
  Tensor<T, Rank> y(m.y, random, to, kOrders[static_cast<std::size_t>(random.below(4))], edge);
  std::vector<T> expected = y.copy();
  ref::pad(x.read_only(), y.view_of(expected), options.padding, options.mode,
           static_cast<T>(options.value));
  pad(x.view(), y.view(), options);
  std::string failure = y.difference(expected);
  if (!failure.empty()) {
    failure += " (" + detail::to_string(from) + " to " + detail::to_string(to) + ", mode " +
               std::to_string(static_cast<int>(options.mode)) + ")";
  }
  return failure;
}

TEMPLATE_TEST_CASE("padding is that of its specification", "[pad]", float, bf16, f16, std::int8_t,
                   std::uint8_t) {
  Memories m;
  StdThreads threads{3};
  Context context;
  Tally tally;
  for (int i = 0; i < 200; ++i) {
    context.executor = i % 20 == 0 ? Executor::from_function(3, threads) : Executor();
    const auto none = [] { return std::string("a tensor"); };
    tally.add(run_case<TestType, 1>(m, &context), none);
    tally.add(run_case<TestType, 2>(m, &context), none);
    tally.add(run_case<TestType, 3>(m, &context), none);
    tally.add(run_case<TestType, 4>(m, &context), none);
    tally.add(run_case<TestType, 5>(m, &context), none);
  }
}

TEST_CASE("the modes of padding, by hand", "[pad]") {
  const std::vector<float> x = {1, 2, 3};
  std::vector<float> y(7);
  const auto from = row_major(x, {3});
  const auto to = row_major(y, {7});
  pad(from, to, {.padding = {2, 2}, .value = 9});
  CHECK(y == std::vector<float>{9, 9, 1, 2, 3, 9, 9});
  pad(from, to, {.padding = {2, 2}, .mode = PadMode::kReflect});
  CHECK(y == std::vector<float>{3, 2, 1, 2, 3, 2, 1});
  pad(from, to, {.padding = {1, 3}, .mode = PadMode::kEdge});
  CHECK(y == std::vector<float>{1, 1, 2, 3, 3, 3, 3});
  // Of nothing, only the constant.
  pad(row_major(x.data(), {0}), to, {.padding = {3, 4}, .value = 5});
  CHECK(y == std::vector<float>(7, 5.0f));
}

TEST_CASE("padding refuses wrong arguments and writes nothing", "[pad]") {
  std::vector<float> x(6, 1.0f), y(24, 7.0f);
  const auto from = row_major(x, {2, 3});
  const auto to = row_major(y, {4, 5});
  CHECK(error_of([&] { pad(from, to, {.padding = {1, 1, 1, -1}}); }) ==
        "pad: options.padding: expected at least 0, got {1, 1, 1, -1}");
  CHECK(error_of([&] { pad(from, to, {.padding = {2, 1, 0, 1}, .mode = PadMode::kReflect}); }) ==
        "pad: options.padding: expected at least 0 and less than the extents {2, 3}, got {2, 1, 0, "
        "1}");
  CHECK(error_of([&] { pad(from, to, {.padding = {1, 1, 1, 2}}); }) ==
        "pad: y: expected extents {4, 6}, those of the padded x, got {4, 5}");
  CHECK(error_of([&] {
          pad(row_major(x.data(), {0, 3}), to, {.padding = {2, 1, 2, 1}, .mode = PadMode::kEdge});
        }) == "pad: x: expected at least one element, got extents {0, 3}");
  CHECK(error_of([&] { pad(from, row_major(x.data() + 1, {2, 3}), {}); }) ==
        "pad: y: expected memory that does not overlap x, got an overlapping view");
  std::vector<std::uint8_t> q(6), r(20);
  CHECK(error_of([&] {
          pad(row_major(q, {2, 3}), row_major(r, {4, 5}), {.padding = {1, 1, 1, 1}, .value = 256});
        }) == "pad: options.value: expected an integer from 0 to 255, got 256.000000");
  CHECK(y == std::vector<float>(24, 7.0f));
  pad(row_major(x.data(), {0, 3}), row_major(y.data(), {0, 5}), {.padding = {0, 1, 0, 1}});
  CHECK(y == std::vector<float>(24, 7.0f));
}

}  // namespace
}  // namespace tessera::test
