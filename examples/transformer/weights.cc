// SPDX-License-Identifier: Apache-2.0
#include "weights.h"

#include <cstring>
#include <type_traits>

#include "tessera/ops/quantize.h"

namespace transformer {
namespace {

// Calls f with null pointers of the element type.
template <class F>
void with_float(Float type, F&& f) {
  switch (type) {
    case Float::kF32:
      return f(static_cast<const float*>(nullptr));
    case Float::kF16:
      return f(static_cast<const ts::f16*>(nullptr));
    case Float::kBF16:
      return f(static_cast<const ts::bf16*>(nullptr));
  }
}

}  // namespace

Weights::Weights(const Tensor& tensor, ts::Context& context)
    : outputs_(tensor.extents[0]), inputs_(tensor.extents[1]), bytes_(tensor.bytes) {
  if (const auto* format = std::get_if<ts::BlockFormat>(&tensor.type)) {
    block_ = info(*format).block;
    const auto* const data = static_cast<const void*>(tensor.data);
    packed_ = ts::pack_weights(ts::blocks(*format, data, outputs_, inputs_), {.context = &context});
    return;
  }
  with_float(std::get<Float>(tensor.type), [&]<class T>(const T*) {
    const auto w = ts::row_major(reinterpret_cast<const T*>(tensor.data), {outputs_, inputs_});
    packed_ = ts::pack_b(ts::transposed(w), {.context = &context});
  });
}

void Weights::multiply(const ts::View<const float, 2>& x, const ts::View<float, 2>& y,
                       ts::Context& context, const MultiplyOptions& options) const {
  using enum ts::Activations;
  const auto integers = block_ == 256 ? kInt8Block256 : kInt8Block32;
  std::visit(
      [&]<class B>(const B& b) {
        if constexpr (!std::is_same_v<B, std::monostate>) {
          ts::gemm(x, b, y,
                   {.beta = options.adds ? 1.0 : 0.0,
                    .activations = options.in_integers && block_ != 0 ? integers : kFloat,
                    .context = &context},
                   options.epilogue);
        }
      },
      packed_);
}

void read_row(const Tensor& tensor, index_t i, const ts::View<float, 1>& row) {
  const index_t cols = row.extent(0);
  const std::byte* const data = tensor.data + i * *bytes_of_row(tensor.type, cols);
  if (const auto* format = std::get_if<ts::BlockFormat>(&tensor.type)) {
    const auto block = ts::blocks(*format, static_cast<const void*>(data), 1, cols);
    return ts::dequantize(block, ts::row_major(row.data, {index_t{1}, cols}));
  }
  with_float(std::get<Float>(tensor.type), [&]<class T>(const T*) {
    for (index_t j = 0; j < cols; ++j) {
      row(j) = static_cast<float>(reinterpret_cast<const T*>(data)[j]);
    }
  });
}

Tensor matrix_of(const Tensor& tensor, index_t i) {
  const index_t bytes = tensor.bytes / tensor.extents[0];
  return {tensor.type, {tensor.extents[1], tensor.extents[2]}, tensor.data + i * bytes, bytes};
}

}  // namespace transformer
