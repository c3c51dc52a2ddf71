// SPDX-License-Identifier: Apache-2.0

// Products of activations and quantized weights, both as 8-bit integers.
//
// For each element of the result: within a run of steps that share the scale of the weights, the products are summed
// exactly, in s32. Within a block of activations, run after run,
//   t = fma(sum, scale, t);  t = fma(-(sum of the activations), min, t)      from t = 0
// and block after block c = fma(t, scale of the activations, c). This order is that of k and does not depend on
// tiles, threads or vector length.

#if defined(TESSERA_KERNELS_WEIGHTS_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_WEIGHTS_GEMM_INL_H_
#undef TESSERA_KERNELS_WEIGHTS_GEMM_INL_H_
#else
#define TESSERA_KERNELS_WEIGHTS_GEMM_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "tessera/kernels/convert-inl.h"
#include "tessera/kernels/epilogue-inl.h"
#include "tessera/kernels/gemm_tile-inl.h"
#include "tessera/kernels/weights-inl.h"
#include "tessera/kernels/weights_kernels.h"
#include "tessera/kernels/weights_products-inl.h"
#include "tessera/kernels/weights_row-inl.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

using detail::QuantizeRows;
using detail::WeightBlock;

// A row of weights, as it is multiplied.
template <class P, bool kWhole, class D>
TESSERA_INLINE auto load_weights(D, const typename P::Sink::Element* from,
                                 [[maybe_unused]] index_t n) {
  using Element = typename P::Sink::Element;
  const Rebind<Element, D> db;
  const auto load_row = [&]() TESSERA_LAMBDA {
    if constexpr (kWhole) return load(db, from);
    return load_n(db, from, static_cast<size_t>(n));
  };
  if constexpr (sizeof(Element) == 1) {
    return promote(Rebind<int16_t, D>(), db, load_row());
  } else {
    return load_row();
  }
}

// Vector kV of a row; past the last vector of the tile, just any value.
template <int kV, int NV, class P, class D, class V>
TESSERA_INLINE V more_weights(D d, const typename P::Sink::Element* from, index_t step, V other) {
  if constexpr (kV >= NV) {
    return other;
  } else {
    return load_weights<P, true>(d, from + kV * step, 0);
  }
}

// ---- Register tiles

// Of `rows` rows of activations and the columns of the panel from j on.
template <class P>
struct WeightTileArgs {
  const WeightBlock& block;
  const typename P::Word* a;
  const int32_t* a_sums;
  const float* a_scales;
  float* sums;
  index_t j, n;
  const std::byte* next;
};

// The sums of one run: acc[i] += sum over `steps` of a[i] * b.
template <class P, int R, int NV, bool kWhole, class D, size_t... kI, class... Acc>
TESSERA_INLINE void multiply_run(D d, const typename P::Word* a, const typename P::Sink::Element* b,
                                 index_t width, index_t n, index_t steps,
                                 [[maybe_unused]] index_t words_in_s16, std::index_sequence<kI...>,
                                 Acc&... acc) {
  constexpr bool kPairs = kSumsPairs<P> && R * NV <= 4;  // where registers are left for their sums
  constexpr index_t kUnroll = P::Sink::kPart == 1 ? 4 : kPairs ? 2 : 1;
  const auto step = static_cast<index_t>(lanes(d));
  // f(step, a, b, sum) for the next kUnroll steps and each element of the tile.
  const auto for_next = [&](auto f, auto&... sum) TESSERA_LAMBDA {
    unrolled(std::make_integer_sequence<index_t, kUnroll>(), [&](index_t u) TESSERA_LAMBDA {
      const auto b0 = load_weights<P, kWhole>(d, b, n);
      const auto b1 = more_weights<1, NV, P>(d, b, step, b0);
      const auto b2 = more_weights<2, NV, P>(d, b, step, b0);
      (f(u, a[u * R + static_cast<index_t>(kI / NV)], choose<kI % NV>(b0, b1, b2, b2), sum), ...);
      b += width;
    });
    a += kUnroll * R;
  };
  if constexpr (kPairs) {
    const Repartition<int16_t, D> d16;
    const index_t most = std::min(steps, words_in_s16);
    for (index_t s = 0; s < steps; s += most) {
      with_accumulators<sizeof...(kI)>(d16, [&](auto&... pairs) TESSERA_LAMBDA {
        const auto start = [&](index_t u, auto x, auto w, auto& sum) TESSERA_LAMBDA {
          const auto product = P::multiply(d, x, w);
          sum = u == 0 ? product : add(sum, product);
        };
        const auto go_on = [&](index_t, auto x, auto w, auto& sum)
                               TESSERA_LAMBDA { sum = add(sum, P::multiply(d, x, w)); };
        for_next(start, pairs...);
        for (index_t u = kUnroll; u < most; u += kUnroll) for_next(go_on, pairs...);
        ((acc = add_pairs(d, pairs, acc)), ...);
      });
    }
  } else {
    for (index_t s = 0; s < steps; s += kUnroll) {
      for_next(
          [&](index_t, auto x, auto w, auto& sum) TESSERA_LAMBDA {
            if constexpr (kSumsPairs<P>) {
              sum = add_pairs(d, P::multiply(d, x, w), sum);
            } else {
              sum = P::multiply(d, x, w, sum);
            }
          },
          acc...);
    }
  }
}

