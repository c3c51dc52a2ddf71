// SPDX-License-Identifier: Apache-2.0
// Operands of 8-bit integers with zero points: gemm sums (a(i, l) - za(i)) * (b(l, j) - zb(j)), in integers, exactly.
//
//   gemm(with_zero_point(a, 128), b, c);                         // one for all of A
//   gemm(with_zero_points(a, za), with_zero_points(w, zb), c);   // one per row of A (token), per column of W (channel)
//
// Scales are steps of the epilogue. What others call it:
//   MatMulInteger of ONNX   the above, with c of s32
//   QLinearMatMul of ONNX   ... | epi::requantize(scales, zero point of c), c of s8 or u8,
//                           scales[j] = scale of a * scale of b, column j / scale of c
//   qs8, qu8 of XNNPACK     the same | epi::clamp(low, high)
//   qd8 of XNNPACK          ... epi::row_scale(scales of a) | epi::column_scale(scales of b) | epi::bias(x), c of f32
//
// What they cost: a sum over k for each column of B if A has them, and for each row of A if B has them, which packed
// operands bring along, and a multiply-add for each element of C.
#ifndef TESSERA_OPS_ZERO_POINTS_H_
#define TESSERA_OPS_ZERO_POINTS_H_

#include <cstdint>
#include <type_traits>
#include <utility>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/ops/packed.h"

namespace tessera {

namespace detail {

// The zero points of an operand as plain data: `constant`, or one for each line, a row of A or a column of B.
struct ZeroPoints {
  int constant = 0;
  bool per_line = false;
  const void* data = nullptr;  // [batch, count], likewise the rest
  DType dtype{};               // s32, or that of the operand
  index_t count = 0, stride = 0;
  index_t batch = -1, batch_stride = 0;  // of gemm_batched(); -1: all matrices share them

  bool any() const { return per_line || constant != 0; }
  // Line i's.
  std::int32_t operator[](index_t i) const {
    if (!per_line) return constant;
    switch (dtype) {
      case DType::kS8:
        return static_cast<const std::int8_t*>(data)[i * stride];
      case DType::kU8:
        return static_cast<const std::uint8_t*>(data)[i * stride];
      default:
        return static_cast<const std::int32_t*>(data)[i * stride];
    }
  }
  // Those of matrix i of a batch.
  ZeroPoints of_matrix(index_t i) const {
    ZeroPoints z = *this;
    if (batch >= 0) z.data = static_cast<const char*>(data) + i * batch_stride * size_of(dtype);
    z.batch = -1;
    return z;
  }
};

// How an operand is kept, what its elements are, and how many axes zero points may have.
template <class M>
struct ZeroPointOperand {
  static_assert(MdspanLike<M>,
                "tessera::with_zero_points: the operand must be a View, mdspan-like, a PackedA<T> "
                "or a PackedB<T>");
};
template <class T, int Rank>
struct ZeroPointOperand<View<T, Rank>> {
  using Element = std::remove_const_t<T>;
  using Kept = View<T, Rank>;
  static constexpr int kMostAxes = Rank - 1;
  static Kept keep(const Kept& m) { return m; }
};
template <class T>
struct ZeroPointOperand<PackedA<T>> {
  using Element = T;
  using Kept = const PackedA<T>*;
  static constexpr int kMostAxes = 1;
  static Kept keep(const PackedA<T>& m) { return &m; }
};
template <class T>
struct ZeroPointOperand<PackedB<T>> {
  using Element = T;
  using Kept = const PackedB<T>*;
  static constexpr int kMostAxes = 1;
  static Kept keep(const PackedB<T>& m) { return &m; }
};

}  // namespace detail

// Operand a or b of gemm(), gemm_batched() and gemm_grouped(), made by the functions below: M is a View, PackedA or
// PackedB. It refers to their memory, and owns nothing.
template <class M>
class WithZeroPoints {
 public:
  using Kept = typename detail::ZeroPointOperand<M>::Kept;

  WithZeroPoints(const M& operand, const detail::ZeroPoints& zero_points)
      : operand_(detail::ZeroPointOperand<M>::keep(operand)), zero_points_(zero_points) {
    using T = typename detail::ZeroPointOperand<M>::Element;
    static_assert(std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t>,
                  "tessera::with_zero_points: only operands of s8 and u8 have zero points");
  }

  const M& operand() const {
    if constexpr (std::is_pointer_v<Kept>) {
      return *operand_;
    } else {
      return operand_;
    }
  }
  const detail::ZeroPoints& zero_points() const { return zero_points_; }

 private:
  Kept operand_;
  detail::ZeroPoints zero_points_;
};

// One zero point for the matrix, or for all matrices of a batch. It must be a value of the element type, which gemm
// checks: one beyond is a mistake more often than not.
template <class M>
auto with_zero_point(const M& operand, std::int32_t zero_point) {
  if constexpr (MdspanLike<M>) {
    return with_zero_point(View(operand), zero_point);
  } else {
    return WithZeroPoints<M>(operand, {.constant = zero_point});
  }
}

// One for each row of A (per token), or for each column of B (per channel). Of an operand of rank 3 also [batch, rows]
// or [batch, columns]. Any strides, elements of s32 or of the operand's type.
template <class M, class T, int Axes>
auto with_zero_points(const M& operand, const View<T, Axes>& zero_points) {
  if constexpr (MdspanLike<M>) {
    return with_zero_points(View(operand), zero_points);
  } else {
    using Operand = detail::ZeroPointOperand<M>;
    using Z = std::remove_const_t<T>;
    static_assert(std::is_same_v<Z, std::int32_t> || std::is_same_v<Z, typename Operand::Element>,
                  "tessera::with_zero_points: zero points are of s32 or of the operand's type");
    static_assert(Axes == 1 || Axes == Operand::kMostAxes,
                  "tessera::with_zero_points: zero points are one per row or column, [count], or "
                  "for a batch of views [batch, count]");
    detail::ZeroPoints z{.per_line = true,
                         .data = zero_points.data,
                         .dtype = DTypeTraits<Z>::kDType,
                         .count = zero_points.extents[Axes - 1],
                         .stride = zero_points.strides[Axes - 1]};
    if constexpr (Axes == 2) {
      z.batch = zero_points.extents[0];
      z.batch_stride = zero_points.strides[0];
    }
    return WithZeroPoints<M>(operand, z);
  }
}

// A packed operand is referred to: it must have a name.
template <class T>
void with_zero_point(PackedA<T>&&, std::int32_t) = delete;
template <class T>
void with_zero_point(PackedB<T>&&, std::int32_t) = delete;
template <class T, class Z>
void with_zero_points(PackedA<T>&&, const View<Z, 1>&) = delete;
template <class T, class Z>
void with_zero_points(PackedB<T>&&, const View<Z, 1>&) = delete;

}  // namespace tessera

#endif  // TESSERA_OPS_ZERO_POINTS_H_
