// SPDX-License-Identifier: Apache-2.0

// The peak probes of one target, over the SIMD vocabulary. Only peak.cc includes this file.

#if defined(TESSERA_BENCH_PEAK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_BENCH_PEAK_INL_H_
#undef TESSERA_BENCH_PEAK_INL_H_
#else
#define TESSERA_BENCH_PEAK_INL_H_
#endif

#include "bench/peak.h"
#include "tessera/simd/simd-inl.h"

TESSERA_BEGIN_TARGET

// Two pipelines of latency 4 to 5 need 8 to 10 chains, each more covers a stall of another: with 8,
// code of g++ 12 reads 98 GFLOP/s on a Zen 3 core whose limit is 112. Beyond 24 nothing is gained.
inline constexpr int kPeakChains = kVectorRegisters >= 32 ? 24 : 12;

// Multiply-adds of a chain per loop iteration, so that the loop itself costs nothing.
inline constexpr int kPeakSteps = 16;

// Parts of the buffer that are read side by side: the hardware prefetches along each of them. From memory, one reads
// 14.9 GB/s on a Sapphire Rapids Xeon, two or more 16.3 (2026-11).
inline constexpr size_t kReadStreams = 4;

template <class D, class... Acc>
TESSERA_INLINE void peak_step(Vec<D> x, Vec<D> y, Acc&... acc) {
  ((acc = mul_add(x, y, acc)), ...);
}

template <class D, size_t... kI, class... Acc>
TESSERA_INLINE void peak_steps(D, Vec<D> x, Vec<D> y, std::index_sequence<kI...>, Acc&... acc) {
  ((static_cast<void>(kI), peak_step<D>(x, y, acc...)), ...);
}

template <class T>
std::int64_t peak_fmas(std::int64_t fmas) {
  const Tag<T> d;
  // From memory that the compiler can't know, for each chain again: chains that start alike are one to
  // an optimiser, and read three times the speed of light. Small, so that no sum overflows.
  static volatile T source = static_cast<T>(1e-3);
  [[maybe_unused]] static volatile T sink;
  const auto x = set(d, source), y = set(d, source);
  const auto per_iteration = static_cast<std::int64_t>(lanes(d)) * kPeakChains * kPeakSteps;
  const std::int64_t iterations = fmas / per_iteration + 1;
  with_accumulators<kPeakChains>(d, [&](auto&... acc) TESSERA_LAMBDA {
    ((acc = set(d, source)), ...);
    for (std::int64_t i = 0; i < iterations; ++i) {
      peak_steps(d, x, y, std::make_index_sequence<kPeakSteps>(), acc...);
    }
    auto sum = zero(d);
    ((sum = add(sum, acc)), ...);
    sink = reduce_add(d, sum);
  });
  return iterations * per_iteration;
}

// Or: one operation per load, on as many ports as any other.
template <class D, size_t... kI, class... Acc>
TESSERA_INLINE void read_step(D d, const int32_t* p, size_t stream, std::index_sequence<kI...>,
                              Acc&... acc) {
  ((acc = bit_or(acc, load(d, p + kI % kReadStreams * stream + kI / kReadStreams * lanes(d)))),
   ...);
}

inline void peak_read(const std::byte* data, size_t bytes) {
  constexpr size_t kVectors = 8;
  const Tag<int32_t> d;
  [[maybe_unused]] static volatile int32_t sink;
  const size_t step = kVectors / kReadStreams * lanes(d);
  const auto* p = reinterpret_cast<const int32_t*>(data);
  const size_t stream = bytes / sizeof(int32_t) / kReadStreams / step * step;
  const auto* const end = p + stream;
  with_accumulators<kVectors>(d, [&](auto&... acc) TESSERA_LAMBDA {
    for (; p != end; p += step) {
      read_step(d, p, stream, std::make_index_sequence<kVectors>(), acc...);
    }
    auto any = zero(d);
    ((any = bit_or(any, acc)), ...);
    int32_t first[1];
    store_n(d, any, first, 1);
    sink = first[0];
  });
}

inline constexpr bench::PeakProbe kPeakProbe{kTarget, &peak_fmas<float>, &peak_fmas<double>,
                                             &peak_read};

TESSERA_END_TARGET

#endif  // TESSERA_BENCH_PEAK_INL_H_
