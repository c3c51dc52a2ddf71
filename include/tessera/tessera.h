// SPDX-License-Identifier: Apache-2.0
// Everything public.
#ifndef TESSERA_TESSERA_H_
#define TESSERA_TESSERA_H_

#include "tessera/config.h"
#include "tessera/core/cache.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/isa.h"
#include "tessera/core/scratch.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/epilogue.h"
#include "tessera/ops/gemm.h"
#include "tessera/ops/packed.h"
#include "tessera/ref/gemm.h"

#endif  // TESSERA_TESSERA_H_
