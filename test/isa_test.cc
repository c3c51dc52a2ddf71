// SPDX-License-Identifier: Apache-2.0
// The names of targets.

#include "tessera/core/isa.h"

#include <catch2/catch_test_macros.hpp>
#include <set>
#include <string>
#include <string_view>

namespace tessera {
namespace {

TEST_CASE("every target has a name of its own, and is found by it", "[isa]") {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kTargetNames.size(); ++i) {
    const auto target = static_cast<Target>(i);
    CHECK(names.insert(name(target)).second);
    CHECK(parse_target(name(target)) == target);
    CHECK_FALSE(name(target).empty());
  }
  CHECK(static_cast<std::size_t>(Target::kXsimdRvv) + 1 == kTargetNames.size());
}

// Users write these into scripts: a change breaks them.
TEST_CASE("names and targets belong together", "[isa]") {
  CHECK(name(Target::kScalar) == "scalar");
  CHECK(name(Target::kScalar5) == "scalar5");
  CHECK(name(Target::kSse4) == "sse4");
  CHECK(name(Target::kAvx2) == "avx2");
  CHECK(name(Target::kAvx3) == "avx3");
  CHECK(name(Target::kAvx3Dl) == "avx3_dl");
  CHECK(name(Target::kAvx3Zen4) == "avx3_zen4");
  CHECK(name(Target::kAvx3Spr) == "avx3_spr");
  CHECK(name(Target::kAmx) == "amx");
  CHECK(name(Target::kNeon) == "neon");
  CHECK(name(Target::kNeonBf16) == "neon_bf16");
  CHECK(name(Target::kSve) == "sve");
  CHECK(name(Target::kSve2) == "sve2");
  CHECK(name(Target::kSve256) == "sve_256");
  CHECK(name(Target::kSve2_128) == "sve2_128");
  CHECK(name(Target::kRvv) == "rvv");
  CHECK(name(Target::kLasx) == "lasx");
  CHECK(name(Target::kXsimdAvx2) == "xsimd_avx2");
  CHECK(name(Target::kXsimdRvv) == "xsimd_rvv");
}

TEST_CASE("matrix units are with the vectors of a target", "[isa]") {
  for (std::size_t i = 0; i < kTargetNames.size(); ++i) {
    const auto target = static_cast<Target>(i);
    CHECK(vector_target(target) == (target == Target::kAmx ? Target::kAvx3Dl : target));
  }
}

TEST_CASE("other names are nobody's", "[isa]") {
  for (const std::string_view text :
       {"", "AVX2", "avx", "avx22", " avx2", "avx2 ", "avx512", "xsimd"}) {
    CHECK_FALSE(parse_target(text).has_value());
  }
}

TEST_CASE("the targets without fused multiply-add", "[isa]") {
  std::set<std::string_view> without;
  for (std::size_t i = 0; i < kTargetNames.size(); ++i) {
    if (!has_fma(static_cast<Target>(i))) without.insert(kTargetNames[i]);
  }
  CHECK(without == std::set<std::string_view>{"sse2", "ssse3", "sse4", "xsimd_sse4"});
}

}  // namespace
}  // namespace tessera
