// SPDX-License-Identifier: Apache-2.0
// Static mode: the same names as dynamic.h with one target, that of the compile flags. No tables of
// targets, no run-time detection, no symbol of libhwy. Included by dispatch.h.
#ifndef TESSERA_DISPATCH_STATIC_H_
#define TESSERA_DISPATCH_STATIC_H_

#include <array>
#include <span>

#include "tessera/kernels/all-inl.h"

namespace tessera::inline TESSERA_ABI::impl {

template <tessera::detail::Families kFamilies>
tessera::detail::KernelTable static_kernel_table() {
  return TESSERA_NAMESPACE::kernel_table<kFamilies>();  // before another pass renames the macro
}

}  // namespace tessera::inline TESSERA_ABI::impl

#if TESSERA_TEST_TARGETS
#include "tessera/dispatch/test_targets.h"
#endif

#if defined(__riscv_v_fixed_vlen)
#include <cstdio>
#include <cstdlib>
#endif

namespace tessera::inline TESSERA_ABI::impl {

// Vectors of fixed length run on that length only: elsewhere they would overrun memory.
inline void check_vector_length() {
#if defined(__riscv_v_fixed_vlen)
  unsigned long vlenb = 0;
  __asm__("csrr %0, vlenb" : "=r"(vlenb));
  if (vlenb * 8 != __riscv_v_fixed_vlen) {
    std::fprintf(stderr,
                 "tessera: this program was built for RVV vectors of %d bits, this core has %lu\n",
                 __riscv_v_fixed_vlen, vlenb * 8);
    std::exit(EXIT_FAILURE);
  }
#endif
}

template <tessera::detail::Families kFamilies>
std::span<const tessera::detail::KernelTable> kernel_tables() {
  static const auto tables = [] {
    check_vector_length();
    return std::array{
#if TESSERA_TEST_TARGETS
        N_SCALAR3::kernel_table<kFamilies>(),
        N_SCALAR5::kernel_table<kFamilies>(),
#endif
        static_kernel_table<kFamilies>(),
    };
  }();
  return tables;
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_DISPATCH_STATIC_H_
