// SPDX-License-Identifier: Apache-2.0
// Views of f32, bf16 or f16 whose element type is known at run time: optional operands of functions of rows.
#ifndef TESSERA_OPS_FLOAT_VIEW_H_
#define TESSERA_OPS_FLOAT_VIEW_H_

#include <type_traits>

#include "tessera/config.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/ops/tensor_checks.h"

namespace tessera::inline TESSERA_ABI {

namespace impl {

template <class T>
inline constexpr bool kIsFloatElement =
    std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

}  // namespace impl

// Made of any View<T, Rank> with T f32, bf16 or f16. A default one is none.
template <int Rank, bool kWritten>
class BasicFloatView {
 public:
  BasicFloatView() = default;

  template <class X>
    requires(!std::is_same_v<X, BasicFloatView>)
  BasicFloatView(const X& x)  // NOLINT: implicit by design
      : memory_(impl::tensor_memory(impl::as_view(x))), given_(true) {
    using V = decltype(impl::as_view(x));
    using T = typename V::Element;
    static_assert(V::kRank == Rank, "tessera: a view of another rank is expected here");
    static_assert(impl::kIsFloatElement<std::remove_const_t<T>>,
                  "tessera: elements of f32, bf16 or f16 are expected here");
    static_assert(!kWritten || !std::is_const_v<T>,
                  "tessera: elements that can be written are expected here");
  }

  bool is_given() const { return given_; }
  const impl::TensorMemory& memory() const { return memory_; }

 private:
  impl::TensorMemory memory_;
  bool given_ = false;
};

template <int Rank>
using FloatView = BasicFloatView<Rank, false>;
template <int Rank>
using MutableFloatView = BasicFloatView<Rank, true>;

}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_FLOAT_VIEW_H_
