// SPDX-License-Identifier: Apache-2.0
// A user's file that compiles code of its own for every target with Highway, in a program that also
// calls tessera::gemm of the compiled library; and that calls Tessera's kernels in its own code.

// The user's choice of targets, and less to compile.
#if defined(__x86_64__)
#undef HWY_DISABLED_TARGETS  // builds with a sanitizer have one
#define HWY_DISABLED_TARGETS \
  (HWY_SSE2 | HWY_SSSE3 | HWY_AVX3 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "foreach_user_test.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include <cstdint>
#include <vector>

#include "hwy/highway.h"
#include "tessera/kernels/all-inl.h"

HWY_BEFORE_NAMESPACE();
namespace user {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using tessera::index_t;

// The user's own code: x = max(x, 0).
void relu(float* x, std::size_t n) {
  const hn::ScalableTag<float> d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::StoreN(hn::Max(hn::LoadN(d, x + i, n - i), hn::Zero(d)), d, x + i, n - i);
  }
}

// C[m, n] = max(A[m, k] * B[k, n], 0), row-major, with Tessera's kernel of this target. Returns the
// target.
int gemm_relu(const float* a, const float* b, float* c, index_t m, index_t n, index_t k) {
  namespace ts = tessera::TESSERA_NAMESPACE;
  const auto kernels = ts::gemm_kernels<ts::FloatProducts<float>>();
  tessera::detail::GemmBlock block{};
  block.m = m, block.n = n, block.k = k;
  block.a = a, block.a_stride = k, block.a_in_place = true;
  block.b = b, block.b_stride = n, block.b_in_place = true;
  block.c = c, block.c_stride = n;
  kernels.tiles[0].run(block);
  relu(c, static_cast<std::size_t>(m * n));
  return static_cast<int>(ts::kTarget);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace user
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <catch2/catch_test_macros.hpp>

#include "random.h"
#include "tessera/ops/gemm.h"
#include "tessera/ref/gemm.h"

namespace user {
namespace {

using tessera::index_t;

HWY_EXPORT(gemm_relu);

struct Inputs {
  index_t m = 13, n = 41, k = 29;
  std::vector<float> a, b, expected;

  Inputs() : a(cells(m * k)), b(cells(k * n)), expected(static_cast<std::size_t>(m * n)) {
    tessera::ref::gemm(tessera::row_major(a, {m, k}), tessera::row_major(b, {k, n}),
                       tessera::row_major(expected, {m, n}));
    for (float& x : expected) x = x > 0 ? x : 0;
  }

  static std::vector<float> cells(index_t count) {
    static tessera::test::Random random;
    std::vector<float> v(static_cast<std::size_t>(count));
    // Small integers: exact also where multiply and add round separately.
    for (float& x : v) x = static_cast<float>(random.below(33) - 16);
    return v;
  }
};

TEST_CASE("a user's foreach_target calls Tessera's kernels", "[foreach]") {
  const Inputs in;
  std::vector<int> seen;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    std::vector<float> c(in.expected.size(), -1.0f);
    seen.push_back(
        HWY_DYNAMIC_DISPATCH(gemm_relu)(in.a.data(), in.b.data(), c.data(), in.m, in.n, in.k));
    CHECK(c == in.expected);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  // Every target ran its own kernel.
  CHECK_FALSE(seen.empty());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK(seen[i] != seen[j]);
  }
}

TEST_CASE("tessera::gemm works in a file with its own foreach_target", "[foreach]") {
  const Inputs in;
  for (const tessera::Target target : tessera::available_targets()) {
    tessera::Context context;
    context.target = target;
    std::vector<float> c(in.expected.size());
    tessera::gemm(tessera::row_major(in.a, {in.m, in.k}), tessera::row_major(in.b, {in.k, in.n}),
                  tessera::row_major(c, {in.m, in.n}), {.context = &context});
    for (float& x : c) x = x > 0 ? x : 0;
    CHECK(c == in.expected);
  }
}

}  // namespace
}  // namespace user

#endif  // HWY_ONCE
