// SPDX-License-Identifier: Apache-2.0

// Winograd's minimal filtering for 3x3 filters: the transforms of input and output, with channels along the vectors.
// After Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308; points 0, 1, -1, 2, -2,
// 1/2, -1/2 and infinity, as many as a tile needs. Transforms of two axes are transforms of one, along the columns and
// then along the rows, with the halves that points p and -p share computed once.

#if defined(TESSERA_KERNELS_WINOGRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_WINOGRAD_INL_H_
#undef TESSERA_KERNELS_WINOGRAD_INL_H_
#else
#define TESSERA_KERNELS_WINOGRAD_INL_H_
#endif

#include <algorithm>

#include "tessera/kernels/vectors-inl.h"
#include "tessera/kernels/winograd_kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace winograd {

using detail::WinogradInput;
using detail::WinogradKernels;
using detail::WinogradOutput;

using WinogradTag = Tag<float>;
using WinogradVec = Vec<WinogradTag>;

// Vectors `stride` elements apart, all of n lanes: all lanes there are if kWhole. (Stores with a mask take as long as ten
// others on Zen 3.)
template <bool kWhole>
struct Strided {
  const float* p;
  index_t stride;
  size_t n;
  TESSERA_INLINE WinogradVec operator()(index_t i) const {
    return load_part<kWhole>(WinogradTag(), p + i * stride, n);
  }
};
template <bool kWhole>
struct StridedTo {
  float* p;
  index_t stride;
  size_t n;
  TESSERA_INLINE void operator()(index_t i, WinogradVec v) const {
    store_part<kWhole>(WinogradTag(), v, p + i * stride, n);
  }
};

// c * x + y
TESSERA_INLINE WinogradVec add_scaled(float c, WinogradVec x, WinogradVec y) {
  return mul_add(set(WinogradTag(), c), x, y);
}
TESSERA_INLINE WinogradVec scaled(float c, WinogradVec x) { return mul(set(WinogradTag(), c), x); }

// The transform of m + 2 inputs along one axis.
template <int kM, bool kWhole>
TESSERA_INLINE void transform_input(const Strided<kWhole>& d, const StridedTo<kWhole>& to) {
  const auto pair = [&to](index_t i, WinogradVec even, WinogradVec odd) TESSERA_LAMBDA {
    to(i, add(even, odd));
    to(i + 1, sub(even, odd));
  };
  if constexpr (kM == 2) {
    const auto d1 = d(1), d2 = d(2);
    to(0, sub(d(0), d2));
    to(1, add(d2, d1));
    to(2, sub(d2, d1));
    to(3, sub(d1, d(3)));
  } else if constexpr (kM == 4) {
    const auto d1 = d(1), d2 = d(2), d3 = d(3), d4 = d(4);
    to(0, add_scaled(4, d(0), add_scaled(-5, d2, d4)));
    pair(1, add_scaled(-4, d2, d4), add_scaled(-4, d1, d3));
    pair(3, sub(d4, d2), scaled(2, sub(d3, d1)));
    to(5, add_scaled(4, d1, add_scaled(-5, d3, d(5))));
  } else {
    const auto d1 = d(1), d2 = d(2), d3 = d(3), d4 = d(4), d5 = d(5), d6 = d(6);
    to(0, add_scaled(5.25f, sub(d4, d2), sub(d(0), d6)));
    pair(1, add_scaled(-4.25f, d4, add(d2, d6)), add_scaled(-4.25f, d3, add(d1, d5)));
    pair(3, add_scaled(0.25f, d2, add_scaled(-1.25f, d4, d6)),
         add_scaled(0.5f, d1, add_scaled(-2.5f, d3, scaled(2, d5))));
    pair(5, add_scaled(4, d2, add_scaled(-5, d4, d6)),
         add_scaled(2, d1, add_scaled(-2.5f, d3, scaled(0.5f, d5))));
    to(7, add_scaled(5.25f, sub(d3, d5), sub(d(7), d1)));
  }
}

