// SPDX-License-Identifier: Apache-2.0
// MatMul, FusedMatMul and Gemm.
#include "products.h"

#include <optional>

#include "epilogue_steps.h"
#include "kernel.h"

namespace tessera::ort {
namespace {

template <class T>
class MatMul : public FusingKernel {
 public:
  bool read(const NodeView& node) {
    alpha_ = node.get<float>("alpha", 1);
    transpose_a_ = node.integer("transA", 0) != 0;
    transpose_b_ = node.integer("transB", 0) != 0;
    const bool other_order =
        node.integer("transBatchA", 0) != 0 || node.integer("transBatchB", 0) != 0;
    const bool has_vectors = node.rank(0) < 2 || node.rank(1) < 2;
    return node.is_like_first(1) && !other_order &&
           !((transpose_a_ || transpose_b_) && has_vectors);
  }

  void prepare(Preparation& p) override {
    const Tensor* const b = p.constant(1);
    if (b == nullptr || b->rank() != 2 || count(b->shape) == 0) return;
    weights_shape_ = b->shape;
    const index_t k = static_cast<index_t>(b->shape[transpose_b_ ? 1 : 0]);
    const index_t n = static_cast<index_t>(b->shape[transpose_b_ ? 0 : 1]);
    weights_ = pack_b(matrix<T>(*b, 0, k, n, transpose_b_));
    p.release(1);
  }

  void run(Step& step) const override {
    const Tensor& a = *step.dense_input(0);
    const Tensor* const b = step.dense_input(1);
    const BatchedShapes s(a.shape, weights_ ? weights_shape_ : b->shape, transpose_a_,
                          transpose_b_);
    T* const c = step.output(0, s.result)->as<T>();
    const Tensor* const added = step.dense_input(kResidualInput);
    const T* const residual = added == nullptr ? nullptr : added->as<const T>();
    const GemmOptions options{.alpha = alpha_, .context = &step.context()};
    // One matrix b for all: one product of all rows, unless those of a are columns.
    const bool is_one = (weights_ || count(b->shape) == s.n * s.k) && !transpose_a_;
    const index_t batches = static_cast<index_t>(count(s.batch));
    const index_t rows = is_one ? s.m * batches : s.m;
    const auto epilogue = [&](index_t i) {
      Epilogue steps;
      if (residual != nullptr) {
        steps = epi::residual(row_major(residual + i * rows * s.n, {rows, s.n}));
      }
      return steps | activation().epilogue();
    };
    if (is_one) {
      const Matrix va = matrix<T>(a, 0, rows, s.k, false);
      const auto vc = row_major(c, {rows, s.n});
      if (weights_) {
        gemm(va, *weights_, vc, options, epilogue(0));
      } else {
        gemm(va, matrix<T>(*b, 0, s.k, s.n, transpose_b_), vc, options, epilogue(0));
      }
    } else if (weights_) {
      run_batches(s, a, *weights_, c, options, epilogue);
    } else {
      run_batches(s, a, *b, c, options, epilogue);
    }
  }

 private:
  using Matrix = View<const T, 2>;

  template <class MakeEpilogue>
  void run_batches(const BatchedShapes& s, const Tensor& a, const PackedB<T>& b, T* c,
                   const GemmOptions& options, const MakeEpilogue& epilogue) const {
    std::vector<GemmGroup<Matrix, PackedB<T>, View<T, 2>>> groups;
    s.for_each([&](index_t i, index_t ai, index_t) {
      groups.push_back({matrix<T>(a, ai, s.m, s.k, transpose_a_), &b,
                        row_major(c + i * s.m * s.n, {s.m, s.n}), epilogue(i)});
    });
    gemm_grouped<Matrix, PackedB<T>, View<T, 2>>(groups, options);
  }

  template <class MakeEpilogue>
  void run_batches(const BatchedShapes& s, const Tensor& a, const Tensor& b, T* c,
                   const GemmOptions& options, const MakeEpilogue& epilogue) const {
    std::vector<Matrix> matrices;
    matrices.reserve(static_cast<std::size_t>(count(s.batch)));
    std::vector<GemmGroup<Matrix, Matrix, View<T, 2>>> groups;
    s.for_each([&](index_t i, index_t ai, index_t bi) {
      matrices.push_back(matrix<T>(b, bi, s.k, s.n, transpose_b_));
      groups.push_back({matrix<T>(a, ai, s.m, s.k, transpose_a_), &matrices.back(),
                        row_major(c + i * s.m * s.n, {s.m, s.n}), epilogue(i)});
    });
    gemm_grouped<Matrix, Matrix, View<T, 2>>(groups, options);
  }

