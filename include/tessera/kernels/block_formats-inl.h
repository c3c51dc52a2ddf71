// SPDX-License-Identifier: Apache-2.0

// Floats to and from the block formats that are quantized at run time (Q8_0, Q4_0) or are common weights: the bits of
// ref/block_formats.h, on every target.
//
// Quantizing goes by chunks of blocks, in three steps that each read the cache: the largest magnitude of each block;
// scales and their inverses, as vectors over blocks, since a division or a conversion to f16 costs a vector no more
// than a number; the codes. With one step per block the conversion to f16 alone took half of the instructions.

#if defined(TESSERA_KERNELS_BLOCK_FORMATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_KERNELS_BLOCK_FORMATS_INL_H_
#undef TESSERA_KERNELS_BLOCK_FORMATS_INL_H_
#else
#define TESSERA_KERNELS_BLOCK_FORMATS_INL_H_
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "tessera/core/block_formats.h"
#include "tessera/core/dtype.h"
#include "tessera/kernels/block_kernels.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

namespace block_formats {

inline constexpr index_t kChunk = 64;  // blocks
using ChunkTag = Tag<float, kHasLmul ? 4 : 1>;

// How vectors fill the 16 or 32 numbers that a kernel takes at a time: one does, several do, or the last one partly.
enum class Fill { kOne, kSeveral, kPartly };

// From one vector to the next among `count` numbers.
template <Fill kFill, class D>
TESSERA_INLINE size_t step_of(D d, size_t count) {
  if constexpr (kFill == Fill::kOne) return count;  // so that there is no loop
  return lanes(d);
}

// The first n lanes; all, but for kPartly.
template <Fill kFill, class D>
TESSERA_INLINE Vec<D> load_some(D d, const Lane<D>* p, size_t n) {
  if constexpr (kFill != Fill::kPartly) return load(d, p);
  return load_n(d, p, n);
}
template <Fill kFill, class D>
TESSERA_INLINE void store_some(D d, Vec<D> v, Lane<D>* p, size_t n) {
  if constexpr (kFill != Fill::kPartly) {
    store(d, v, p);
  } else {
    store_n(d, v, p, n);
  }
}

// The f16 at the start of each of n <= kChunk blocks, as floats.
TESSERA_INLINE void load_scales(const std::byte* blocks, index_t block_bytes, index_t n,
                                float* scales) {
  const ChunkTag d;
  const Rebind<f16, ChunkTag> dh;
  f16 gathered[kChunk];
  for (index_t i = 0; i < n; ++i) {
    std::memcpy(&gathered[i], __builtin_assume_aligned(blocks + i * block_bytes, 2), sizeof(f16));
  }
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t i = 0; i < n; i += step) {
    const auto left = static_cast<size_t>(n - i);
    store_n(d, promote(d, dh, load_n(dh, gathered + i, left)), scales + i, left);
  }
}

// Codes are computed as integers with 24 bits behind the point: floats of at least 1/2 times 2^24 are integers, so
// that a shift truncates them.
inline constexpr float kFixedPoint = 0x1p24f;

// How many of n <= kChunk numbers, given by their bits, come before the first that is not 0 nor has a magnitude from
// 2^-90, whose inverse leaves room for that, to `limit`.
TESSERA_INLINE index_t count_ordinary(const int32_t* numbers, index_t n, float limit) {
  const ChunkTag d;
  const Rebind<int32_t, ChunkTag> di;
  const Rebind<uint32_t, ChunkTag> du;
  const auto low = std::bit_cast<int32_t>(0x1p-90f), high = std::bit_cast<int32_t>(limit);
  const auto magnitude = set(di, 0x7fffffff);
  const auto step = static_cast<index_t>(lanes(d));
  auto largest = zero(di);
  auto smallest = zero(du);  // negative, so that a 0 is no small number
  for (index_t i = 0; i < n; i += step) {
    const auto m = bit_and(load_n(di, numbers + i, static_cast<size_t>(n - i)), magnitude);
    largest = max(largest, m);
    smallest = max(smallest, bit_cast(du, neg(m)));
  }
  if (reduce_max(di, largest) <= high && reduce_max(du, smallest) <= -static_cast<uint32_t>(low)) {
    return n;
  }
  index_t i = 0;
  for (; i < n; ++i) {
    const int32_t m = numbers[i] & 0x7fffffff;
    if (m > high || (m < low && m != 0)) break;
  }
  return i;
}

