// SPDX-License-Identifier: Apache-2.0

// A tile of sums on its way to memory: the steps of the epilogue, the type and the strides of the
// result. The tile is small and in L1: each step is a loop of its own over it.

#if defined(TESSERA_KERNELS_EPILOGUE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_EPILOGUE_INL_H_
#undef TESSERA_KERNELS_EPILOGUE_INL_H_
#else
#define TESSERA_KERNELS_EPILOGUE_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/epilogue_steps.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/light_epilogue-inl.h"
#include "tessera/kernels/math-inl.h"
#include "tessera/kernels/sum_tile-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

using detail::EpilogueOp;
using detail::EpilogueStep;
using detail::GemmResult;
using detail::ZeroPointTerms;

// One register: the activations need many, and in groups they would spill.
template <class T>
using SumTag = Tag<T>;

// f(vector, i, j, n) for each vector of the tile, of which n lanes are elements.
template <class T, class F>
TESSERA_INLINE void for_each_vector(const SumTile<T>& t, F f) {
  const SumTag<T> d;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t i = 0; i < t.rows; ++i) {
    T* const row = t.data + i * t.stride;
    index_t j = 0;
    for (; j + step <= t.cols; j += step) {
      store(d, f(load(d, row + j), i, j, static_cast<size_t>(step)), row + j);
    }
    if (j == t.cols) continue;
    const auto n = static_cast<size_t>(t.cols - j);
    store_n(d, f(load_n(d, row + j, n), i, j, n), row + j, n);
  }
}

// A tile without gaps, where places do not matter: one row.
template <class T>
SumTile<T> as_row(const SumTile<T>& t) {
  if (t.stride != t.cols) return t;
  return {t.data, t.rows * t.cols, 1, t.rows * t.cols, t.row, t.col};
}

template <class T, class F>
TESSERA_INLINE void map_tile(const SumTile<T>& t, F f) {
  for_each_vector(as_row(t),
                  [&](Vec<SumTag<T>> v, index_t, index_t, size_t) TESSERA_LAMBDA { return f(v); });
}

constexpr index_t kLine = 256;  // elements that are brought to unit stride at a time

// f(sums, x) with a vector of the user, one element of it per row.
template <class T, class F>
void combine_rows(const SumTile<T>& t, const EpilogueStep& s, F f) {
  const T* const x = static_cast<const T*>(s.data);
  for_each_vector(t, [&](Vec<SumTag<T>> v, index_t i, index_t, size_t) TESSERA_LAMBDA {
    return f(v, set(SumTag<T>(), x[(t.row + i) * s.strides[0]]));
  });
}

// The same with one element per column.
template <class T, class F>
void combine_columns(const SumTile<T>& t, const EpilogueStep& s, F f) {
  T line[kLine];
  for (index_t j0 = 0; j0 < t.cols; j0 += kLine) {
    const index_t cols = std::min(kLine, t.cols - j0);
    const T* const x = static_cast<const T*>(s.data) + (t.col + j0) * s.strides[0];
    convert_row(x, s.strides[0], line, cols);
    const SumTile<T> part{t.data + j0, t.stride, t.rows, cols, t.row, t.col + j0};
    for_each_vector(part, [&](Vec<SumTag<T>> v, index_t, index_t j, size_t n)
                              TESSERA_LAMBDA { return f(v, load_n(SumTag<T>(), line + j, n)); });
  }
}

template <class T>
void add_residual(const SumTile<T>& t, const EpilogueStep& s) {
  const SumTag<T> d;
  T line[kLine];
  for (index_t i = 0; i < t.rows; ++i) {
    for (index_t j0 = 0; j0 < t.cols; j0 += kLine) {
      const SumTile<T> part{t.data + i * t.stride + j0,   t.stride,  1,
                            std::min(kLine, t.cols - j0), t.row + i, t.col + j0};
      const index_t offset = part.row * s.strides[0] + part.col * s.strides[1];
      convert_row(s.dtype, advance(s.data, s.dtype, offset), s.strides[1], line, part.cols);
      for_each_vector(part, [&](Vec<SumTag<T>> v, index_t, index_t j, size_t n)
                                TESSERA_LAMBDA { return add(v, load_n(d, line + j, n)); });
    }
  }
}