template <class P, int R, int NV, int LMUL, bool kWhole>
void multiply_weight_tile(const WeightTileArgs<P>& args_in_memory) {
  const WeightTileArgs<P> args = args_in_memory;
  const WeightBlock block = args.block;
  const Tag<float, LMUL> d;
  const Tag<int32_t, LMUL> di;
  const auto step = static_cast<index_t>(lanes(d));
  constexpr auto kIndices = std::make_index_sequence<R * NV>();
  constexpr index_t kPart = P::Sink::kPart;
  const index_t blocks = block.k / block.block, runs = block.block / block.run;
  const auto* a = args.a;
  const auto* b = static_cast<const typename P::Sink::Element*>(block.b) + args.j;
  const int32_t* a_sums = args.a_sums;
  const auto load_tile = [&](const float* row, size_t v) TESSERA_LAMBDA {
    const float* const from = row + static_cast<index_t>(v) * step;
    if constexpr (kWhole) return load(d, from);
    return load_n(d, from, static_cast<size_t>(args.n));
  };
  const auto store_tile = [&](Vec<decltype(d)> x, float* to) TESSERA_LAMBDA {
    if constexpr (kWhole) return store(d, x, to);
    store_n(d, x, to, static_cast<size_t>(args.n));
  };
  [[maybe_unused]] const auto offset = set(d, static_cast<float>(block.offset));
  index_t at = args.j, left_of_group = block.group;  // where scales and mins are
  for (index_t l = 0; l < blocks; ++l) {
    with_accumulators<R * NV>(d, [&](auto&... total) TESSERA_LAMBDA {
      for (index_t r = 0; r < runs; ++r) {
        if (kPrefetch && args.next != nullptr) {
          for (index_t k = 0; k < block.run; k += 32) {
            const index_t at = (l * block.block + r * block.run + k) / 32 * block.next_share;
            prefetch_part(args.next + at + block.next_share / 2, block.next_share / 2);
          }
        }
        with_accumulators<R * NV>(di, [&](auto&... sum) TESSERA_LAMBDA {
          [&]<size_t... kI>(std::index_sequence<kI...> indices) TESSERA_LAMBDA {
            // Converted after the broadcast, a load, where registers are one vector.
            const auto a_sum = [&](size_t row) TESSERA_LAMBDA {
              if constexpr (kSumsPairs<P>) return from_int(set(di, a_sums[row]));
              return set(d, static_cast<float>(a_sums[row]));
            };
            constexpr bool kOffsetLater = kSumsPairs<P>;
            if constexpr (P::Sink::kOffset && !kOffsetLater) {
              ((sum = set(di, -block.offset * a_sums[kI / NV])), ...);
            }
            multiply_run<P, R, NV, kWhole>(di, a, b, block.width, args.n, block.run / kPart,
                                           block.words_in_s16, indices, sum...);
            const auto products = [&](size_t row, auto& s) TESSERA_LAMBDA {
              if constexpr (kOffsetLater) {
                return neg_mul_add(a_sum(row), offset, from_int(s));  // exact, too
              } else {
                return from_int(s);
              }
            };
            const float* const scales = block.scales + at;
            ((total = mul_add(products(kI / NV, sum), load_tile(scales, kI % NV), total)), ...);
            if (block.mins != nullptr) {
              const float* const mins = block.mins + at;
              ((total = neg_mul_add(a_sum(kI / NV), load_tile(mins, kI % NV), total)), ...);
            }
          }(kIndices);
        });
        a += block.run / kPart * R;
        b += block.run / kPart * block.width;
        a_sums += R;
        if ((left_of_group -= block.run) == 0) {  // rather than a division for each run
          left_of_group = block.group;
          at += block.width;
        }
      }
      [&]<size_t... kI>(std::index_sequence<kI...>) TESSERA_LAMBDA {
        const float* const scales = args.a_scales + l * block.a_scale_stride;
        const auto add_total = [&](index_t i, index_t v, auto& t) TESSERA_LAMBDA {
          float* const to = args.sums + i * block.width + args.j + v * step;
          store_tile(mul_add(t, set(d, scales[i]), load_tile(to, 0)), to);
        };
        (add_total(static_cast<index_t>(kI / NV), static_cast<index_t>(kI % NV), total), ...);
      }(kIndices);
    });
  }
}

