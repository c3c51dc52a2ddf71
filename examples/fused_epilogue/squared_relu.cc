// SPDX-License-Identifier: Apache-2.0
// A user's own activation in the epilogue of gemm: squared ReLU, max(x, 0)^2, which the library does not
// have. It is written once in the SIMD vocabulary, compiled for every target by this file's own
// foreach_target, and runs on each tile of the result while that is in L1.
//
//   squared_relu     prints both times and whether the results are the same

#include "tessera/config.h"  // before Highway: it chooses the targets

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "squared_relu.cc"  // this file, once per target
#include "hwy/foreach_target.h"

#include "tessera/kernels/epilogue_steps.h"
#include "tessera/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fused {
namespace HWY_NAMESPACE {

namespace simd = tessera::TESSERA_NAMESPACE;
using tessera::index_t;

// In place on one tile.
void squared_relu(const tessera::EpilogueTile<float>& tile) {
  const simd::Tag<float> d;
  const auto step = static_cast<index_t>(simd::lanes(d));
  const auto square = [&](simd::Vec<simd::Tag<float>> x) TESSERA_LAMBDA {
    const auto positive = simd::max(simd::zero(d), x);
    return simd::mul(positive, positive);
  };
  const index_t cols = tile.values.extent(1);
  for (index_t i = 0; i < tile.values.extent(0); ++i) {
    float* const row = &tile.values(i, 0);  // the columns of a tile are contiguous
    for (index_t j = 0; j < cols; j += step) {
      const auto n = static_cast<std::size_t>(cols - j);
      simd::store_n(d, square(simd::load_n(d, row + j, n)), row + j, n);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fused
HWY_AFTER_NAMESPACE();

#if HWY_ONCE  // the rest of the program, compiled once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "tessera/ops/gemm.h"

namespace fused {
namespace {

HWY_EXPORT(squared_relu);

namespace ts = tessera;
using ts::index_t;

constexpr index_t kTokens = 64, kInner = 256, kHidden = 1024;

// Uniform in [-1, 1).
float uniform(std::uint64_t i) {
  i = (i + 1) * 0x9e3779b97f4a7c15u;
  i = (i ^ (i >> 32)) * 0xd6e8feb86659fd93u;
  return static_cast<float>(static_cast<std::int64_t>(i ^ (i >> 32)) >> 40) * 0x1p-23f;
}

template <class F>
double best_microseconds(F f) {
  double best = 1e9;
  for (int trial = 0; trial < 50; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count());
  }
  return best;
}

int run() {
  std::vector<float> x(kTokens * kInner), w(kInner * kHidden), bias(kHidden);
  std::uint64_t seed = 0;
  for (auto* values : {&x, &w, &bias}) {
    for (float& value : *values) value = uniform(seed++);
  }
  std::vector<float> together(kTokens * kHidden), apart(kTokens * kHidden);
  const auto vx = ts::row_major(x, {kTokens, kInner});
  const auto packed = ts::pack_b(ts::row_major(w, {kInner, kHidden}));
  const auto vb = ts::row_major(bias, {kHidden});

  const auto activation = [](const ts::EpilogueTile<float>& tile) {
    HWY_DYNAMIC_DISPATCH(squared_relu)(tile);
  };
  const double fused_time = best_microseconds([&] {
    ts::gemm(vx, packed, ts::row_major(together, {kTokens, kHidden}), {},
             ts::epi::bias(vb) | ts::epi::function(activation));
  });
  const double two_pass_time = best_microseconds([&] {
    const auto y = ts::row_major(apart, {kTokens, kHidden});
    ts::gemm(vx, packed, y, {}, ts::epi::bias(vb));
    activation({y, 0, 0});
  });
  const bool same = together == apart;
  std::printf(
      "%td x %td x %td and squared ReLU\nin two passes %8.1f us\nfused         %8.1f us\n%s\n",
      kTokens, kInner, kHidden, two_pass_time, fused_time,
      same ? "the same result" : "DIFFERENT RESULTS");
  return same ? 0 : 1;
}

}  // namespace
}  // namespace fused

int main() { return fused::run(); }

#endif  // HWY_ONCE
