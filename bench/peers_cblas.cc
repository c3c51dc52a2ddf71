// SPDX-License-Identifier: Apache-2.0
// BLAS libraries with the C interface. All of them export the same symbols, so each is loaded by itself,
// when the program runs: none is needed to build, and they don't see each other.
#include <dlfcn.h>

#include <cstdlib>
#include <initializer_list>
#include <stdexcept>

#include "bench/peers.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {
namespace {

// Of CBLAS_ORDER, CBLAS_TRANSPOSE.
enum : int { kRowMajor = 101, kNoTranspose = 111, kTranspose = 112 };

template <class T>
using CblasGemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                           T alpha, const T* a, int lda, const T* b, int ldb, T beta, T* c,
                           int ldc);
template <class T>
using CblasGemv = void (*)(int order, int transpose, int rows, int cols, T alpha, const T* a,
                           int lda, const T* x, int stride_x, T beta, T* y, int stride_y);

template <class F>
F symbol(void* library, const char* name) {
  return reinterpret_cast<F>(dlsym(library, name));
}

// A product of one row is a gemv, as whoever knows BLAS would write it: some libraries' gemm is several
// times slower there.
template <class Types>
GemmPrepare<Types> cblas_gemm(void* library, const char* gemm_name, const char* gemv_name) {
  using T = typename Types::C;
  const auto gemm = symbol<CblasGemm<T>>(library, gemm_name);
  const auto gemv = symbol<CblasGemv<T>>(library, gemv_name);
  if (gemm == nullptr) return nullptr;
  return [gemm, gemv](const GemmOperands<Types>& o) -> GemmRun {
    const int m = static_cast<int>(o.shape.m), n = static_cast<int>(o.shape.n);
    const int k = static_cast<int>(o.shape.k);
    if (m == 1 && gemv != nullptr) {
      const int transpose = o.b_transposed ? kNoTranspose : kTranspose;
      const int rows = o.b_transposed ? n : k, cols = o.b_transposed ? k : n;
      return {
          [=] { gemv(kRowMajor, transpose, rows, cols, T{1}, o.b, cols, o.a, 1, T{0}, o.c, 1); },
          {}};
    }
    const int transpose = o.b_transposed ? kTranspose : kNoTranspose;
    const int ldb = o.b_transposed ? k : n;
    return {[=] {
              gemm(kRowMajor, kNoTranspose, transpose, m, n, k, T{1}, o.a, k, o.b, ldb, T{0}, o.c,
                   n);
            },
            {}};
  };
}

// RTLD_DEEPBIND: its own symbols before those of any other BLAS.
void* open_library(const char* file) { return dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND); }

// The first of `files` that can be loaded; `variable` of the environment may name another.
void* load(const char* variable, std::initializer_list<const char*> files) {
  if (const char* file = std::getenv(variable)) return open_library(file);
  for (const char* file : files) {
    if (void* library = open_library(file)) return library;
  }
  return nullptr;
}

// Keeps what the user has set.
void set_default(const char* variable, const char* value) {
  if (value != nullptr) setenv(variable, value, 0);
}

// What a library calls the first core of the instructions that `target` has; null: its own choice.
struct CoreNames {
  const char* sse4;
  const char* avx2;
};
const char* core_name(const CoreNames& names) {
  const Target target = active_target();
  return target == Target::kSse4 ? names.sse4 : target == Target::kAvx2 ? names.avx2 : nullptr;
}

GemmContender make_contender(const std::string& name, void* library, std::string description) {
  return {.name = name,
          .description = std::move(description),
          .f32 = cblas_gemm<F32>(library, "cblas_sgemm", "cblas_sgemv"),
          .f64 = cblas_gemm<F64>(library, "cblas_dgemm", "cblas_dgemv")};
}

void add(GemmContender peer, Contenders& found, Lines& missing) {
  if (!peer.f32 || !peer.f64) {
    missing.push_back(peer.name + ": loaded, but it has no cblas_sgemm and cblas_dgemm");
  } else {
    found.push_back(std::move(peer));
  }
}

std::string missing_line(const char* name, const char* package, const char* variable) {
  return std::string(name) + ": not installed (Debian: " + package + "; or " + variable +
         "=<its shared library>)";
}

}  // namespace

GemmContender cblas_contender(const std::string& name, const std::string& file) {
  void* const library = open_library(file.c_str());
  if (library == nullptr) throw std::runtime_error(dlerror());
  GemmContender contender = make_contender(name, library, file);
  if (!contender.f32 || !contender.f64)
    throw std::runtime_error(file + " has no cblas_sgemm and cblas_dgemm");
  return contender;
}

void find_cblas(int threads, Contenders& found, Lines& missing) {
  const std::string count = std::to_string(threads);
  set_default("OPENBLAS_NUM_THREADS", count.c_str());
  set_default("OPENBLAS_CORETYPE", core_name({"Nehalem", "Haswell"}));
  if (void* openblas = load("TESSERA_BENCH_OPENBLAS", {"libopenblas.so.0", "libopenblas.so"})) {
    if (const auto set = symbol<void (*)(int)>(openblas, "openblas_set_num_threads")) {
      set(threads);
    }
    std::string about = "?";
    if (const auto config = symbol<const char* (*)()>(openblas, "openblas_get_config")) {
      about = config();
      about = about.substr(0, about.find(' ', about.find(' ') + 1));  // "OpenBLAS 0.3.21 NO_..."
    }
    if (const auto core = symbol<const char* (*)()>(openblas, "openblas_get_corename")) {
      about += std::string(", kernels for ") + core();
    }
    add(make_contender("openblas", openblas, about), found, missing);
  } else {
    missing.push_back(missing_line("openblas", "libopenblas0", "TESSERA_BENCH_OPENBLAS"));
  }

  set_default("BLIS_NUM_THREADS", count.c_str());
  set_default("BLIS_ARCH_TYPE", core_name({"generic", "haswell"}));
  if (void* blis = load("TESSERA_BENCH_BLIS", {"libblis.so.4", "libblis.so.5", "libblis.so"})) {
    std::string about = "BLIS ";
    if (const auto version = symbol<const char* (*)()>(blis, "bli_info_get_version_str")) {
      about += version();
    }
    add(make_contender("blis", blis, about), found, missing);
  } else {
    missing.push_back(missing_line("blis", "libblis4", "TESSERA_BENCH_BLIS"));
  }
}

}  // namespace tessera::bench