// The instance for `rows`.
template <class P, bool kWhole, int... kRows>
void run_weight_tile(index_t rows, const WeightTileArgs<P>& args,
                     std::integer_sequence<int, kRows...>) {
  constexpr WeightTile kTile = kWeightTile;
  (void)((rows == kRows + 1 &&
          (multiply_weight_tile<P, kRows + 1, kTile.vectors, kTile.lmul, kWhole>(args), true)) ||
         ...);
}

// All row panels of one chunk times one column panel.
template <class P>
void multiply_weights(const WeightBlock& block) {
  constexpr auto kRows = std::make_integer_sequence<int, kWeightTile.rows>();
  const auto step =
      static_cast<index_t>(kWeightTile.vectors * lanes(Tag<float, kWeightTile.lmul>()));
  for (index_t i = 0; i < block.m; i += kWeightTile.rows) {
    const index_t rows = std::min<index_t>(kWeightTile.rows, block.m - i);
    for (index_t j = 0; j < block.width; j += step) {
      const WeightTileArgs<P> args{
          block,
          static_cast<const typename P::Word*>(block.a) + i * (block.k / P::Sink::kPart),
          block.a_sums + i * (block.k / block.run),
          block.a_scales + i,
          block.sums + i * block.width,
          j,
          block.width - j,
          i == 0 && j == 0 ? block.next : nullptr};
      if constexpr (kHasLmul) {
        if (args.n < step) {  // packed where vectors are shorter
          run_weight_tile<P, false>(rows, args, kRows);
          continue;
        }
      }
      run_weight_tile<P, true>(rows, args, kRows);
    }
  }
}

// ---- Activations

template <class T>
using LineTag = Tag<T, kHasLmul ? 4 : 1>;

// The greatest magnitude of n values; NaN if any is NaN or infinite.
inline float greatest_magnitude(const float* x, index_t n) {
  const LineTag<float> d;
  auto most = zero(d), nan = zero(d);
  for (index_t i = 0; i < n; i += static_cast<index_t>(lanes(d))) {
    const auto v = abs(load_n(d, x + i, static_cast<size_t>(n - i)));
    most = max(v, most);
    nan = add(nan, sub(v, v));
  }
  return reduce_max(d, most) + reduce_max(d, nan);
}

// to[i] = round(x[i] * inverse), ties to even, saturated to -127..127; NaN gives 0.
inline void quantize_line(const float* x, float inverse, int8_t* to, index_t n) {
  const LineTag<float> d;
  const LineTag<int32_t> di;
  const Rebind<int8_t, LineTag<int32_t>> d8;
  const auto factor = set(d, inverse);
  const auto low = set(d, -127.0f), high = set(d, 127.0f);
  for (index_t i = 0; i < n; i += static_cast<index_t>(lanes(d))) {
    const auto left = static_cast<size_t>(n - i);
    const auto v = min(max(mul(load_n(d, x + i, left), factor), low), high);
    store_n(d8, demote(d8, di, to_int(v)), to + i, left);
  }
}

inline int32_t sum_of(const int8_t* x, index_t n) {
  const LineTag<int32_t> d;
  const Rebind<int8_t, LineTag<int32_t>> d8;
  auto sum = zero(d);
  for (index_t i = 0; i < n; i += static_cast<index_t>(lanes(d))) {
    sum = add(sum, promote(d, d8, load_n(d8, x + i, static_cast<size_t>(n - i))));
  }
  return reduce_add(d, sum);
}

// to[i] = codes[i], of a row that has no neighbours.
template <class PartA>
TESSERA_INLINE void store_codes(const int8_t* codes, PartA* to, index_t n) {
  if constexpr (sizeof(PartA) == 1) {
    std::memcpy(to, codes, static_cast<size_t>(n));
  } else {
    const Tag<PartA, kHasLmul ? 2 : 1> d;
    const Rebind<int8_t, decltype(d)> d8;
    for (index_t i = 0; i < n; i += static_cast<index_t>(lanes(d))) {
      const auto left = static_cast<size_t>(n - i);
      store_n(d, promote(d, d8, load_n(d8, codes + i, left)), to + i, left);
    }
  }
}

