// SPDX-License-Identifier: Apache-2.0
#include "weights.h"

#include "nvfp4.h"

namespace ggml_port {

Weights::Weights(const ggml_tensor& tensor, index_t i2, index_t i3, ts::Context* context) {
  if (const auto format = block_format(tensor.type)) {
    packed_ = ts::pack_weights(BlockRows(tensor, i2, i3).view(), {.context = context});
    activations_ =
        info(*format).block == 256 ? ts::Activations::kInt8Block256 : ts::Activations::kInt8Block32;
    return;
  }
  with_float(tensor.type, [&]<class T>(T*) {
    packed_ = ts::pack_b(ts::transposed(matrix<const T>(tensor, i2, i3)), {.context = context});
  });
}

const Weights& WeightStore::get(const ggml_tensor& t, index_t i2, index_t i3,
                                ts::Context* context) {
  const Key key{bytes(t) + i2 * step(t, 2) + i3 * step(t, 3), t.type, extent(t, 1), extent(t, 0),
                step(t, 1)};
  const std::lock_guard lock(mutex_);
  const auto found = weights_.find(key);
  if (found != weights_.end()) return found->second;
  return weights_.try_emplace(key, t, i2, i3, context).first->second;
}

void WeightStore::forget(const std::byte* first, std::size_t count) {
  const std::lock_guard lock(mutex_);
  std::erase_if(weights_, [&](const auto& entry) {
    const Key& key = entry.first;
    return key.data < first + count && first < key.data + key.outputs * key.step;
  });
}

}  // namespace ggml_port
