// SPDX-License-Identifier: Apache-2.0

// Rows of one element type as rows of another, which holds all its values: what packing and the tiles
// of results do to memory of the user.

#if defined(TESSERA_KERNELS_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_CONVERT_INL_H_
#undef TESSERA_KERNELS_CONVERT_INL_H_
#else
#define TESSERA_KERNELS_CONVERT_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// From s8 to u8 and back by 128: x + 128 of the signed is x of the unsigned.
template <class To, class From>
inline constexpr bool kShiftsSign =
    sizeof(To) == 1 && sizeof(From) == 1 && !std::is_same_v<To, From>;

template <class To, class From>
TESSERA_INLINE To convert_element(From x) {
  if constexpr (kShiftsSign<To, From>) return static_cast<To>(x + 128);
  return static_cast<To>(x);
}

template <class To, class From>
void convert_row(const From* from, index_t stride, To* to, index_t n) {
  if (stride != 1) {
    for (index_t i = 0; i < n; ++i) to[i] = convert_element<To>(from[i * stride]);
    return;
  }
  const Tag<To, kHasLmul ? 4 : 1> d;
  const Rebind<From, Tag<To, kHasLmul ? 4 : 1>> df;
  const auto step = static_cast<index_t>(lanes(d));
  const auto converted = [&](Vec<decltype(df)> v) TESSERA_LAMBDA {
    if constexpr (std::is_same_v<To, From>) {
      return v;
    } else if constexpr (kShiftsSign<To, From>) {
      return add(bit_cast(d, v), set(d, static_cast<To>(128)));
    } else {
      return promote(d, df, v);
    }
  };
  index_t i = 0;
  for (; i + step <= n; i += step) store(d, converted(load(df, from + i)), to + i);
  if (i == n) return;
  const auto left = static_cast<size_t>(n - i);
  store_n(d, converted(load_n(df, from + i, left)), to + i, left);
}

// n elements of type `dtype`, `stride` apart, as To: what is exact and used.
template <class To>
void convert_row(DType dtype, const void* from, index_t stride, To* to, index_t n) {
  const auto run = [&]<class From>(const From* p) { convert_row(p, stride, to, n); };
  if constexpr (std::is_same_v<To, float>) {
    if (dtype == DType::kBF16) return run(static_cast<const bf16*>(from));
    if (dtype == DType::kF16) return run(static_cast<const f16*>(from));
    run(static_cast<const float*>(from));
  } else if constexpr (std::is_integral_v<To> && sizeof(To) <= 2) {
    if (dtype == DType::kU8) return run(static_cast<const uint8_t*>(from));
    run(static_cast<const int8_t*>(from));
  } else {
    run(static_cast<const To*>(from));  // the same type; bf16 also stands for f16
  }
}

TESSERA_INLINE const void* advance(const void* p, DType dtype, index_t elements) {
  return static_cast<const char*>(p) + elements * size_of(dtype);
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_CONVERT_INL_H_
