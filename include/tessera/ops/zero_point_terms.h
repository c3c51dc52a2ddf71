// SPDX-License-Identifier: Apache-2.0
// What zero points add to the sums of a product (kernels/gemm_kernels.h, ZeroPointTerms), before it is computed.
#ifndef TESSERA_OPS_ZERO_POINT_TERMS_H_
#define TESSERA_OPS_ZERO_POINT_TERMS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tessera/core/context.h"
#include "tessera/core/scratch.h"
#include "tessera/kernels/gemm_kernels.h"
#include "tessera/ops/gemm_problem.h"

namespace tessera::inline TESSERA_ABI::impl {

inline bool uses_zero_points(const GemmProblem& p) {
  return p.k > 0 && (p.a.zero_points.any() || p.b.zero_points.any());
}

// What zero points add to the sums, in scratch of the call: vectors of m and n elements.
class ZeroPointRun {
 public:
  explicit ZeroPointRun(const GemmProblem& p) : p_(p) {
    if (!uses_zero_points(p)) return;
    if (p.a.zero_points.any()) {
      a_zeros_ = aligned(p.a.zero_points.per_line ? p.m : 1);
      b_terms_ = aligned(p.n);
    }
    if (p.b.zero_points.any()) {
      b_zeros_ = aligned(p.n);
      a_terms_ = aligned(p.m);
    }
  }

  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>((a_zeros_ + b_terms_ + b_zeros_ + a_terms_) * 4);
  }

  // What kernels add to the sums: null if it is nothing. The vectors are made by operator().
  const ZeroPointTerms* terms() const { return uses_zero_points(p_) ? &terms_ : nullptr; }

  void operator()(std::byte* scratch, const GemmKernels& kernels, const Executor& executor) {
    auto* to = reinterpret_cast<std::int32_t*>(scratch);
    const ZeroPoints &za = p_.a.zero_points, &zb = p_.b.zero_points;
    if (a_zeros_ > 0) {
      std::int32_t *const zeros = to, *const terms = to + a_zeros_;
      to += a_zeros_ + b_terms_;
      for (index_t i = 0; i < (za.per_line ? p_.m : 1); ++i) zeros[i] = za[i];
      const std::int32_t* sums = terms;
      if (p_.b.packed != nullptr) {
        sums = p_.b.packed->sums();
      } else {
        sum_lines({p_.b.data, p_.b.dtype, p_.b.strides[1], p_.b.strides[0], p_.n, p_.k, terms},
                  kernels, executor);
      }
      const auto k = static_cast<std::uint32_t>(p_.k);
      for (index_t j = 0; j < p_.n; ++j) {
        const auto zero = static_cast<std::uint32_t>(zb[j]);
        terms[j] = static_cast<std::int32_t>(k * zero - static_cast<std::uint32_t>(sums[j]));
      }
      terms_.a_zeros = zeros;
      terms_.a_zero_stride = za.per_line ? 1 : 0;
      terms_.b_terms = terms;
    }
    if (b_zeros_ > 0) {
      std::int32_t *const zeros = to, *const terms = to + b_zeros_;
      for (index_t j = 0; j < p_.n; ++j) zeros[j] = zb[j];
      const std::int32_t* sums = terms;
      if (p_.a.packed != nullptr) {
        sums = p_.a.packed->sums();
      } else {
        sum_lines({p_.a.data, p_.a.dtype, p_.a.strides[0], p_.a.strides[1], p_.m, p_.k, terms},
                  kernels, executor);
      }
      for (index_t i = 0; i < p_.m; ++i) {
        terms[i] = static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(sums[i]));
      }
      terms_.b_zeros = zeros;
      terms_.a_terms = terms;
    }
  }

 private:
  // Elements, of which each vector starts on a boundary.
  static index_t aligned(index_t count) {
    return round_up(count, static_cast<index_t>(kScratchAlignment / sizeof(std::int32_t)));
  }

  // Runs of lines as tasks.
  static void sum_lines(const LineSums& s, const GemmKernels& kernels, const Executor& executor) {
    constexpr index_t kFewest = 64;
    const index_t tasks =
        executor.concurrency() == 1
            ? 1
            : std::clamp<index_t>(s.count / kFewest, 1, 4 * executor.concurrency());
    const index_t run = (s.count + tasks - 1) / tasks;
    executor.parallel_for(tasks, [&](index_t task) {
      LineSums part = s;
      const index_t first = std::min(task * run, s.count);
      part.from = static_cast<const std::byte*>(s.from) + first * s.stride * size_of(s.dtype);
      part.count = std::min(run, s.count - first);
      part.sums = s.sums + first;
      kernels.sum_lines(part);
    });
  }

  const GemmProblem& p_;
  ZeroPointTerms terms_;
  index_t a_zeros_ = 0, b_terms_ = 0, b_zeros_ = 0, a_terms_ = 0;  // elements
};

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_ZERO_POINT_TERMS_H_
