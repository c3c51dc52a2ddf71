// SPDX-License-Identifier: Apache-2.0
#include "product.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <type_traits>

#include "kernels.h"
#include "scratch.h"
#include "tessera/ops/gemm.h"
#include "threads.h"

namespace tessera::blas {

void report_once(const char* what) noexcept {
  static std::atomic<bool> reported{false};
  if (!reported.exchange(true)) std::fprintf(stderr, "tessera_blas: %s; going on slowly\n", what);
}

namespace {

template <class From, class T>
void call_gemm(const Matrix<const From>& a, const Matrix<const From>& b, const Matrix<T>& c,
               T alpha, T beta, Context* context) noexcept {
  try {
    return gemm(a, b, c, {.alpha = alpha, .beta = beta, .context = context});
  } catch (const std::exception& error) {
    report_once(error.what());
  }
  multiply_plainly(a, b, c, alpha, beta, [](From x) { return static_cast<T>(x); });
}

// So few multiplications that the checks, the plan and the packing of a gemm take longer. Returns whether it is such a
// product. (Zen 3, of OpenBLAS by gemm and so: 16 x 16 x 16 f32 .72 and 2.1, f64 .65 and 1.2; 32 x 32 x 32 f32 1.06 and 1.5.)
template <class T>
bool run_small(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c, T alpha,
               T beta) noexcept {
  constexpr index_t kMost = 32 * 32 * 32, kElements = 1024;
  const index_t m = c.extents[0], n = c.extents[1], k = a.extents[1];
  if (std::max({m, n, k}) > kMost || m * n * k > kMost || alpha == T{0} || k == 0) return false;
  const Kernels<T>& kernel = kernels<T>();
  const T* rows = b.data;
  index_t stride = b.strides[0];
  T copy[kElements];
  if (b.strides[1] != 1) {
    if (b.strides[0] != 1 || b.strides[1] < 0 || n * k > kElements) return false;
    kernel.transpose(n, k, b.data, b.strides[1], copy, n);
    rows = copy, stride = n;
  }
  kernel.multiply_small(m, n, k, alpha, a.data, a.strides[0], a.strides[1], rows, stride, beta,
                        c.data, c.strides[0]);
  return true;
}

// to[rows, cols], contiguous, = alpha * a
template <class T>
void copy_scaled(const Matrix<const T>& a, T alpha, T* to) noexcept {
  const index_t rows = a.extents[0], cols = a.extents[1];
  if (a.strides[1] != 1) {
    kernels<T>().transpose(cols, rows, a.data, a.strides[1], to, cols);
    for (index_t e = 0; alpha != T{1} && e < rows * cols; ++e) to[e] *= alpha;
    return;
  }
  for (index_t i = 0; i < rows; ++i, to += cols) {
    const T* const from = &a(i, 0);
    for (index_t j = 0; j < cols; ++j) to[j] = alpha * from[j];
  }
}

// With a copy of alpha * a in rows. gemm would pack such an `a`, which lies in columns or has a factor, a few elements at a
// time, and that costs as much as a hundred multiplications. (Zen 3, f32: columns, 48 x 48 x 256 .37 of OpenBLAS, with this
// copy .88; 256 x 256 x 512 .47 and .86.) Returns whether there was memory.
template <class T>
bool run_copied(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c, T alpha,
                T beta, const Threads& threads) noexcept {
  constexpr index_t kElements = 1 << 18, kRows = 1024, kTask = 64;
  const index_t m = c.extents[0], n = c.extents[1], k = a.extents[1];
  const index_t most = std::min(m, kRows), depth = std::min(k, kElements / most);
  T* const copy = scratch<Use::kProduct, T>(most * depth);
  if (copy == nullptr) return false;
  for (index_t i = 0; i < m; i += most) {
    const index_t rows = std::min(most, m - i);
    for (index_t l = 0; l < k; l += depth) {
      const index_t cols = std::min(depth, k - l);
      threads.parallel_for((rows + kTask - 1) / kTask, [&](index_t task) {
        const index_t row = task * kTask;
        const index_t count = std::min(kTask, rows - row);
        copy_scaled(block(a, i + row, l, count, cols), alpha, copy + row * cols);
      });
      call_gemm<T, T>({copy, {rows, cols}, {cols, 1}}, block(b, l, 0, cols, n),
                      block(c, i, 0, rows, n), T{1}, l == 0 ? beta : T{1}, threads.context());
    }
  }
  return true;
}

}  // namespace

template <class From, class T>
void run_product(const Matrix<const From>& a, const Matrix<const From>& b, const Matrix<T>& c,
                 T alpha, T beta) noexcept {
  if constexpr (std::is_same_v<From, T>) {
    if (run_small(a, b, c, alpha, beta)) return;
  }
  const index_t m = c.extents[0], n = c.extents[1], k = a.extents[1];
  const Threads threads(2.0 * static_cast<double>(m) * static_cast<double>(n) *
                        static_cast<double>(k));
  if constexpr (std::is_same_v<From, T>) {
    constexpr index_t kFewColumns = 256;
    const bool in_columns = a.strides[1] != 1 && a.strides[0] == 1;
    const bool pays = in_columns || (alpha != T{1} && n <= kFewColumns && a.strides[1] == 1);
    if (pays && alpha != T{0} && std::min({m, n, k}) >= 4 &&
        run_copied(a, b, c, alpha, beta, threads)) {
      return;
    }
  }
  call_gemm<From, T>(a, b, c, alpha, beta, threads.context());
}

template void run_product(const Matrix<const float>&, const Matrix<const float>&,
                          const Matrix<float>&, float, float) noexcept;
template void run_product(const Matrix<const double>&, const Matrix<const double>&,
                          const Matrix<double>&, double, double) noexcept;
template void run_product(const Matrix<const bf16>&, const Matrix<const bf16>&,
                          const Matrix<float>&, float, float) noexcept;

}  // namespace tessera::blas
