// SPDX-License-Identifier: Apache-2.0
// Fills the tables of math_test.h for the target that is being compiled.

#if defined(TESSERA_TEST_MATH_TEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_TEST_MATH_TEST_INL_H_
#undef TESSERA_TEST_MATH_TEST_INL_H_
#else
#define TESSERA_TEST_MATH_TEST_INL_H_
#endif

#include "math_test.h"
#include "tessera/kernels/math-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET
namespace math_test {

using namespace ::tessera::math_test;  // NOLINT: what all targets share

// A function as a type, for map().
#define TESSERA_TEST_FUNCTION(Name, f)                  \
  struct Name {                                         \
    template <class D>                                  \
    static TESSERA_INLINE Vec<D> apply(D d, Vec<D> x) { \
      return TESSERA_NAMESPACE::f(d, x);                \
    }                                                   \
  };
TESSERA_TEST_FUNCTION(Exp, exp)
TESSERA_TEST_FUNCTION(Log, log)
TESSERA_TEST_FUNCTION(Tanh, tanh)
TESSERA_TEST_FUNCTION(Erf, erf)
TESSERA_TEST_FUNCTION(Sigmoid, sigmoid)
TESSERA_TEST_FUNCTION(Gelu, gelu)
TESSERA_TEST_FUNCTION(GeluTanh, gelu_tanh)
TESSERA_TEST_FUNCTION(Silu, silu)
TESSERA_TEST_FUNCTION(HardSwish, hard_swish)
TESSERA_TEST_FUNCTION(Sin, sin)
TESSERA_TEST_FUNCTION(Cos, cos)
TESSERA_TEST_FUNCTION(Rsqrt, rsqrt)
// Of the numbers that it takes.
struct Exp2Normal {
  template <class D>
  static TESSERA_INLINE Vec<D> apply(D d, Vec<D> x) {
    return TESSERA_NAMESPACE::exp2_normal(d, min(set(d, 127.0f), x), 1.0f, -127.0f);
  }
};
#undef TESSERA_TEST_FUNCTION

template <class F, class D>
void map(const float* in, float* out, size_t n) {
  const D d;
  const size_t step = lanes(d);
  size_t i = 0;
  for (; i + step <= n; i += step) store(d, F::apply(d, load(d, in + i)), out + i);
  if (i < n) store_n(d, F::apply(d, load_n(d, in + i, n - i)), out + i, n - i);
}

template <int LMUL>
void add_tags(TagTables& tags) {
  using D = Tag<float, LMUL>;
  tags.push_back({LMUL,
                  {&map<Exp, D>, &map<Log, D>, &map<Tanh, D>, &map<Erf, D>, &map<Sigmoid, D>,
                   &map<Gelu, D>, &map<GeluTanh, D>, &map<Silu, D>, &map<HardSwish, D>,
                   &map<Exp2Normal, D>, &map<Sin, D>, &map<Cos, D>, &map<Rsqrt, D>}});
  if constexpr (kHasLmul && LMUL < 8) add_tags<2 * LMUL>(tags);
}

inline TagTables all_tags() {
  TagTables tags;
  add_tags<1>(tags);
  return tags;
}

#if TESSERA_BACKEND_SCALAR || TESSERA_BACKEND_XSIMD
inline constexpr int64_t kHighwayTarget = 0;
#else
inline constexpr int64_t kHighwayTarget = HWY_TARGET;
#endif

inline const bool kRegistered = test::register_target(kTarget, kHighwayTarget, &all_tags);

}  // namespace math_test
TESSERA_END_TARGET

#endif  // TESSERA_TEST_MATH_TEST_INL_H_
