// SPDX-License-Identifier: Apache-2.0

// Epilogues of steps that need few registers: sums are loaded once, go through all steps in registers, and are stored as
// results. The operations are those of one step after the other on the whole tile, so the bits are, too.

#if defined(TESSERA_KERNELS_LIGHT_EPILOGUE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_LIGHT_EPILOGUE_INL_H_
#undef TESSERA_KERNELS_LIGHT_EPILOGUE_INL_H_
#else
#define TESSERA_KERNELS_LIGHT_EPILOGUE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/kernels/epilogue_steps.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/kernels/sum_tile-inl.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace light_epilogue {

using detail::EpilogueOp;
using detail::EpilogueStep;
using detail::GemmResult;

// Rows that take their steps together: a step is chosen, and its operand loaded, once for all of them.
inline constexpr int kRows = 4;
using FloatTag = Tag<float, kHasLmul ? 4 : 1>;
using IntTag = Rebind<int32_t, FloatTag>;

struct Step {
  EpilogueOp op;
  const float* data;  // that of the first element of the tile
  index_t row_stride;
  float p0, p1;
};

inline constexpr int kMostSteps = 8;

// What happens to a tile.
struct Plan {
  const void* sums;  // float or int32_t
  bool from_int;
  index_t sum_stride, rows, cols;
  Step steps[kMostSteps];
  int count = 0;
  void* results;
  DType dtype;
  index_t result_stride;
  // Results are integers, and numbers before they are rounded to those are within the range of int32_t.
  bool in_range = false;
  int32_t zero_point = 0;  // added after that
  const Step* residual = nullptr;

  // Of plans for the whole result; null if there is none.
  const float* residual_at(index_t row, index_t col) const {
    return residual ? residual->data + row * residual->row_stride + col : nullptr;
  }
  index_t residual_stride() const { return residual ? residual->row_stride : 0; }
};

// At least as large as each |x[j]|; NaN if one is.
inline float magnitude(const float* x, index_t n) {
  const FloatTag d;
  auto largest = zero(d), no_number = zero(d);
  for_vectors(d, 0, n, [&]<bool kWhole>(index_t j, size_t count) TESSERA_LAMBDA {
    const auto v = load_part<kWhole>(d, x + j, count);
    largest = max(abs(v), largest);
    no_number = add(no_number, mul(v, zero(d)));
  });
  return reduce_max(d, add(largest, no_number));
}

// False if there is a step that is not light.
template <class From>
bool make_plan(const GemmResult& r, const SumTile<From>& t, Plan& plan) {
  if (r.col_stride != 1 || r.step_count > kMostSteps || r.dtype == DType::kS32) return false;
  plan.sums = t.data;
  plan.from_int = std::is_integral_v<From>;
  plan.sum_stride = t.stride;
  plan.rows = t.rows;
  plan.cols = t.cols;
  plan.dtype = r.dtype;
  plan.results =
      static_cast<std::byte*>(r.data) + (t.row * r.row_stride + t.col) * size_of(r.dtype);
  plan.result_stride = r.row_stride;
  const bool to_int = r.dtype == DType::kS8 || r.dtype == DType::kU8;
  constexpr float kUnknown = std::numeric_limits<float>::infinity();
  float bound = plan.from_int && to_int ? 0x1p31f : kUnknown;  // of the numbers so far
  const auto limited = [&] { return bound < kUnknown; };
  for (int i = 0; i < r.step_count; ++i) {
    const EpilogueStep& s = r.steps[i];
    Step step{s.op, static_cast<const float*>(s.data), 0, static_cast<float>(s.p[0]),
              static_cast<float>(s.p[1])};
    switch (s.op) {
      case EpilogueOp::kAddRow:
      case EpilogueOp::kScaleRow:
        step.row_stride = s.strides[0];
        step.data += t.row * s.strides[0];
        bound = kUnknown;
        break;
      case EpilogueOp::kAddColumn:
      case EpilogueOp::kScaleColumn:
        if (s.strides[0] != 1) return false;
        step.data += t.col;
        if (limited()) {
          const float x = magnitude(step.data, t.cols);
          bound = s.op == EpilogueOp::kAddColumn ? bound + x : bound * x;
        }
        break;
      case EpilogueOp::kResidual:
        if (s.dtype != DType::kF32 || s.strides[1] != 1) return false;
        step.row_stride = s.strides[0];
        step.data += t.row * s.strides[0] + t.col;
        bound = kUnknown;
        break;
      case EpilogueOp::kScale:
        bound *= std::abs(step.p0);
        break;
      case EpilogueOp::kRequantize:
        bound *= std::abs(step.p0);
        if (i + 1 < r.step_count || !(bound < 0x1p30f)) {
          bound = kUnknown;
          break;
        }
        plan.zero_point = static_cast<int32_t>(step.p1);
        if (step.p0 == 1) continue;
        step.op = EpilogueOp::kScale;
        break;
      case EpilogueOp::kRelu:
        break;
      case EpilogueOp::kLeakyRelu:
      case EpilogueOp::kClamp:
        bound = kUnknown;
        break;
      default:
        return false;
    }
    plan.steps[plan.count++] = step;
  }
  plan.in_range = bound < 0x1p30f;
  return true;
}

