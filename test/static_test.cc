// SPDX-License-Identifier: Apache-2.0
// Static mode (TESSERA_STATIC, or TESSERA_XSIMD) as a program that links nothing: one target, no
// symbol of libhwy, the results of the specification. No test framework for that reason.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "random.h"
#include "tessera/tessera.h"

#if !TESSERA_STATIC
#error "compile with -DTESSERA_STATIC or -DTESSERA_XSIMD"
#endif

namespace tessera::test {
namespace {

int failures = 0;

void expect(bool good, const char* what) {
  if (good) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

// The bits are those of the specification; without FMA, the values within an error bound.
template <class T>
bool agree(const std::vector<T>& x, const std::vector<T>& y, double bound) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (has_fma(active_target()) ? x[i] != y[i] : !(std::abs(x[i] - y[i]) <= bound)) return false;
  }
  return true;
}

template <class T>
void sweep() {
  Random random;
  const auto fill = [&](std::vector<T>& v) {
    for (T& x : v) x = random.value<T>(Values::kModerate);
  };
  for (const index_t m : {1, 2, 5, 6, 7, 8, 9, 14, 15, 17}) {
    for (const index_t n : {1, 3, 4, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 130}) {
      for (const index_t k : {1, 2, 7, 40}) {
        std::vector<T> a(static_cast<std::size_t>(m * k)), b(static_cast<std::size_t>(k * n));
        std::vector<T> c(static_cast<std::size_t>(m * n));
        fill(a), fill(b), fill(c);
        std::vector<T> expected = c;
        Context context;
        context.gemm.kc = 16;
        const bool by_columns = n % 2 == 0;
        const View<const T, 2> vb = by_columns ? col_major(b, {k, n}) : row_major(b, {k, n});
        ref::gemm(row_major(a, {m, k}), vb, row_major(expected, {m, n}), T{1}, T{1});
        gemm(row_major(a, {m, k}), vb, row_major(c, {m, n}), {.beta = 1, .context = &context});
        const double bound = 256.0 * 256.0 * static_cast<double>(k + 2) * (k + 2) *
                             static_cast<double>(std::numeric_limits<T>::epsilon());
        expect(agree(c, expected, bound), "gemm against the specification");
        if (failures > 10) return;
      }
    }
  }
}

void targets() {
  expect(available_targets().size() == 1 + 2 * TESSERA_TEST_TARGETS, "one target");
  expect(available_targets().back() == active_target(), "which is active");
  set_active_target(name(active_target()));
#if TESSERA_XSIMD
  expect(name(active_target()).substr(0, 6) == "xsimd_", "and one of xsimd's");
#else
  expect(name(active_target()).substr(0, 6) != "xsimd_", "and one of Highway's");
#endif
#if defined(__AVX2__) && !defined(__AVX512F__)
  expect(active_target() == (TESSERA_XSIMD ? Target::kXsimdAvx2 : Target::kAvx2),
         "that of the compiler flags");
#endif
#if TESSERA_EXCEPTIONS
  bool refused = false;
  try {
    set_active_target("lsx");
  } catch (const Error&) {
    refused = true;
  }
  expect(refused, "and no other can be chosen");
#endif
}

}  // namespace
}  // namespace tessera::test

int main() {
  tessera::test::targets();
  tessera::test::sweep<float>();
  tessera::test::sweep<double>();
  std::printf("%s: %d failures\n", tessera::name(tessera::active_target()).data(),
              tessera::test::failures);
  return tessera::test::failures == 0 ? 0 : 1;
}
