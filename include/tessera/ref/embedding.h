// SPDX-License-Identifier: Apache-2.0
// The specification of embeddings, as loops.
#ifndef TESSERA_REF_EMBEDDING_H_
#define TESSERA_REF_EMBEDDING_H_

#include "tessera/core/view.h"
#include "tessera/ref/math.h"

namespace tessera::ref {

// Exactly as tessera::embedding; of a table in a block format: with its dequantized values.
template <class T, class I, class U>
void embedding(const View<const T, 2>& table, const View<const I, 1>& indices, const View<U, 2>& y,
               float scale) {
  for (index_t i = 0; i < y.extent(0); ++i) {
    for (index_t j = 0; j < y.extent(1); ++j) {
      const auto value = static_cast<float>(table(static_cast<index_t>(indices(i)), j));
      y(i, j) = static_cast<U>(scale == 1 ? value : product(value, scale));
    }
  }
}

}  // namespace tessera::ref

#endif  // TESSERA_REF_EMBEDDING_H_
