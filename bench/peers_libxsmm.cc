// SPDX-License-Identifier: Apache-2.0
// libxsmm generates a kernel for the very shape, for small matrices.
#include <libxsmm.h>

#include <algorithm>

#include "bench/peers.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {
namespace {

constexpr index_t kMostExtent = 256;  // its kernels don't block for caches

// Its matrices are column-major: C^T = B^T A^T. It generates nothing for a transposed operand.
template <class Types, class Dispatch>
GemmRun libxsmm_gemm(const GemmOperands<Types>& o, Dispatch dispatch) {
  if (o.b_transposed || std::max({o.shape.m, o.shape.n, o.shape.k}) > kMostExtent) return {};
  const auto m = static_cast<libxsmm_blasint>(o.shape.m),
             n = static_cast<libxsmm_blasint>(o.shape.n),
             k = static_cast<libxsmm_blasint>(o.shape.k);
  const typename Types::C alpha = 1, beta = 0;
  const auto kernel = dispatch(n, m, k, &n, &k, &n, &alpha, &beta, nullptr, nullptr);
  if (kernel == nullptr) return {};
  return {[kernel, o] { kernel(o.b, o.a, o.c); }, {}};
}

}  // namespace

void find_libxsmm(int threads, Contenders& found, Lines& missing) {
  if (threads != 1) {
    missing.push_back("libxsmm: its kernels run on one thread");
    return;
  }
  libxsmm_init();
  if (active_target() == Target::kSse4) libxsmm_set_target_arch("wsm");
  if (active_target() == Target::kAvx2) libxsmm_set_target_arch("hsw");
  found.push_back(
      {.name = "libxsmm",
       .description = "libxsmm " LIBXSMM_CONFIG_VERSION " for " +
                      std::string(libxsmm_get_target_arch()) + ", up to " +
                      std::to_string(kMostExtent),
       .f32 = [](const GemmOperands<F32>& o) { return libxsmm_gemm(o, libxsmm_smmdispatch); },
       .f64 = [](const GemmOperands<F64>& o) { return libxsmm_gemm(o, libxsmm_dmmdispatch); }});
}

}  // namespace tessera::bench
