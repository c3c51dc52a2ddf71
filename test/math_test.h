// SPDX-License-Identifier: Apache-2.0
// The functions of kernels/math-inl.h on arrays, so that math_test.cc can check all targets with
// the same code. math_test-inl.h fills these tables, once per target.
#ifndef TESSERA_TEST_MATH_TEST_H_
#define TESSERA_TEST_MATH_TEST_H_

#include <cstddef>
#include <vector>

#include "registered_targets.h"

namespace tessera::math_test {

enum Function {
  kExp,
  kLog,
  kTanh,
  kErf,
  kSigmoid,
  kGelu,
  kGeluTanh,
  kSilu,
  kHardSwish,
  kExp2Normal,
  kSin,
  kCos,
  kRsqrt,
  kFunctions
};

// out[i] = f(in[i]) for i < n, with a last vector that is not full.
using Map = void (*)(const float* in, float* out, size_t n);

struct TagTable {
  int lmul;
  Map functions[kFunctions];
};

// One target: LMUL 1, and where it has groups 2, 4, 8.
using TagTables = std::vector<TagTable>;

}  // namespace tessera::math_test

#endif  // TESSERA_TEST_MATH_TEST_H_
