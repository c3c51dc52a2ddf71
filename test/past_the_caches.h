// SPDX-License-Identifier: Apache-2.0
// Results that kernels of rows store past the caches, beside those that they store as usual.
#ifndef TESSERA_TEST_PAST_THE_CACHES_H_
#define TESSERA_TEST_PAST_THE_CACHES_H_

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <limits>
#include <vector>

#include "matrix.h"
#include "random.h"
#include "tessera/ops/float_rows.h"
#include "testing.h"

namespace tessera::test {

// Three rows of x, `more` with as many elements, and where the rows of y begin.
struct StreamedRows {
  static constexpr index_t kRows = 3;
  index_t cols, stride;
  const float* x;
  float* more;
  float* y;
};

// call(kernel, rows, streams, random bits) of each of kernels_of(table), for y at any distance from a whole vector.
template <class KernelsOf, class Call>
void check_past_the_caches(KernelsOf kernels_of, Call call) {
  for_each_target([&](Target target) {
    Random random;
    Context context;
    context.target = target;
    for (index_t offset = 0; offset < 17; ++offset) {
      constexpr index_t kRows = StreamedRows::kRows, kGap = 5;
      const index_t cols = 1 + random.below(150), stride = cols + kGap;
      std::vector<float> x(static_cast<std::size_t>(kRows * cols)), more(x.size());
      for (float& v : x) v = random.value<float>(Values::kModerate);
      for (float& v : more) v = random.value<float>(Values::kModerate);
      const index_t bits = random.below(4);
      const auto run = [&](auto kernel, bool streams) {
        std::vector<float> y(static_cast<std::size_t>(offset + kRows * stride),
                             std::numeric_limits<float>::quiet_NaN());
        call(kernel, StreamedRows{cols, stride, x.data(), more.data(), y.data() + offset}, streams,
             bits);
        return y;
      };
      for (const auto kernel : kernels_of(impl::nn_kernels_for("test", &context))) {
        const std::vector<float> kept = run(kernel, false), streamed = run(kernel, true);
        CAPTURE(name(target), offset, cols);
        CHECK(kept.back() != kept.back());
        CHECK(kept[static_cast<std::size_t>(offset)] == kept[static_cast<std::size_t>(offset)]);
        CHECK(std::equal(kept.begin(), kept.end(), streamed.begin(), same<float>));
      }
    }
  });
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_PAST_THE_CACHES_H_
