// SPDX-License-Identifier: Apache-2.0
// Norms of groups of channels: bits of the specification in any layout, large means, NaN, threads, errors.

#include "tessera/ops/group_norm.h"

#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/layout.h"
#include "tessera/ref/group_norm.h"
#include "testing.h"

namespace tessera::test::group_norm_test {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  std::array<index_t, 5> extents{1, 1, 1, 1, 1};  // of images, spatial axes, channels
  int spatial = 3;                                // axes that the call gets
  index_t groups = 1;
  bool weight = true, bias = true, in_place = false;
  float epsilon = 1e-5f;
  std::array<Order, 3> orders{};  // of x, y, weight and bias
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  return detail::to_string(c.extents) + " (" + describe(c.orders[0]) + " to " +
         describe(c.orders[1]) + "), " + std::to_string(c.groups) + " groups" +
         (c.weight ? ", weight" : "") + (c.bias ? ", bias" : "") + (c.in_place ? ", in place" : "");
}

struct Memories {
  GuardedMemory x, y, weight, bias;
  Random random;
};

// Image i of a tensor in the order of the specification: [positions, channels].
template <class T>
std::vector<T> image_of(const View<T, 5>& v, index_t image) {
  std::vector<T> dense;
  for (index_t d = 0; d < v.extent(1); ++d) {
    for (index_t h = 0; h < v.extent(2); ++h) {
      for (index_t w = 0; w < v.extent(3); ++w) {
        for (index_t c = 0; c < v.extent(4); ++c) dense.push_back(v(image, d, h, w, c));
      }
    }
  }
  return dense;
}

template <int kSpatial, class X, class Y>
void call(const Tensor<X, 5>& x, const Tensor<Y, 5>& y, const Case& c, const GroupNormOptions& o) {
  const View<const X, kSpatial + 2> from = x.template with_spatial<kSpatial>();
  if constexpr (std::is_same_v<X, Y>) {
    if (c.in_place) return group_norm(from, x.template with_spatial<kSpatial>(), c.groups, o);
  }
  group_norm(from, y.template with_spatial<kSpatial>(), c.groups, o);
}

template <class X, class Y, class W>
std::string run_case(Memories& m, const Case& c) {
  Tensor<X, 5> x(m.x, m.random, c.extents, c.orders[0], c.edge);
  Tensor<Y, 5> y(m.y, m.random, c.extents, c.orders[1], c.edge);
  const index_t channels = c.extents[4], positions = c.extents[1] * c.extents[2] * c.extents[3];
  Tensor<W, 1> weight(m.weight, m.random, {channels}, c.orders[2], c.edge);
  Tensor<W, 1> bias(m.bias, m.random, {channels}, c.orders[2], c.edge);
  x.fill(m.random, c.values);
  weight.fill(m.random, Values::kModerate);
  bias.fill(m.random, Values::kModerate);

  std::vector<float> w, b;
  for (index_t i = 0; i < channels; ++i) {
    if (c.weight) w.push_back(static_cast<float>(weight.view()(i)));
    if (c.bias) b.push_back(static_cast<float>(bias.view()(i)));
  }
  const bool in_place = c.in_place && std::is_same_v<X, Y>;
  std::vector<X> x_after = x.copy();
  std::vector<Y> y_after = y.copy();
  for (index_t i = 0; i < c.extents[0]; ++i) {
    const std::vector<X> image = image_of(x.view(), i);
    std::vector<Y> result(image.size());
    const View<const X, 2> from = row_major(image, {positions, channels});
    const View<Y, 2> to = row_major(result, {positions, channels});
    has_fma(c.context->target.value())
        ? ref::group_norm_image<true>(from, to, c.groups, w, b, c.epsilon)
        : ref::group_norm_image<false>(from, to, c.groups, w, b, c.epsilon);
    const auto put = [&](const auto& view) {
      std::size_t at = 0;
      for (index_t d = 0; d < c.extents[1]; ++d) {
        for (index_t h = 0; h < c.extents[2]; ++h) {
          for (index_t p = 0; p < c.extents[3]; ++p) {
            for (index_t k = 0; k < channels; ++k) view(i, d, h, p, k) = result[at++];
          }
        }
      }
    };
    if constexpr (std::is_same_v<X, Y>) {
      put(in_place ? x.view_of(x_after) : y.view_of(y_after));
    } else {
      put(y.view_of(y_after));
    }
  }
  GroupNormOptions options{.epsilon = c.epsilon, .context = c.context};
  if (c.weight) options.weight = weight.read_only();
  if (c.bias) options.bias = bias.view();
  if (c.spatial == 3) call<3>(x, y, c, options);
  if (c.spatial == 2) call<2>(x, y, c, options);
  if (c.spatial == 1) call<1>(x, y, c, options);
  return y.difference(y_after) + x.difference(x_after);
}

