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

TESSERA_LIBRARY_FUNCTION std::span<const tessera::detail::KernelTable> kernel_tables() {
  using tessera::detail::KernelTable;
  static const std::vector<KernelTable> tables = [] {
    std::vector<KernelTable> list;
    // Not called for targets that the machine lacks: the compiler may use their instructions in it.
    const auto add = [&list](std::int64_t target, KernelTable (*kernel_table)()) {
      if ((hwy::SupportedTargets() & target) == 0) return;
      KernelTable table = kernel_table();
      if (!list.empty()) table.inherit(list.back());
      list.push_back(table);
    };
#if HWY_TARGETS & (HWY_EMU128 | HWY_SCALAR)
    add(-1, &kernel_table_of<Target::kScalar>);
#endif
#if TESSERA_TEST_TARGETS
    add(-1, &kernel_table_of<Target::kScalar3>);
    add(-1, &kernel_table_of<Target::kScalar5>);
#endif
#if HWY_TARGETS & HWY_SSE2
    add(HWY_SSE2, &kernel_table_of<Target::kSse2>);
#endif
#if HWY_TARGETS & HWY_SSSE3
    add(HWY_SSSE3, &kernel_table_of<Target::kSsse3>);
#endif
#if HWY_TARGETS & HWY_SSE4
    add(HWY_SSE4, &kernel_table_of<Target::kSse4>);
#endif
#if HWY_TARGETS & HWY_AVX2
    add(HWY_AVX2, &kernel_table_of<Target::kAvx2>);
#endif
#if HWY_TARGETS & HWY_AVX3
    add(HWY_AVX3, &kernel_table_of<Target::kAvx3>);
#endif
#if HWY_TARGETS & HWY_AVX3_DL
    add(HWY_AVX3_DL, &kernel_table_of<Target::kAvx3Dl>);
#if defined(__x86_64__)
    if (tessera::detail::has_amx_int8()) add(HWY_AVX3_DL, &kernel_table_of<Target::kAmx>);
#endif
#endif
#if HWY_TARGETS & HWY_AVX3_ZEN4
    add(HWY_AVX3_ZEN4, &kernel_table_of<Target::kAvx3Zen4>);
#endif
#if HWY_TARGETS & HWY_AVX3_SPR
    add(HWY_AVX3_SPR, &kernel_table_of<Target::kAvx3Spr>);
#endif
#if HWY_TARGETS & HWY_NEON_WITHOUT_AES
    add(HWY_NEON_WITHOUT_AES, &kernel_table_of<Target::kNeonWithoutAes>);
#endif
#if HWY_TARGETS & HWY_NEON
    add(HWY_NEON, &kernel_table_of<Target::kNeon>);
#endif
#if HWY_TARGETS & HWY_NEON_BF16
    add(HWY_NEON_BF16, &kernel_table_of<Target::kNeonBf16>);
#endif
#if HWY_TARGETS & HWY_SVE
    add(HWY_SVE, &kernel_table_of<Target::kSve>);
#endif
#if HWY_TARGETS & HWY_SVE2
    add(HWY_SVE2, &kernel_table_of<Target::kSve2>);
#endif
#if HWY_TARGETS & HWY_SVE_256
    add(HWY_SVE_256, &kernel_table_of<Target::kSve256>);
#endif
#if HWY_TARGETS & HWY_SVE2_128
    add(HWY_SVE2_128, &kernel_table_of<Target::kSve2_128>);
#endif
#if HWY_TARGETS & HWY_RVV
    add(HWY_RVV, &kernel_table_of<Target::kRvv>);
#endif
#if HWY_TARGETS & HWY_LSX
    add(HWY_LSX, &kernel_table_of<Target::kLsx>);
#endif
#if HWY_TARGETS & HWY_LASX
    add(HWY_LASX, &kernel_table_of<Target::kLasx>);
#endif
    return list;
  }();
  return tables;
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_COMPILED_PART <= 0

#endif  // TESSERA_DISPATCH_DYNAMIC_H_
