// SPDX-License-Identifier: Apache-2.0
// Pooling: bits of the specification over random problems, NaN and infinities, threads, errors.

#include "tessera/ops/pool.h"

#include <array>
#include <catch2/catch_template_test_macros.hpp>
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
#include "tessera/ref/pool.h"
#include "testing.h"

namespace tessera::test::pool_test {

struct Case {
  index_t n = 1, c = 1;
  std::array<index_t, 3> extents{};  // d, h, w: the last ones of fewer axes
  ref::Windows windows{};
  bool ceil_mode = false, average = false, count_include_pad = false;
  std::int32_t zero_point = 0;
  Order x = Order::kDense, y = Order::kDense;
  Edge edge = Edge::kEnd;
  Values values = Values::kModerate;
  Context* context = nullptr;
};

std::string describe(const Case& c) {
  std::string text = c.average ? "average" : "max";
  text += " of " + std::to_string(c.n) + " x " + detail::to_string(c.extents) + " x " +
          std::to_string(c.c) + " (" + describe(c.x) + " to " + describe(c.y) + ")";
  for (const WindowAxis& w : c.windows) {
    text += ", " + std::to_string(w.kernel) + "/" + std::to_string(w.stride) + "*" +
            std::to_string(w.dilation) + "+" + std::to_string(w.begin) + "+" +
            std::to_string(w.end);
  }
  return text + (c.ceil_mode ? ", ceil" : "") + (c.count_include_pad ? ", with padding" : "");
}

struct Memories {
  GuardedMemory x, y;
  Random random;
};

// Of a view [n, ..., c] the one of five axes.
template <class T, int Rank>
View<T, 5> five_axes(const View<T, Rank>& v) {
  View<T, 5> five(v.data, {v.extent(0), 1, 1, 1, v.extent(Rank - 1)},
                  {v.stride(0), 0, 0, 0, v.stride(Rank - 1)});
  for (int axis = 1; axis + 1 < Rank; ++axis) {
    five.extents[5 - Rank + axis] = v.extent(axis);
    five.strides[5 - Rank + axis] = v.stride(axis);
  }
  return five;
}

template <class Options, int Axes>
Options options_of(const Case& c) {
  Options o;
  for (int i = 0; i < Axes; ++i) {
    const WindowAxis& w = c.windows[3 - Axes + i];
    o.kernel[i] = w.kernel;
    o.stride[i] = w.stride;
    if constexpr (requires { o.dilation; }) o.dilation[i] = w.dilation;
    o.padding[i] = w.begin;
    o.padding[Axes + i] = w.end;
  }
  o.ceil_mode = c.ceil_mode;
  o.context = c.context;
  return o;
}

template <class T, int Axes>
std::string run_case(Memories& m, const Case& c) {
  constexpr int kRank = Axes + 2;
  std::array<index_t, kRank> extents{};
  extents[0] = c.n;
  extents[kRank - 1] = c.c;
  for (int i = 0; i < Axes; ++i) extents[i + 1] = c.extents[3 - Axes + i];
  const auto max_options = options_of<MaxPoolOptions<Axes>, Axes>(c);
  auto average_options = options_of<AveragePoolOptions<Axes>, Axes>(c);
  average_options.count_include_pad = c.count_include_pad;
  average_options.zero_point = c.zero_point;

  Tensor<T, kRank> x(m.x, m.random, extents, c.x, c.edge);
  x.fill(m.random, c.values);
  Tensor<T, kRank> y(m.y, m.random, pooled_extents(extents, max_options), c.y, c.edge);
  if (pooled_extents(extents, average_options) != y.view().extents && c.average) return "extents";
  std::vector<T> expected = y.copy();
  const View<T, 5> want = five_axes(y.view_of(expected));
  const View<const T, 5> from = five_axes(x.read_only());
  if (c.average) {
    ref::average_pool(from, want, c.windows, c.count_include_pad, c.zero_point);
    if constexpr (Axes == 1) average_pool1d(x.read_only(), y.view(), average_options);
    if constexpr (Axes == 2) average_pool2d(x.read_only(), y.view(), average_options);
    if constexpr (Axes == 3) average_pool3d(x.read_only(), y.view(), average_options);
  } else {
    ref::max_pool(from, want, c.windows);
    if constexpr (Axes == 1) max_pool1d(x.read_only(), y.view(), max_options);
    if constexpr (Axes == 2) max_pool2d(x.read_only(), y.view(), max_options);
    if constexpr (Axes == 3) max_pool3d(x.read_only(), y.view(), max_options);
  }
  return y.difference(expected);
}

Case random_case(Random& random, int axes, bool is_signed) {
  Case c;
  c.n = 1 + random.below(2);
  c.c = random.below(4) == 0 ? 1 + random.below(150) : 1 + random.below(20);
  c.extents = {1, 1, 1};
  c.average = random.below(2) != 0;
  c.ceil_mode = random.below(3) == 0;
  c.count_include_pad = random.below(2) != 0;
  for (int i = 3 - axes; i < 3; ++i) {
    WindowAxis& w = c.windows[i];
    c.extents[i] = 1 + random.below(axes == 3 ? 5 : 9);
    w.kernel = 1 + random.below(4);
    w.stride = 1 + random.below(4);
    w.dilation = c.average ? 1 : 1 + random.below(3);
    w.begin = random.below(w.reach());
    w.end = random.below(w.reach());
  }
  c.zero_point = static_cast<std::int32_t>(random.below(128)) - (is_signed ? 64 : 0);
  c.x = kOrders[static_cast<std::size_t>(random.below(4))];
  c.y = random.below(2) != 0 ? c.x : kOrders[static_cast<std::size_t>(random.below(4))];
  c.edge = random_edge(random);
  c.values = random.below(3) == 0 ? Values::kAnyBits : Values::kModerate;
  return c;
}

TEMPLATE_TEST_CASE("pooling has the bits of its specification", "[pool]", float, bf16, f16,
                   std::int8_t, std::uint8_t) {
  for_each_target([](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(16);
    for (int i = 0; i < 600; ++i) {
      const int axes = 1 + i % 3;
      Case c = random_case(m.random, axes, std::is_signed_v<TestType>);
      c.context = &context;
      if (!std::is_integral_v<TestType>) c.zero_point = 0;
      if (sampler.skip()) continue;
      const std::string failure = axes == 1   ? run_case<TestType, 1>(m, c)
                                  : axes == 2 ? run_case<TestType, 2>(m, c)
                                              : run_case<TestType, 3>(m, c);
      tally.add(failure, [&] { return describe(c); });
    }
  });
}

TEMPLATE_TEST_CASE("global pooling is pooling with one window", "[pool]", float, f16, std::int8_t,
                   std::uint8_t) {
  for_each_target([](Target target) {
    Memories m;
    Tally tally;
    StdThreads threads{3};
    Context context;
    context.target = target;
    for (const index_t pixels : {1, 7, 257}) {  // 257 * 257 is beyond what kernels take
      for (const index_t channels : {1, 5, 200}) {
        if (pixels == 257 && (channels != 5 || reduced_effort())) continue;
        for (const Order order : kOrders) {
          for (const bool average : {false, true}) {
            context.executor = channels == 200 ? Executor::from_function(3, threads) : Executor();
            Tensor<TestType, 4> x(m.x, m.random, {2, pixels, pixels, channels}, order, Edge::kEnd);
            x.fill(m.random, Values::kModerate);
            Tensor<TestType, 2> y(m.y, m.random, {2, channels}, order, Edge::kEnd);
            std::vector<TestType> expected = y.copy();
            const View<TestType, 5> want = five_axes(y.view_of(expected));
            ref::Windows windows{};
            windows[1].kernel = windows[2].kernel = pixels;
            if (average) {
              ref::average_pool(five_axes(x.read_only()), want, windows);
              global_average_pool(x.view(), y.view(), {.context = &context});
            } else {
              ref::max_pool(five_axes(x.read_only()), want, windows);
              global_max_pool(x.view(), y.view(), {.context = &context});
            }
            tally.add(y.difference(expected), [&] {
              return std::to_string(pixels) + " x " + std::to_string(channels) + " " +
                     describe(order);
            });
          }
        }
      }
    }
  });
}

TEST_CASE("pooling does not depend on threads", "[pool]") {
  Memories m;
  Tally tally;
  for_each_executor([&](Context& context) {
    for (const Order order : {Order::kDense, Order::kChannelsFirst}) {
      for (const bool average : {false, true}) {
        Case c{.n = 2, .c = 33, .extents = {1, 40, 41}, .average = average, .x = order, .y = order};
        c.windows[1] = {.kernel = 3, .stride = 2, .begin = 1};
        c.windows[2] = {.kernel = 3, .stride = 2, .end = 1};
        c.context = &context;
        tally.add(run_case<float, 2>(m, c), [&] { return describe(c); });
      }
    }
  });
}

// The mean of integers in f64, and what the exact rule says of it.
TEST_CASE("averages of integers are exact", "[pool]") {
  for_each_target([](Target target) {
    Random random;
    Context context;
    context.target = target;
    constexpr std::size_t kChannels = 16, kTies = 8;
    for (const std::size_t pixels : {2, 6, 1000, 65535, 65536}) {
      if (pixels > 1000 && reduced_effort()) continue;
      std::vector<std::int8_t> x(pixels * kChannels), y(kChannels);
      std::vector<std::int64_t> sums(kChannels);
      for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = random.value<std::int8_t>(Values::kAnyBits);
        // The sums of half of the channels are half of the pixels more than a multiple of them: ties.
        const std::size_t c = i % kChannels;
        const bool upper = i / kChannels >= pixels / 2;
        if (c < kTies) x[i] = static_cast<std::int8_t>(upper ? c + 1 : c);
        sums[c] += x[i];
      }
      global_average_pool(nwc(x.data(), {std::size_t{1}, pixels, kChannels}),
                          row_major(y, {std::size_t{1}, kChannels}), {.context = &context});
      for (std::size_t c = 0; c < kChannels; ++c) {
        const double mean = static_cast<double>(sums[c]) / static_cast<double>(pixels);
        CHECK(static_cast<double>(y[c]) == std::nearbyint(mean));
        if (c < kTies && pixels % 2 == 0) CHECK(y[c] == static_cast<std::int8_t>(c + c % 2));
      }
    }
  });
}

