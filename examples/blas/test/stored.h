// SPDX-License-Identifier: Apache-2.0
// Arguments of BLAS routines in memory between guard pages, and what their results are compared with.
#ifndef TESSERA_BLAS_TEST_STORED_H_
#define TESSERA_BLAS_TEST_STORED_H_

#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "guarded.h"
#include "random.h"
#include "tessera/core/dtype.h"
#include "tessera/core/view.h"

namespace tessera::blas::test {

using tessera::test::Edge;
using tessera::test::Random;
using tessera::test::Values;

inline constexpr int kRowMajor = 101, kColumnMajor = 102;
inline constexpr int kNoTranspose = 111, kTranspose = 112, kConjugate = 113;

// A wider type: sums in it are exact, compared with those of T.
template <class T>
struct WideOf {
  using type = std::conditional_t<std::is_same_v<T, double>, long double, double>;
};
template <class T>
struct WideOf<std::complex<T>> {
  using type = std::complex<typename WideOf<T>::type>;
};
template <class T>
using Wide = typename WideOf<T>::type;

template <class T>
Wide<T> wide(T x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return static_cast<float>(x);
  } else {
    return Wide<T>(x);
  }
}

template <class T>
T draw(Random& random) {
  if constexpr (requires(T x) { x.imag(); }) {
    using Part = typename T::value_type;
    const Part re = random.value<Part>(Values::kModerate);
    return T(re, random.value<Part>(Values::kModerate));
  } else if constexpr (std::is_same_v<T, bf16>) {
    return bf16(random.value<float>(Values::kModerate));
  } else {
    return random.value<T>(Values::kModerate);
  }
}

// A matrix as a routine gets it, of either order, or a vector as its only line with an increment.
template <class T>
class Stored {
 public:
  // All poison. `ld` is that of a matrix of rows x cols in this order, and `gap` more.
  Stored(Random& random, index_t rows, index_t cols, int order, index_t gap)
      : rows_(rows), cols_(cols), order_(order) {
    const index_t line = order == kColumnMajor ? rows : cols;
    const index_t lines = order == kColumnMajor ? cols : rows;
    ld_ = std::max<index_t>(line, 1) + gap;
    count_ = rows * cols == 0 ? 0 : static_cast<std::size_t>((lines - 1) * ld_ + line);
    data_ = memory_.place<T>(count_, random.below(2) ? Edge::kEnd : Edge::kStart);
  }
  Stored& fill(Random& random) {
    for_each([&](T& x, index_t, index_t) { x = draw<T>(random); });
    return keep();
  }
  // The contents from now on count as those before the call.
  Stored& keep() {
    before_.assign(data_, data_ + count_);
    return *this;
  }

  template <class F>
  void for_each(F f) {
    for (index_t i = 0; i < rows_; ++i) {
      for (index_t j = 0; j < cols_; ++j) f((*this)(i, j), i, j);
    }
  }
  T& operator()(index_t i, index_t j) { return data_[at(i, j)]; }
  T before(index_t i, index_t j) const { return before_[static_cast<std::size_t>(at(i, j))]; }

  T* data() { return data_; }
  int ld() const { return static_cast<int>(ld_); }

  // Nothing has changed but elements (i, j) with may(i, j).
  template <class May>
  bool others_intact(May may) const {
    std::vector<bool> free(count_);
    for (index_t i = 0; i < rows_; ++i) {
      for (index_t j = 0; j < cols_; ++j) free[static_cast<std::size_t>(at(i, j))] = may(i, j);
    }
    for (std::size_t e = 0; e < count_; ++e) {
      if (!free[e] && std::memcmp(data_ + e, &before_[e], sizeof(T)) != 0) return false;
    }
    return memory_.margin_intact();
  }
  bool intact() const {
    return others_intact([](index_t, index_t) { return false; });
  }

 private:
  index_t at(index_t i, index_t j) const {
    return order_ == kColumnMajor ? i + j * ld_ : i * ld_ + j;
  }

  tessera::test::GuardedMemory memory_;
  index_t rows_, cols_, ld_ = 0;
  int order_;
  std::size_t count_ = 0;
  T* data_ = nullptr;
  std::vector<T> before_;
};

// A vector with an increment of either sign.
template <class T>
class StoredVector {
 public:
  StoredVector(Random& random, index_t n, index_t increment)
      : n_(n),
        increment_(increment),
        line_(random, n == 0 ? 0 : (n - 1) * std::abs(increment) + 1, 1, kColumnMajor, 0) {}
  StoredVector& fill(Random& random) {
    for (index_t i = 0; i < n_; ++i) line_(at(i), 0) = draw<T>(random);
    line_.keep();
    return *this;
  }
  StoredVector& keep() {
    line_.keep();
    return *this;
  }
  T operator()(index_t i) { return line_(at(i), 0); }
  T before(index_t i) const { return line_.before(at(i), 0); }
  T* data() { return line_.data(); }
  int increment() const { return static_cast<int>(increment_); }
  bool intact() const { return line_.intact(); }
  bool gaps_intact() const {
    return line_.others_intact([&](index_t i, index_t) { return i % std::abs(increment_) == 0; });
  }

 private:
  index_t at(index_t i) const { return (increment_ > 0 ? i : n_ - 1 - i) * std::abs(increment_); }

  index_t n_, increment_;
  Stored<T> line_;
};

// A sum, and that of the magnitudes of its terms: rounding errors are a multiple of it.
template <class W>
struct Sum {
  W value{};
  double magnitude = 0;
  void add(W term) {
    value += term;
    magnitude += static_cast<double>(std::abs(term));
  }
};

// Empty if `result` is the sum up to the errors of `operations` roundings of T.
template <class T, class W>
std::string difference(T result, const Sum<W>& sum, index_t operations) {
  double eps = std::numeric_limits<float>::epsilon();
  if constexpr (sizeof(T) == sizeof(double) && std::is_floating_point_v<T>) {
    eps = std::numeric_limits<double>::epsilon();
  }
  if constexpr (std::is_same_v<T, std::complex<double>>) {
    eps = std::numeric_limits<double>::epsilon();
  }
  const double error = static_cast<double>(std::abs(wide(result) - sum.value));
  if (error <= static_cast<double>(operations) * eps * sum.magnitude) return "";
  return "off by " + std::to_string(error / (eps * std::max(sum.magnitude, 1e-300))) +
         " roundings, of " + std::to_string(operations) + " allowed";
}

}  // namespace tessera::blas::test

#endif  // TESSERA_BLAS_TEST_STORED_H_
