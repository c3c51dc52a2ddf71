// SPDX-License-Identifier: Apache-2.0
// Convolutions against the specification, bit for bit, over random problems of any rank, layout and type.
#include "tessera/ops/conv.h"

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "errors.h"
#include "executors.h"
#include "guarded.h"
#include "random.h"
#include "tensor.h"
#include "tessera/core/layout.h"
#include "tessera/ref/conv.h"
#include "testing.h"

namespace tessera::test::conv_test {

using Axes = std::array<index_t, 5>;

struct ConvCase {
  int rank = 2;
  Axes x{}, w{}, y{};  // extents
  Order x_order{}, w_order{}, y_order{};
  ref::ConvGeometry geometry;
  std::array<index_t, 3> pad_end{}, output_padding{};
  Values values = Values::kModerate;
  int epilogue = 0;  // 0: none; 1: bias, relu; 2: bias, residual; 3: a vector per row, a function
  bool packed = false, small_caches = false;
  int threads = 1;  // 0: one, with the tasks in random order
  index_t kc = 0;
};

std::string describe(const ConvCase& c) {
  const auto list = [](const auto& values) { return detail::to_string(values); };
  const auto& g = c.geometry;
  return (g.transposed ? "transposed, x " : "x ") + list(c.x) + " w " + list(c.w) + " y " +
         list(c.y) + " stride " + list(g.stride) + " dilation " + list(g.dilation) + " padding " +
         list(g.padding) + list(c.pad_end) + " groups " + std::to_string(g.groups) + " zero " +
         std::to_string(g.x_zero_point) + " rank " + std::to_string(c.rank) + " layouts " +
         std::to_string(static_cast<int>(c.x_order)) + std::to_string(static_cast<int>(c.w_order)) +
         std::to_string(static_cast<int>(c.y_order)) + " epilogue " + std::to_string(c.epilogue) +
         " packed " + std::to_string(c.packed) + " small caches " + std::to_string(c.small_caches) +
         " threads " + std::to_string(c.threads) + " kc " + std::to_string(c.kc);
}

Order any_order(Random& random) {
  constexpr std::array kLikely = {Order::kDense, Order::kDense, Order::kApart,
                                  Order::kChannelsFirst, Order::kAny};
  return kLikely[static_cast<std::size_t>(random.below(5))];
}

// A small problem; its y may be empty, then it is drawn again.
ConvCase random_case(Random& random, bool transposed) {
  ConvCase c;
  for (;;) {
    c = {};
    auto& g = c.geometry;
    g.transposed = transposed;
    c.rank = 1 + static_cast<int>(random.below(3));
    const index_t in = 1 + random.below(random.below(3) == 0 ? 20 : 5);
    const index_t out = 1 + random.below(random.below(3) == 0 ? 70 : 9);
    g.groups = random.below(3) == 0 ? 1 + random.below(4) : 1;
    const bool depthwise = random.below(6) == 0;
    if (depthwise) g.groups = 1 + random.below(21);
    const index_t group_in = depthwise ? 1 : in, group_out = depthwise ? 1 + random.below(2) : out;
    const index_t most = c.rank == 1 ? 40 : c.rank == 2 ? 12 : 6;
    c.x = {1 + random.below(2), 1, 1, 1, group_in * g.groups};
    c.w = {group_out * g.groups, 1, 1, 1, group_in};
    c.y = {c.x[0], 1, 1, 1, c.w[0]};
    index_t least = 1;
    for (auto axis = static_cast<std::size_t>(3 - c.rank); axis < 3; ++axis) {
      g.stride[axis] = 1 + (random.below(2) == 0 ? random.below(3) : 0);
      g.dilation[axis] = 1 + (random.below(3) == 0 ? random.below(3) : 0);
      g.padding[axis] = random.below(2) == 0 ? random.below(4) : 0;
      c.pad_end[axis] = random.below(3) == 0 ? random.below(4) : g.padding[axis];
      const index_t k = 1 + random.below(4), x = 1 + random.below(most);
      const index_t span = (k - 1) * g.dilation[axis] + 1;
      const index_t padding = g.padding[axis] + c.pad_end[axis];
      index_t y = 0;
      if (transposed) {
        c.output_padding[axis] = random.below(g.stride[axis]);
        y = (x - 1) * g.stride[axis] - padding + span + c.output_padding[axis];
      } else {
        y = x + padding < span ? 0 : (x + padding - span) / g.stride[axis] + 1;
      }
      c.x[axis + 1] = x, c.w[axis + 1] = k, c.y[axis + 1] = y;
      least = std::min(least, y);
    }
    if (least > 0) break;
  }
  c.x_order = any_order(random), c.w_order = any_order(random), c.y_order = any_order(random);
  c.values = random.below(4) == 0 ? Values::kAnyBits : Values::kModerate;
  c.epilogue = static_cast<int>(random.below(transposed ? 3 : 4));
  c.packed = random.below(2) == 0;
  c.small_caches = random.below(2) == 0;
  c.threads = static_cast<int>(random.below(6)) < 4 ? 1 : static_cast<int>(random.below(4));
  if (random.below(3) == 0) c.kc = 1 + random.below(12);
  return c;
}

// The options of a call of rank kRank.
template <int kRank, class Options>
Options options_of(const ConvCase& c, Context& context) {
  Options o;
  const auto& g = c.geometry;
  for (int i = 0; i < kRank; ++i) {
    const auto from = static_cast<std::size_t>(3 - kRank + i), to = static_cast<std::size_t>(i);
    o.stride[to] = g.stride[from];
    o.dilation[to] = g.dilation[from];
    o.padding[to] = g.padding[from];
    o.padding[to + kRank] = c.pad_end[from];
    if constexpr (requires { o.output_padding; }) o.output_padding[to] = c.output_padding[from];
  }
  o.groups = g.groups;
  o.x_zero_point = g.x_zero_point;
  o.context = &context;
  return o;
}

template <class X, class W, class Y>
void call(const ConvCase& c, const Tensor<X, 5>& x, const Tensor<W, 5>& w, const Tensor<Y, 5>& y,
          Context& context, const Tensor<float, 5>* residual, Epilogue epilogue) {
  const auto run = [&]<int kRank>(auto conv, auto pack, auto options) {
    if (residual) epilogue = epilogue | epi::residual(residual->template with_spatial<kRank>());
    const auto from = x.template with_spatial<kRank>();
    const auto filters = w.template with_spatial<kRank>();
    const auto to = y.template with_spatial<kRank>();
    if (c.packed) {
      conv(from, pack(filters, options), to, options, epilogue);
    } else {
      conv(from, filters, to, options, epilogue);
    }
  };
#define TESSERA_TEST_CALL(RANK)                                                                   \
  if (c.rank == RANK && c.geometry.transposed) {                                                  \
    run.template operator()<RANK>([](auto&&... a) { conv_transpose##RANK##d(a...); },             \
                                  [](auto&&... a) { return pack_conv_transpose##RANK##d(a...); }, \
                                  options_of<RANK, ConvTransposeOptions<RANK>>(c, context));      \
  } else if (c.rank == RANK) {                                                                    \
    run.template operator()<RANK>([](auto&&... a) { conv##RANK##d(a...); },                       \
                                  [](auto&&... a) { return pack_conv##RANK##d(a...); },           \
                                  options_of<RANK, ConvOptions<RANK>>(c, context));               \
  }
  TESSERA_TEST_CALL(1)
  TESSERA_TEST_CALL(2)
  TESSERA_TEST_CALL(3)
#undef TESSERA_TEST_CALL
}

struct Workspace {
  GuardedMemory x, w, y, residual;
  Random random;
};

// Runs one case and compares: an empty text, or what is wrong. Results go into `digest`.
template <class X, class W, class Y>
std::string run_case(Workspace& space, Target target, ConvCase c, Digest* digest = nullptr) {
  constexpr bool kIntegers = std::is_integral_v<X>;
  constexpr bool kSums = std::is_same_v<Y, std::int32_t>;
  Random& random = space.random;
  if (!has_fma(target)) c.values = Values::kModerate;
  if (kSums) c.epilogue = 0;
  if constexpr (kIntegers) {
    c.geometry.x_zero_point =
        random.below(2) == 0 ? static_cast<int>(random.value<X>(c.values)) : 0;
  }
  const auto place = [&]<class T>(GuardedMemory& memory, const Axes& extents, Order order) {
    return Tensor<T, 5>(memory, random, extents, order,
                        random.below(2) == 0 ? Edge::kStart : Edge::kEnd);
  };
  auto x = place.template operator()<X>(space.x, c.x, c.x_order);
  auto w = place.template operator()<W>(space.w, c.w, c.w_order);
  const auto y = place.template operator()<Y>(space.y, c.y, c.y_order);
  auto residual = place.template operator()<float>(space.residual, c.y, c.y_order);
  x.fill(random, c.values);
  w.fill(random, c.values);
  residual.fill(random, Values::kModerate);
  auto old_x = x.copy();
  auto old_w = w.copy();
  auto expected = y.copy();

  const index_t pixels = c.y[0] * c.y[1] * c.y[2] * c.y[3];
  std::vector<float> bias(static_cast<std::size_t>(c.y[4])), rows(static_cast<std::size_t>(pixels));
  for (float& b : bias) b = random.value<float>(Values::kModerate);
  for (float& r : rows) r = random.value<float>(Values::kModerate);
  const float scale = 0.01f;
  const int zero_point = 3;
  auto doubled = [](const EpilogueTile<float>& t) {
    for (index_t i = 0; i < t.values.extent(0); ++i) {
      for (index_t j = 0; j < t.values.extent(1); ++j) {
        t.values(i, j) += static_cast<float>((t.row + i) % 7 + (t.col + j) % 5);
      }
    }
  };
  Epilogue epilogue;
  const index_t channels = c.y[4];
  if (c.epilogue == 1) {
    epilogue = epi::bias(row_major(bias, {channels})) | epi::relu();
  } else if (c.epilogue == 2) {
    epilogue = epi::bias(row_major(bias, {channels}));  // call() adds the residual
  } else if (c.epilogue == 3) {
    epilogue = epi::row_bias(row_major(rows, {pixels})) | epi::function(doubled);
  }
  constexpr bool kBytes = sizeof(Y) == 1;
  if (kBytes && kIntegers && c.epilogue != 2) {
    epilogue = epilogue | epi::requantize(scale, zero_point);
  }

  StdThreads threads{c.threads};
  Shuffled shuffled;
  Context context;
  context.target = target;
  context.gemm.kc = c.kc;
  if (c.small_caches) context.caches = small_caches();
  if (c.threads == 0) context.executor = Executor::from_function(3, shuffled);
  if (c.threads > 1) context.executor = Executor::from_function(c.threads, threads);
  call(c, x, w, y, context, c.epilogue == 2 ? &residual : nullptr, epilogue);

  const auto steps = [&](auto s, index_t n, index_t d, index_t h, index_t width, index_t o) {
    if constexpr (!kSums) {
      const auto column = static_cast<std::size_t>(o);
      if (c.epilogue == 1) s = s + bias[column] < 0 ? 0 : s + bias[column];
      if (c.epilogue == 2) s = (s + bias[column]) + residual.view()(n, d, h, width, o);
      if (c.epilogue == 3) {
        const index_t row = ((n * c.y[1] + d) * c.y[2] + h) * c.y[3] + width;
        s = (s + rows[static_cast<std::size_t>(row)]) + static_cast<float>(row % 7 + o % 5);
      }
      if (kBytes && kIntegers && c.epilogue != 2) {
        s = std::nearbyint(s * scale) + static_cast<float>(zero_point);
      }
    }
    return s;
  };
  ref::conv(x.read_only(), w.read_only(), y.view_of(expected), c.geometry, steps);
  if (digest != nullptr) {
    y.for_each_index([digest](Y v, const Axes&) {
      const double x = as_double(v);
      digest->add(x != x ? std::numeric_limits<double>::quiet_NaN()
                         : x);  // NaNs have no fixed bits
    });
  }
  if (auto text = x.difference(old_x); !text.empty()) return "x changed: " + text;
  if (auto text = w.difference(old_w); !text.empty()) return "w changed: " + text;
  if (has_fma(target) || kIntegers) return y.difference(expected);
  // Without FMA: each product and sum rounds once more. What is added to in the epilogue bounds the rest.
  const double taps = static_cast<double>(c.w[1] * c.w[2] * c.w[3] * c.w[4]);
  const double largest = 256 * taps + 64;
  const double unit =
      std::max<double>(std::numeric_limits<float>::epsilon(), kBytes           ? 1.0 / 256
                                                              : sizeof(Y) == 2 ? 1.0 / 128
                                                                               : 0);
  return y.difference(expected, [&](Y got, Y want, const Axes&) {
    return std::abs(as_double(got) - as_double(want)) <=
           (taps + 8) * largest * std::numeric_limits<float>::epsilon() +
               2 * unit * std::abs(as_double(want)) + (kBytes ? 1 : 0);
  });
}

// With so many channels that a matrix unit pays.
ConvCase with_long_rows(ConvCase c, Random& random) {
  const index_t groups = 1 + random.below(2), in = 32 + random.below(110);
  c.geometry.groups = groups;
  c.x[4] = groups * in;
  c.w[4] = in;
  c.w[0] = c.y[4] = groups * (1 + random.below(40));
  if (c.kc > 0) c.kc *= 24;
  return c;
}

template <class X, class W, class Y>
void run_cases(Target target, int count, std::uint64_t seed, bool long_rows = false) {
  Workspace space;
  space.random = Random(seed);
  Sampler sampler(8);
  Tally tally;
  for (int i = 0; i < count; ++i) {
    ConvCase c = random_case(space.random, i % 4 == 3);
    if (long_rows) c = with_long_rows(c, space.random);
    if (sampler.skip()) continue;
    tally.add(run_case<X, W, Y>(space, target, c), [&] { return describe(c); });
  }
}

TEST_CASE("random convolutions of f32") {
  for_each_target([](Target target) { run_cases<float, float, float>(target, 1200, 1); });
}

TEST_CASE("random convolutions of 16 bits, and of mixed types") {
  for_each_target([](Target target) {
    run_cases<bf16, f16, float>(target, 150, 2);
    run_cases<f16, float, bf16>(target, 150, 3);
    run_cases<float, bf16, std::int8_t>(target, 100, 4);
  });
}

TEST_CASE("random convolutions of integers are exact") {
  for_each_target([](Target target) {
    run_cases<std::int8_t, std::int8_t, std::int32_t>(target, 500, 5);
    run_cases<std::uint8_t, std::int8_t, std::int32_t>(target, 300, 6);
    run_cases<std::uint8_t, std::uint8_t, std::int32_t>(target, 200, 7);
    run_cases<std::int8_t, std::int8_t, std::int8_t>(target, 200, 8);
    run_cases<std::int8_t, std::uint8_t, float>(target, 100, 9);
    run_cases<std::uint8_t, std::int8_t, std::uint8_t>(target, 100, 10);
  });
}

TEST_CASE("random convolutions of integers with many channels are exact") {
  for_each_target([](Target target) {
    run_cases<std::int8_t, std::int8_t, std::int32_t>(target, 60, 12, true);
    run_cases<std::uint8_t, std::int8_t, std::int8_t>(target, 40, 13, true);
    run_cases<std::int8_t, std::uint8_t, float>(target, 40, 14, true);
    run_cases<std::uint8_t, std::uint8_t, std::uint8_t>(target, 40, 15, true);
  });
}

TEST_CASE("convolutions have the same bits everywhere") {
  // Changes with the numerics of convolutions, which would break every user who compares results, or with the family.
  constexpr std::uint64_t kGolden = 0xfa8052fa2b4baafb;
  for_each_target([](Target target) {
    Workspace space;
    space.random = Random(11);
    Digest digest;
    Tally tally;
    for (int i = 0; i < 60; ++i) {
      const ConvCase c = random_case(space.random, i % 3 == 2);
      const auto describe_case = [&] { return describe(c); };
      tally.add(run_case<float, float, float>(space, target, c, &digest), describe_case);
      tally.add(run_case<std::int8_t, std::int8_t, std::int32_t>(space, target, c, &digest),
                describe_case);
    }
    append_digest("conv", target, digest.value());
    if (has_fma(target)) CHECK(digest.value() == kGolden);
  });
}

// Layers of networks, with blocks of several rows and more channels than a panel.
TEST_CASE("convolutions of usual shapes") {
  struct Shape {
    index_t in, out, size, kernel, stride, padding, groups;
  };
  constexpr Shape kShapes[] = {
      {3, 32, 33, 7, 2, 3, 1},   {64, 64, 14, 3, 1, 1, 1},  {48, 80, 15, 1, 1, 0, 1},
      {32, 32, 20, 3, 1, 1, 32}, {24, 48, 17, 5, 2, 2, 24}, {40, 56, 13, 1, 2, 0, 1},
      {32, 64, 12, 3, 1, 2, 4},
  };
  for_each_target([&](Target target) {
    Workspace space;
    Sampler sampler(6);
    Tally tally;
    for (const Shape& s : kShapes) {
      for (const int threads : {1, 3}) {
        if (sampler.skip()) continue;
        ConvCase c;
        const index_t y = (s.size + 2 * s.padding - s.kernel) / s.stride + 1;
        c.x = {1, 1, s.size, s.size, s.in};
        c.w = {s.out, 1, s.kernel, s.kernel, s.in / s.groups};
        c.y = {1, 1, y, y, s.out};
        c.geometry.stride = {1, s.stride, s.stride};
        c.geometry.padding = c.pad_end = {0, s.padding, s.padding};
        c.geometry.groups = s.groups;
        c.epilogue = 1;
        c.packed = true;
        c.threads = threads;
        tally.add(run_case<float, float, float>(space, target, c), [&] { return describe(c); });
        tally.add(run_case<std::int8_t, std::int8_t, std::int8_t>(space, target, c),
                  [&] { return describe(c); });
      }
    }
  });
}

// The errors of Winograd's algorithms, over unit roundoff, largest magnitude of x and sum of the filter's magnitudes.
TEST_CASE("Winograd's algorithms keep their error bounds") {
  struct Bound {
    ConvAlgorithm algorithm;
    double factor;  // as ops/conv.h states it
  };
  constexpr Bound kBounds[] = {{ConvAlgorithm::kWinograd2, 8},
                               {ConvAlgorithm::kWinograd4, 256},
                               {ConvAlgorithm::kWinograd6, 512}};
  for_each_target([&](Target target) {
    Workspace space;
    Random& random = space.random;
    Sampler sampler(20);
    Tally tally;
    for (int i = 0; i < 60; ++i) {
      ConvCase c;
      const index_t in = 1 + random.below(40), out = 1 + random.below(70);
      const std::array<index_t, 4> padding = {random.below(3), random.below(3), random.below(3),
                                              random.below(3)};
      const index_t h = 3 + random.below(18), width = 3 + random.below(18);
      c.x = {1 + random.below(2), 1, h, width, in};
      c.w = {out, 1, 3, 3, in};
      c.y = {c.x[0], 1, h + padding[0] + padding[2] - 2, width + padding[1] + padding[3] - 2, out};
      c.geometry.padding = {0, padding[0], padding[1]};
      const bool with_bias = random.below(2) == 0, packed = random.below(2) == 0;
      const int threads = 1 + static_cast<int>(random.below(3));
      const Order x_order = any_order(random), w_order = any_order(random),
                  y_order = any_order(random);
      if (sampler.skip()) continue;
      Tensor<float, 5> x(space.x, random, c.x, x_order, Edge::kEnd);
      Tensor<float, 5> w(space.w, random, c.w, w_order, Edge::kEnd);
      x.fill(random, Values::kModerate);
      w.fill(random, Values::kModerate);
      double largest = 0;
      x.for_each_index(
          [&largest](float v, const Axes&) { largest = std::max<double>(largest, std::abs(v)); });
      std::vector<double> filters(static_cast<std::size_t>(out));
      w.for_each_index([&filters](float v, const Axes& at) {
        filters[static_cast<std::size_t>(at[0])] += std::abs(v);
      });
      Tensor<float, 5> y(space.y, random, c.y, y_order, Edge::kEnd);
      auto expected = y.copy();
      ref::conv(x.read_only(), w.read_only(), y.view_of(expected), c.geometry);
      for (const Bound& bound : kBounds) {
        y.fill(random, Values::kAnyBits);
        std::vector<float> bias(static_cast<std::size_t>(out), 0.5f);
        StdThreads executor{threads};
        Context context;
        context.target = target;
        if (threads > 1) context.executor = Executor::from_function(threads, executor);
        if (i % 3 == 0) context.caches = small_caches();
        const ConvOptions<2> options{.padding = padding,
                                     .algorithm = bound.algorithm,
                                     .numerics = Numerics::kFast,
                                     .context = &context};
        Epilogue epilogue;
        if (with_bias) epilogue = epi::bias(row_major(bias, {out}));
        const auto vx = x.with_spatial<2>(), vw = w.with_spatial<2>(), vy = y.with_spatial<2>();
        if (packed) {
          conv2d(vx, pack_conv2d(vw, options), vy, options, epilogue);
        } else {
          conv2d(vx, vw, vy, options, epilogue);
        }
        const auto is_good = [&](float got, float want, const Axes& at) {
          const double exact = want + (with_bias ? 0.5 : 0);
          const double unit = std::numeric_limits<float>::epsilon() / 2;
          const double size = largest * filters[static_cast<std::size_t>(at[4])];
          return std::abs(got - exact) <= bound.factor * unit * (size + 1);
        };
        auto compared = expected;  // difference() writes into it
        tally.add(y.difference(compared, is_good),
                  [&] { return describe(c) + " " + std::string(name(bound.algorithm)); });
      }
    }
  });
}

TEST_CASE("convolutions without elements, taps or channels") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    std::vector<float> x(64, 1), w(64, 1), y(64, 7), bias{1, 2};
    const Epilogue epilogue = epi::bias(row_major(bias, {2}));
    // No channels: the epilogue of zero sums.
    conv2d(nhwc(x.data(), {1, 3, 3, 0}), ohwi(w.data(), {2, 2, 2, 0}), nhwc(y.data(), {1, 2, 2, 2}),
           {.context = &context}, epilogue);
    CHECK(std::vector(y.begin(), y.begin() + 9) == std::vector<float>{1, 2, 1, 2, 1, 2, 1, 2, 7});
    // No rows, but padding enough for some.
    conv2d(nhwc(x.data(), {1, 0, 3, 1}), ohwi(w.data(), {2, 1, 3, 1}), nhwc(y.data(), {1, 2, 1, 2}),
           {.padding = {1, 0, 1, 0}, .context = &context});
    CHECK(std::vector(y.begin(), y.begin() + 5) == std::vector<float>{0, 0, 0, 0, 1});
    // Nothing of x is left, no filters, no images.
    std::fill(y.begin(), y.end(), 7.f);
    conv2d(nhwc(x.data(), {1, 2, 2, 1}), ohwi(w.data(), {2, 3, 3, 1}), nhwc(y.data(), {1, 0, 0, 2}),
           {.context = &context});
    conv2d(nhwc(x.data(), {1, 2, 2, 1}), ohwi(w.data(), {0, 1, 1, 1}), nhwc(y.data(), {1, 2, 2, 0}),
           {.context = &context});
    conv2d(nhwc(x.data(), {0, 2, 2, 1}), ohwi(w.data(), {2, 1, 1, 1}), nhwc(y.data(), {0, 2, 2, 2}),
           {.context = &context});
    CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 7; }));
    // Elements of a transposed convolution that no tap meets.
    conv_transpose1d(nwc(x.data(), {1, 2, 1}), owi(w.data(), {2, 1, 1}), nwc(y.data(), {1, 4, 2}),
                     {.stride = {3}, .context = &context}, epilogue);
    CHECK(std::vector(y.begin(), y.begin() + 9) == std::vector<float>{2, 3, 1, 2, 1, 2, 2, 3, 7});
  });
}

