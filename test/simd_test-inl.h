// SPDX-License-Identifier: Apache-2.0
// Fills the tables of simd_test.h for the target that is being compiled.

#if defined(TESSERA_TEST_SIMD_TEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_TEST_SIMD_TEST_INL_H_
#undef TESSERA_TEST_SIMD_TEST_INL_H_
#else
#define TESSERA_TEST_SIMD_TEST_INL_H_
#endif

#include <type_traits>

#include "simd_test.h"
#include "tessera/simd/concept.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET
namespace simd_test {

using namespace ::tessera::simd_test;  // NOLINT: what all targets share

// Each op as a function on arrays. Members of templates, so that their addresses make the tables.
template <class D>
struct Memory {
  using T = Lane<D>;
  static size_t lane_count() { return lanes(D()); }
  static void zeros(T* out) { store(D(), zero(D()), out); }
  static void broadcast(T x, T* out) { store(D(), set(D(), x), out); }
  static void copy(const T* from, T* out) { store(D(), load(D(), from), out); }
  static void load_part(const T* from, size_t n, T* out) { store(D(), load_n(D(), from, n), out); }
  static void store_part(const T* in, T* to, size_t n) { store_n(D(), load(D(), in), to, n); }

  static MemoryTable<T> ops() {
    return {&lane_count, max_lanes(D()), &zeros, &broadcast, &copy, &load_part, &store_part};
  }
};

template <class D>
struct FullMemory {
  using T = Lane<D>;
  static void dup(const T* from, T* out) { store(D(), load_dup(D(), from), out); }
  static void two_at_once(const T* from, T* out) {
    auto a = zero(D()), b = a;
    load_two(D(), from, a, b);
    store(D(), a, out);
    store(D(), b, out + lanes(D()));
  }
  static void stream_out(const T* in, T* to) { stream(D(), load(D(), in), to); }
  static void two(const T* in, T* to) {
    interleave(D(), load(D(), in), load(D(), in + lanes(D())), to);
  }
  static void four(const T* in, T* to) {
    const size_t n = lanes(D());
    interleave(D(), load(D(), in), load(D(), in + n), load(D(), in + 2 * n), load(D(), in + 3 * n),
               to);
  }
  static void transposed(const T* from, size_t from_stride, size_t rows, size_t cols, T* to,
                         size_t to_stride) {
    transpose(D(), from, from_stride, rows, cols, to, to_stride);
  }

