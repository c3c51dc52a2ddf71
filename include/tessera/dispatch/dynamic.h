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
#define HWY_TARGET_INCLUDE "tessera/kernels/all-inl.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "tessera/dispatch/amx.h"
#include "tessera/kernels/all-inl.h"

#if TESSERA_TEST_TARGETS
#include "tessera/dispatch/test_targets.h"
#endif

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
    add(-1, &HWY_NAMESPACE::kernel_table);
#endif
#if TESSERA_TEST_TARGETS
    add(-1, &N_SCALAR3::kernel_table);
    add(-1, &N_SCALAR5::kernel_table);
#endif
#if HWY_TARGETS & HWY_SSE2
    add(HWY_SSE2, &N_SSE2::kernel_table);
#endif
#if HWY_TARGETS & HWY_SSSE3
    add(HWY_SSSE3, &N_SSSE3::kernel_table);
#endif
#if HWY_TARGETS & HWY_SSE4
    add(HWY_SSE4, &N_SSE4::kernel_table);
#endif
#if HWY_TARGETS & HWY_AVX2
    add(HWY_AVX2, &N_AVX2::kernel_table);
#endif
#if HWY_TARGETS & HWY_AVX3
    add(HWY_AVX3, &N_AVX3::kernel_table);
#endif
#if HWY_TARGETS & HWY_AVX3_DL
    add(HWY_AVX3_DL, &N_AVX3_DL::kernel_table);
#if defined(__x86_64__)
    if (tessera::detail::has_amx_int8()) add(HWY_AVX3_DL, &N_AVX3_DL::amx_kernel_table);
#endif
#endif
#if HWY_TARGETS & HWY_AVX3_ZEN4
    add(HWY_AVX3_ZEN4, &N_AVX3_ZEN4::kernel_table);
#endif
#if HWY_TARGETS & HWY_AVX3_SPR
    add(HWY_AVX3_SPR, &N_AVX3_SPR::kernel_table);
#endif
#if HWY_TARGETS & HWY_NEON_WITHOUT_AES
    add(HWY_NEON_WITHOUT_AES, &N_NEON_WITHOUT_AES::kernel_table);
#endif
#if HWY_TARGETS & HWY_NEON
    add(HWY_NEON, &N_NEON::kernel_table);
#endif
#if HWY_TARGETS & HWY_NEON_BF16
    add(HWY_NEON_BF16, &N_NEON_BF16::kernel_table);
#endif
#if HWY_TARGETS & HWY_SVE
    add(HWY_SVE, &N_SVE::kernel_table);
#endif
#if HWY_TARGETS & HWY_SVE2
    add(HWY_SVE2, &N_SVE2::kernel_table);
#endif
#if HWY_TARGETS & HWY_SVE_256
    add(HWY_SVE_256, &N_SVE_256::kernel_table);
#endif
#if HWY_TARGETS & HWY_SVE2_128
    add(HWY_SVE2_128, &N_SVE2_128::kernel_table);
#endif
#if HWY_TARGETS & HWY_RVV
    add(HWY_RVV, &N_RVV::kernel_table);
#endif
#if HWY_TARGETS & HWY_LSX
    add(HWY_LSX, &N_LSX::kernel_table);
#endif
#if HWY_TARGETS & HWY_LASX
    add(HWY_LASX, &N_LASX::kernel_table);
#endif
    return list;
  }();
  return tables;
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_DISPATCH_DYNAMIC_H_
