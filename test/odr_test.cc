// SPDX-License-Identifier: Apache-2.0
// Two translation units that include all kernels link into one program and share its state.

#include "odr_test.h"

#include <catch2/catch_test_macros.hpp>

namespace tessera::test {
namespace {

TEST_CASE("two translation units agree", "[odr]") {
  const OdrProbe a = odr_a(), b = odr_b();
  CHECK(a.product == b.product);
  CHECK(a.product[0] != 0);
  CHECK(a.active_target == b.active_target);
  CHECK(a.caches == b.caches);
  CHECK(a.kernels == b.kernels);
}

TEST_CASE("a target chosen in one translation unit is chosen in the other", "[odr]") {
  const std::string before = odr_b().active_target, slowest = odr_b().slowest_target;
  odr_set_active_target_in_a(slowest.c_str());
  CHECK(odr_b().active_target == slowest);
  odr_set_active_target_in_a("");
  CHECK(odr_b().active_target == before);
}

}  // namespace
}  // namespace tessera::test
