// EXPECT: hwy/foreach_target.h can be expanded once per translation unit
// SPDX-License-Identifier: Apache-2.0
#undef TESSERA_COMPILED
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hwy/base.h"
#include "hwy/foreach_target.h"
#include "tessera/ops/gemm.h"