  float alpha_ = 1;
  bool transpose_a_ = false, transpose_b_ = false;
  std::optional<PackedB<T>> weights_;
  Shape weights_shape_;
};

// y = alpha a b + beta c, c of any shape that is broadcast to that of y.
template <class T>
class Gemm : public FusingKernel {
 public:
  bool read(const NodeView& node) {
    alpha_ = node.get<float>("alpha", 1);
    beta_ = node.get<float>("beta", 1);
    transpose_a_ = node.integer("transA", 0) != 0;
    transpose_b_ = node.integer("transB", 0) != 0;
    return node.is_like_first(1) && node.is_like_first(2);
  }

  void prepare(Preparation& p) override {
    c_.prepare(p);
    const Tensor* const b = p.constant(1);
    if (b == nullptr || count(b->shape) == 0) return;
    n_ = static_cast<index_t>(b->shape[transpose_b_ ? 0 : 1]);
    const index_t k = static_cast<index_t>(b->shape[transpose_b_ ? 1 : 0]);
    weights_ = pack_b(matrix<T>(*b, 0, k, n_, transpose_b_));
    p.release(1);
  }

  void run(Step& step) const override {
    const Tensor& a = *step.dense_input(0);
    const index_t m = static_cast<index_t>(a.shape[transpose_a_ ? 1 : 0]);
    const index_t k = static_cast<index_t>(a.shape[transpose_a_ ? 0 : 1]);
    const Tensor* const b = step.dense_input(1);
    const index_t n = weights_ ? n_ : static_cast<index_t>(b->shape[transpose_b_ ? 0 : 1]);
    const auto y = row_major(step.output(0, {m, n})->as<T>(), {m, n});
    const Epilogue steps = epilogue(step, m, n);
    const GemmOptions options{.alpha = alpha_, .context = &step.context()};
    const Matrix va = matrix<T>(a, 0, m, k, transpose_a_);
    if (weights_) {
      gemm(va, *weights_, y, options, steps);
    } else {
      const index_t rows = static_cast<index_t>(b->shape[transpose_b_ ? 1 : 0]);
      gemm(va, matrix<T>(*b, 0, rows, n, transpose_b_), y, options, steps);
    }
  }

 private:
  using Matrix = View<const T, 2>;

  Epilogue epilogue(Step& step, index_t m, index_t n) const {
    Epilogue steps;
    const std::optional<Tensor> c = c_.tensor(step);
    if (c && beta_ != 0) steps = sum(step, *c, m, n);
    if (const Tensor* const residual = step.dense_input(kResidualInput)) {
      steps = steps | epi::residual(row_major(residual->as<const T>(), {m, n}));
    }
    return steps | activation().epilogue();
  }

  Epilogue sum(Step& step, const Tensor& c, index_t m, index_t n) const {
    const float* data = c.as<const float>();
    const std::int64_t elements = count(c.shape);
    if (beta_ != 1) {
      float* const scaled = step.scratch_of<float>(elements);
      for (std::int64_t i = 0; i < elements; ++i) scaled[i] = data[i] * beta_;
      data = scaled;
    }
    const index_t cols = c.rank() > 0 ? static_cast<index_t>(c.shape.back()) : 1;
    const index_t rows = c.rank() > 1 ? static_cast<index_t>(c.shape[c.rank() - 2]) : 1;
    if ((cols != n && cols != 1) || (rows != m && rows != 1)) {
      throw std::invalid_argument("c: expected extents that broadcast to " + to_string({m, n}) +
                                  ", got " + to_string(c.shape));
    }
    const index_t col_stride = cols == 1 ? 0 : 1, row_stride = rows == 1 ? 0 : cols;
    if (rows == 1) return epi::bias(View<const float, 1>(data, {n}, {col_stride}));
    return epi::residual(View<const float, 2>(data, {m, n}, {row_stride, col_stride}));
  }

  float alpha_ = 1, beta_ = 1;
  bool transpose_a_ = false, transpose_b_ = false;
  index_t n_ = 0;
  std::optional<PackedB<T>> weights_;
  FloatInput c_{2};
};

}  // namespace

void add_products(std::vector<Operator>& operators) {
  operators.push_back({kOnnx, "MatMul", make_for_real<MatMul>});
  operators.push_back({kMicrosoft, "FusedMatMul", make_for_real<MatMul>});
  operators.push_back({kOnnx, "Gemm", make_for_real<Gemm>});
}

}  // namespace tessera::ort