TEST_CASE("convolutions refuse bad arguments before they write") {
  std::vector<float> x(1000, 1), w(1000, 1), y(1000, 7), b(8, 1);
  const auto vx = nhwc(x.data(), {1, 6, 5, 4});
  const auto vw = ohwi(w.data(), {8, 3, 3, 4});
  const auto vy = nhwc(y.data(), {1, 4, 3, 8});
  const auto says = [&](auto f, const char* text) {
    INFO(text);
    CHECK(error_of(f) == text);
  };
  says([&] { conv2d(vx, ohwi(w.data(), {8, 3, 3, 3}), vy); },
       "conv2d: x: expected 3 channels (those of w times the groups), got 4");
  says([&] { conv2d(vx, vw, nhwc(y.data(), {1, 4, 4, 8})); },
       "conv2d: y: expected extents {1, 4, 3, 8}, got {1, 4, 4, 8}");
  says([&] { conv2d(vx, vw, vy, {.stride = {0, 1}}); },
       "conv2d: options.stride: expected 1 to 2^31, got 0");
  says([&] { conv2d(vx, vw, vy, {.dilation = {1, -1}}); },
       "conv2d: options.dilation: expected 1 to 2^31, got -1");
  says([&] { conv2d(vx, vw, vy, {.padding = {0, 0, -1, 0}}); },
       "conv2d: options.padding: expected 0 to 2^31, got -1");
  says([&] { conv2d(vx, vw, vy, {.groups = 0}); },
       "conv2d: options.groups: expected at least 1, got 0");
  says([&] { conv2d(vx, vw, vy, {.groups = 3}); },
       "conv2d: options.groups: expected a divisor of the 8 filters of w, got 3");
  says([&] { conv2d(vx, ohwi(w.data(), {8, 0, 3, 4}), vy); },
       "conv2d: w: expected 1 to 2^24 taps along each axis, got {8, 0, 3, 4}");
  says([&] { conv2d(vx, vw, vy, {.x_zero_point = 1}); },
       "conv2d: options.x_zero_point: expected 0 where x is not of integers, got 1");
  says([&] { conv2d(nhwc(static_cast<float*>(nullptr), {1, 6, 5, 4}), vw, vy); },
       "conv2d: x: expected data for extents {1, 6, 5, 4}, got a null pointer");
  says([&] { conv2d(vx, vw, nhwc(x.data(), {1, 4, 3, 8})); },
       "conv2d: y: expected memory that does not overlap x, got an overlapping view");
  says([&] { conv2d(vx, vw, strided(y.data(), {1, 4, 3, 8}, {0, 8, 8, 1})); },
       "conv2d: y: expected strides that visit each element once, each beyond the reach of the "
       "smaller, got extents {1, 4, 3, 8}, "
       "strides {0, 8, 8, 1}");
  says([&] { conv2d(vx, vw, vy, {}, epi::bias(row_major(b, {7}))); },
       "conv2d: epilogue, step 0: expected 8 elements, got 7");
  says([&] { conv2d(vx, vw, vy, {}, epi::residual(row_major(x, {12, 8}))); },
       "conv2d: epilogue, step 0: expected a residual with the 4 axes of y, got 2");
  says([&] { conv2d(vx, vw, vy, {}, epi::residual(nhwc(x.data(), {1, 4, 4, 8}))); },
       "conv2d: epilogue, step 0: expected extents {1, 4, 3, 8}, those of y, got {1, 4, 4, 8}");
  says([&] { conv2d(vx, vw, vy, {.algorithm = ConvAlgorithm::kWinograd4}); },
       "conv2d: options.algorithm: expected one that keeps the bits, as options.numerics is "
       "kReproducible, got winograd4");
  says(
      [&] {
        conv2d(vx, ohwi(w.data(), {8, 3, 3, 2}), vy,
               {.groups = 2, .algorithm = ConvAlgorithm::kWinograd4, .numerics = Numerics::kFast});
      },
      "conv2d: options.algorithm: expected another for this problem: winograd4 is for 3x3 filters "
      "of "
      "floats, stride 1, dilation 1, one group, got it");
  CHECK(error_of([&] {
          conv2d(vx, vw, vy, {.algorithm = ConvAlgorithm::kDepthwise});
        }).ends_with("got 1 groups of 4 channels"));
  const auto packed = pack_conv2d(vw);
  says([&] { conv2d(vx, packed, nhwc(y.data(), {1, 2, 2, 8}), {.stride = {2, 2}}); },
       "conv2d: options.stride: expected {1, 1, 1}, for which w was packed, got {1, 2, 2}");
  const auto deconv = nhwc(y.data(), {1, 8, 7, 8});
  says([&] { conv_transpose2d(vx, packed, deconv); },
       "conv_transpose2d: w: expected filters packed for a transposed convolution, got others");
  says([&] { conv_transpose2d(vx, vw, deconv, {.output_padding = {0, 1}}); },
       "conv_transpose2d: options.output_padding: expected less than the stride, 1, got 1");
  says(
      [&] { conv_transpose2d(vx, vw, deconv, {}, epi::row_bias(row_major(x, {56}))); },
      "conv_transpose2d: epilogue, step 0: expected steps that don't depend on rows, which are not "
      "made in order, got a vector per row");
  std::vector<std::byte> little(64);
  Context context;
  context.scratch = Scratch(std::span(little));
  CHECK(error_of([&] {
          conv2d(vx, vw, vy, {.context = &context});
        }).starts_with("conv2d: context.scratch: expected at least"));
  CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 7; }));
}