TEST_CASE("windows of ceil_mode and padding are those of PyTorch and ONNX", "[pool]") {
  // 5 elements, kernel 2, stride 2: two windows, three with ceil_mode, the third of one element.
  const std::vector<float> x = {1, 2, 3, 4, 5};
  std::vector<float> y(3);
  const auto from = nwc(x.data(), {1, 5, 1});
  AveragePool1dOptions options{.kernel = {2}, .stride = {2}, .ceil_mode = true};
  CHECK(pooled_extents(from.extents, options) == std::array<index_t, 3>{1, 3, 1});
  average_pool1d(from, nwc(y.data(), {1, 3, 1}), options);
  CHECK(y == std::vector<float>{1.5, 3.5, 5});
  options.count_include_pad = true;  // nothing is padded: what sticks out still does not count
  average_pool1d(from, nwc(y.data(), {1, 3, 1}), options);
  CHECK(y == std::vector<float>{1.5, 3.5, 5});
  options.padding = {1, 1};
  options.kernel = {3};
  options.stride = {
      3};  // of 0 1 2 | 3 4 5 | 0: the third window would start in the padding at the end
  CHECK(pooled_extents(from.extents, options)[1] == 2);
  average_pool1d(from, nwc(y.data(), {1, 2, 1}), options);
  CHECK(y == std::vector<float>{1, 4, 5});
  options.count_include_pad = false;
  average_pool1d(from, nwc(y.data(), {1, 2, 1}), options);
  CHECK(y == std::vector<float>{1.5, 4, 5});

  // A stride of 0 is that of the kernel.
  std::vector<float> halves(2);
  max_pool1d(from, nwc(halves.data(), {1, 2, 1}), {.kernel = {2}});
  CHECK(halves == std::vector<float>{2, 4});
}

