// SPDX-License-Identifier: Apache-2.0
// How conv.h hands its arguments to the driver: any rank, type and layout as plain data.
#ifndef TESSERA_OPS_CONV_PROBLEM_H_
#define TESSERA_OPS_CONV_PROBLEM_H_

#include <array>
#include <string>
#include <type_traits>

#include "tessera/core/context.h"
#include "tessera/ops/epilogue.h"
#include "tessera/ops/gemm_problem.h"
#include "tessera/ops/packed_filters.h"

namespace tessera::inline TESSERA_ABI {

namespace impl {

template <int kCount>
constexpr std::array<index_t, kCount> ones() {
  std::array<index_t, kCount> result{};
  result.fill(1);
  return result;
}

}  // namespace impl

// Spatial parameters are in the order of the axes: {h, w} of conv2d, {d, h, w} of conv3d.
template <int kRank>
struct ConvOptions {
  std::array<index_t, kRank> stride = impl::ones<kRank>();
  std::array<index_t, kRank> dilation = impl::ones<kRank>();
  // Before the first elements of all axes, then after the last: {top, left, bottom, right}.
  std::array<index_t, 2 * kRank> padding{};
  index_t groups = 1;
  int x_zero_point = 0;  // x of s8 and u8: the value that means 0, of the padding too
  ConvAlgorithm algorithm = ConvAlgorithm::kAuto;
  Numerics numerics = Numerics::kReproducible;
  Context* context = nullptr;
};

// The same for transposed convolutions. `padding` is what it is for the convolution that goes the other way: it
// makes y smaller.
template <int kRank>
struct ConvTransposeOptions {
  std::array<index_t, kRank> stride = impl::ones<kRank>();
  std::array<index_t, kRank> dilation = impl::ones<kRank>();
  std::array<index_t, 2 * kRank> padding{};
  std::array<index_t, kRank>
      output_padding{};  // more elements after the last ones of y; less than the stride
  index_t groups = 1;
  int x_zero_point = 0;
  ConvAlgorithm algorithm = ConvAlgorithm::kAuto;
  Numerics numerics = Numerics::kReproducible;
  Context* context = nullptr;
};

// How one convolution will be computed.
struct ConvPlan {
  Target target{};
  ConvAlgorithm algorithm{};
  TileShape tile{};
  index_t kc = 0;               // steps of the sums that are made at a time
  index_t rows = 0;             // pixels of the result that are made at a time
  bool in_place = false;        // x is read where it lies; otherwise through padded strips
  index_t workspace_bytes = 0;  // scratch of the call
  std::string reason;           // why, in a sentence