TEST_CASE("algorithms of convolutions have names, and explain_conv2d gives reasons") {
  CHECK(parse_conv_algorithm("depthwise") == ConvAlgorithm::kDepthwise);
  CHECK(parse_conv_algorithm(name(ConvAlgorithm::kWinograd6)) == ConvAlgorithm::kWinograd6);
  CHECK_FALSE(parse_conv_algorithm("fft"));
  std::vector<float> x(10 * 10 * 32), w(9 * 32 * 32), y(10 * 10 * 32);
  const auto vx = nhwc(x.data(), {1, 10, 10, 32});
  const auto explain = [&](index_t channels, const ConvOptions<2>& options) {
    return explain_conv2d(vx, ohwi(w.data(), {index_t{32}, index_t{3}, index_t{3}, channels}),
                          nhwc(y.data(), {1, 8, 8, 32}), options);
  };
  CHECK(explain(32, {}).algorithm == ConvAlgorithm::kImplicitGemm);
  CHECK(explain(32, {}).in_place);
  CHECK(explain(1, {.groups = 32}).algorithm == ConvAlgorithm::kDepthwise);
  CHECK(explain(32, {.numerics = Numerics::kFast}).algorithm == ConvAlgorithm::kWinograd4);
  CHECK(explain(1, {.groups = 32})
            .to_string()
            .ends_with("each group has one channel; x is read in place"));
}

