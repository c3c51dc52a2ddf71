// SPDX-License-Identifier: Apache-2.0
// The odd-tile scalar targets, 3 and 5 lanes: two more passes over the kernels, after all others.
#ifndef TESSERA_DISPATCH_TEST_TARGETS_H_
#define TESSERA_DISPATCH_TEST_TARGETS_H_

// As foreach_target does after each of its passes. Twice, so the toggle ends as it was.
#define TESSERA_SCALAR_LANES 3
#ifdef HWY_TARGET_TOGGLE
#undef HWY_TARGET_TOGGLE
#else
#define HWY_TARGET_TOGGLE
#endif
#include "tessera/dispatch/target_kernels-inl.h"

#undef TESSERA_SCALAR_LANES
#define TESSERA_SCALAR_LANES 5
#ifdef HWY_TARGET_TOGGLE
#undef HWY_TARGET_TOGGLE
#else
#define HWY_TARGET_TOGGLE
#endif
#include "tessera/dispatch/target_kernels-inl.h"
#undef TESSERA_SCALAR_LANES

#endif  // TESSERA_DISPATCH_TEST_TARGETS_H_
