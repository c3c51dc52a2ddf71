// SPDX-License-Identifier: Apache-2.0
// Chooses the algorithm of a convolution, packs its filters, runs it.
#ifndef TESSERA_OPS_CONV_DRIVER_H_
#define TESSERA_OPS_CONV_DRIVER_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/conv_checks.h"
#include "tessera/ops/conv_depthwise.h"
#include "tessera/ops/conv_gemm.h"
#include "tessera/ops/conv_geometry.h"
#include "tessera/ops/conv_problem.h"
#include "tessera/ops/conv_winograd.h"
#include "tessera/ops/gemm_driver.h"

namespace tessera::inline TESSERA_ABI::impl {

struct ConvChoice {
  ConvAlgorithm algorithm;
  const char* reason;
};

// The algorithm that was asked for, if it can be used.
inline void check_conv_algorithm(const ConvProblem& p) {
  const auto refuse = [&p](const std::string& expected, const std::string& got) {
    fail(p.function, "options.algorithm", expected, got);
  };
  if (p.algorithm == ConvAlgorithm::kDepthwise && !is_depthwise(p)) {
    refuse("another than depthwise, which is for several groups of one channel each, of at most " +
               std::to_string(kMostFiltersPerChannel) + " filters (and for integers at most " +
               std::to_string(kMostExactTaps) + " taps)",
           std::to_string(p.groups) + " groups of " + std::to_string(p.w.extents[4]) + " channels");
  }
  if (winograd_outputs(p.algorithm) == 0) return;
  const std::string asked(name(p.algorithm));
  if (p.numerics != Numerics::kFast) {
    refuse("one that keeps the bits, as options.numerics is kReproducible", asked);
  }
  if (!suits_winograd(p)) {
    refuse("another for this problem: " + asked +
               " is for 3x3 filters of floats, stride 1, dilation 1, one group",
           "it");
  }
}

// Winograd's tiles pay where there are channels enough to multiply, and as long as the filters, which grow (m + 2)^2 / 9
// times, are not most of the memory that is read. (Sapphire Rapids, one core, 2026-11, against register tiles: F(4x4) 2.3
// times as fast with 64 and 128 channels, 1.6 with 256 of 14^2, .5 with 512 of 7^2, where F(2x2) has 1.1. Zen 3, AVX2: 2.6
// with 64 of 56^2, 2.9 with 128 of 28^2, 2.2 with 256 of 14^2, F(2x2) 1.5 with 512 of 7^2.)
inline ConvAlgorithm winograd_that_pays(const ConvProblem& p) {
  constexpr index_t kFewChannels = 16, kLargeFilters = index_t{12} << 20;
  const index_t out = p.w.extents[0], in = p.w.extents[4];
  if (out < kFewChannels || in < kFewChannels) return ConvAlgorithm::kImplicitGemm;
  const auto bytes = [&](index_t m) { return (m + 2) * (m + 2) * in * out * 4; };
  if (bytes(4) <= kLargeFilters) return ConvAlgorithm::kWinograd4;
  return bytes(2) <= 2 * kLargeFilters ? ConvAlgorithm::kWinograd2 : ConvAlgorithm::kImplicitGemm;
}

inline ConvChoice choose_conv_algorithm(const ConvProblem& p) {
  check_conv_algorithm(p);
  if (p.packed) return {p.packed->layout().algorithm, "w was packed for it"};
  if (p.algorithm != ConvAlgorithm::kAuto) return {p.algorithm, "it was asked for"};
  if (is_depthwise(p)) return {ConvAlgorithm::kDepthwise, "each group has one channel"};
  if (p.numerics == Numerics::kFast && suits_winograd(p)) {
    return {winograd_that_pays(p), "3x3 filters and numerics of kFast, by the number of channels"};
  }
  return {ConvAlgorithm::kImplicitGemm, "groups have several channels"};
}

// A convolution on one target: what its filters take, and its runs, phase by phase.
class ConvCall {
 public:
  ConvCall(const ConvProblem& p, const KernelTable& table, const Context* context)
      : p_(p), table_(table), context_(context), choice_(choose_conv_algorithm(p)) {
    if (!is_depthwise_run()) gemm_ = conv_kernels(p, table, context);
  }

  const ConvChoice& choice() const { return choice_; }
  const ConvKernels& gemm() const { return gemm_; }
  index_t winograd_m() const { return winograd_outputs(choice_.algorithm); }
  bool is_depthwise_run() const { return choice_.algorithm == ConvAlgorithm::kDepthwise; }

  index_t filter_bytes() const {
    index_t bytes = 0;
    for_each_phase(p_, [&](const ConvPhase& phase) { bytes += filter_bytes(phase); });
    return bytes;
  }
  // Scratch that packing takes.
  index_t packing_bytes() const {
    if (is_depthwise_run()) return 0;
    return winograd_m() > 0 ? winograd_filters().gather_bytes() : gather_bytes(p_, gemm_);
  }
  void pack(std::byte* filters, std::byte* scratch) const {
    if (std::any_of(p_.w.extents.begin(), p_.w.extents.end(), [](index_t e) { return e == 0; }))
      return;
    if (is_depthwise_run()) {
      pack_depthwise_filters(p_, table_, filters);
    } else if (winograd_m() > 0) {
      pack_winograd_filters(p_, winograd_filters(), filters, scratch);
    } else {
      pack_filters_into(p_, gemm_, filters, scratch);
    }
  }