template <class T>
void apply_step(const SumTile<T>& t, const EpilogueStep& s) {
  using V = Vec<SumTag<T>>;
  const SumTag<T> d;
  const auto p0 = set(d, static_cast<T>(s.p[0]));
  const auto p1 = set(d, static_cast<T>(s.p[1]));
  const auto sum = [](V x, V y) TESSERA_LAMBDA { return add(x, y); };
  const auto product = [](V x, V y) TESSERA_LAMBDA { return mul(x, y); };
  switch (s.op) {
    case EpilogueOp::kAddRow:
      return combine_rows(t, s, sum);
    case EpilogueOp::kAddColumn:
      return combine_columns(t, s, sum);
    case EpilogueOp::kScaleRow:
      return combine_rows(t, s, product);
    case EpilogueOp::kScaleColumn:
      return combine_columns(t, s, product);
    case EpilogueOp::kResidual:
      return add_residual(t, s);
    case EpilogueOp::kScale:
      return map_tile(t, [&](V x) TESSERA_LAMBDA { return mul(x, p0); });
    case EpilogueOp::kLeakyRelu:
      return map_tile(t, [&](V x) TESSERA_LAMBDA { return select(lt(x, zero(d)), mul(x, p0), x); });
    case EpilogueOp::kClamp:  // in this order NaN passes through both
      return map_tile(t, [&](V x) TESSERA_LAMBDA { return min(p1, max(p0, x)); });
    case EpilogueOp::kRequantize:
      return map_tile(t, [&](V x) TESSERA_LAMBDA { return add(round(mul(x, p0)), p1); });
    case EpilogueOp::kRelu:
      return map_tile(t, [&](V x) TESSERA_LAMBDA { return max(zero(d), x); });
    case EpilogueOp::kFunction: {
      const EpilogueTile<T> tile{{t.data, {t.rows, t.cols}, {t.stride, 1}}, t.row, t.col};
      return s.function(s.state, &tile);
    }
    default:
      break;
  }
  if constexpr (std::is_same_v<T, float>) {
    switch (s.op) {
      case EpilogueOp::kGelu:
        return map_tile(t, [&](V x) TESSERA_LAMBDA { return gelu(d, x); });
      case EpilogueOp::kGeluTanh:
        return map_tile(t, [&](V x) TESSERA_LAMBDA { return gelu_tanh(d, x); });
      case EpilogueOp::kSilu:
        return map_tile(t, [&](V x) TESSERA_LAMBDA { return silu(d, x); });
      case EpilogueOp::kSigmoid:
        return map_tile(t, [&](V x) TESSERA_LAMBDA { return sigmoid(d, x); });
      case EpilogueOp::kTanh:
        return map_tile(t, [&](V x) TESSERA_LAMBDA { return tanh(d, x); });
      default:
        return map_tile(t, [&](V x) TESSERA_LAMBDA { return hard_swish(d, x); });
    }
  }
}

// A row of sums as elements of the result.
template <class To, class T>
TESSERA_INLINE void demote_row(const T* from, To* to, index_t n) {
  const SumTag<T> d;
  const auto step = static_cast<index_t>(lanes(d));
  const Rebind<To, SumTag<T>> dn;
  index_t i = 0;
  for (; i + step <= n; i += step) store(dn, result_of<To>(d, load(d, from + i)), to + i);
  if (i == n) return;
  const auto left = static_cast<size_t>(n - i);
  store_n(dn, result_of<To>(d, load_n(d, from + i, left)), to + i, left);
}

template <class To, class T>
void store_tile(const GemmResult& r, const SumTile<T>& t) {
  To* const c = static_cast<To*>(r.data) + t.row * r.row_stride + t.col * r.col_stride;
  for (index_t i = 0; i < t.rows; ++i) {
    const T* const from = t.data + i * t.stride;
    To* const to = c + i * r.row_stride;
    if (r.col_stride == 1) {
      demote_row(from, to, t.cols);
      continue;
    }
    To line[kLine];
    for (index_t j0 = 0; j0 < t.cols; j0 += kLine) {
      const index_t n = std::min(kLine, t.cols - j0);
      demote_row(from + j0, line, n);
      for (index_t j = 0; j < n; ++j) to[(j0 + j) * r.col_stride] = line[j];
    }
  }
}

template <bool kA, bool kB>
void add_zero_point_terms(const ZeroPointTerms& z, const SumTile<int32_t>& t) {
  const SumTag<int32_t> d;
  using V = Vec<SumTag<int32_t>>;
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t i = 0; i < t.rows; ++i) {
    const index_t row = t.row + i;
    const auto a_zero = set(d, kA ? z.a_zeros[row * z.a_zero_stride] : 0);
    const auto a_term = set(d, kB ? z.a_terms[row] : 0);
    int32_t* const sums = t.data + i * t.stride;
    const auto corrected = [&](V sum, V b_term, V b_zero) TESSERA_LAMBDA {
      if constexpr (kA) sum = add(sum, mul(a_zero, b_term));
      if constexpr (kB) sum = add(sum, mul(a_term, b_zero));
      return sum;
    };
    index_t j = 0;
    for (; j + step <= t.cols; j += step) {
      const index_t col = t.col + j;
      store(d,
            corrected(load(d, sums + j), kA ? load(d, z.b_terms + col) : zero(d),
                      kB ? load(d, z.b_zeros + col) : zero(d)),
            sums + j);
    }
    if (j == t.cols) continue;
    const index_t col = t.col + j;
    const auto n = static_cast<size_t>(t.cols - j);
    store_n(d,
            corrected(load_n(d, sums + j, n), kA ? load_n(d, z.b_terms + col, n) : zero(d),
                      kB ? load_n(d, z.b_zeros + col, n) : zero(d)),
            sums + j, n);
  }
}

