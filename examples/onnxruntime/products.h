// SPDX-License-Identifier: Apache-2.0
// Products of matrices in batches, as numpy.matmul has them.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_PRODUCTS_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_PRODUCTS_H_

#include <algorithm>
#include <stdexcept>

#include "tensor.h"

namespace tessera::ort {

// The matrices of two tensors, which are broadcast against each other. Vectors are matrices of one row (a) or column (b), and
// this axis is not in the result.
struct BatchedShapes {
  index_t m = 0, n = 0, k = 0;
  Shape result;  // of the product
  Shape batch;
  Shape a_steps, b_steps;  // per axis of batch, in matrices; 0 where one is repeated

  BatchedShapes(Shape a, Shape b, bool transpose_a = false, bool transpose_b = false) {
    if (a.empty() || b.empty()) throw std::invalid_argument("operands have no axes");
    const bool a_is_vector = a.size() == 1, b_is_vector = b.size() == 1;
    if (a_is_vector) a.insert(a.begin(), 1);
    if (b_is_vector) b.push_back(1);
    m = static_cast<index_t>(a[a.size() - (transpose_a ? 1 : 2)]);
    k = static_cast<index_t>(a[a.size() - (transpose_a ? 2 : 1)]);
    n = static_cast<index_t>(b[b.size() - (transpose_b ? 2 : 1)]);
    const std::int64_t b_rows = b[b.size() - (transpose_b ? 1 : 2)];
    if (b_rows != k) {
      throw std::invalid_argument("b: expected " + std::to_string(k) +
                                  " rows (the columns of a), got " + std::to_string(b_rows));
    }
    const std::size_t axes = std::max(a.size(), b.size()) - 2;
    a.insert(a.begin(), axes + 2 - a.size(), 1);
    b.insert(b.begin(), axes + 2 - b.size(), 1);
    a_steps.resize(axes);
    b_steps.resize(axes);
    std::int64_t a_step = 1, b_step = 1;
    for (std::size_t i = axes; i-- > 0;) {
      if (a[i] != b[i] && a[i] != 1 && b[i] != 1) {
        throw std::invalid_argument("batches: expected the same extents or 1, got " +
                                    std::to_string(a[i]) + " and " + std::to_string(b[i]));
      }
      a_steps[i] = a[i] == 1 ? 0 : a_step;
      b_steps[i] = b[i] == 1 ? 0 : b_step;
      a_step *= a[i];
      b_step *= b[i];
      batch.insert(batch.begin(), a[i] == 1 ? b[i] : a[i]);
    }
    result = batch;
    if (!a_is_vector) result.push_back(m);
    if (!b_is_vector) result.push_back(n);
  }

  // f(i, matrix of a, matrix of b) for each matrix i of the result.
  template <class F>
  void for_each(F&& f) const {
    const std::int64_t matrices = count(batch);
    for (std::int64_t i = 0; i < matrices; ++i) {
      std::int64_t rest = i, a = 0, b = 0;
      for (std::size_t axis = batch.size(); axis-- > 0;) {
        a += rest % batch[axis] * a_steps[axis];
        b += rest % batch[axis] * b_steps[axis];
        rest /= batch[axis];
      }
      f(static_cast<index_t>(i), static_cast<index_t>(a), static_cast<index_t>(b));
    }
  }
};

// Matrix i, [rows, cols] after it was transposed.
template <class T>
View<const T, 2> matrix(const Tensor& t, index_t i, index_t rows, index_t cols, bool transpose) {
  const T* const data = t.as<const T>() + i * rows * cols;
  if (!transpose) return row_major(data, {rows, cols});
  return col_major(data, {rows, cols});
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_PRODUCTS_H_
