// SPDX-License-Identifier: Apache-2.0
// From the arguments of a function of either interface to its computation.
#ifndef TESSERA_BLAS_CALLS_H_
#define TESSERA_BLAS_CALLS_H_

#include "arguments.h"
#include "threads.h"
#include "xerbla.h"

namespace tessera::blas {

enum : int { kRowMajor = 101, kColumnMajor = 102 };

// Real numbers are passed by value, complex ones by address.
template <class T>
T number(T x) {
  return x;
}
template <class T>
T number(const void* x) {
  return *static_cast<const T*>(x);
}

template <class Arguments>
void call_fortran(const Routine& routine, const Arguments& arguments) noexcept {
  if (const int wrong = arguments.wrong()) return report_fortran(routine, wrong);
  arguments.run();
}

// The parameter of a row-major call that is `parameter` of the column-major one that it stands for.
template <class Arguments>
int before_transpose(int parameter) {
  const auto& swapped = Arguments::kSwapped;
  for (std::size_t i = 0; i < swapped.size(); ++i) {
    if (swapped[i] == parameter) return swapped[i ^ 1];
  }
  return parameter;
}

// Whether the order and `arguments`, which become those of a column-major call, are right; reports what is not. `parameter`:
// where the routine has parameter i of the one that the arguments are named after.
template <class Arguments, class Parameter>
bool check_cblas(const Routine& routine, int order, Arguments& arguments,
                 Parameter parameter) noexcept {
  const bool row_major = order == kRowMajor;
  if (!row_major && order != kColumnMajor) {
    report_cblas(routine, 1);
    return false;
  }
  int wrong = arguments.wrong();  // of the options, before they are turned
  if (wrong == 0 || wrong > Arguments::kOptions) {
    if (row_major) arguments.transpose();
    wrong = arguments.wrong();
    if (wrong == 0) return true;
    if (row_major) wrong = before_transpose<Arguments>(wrong + 1) - 1;
  }
  report_cblas(routine, parameter(wrong + 1));  // Fortran has no order
  return false;
}

template <class Arguments>
void call_cblas(const Routine& routine, int order, Arguments arguments) noexcept {
  if (check_cblas(routine, order, arguments, [](int i) { return i; })) arguments.run();
}

// problem(i) for i < count are arguments of equal sizes: threads share them if they are many, else each in turn.
template <class Problem>
void run_batch(index_t count, Problem problem) noexcept {
  if (count <= 0) return;
  const auto first = problem(index_t{0});
  {
    const Threads threads(2.0 * static_cast<double>(count) * static_cast<double>(first.m) *
                          static_cast<double>(first.n) * static_cast<double>(first.k));
    if (count >= 2 * threads.count()) {
      return threads.parallel_for(count, [&](index_t i) { problem(i).run(); });
    }
  }
  for (index_t i = 0; i < count; ++i) problem(i).run();
}

// The arguments of product i of a batch whose matrices are each `stride` elements behind the one before.
template <class Arguments>
Arguments strided_problem(Arguments first, index_t i, index_t stride_a, index_t stride_b,
                          index_t stride_c) {
  first.a += i * stride_a;
  first.b += i * stride_b;
  first.c += i * stride_c;
  return first;
}

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_CALLS_H_