inline void add_zero_point_terms(const ZeroPointTerms& z, const SumTile<int32_t>& t) {
  if (z.a_zeros != nullptr) {
    return z.b_zeros != nullptr ? add_zero_point_terms<true, true>(z, t)
                                : add_zero_point_terms<true, false>(z, t);
  }
  if (z.b_zeros != nullptr) add_zero_point_terms<false, true>(z, t);
}

inline void floats_of(const int32_t* from, float* to, index_t n) {
  const SumTag<float> d;
  const SumTag<int32_t> di;
  const auto step = static_cast<index_t>(lanes(d));
  index_t i = 0;
  for (; i + step <= n; i += step) store(d, from_int(load(di, from + i)), to + i);
  if (i == n) return;
  const auto left = static_cast<size_t>(n - i);
  store_n(d, from_int(load_n(di, from + i, left)), to + i, left);
}

// The sums of a tile, to their place in the result.
template <class T>
void finish_tile(const GemmResult& r, const SumTile<T>& t) {
  if constexpr (std::is_same_v<T, int32_t>) {
    if (r.zero_points != nullptr) add_zero_point_terms(*r.zero_points, t);
    if (r.dtype == DType::kS32) return store_tile<int32_t>(r, t);
    if (light_epilogue::finish_tile(r, t)) return;
    // As floats, as many rows at a time as fit: each step begins anew for each part.
    float part[4 * kLine];
    for (index_t j0 = 0; j0 < t.cols; j0 += kLine) {
      const index_t cols = std::min(kLine, t.cols - j0), most_rows = 4 * kLine / cols;
      for (index_t i0 = 0; i0 < t.rows; i0 += most_rows) {
        const index_t rows = std::min(most_rows, t.rows - i0);
        float* to = part;
        const SumTile<int32_t> from =
            as_row(SumTile<int32_t>{t.data + i0 * t.stride + j0, t.stride, rows, cols, 0, 0});
        for (index_t i = 0; i < from.rows; ++i, to += from.cols) {
          floats_of(from.data + i * from.stride, to, from.cols);
        }
        finish_tile(r, SumTile<float>{part, cols, rows, cols, t.row + i0, t.col + j0});
      }
    }
  } else {
    if constexpr (std::is_same_v<T, float>) {
      if (light_epilogue::finish_tile(r, t)) return;
    }
    for (int s = 0; s < r.step_count; ++s) apply_step(t, r.steps[s]);
    if constexpr (std::is_same_v<T, double>) {
      store_tile<double>(r, t);
    } else {
      switch (r.dtype) {
        case DType::kBF16:
          return store_tile<bf16>(r, t);
        case DType::kF16:
          return store_tile<f16>(r, t);
        case DType::kS8:
          return store_tile<int8_t>(r, t);
        case DType::kU8:
          return store_tile<uint8_t>(r, t);
        case DType::kS32:  // integers that were summed as floats
          return store_tile<int32_t>(r, t);
        default:
          return store_tile<float>(r, t);
      }
    }
  }
}

template <class T>
void finish_sums(const detail::FinishedSums& f) {
  constexpr index_t kMostSums = 4096;  // in L1, as each step goes over all of them
  const index_t most = std::max<index_t>(kMostSums / std::max<index_t>(f.n, 1), 1);
  for (index_t i = 0; i < f.m; i += most) {
    T* const sums = static_cast<T*>(f.sums) + i * f.n;
    finish_tile(*f.result, SumTile<T>{sums, f.n, std::min(most, f.m - i), f.n, f.row + i, f.col});
  }
}

// What is in the result, as sums.
template <class T>
void start_tile(const GemmResult& r, const SumTile<T>& t) {
  const index_t offset = t.row * r.row_stride + t.col * r.col_stride;
  const void* const c = advance(r.data, r.dtype, offset);
  for (index_t i = 0; i < t.rows; ++i) {
    convert_row(r.dtype, advance(c, r.dtype, i * r.row_stride), r.col_stride, t.data + i * t.stride,
                t.cols);
  }
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_EPILOGUE_INL_H_