  template <int LMUL>
  static FullMemoryTable<T> ops() {
    FullMemoryTable<T> r{&dup, &two_at_once, &stream_out, nullptr, nullptr, &transposed};
    if constexpr (LMUL == 1) {
      r.interleave2 = &two;
      r.interleave4 = &four;
    }
    return r;
  }
};

// An expression of vectors a, b, c as a type, for map().
#define TESSERA_TEST_MAP(Name, expression)                                                      \
  struct Name {                                                                                 \
    template <class D>                                                                          \
    static TESSERA_INLINE Vec<D> apply([[maybe_unused]] D d, [[maybe_unused]] const Lane<D>* x, \
                                       [[maybe_unused]] Vec<D> a, [[maybe_unused]] Vec<D> b,    \
                                       [[maybe_unused]] Vec<D> c) {                             \
      return expression;                                                                        \
    }                                                                                           \
  };
TESSERA_TEST_MAP(Add, add(a, b))
TESSERA_TEST_MAP(Sub, sub(a, b))
TESSERA_TEST_MAP(Mul, mul(a, b))
TESSERA_TEST_MAP(Div, div(a, b))
TESSERA_TEST_MAP(Min, min(a, b))
TESSERA_TEST_MAP(Max, max(a, b))
TESSERA_TEST_MAP(Neg, neg(a))
TESSERA_TEST_MAP(Abs, abs(a))
TESSERA_TEST_MAP(MulAdd, mul_add(a, b, c))
TESSERA_TEST_MAP(NegMulAdd, neg_mul_add(a, b, c))
TESSERA_TEST_MAP(MulAddScalar, mul_add_scalar(d, *x, b, c))
TESSERA_TEST_MAP(MulScalar, mul_scalar(d, *x, b))
TESSERA_TEST_MAP(MulThenAdd, add(mul(a, b), c))
TESSERA_TEST_MAP(MulThenSub, sub(c, mul(a, b)))
TESSERA_TEST_MAP(Sqrt, sqrt(a))
TESSERA_TEST_MAP(RcpApprox, rcp_approx(a))
TESSERA_TEST_MAP(Round, round(a))
TESSERA_TEST_MAP(SelectLt, select(lt(a, b), c, a))
TESSERA_TEST_MAP(SelectEq, select(eq(a, b), c, a))
TESSERA_TEST_MAP(BitAnd, bit_and(a, b))
TESSERA_TEST_MAP(BitOr, bit_or(a, b))
#undef TESSERA_TEST_MAP

template <int kBits>
struct Shift {
  template <class D>
  static TESSERA_INLINE Vec<D> apply(D, const Lane<D>*, Vec<D> a, Vec<D> b, Vec<D>) {
    return bit_or(shl<kBits>(a), shr<kBits>(b));
  }
};

template <class Op, class D>
void map(const Lane<D>* a, const Lane<D>* b, const Lane<D>* c, Lane<D>* out, size_t n) {
  const D d;
  for (size_t i = 0; i < n; i += lanes(d)) {
    store(d, Op::apply(d, a + i, load(d, a + i), load(d, b + i), load(d, c + i)), out + i);
  }
}

template <class D>
void first(size_t n, Lane<D>* out) {
  const D d;
  store(d, select(first_n(d, n), set(d, Lane<D>{1}), zero(d)), out);
}

template <class D>
bool any_equal(const Lane<D>* a, const Lane<D>* b) {
  const D d;
  return any(d, eq(load(d, a), load(d, b)));
}

template <class D>
LaneTable<Lane<D>> lane_ops() {
  using T = Lane<D>;
  LaneTable<T> r{};
  r.add = &map<Add, D>;
  r.sub = &map<Sub, D>;
  if constexpr (sizeof(T) > 1) r.mul = &map<Mul, D>;
  r.min = &map<Min, D>;
  r.max = &map<Max, D>;
  if constexpr (std::is_signed_v<T>) {
    r.neg = &map<Neg, D>;
    r.abs = &map<Abs, D>;
  }
  r.select_lt = &map<SelectLt, D>;
  r.select_eq = &map<SelectEq, D>;
  r.first_n = &first<D>;
  r.any = &any_equal<D>;
  r.bit_and = &map<BitAnd, D>;
  r.bit_or = &map<BitOr, D>;
  if constexpr (std::is_integral_v<T>) {
    r.shift0 = &map<Shift<0>, D>;
    r.shift1 = &map<Shift<1>, D>;
    r.shift4 = &map<Shift<4>, D>;
    r.shift_most = &map<Shift<8 * sizeof(T) - 1>, D>;
  } else {
    r.div = &map<Div, D>;
    r.mul_add = &map<MulAdd, D>;
    r.neg_mul_add = &map<NegMulAdd, D>;
    r.mul_add_scalar = &map<MulAddScalar, D>;
    r.mul_scalar = &map<MulScalar, D>;
    r.mul_then_add = &map<MulThenAdd, D>;
    r.mul_then_sub = &map<MulThenSub, D>;
    r.sqrt = &map<Sqrt, D>;
    r.round = &map<Round, D>;
    if constexpr (sizeof(T) == 4) r.rcp_approx = &map<RcpApprox, D>;
  }
  return r;
}

template <class D>
struct Reduce {
  using T = Lane<D>;
  static T sum(const T* in) { return reduce_add(D(), load(D(), in)); }
  static T most(const T* in) { return reduce_max(D(), load(D(), in)); }
};

template <class T, int LMUL>
TagTable<T> tag_ops() {
  using D = Tag<T, LMUL>;
  TagTable<T> r{};
  r.memory = Memory<D>::ops();
  r.full = FullMemory<D>::template ops<LMUL>();
  if constexpr (std::is_arithmetic_v<T>) r.lane = lane_ops<D>();
  if constexpr (std::is_arithmetic_v<T> && sizeof(T) >= 4) {
    r.reduce = {&Reduce<D>::sum, &Reduce<D>::most};
  }
  return r;
}

template <class N, class D>
struct Convert {
  using DN = Rebind<N, D>;
  using W = Lane<D>;
  static void up(const N* in, W* out) { store(D(), promote(D(), DN(), load(DN(), in)), out); }
  static void down(const W* in, N* out) { store(DN(), demote(DN(), D(), load(D(), in)), out); }

