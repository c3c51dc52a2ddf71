// SPDX-License-Identifier: Apache-2.0
// The kinds of GEMM that are compared, by the element types of A, B and C, and the operands of one call.
#ifndef TESSERA_BENCH_GEMM_TYPES_H_
#define TESSERA_BENCH_GEMM_TYPES_H_

#include <cstdint>
#include <string>

#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::bench {

struct F32 {
  using A = float;
  using B = float;
  using C = float;
  static constexpr const char* kName = "f32";
};
struct F64 {
  using A = double;
  using B = double;
  using C = double;
  static constexpr const char* kName = "f64";
};
// Exact sums of products of bytes.
struct S8 {
  using A = std::int8_t;
  using B = std::int8_t;
  using C = std::int32_t;
  static constexpr const char* kName = "s8";
};
// Weights of 16 bits, activations and results of 32.
struct BF16 {
  using A = float;
  using B = bf16;
  using C = float;
  static constexpr const char* kName = "bf16";
};
struct F16 {
  using A = float;
  using B = f16;
  using C = float;
  static constexpr const char* kName = "f16";
};

// Calls f(F32()), f(F64()), ... for each kind.
template <class F>
void for_each_types(F&& f) {
  f(F32());
  f(F64());
  f(S8());
  f(BF16());
  f(F16());
}

struct GemmShape {
  index_t m, n, k;

  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
  std::string name() const {
    return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
  }
  bool operator==(const GemmShape&) const = default;
};

// What any implementation has to read and write once.
template <class Types>
double least_bytes(const GemmShape& s) {
  const auto bytes = [](index_t rows, index_t cols, std::size_t element) {
    return static_cast<double>(rows) * static_cast<double>(cols) * static_cast<double>(element);
  };
  return bytes(s.m, s.k, sizeof(typename Types::A)) + bytes(s.k, s.n, sizeof(typename Types::B)) +
         bytes(s.m, s.n, sizeof(typename Types::C));
}

// C[m, n] = A[m, k] * B[k, n], all dense. The memory of A and B may be read up to 128 bytes past its end.
template <class Types>
struct GemmOperands {
  GemmShape shape;
  bool b_transposed;           // how B is stored: [n, k], the layout of a linear layer's weights
  const typename Types::A* a;  // [m, k], row-major
  const typename Types::B* b;  // [k, n], row-major; [n, k] if b_transposed
  typename Types::C* c;        // [m, n], row-major
};

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_GEMM_TYPES_H_