// scales[i] = extremes[i] / divisor, and factor times its inverse, 0 where that is infinite.
TESSERA_INLINE void make_scales(const int32_t* extremes, float divisor, float factor, index_t n,
                                f16* scales, float* inverses) {
  const ChunkTag d;
  const Rebind<int32_t, ChunkTag> di;
  const Rebind<f16, ChunkTag> dh;
  const auto largest = set(d, 0x1.fffffep127f);
  const auto step = static_cast<index_t>(lanes(d));
  for (index_t i = 0; i < n; i += step) {
    const auto left = static_cast<size_t>(n - i);
    const auto scale = div(bit_cast(d, load_n(di, extremes + i, left)), set(d, divisor));
    const auto inverse = div(set(d, 1.0f), scale);
    const auto finite = select(lt(largest, abs(inverse)), zero(d), inverse);
    store_n(d, mul_scalar(d, factor, finite), inverses + i, left);
    store_n(dh, demote(dh, d, scale), scales + i, left);
  }
}

template <class D, class V, class... More>
TESSERA_INLINE void load_block_pairs(D d, const float* x, V& v, V& next, More&... more);

// v... = a block each, of consecutive ones that fill one vector.
template <class D, class V, class... More>
TESSERA_INLINE void load_blocks(D d, const float* x, V& v, More&... more) {
  if constexpr (sizeof...(more) == 0) {
    v = load(d, x);
  } else {
    load_block_pairs(d, x, v, more...);
  }
}
template <class D, class V, class... More>
TESSERA_INLINE void load_block_pairs(D d, const float* x, V& v, V& next, More&... more) {
  load_two(d, x, v, next);
  if constexpr (sizeof...(more) > 0) load_blocks(d, x + 64, more...);
}

// The bits of the largest magnitude of each of some blocks: floats compare as their bits do.
template <class D, Fill kFill, size_t... kB>
TESSERA_INLINE void find_largest(const float* x, int32_t* to, std::index_sequence<kB...>) {
  const D d;
  const Rebind<int32_t, D> di;
  const size_t step = step_of<kFill>(d, 32);
  with_accumulators<sizeof...(kB)>(d, [&](auto&... v) TESSERA_LAMBDA {
    if constexpr (kFill == Fill::kOne) {
      load_blocks(d, x, v...);
    } else {
      ((v = load_some<kFill>(d, x + 32 * kB, 32)), ...);
    }
    with_accumulators<sizeof...(kB)>(di, [&](auto&... largest) TESSERA_LAMBDA {
      ((largest = bit_cast(di, abs(v))), ...);
      for (size_t i = step; i < 32; i += step) {
        const auto more = [&](size_t b) TESSERA_LAMBDA {
          return bit_cast(di, abs(load_some<kFill>(d, x + 32 * b + i, 32 - i)));
        };
        ((largest = max(largest, more(kB))), ...);
      }
      const int32_t found[] = {reduce_max(di, largest)...};
      std::memcpy(to, found, sizeof found);
    });
  });
}

// f(i, std::make_index_sequence<N>()) for blocks i to i + N of n: N as many as are taken together, or 1.
template <Fill kFill, class F>
TESSERA_INLINE void for_blocks(index_t n, F f) {
  // So that pointers, the vector type and the rounding mode change once.
  constexpr size_t kTogether = kHasLmul && kFill == Fill::kOne ? 4 : 1;
  index_t i = 0;
  for (; i + static_cast<index_t>(kTogether) <= n; i += static_cast<index_t>(kTogether)) {
    f(i, std::make_index_sequence<kTogether>());
  }
  if constexpr (kTogether > 1) {
    for (; i < n; ++i) f(i, std::make_index_sequence<1>());
  }
}