Case random_case(Random& random) {
  Case c;
  c.spatial = 1 + static_cast<int>(random.below(3));
  const index_t each = 1 + random.below(6);
  c.groups = random.below(4) == 0 ? 1 + random.below(40) : 1 + random.below(4);
  c.extents = {1 + random.below(3), 1, 1, 1 + random.below(20), each * c.groups};
  if (c.spatial > 1) c.extents[2] = 1 + random.below(6);
  if (c.spatial > 2) c.extents[1] = 1 + random.below(3);
  if (random.below(3) == 0) c.extents[3] = 1;
  c.weight = random.below(4) != 0;
  c.bias = random.below(4) != 0;
  c.in_place = random.below(3) == 0;
  c.epsilon = random.below(2) != 0 ? 1e-5f : random.below(2) != 0 ? 0 : 0.3f;
  for (Order& order : c.orders) {
    order =
        random.below(3) == 0 ? Order::kDense : kOrders[static_cast<std::size_t>(random.below(4))];
  }
  c.edge = random_edge(random);
  c.values = random_values(random, 6, 3);
  return c;
}

TEST_CASE("group_norm has the bits of its specification", "[group_norm]") {
  for_random_cases<Memories>(900, 16, random_case, [](Memories& m, const Case& c, int i) {
    const int types = i % 4;
    return types == 0   ? run_case<float, float, float>(m, c)
           : types == 1 ? run_case<bf16, bf16, float>(m, c)
           : types == 2 ? run_case<f16, float, bf16>(m, c)
                        : run_case<float, f16, f16>(m, c);
  });
}

TEST_CASE("group_norm of more channels than are summed at once", "[group_norm]") {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    for (const index_t groups : {1, 2, 5}) {
      Case c{.extents = {1, 1, 1, 40, 1030}, .groups = groups};
      c.context = &context;
      if (reduced_effort()) c.extents[3] = 3;
      tally.add(run_case<float, float, float>(m, c), [&] { return describe(c); });
    }
  });
}

TEST_CASE("group_norm has the same bits in NCHW and NHWC", "[group_norm]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Random random;
    constexpr index_t kH = 9, kW = 11, kC = 72;
    std::vector<float> x(static_cast<std::size_t>(kH * kW * kC)), last(x.size()), first(x.size());
    const auto from = nhwc(x.data(), {index_t{1}, kH, kW, kC});
    std::vector<float> moved(x.size());
    const auto from_first = nchw(moved.data(), {index_t{1}, kC, kH, kW});
    for (index_t h = 0; h < kH; ++h) {
      for (index_t w = 0; w < kW; ++w) {
        for (index_t c = 0; c < kC; ++c) {
          from_first(0, h, w, c) = from(0, h, w, c) = random.value<float>(Values::kModerate);
        }
      }
    }
    group_norm(from, nhwc(last.data(), {index_t{1}, kH, kW, kC}), 8, {.context = &context});
    const auto to_first = nchw(first.data(), {index_t{1}, kC, kH, kW});
    group_norm(from_first, to_first, 8, {.context = &context});
    bool all = true;
    for (index_t i = 0; i < kH * kW * kC; ++i) {
      const index_t c = i % kC, w = i / kC % kW, h = i / kC / kW;
      all = all && same(last[static_cast<std::size_t>(i)], to_first(0, h, w, c));
    }
    CHECK(all);
  });
}