// The rows of a panel lie next to each other in each step of k.
template <class P>
void quantize_activations(const QuantizeRows& p) {
  using Word = typename P::Word;
  using PartA = typename P::PartA;
  constexpr index_t kPart = P::Sink::kPart, kLine = 256;
  float line[kLine];
  alignas(64) int8_t codes[kLine];
  const auto load_line = [&](index_t i, index_t k, index_t n) {
    const void* const from = advance(p.from, p.dtype, i * p.row_stride + k * p.col_stride);
    convert_row(p.dtype, from, p.col_stride, line, n);
  };
  for (index_t i = 0; i < p.rows; ++i) {
    for (index_t b = 0; b * p.block < p.k; ++b) {
      const index_t begin = b * p.block, end = std::min(p.k, begin + p.block);
      float most = 0;
      for (index_t k = begin; k < end; k += kLine) {
        const index_t n = std::min(kLine, end - k);
        load_line(i, k, n);
        const float m = greatest_magnitude(line, n);
        most = m < most ? most : m;
        if (std::isnan(m)) break;
      }
      // Finite also for the smallest subnormals.
      const float inverse = most > 0 ? std::min(127 / most, std::numeric_limits<float>::max()) : 0;
      p.scales[b * p.m + p.row + i] = most / 127 * p.alpha;
      const index_t padded = end == p.k ? p.padded_k : end;
      for (index_t k = begin; k < padded; k += kLine) {  // a line lies within a chunk
        const index_t n = std::min(kLine, end - k), steps = std::min(kLine, padded - k);
        if (end - begin > kLine) load_line(i, k, n);
        quantize_line(line, inverse, codes, n);
        std::fill(codes + n, codes + steps, int8_t{0});
        const index_t chunk = k / p.chunk;
        const index_t in_chunk = std::min(p.chunk, p.padded_k - chunk * p.chunk);
        const index_t at = k - chunk * p.chunk;
        Word* const to = static_cast<Word*>(p.codes) +
                         (chunk * p.chunk * p.m + p.row * in_chunk + at * p.rows) / kPart + i;
        if (p.rows == 1) store_codes(codes, reinterpret_cast<PartA*>(to), steps);
        for (index_t l = 0; p.rows > 1 && l < steps; l += kPart) {
          PartA parts[kPart];
          for (index_t s = 0; s < kPart; ++s) parts[s] = codes[l + s];
          std::memcpy(to + l / kPart * p.rows, parts, sizeof parts);
        }
        std::int32_t* const sums =
            p.sums + (chunk * p.chunk * p.m + p.row * in_chunk + at * p.rows) / p.run + i;
        for (index_t l = 0; l < steps; l += p.run) {
          sums[l / p.run * p.rows] = sum_of(codes + l, p.run);
        }
      }
    }
    for (index_t b = (p.k + p.block - 1) / p.block; b * p.block < p.padded_k; ++b) {
      p.scales[b * p.m + p.row + i] = 0;
    }
  }
}

// ---- Results

inline void start_weight_sums(const detail::GemmResult& r, float* sums, index_t stride,
                              index_t rows, index_t cols, index_t row, index_t col) {
  start_tile(r, SumTile<float>{sums, stride, rows, cols, row, col});
}
inline void finish_weight_sums(const detail::GemmResult& r, float* sums, index_t stride,
                               index_t rows, index_t cols, index_t row, index_t col) {
  finish_tile(r, SumTile<float>{sums, stride, rows, cols, row, col});
}

template <class P, bool kNarrow>
detail::WeightProducts weight_products() {
  detail::WeightProducts products{.unpack = &unpack_integers<typename P::Sink>,
                                  .quantize = &quantize_activations<P>,
                                  .multiply = &multiply_weights<P>,
                                  .part = P::Sink::kPart,
                                  .element_bytes = sizeof(typename P::Word)};
  // Without vectors nothing is gained, and unrolled lanes take long to compile.
  if constexpr (!TESSERA_BACKEND_SCALAR) products.multiply_row = &multiply_weight_row<P, kNarrow>;
  return products;
}

inline detail::WeightKernels weight_kernels() {
  return {.any = weight_products<WeightsOfBytes, false>(),
          .narrow = weight_products<WeightsOf7Bits, true>(),
          .rows = kWeightTile.rows,
          .by_rows = kByRows,
          .unpack_floats = &unpack_floats,
          .start = &start_weight_sums,
          .finish = &finish_weight_sums};
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_WEIGHTS_GEMM_INL_H_