// The codes of blocks kB of `blocks`.
template <class D, Fill kFill, size_t... kB>
TESSERA_INLINE void store_q8_0(const float* x, const float* inverses, std::byte* blocks,
                               std::index_sequence<kB...>) {
  const D d;
  const Rebind<int8_t, D> dn;
  const size_t step = step_of<kFill>(d, 32);
  const auto codes = [&](size_t b) TESSERA_LAMBDA {
    return reinterpret_cast<int8_t*>(blocks + b * sizeof(BlockQ8_0) + sizeof(f16));
  };
  for (size_t j = 0; j < 32; j += step) {
    with_accumulators<sizeof...(kB)>(d, [&](auto&... v) TESSERA_LAMBDA {
      if constexpr (kFill == Fill::kOne) {
        load_blocks(d, x, v...);
      } else {
        ((v = load_some<kFill>(d, x + 32 * kB + j, 32 - j)), ...);
      }
      ((v = mul_scalar(d, inverses[kB], v)), ...);
      with_accumulators<sizeof...(kB)>(dn, [&](auto&... code) TESSERA_LAMBDA {
        ((code = round_away(dn, d, v)), ...);
        (store_some<kFill>(dn, code, codes(kB) + j, 32 - j), ...);
      });
    });
  }
}

template <class D, Fill kFill>
index_t quantize_q8_0(const float* x, std::byte* blocks, index_t count) {
  for (index_t done = 0; done < count;) {
    int32_t largest[kChunk];
    f16 scales[kChunk];
    float inverses[kChunk];
    const index_t wanted = count - done < kChunk ? count - done : kChunk;
    for_blocks<kFill>(wanted, [&](index_t i, auto together) TESSERA_LAMBDA {
      find_largest<D, kFill>(x + 32 * i, largest + i, together);
    });
    const index_t n = count_ordinary(largest, wanted, 127 * 65504.0f);
    make_scales(largest, 127, 1, n, scales, inverses);
    for_blocks<kFill>(
        n, [&]<size_t... kB>(index_t i, std::index_sequence<kB...> together) TESSERA_LAMBDA {
          (std::memcpy(__builtin_assume_aligned(blocks + kB * sizeof(BlockQ8_0), 2),
                       &scales[i + index_t{kB}], sizeof(f16)),
           ...);
          store_q8_0<D, kFill>(x, inverses + i, blocks, together);
          x += 32 * sizeof...(kB);
          blocks += sizeof(BlockQ8_0) * sizeof...(kB);
        });
    done += n;
    if (n < wanted) return done;
  }
  return count;
}

// The bits of the number farthest from zero of 32, where vectors are made for 16; -1, which is a NaN, where that is ambiguous: x and -x.
template <class D, Fill kFill>
TESSERA_INLINE int32_t extreme(const float* x) {
  const D d;
  const Rebind<int32_t, D> di;
  const Rebind<uint32_t, D> du;
  const size_t step = step_of<kFill>(d, 16);
  // As signed numbers, the bits of positive floats are the largest; as unsigned ones, those of negative floats.
  auto positive = bit_cast(di, load_some<kFill>(d, x, 32));
  auto negative = bit_cast(du, positive);
  for (size_t i = step; i < 32; i += step) {
    const auto v = bit_cast(di, load_some<kFill>(d, x + i, 32 - i));
    positive = max(positive, v);
    negative = max(negative, bit_cast(du, v));
  }
  const int32_t most = reduce_max(di, positive);
  const auto least = static_cast<int32_t>(reduce_max(du, negative));
  const int32_t above = most > 0 ? most : 0, below = least < 0 ? least & 0x7fffffff : 0;
  if (above == below) return above == 0 ? 0 : -1;
  return above > below ? above : least;
}

