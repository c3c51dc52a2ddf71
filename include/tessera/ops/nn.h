// SPDX-License-Identifier: Apache-2.0
// The row-wise and elementwise functions of neural networks.
#ifndef TESSERA_OPS_NN_H_
#define TESSERA_OPS_NN_H_

#include "tessera/ops/causal_conv1d.h"
#include "tessera/ops/elementwise.h"
#include "tessera/ops/embedding.h"
#include "tessera/ops/gated_delta_rule.h"
#include "tessera/ops/group_norm.h"
#include "tessera/ops/moe.h"
#include "tessera/ops/norm.h"
#include "tessera/ops/permute.h"
#include "tessera/ops/rope.h"
#include "tessera/ops/rope_table.h"
#include "tessera/ops/softmax.h"
#include "tessera/ops/top_k.h"

#endif  // TESSERA_OPS_NN_H_