TEST_CASE("what explain_conv2d says of the workspace is true") {
  for_each_target([](Target target) {
    Random random(3);
    std::vector<float> x(20 * 20 * 24), w(24 * 40 * 9), y(20 * 20 * 40);
    for (const bool packs : {false, true}) {
      Context context;
      context.target = target;
      const ConvOptions<2> options{.padding = {1, 1, 1, 1}, .context = &context};
      const auto vx = nhwc(x.data(), {1, 20, 20, 24});
      const auto vw = ohwi(w.data(), {40, 3, 3, 24});
      const auto vy = nhwc(y.data(), {1, 20, 20, 40});
      const auto packed = pack_conv2d(vw, options);
      const auto plan =
          packs ? explain_conv2d(vx, packed, vy, options) : explain_conv2d(vx, vw, vy, options);
      CHECK_FALSE(plan.in_place);
      CHECK(plan.target == target);
      const auto run = [&](index_t bytes) {
        std::vector<std::byte> memory(static_cast<std::size_t>(bytes) + kScratchAlignment);
        const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
        const std::size_t skip =
            (kScratchAlignment - address % kScratchAlignment) % kScratchAlignment;
        context.scratch = Scratch(std::span(memory.data() + skip, static_cast<std::size_t>(bytes)));
        packs ? conv2d(vx, packed, vy, options) : conv2d(vx, vw, vy, options);
      };
      run(plan.workspace_bytes);
      CHECK(error_of([&] { run(plan.workspace_bytes - 1); }) != "no error");
      // A strip, not all of a large x.
      CHECK(plan.workspace_bytes <
            static_cast<index_t>((packs ? 1 : 3) * 4 * 4 *
                                 (22 * 22 * 24 + 24 * 48 * 9 + 20 * 20 * 40)));
    }
  });
}

}  // namespace tessera::test::conv_test
