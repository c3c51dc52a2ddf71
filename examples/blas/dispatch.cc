// SPDX-License-Identifier: Apache-2.0
// Compiles the kernels for every target, and finds those of the active one.

#include "tessera/config.h"  // before Highway: says which targets

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels-inl.h"
#include "hwy/foreach_target.h"  // a pass for each target but the last, ...

#include "kernels-inl.h"  // ... which is compiled here

#include "tessera/dispatch/dispatch.h"

namespace tessera::blas {
namespace {

constexpr const TargetKernels* kAll[] = {
#define TESSERA_KERNELS_OF(bit, name_space) &name_space::kBlasKernels,
    HWY_VISIT_TARGETS(TESSERA_KERNELS_OF)
#undef TESSERA_KERNELS_OF
};

const TargetKernels* find(Target target) {
  for (const TargetKernels* kernels : kAll) {
    if (kernels->target == vector_target(target)) return kernels;
  }
  return nullptr;
}

}  // namespace

const TargetKernels& target_kernels() noexcept {
  const TargetKernels* found = nullptr;
  try {
    found = find(active_target());
  } catch (const Error&) {  // of TESSERA_TARGET; gemm.cc reports it
  }
  return found ? *found : *find(Target::kScalar);
}

}  // namespace tessera::blas