template <class D, Fill kFill>
index_t quantize_q4_0(const float* x, std::byte* blocks, index_t count) {
  const D d;
  const Rebind<int32_t, D> di;
  const Rebind<uint8_t, D> dn;
  const auto middle = set(d, 8.5f * kFixedPoint);
  const auto largest_code = set(di, 15);
  const size_t step = step_of<kFill>(d, 16);
  for (index_t done = 0; done < count;) {
    int32_t extremes[kChunk];
    f16 scales[kChunk];
    float inverses[kChunk];
    const index_t wanted = count - done < kChunk ? count - done : kChunk;
    for_blocks<kFill>(wanted,
                      [&]<size_t... kB>(index_t i, std::index_sequence<kB...>) TESSERA_LAMBDA {
                        const int32_t found[] = {extreme<D, kFill>(x + 32 * (i + index_t{kB}))...};
                        std::memcpy(extremes + i, found, sizeof found);
                      });
    const index_t n = count_ordinary(extremes, wanted, 8 * 65504.0f);
    make_scales(extremes, -8, kFixedPoint, n, scales, inverses);
    for (index_t i = 0; i < n; ++i, x += 32, blocks += sizeof(BlockQ4_0)) {
      std::memcpy(__builtin_assume_aligned(blocks, 2), &scales[i], sizeof(f16));
      auto* const codes = reinterpret_cast<uint8_t*>(blocks + sizeof(f16));
      const auto code = [&](const float* p, size_t left) TESSERA_LAMBDA {
        const auto y = add(mul_scalar(d, inverses[i], load_some<kFill>(d, p, left)), middle);
        return min(largest_code, shr<24>(to_int_in_range(y)));
      };
      for (size_t j = 0; j < 16; j += step) {
        const auto pair = bit_or(code(x + j, 16 - j), shl<4>(code(x + 16 + j, 16 - j)));
        store_some<kFill>(dn, demote(dn, di, pair), codes + j, 16 - j);
      }
    }
    done += n;
    if (n < wanted) return done;
  }
  return count;
}

template <class D, Fill kFill>
void dequantize_q8_0(const std::byte* blocks, float* x, index_t count) {
  const D d;
  const Rebind<int32_t, D> di;
  const Rebind<int8_t, D> dn;
  const size_t step = step_of<kFill>(d, 32);
  for (index_t done = 0; done < count; done += kChunk) {
    float scales[kChunk];
    const index_t n = count - done < kChunk ? count - done : kChunk;
    load_scales(blocks, sizeof(BlockQ8_0), n, scales);
    for (index_t i = 0; i < n; ++i, x += 32, blocks += sizeof(BlockQ8_0)) {
      const auto* const codes = reinterpret_cast<const int8_t*>(blocks + sizeof(f16));
      const auto scale = set(d, scales[i]);
      for (size_t j = 0; j < 32; j += step) {
        const auto code = promote(di, dn, load_some<kFill>(dn, codes + j, 32 - j));
        store_some<kFill>(d, mul(scale, from_int(code)), x + j, 32 - j);
      }
    }
  }
}

template <class D, Fill kFill>
void dequantize_q4_0(const std::byte* blocks, float* x, index_t count) {
  const D d;
  const Rebind<int32_t, D> di;
  const Rebind<uint8_t, D> dn;
  const size_t step = step_of<kFill>(d, 16);
  const auto low = set(di, 15), middle = set(di, 8);
  for (index_t done = 0; done < count; done += kChunk) {
    float scales[kChunk];
    const index_t n = count - done < kChunk ? count - done : kChunk;
    load_scales(blocks, sizeof(BlockQ4_0), n, scales);
    for (index_t i = 0; i < n; ++i, x += 32, blocks += sizeof(BlockQ4_0)) {
      const auto* const codes = reinterpret_cast<const uint8_t*>(blocks + sizeof(f16));
      const auto scale = set(d, scales[i]);
      for (size_t j = 0; j < 16; j += step) {
        const auto pair = promote(di, dn, load_some<kFill>(dn, codes + j, 16 - j));
        const auto first = sub(bit_and(pair, low), middle), second = sub(shr<4>(pair), middle);
        store_some<kFill>(d, mul(scale, from_int(first)), x + j, 16 - j);
        store_some<kFill>(d, mul(scale, from_int(second)), x + 16 + j, 16 - j);
      }
    }
  }
}

