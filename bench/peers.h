// SPDX-License-Identifier: Apache-2.0
// Contenders of a GEMM comparison: Tessera and the libraries that this machine has. A further one is a
// function that returns a GemmContender, and a line in find_peers().
#ifndef TESSERA_BENCH_PEERS_H_
#define TESSERA_BENCH_PEERS_H_

#include <functional>
#include <string>
#include <vector>

#include "tessera/core/context.h"

namespace tessera::bench {

// C[m, n] = A[m, k] * B[k, n], all dense and row-major, on the calling thread only.
template <class T>
using GemmFunction =
    std::function<void(index_t m, index_t n, index_t k, const T* a, const T* b, T* c)>;

struct GemmContender {
  std::string name;         // a column of the table
  std::string description;  // version, kernels in use
  GemmFunction<float> f32;
  GemmFunction<double> f64;

  template <class T>
  const GemmFunction<T>& gemm() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

// Tessera; `variant` overrides what it would choose by itself, as "tile=1,kc=256,packing=never", and
// names the contender if not empty. Throws std::invalid_argument on one that it can't read.
GemmContender tessera_contender(const std::string& variant = "");

// Every peer that is installed, limited to one thread and to the instructions of Tessera's active target.
// Adds one line to `missing` for each that is not.
std::vector<GemmContender> find_peers(std::vector<std::string>& missing);

// peers_cblas.cc: OpenBLAS, BLIS. Adds to `found` or to `missing`.
void find_cblas_peers(std::vector<GemmContender>& found, std::vector<std::string>& missing);

// Any other BLAS: a shared library with the C interface. Its number of threads is the caller's business.
// Throws std::runtime_error if it can't be loaded.
GemmContender cblas_contender(const std::string& name, const std::string& file);

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_PEERS_H_
