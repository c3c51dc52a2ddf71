// SPDX-License-Identifier: Apache-2.0
// Compiles the kernel for every target, and finds one by target.
//
// In the library there is no such file: dispatch/dispatch.h does this for all kernels of
// kernels/all-inl.h.

#include "tessera/config.h"  // before Highway: says which targets

// The odd-lane targets of the tests, 3 and 5 lanes: every edge case is a small one. The toggle
// tells the guards of -inl.h files that a new pass has begun.
#if TESSERA_TEST_TARGETS
#define TESSERA_SCALAR_LANES 3
#include "axpby-inl.h"
#undef TESSERA_SCALAR_LANES
#define HWY_TARGET_TOGGLE
#define TESSERA_SCALAR_LANES 5
#include "axpby-inl.h"
#undef TESSERA_SCALAR_LANES
#undef HWY_TARGET_TOGGLE
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "axpby-inl.h"
#include "hwy/foreach_target.h"  // a pass for each target but the last, ...

#include "axpby-inl.h"  // ... which is compiled here

namespace tessera::detail {

const AxpbyKernels* find_axpby_kernels(Target target) {
  static constexpr const AxpbyKernels* kAll[] = {
#if TESSERA_TEST_TARGETS
      &N_SCALAR3::kAxpbyKernels, &N_SCALAR5::kAxpbyKernels,
#endif
#define TESSERA_KERNELS_OF(bit, name_space) &name_space::kAxpbyKernels,
      HWY_VISIT_TARGETS(TESSERA_KERNELS_OF)
#undef TESSERA_KERNELS_OF
  };
  for (const AxpbyKernels* kernels : kAll) {
    if (kernels->target == vector_target(target)) return kernels;
  }
  return nullptr;
}

}  // namespace tessera::detail