  static ConvertTable<N, W> ops() {
    ConvertTable<N, W> r{Memory<DN>::ops(), &up, nullptr};
    if constexpr (std::is_signed_v<W>) r.demote = &down;
    return r;
  }
};

template <class To, class D>
void cast(const Lane<D>* in, To* out) {
  const Repartition<To, D> to;
  store(to, bit_cast(to, load(D(), in)), out);
}

template <int LMUL>
struct Mixed {
  using F = Tag<float, LMUL>;
  using I = Tag<int32_t, LMUL>;

  static void round_to_int(const float* in, int32_t* out) {
    store(I(), to_int(load(F(), in)), out);
  }
  static void in_range_to_int(const float* in, int32_t* out) {
    store(I(), to_int_in_range(load(F(), in)), out);
  }
  static void away(const float* in, int8_t* out) {
    const Rebind<int8_t, F> dn;
    store(dn, round_away(dn, F(), load(F(), in)), out);
  }
  static void float_of(const int32_t* in, float* out) { store(F(), from_int(load(I(), in)), out); }

  template <class A>
  static void dot4(const A* a, const int8_t* b, const int32_t* c, int32_t* out) {
    const Repartition<A, I> da;
    const Repartition<int8_t, I> db;
    store(I(), dot4_i8(I(), load(da, a), load(db, b), load(I(), c)), out);
  }
  template <class A>
  static void dot2_bytes(const A* a, const int8_t* b, int16_t* out) {
    const Repartition<A, I> da;
    const Repartition<int8_t, I> db;
    const Repartition<int16_t, I> d;
    store(d, dot2_i8(d, load(da, a), load(db, b)), out);
  }
  static void dot2_s16(const int16_t* a, const int16_t* b, const int32_t* c, int32_t* out) {
    const Repartition<int16_t, I> d;
    store(I(), dot2_i16(I(), load(d, a), load(d, b), load(I(), c)), out);
  }
  template <class D>
  static void wide_ops(HalfLane<D> a, const HalfLane<D>* b, const Lane<D>* c, Lane<D>* product,
                       Lane<D>* product_sum, Lane<D>* sum) {
    const auto narrow = load(Rebind<HalfLane<D>, D>(), b);
    store(D(), mul_scalar_wide(D(), a, narrow), product);
    store(D(), mul_add_scalar_wide(D(), a, narrow, load(D(), c)), product_sum);
    store(D(), add_wide(D(), narrow, load(D(), c)), sum);
  }
  static void dot2(const bf16* a, const bf16* b, const float* c, float* out) {
    const Repartition<bf16, F> db;
    store(F(), dot2_bf16(F(), load(db, a), load(db, b), load(F(), c)), out);
  }
  template <class T>
  static void look_up(const T* table, const T* index, T* out) {
    const Tag<T, LMUL> d;
    store(d, table16(load_table16(d, table), load(d, index)), out);
  }

