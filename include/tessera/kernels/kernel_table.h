// SPDX-License-Identifier: Apache-2.0
// All kernels of one target, as the dispatch tables hold them.
#ifndef TESSERA_KERNELS_KERNEL_TABLE_H_
#define TESSERA_KERNELS_KERNEL_TABLE_H_

#include <type_traits>

#include "tessera/core/isa.h"
#include "tessera/kernels/gemm_kernels.h"

namespace tessera::detail {

struct KernelTable {
  Target target{};
  GemmKernels<float> gemm_f32{};
  GemmKernels<double> gemm_f64{};

  template <class T>
  const GemmKernels<T>& gemm() const {
    if constexpr (std::is_same_v<T, float>) {
      return gemm_f32;
    } else {
      static_assert(std::is_same_v<T, double>, "tessera: GEMM kernels exist for float and double");
      return gemm_f64;
    }
  }

  // Takes the kernel families that this target has none of from the next slower target.
  void inherit(const KernelTable& slower) {
    if (gemm_f32.tiles == nullptr) gemm_f32 = slower.gemm_f32;
    if (gemm_f64.tiles == nullptr) gemm_f64 = slower.gemm_f64;
  }
};

}  // namespace tessera::detail

#endif  // TESSERA_KERNELS_KERNEL_TABLE_H_
