// SPDX-License-Identifier: Apache-2.0
// Tessera's kernels and SIMD ops inside a program's own per-target code.
//
// Labels each of many points with the nearest of a few centroids, the inner step of k-means:
//   |x - c|^2 = |x|^2 + (|c|^2 - 2 c x),
// of which only the bracket matters. All c x at once are a matrix product. Calling gemm and then
// looking for the smallest writes and reads a matrix that is larger than the caches; here the
// product of a block of points is made by Tessera's kernel, and consumed by a loop of ours while it
// is in L1, in code that Highway compiles for every target and chooses at run time.

// A program chooses its targets. These three add nothing to AVX3 that float arithmetic could use.
#if defined(__x86_64__) || defined(__i386__)
#define HWY_DISABLED_TARGETS \
  (HWY_SSE2 | HWY_SSSE3 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nearest.cc"  // this file, once per target
#include "hwy/foreach_target.h"

#include "tessera/kernels/all-inl.h"  // defines namespace tessera::N_AVX2 and so on in each pass

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace fused {
namespace HWY_NAMESPACE {

namespace simd = tessera::TESSERA_NAMESPACE;
using tessera::index_t;

// labels[i] = the j for which norms[j] + products[j, i] is smallest, the first of equals.
// products: [centroids, points], rows `stride` apart.
inline void find_smallest(const float* products, index_t stride, const float* norms,
                          index_t centroids, index_t points, std::int32_t* labels) {
  const simd::Tag<float> d;
  const simd::Rebind<std::int32_t, simd::Tag<float>> di;
  const auto step = static_cast<index_t>(simd::lanes(d));

  // The labels of as many points as a vector has lanes. select moves bits, so an integer may travel
  // in a vector of floats.
  const auto label_of = [&](index_t i, auto load_products) TESSERA_LAMBDA {
    auto smallest = simd::set(d, std::numeric_limits<float>::infinity());
    auto label = simd::zero(d);
    for (index_t j = 0; j < centroids; ++j) {
      const auto sum = simd::add(simd::set(d, norms[j]), load_products(products + j * stride + i));
      const auto smaller = simd::lt(sum, smallest);
      smallest = simd::select(smaller, sum, smallest);
      label = simd::select(smaller, simd::bit_cast(d, simd::set(di, static_cast<std::int32_t>(j))),
                           label);
    }
    return simd::bit_cast(di, label);
  };

  index_t i = 0;
  for (; i + step <= points; i += step) {
    simd::store(di, label_of(i, [&](const float* p) TESSERA_LAMBDA { return simd::load(d, p); }),
                labels + i);
  }
  if (i < points) {
    const auto few = static_cast<size_t>(points - i);
    simd::store_n(
        di, label_of(i, [&](const float* p) TESSERA_LAMBDA { return simd::load_n(d, p, few); }),
        labels + i, few);
  }
}

// The same from the points themselves.
// minus_2c: [centroids, dims], x: [dims, points], products: scratch for [centroids, block].
inline void find_nearest(const float* minus_2c, const float* norms, index_t centroids,
                         const float* x, index_t dims, index_t points, float* products,
                         index_t block_points, std::int32_t* labels) {
  const auto& tile = simd::gemm_kernels<simd::FloatProducts<float>>().tiles[0];
  for (index_t i = 0; i < points; i += block_points) {
    tessera::detail::GemmBlock block{};  // products = minus_2c * x, columns from i on
    block.m = centroids;
    block.n = std::min(block_points, points - i);
    block.k = dims;
    block.a = minus_2c;
    block.a_stride = dims;
    block.a_in_place = true;
    block.b = x + i;
    block.b_stride = points;
    block.b_in_place = true;
    block.c = products;
    block.c_stride = block_points;
    tile.run(block);
    find_smallest(products, block_points, norms, centroids, block.n, labels + i);
  }
}

inline const char* target_name() { return tessera::name(simd::kTarget).data(); }

}  // namespace HWY_NAMESPACE
}  // namespace fused
HWY_AFTER_NAMESPACE();

#if HWY_ONCE  // the rest of the program, compiled once

#include <chrono>
#include <cstdio>
#include <vector>

// With its own foreach_target, this file can't have Tessera's too: gemm comes from
// tessera::compiled.
#include "tessera/ops/gemm.h"

namespace fused {
namespace {

HWY_EXPORT(find_smallest);
HWY_EXPORT(find_nearest);
HWY_EXPORT(target_name);

namespace ts = tessera;
using ts::index_t;

constexpr index_t kDims = 32, kCentroids = 48, kPoints = 100'001;
constexpr index_t kBlock = 96;  // points at a time: their products are 18 KiB

// Uniform in [-1, 1).
float uniform(std::uint64_t i) {
  i = (i + 1) * 0x9e3779b97f4a7c15u;
  i = (i ^ (i >> 32)) * 0xd6e8feb86659fd93u;
  return static_cast<float>(static_cast<std::int64_t>(i ^ (i >> 32)) >> 40) * 0x1p-23f;
}

template <class F>
double best_milliseconds(F f) {
  double best = 1e9;
  for (int trial = 0; trial < 5; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count());
  }
  return best;
}

int run() {
  std::vector<float> minus_2c(kCentroids * kDims), norms(kCentroids), x(kDims * kPoints);
  for (index_t j = 0; j < kCentroids; ++j) {
    for (index_t k = 0; k < kDims; ++k) {
      const float c = uniform(static_cast<std::uint64_t>(j * kDims + k));
      minus_2c[static_cast<std::size_t>(j * kDims + k)] = -2 * c;
      norms[static_cast<std::size_t>(j)] += c * c;
    }
  }
  // Point i lies around centroid i % kCentroids, which is how the answer is known.
  for (index_t k = 0; k < kDims; ++k) {
    for (index_t i = 0; i < kPoints; ++i) {
      const auto at = static_cast<std::size_t>(k * kPoints + i);
      x[at] = -0.5f * minus_2c[static_cast<std::size_t>(i % kCentroids * kDims + k)] +
              0.2f * uniform(at + 1'000'000);
    }
  }

  std::vector<std::int32_t> together(kPoints), apart(kPoints);
  std::vector<float> products(kCentroids * kPoints);
  const double fused_time = best_milliseconds([&] {
    HWY_DYNAMIC_DISPATCH(find_nearest)
    (minus_2c.data(), norms.data(), kCentroids, x.data(), kDims, kPoints, products.data(), kBlock,
     together.data());
  });
  const double two_pass_time = best_milliseconds([&] {
    ts::gemm(ts::row_major(minus_2c, {kCentroids, kDims}), ts::row_major(x, {kDims, kPoints}),
             ts::row_major(products, {kCentroids, kPoints}));
    HWY_DYNAMIC_DISPATCH(find_smallest)
    (products.data(), kPoints, norms.data(), kCentroids, kPoints, apart.data());
  });
  index_t right = 0, equal = 0;
  for (std::size_t i = 0; i < together.size(); ++i) {
    right += together[i] == static_cast<std::int32_t>(i % kCentroids);
    equal += together[i] == apart[i];
  }
  std::printf(
      "%td points of %td dimensions, %td centroids, on %s\n"
      "gemm, then the smallest   %6.2f ms\n"
      "fused                     %6.2f ms\n"
      "labels: %td right, %td equal both ways\n",
      kPoints, kDims, kCentroids, HWY_DYNAMIC_DISPATCH(target_name)(), two_pass_time, fused_time,
      right, equal);
  return right == kPoints && equal == kPoints ? 0 : 1;
}

}  // namespace
}  // namespace fused

int main() { return fused::run(); }

#endif  // HWY_ONCE
