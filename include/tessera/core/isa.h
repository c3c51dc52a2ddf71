// SPDX-License-Identifier: Apache-2.0
// Instruction-set targets: their names, and which one the program has asked for.
#ifndef TESSERA_CORE_ISA_H_
#define TESSERA_CORE_ISA_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tessera {

// A target is an instruction set that kernels are compiled for. Within one architecture a later
// enumerator is never slower than an earlier one, which is how the best is chosen.
enum class Target : std::uint8_t {
  kScalar,   // portable C++, std::fma
  kScalar3,  // the same with 3 and 5 lanes: every tile edge on any machine, for tests
  kScalar5,
  kSse2,
  kSsse3,
  kSse4,  // no fused multiply-add: the one family whose float results differ in the last bits
  kAvx2,
  kAvx3,      // AVX-512 F, BW, CD, DQ, VL
  kAvx3Dl,    // + VNNI, VBMI2 (Ice Lake)
  kAvx3Zen4,  // + BF16
  kAvx3Spr,   // + FP16
  kAmx,       // kAvx3Dl + AMX-INT8, the matrix unit
  kNeonWithoutAes,
  kNeon,
  kNeonBf16,
  kSve,
  kSve2,
  kSve256,
  kSve2_128,
  kRvv,
  kLsx,
  kLasx,
  kXsimdSse4,
  kXsimdAvx2,
  kXsimdAvx512,
  kXsimdNeon64,
  kXsimdSve,
  kXsimdRvv,
};

inline constexpr std::array<std::string_view, 28> kTargetNames = {
    "scalar",       "scalar3",    "scalar5",   "sse2",      "ssse3",      "sse4",
    "avx2",         "avx3",       "avx3_dl",   "avx3_zen4", "avx3_spr",   "amx",
    "neon_noaes",   "neon",       "neon_bf16", "sve",       "sve2",       "sve_256",
    "sve2_128",     "rvv",        "lsx",       "lasx",      "xsimd_sse4", "xsimd_avx2",
    "xsimd_avx512", "xsimd_neon", "xsimd_sve", "xsimd_rvv"};

// The name used by set_active_target() and the environment variable TESSERA_TARGET.
constexpr std::string_view name(Target t) { return kTargetNames[static_cast<std::size_t>(t)]; }

constexpr std::optional<Target> parse_target(std::string_view text) {
  for (std::size_t i = 0; i < kTargetNames.size(); ++i) {
    if (kTargetNames[i] == text) return static_cast<Target>(i);
  }
  return std::nullopt;
}

// False where a*b+c rounds twice, so that floating-point results are not those of the other targets.
constexpr bool has_fma(Target t) {
  return t != Target::kSse2 && t != Target::kSsse3 && t != Target::kSse4 && t != Target::kXsimdSse4;
}

// The target that code for vectors is compiled for: of a matrix unit, the one that it adds to.
constexpr Target vector_target(Target t) { return t == Target::kAmx ? Target::kAvx3Dl : t; }

namespace detail {
// What set_active_target() stored, shared by all modes of one program; -1: nothing yet.
inline std::atomic<int> requested_target{-1};
}  // namespace detail

}  // namespace tessera

#endif  // TESSERA_CORE_ISA_H_