TEST_CASE("group_norm is close to the exact one, also beside a large mean", "[group_norm]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    constexpr index_t kPositions = 300, kChannels = 12, kGroups = 3, kEach = kChannels / kGroups;
    std::vector<float> x(static_cast<std::size_t>(kPositions * kChannels)), y(x.size());
    for (const float offset : {0.0f, 1000.0f}) {
      for (float& v : x) v = random.value<float>(Values::kModerate) + offset;
      const auto from = row_major(x, {index_t{1}, kPositions, kChannels});
      const auto to = row_major(y, {index_t{1}, kPositions, kChannels});
      group_norm(from, to, kGroups, {.context = &context});
      for (index_t g = 0; g < kGroups; ++g) {
        constexpr double kCount = kPositions * kEach;
        double mean = 0, squares = 0, scale = 0;
        const auto each = [&](auto f) {
          for (index_t i = 0; i < kPositions; ++i) {
            for (index_t c = g * kEach; c < (g + 1) * kEach; ++c) f(i, c);
          }
        };
        each([&](index_t i, index_t c) { mean += static_cast<double>(from(0, i, c)) / kCount; });
        each([&](index_t i, index_t c) {
          const double v = static_cast<double>(from(0, i, c));
          squares += (v - mean) * (v - mean);
          scale = std::max(scale, std::fabs(v));
        });
        const double root = std::sqrt(squares / kCount + static_cast<double>(1e-5f));
        // Of sums of positive terms: positions / 32 + 5 + channels roundings, half of which the root leaves; of the mean
        // the same, relative to the largest element.
        const double roundings = kPositions / 32.0 + 5 + kEach;
        const double bound = 0x1p-24 * (roundings + 8) * (scale + std::fabs(mean)) / root;
        double worst = 0;
        each([&](index_t i, index_t c) {
          worst = std::max(worst, std::fabs(static_cast<double>(to(0, i, c)) -
                                            (static_cast<double>(from(0, i, c)) - mean) / root));
        });
        CAPTURE(offset, g);
        CHECK(worst <= bound);
      }
    }
  });
}

TEST_CASE("group_norm of NaN, infinities and zeros", "[group_norm]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    for (const bool first : {false, true}) {
      std::vector<float> x(2 * 35 * 6), y(x.size());
      const auto from = first ? nchw(x.data(), {2, 6, 5, 7}) : nhwc(x.data(), {2, 5, 7, 6});
      const auto to = first ? nchw(y.data(), {2, 6, 5, 7}) : nhwc(y.data(), {2, 5, 7, 6});
      for (const float special : {0.0f, kNaN, std::numeric_limits<float>::infinity()}) {
        from(1, 4, 6, 3) = special;  // of the second of three groups of the second image
        group_norm(from, to, 3, {.context = &context});
        bool good = true;
        for (index_t i = 0; i < 2 * 35 * 6; ++i) {
          const index_t c = i % 6, w = i / 6 % 7, h = i / 42 % 5, n = i / 210;
          const bool meets = special != 0 && n == 1 && c / 2 == 1;
          good = good && same(to(n, h, w, c), meets ? kNaN : 0.0f);
        }
        CAPTURE(first, special);
        CHECK(good);
      }
    }
  });
}

TEST_CASE("group_norm does not depend on threads", "[group_norm]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    for (const Order order : {Order::kDense, Order::kChannelsFirst}) {
      Case c{.extents = {3, 1, 9, 31, 160}, .groups = 32, .orders = {order, order, order}};
      c.context = &context;
      if (reduced_effort()) c.extents[2] = 2;
      tally.add(run_case<float, float, float>(m, c), [&] { return describe(c); });
      tally.add(run_case<bf16, bf16, bf16>(m, c), [&] { return describe(c); });
    }
  });
}

