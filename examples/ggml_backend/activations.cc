// SPDX-License-Identifier: Apache-2.0
// Compiled once per target: without vectors, these few operations were a tenth of a token of a small model on RISC-V.
#include "activations.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "tessera/core/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "activations.cc"  // this file, once per target
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace ggml_port {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using tessera::index_t;

inline constexpr index_t kBlock = 32;

// As many elements as a vector and a block have.
#if HWY_TARGET == HWY_RVV
using D = hn::ScalableTag<float, 2>;  // may hold more than a block
inline std::size_t count() { return std::min<std::size_t>(hn::Lanes(D()), kBlock); }
HWY_INLINE hn::Vec<D> load(const float* x) { return hn::LoadN(D(), x, count()); }
HWY_INLINE void store(hn::Vec<D> v, float* to) { hn::StoreN(v, D(), to, count()); }
#else
using D = hn::CappedTag<float, kBlock>;
inline std::size_t count() { return hn::Lanes(D()); }
HWY_INLINE hn::Vec<D> load(const float* x) { return hn::LoadU(D(), x); }
HWY_INLINE void store(hn::Vec<D> v, float* to) { hn::StoreU(v, D(), to); }
#endif

void round_blocks(const float* x, float* to, index_t n) {
  const D d;
  const auto step = static_cast<index_t>(count());
  for (; n > 0; n -= kBlock, x += kBlock, to += kBlock) {
    auto most = hn::Zero(d);
    for (index_t i = 0; i < kBlock; i += step) most = hn::Max(hn::Abs(load(x + i)), most);
    const float greatest = hn::ReduceMax(d, most);
    const auto scale = static_cast<float>(tessera::f16(greatest / 127));
    if (!std::isfinite(scale)) {
      std::copy_n(x, kBlock, to);
      continue;
    }
    const float inverse = greatest > 0 ? std::min(127 / greatest, 3.402823466e38f) : 0;
    for (index_t i = 0; i < kBlock; i += step) {
      const auto codes = hn::Round(hn::Mul(load(x + i), hn::Set(d, inverse)));
      store(hn::Mul(codes, hn::Set(d, scale)), to + i);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ggml_port
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ggml_port {

HWY_EXPORT(round_blocks);

void round_activations(const float* x, float* to, tessera::index_t n) {
  HWY_DYNAMIC_DISPATCH(round_blocks)(x, to, n);
}

}  // namespace ggml_port
#endif