// Plans steps for the whole result, where all are such that tiles take while their sums are in registers, and these are
// stored as they are. (An activation more costs each instance of a tile compile time.)
inline bool make_plan_for_registers(const GemmResult& r, Plan& plan) {
  if (r.dtype != DType::kF32 || !make_plan(r, SumTile<float>{}, plan)) return false;
  for (int i = 0; i < plan.count; ++i) {
    const Step& s = plan.steps[i];
    if (s.op == EpilogueOp::kResidual) {
      plan.residual = &s;
    } else if (s.op != EpilogueOp::kAddColumn && s.op != EpilogueOp::kRelu &&
               s.op != EpilogueOp::kClamp) {
      return false;
    }
  }
  return true;
}

// One step of n lanes of four rows: those from `row` on, and the last once more where there are fewer. j: the column.
template <bool kWhole, class D, class... V>
TESSERA_INLINE void apply(D d, const Step& s, index_t j, size_t n, const index_t (&row)[kRows],
                          V&... v) {
  [[maybe_unused]] const index_t* i = row;
  switch (s.op) {
    case EpilogueOp::kAddRow:
      ((v = add(v, set(d, s.data[*i++ * s.row_stride]))), ...);
      break;
    case EpilogueOp::kScaleRow:
      ((v = mul(v, set(d, s.data[*i++ * s.row_stride]))), ...);
      break;
    case EpilogueOp::kAddColumn: {
      const auto x = load_part<kWhole>(d, s.data + j, n);
      ((v = add(v, x)), ...);
      break;
    }
    case EpilogueOp::kScaleColumn: {
      const auto x = load_part<kWhole>(d, s.data + j, n);
      ((v = mul(v, x)), ...);
      break;
    }
    case EpilogueOp::kResidual:
      ((v = add(v, load_part<kWhole>(d, s.data + *i++ * s.row_stride + j, n))), ...);
      break;
    case EpilogueOp::kScale:
      ((v = mul_scalar(d, s.p0, v)), ...);
      break;
    case EpilogueOp::kLeakyRelu:
      ((v = select(lt(v, zero(d)), mul_scalar(d, s.p0, v), v)), ...);
      break;
    case EpilogueOp::kClamp: {
      const auto low = set(d, s.p0), high = set(d, s.p1);
      ((v = min(high, max(low, v))), ...);  // in this order NaN passes through both
      break;
    }
    case EpilogueOp::kRequantize: {
      const auto zero_point = set(d, s.p1);
      ((v = add(round(mul_scalar(d, s.p0, v)), zero_point)), ...);
      break;
    }
    default:
      ((v = max(zero(d), v)), ...);
      break;
  }
}

template <class To, bool kInRange, bool kWhole, class D, class... V>
TESSERA_INLINE void store_results(D d, const Plan& plan, index_t j, size_t n,
                                  const index_t (&row)[kRows], const V&... v) {
  const Rebind<To, D> dn;
  const IntTag di;
  To* const to = static_cast<To*>(plan.results) + j;
  const index_t* i = row;
  const auto result = [&](const auto& sums) TESSERA_LAMBDA {
    if constexpr (kInRange) {
      return demote(dn, di, add(to_int_in_range(sums), set(di, plan.zero_point)));
    } else {
      return result_of<To>(d, sums);
    }
  };
  (store_part<kWhole>(dn, result(v), to + *i++ * plan.result_stride, n), ...);
}

// Columns j, j + 1, .. of all rows, n of them.
template <bool kWhole>
void finish_columns(const Plan& plan, index_t j, size_t n) {
  const FloatTag d;
  const auto load_sums = [&](index_t row) TESSERA_LAMBDA {
    const index_t at = row * plan.sum_stride + j;
    if (plan.from_int) {
      return from_int(load_part<kWhole>(IntTag(), static_cast<const int32_t*>(plan.sums) + at, n));
    }
    return load_part<kWhole>(d, static_cast<const float*>(plan.sums) + at, n);
  };
  for (index_t first = 0; first < plan.rows; first += kRows) {
    const index_t last = plan.rows - 1;
    const index_t row[] = {first, std::min(first + 1, last), std::min(first + 2, last),
                           std::min(first + 3, last)};
    auto v0 = load_sums(row[0]), v1 = load_sums(row[1]), v2 = load_sums(row[2]),
         v3 = load_sums(row[3]);
    for (int s = 0; s < plan.count; ++s) {
      apply<kWhole>(d, plan.steps[s], j, n, row, v0, v1, v2, v3);
    }
    const auto store_as = [&]<class To, bool kInRange>() TESSERA_LAMBDA {
      store_results<To, kInRange, kWhole>(d, plan, j, n, row, v0, v1, v2, v3);
    };
    switch (plan.dtype) {
      case DType::kBF16:
        store_as.template operator()<bf16, false>();
        break;
      case DType::kF16:
        store_as.template operator()<f16, false>();
        break;
      case DType::kS8:
        plan.in_range ? store_as.template operator()<int8_t, true>()
                      : store_as.template operator()<int8_t, false>();
        break;
      case DType::kU8:
        plan.in_range ? store_as.template operator()<uint8_t, true>()
                      : store_as.template operator()<uint8_t, false>();
        break;
      default:
        store_as.template operator()<float, false>();
        break;
    }
  }
}

// The sums of a tile, to their place in the result; false, with nothing done, if there is a step that is not light.
template <class From>
bool finish_tile(const GemmResult& r, const SumTile<From>& t) {
  Plan plan;
  if (!make_plan(r, t, plan)) return false;
  for_vectors(FloatTag(), 0, t.cols, [&]<bool kWhole>(index_t j, size_t n) TESSERA_LAMBDA {
    finish_columns<kWhole>(plan, j, n);
  });
  return true;
}

}  // namespace light_epilogue

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_LIGHT_EPILOGUE_INL_H_