  // All of it in a line.
  std::string to_string() const {
    std::string text(name(algorithm));
    text.append(" on ").append(name(target));
    if (kc > 0) {
      text.append(", tile ").append(std::to_string(tile.rows)).append(" x ");
      text.append(std::to_string(tile.vectors)).append(" vectors, sums in blocks of ");
      text.append(std::to_string(kc));
    }
    text.append(", ").append(std::to_string(rows)).append(" pixels at a time, workspace ");
    text.append(std::to_string(workspace_bytes)).append(" bytes: ").append(reason);
    return text;
  }
};

namespace impl {

using tessera::detail::FilterLayout;
using tessera::detail::PackedFilterMemory;
using tessera::detail::Spatial;
using tessera::detail::TensorExtents;

struct ConvTensor {
  const void* data = nullptr;
  DType dtype{};
  TensorExtents extents{}, strides{};
};

// y = epilogue(conv(x, w)), with axes that a call does not have of extent one. Made by conv.h.
struct ConvProblem {
  const char* function = "";
  int rank = 0;  // spatial axes of the call
  bool transposed = false;
  ConvTensor x, w, y;
  const PackedFilterMemory* packed = nullptr;  // instead of the data of w
  Spatial stride{}, dilation{}, pad_begin{}, pad_end{}, output_padding{};
  index_t groups = 1;
  int x_zero_point = 0;
  ConvAlgorithm algorithm{};
  Numerics numerics{};
  Epilogue epilogue;
};

// Check everything, then do it. Defined in conv_driver.h.
void checked_conv(const ConvProblem& problem, Context* context);
PackedFilterMemory checked_pack_conv(const ConvProblem& problem, Context* context);
ConvPlan checked_conv_plan(const ConvProblem& problem, Context* context);

template <class V>
inline constexpr bool is_packed_filters = false;
template <class T, int kRank>
inline constexpr bool is_packed_filters<PackedFilters<T, kRank>> = true;

template <class M>
struct ElementOfFilters : ElementOfMatrix<M> {};
template <class T, int kRank>
struct ElementOfFilters<PackedFilters<T, kRank>> {
  using type = T;
};

// Axes {first, spatial.., last} as {first, d, h, w, last}.
template <int kRank>
TensorExtents with_all_axes(const std::array<index_t, kRank + 2>& values, index_t missing) {
  TensorExtents all{values[0], missing, missing, missing, values[kRank + 1]};
  for (int i = 0; i < kRank; ++i) all[static_cast<std::size_t>(4 - kRank + i)] = values[i + 1];
  return all;
}
template <int kRank>
Spatial with_all_axes(const index_t* values, index_t missing) {
  Spatial all{missing, missing, missing};
  for (int i = 0; i < kRank; ++i) all[static_cast<std::size_t>(3 - kRank + i)] = values[i];
  return all;
}

template <int kRank, class T>
ConvTensor conv_tensor(const View<T, kRank + 2>& v) {
  return {v.data, DTypeTraits<std::remove_const_t<T>>::kDType, with_all_axes<kRank>(v.extents, 1),
          with_all_axes<kRank>(v.strides, 0)};
}

// The spatial parameters that both kinds of options have.
template <int kRank, class Options>
ConvProblem conv_problem(const char* function, const Options& options) {
  ConvProblem p;
  p.function = function;
  p.rank = kRank;
  p.stride = with_all_axes<kRank>(options.stride.data(), 1);
  p.dilation = with_all_axes<kRank>(options.dilation.data(), 1);
  p.pad_begin = with_all_axes<kRank>(options.padding.data(), 0);
  p.pad_end = with_all_axes<kRank>(options.padding.data() + kRank, 0);
  if constexpr (requires { options.output_padding; }) {
    p.transposed = true;
    p.output_padding = with_all_axes<kRank>(options.output_padding.data(), 0);
  }
  p.groups = options.groups;
  p.x_zero_point = options.x_zero_point;
  p.algorithm = options.algorithm;
  p.numerics = options.numerics;
  return p;
}

template <int kRank, class X, class W, class Y, class Options>
ConvProblem conv_problem(const char* function, const X& x, const W& w, const Y& y,
                         const Options& options, const Epilogue& epilogue) {
  using TX = typename ElementOfMatrix<X>::type;
  using TW = typename ElementOfFilters<W>::type;
  using TY = typename ElementOfMatrix<Y>::type;
  static_assert(MatrixLike<X> && (MatrixLike<W> || is_packed_filters<W>) && MatrixLike<Y>,
                "tessera::conv: x and y must be views or mdspan-like, w too, or PackedFilters");
  static_assert(are_gemm_types<TX, TW, TY> && !std::is_same_v<TX, double>,
                "tessera::conv: no kernel for these element types: x and w of f32, bf16 and f16 "
                "give f32, bf16, f16, "
                "s8 or u8; s8 and u8 give s32, f32, bf16, f16, s8 or u8");
  ConvProblem p = conv_problem<kRank>(function, options);
  p.x = conv_tensor<kRank>(input_view<kRank + 2>(x));
  const auto view = input_view<kRank + 2>(y);
  static_assert(!std::is_const_v<typename decltype(view)::Element>,
                "tessera::conv: y is written, its elements must not be const");
  p.y = conv_tensor<kRank>(view);
  if constexpr (is_packed_filters<W>) {
    static_assert(std::is_same_v<W, PackedFilters<TW, kRank>>,
                  "tessera::conv: w was packed for another number of spatial axes");
    p.packed = &w;
    p.w.dtype = DTypeTraits<TW>::kDType;
    p.w.extents = w.layout().extents;
  } else {
    p.w = conv_tensor<kRank>(input_view<kRank + 2>(w));
  }
  p.epilogue = epilogue;
  return p;
}

template <int kRank, class W, class Options>
PackedFilters<typename ElementOfMatrix<W>::type, kRank> pack_filters(const char* function,
                                                                     const W& w,
                                                                     const Options& options) {
  using TW = typename ElementOfMatrix<W>::type;
  static_assert(MatrixLike<W>, "tessera::pack_conv: w must be a view or mdspan-like");
  static_assert(are_gemm_types<TW, TW, TW> && !std::is_same_v<TW, double>,
                "tessera::pack_conv: the element type of w must be f32, bf16, f16, s8 or u8");
  ConvProblem p = conv_problem<kRank>(function, options);
  p.w = conv_tensor<kRank>(input_view<kRank + 2>(w));
  return PackedFilters<TW, kRank>(checked_pack_conv(p, options.context));
}

}  // namespace impl
}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_OPS_CONV_PROBLEM_H_