  // f(run) for each phase that has outputs; `filters` may be null where nothing is run.
  template <class F>
  void for_each_run(const std::byte* filters, F f) const {
    const Executor executor = context_ ? context_->executor : Executor{};
    const CacheSizes& caches = caches_of(context_);
    index_t before = 0;
    for_each_phase(p_, [&](const ConvPhase& phase) {
      const std::byte* const own = filters ? filters + before : nullptr;
      before += filter_bytes(phase);
      if (phase.is_empty()) return;
      if (is_depthwise_run()) {
        f(ConvDepthwiseRun(p_, table_, phase, own, executor, caches));
      } else if (const index_t m = winograd_m(); m > 0) {
        f(ConvWinogradRun(p_, gemm_, table_.winograd[m / 2 - 1], m, phase, own, executor,
                          bytes_per_thread(caches.l2)));
      } else {
        f(ConvGemmRun(p_, gemm_, phase, own, executor, bytes_per_thread(caches.l2)));
      }
    });
  }

 private:
  WinogradFilters winograd_filters() const { return {gemm_, winograd_m()}; }

  index_t filter_bytes(const ConvPhase& phase) const {
    if (is_depthwise_run()) return depthwise_filter_bytes(p_, phase);
    return winograd_m() > 0 ? winograd_filters().bytes() : p_.groups * gemm_.filter_bytes(phase);
  }

  const ConvProblem& p_;
  const KernelTable& table_;
  const Context* context_;
  ConvChoice choice_;
  ConvKernels gemm_{};
};

// Scratch of a call: filters that are not packed yet, then what packing them takes, or what runs take after it.
struct ConvWorkspace {
  index_t filters = 0, more = 0;
  index_t bytes() const { return filters + more; }
};

inline ConvWorkspace conv_workspace(const ConvProblem& p, const ConvCall& call) {
  ConvWorkspace w;
  if (p.packed == nullptr) {
    w.filters = aligned(call.filter_bytes());
    w.more = call.packing_bytes();
  }
  call.for_each_run(nullptr, [&](const auto& run) {
    w.more = std::max(w.more, static_cast<index_t>(run.scratch_bytes()));
  });
  return w;
}

inline bool has_results(const ConvProblem& p) {
  return std::all_of(p.y.extents.begin(), p.y.extents.end(), [](index_t e) { return e > 0; });
}

// ---- What conv.h calls

TESSERA_LIBRARY_FUNCTION void checked_conv(const ConvProblem& p, Context* context) {
  const KernelTable& table = kernels_for < kGemmFamily | kConvFamily > (p.function, context);
  check_conv(p, table, context);
  const ConvCall call(p, table, context);
  if (!has_results(p)) return;
  const ConvWorkspace w = conv_workspace(p, call);
  Scratch& scratch = context ? context->scratch : thread_scratch();
  std::byte* const memory = scratch.reserve(static_cast<std::size_t>(w.bytes()), p.function);
  if (p.packed == nullptr) call.pack(memory, memory + w.filters);
  call.for_each_run(p.packed ? p.packed->data() : memory,
                    [&](const auto& run) { run(memory + w.filters); });
}

TESSERA_LIBRARY_FUNCTION PackedFilterMemory checked_pack_conv(const ConvProblem& p,
                                                              Context* context) {
  const KernelTable& table = kernels_for < kGemmFamily | kConvFamily > (p.function, context);
  check_conv_options(p);
  check_tensor(p.function, "w", memory_of(p.w, p.rank));
  check_tuning(p.function, product_kernels(p, table), table.target, context);
  const ConvCall call(p, table, context);
  PackedFilterMemory packed({.extents = p.w.extents,
                             .stride = p.stride,
                             .dilation = p.dilation,
                             .groups = p.groups,
                             .transposed = p.transposed,
                             .dtype = p.w.dtype,
                             .algorithm = call.choice().algorithm,
                             .target = table.target,
                             .tile = call.gemm().tile,
                             .kc = call.gemm().most_kc,
                             .panel = call.gemm().panel,
                             .pad = call.gemm().pad},
                            call.filter_bytes());
  const auto scratch = allocate_aligned(static_cast<std::size_t>(call.packing_bytes()));
  call.pack(packed.data(), scratch.get());
  return packed;
}

TESSERA_LIBRARY_FUNCTION ConvPlan checked_conv_plan(const ConvProblem& p, Context* context) {
  const KernelTable& table = kernels_for < kGemmFamily | kConvFamily > (p.function, context);
  check_conv(p, table, context);
  const ConvCall call(p, table, context);
  ConvPlan plan;
  plan.target = table.target;
  plan.algorithm = call.choice().algorithm;
  plan.reason = call.choice().reason;
  if (!call.is_depthwise_run()) {
    plan.tile = call.gemm().gemm->tiles[call.gemm().tile].shape;
    for_each_phase(
        p, [&](const ConvPhase& phase) { plan.kc = std::max(plan.kc, call.gemm().kc(phase)); });
  }
  if (!has_results(p)) return plan;
  plan.workspace_bytes = conv_workspace(p, call).bytes();
  call.for_each_run(nullptr, [&](const auto& run) {
    plan.in_place = run.in_place();
    plan.rows = run.rows_per_block();
  });
  plan.reason += plan.in_place ? "; x is read in place"
                               : "; x goes through strips, for its padding, layout or type";
  return plan;
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_CONV_DRIVER_H_