TESSERA_INLINE float scale_at(const std::byte* from) {
  F16Bytes bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return static_cast<float>(bytes);
}

template <class D, Fill kFill>
void dequantize_q4_k(const std::byte* blocks, float* x, index_t count) {
  const D d;
  const Rebind<int32_t, D> di;
  const Rebind<uint8_t, D> dn;
  const size_t step = step_of<kFill>(d, 32);
  const auto low = set(di, 15);
  for (; count > 0; --count, blocks += sizeof(BlockQ4_K)) {
    const float block_scale = scale_at(blocks + offsetof(BlockQ4_K, d));
    const float block_min = scale_at(blocks + offsetof(BlockQ4_K, dmin));
    const auto* const packed =
        reinterpret_cast<const uint8_t*>(blocks + offsetof(BlockQ4_K, scales));
    const auto* codes = reinterpret_cast<const uint8_t*>(blocks + offsetof(BlockQ4_K, qs));
    for (int group = 0; group < 8; group += 2, codes += 32, x += 64) {
      const ScaleMin a = unpack_k_scale_min(packed, group);
      const ScaleMin b = unpack_k_scale_min(packed, group + 1);
      const auto scale_a = set(d, block_scale * static_cast<float>(a.scale));
      const auto scale_b = set(d, block_scale * static_cast<float>(b.scale));
      const auto min_a = set(d, -(block_min * static_cast<float>(a.min)));
      const auto min_b = set(d, -(block_min * static_cast<float>(b.min)));
      for (size_t j = 0; j < 32; j += step) {  // products are exact, so FMA or not is the same
        const auto pair = promote(di, dn, load_some<kFill>(dn, codes + j, 32 - j));
        const auto first = from_int(bit_and(pair, low)), second = from_int(shr<4>(pair));
        store_some<kFill>(d, mul_add(scale_a, first, min_a), x + j, 32 - j);
        store_some<kFill>(d, mul_add(scale_b, second, min_b), x + 32 + j, 32 - j);
      }
    }
  }
}

template <class D, Fill kFill>
void dequantize_q6_k(const std::byte* blocks, float* x, index_t count) {
  const D d;
  const Rebind<int32_t, D> di;
  const Rebind<uint8_t, D> dn;
  const size_t step = step_of<kFill>(d, 16);
  const auto low = set(di, 15), high = set(di, 0x30), middle = set(di, 32);
  for (; count > 0; --count, blocks += sizeof(BlockQ6_K)) {
    const float block_scale = scale_at(blocks + offsetof(BlockQ6_K, d));
    const auto* const scales =
        reinterpret_cast<const int8_t*>(blocks + offsetof(BlockQ6_K, scales));
    const auto* const ql = reinterpret_cast<const uint8_t*>(blocks);
    const auto* const qh = reinterpret_cast<const uint8_t*>(blocks + offsetof(BlockQ6_K, qh));
    for (int half = 0; half < 2; ++half) {
      for (int side = 0; side < 2; ++side, x += 16) {  // 4 times 16 elements, 32 apart
        const auto* const l0 = ql + 64 * half + 16 * side;
        const auto* const h0 = qh + 32 * half + 16 * side;
        const int8_t* const s = scales + 8 * half + side;
        const auto scale = [&](int i) TESSERA_LAMBDA {
          return set(d, block_scale * static_cast<float>(s[2 * i]));
        };
        for (size_t j = 0; j < 16; j += step) {
          const size_t left = 16 - j;
          const auto bytes = [&](const uint8_t* p) TESSERA_LAMBDA {
            return promote(di, dn, load_some<kFill>(dn, p + j, left));
          };
          const auto put = [&](int i, Vec<decltype(di)> code) TESSERA_LAMBDA {
            const auto value = mul(scale(i), from_int(sub(code, middle)));
            store_some<kFill>(d, value, x + 32 * i + j, left);
          };
          const auto a = bytes(l0), b = bytes(l0 + 32), h = bytes(h0);
          put(0, bit_or(bit_and(a, low), bit_and(shl<4>(h), high)));
          put(1, bit_or(bit_and(b, low), bit_and(shl<2>(h), high)));
          put(2, bit_or(shr<4>(a), bit_and(h, high)));
          put(3, bit_or(shr<4>(b), bit_and(shr<2>(h), high)));
        }
      }
      x += 96;
    }
  }
}

