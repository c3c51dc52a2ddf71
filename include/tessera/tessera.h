// SPDX-License-Identifier: Apache-2.0
// Everything public.
#ifndef TESSERA_TESSERA_H_
#define TESSERA_TESSERA_H_

#include "tessera/config.h"
#include "tessera/core/affine.h"
#include "tessera/core/block_formats.h"
#include "tessera/core/cache.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/dtype.h"
#include "tessera/core/isa.h"
#include "tessera/core/layout.h"
#include "tessera/core/minifloat.h"
#include "tessera/core/quantized.h"
#include "tessera/core/quantized_matrix.h"
#include "tessera/core/scratch.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/calibration.h"
#include "tessera/ops/epilogue.h"
#include "tessera/ops/fp8_quantize.h"
#include "tessera/ops/gemm.h"
#include "tessera/ops/hadamard.h"
#include "tessera/ops/import_quantized.h"
#include "tessera/ops/packed.h"
#include "tessera/ops/quantization_error.h"
#include "tessera/ops/quantize.h"
#include "tessera/ops/row_statistics.h"
#include "tessera/ops/zero_points.h"
#include "tessera/ref/affine_quantize.h"
#include "tessera/ref/block_formats.h"
#include "tessera/ref/fp8_quantize.h"
#include "tessera/ref/gemm.h"
#include "tessera/ref/hadamard.h"

#endif  // TESSERA_TESSERA_H_
