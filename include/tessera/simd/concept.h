// SPDX-License-Identifier: Apache-2.0

// The SIMD vocabulary: every op, what it means, and the check that a backend has it.
//
// All ops are free functions in the namespace of the target. D is a tag (a value without state),
// Vec<D> a vector with lanes(d) lanes of type Lane<D>, Mask<D> a truth value per lane. Vectors may
// have no size known to the compiler: they can be variables, parameters and results, nothing else.
//
//   Tag<T, LMUL = 1>    T in one register; where kHasLmul, in a group of LMUL registers
//   Rebind<T, D>        lanes of T, as many as D has; T is not wider than Lane<D>. Where it is
//                       narrower, the vectors have only the ops of MemoryOps and conversions
//   Repartition<T, D>   lanes of T in as many bytes as D has
//
// Every op gives the same bits on every backend and target, with three exceptions: rcp_approx, the
// sign and payload of a NaN that arithmetic makes, and mul_add with its relatives where kHasFma is
// false. So semantics follow what all instruction sets can do cheaply, not IEEE names: see min.
//
// An op enters the vocabulary with all three backends, a line here, and a test against the scalar
// backend in simd_test.cc.

#if defined(TESSERA_SIMD_CONCEPT_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_SIMD_CONCEPT_H_
#undef TESSERA_SIMD_CONCEPT_H_
#else
#define TESSERA_SIMD_CONCEPT_H_
#endif

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "tessera/core/dtype.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// A vector of D, for unevaluated operands.
template <class D>
Vec<D>&& a_vec();
template <class D>
Mask<D>&& a_mask();

// Every element type, and the narrow vectors made by Rebind: what memory and conversions need.
template <class D>
concept MemoryOps = requires(D d, Lane<D> x, const Lane<D>* from, Lane<D>* to, size_t n) {
  // The number of lanes: a power of two >= 2 except on scalar3 and scalar5; on RVV and SVE known
  // only at run time, and then a property of the running thread's core. max_lanes is its bound.
  { lanes(d) } -> std::same_as<size_t>;
  { max_lanes(d) } -> std::same_as<size_t>;
  { zero(d) } -> std::same_as<Vec<D>>;
  { set(d, x) } -> std::same_as<Vec<D>>;
  // Memory ops need the alignment of the lane only.
  { load(d, from) } -> std::same_as<Vec<D>>;
  // The first min(n, lanes) lanes; the others are zero. Touches no memory behind them.
  { load_n(d, from, n) } -> std::same_as<Vec<D>>;
  { store(d, a_vec<D>(), to) } -> std::same_as<void>;
  { store_n(d, a_vec<D>(), to, n) } -> std::same_as<void>;
};

// Full vectors of every type.
template <class D>
concept FullMemoryOps = MemoryOps<D> && requires(D d, const Lane<D>* from, Lane<D>* to, size_t n) {
  // a = load(d, from), b = load(d, from + lanes(d)).
  { load_two(d, from, std::declval<Vec<D>&>(), std::declval<Vec<D>&>()) } -> std::same_as<void>;
  // *from in every lane.
  { load_dup(d, from) } -> std::same_as<Vec<D>>;
  // A store that bypasses the caches where that exists. `to` must be aligned to the bytes of the
  // vector, or to 64 if that is less. Before another thread reads, the storing thread must execute
  // std::atomic_thread_fence(std::memory_order_seq_cst).
  { stream(d, a_vec<D>(), to) } -> std::same_as<void>;
  // to[2 i] = a[i], to[2 i + 1] = b[i]. With four vectors, to[4 i + k] = lane i of vector k.
  // LMUL must be 1.
  { interleave(d, a_vec<D>(), a_vec<D>(), to) } -> std::same_as<void>;
  { interleave(d, a_vec<D>(), a_vec<D>(), a_vec<D>(), a_vec<D>(), to) } -> std::same_as<void>;
  // to[j * to_stride + i] = from[i * from_stride + j] for all i < rows, j < cols, from memory to
  // memory: from is [rows, cols], to is [cols, rows]. They must not overlap. Any rows and cols; the
  // fast case is 4 and 8 byte lanes. Strides in elements.
  { transpose(d, from, n, n, n, to, n) } -> std::same_as<void>;
};

