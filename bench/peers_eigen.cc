// SPDX-License-Identifier: Apache-2.0
// Eigen: templates, so it is as good as the flags of this file, those of this very machine.
#include <Eigen/Core>

#include "bench/peers.h"

namespace tessera::bench {
namespace {

template <class T, int kOrder>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, kOrder>;

template <class Types>
GemmRun eigen_gemm(const GemmOperands<Types>& o) {
  using T = typename Types::C;
  const auto [m, n, k] = o.shape;
  const Eigen::Map<const Matrix<T, Eigen::RowMajor>> a(o.a, m, k);
  Eigen::Map<Matrix<T, Eigen::RowMajor>> c(o.c, m, n);
  if (o.b_transposed) {
    const Eigen::Map<const Matrix<T, Eigen::ColMajor>> b(o.b, k, n);
    return {[a, b, c]() mutable { c.noalias() = a * b; }, {}};
  }
  const Eigen::Map<const Matrix<T, Eigen::RowMajor>> b(o.b, k, n);
  return {[a, b, c]() mutable { c.noalias() = a * b; }, {}};
}

}  // namespace

void find_eigen(int threads, Contenders& found, Lines&) {
  Eigen::setNbThreads(threads);
  const std::string version =
      std::to_string(EIGEN_MAJOR_VERSION) + "." + std::to_string(EIGEN_MINOR_VERSION);
  found.push_back({.name = "eigen",
                   .description = "Eigen " + version + ", compiled for this machine (" +
                                  Eigen::SimdInstructionSetsInUse() + ")",
                   .f32 = &eigen_gemm<F32>,
                   .f64 = &eigen_gemm<F64>});
}

}  // namespace tessera::bench
