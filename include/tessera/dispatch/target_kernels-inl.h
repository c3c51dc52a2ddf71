// SPDX-License-Identifier: Apache-2.0

// The kernels of one target, and their table under a name that does not need the target's namespace.
// Included once per target by dynamic.h and its test_targets.h, and by nothing else: hence no guard.

// tessera::compiled is compiled in parts, as one translation unit with the kernels of all targets takes
// minutes on one core. Which targets there are depends on the compiler, so they are dealt out to the
// parts 1 to 4 in the order of the passes. Part 0 gets none: it is for the functions that call them.
#undef TESSERA_PASS_IS_COMPILED
#if TESSERA_COMPILED_PART < 0
#define TESSERA_PASS_IS_COMPILED 1
#elif defined(TESSERA_SCALAR_LANES)
#define TESSERA_PASS_IS_COMPILED (TESSERA_COMPILED_PART == (TESSERA_SCALAR_LANES == 3 ? 5 : 6))
#else
#if !defined(TESSERA_PASS) || TESSERA_PASS == 4
#undef TESSERA_PASS
#define TESSERA_PASS 1
#elif TESSERA_PASS == 1
#undef TESSERA_PASS
#define TESSERA_PASS 2
#elif TESSERA_PASS == 2
#undef TESSERA_PASS
#define TESSERA_PASS 3
#else
#undef TESSERA_PASS
#define TESSERA_PASS 4
#endif
#define TESSERA_PASS_IS_COMPILED (TESSERA_COMPILED_PART == TESSERA_PASS)
#endif

#if TESSERA_PASS_IS_COMPILED

#include "tessera/kernels/all-inl.h"

namespace tessera::inline TESSERA_ABI::impl {

#if TESSERA_COMPILED_PART < 0
template <>
struct TargetKernels<TESSERA_TARGET_ID> {
  template <tessera::detail::Families kFamilies>
  static tessera::detail::KernelTable table() {
    return TESSERA_NAMESPACE::kernel_table<kFamilies>();
  }
};
#if TESSERA_HAS_AMX_KERNELS
template <>
struct TargetKernels<Target::kAmx> {
  template <tessera::detail::Families kFamilies>
  static tessera::detail::KernelTable table() {
    return TESSERA_NAMESPACE::amx_kernel_table<kFamilies>();
  }
};
#endif

#else
template <>
tessera::detail::KernelTable all_kernels_of<TESSERA_TARGET_ID>() {
  return TESSERA_NAMESPACE::kernel_table<tessera::detail::kAllFamilies>();
}
#if TESSERA_HAS_AMX_KERNELS
template <>
tessera::detail::KernelTable all_kernels_of<Target::kAmx>() {
  return TESSERA_NAMESPACE::amx_kernel_table<tessera::detail::kAllFamilies>();
}
#endif
#endif

}  // namespace tessera::inline TESSERA_ABI::impl

// The guards of -inl.h files did not see this pass. Whoever runs the passes flips the toggle after
// each, or, for the odd-lane targets, before: once more, so that the guards do not notice.
#elif defined(HWY_TARGET_TOGGLE)
#undef HWY_TARGET_TOGGLE
#else
#define HWY_TARGET_TOGGLE
#endif
