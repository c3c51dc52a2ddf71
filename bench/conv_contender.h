// SPDX-License-Identifier: Apache-2.0
// Contenders for convolutions: Tessera and its peers.
#ifndef TESSERA_BENCH_CONV_CONTENDER_H_
#define TESSERA_BENCH_CONV_CONTENDER_H_

#include <algorithm>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "bench/conv_types.h"
#include "bench/gemm_workload.h"
#include "bench/peers.h"

namespace tessera::bench {

struct ConvRun {
  GemmRun run;
  std::string details{};  // which implementation was chosen, where the library says so
};

template <class T>
using ConvPrepare = std::function<ConvRun(const ConvOperands<T>&)>;

struct ConvContender {
  std::string name;         // of the library
  std::string description;  // version, kernels in use
  // Makes the weights ready, and puts x into the layout that the library wants; an empty run: it has no such
  // convolution.
  ConvPrepare<float> f32;
  ConvPrepare<std::int8_t> s8{};

  std::string label() const { return name; }

  template <class T>
  ConvRun prepare(const ConvOperands<T>& operands) const {
    const ConvPrepare<T>& f = [this]() -> const ConvPrepare<T>& {
      if constexpr (std::is_same_v<T, float>) return f32;
      if constexpr (std::is_same_v<T, std::int8_t>) return s8;
    }();
    return f ? f(operands) : ConvRun{};
  }
};

using ConvContenders = std::vector<ConvContender>;

ConvContenders tessera_conv(int threads);

// As find_peers().
ConvContenders find_conv_peers(int threads, Lines& missing);

void find_onednn_conv(int threads, ConvContenders& found, Lines& missing);
void find_xnnpack_conv(int threads, ConvContenders& found, Lines& missing);
void find_ggml_conv(int threads, ConvContenders& found, Lines& missing);
void find_onnxruntime_conv(int threads, ConvContenders& found, Lines& missing);

// For libraries that want [channels, h, w]: x, w as [out, in / groups, kh, kw], and the way back of y.
template <class T>
PaddedArray<T> padded_copy(const std::vector<T>& values) {
  PaddedArray<T> copy(static_cast<index_t>(values.size()));
  std::copy(values.begin(), values.end(), copy.data());
  return copy;
}
template <class T>
PaddedArray<T> channels_first_x(const ConvOperands<T>& o) {
  return padded_copy(transposed_copy(o.x, o.shape.size * o.shape.size, o.shape.in));
}
template <class T>
PaddedArray<T> channels_first_w(const ConvOperands<T>& o) {
  std::vector<T> filters;
  for (index_t i = 0; i < o.shape.out; ++i) {
    const std::vector<T> filter =
        transposed_copy(o.w + i * o.shape.depth(), o.shape.taps(), o.shape.group_in());
    filters.insert(filters.end(), filter.begin(), filter.end());
  }
  return padded_copy(filters);
}
template <class T>
void store_channels_first_y(const T* y, const ConvOperands<T>& o) {
  const std::vector<T> values = transposed_copy(y, o.shape.out, o.shape.pixels());
  std::copy(values.begin(), values.end(), o.y);
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_CONV_CONTENDER_H_
