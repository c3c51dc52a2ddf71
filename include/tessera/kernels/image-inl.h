// SPDX-License-Identifier: Apache-2.0

// Pooling and bilinear resizing along contiguous channels: the lanes of a vector are channels, so that each result
// is computed in the same order whatever the vector length.

#if defined(TESSERA_KERNELS_IMAGE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_IMAGE_INL_H_
#undef TESSERA_KERNELS_IMAGE_INL_H_
#else
#define TESSERA_KERNELS_IMAGE_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"
#include "tessera/kernels/image_kernels.h"
#include "tessera/kernels/vectors-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace image {

inline constexpr int kLmul = kHasLmul ? 4 : 1;

// Elements of T in memory, as lanes of D.
template <bool kAll, class T, class D>
TESSERA_INLINE Vec<D> load_as(D d, const T* from, size_t n) {
  if constexpr (std::is_same_v<T, Lane<D>>) {
    if constexpr (kAll) return load(d, from);
    return load_n(d, from, n);
  } else {
    const Rebind<T, D> dt;
    if constexpr (kAll) return promote(d, dt, load(dt, from));
    return promote(d, dt, load_n(dt, from, n));
  }
}

template <bool kAll, class T, class D>
TESSERA_INLINE void store_as(D d, Vec<D> v, T* to, size_t n) {
  if constexpr (std::is_same_v<T, Lane<D>>) {
    if constexpr (kAll) {
      store(d, v, to);
    } else {
      store_n(d, v, to, n);
    }
  } else {
    const Rebind<T, D> dt;
    if constexpr (kAll) {
      store(dt, demote(dt, d, v), to);
    } else {
      store_n(dt, demote(dt, d, v), to, n);
    }
  }
}

// The elements of a window at one vector of channels, folded into `sum` by `fold`.
template <bool kAll, class T, class D, class F>
TESSERA_INLINE Vec<D> fold_window(D d, const detail::PoolRun& run, const T* x, size_t n, Vec<D> sum,
                                  F fold) {
  for (index_t i = 0; i < run.count[0]; ++i) {
    for (index_t j = 0; j < run.count[1]; ++j) {
      const T* at = x + i * run.stride[0] + j * run.stride[1];
      for (index_t k = 0; k < run.count[2]; ++k) {
        sum = fold(sum, load_as<kAll>(d, at, n));
        at += run.stride[2];
      }
    }
  }
  return sum;
}

// Not above any element.
template <class Value>
constexpr Value lowest() {
  if constexpr (std::is_integral_v<Value>) {
    return std::numeric_limits<Value>::min();
  } else {
    return -std::numeric_limits<Value>::infinity();
  }
}

template <class T>
void max_pool(const detail::PoolRun& run) {
  // Integers are compared as they are, the others as floats.
  using Value = std::conditional_t<std::is_integral_v<T>, T, float>;
  const Tag<Value, kLmul> d;
  const auto* x = static_cast<const T*>(run.x);
  auto* y = static_cast<T*>(run.y);
  for (index_t p = 0; p < run.pixels; ++p, x += run.x_step, y += run.y_step) {
    for_vectors(d, 0, run.channels, [&]<bool kAll>(index_t c, size_t n) TESSERA_LAMBDA {
      const auto largest = fold_window<kAll>(
          d, run, x + c, n, set(d, lowest<Value>()), [](auto sum, auto v) TESSERA_LAMBDA {
            const auto larger = max(v, sum);  // sum where v is a NaN, or sum is
            if constexpr (std::is_integral_v<T>) {
              return larger;
            } else {
              return select(eq(v, v), larger, v);
            }
          });
      store_as<kAll>(d, largest, y + c, n);
    });
  }
}

template <class T>
void average_pool(const detail::PoolRun& run) {
  const Tag<float, kLmul> d;
  const auto* x = static_cast<const T*>(run.x);
  auto* y = static_cast<T*>(run.y);
  const auto divisor = set(d, static_cast<float>(run.divisor));
  const auto sum_of = [](auto sum, auto v) TESSERA_LAMBDA { return add(sum, v); };
  for (index_t p = 0; p < run.pixels; ++p, x += run.x_step, y += run.y_step) {
    for_vectors(d, 0, run.channels, [&]<bool kAll>(index_t c, size_t n) TESSERA_LAMBDA {
      if constexpr (std::is_integral_v<T>) {
        // The sum is below 2^24 and exact as a float. A quotient that is no tie is further from one than the rounding
        // of the division moves it, as the divisor is below 2^16: rounding twice is rounding once.
        const Rebind<int32_t, Tag<float, kLmul>> di;
        const auto sum = fold_window<kAll>(di, run, x + c, n, set(di, run.start), sum_of);
        store_as<kAll>(di, to_int_in_range(div(from_int(sum), divisor)), y + c, n);
      } else {
        const auto sum = fold_window<kAll>(d, run, x + c, n, zero(d), sum_of);
        store_as<kAll>(d, div(sum, divisor), y + c, n);
      }
    });
  }
}

template <class T>
void bilinear(const detail::BilinearRow& row) {
  const Tag<float, kLmul> d;
  using Out = std::conditional_t<std::is_integral_v<T>, int32_t, float>;
  const Rebind<Out, Tag<float, kLmul>> out;
  const auto interpolate = [&](auto a, auto b, float weight) TESSERA_LAMBDA {
    return add(mul(a, set(d, 1 - weight)), mul(b, set(d, weight)));
  };
  auto* y = static_cast<T*>(row.y);
  for (index_t p = 0; p < row.pixels; ++p, y += row.y_step) {
    const float weight = row.weights[p];
    const index_t left = row.left[p], right = row.right[p];
    for_vectors(d, 0, row.channels, [&]<bool kAll>(index_t c, size_t n) TESSERA_LAMBDA {
      const auto value = [&](const void* base, index_t offset) TESSERA_LAMBDA {
        const T* from = static_cast<const T*>(base) + offset + c;
        if constexpr (std::is_integral_v<T>) {
          return from_int(load_as<kAll>(out, from, n));
        } else {
          return load_as<kAll>(d, from, n);
        }
      };
      auto result = value(row.top, left);
      if (weight != 0) result = interpolate(result, value(row.top, right), weight);
      if (row.weight != 0) {
        auto bottom = value(row.bottom, left);
        if (weight != 0) bottom = interpolate(bottom, value(row.bottom, right), weight);
        result = interpolate(result, bottom, row.weight);
      }
      if constexpr (std::is_integral_v<T>) {
        store_as<kAll>(out, to_int_in_range(result), y + c, n);
      } else {
        store_as<kAll>(d, result, y + c, n);
      }
    });
  }
}

template <class T>
constexpr detail::ImageKernelsOf kernels_of() {
  return {&max_pool<T>, &average_pool<T>, &bilinear<T>};
}

}  // namespace image

inline detail::ImageKernels image_kernels() {
  return {image::kernels_of<float>(), image::kernels_of<bf16>(), image::kernels_of<f16>(),
          image::kernels_of<int8_t>(), image::kernels_of<uint8_t>()};
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_IMAGE_INL_H_
