// SPDX-License-Identifier: Apache-2.0
// Cosines and sines of rotary embeddings, for the positions of a graph: its layers share them.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_ROPE_TABLES_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_ROPE_TABLES_H_

#include <ggml.h>

#include <array>
#include <cstdint>
#include <list>
#include <vector>

#include "tessera/core/context.h"
#include "tessera/core/view.h"

namespace ggml_port {

struct RopeTable {
  tessera::View<const float, 2> cosines, sines;  // [tokens, pairs]
};

class RopeTables {
 public:
  void clear() { tables_.clear(); }
  // Of a GGML_OP_ROPE. Valid until clear().
  RopeTable get(const ggml_tensor& op, tessera::Context* context);

 private:
  struct Table {
    const void *positions, *factors;
    std::int64_t tokens;
    std::array<std::int32_t, 16> params;
    std::vector<float> cosines, sines;
  };
  std::list<Table> tables_{};
};

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_ROPE_TABLES_H_