TEST_CASE("NaN, infinities and zeros in pooling", "[pool]") {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for_each_target([&](Target target) {
    Context context;
    context.target = target;
    for (const index_t c : {1, 8}) {  // off and on the path of kernels
      for (const auto& [a, b, largest] :
           {std::array{1.0f, kNaN, kNaN}, std::array{kNaN, 1.0f, kNaN},
            std::array{-kInf, -kInf, -kInf}, std::array{-kInf, kInf, kInf},
            std::array{-0.0f, 0.0f, -0.0f}, std::array{0.0f, -0.0f, 0.0f}}) {
        std::vector<float> x(static_cast<std::size_t>(2 * c)), y(static_cast<std::size_t>(c));
        for (index_t i = 0; i < 2 * c; ++i) x[static_cast<std::size_t>(i)] = i < c ? a : b;
        max_pool1d(nwc(x.data(), {index_t{1}, index_t{2}, c}),
                   nwc(y.data(), {index_t{1}, index_t{1}, c}),
                   {.kernel = {2}, .context = &context});
        for (const float v : y) CHECK(same(v, largest));
      }
    }
    // A window that steps over the only element.
    std::vector<float> x(8, 1.0f), y(8);
    max_pool1d(
        nwc(x.data(), {1, 1, 8}), nwc(y.data(), {1, 1, 8}),
        {.kernel = {2}, .stride = {9}, .dilation = {3}, .padding = {1, 2}, .context = &context});
    for (const float v : y) CHECK(v == -kInf);
  });
}