// The transform of m + 2 products to m outputs along one axis.
template <int kM, bool kWhole>
TESSERA_INLINE void transform_output(const Strided<kWhole>& m, const StridedTo<kWhole>& to) {
  const auto m1 = m(1), m2 = m(2);
  const auto s1 = add(m1, m2), d1 = sub(m1, m2);
  if constexpr (kM == 2) {
    to(0, add(m(0), s1));
    to(1, sub(d1, m(3)));
  } else if constexpr (kM == 4) {
    const auto m3 = m(3), m4 = m(4);
    const auto s2 = add(m3, m4), d2 = sub(m3, m4);
    to(0, add(m(0), add(s1, s2)));
    to(1, add_scaled(2, d2, d1));
    to(2, add_scaled(4, s2, s1));
    to(3, add(add_scaled(8, d2, d1), m(5)));
  } else {
    const auto m3 = m(3), m4 = m(4), m5 = m(5), m6 = m(6);
    const auto s2 = add(m3, m4), d2 = sub(m3, m4), s3 = add(m5, m6), d3 = sub(m5, m6);
    to(0, add(add(m(0), s1), add(s2, s3)));
    to(1, add_scaled(0.5f, d3, add_scaled(2, d2, d1)));
    to(2, add_scaled(0.25f, s3, add_scaled(4, s2, s1)));
    to(3, add_scaled(0.125f, d3, add_scaled(8, d2, d1)));
    to(4, add_scaled(0.0625f, s3, add_scaled(16, s2, s1)));
    to(5, add(add_scaled(0.03125f, d3, add_scaled(32, d2, d1)), m(7)));
  }
}

// One vector of channels at a time: (m + 2)^2 of them are in L1 between the two axes.
inline constexpr index_t kMostLanes = 64;  // vectors of 2048 bits

// body.operator()<kWhole>(channel, n) for vectors of n lanes.
template <class F>
TESSERA_INLINE void for_channels(index_t channels, F body) {
  const auto all = static_cast<index_t>(lanes(WinogradTag())), step = std::min(all, kMostLanes);
  for (index_t c = 0; c < channels; c += step) {
    const index_t n = std::min(step, channels - c);
    if (n == all) {
      body.template operator()<true>(c, static_cast<size_t>(n));
    } else {
      body.template operator()<false>(c, static_cast<size_t>(n));
    }
  }
}

template <int kM>
void input(const WinogradInput& in) {
  constexpr index_t kN = kM + 2;
  const auto step = std::min(static_cast<index_t>(lanes(WinogradTag())), kMostLanes);
  alignas(64) float half[kN * kN * kMostLanes];
  for_channels(in.channels, [&]<bool kWhole>(index_t c, size_t n) TESSERA_LAMBDA {
    using From = Strided<kWhole>;
    using To = StridedTo<kWhole>;
    for (index_t j = 0; j < kN; ++j) {
      transform_input<kM>(From{in.x + j * in.pixel + c, in.row, n},
                          To{half + j * step, kN * step, n});
    }
    for (index_t i = 0; i < kN; ++i) {
      transform_input<kM>(From{half + i * kN * step, step, n},
                          To{in.to + i * kN * in.step + c, in.step, n});
    }
  });
}

template <int kM>
void output(const WinogradOutput& out) {
  constexpr index_t kN = kM + 2;
  const auto step = std::min(static_cast<index_t>(lanes(WinogradTag())), kMostLanes);
  alignas(64) float half[kM * kN * kMostLanes], line[kM * kMostLanes];
  for_channels(out.channels, [&]<bool kWhole>(index_t c, size_t n) TESSERA_LAMBDA {
    using From = Strided<kWhole>;
    using To = StridedTo<kWhole>;
    for (index_t j = 0; j < kN; ++j) {
      transform_output<kM>(From{out.from + j * out.step + c, kN * out.step, n},
                           To{half + j * step, kN * step, n});
    }
    for (index_t i = 0; i < out.rows; ++i) {
      float* const y = out.y + i * out.row + c;
      const From row{half + i * kN * step, step, n};
      if (out.cols == kM) {
        transform_output<kM>(row, To{y, out.pixel, n});
        continue;
      }
      transform_output<kM>(row, To{line, step, n});
      for (index_t j = 0; j < out.cols; ++j) {
        To{y, out.pixel, n}(j, From{line, step, n}(j));
      }
    }
  });
}

template <int kM>
constexpr WinogradKernels kernels() {
  return {&input<kM>, &output<kM>};
}

}  // namespace winograd

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_WINOGRAD_INL_H_
