// SPDX-License-Identifier: Apache-2.0
// Run-time dispatch: compiles the kernels once per target of Highway and lists those that the CPU
// supports. Included by dispatch.h, in header-only mode and in the sources of tessera::compiled.
#ifndef TESSERA_DISPATCH_DYNAMIC_H_
#define TESSERA_DISPATCH_DYNAMIC_H_

#ifdef HIGHWAY_HWY_FOREACH_TARGET_H_
#error \
    "hwy/foreach_target.h can be expanded once per translation unit and this one already has: link tessera::compiled (TESSERA_COMPILED), or include tessera/kernels/all-inl.h in your own per-target code"
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tessera/dispatch/target_kernels-inl.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "tessera/dispatch/target_kernels-inl.h"

#if TESSERA_TEST_TARGETS
#include "tessera/dispatch/test_targets.h"
#endif

#if TESSERA_COMPILED_PART <= 0

#include "hwy/targets.h"
#include "tessera/dispatch/amx.h"

namespace tessera::inline TESSERA_ABI::impl {

// Of the targets that this machine supports, the slowest first.
template <tessera::detail::Families kFamilies>
std::vector<tessera::detail::KernelTable> supported_kernels() {
  std::vector<tessera::detail::KernelTable> list;
  // Not called for targets that the machine lacks: the compiler may use their instructions in it.
  const auto add = [&list]<Target kTarget>(std::int64_t hwy_target, TargetKernels<kTarget>) {
    if ((hwy::SupportedTargets() & hwy_target) == 0) return;
    auto table = TargetKernels<kTarget>::template table<kFamilies>();
    if (!list.empty()) table.inherit(list.back());
    list.push_back(table);
  };
#if HWY_TARGETS & (HWY_EMU128 | HWY_SCALAR)
  add(-1, TargetKernels<Target::kScalar>());
#endif
#if TESSERA_TEST_TARGETS
  add(-1, TargetKernels<Target::kScalar3>());
  add(-1, TargetKernels<Target::kScalar5>());
#endif
#if HWY_TARGETS & HWY_SSE2
  add(HWY_SSE2, TargetKernels<Target::kSse2>());
#endif
#if HWY_TARGETS & HWY_SSSE3
  add(HWY_SSSE3, TargetKernels<Target::kSsse3>());
#endif
#if HWY_TARGETS & HWY_SSE4
  add(HWY_SSE4, TargetKernels<Target::kSse4>());
#endif
#if HWY_TARGETS & HWY_AVX2
  add(HWY_AVX2, TargetKernels<Target::kAvx2>());
#endif
#if HWY_TARGETS & HWY_AVX3
  add(HWY_AVX3, TargetKernels<Target::kAvx3>());
#endif
#if HWY_TARGETS & HWY_AVX3_DL
  add(HWY_AVX3_DL, TargetKernels<Target::kAvx3Dl>());
#if defined(__x86_64__)
  if (tessera::detail::has_amx_int8()) add(HWY_AVX3_DL, TargetKernels<Target::kAmx>());
#endif
#endif
#if HWY_TARGETS & HWY_AVX3_ZEN4
  add(HWY_AVX3_ZEN4, TargetKernels<Target::kAvx3Zen4>());
#endif
#if HWY_TARGETS & HWY_AVX3_SPR
  add(HWY_AVX3_SPR, TargetKernels<Target::kAvx3Spr>());
#endif
#if HWY_TARGETS & HWY_NEON_WITHOUT_AES
  add(HWY_NEON_WITHOUT_AES, TargetKernels<Target::kNeonWithoutAes>());
#endif
#if HWY_TARGETS & HWY_NEON
  add(HWY_NEON, TargetKernels<Target::kNeon>());
#endif
#if HWY_TARGETS & HWY_NEON_BF16
  add(HWY_NEON_BF16, TargetKernels<Target::kNeonBf16>());
#endif
#if HWY_TARGETS & HWY_SVE
  add(HWY_SVE, TargetKernels<Target::kSve>());
#endif
#if HWY_TARGETS & HWY_SVE2
  add(HWY_SVE2, TargetKernels<Target::kSve2>());
#endif
#if HWY_TARGETS & HWY_SVE_256
  add(HWY_SVE_256, TargetKernels<Target::kSve256>());
#endif
#if HWY_TARGETS & HWY_SVE2_128
  add(HWY_SVE2_128, TargetKernels<Target::kSve2_128>());
#endif
#if HWY_TARGETS & HWY_RVV
  add(HWY_RVV, TargetKernels<Target::kRvv>());
#endif
#if HWY_TARGETS & HWY_LSX
  add(HWY_LSX, TargetKernels<Target::kLsx>());
#endif
#if HWY_TARGETS & HWY_LASX
  add(HWY_LASX, TargetKernels<Target::kLasx>());
#endif
  return list;
}

#if TESSERA_COMPILED_PART < 0
template <tessera::detail::Families kFamilies>
std::span<const tessera::detail::KernelTable> kernel_tables() {
  static const auto tables = supported_kernels<kFamilies>();
  return tables;
}
#else
std::span<const tessera::detail::KernelTable> all_kernel_tables() {
  static const auto tables = supported_kernels<tessera::detail::kAllFamilies>();
  return tables;
}
#endif

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_COMPILED_PART <= 0

#endif  // TESSERA_DISPATCH_DYNAMIC_H_
