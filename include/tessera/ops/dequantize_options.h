// SPDX-License-Identifier: Apache-2.0
// Options of dequantize, of whatever format.
#ifndef TESSERA_OPS_DEQUANTIZE_OPTIONS_H_
#define TESSERA_OPS_DEQUANTIZE_OPTIONS_H_

#include "tessera/config.h"
#include "tessera/core/context.h"

namespace tessera::inline TESSERA_ABI {

struct DequantizeOptions {
  Context* context = nullptr;
};

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_DEQUANTIZE_OPTIONS_H_