TEST_CASE("group_norm: the same bits everywhere", "[group_norm][reproducibility]") {
  constexpr std::uint64_t kGolden = 0xaa740237445dcdb2;
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    Digest digest;
    Random random(7);
    for (const index_t positions : {1, 31, 32, 33, 100}) {
      for (const index_t channels : {4, 68}) {
        const auto count = static_cast<std::size_t>(positions * channels);
        std::vector<float> x(count), y(count), w(static_cast<std::size_t>(channels));
        for (float& v : x) v = random.value<float>(Values::kModerate);
        for (float& v : w) v = random.value<float>(Values::kModerate);
        group_norm(row_major(x, {index_t{1}, positions, channels}),
                   row_major(y, {index_t{1}, positions, channels}), 4,
                   {.weight = row_major(w, {channels}),
                    .bias = row_major(w, {channels}),
                    .context = &context});
        for (const float v : y) digest.add(v);
      }
    }
    append_digest("group_norm", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == kGolden);
  });
}

TEST_CASE("group_norm refuses wrong arguments and writes nothing", "[group_norm]") {
  std::vector<float> x(24, 1.0f), y(24, 7.0f), w(5, 1.0f);
  const auto from = row_major(x, {1, 6, 4});
  const auto to = row_major(y, {1, 6, 4});
  const auto error = [&](index_t groups, const GroupNormOptions& o) {
    return error_of([&] { group_norm(from, to, groups, o); });
  };
  CHECK(error(3, {}) == "group_norm: groups: expected a divisor of 4 (the channels of x), got 3");
  CHECK(error(0, {}) == "group_norm: groups: expected a divisor of 4 (the channels of x), got 0");
  CHECK(error_of([&] { group_norm(from, row_major(y, {1, 4, 6}), 2); }) ==
        "group_norm: y: expected extents {1, 6, 4}, those of x, got {1, 4, 6}");
  CHECK(error(2, {.weight = row_major(w, {5})}) ==
        "group_norm: options.weight: expected extents {4}, the channels of x, got {5}");
  CHECK(error(2, {.bias = row_major(w, {3})}) ==
        "group_norm: options.bias: expected extents {4}, the channels of x, got {3}");
  CHECK(error(2, {.weight = row_major(y.data(), {4})}) ==
        "group_norm: y: expected memory that does not overlap options.weight, got an overlapping "
        "view");
  CHECK(error(2, {.epsilon = -1}) ==
        "group_norm: options.epsilon: expected a finite number of at least 0, got -1.000000");
  CHECK(error_of([&] { group_norm(from, strided(y.data(), {1, 6, 4}, {0, 0, 1}), 2); }) ==
        "group_norm: y: expected strides that visit each element once, each beyond the reach of "
        "the smaller, got extents {1, 6, 4}, strides {0, 0, 1}");
  CHECK(error_of([&] {
          group_norm(row_major(x.data(), {1, 5, 4}), row_major(x.data() + 4, {1, 5, 4}), 2);
        }) ==
        "group_norm: y: expected memory that does not overlap x, or is the same, got an "
        "overlapping view");
  CHECK(error_of([&] { group_norm(row_major(static_cast<float*>(nullptr), {1, 6, 4}), to, 2); }) ==
        "group_norm: x: expected data for extents {1, 6, 4}, got a null pointer");
  CHECK(y == std::vector<float>(24, 7.0f));
  CHECK(x == std::vector<float>(24, 1.0f));

  // Nothing to do.
  group_norm(row_major(x.data(), {1, 0, 4}), row_major(y.data(), {1, 0, 4}), 2);
  CHECK(y == std::vector<float>(24, 7.0f));
}

}  // namespace tessera::test::group_norm_test