// The kernel for vectors of this thread's length, which may not be that of the next one: the smallest group of
// registers that holds kCount numbers, else as many as there may be.
template <class Kernel, size_t kCount, class... Args>
auto chosen(Args... args) {
  constexpr int kMost = !kHasLmul ? 1 : kCount == 32 ? 4 : 2;
  if (lanes(Tag<float>()) == kCount) {
    return Kernel::template run<Tag<float>, Fill::kOne>(args...);
  }
  if constexpr (kMost >= 2) {
    if (lanes(Tag<float, kMost >= 2 ? 2 : 1>()) == kCount) {
      return Kernel::template run<Tag<float, kMost >= 2 ? 2 : 1>, Fill::kOne>(args...);
    }
  }
  if constexpr (kMost > 2) {
    if (lanes(Tag<float, kMost>()) == kCount) {
      return Kernel::template run<Tag<float, kMost>, Fill::kOne>(args...);
    }
  }
  using Most = Tag<float, kMost>;
  if (kCount % lanes(Most()) == 0) return Kernel::template run<Most, Fill::kSeveral>(args...);
  return Kernel::template run<Most, Fill::kPartly>(args...);
}

#define TESSERA_BLOCK_KERNEL(Name, function)      \
  struct Name {                                   \
    template <class D, Fill kFill, class... Args> \
    static auto run(Args... args) {               \
      return function<D, kFill>(args...);         \
    }                                             \
  };
TESSERA_BLOCK_KERNEL(QuantizeQ8_0, quantize_q8_0)
TESSERA_BLOCK_KERNEL(QuantizeQ4_0, quantize_q4_0)
TESSERA_BLOCK_KERNEL(DequantizeQ8_0, dequantize_q8_0)
TESSERA_BLOCK_KERNEL(DequantizeQ4_0, dequantize_q4_0)
TESSERA_BLOCK_KERNEL(DequantizeQ4_K, dequantize_q4_k)
TESSERA_BLOCK_KERNEL(DequantizeQ6_K, dequantize_q6_k)
#undef TESSERA_BLOCK_KERNEL

template <class Kernel, size_t kCount>
inline constexpr detail::QuantizeBlocks kQuantize =
    &chosen<Kernel, kCount, const float*, std::byte*, index_t>;
template <class Kernel, size_t kCount>
inline constexpr detail::DequantizeBlocks kDequantize =
    &chosen<Kernel, kCount, const std::byte*, float*, index_t>;

}  // namespace block_formats

inline detail::BlockKernels block_kernels() {
  using namespace block_formats;  // NOLINT: the kernels' own namespace
  return {.quantize_q8_0 = kQuantize<QuantizeQ8_0, 32>,
          .quantize_q4_0 = kQuantize<QuantizeQ4_0, 16>,
          .dequantize_q8_0 = kDequantize<DequantizeQ8_0, 32>,
          .dequantize_q4_0 = kDequantize<DequantizeQ4_0, 16>,
          .dequantize_q4_k = kDequantize<DequantizeQ4_K, 32>,
          .dequantize_q6_k = kDequantize<DequantizeQ6_K, 16>};
}

TESSERA_END_TARGET

#endif  // TESSERA_KERNELS_BLOCK_FORMATS_INL_H_