// Integers of 8, 16 and 32 bits, f32, f64.
template <class D>
concept ArithmeticOps = requires(D d, size_t n) {
  // Integers wrap. Floating point rounds to nearest even after each op, also when the compiler sees
  // an addition behind a product.
  { add(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  { sub(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  // a < b ? a : b and a > b ? a : b. So if one is NaN, or both are zeros, the result is b.
  // max(lo, x) keeps the NaN of x; max(x, lo) turns it into lo.
  { min(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  { max(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  // Comparisons with a NaN are false; -0 equals +0.
  { lt(a_vec<D>(), a_vec<D>()) } -> std::same_as<Mask<D>>;
  { eq(a_vec<D>(), a_vec<D>()) } -> std::same_as<Mask<D>>;
  // mask ? a : b
  { select(a_mask<D>(), a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  // True if a lane is.
  { any(d, a_mask<D>()) } -> std::same_as<bool>;
  // True in lanes below n, for any n.
  { first_n(d, n) } -> std::same_as<Mask<D>>;
  // Of the bits, also of floating point.
  { bit_and(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  { bit_or(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  // The same bits as other lanes; D of as many bytes as the vector.
  { bit_cast(d, a_vec<D>()) } -> std::same_as<Vec<D>>;
};

// Signed integers and floating point.
template <class D>
concept SignedOps = requires {
  // Integers: the smallest stays itself. Floating point: only the sign bit changes, also of NaN, 0.
  { neg(a_vec<D>()) } -> std::same_as<Vec<D>>;
  { abs(a_vec<D>()) } -> std::same_as<Vec<D>>;
};

// 16 and 32 bit integers, f32, f64. Integers keep the lower half of the product.
template <class D>
concept MultiplyOps = requires {
  { mul(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
};

// Integers. The count is a constant, 0 <= count < bits; shr keeps the sign of signed lanes.
template <class D>
concept ShiftOps = requires {
  { shl<1>(a_vec<D>()) } -> std::same_as<Vec<D>>;
  { shr<1>(a_vec<D>()) } -> std::same_as<Vec<D>>;
};

// f32, f64, s32, u32.
template <class D>
concept ReduceOps = requires(D d) {
  // The sum, as a tree of halves: lane i += lane i + h for h = 4, 2, 1 (8 lanes); with 3 or 5 lanes
  // as if there were 4 or 8 and additions with the missing ones left out. Kernels whose bits must
  // not depend on the vector length keep 32 virtual lanes in several vectors (in part of a longer
  // one, beside -0), add those by the same halves, and end with this op.
  { reduce_add(d, a_vec<D>()) } -> std::same_as<Lane<D>>;
  // NaN if any lane is NaN; never -0.
  { reduce_max(d, a_vec<D>()) } -> std::same_as<Lane<D>>;
};

// f32, f64.
template <class D>
concept FloatOps = requires(D d, Lane<D> x) {
  { div(a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  { sqrt(a_vec<D>()) } -> std::same_as<Vec<D>>;
  // a * b + c, -a * b + c, rounded once where kHasFma.
  { mul_add(a_vec<D>(), a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  { neg_mul_add(a_vec<D>(), a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  // x * b
  { mul_scalar(d, x, a_vec<D>()) } -> std::same_as<Vec<D>>;
  // x * b + c: the inner loop of an outer product. One instruction and no vector for x on RVV.
  { mul_add_scalar(d, x, a_vec<D>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  // To an integer, ties to even; keeps NaN, infinity and the sign of zero.
  { round(a_vec<D>()) } -> std::same_as<Vec<D>>;
};

// f32.
template <class D>
concept Float32Ops = requires(D d, Rebind<int32_t, D> di) {
  // 1 / x with a relative error of at most 2^-7, where both are normal numbers. Other bits on each
  // machine: for kernels that ask for speed over reproducibility.
  { rcp_approx(a_vec<D>()) } -> std::same_as<Vec<D>>;
  // To the nearest integer, ties to even. Saturates; NaN gives 0.
  { to_int(a_vec<D>()) } -> std::same_as<Vec<Rebind<int32_t, D>>>;
  // The same for numbers within (-2^31, 2^31); others and NaN give any value.
  // Why not a conversion that truncates: qemu 7.2 aborts where it translates vfcvt.rtz twice in a row.
  { to_int_in_range(a_vec<D>()) } -> std::same_as<Vec<Rebind<int32_t, D>>>;
  // To the nearest integer, ties away from zero, for numbers within (-127.5, 127.5); others and NaN
  // give any value.
  { round_away(Rebind<int8_t, D>(), d, a_vec<D>()) } -> std::same_as<Vec<Rebind<int8_t, D>>>;
  // To the nearest float, ties to even.
  { from_int(a_vec<Rebind<int32_t, D>>()) } -> std::same_as<Vec<D>>;
  // c[i] + a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1] as two mul_add, in this order.
  {
    dot2_bf16(d, a_vec<Repartition<bf16, D>>(), a_vec<Repartition<bf16, D>>(), a_vec<D>())
  } -> std::same_as<Vec<D>>;
};

// s32: c[i] + the sum of a[4 i + k] * b[4 i + k] over k < 4. a is s8 or u8, b is s8. The products
// and their sum are exact for all values; the addition to c wraps.
template <class D>
concept DotOps = requires(D d) {
  {
    dot4_i8(d, a_vec<Repartition<int8_t, D>>(), a_vec<Repartition<int8_t, D>>(), a_vec<D>())
  } -> std::same_as<Vec<D>>;
  {
    dot4_i8(d, a_vec<Repartition<uint8_t, D>>(), a_vec<Repartition<int8_t, D>>(), a_vec<D>())
  } -> std::same_as<Vec<D>>;
  // s16: a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1], of a as s8 or as u8 of at most 127, and b of at least -127, so that the
  // sum fits. Quick on x86.
  {
    dot2_i8(Repartition<int16_t, D>(), a_vec<Repartition<int8_t, D>>(),
            a_vec<Repartition<int8_t, D>>())
  } -> std::same_as<Vec<Repartition<int16_t, D>>>;
  {
    dot2_i8(Repartition<int16_t, D>(), a_vec<Repartition<uint8_t, D>>(),
            a_vec<Repartition<int8_t, D>>())
  } -> std::same_as<Vec<Repartition<int16_t, D>>>;
  // c[i] + a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1] of s16. Products are exact, sums wrap.
  {
    dot2_i16(d, a_vec<Repartition<int16_t, D>>(), a_vec<Repartition<int16_t, D>>(), a_vec<D>())
  } -> std::same_as<Vec<D>>;
};

// s32, s16, with N of half as many bits. One instruction each on RVV.
template <class D, class N>
concept WideOps = requires(D d, N x) {
  // x * b, exact, and c + x * b, where the sum wraps.
  { mul_scalar_wide(d, x, a_vec<Rebind<N, D>>()) } -> std::same_as<Vec<D>>;
  { mul_add_scalar_wide(d, x, a_vec<Rebind<N, D>>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
  // a + b of a narrow a, wraps.
  { add_wide(d, a_vec<Rebind<N, D>>(), a_vec<D>()) } -> std::same_as<Vec<D>>;
};

// s8, u8. Lookup in 16 entries, index 0..15 in each lane; other indices give any value.
template <class D>
concept TableOps = requires(D d, const Lane<D>* from) {
  // Loads the 16 entries. The result is only for table16.
  load_table16(d, from);
  { table16(load_table16(d, from), a_vec<D>()) } -> std::same_as<Vec<D>>;
};

// Widening, exact: u8 and s8 to 16 and 32 bits, u16 and s16 to 32 bits (unsigned also to signed),
// bf16 and f16 to f32, f32 to f64.
template <class D, class T>
concept PromoteOps = requires(D d, Rebind<T, D> dn) {
  { promote(d, dn, a_vec<Rebind<T, D>>()) } -> std::same_as<Vec<D>>;
};

// Narrowing: s32 to 16 and 8 bits, s16 to 8 bits, signed or unsigned, saturates. f64 to f32, f32 to
// bf16 and f16 rounds to nearest even, with infinity, subnormals and quiet NaN as in core/dtype.h.
template <class D, class T>
concept DemoteOps = requires(D d, Rebind<T, D> dn) {
  { demote(dn, d, a_vec<D>()) } -> std::same_as<Vec<Rebind<T, D>>>;
};

// The vocabulary, type by type.
template <class D>
concept IntegerVocabulary = FullMemoryOps<D> && ArithmeticOps<D> && ShiftOps<D>;
template <class D>
concept FloatVocabulary = FullMemoryOps<D> && ArithmeticOps<D> && SignedOps<D> && MultiplyOps<D> &&
                          FloatOps<D> && ReduceOps<D>;
template <class D, class... Narrow>
concept Converts =
    ((PromoteOps<D, Narrow> && DemoteOps<D, Narrow> && MemoryOps<Rebind<Narrow, D>>) && ...);

static_assert(FloatVocabulary<Tag<float>> && Float32Ops<Tag<float>>);
static_assert(Converts<Tag<float>, bf16, f16>);
static_assert(FloatVocabulary<Tag<double>> && Converts<Tag<double>, float>);
static_assert(IntegerVocabulary<Tag<int32_t>> && SignedOps<Tag<int32_t>>);
static_assert(MultiplyOps<Tag<int32_t>> && ReduceOps<Tag<int32_t>> && DotOps<Tag<int32_t>>);
static_assert(Converts<Tag<int32_t>, int16_t, uint16_t, int8_t, uint8_t>);
static_assert(IntegerVocabulary<Tag<uint32_t>> && MultiplyOps<Tag<uint32_t>>);
static_assert(ReduceOps<Tag<uint32_t>>);
static_assert(PromoteOps<Tag<uint32_t>, uint16_t> && PromoteOps<Tag<uint32_t>, uint8_t>);
static_assert(IntegerVocabulary<Tag<int16_t>> && SignedOps<Tag<int16_t>>);
static_assert(WideOps<Tag<int32_t>, int16_t> && WideOps<Tag<int16_t>, int8_t>);
static_assert(MultiplyOps<Tag<int16_t>> && Converts<Tag<int16_t>, int8_t, uint8_t>);
static_assert(IntegerVocabulary<Tag<uint16_t>> && MultiplyOps<Tag<uint16_t>>);
static_assert(PromoteOps<Tag<uint16_t>, uint8_t>);
static_assert(IntegerVocabulary<Tag<int8_t>> && SignedOps<Tag<int8_t>> && TableOps<Tag<int8_t>>);
static_assert(IntegerVocabulary<Tag<uint8_t>> && TableOps<Tag<uint8_t>>);
static_assert(FullMemoryOps<Tag<bf16>> && FullMemoryOps<Tag<f16>>);

TESSERA_END_TARGET

#endif  // TESSERA_SIMD_CONCEPT_H_