  static MixedTable ops() {
    using S16 = Tag<int16_t, LMUL>;
    using U16 = Tag<uint16_t, LMUL>;
    using U32 = Tag<uint32_t, LMUL>;
    using F64 = Tag<double, LMUL>;
    MixedTable r{};
    r.lanes = &Memory<F>::lane_count;
    r.to_int = &round_to_int;
    r.to_int_in_range = &in_range_to_int;
    r.round_away = &away;
    r.from_int = &float_of;
    r.dot4_s8 = &dot4<int8_t>;
    r.dot4_u8 = &dot4<uint8_t>;
    r.dot2_s8 = &dot2_bytes<int8_t>;
    r.dot2_u8 = &dot2_bytes<uint8_t>;
    r.dot2_i16 = &dot2_s16;
    r.wide_s32 = &wide_ops<I>;
    r.wide_s16 = &wide_ops<S16>;
    r.dot2_bf16 = &dot2;
    r.table16_s8 = &look_up<int8_t>;
    r.table16_u8 = &look_up<uint8_t>;
    r.bf16_f32 = Convert<bf16, F>::ops();
    r.f16_f32 = Convert<f16, F>::ops();
    r.f32_f64 = Convert<float, F64>::ops();
    r.s16_s32 = Convert<int16_t, I>::ops();
    r.u16_s32 = Convert<uint16_t, I>::ops();
    r.s8_s32 = Convert<int8_t, I>::ops();
    r.u8_s32 = Convert<uint8_t, I>::ops();
    r.s8_s16 = Convert<int8_t, S16>::ops();
    r.u8_s16 = Convert<uint8_t, S16>::ops();
    r.u16_u32 = Convert<uint16_t, U32>::ops();
    r.u8_u32 = Convert<uint8_t, U32>::ops();
    r.u8_u16 = Convert<uint8_t, U16>::ops();
    r.cast_f32_u32 = &cast<uint32_t, F>;
    r.cast_s32_f32 = &cast<float, I>;
    r.cast_f64_s32 = &cast<int32_t, F64>;
    r.cast_bf16_u32 = &cast<uint32_t, Tag<bf16, LMUL>>;
    r.cast_u8_s16 = &cast<int16_t, Tag<uint8_t, LMUL>>;
    return r;
  }
};

inline float accumulate() {
  const Tag<float> d;
  return with_accumulators<7>(d, [d](auto&... acc) TESSERA_LAMBDA {
    static_assert(sizeof...(acc) == 7);
    float weight = 1;
    ((acc = add(acc, set(d, weight)), weight *= 2), ...);
    float sum = 0;
    weight = 1;
    ((sum += weight * reduce_max(d, acc), weight *= 2), ...);
    return sum;
  });
}

template <int LMUL>
void add_tags(TargetTable& t) {
  t.f32.push_back(tag_ops<float, LMUL>());
  t.f64.push_back(tag_ops<double, LMUL>());
  t.s32.push_back(tag_ops<int32_t, LMUL>());
  t.u32.push_back(tag_ops<uint32_t, LMUL>());
  t.s16.push_back(tag_ops<int16_t, LMUL>());
  t.u16.push_back(tag_ops<uint16_t, LMUL>());
  t.s8.push_back(tag_ops<int8_t, LMUL>());
  t.u8.push_back(tag_ops<uint8_t, LMUL>());
  t.bf16s.push_back(tag_ops<bf16, LMUL>());
  t.f16s.push_back(tag_ops<f16, LMUL>());
  t.mixed.push_back(Mixed<LMUL>::ops());
  if constexpr (kHasLmul && LMUL < 8) add_tags<2 * LMUL>(t);
}

inline TargetTable target_ops() {
  TargetTable t{};
  t.has_fma = kHasFma;
  t.accumulate = &accumulate;
  add_tags<1>(t);
  return t;
}

#if TESSERA_BACKEND_SCALAR || TESSERA_BACKEND_XSIMD
inline constexpr int64_t kHighwayTarget = 0;
#else
inline constexpr int64_t kHighwayTarget = HWY_TARGET;
#endif

inline const bool kRegistered = test::register_target(kTarget, kHighwayTarget, &target_ops);

}  // namespace simd_test
TESSERA_END_TARGET

#endif  // TESSERA_TEST_SIMD_TEST_INL_H_
