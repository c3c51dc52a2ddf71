// SPDX-License-Identifier: Apache-2.0
// One warm GEMM call between the markers of rvcount.c, after a call that is checked.
//   count_gemm f32|f64|s8|bf16|f16 M N K [BLAS]    BLAS: a shared library with the C interface, instead of Tessera
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "bench/count/region.h"
#include "bench/gemm_workload.h"
#include "bench/peers.h"

namespace tessera::bench {
namespace {

template <class Types>
int count(const GemmShape& shape, const GemmContender& who) {
  GemmWorkload<Types> work(shape);
  const GemmRun run = who.prepare(work.operands());
  const GemmCheck check = work.check(run);
  std::fprintf(stderr, "CHECK %.3f of the error bound, %s\n", check.error, who.description.c_str());
  if (check.wrong()) return EXIT_FAILURE;
  count_region(run.call);
  return EXIT_SUCCESS;
}

int run(int argc, char** argv) {
  if (argc < 5 || argc > 6) {
    std::fprintf(stderr, "usage: count_gemm f32|f64|s8|bf16|f16 M N K [BLAS]\n");
    return EXIT_FAILURE;
  }
  const GemmShape shape{std::atol(argv[2]), std::atol(argv[3]), std::atol(argv[4])};
  const GemmContender who = argc == 6 ? cblas_contender("blas", argv[5]) : tessera_contender();
  const std::string type = argv[1];
  if (type == F64::kName) return count<F64>(shape, who);
  if (type == S8::kName) return count<S8>(shape, who);
  if (type == BF16::kName) return count<BF16>(shape, who);
  if (type == F16::kName) return count<F16>(shape, who);
  return count<F32>(shape, who);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  try {
    return tessera::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "count_gemm: %s\n", e.what());
    return EXIT_FAILURE;
  }
}