TEST_CASE("pooling refuses wrong arguments and writes nothing", "[pool]") {
  std::vector<float> x(2 * 4 * 4 * 3, 1.0f), y(2 * 2 * 2 * 3, 7.0f);
  const auto from = nhwc(x.data(), {2, 4, 4, 3});
  const auto to = nhwc(y.data(), {2, 2, 2, 3});
  const auto error = [&](const MaxPool2dOptions& o) {
    return error_of([&] { max_pool2d(from, to, o); });
  };
  CHECK(error({}) == "max_pool2d: options.kernel: expected extents of at least 1, got {0, 0}");
  CHECK(error({.kernel = {2, -1}}) ==
        "max_pool2d: options.kernel: expected extents of at least 1, got {2, -1}");
  CHECK(
      error({.kernel = {2, 2}, .stride = {2, -2}}) ==
      "max_pool2d: options.stride: expected at least 1, or 0 for that of the kernel, got {2, -2}");
  CHECK(error({.kernel = {2, 2}, .dilation = {-1, 1}}) ==
        "max_pool2d: options.dilation: expected at least 1, or 0 for 1, got {-1, 1}");
  CHECK(error({.kernel = {2, 2}, .padding = {2, 0, 0, 0}}) ==
        "max_pool2d: options.padding (before): expected at least 0 and less than the dilated "
        "kernel, got {2, 0}");
  CHECK(error({.kernel = {2, 2}, .padding = {0, 0, 0, -1}}) ==
        "max_pool2d: options.padding (behind): expected at least 0 and less than the dilated "
        "kernel, got {0, -1}");
  CHECK(error({.kernel = {index_t{1} << 20, index_t{1} << 20}}) ==
        "max_pool2d: options.kernel: expected windows of less than 2^31 elements, got more");
  CHECK(error({.kernel = {3, 3}, .stride = {1, 2}}) ==
        "max_pool2d: y: expected extents {2, 2, 1, 3}, those of the pooled x, got {2, 2, 2, 3}");
  CHECK(error({.kernel = {9, 9}}) ==
        "max_pool2d: y: expected extents {2, 0, 0, 3}, those of the pooled x, got {2, 2, 2, 3}");
  const MaxPool2dOptions good{.kernel = {2, 2}};
  CHECK(error_of([&] { max_pool2d(nhwc(x.data(), {2, 4, 4, 2}), to, good); }) ==
        "max_pool2d: y: expected extents {2, 2, 2, 2}, those of the pooled x, got {2, 2, 2, 3}");
  CHECK(error_of([&] { max_pool2d(nhwc(static_cast<float*>(nullptr), {2, 4, 4, 3}), to, good); }) ==
        "max_pool2d: x: expected data for extents {2, 4, 4, 3}, got a null pointer");
  CHECK(error_of([&] { max_pool2d(nhwc(x.data(), {2, 4, -4, 3}), to, good); }) ==
        "max_pool2d: x: expected extents of at least 0, got {2, 4, -4, 3}");
  CHECK(
      error_of([&] { max_pool2d(from, strided(y.data(), {2, 2, 2, 3}, {6, 6, 3, 1}), good); }) ==
      "max_pool2d: y: expected strides that visit each element once, each beyond the reach of the "
      "smaller, got extents {2, 2, 2, 3}, strides {6, 6, 3, 1}");
  CHECK(error_of([&] { max_pool2d(from, nhwc(x.data() + 90, {2, 2, 2, 3}), good); }) ==
        "max_pool2d: y: expected memory that does not overlap x, got an overlapping view");
  CHECK(error_of([&] {
          max_pool2d(strided(x.data(), {2, 4, 4, 3},
                             {index_t{1} << 60, index_t{1} << 60, index_t{3}, index_t{1}}),
                     to, good);
        }).starts_with("max_pool2d: x: expected sizes within the address space"));
  CHECK(error_of([&] { average_pool2d(from, to, {.kernel = {2, 2}, .zero_point = 1}); }) ==
        "average_pool2d: options.zero_point: expected 0 for elements that are no integers, got 1");
  std::vector<std::int8_t> q(96), r(24);
  CHECK(error_of([&] {
          average_pool2d(nhwc(q.data(), {2, 4, 4, 3}), nhwc(r.data(), {2, 2, 2, 3}),
                         {.kernel = {2, 2}, .zero_point = 128});
        }) == "average_pool2d: options.zero_point: expected a number from -128 to 127, got 128");
  // No pixels, but results.
  CHECK(error_of([&] {
          max_pool2d(nhwc(x.data(), {2, 0, 4, 3}), nhwc(y.data(), {2, 1, 2, 3}),
                     {.kernel = {2, 2}, .padding = {1, 0, 1, 0}});
        }) == "max_pool2d: x: expected at least one pixel, got extents {2, 0, 4, 3}");
  CHECK(error_of([&] {
          global_average_pool(nhwc(x.data(), {2, 0, 4, 3}), row_major(y, {2, 3}));
        }) == "global_average_pool: x: expected at least one pixel, got extents {2, 0, 4, 3}");
  CHECK(error_of([&] { global_average_pool(from, row_major(y, {2, 2})); }) ==
        "global_average_pool: y: expected extents {2, 3}, those of the pooled x, got {2, 2}");
  CHECK(y == std::vector<float>(24, 7.0f));

  // Nothing to do.
  max_pool2d(nhwc(x.data(), {0, 4, 4, 3}), nhwc(y.data(), {0, 2, 2, 3}), good);
  max_pool2d(nhwc(x.data(), {2, 4, 4, 0}), nhwc(y.data(), {2, 2, 2, 0}), good);
  max_pool2d(nhwc(x.data(), {2, 1, 4, 3}), nhwc(y.data(), {2, 0, 2, 3}), good);
  global_max_pool(nhwc(x.data(), {0, 4, 4, 3}), row_major(y, {0, 3}));
  CHECK(y == std::vector<float>(24, 7.0f));

  // Branches of a network side by side in one tensor.
  std::vector<float> both(2 * 2 * 2 * 8);
  const auto all = nhwc(both.data(), {2, 2, 2, 8});
  max_pool2d(slice(all, {0, 0, 0, 0}, {2, 2, 2, 4}), slice(all, {0, 0, 0, 4}, {2, 2, 2, 4}),
             {.kernel = {1, 1}});
  CHECK(error_of([&] {
          max_pool2d(slice(all, {0, 0, 0, 0}, {2, 2, 2, 4}), slice(all, {0, 0, 0, 3}, {2, 2, 2, 4}),
                     {.kernel = {1, 1}});
        }) == "max_pool2d: y: expected memory that does not overlap x, got an overlapping view");
}

}  // namespace tessera::test::pool_test
