// SPDX-License-Identifier: Apache-2.0
#include "tessera/core/layout.h"

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <numeric>
#include <vector>

namespace tessera {
namespace {

TEST_CASE("a layout is in the strides, the axes are the same") {
  std::vector<int> memory(2 * 3 * 4 * 5 * 6);
  std::iota(memory.begin(), memory.end(), 0);
  int* const p = memory.data();

  const auto last = nhwc(p, {2, 3, 4, 5});
  CHECK(last.extents == std::array<index_t, 4>{2, 3, 4, 5});
  CHECK(last(1, 2, 3, 4) == ((1 * 3 + 2) * 4 + 3) * 5 + 4);

  const auto first = nchw(p, {2, 5, 3, 4});
  CHECK(first.extents == last.extents);
  CHECK(first(1, 2, 3, 4) == ((1 * 5 + 4) * 3 + 2) * 4 + 3);

  const auto weights = oihw(p, {5, 2, 3, 4});
  CHECK(weights.extents == std::array<index_t, 4>{5, 3, 4, 2});
  CHECK(weights(4, 2, 3, 1) == ((4 * 2 + 1) * 3 + 2) * 4 + 3);
  CHECK(ohwi(p, {5, 3, 4, 2})(4, 2, 3, 1) == ((4 * 3 + 2) * 4 + 3) * 2 + 1);
}

TEST_CASE("layouts of one and of three spatial axes") {
  std::vector<int> memory(2 * 3 * 4 * 5 * 6);
  std::iota(memory.begin(), memory.end(), 0);
  int* const p = memory.data();

  CHECK(ncw(p, {2, 5, 3})(1, 2, 4) == (1 * 5 + 4) * 3 + 2);
  CHECK(nwc(p, {2, 3, 5})(1, 2, 4) == (1 * 3 + 2) * 5 + 4);
  CHECK(oiw(p, {2, 5, 3})(1, 2, 4) == (1 * 5 + 4) * 3 + 2);
  CHECK(owi(p, {2, 3, 5})(1, 2, 4) == (1 * 3 + 2) * 5 + 4);
  CHECK(ncdhw(p, {2, 6, 3, 4, 5})(1, 2, 3, 4, 5) == (((1 * 6 + 5) * 3 + 2) * 4 + 3) * 5 + 4);
  CHECK(ndhwc(p, {2, 3, 4, 5, 6})(1, 2, 3, 4, 5) == (((1 * 3 + 2) * 4 + 3) * 5 + 4) * 6 + 5);
  CHECK(oidhw(p, {2, 6, 3, 4, 5})(1, 2, 3, 4, 5) == (((1 * 6 + 5) * 3 + 2) * 4 + 3) * 5 + 4);
  CHECK(odhwi(p, {2, 3, 4, 5, 6})(1, 2, 3, 4, 5) == (((1 * 3 + 2) * 4 + 3) * 5 + 4) * 6 + 5);
}

}  // namespace
}  // namespace tessera
