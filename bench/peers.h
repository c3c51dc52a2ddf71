// SPDX-License-Identifier: Apache-2.0
// Contenders of a GEMM comparison: Tessera and the libraries that this machine has. A further one is a file
// peers_<name>.cc with a function that adds to `found` or to `missing`, a line in find_peers(), and a line in
// CMakeLists.txt.
#ifndef TESSERA_BENCH_PEERS_H_
#define TESSERA_BENCH_PEERS_H_

#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "bench/gemm_types.h"
#include "tessera/core/context.h"

namespace tessera::bench {

// One product, ready to be run again and again.
struct GemmRun {
  std::function<void()> call;  // what is timed; empty: the contender can't do this product
  std::function<void()>
      finish;  // stores the result to C where `call` leaves it elsewhere; not timed

  explicit operator bool() const { return static_cast<bool>(call); }
};

// Makes the operands ready. The memory that they point to outlives the run; B does not change.
template <class Types>
using GemmPrepare = std::function<GemmRun(const GemmOperands<Types>&)>;

struct GemmContender {
  std::string name;         // of the library
  std::string description;  // version, kernels in use
  bool packed = false;      // B is reordered before the clock starts, as weights may be
  GemmPrepare<F32> f32{};   // empty: the library has no such product
  GemmPrepare<F64> f64{};
  GemmPrepare<S8> s8{};
  GemmPrepare<BF16> bf16{};
  GemmPrepare<F16> f16{};

  std::string label() const { return packed ? name + " packed" : name; }

  template <class Types>
  bool has() const {
    return static_cast<bool>(prepare_for<Types>());
  }
  template <class Types>
  GemmRun prepare(const GemmOperands<Types>& operands) const {
    return has<Types>() ? prepare_for<Types>()(operands) : GemmRun{};
  }

 private:
  template <class Types>
  const GemmPrepare<Types>& prepare_for() const {
    if constexpr (std::is_same_v<Types, F32>) return f32;
    if constexpr (std::is_same_v<Types, F64>) return f64;
    if constexpr (std::is_same_v<Types, S8>) return s8;
    if constexpr (std::is_same_v<Types, BF16>) return bf16;
    if constexpr (std::is_same_v<Types, F16>) return f16;
  }
};

// Tessera on `threads` threads; `variant` overrides what it would choose by itself, as
// "tile=1,kc=256,packing=never", and names the contender if not empty. Throws std::invalid_argument on one
// that it can't read.
GemmContender tessera_contender(int threads = 1, bool packed = false,
                                const std::string& variant = "");

// Every peer that is installed, limited to `threads` threads and to the instructions of Tessera's active target.
// Adds one line to `missing` for each that is not, or that can't be limited so.
std::vector<GemmContender> find_peers(int threads, std::vector<std::string>& missing);

// Each adds to `found` or to `missing`. The first loads its libraries when the program runs; the others
// exist if the library was there when the benchmarks were built.
using Contenders = std::vector<GemmContender>;
using Lines = std::vector<std::string>;
void find_cblas(int threads, Contenders& found, Lines& missing);  // OpenBLAS, BLIS
void find_onednn(int threads, Contenders& found, Lines& missing);
void find_eigen(int threads, Contenders& found, Lines& missing);
void find_xnnpack(int threads, Contenders& found, Lines& missing);
void find_libxsmm(int threads, Contenders& found, Lines& missing);
void find_ggml(int threads, Contenders& found, Lines& missing);
void find_onnxruntime(int threads, Contenders& found, Lines& missing);

// Any other BLAS: a shared library with the C interface. Its number of threads is the caller's business.
// Throws std::runtime_error if it can't be loaded.
GemmContender cblas_contender(const std::string& name, const std::string& file);

// B[k, n] as a dense [n, k] of its own, or the other way round.
template <class T>
std::vector<T> transposed_copy(const T* x, index_t rows, index_t cols) {
  std::vector<T> y(static_cast<std::size_t>(rows * cols));
  constexpr index_t kBlock =
      32;  // of rows: a whole column at a time would miss the cache at every element
  for (index_t first = 0; first < rows; first += kBlock) {
    const index_t last = first + kBlock < rows ? first + kBlock : rows;
    for (index_t j = 0; j < cols; ++j) {
      for (index_t i = first; i < last; ++i) {
        y[static_cast<std::size_t>(j * rows + i)] = x[i * cols + j];
      }
    }
  }
  return y;
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_PEERS_H_
