// SPDX-License-Identifier: Apache-2.0
// The SIMD vocabulary of one target as plain functions on arrays, so that simd_test.cc can check
// all targets with the same code. simd_test-inl.h fills these tables, once per target.
#ifndef TESSERA_TEST_SIMD_TEST_H_
#define TESSERA_TEST_SIMD_TEST_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "registered_targets.h"
#include "tessera/core/dtype.h"

namespace tessera::simd_test {

// What every tag has, also the narrow ones of Rebind. `out` is one vector.
template <class T>
struct MemoryTable {
  size_t (*lanes)();
  size_t max_lanes;
  void (*zero)(T* out);
  void (*set)(T x, T* out);
  void (*load_store)(const T* from, T* out);
  void (*load_n)(const T* from, size_t n, T* out);
  void (*store_n)(const T* in, T* to, size_t n);
};

// What full vectors of every type have. `in` is as many vectors as the op takes.
template <class T>
struct FullMemoryTable {
  void (*load_dup)(const T* from, T* out);
  void (*load_two)(const T* from, T* out);
  void (*stream)(const T* in, T* to);
  void (*interleave2)(const T* in, T* to);
  void (*interleave4)(const T* in, T* to);
  void (*transpose)(const T* from, size_t from_stride, size_t rows, size_t cols, T* to,
                    size_t to_stride);
};

// out[i] = op(a[i], b[i], c[i]) for i < n, rounded up to whole vectors.
template <class T>
using Map = void (*)(const T* a, const T* b, const T* c, T* out, size_t n);

// Ops within a lane. Null where the type does not have one.
template <class T>
struct LaneTable {
  Map<T> add, sub, mul, div, min, max, neg, abs;
  Map<T> mul_add, neg_mul_add, mul_add_scalar, mul_scalar;  // the last two: a[i] of the first lane
  Map<T> mul_then_add, mul_then_sub;                        // c + a * b, c - a * b, rounded twice
  Map<T> sqrt, rcp_approx, round;
  Map<T> select_lt, select_eq;  // a < b ? c : a, a == b ? c : a
  Map<T> bit_and, bit_or;
  Map<T> shift0, shift1, shift4, shift_most;  // (a << k) | (b >> k)
  void (*first_n)(size_t n, T* out);          // 1 in lanes where true, 0 elsewhere
  bool (*any)(const T* a, const T* b);        // of a == b
};

// Ops across lanes.
template <class T>
struct ReduceTable {
  T (*reduce_add)(const T* in);
  T (*reduce_max)(const T* in);
};

// Everything about one tag.
template <class T>
struct TagTable {
  MemoryTable<T> memory;
  FullMemoryTable<T> full;
  LaneTable<T> lane;
  ReduceTable<T> reduce;
};

// Between wide lanes W and as many narrow lanes N. demote is null where W is unsigned.
template <class N, class W>
struct ConvertTable {
  MemoryTable<N> narrow;
  void (*promote)(const N* in, W* out);
  void (*demote)(const W* in, N* out);
};

// Ops of one LMUL whose operands differ in type.
struct MixedTable {
  size_t (*lanes)();  // of 32 bits
  void (*to_int)(const float* in, int32_t* out);
  void (*to_int_in_range)(const float* in, int32_t* out);
  void (*round_away)(const float* in, int8_t* out);
  void (*from_int)(const int32_t* in, float* out);
  void (*dot4_s8)(const int8_t* a, const int8_t* b, const int32_t* c, int32_t* out);
  void (*dot4_u8)(const uint8_t* a, const int8_t* b, const int32_t* c, int32_t* out);
  void (*dot2_s8)(const int8_t* a, const int8_t* b, int16_t* out);
  void (*dot2_u8)(const uint8_t* a, const int8_t* b, int16_t* out);
  void (*dot2_i16)(const int16_t* a, const int16_t* b, const int32_t* c, int32_t* out);
  // mul_scalar_wide, mul_add_scalar_wide, add_wide
  void (*wide_s32)(int16_t a, const int16_t* b, const int32_t* c, int32_t* product,
                   int32_t* product_sum, int32_t* sum);
  void (*wide_s16)(int8_t a, const int8_t* b, const int16_t* c, int16_t* product,
                   int16_t* product_sum, int16_t* sum);
  void (*dot2_bf16)(const bf16* a, const bf16* b, const float* c, float* out);
  void (*table16_s8)(const int8_t* table, const int8_t* index, int8_t* out);
  void (*table16_u8)(const uint8_t* table, const uint8_t* index, uint8_t* out);

  ConvertTable<bf16, float> bf16_f32;
  ConvertTable<f16, float> f16_f32;
  ConvertTable<float, double> f32_f64;
  ConvertTable<int16_t, int32_t> s16_s32;
  ConvertTable<uint16_t, int32_t> u16_s32;
  ConvertTable<int8_t, int32_t> s8_s32;
  ConvertTable<uint8_t, int32_t> u8_s32;
  ConvertTable<int8_t, int16_t> s8_s16;
  ConvertTable<uint8_t, int16_t> u8_s16;
  ConvertTable<uint16_t, uint32_t> u16_u32;
  ConvertTable<uint8_t, uint32_t> u8_u32;
  ConvertTable<uint8_t, uint16_t> u8_u16;

  // Copies one vector through bit_cast.
  void (*cast_f32_u32)(const float* in, uint32_t* out);
  void (*cast_s32_f32)(const int32_t* in, float* out);
  void (*cast_f64_s32)(const double* in, int32_t* out);
  void (*cast_bf16_u32)(const bf16* in, uint32_t* out);
  void (*cast_u8_s16)(const uint8_t* in, int16_t* out);
};

// One target. Vectors have an entry per LMUL: 1, and where the target has groups 2, 4, 8.
struct TargetTable {
  bool has_fma;
  std::vector<TagTable<float>> f32;
  std::vector<TagTable<double>> f64;
  std::vector<TagTable<int32_t>> s32;
  std::vector<TagTable<uint32_t>> u32;
  std::vector<TagTable<int16_t>> s16;
  std::vector<TagTable<uint16_t>> u16;
  std::vector<TagTable<int8_t>> s8;
  std::vector<TagTable<uint8_t>> u8;
  std::vector<TagTable<bf16>> bf16s;
  std::vector<TagTable<f16>> f16s;
  std::vector<MixedTable> mixed;
  float (*accumulate)();  // sum over i < 7 of 2^i * (the i-th accumulator, 2^i)
};

}  // namespace tessera::simd_test

#endif  // TESSERA_TEST_SIMD_TEST_H_
