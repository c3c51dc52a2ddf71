// SPDX-License-Identifier: Apache-2.0
// Functions of each element, and of two tensors that are broadcast against each other.
#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "kernel.h"

namespace tessera::ort {
namespace {

// Whether two tensors of one shape have their elements in the same order.
const Tensor& in_layout_of(const Tensor& y, const Tensor& x, Step& step, std::size_t input) {
  return x.channels_last == y.channels_last ? x : *step.dense_input(input);
}

Layout layout_of(const Tensor& x) {
  return x.channels_last ? Layout::kChannelsLast : Layout::kAsOnnx;
}

// Glue of f32 with one operand; the layout stays.
class UnaryKernel : public Kernel {
 public:
  bool is_glue() const override { return true; }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    const Tensor& y = *step.output(0, x.shape, layout_of(x));
    apply(vector_view<const float>(in_layout_of(y, x, step, 0)), vector_view<float>(y), step);
  }

 protected:
  virtual void apply(const View<const float, 1>& x, const View<float, 1>& y, Step& step) const = 0;
};

class Function : public UnaryKernel {
 public:
  struct Entry {
    const char* op;
    UnaryOp function;
    Activation::Kind activation;
  };
  static constexpr Entry kEntries[] = {
      {"Relu", UnaryOp::kRelu, Activation::Kind::kRelu},
      {"Sigmoid", UnaryOp::kSigmoid, Activation::Kind::kSigmoid},
      {"Tanh", UnaryOp::kTanh, Activation::Kind::kTanh},
      {"HardSwish", UnaryOp::kHardSwish, Activation::Kind::kHardSwish},
      {"Gelu", UnaryOp::kGelu, Activation::Kind::kGelu},
      {"Erf", UnaryOp::kErf, Activation::Kind::kNone},
      {"Exp", UnaryOp::kExp, Activation::Kind::kNone},
      {"Log", UnaryOp::kLog, Activation::Kind::kNone},
      {"Sqrt", UnaryOp::kSqrt, Activation::Kind::kNone},
      {"Abs", UnaryOp::kAbs, Activation::Kind::kNone},
      {"Neg", UnaryOp::kNeg, Activation::Kind::kNone},
      {"Reciprocal", UnaryOp::kReciprocal, Activation::Kind::kNone},
  };

  bool read(const NodeView& node) {
    for (const Entry& entry : kEntries) {
      if (node.op() == entry.op) entry_ = entry;
    }
    if (node.get<std::string>("approximate", "none") == "tanh") {
      entry_ = {"Gelu", UnaryOp::kGeluTanh, Activation::Kind::kGeluTanh};
    }
    return node.is_float(0);
  }

  Activation as_activation() const override { return {.kind = entry_.activation}; }

 protected:
  void apply(const View<const float, 1>& x, const View<float, 1>& y, Step& step) const override {
    elementwise(entry_.function, x, y, {.context = &step.context()});
  }

 private:
  Entry entry_{};
};

class LeakyRelu : public UnaryKernel {
 public:
  bool read(const NodeView& node) {
    slope_ = node.get<float>("alpha", 0.01f);
    return node.is_float(0);
  }
  Activation as_activation() const override {
    return {.kind = Activation::Kind::kLeakyRelu, .low = slope_};
  }

 protected:
  void apply(const View<const float, 1>& x, const View<float, 1>& y, Step&) const override {
    for (index_t i = 0; i < x.extent(0); ++i) y(i) = x(i) < 0 ? slope_ * x(i) : x(i);
  }

 private:
  float slope_ = 0;
};

// Bounds are attributes before version 11, then inputs, which are left to the host unless they are constants.
class Clip : public UnaryKernel {
 public:
  bool read(const NodeView& node) {
    low_ = node.get<float>("min", std::numeric_limits<float>::lowest());
    high_ = node.get<float>("max", std::numeric_limits<float>::max());
    for (std::size_t i = 1; i <= 2; ++i) {
      if (!node.has_input(i)) continue;
      const Tensor* const bound = node.constant(i);
      if (bound == nullptr || bound->data == nullptr || !node.is_float(i)) return false;
      (i == 1 ? low_ : high_) = *bound->as<const float>();
    }
    return node.is_float(0) && low_ <= high_;
  }
  Activation as_activation() const override {
    return {.kind = Activation::Kind::kClamp, .low = low_, .high = high_};
  }

 protected:
  void apply(const View<const float, 1>& x, const View<float, 1>& y, Step&) const override {
    for (index_t i = 0; i < x.extent(0); ++i) {
      y(i) = x(i) < low_ ? low_ : x(i) > high_ ? high_ : x(i);
    }
  }

 private:
  float low_ = 0, high_ = 0;
};

class Binary : public Kernel {
 public:
  static constexpr std::pair<const char*, BinaryOp> kOps[] = {{"Add", BinaryOp::kAdd},
                                                              {"Sum", BinaryOp::kAdd},
                                                              {"Sub", BinaryOp::kSub},
                                                              {"Mul", BinaryOp::kMul},
                                                              {"Div", BinaryOp::kDiv}};

  bool read(const NodeView& node) {
    for (const auto& [op, function] : kOps) {
      if (node.op() == op) op_ = function;
    }
    const auto fits = [&](std::size_t i) {
      return node.is_float(i) && node.rank(i) >= 0 && node.rank(i) <= kAxes;
    };
    // Before version 7 broadcasting was another; Sum has any number of operands.
    const bool is_sum = node.op() == "Sum";
    return fits(0) && fits(1) && node.input_count() == 2 && (is_sum || node.version() >= 7);
  }

  bool is_glue() const override { return true; }
  bool is_sum() const override { return op_ == BinaryOp::kAdd; }

  void run(Step& step) const override {
    const Tensor &a = *step.input(0), &b = *step.input(1);
    const Shape shape = broadcast(a.shape, b.shape);
    const bool wishes_last = (a.channels_last && a.rank() == shape.size()) ||
                             (b.channels_last && b.rank() == shape.size());
    const Tensor& y = *step.output(0, shape, wishes_last ? Layout::kChannelsLast : Layout::kAsOnnx);
    const auto view = [&](const Tensor& t, std::size_t i) {
      // Of less axes, the channels are elsewhere.
      const bool is_short = t.channels_last && t.rank() != shape.size();
      return axes_view<const float>(is_short ? *step.dense_input(i) : t, shape.size(),
                                    y.channels_last);
    };
    elementwise(op_, view(a, 0), view(b, 1), axes_view<float>(y, shape.size(), y.channels_last),
                {.context = &step.context()});
  }

 private:
  static constexpr int kAxes = 4;

  static Shape broadcast(const Shape& a, const Shape& b) {
    Shape y(std::max(a.size(), b.size()), 1);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::int64_t ea = i < a.size() ? a[a.size() - 1 - i] : 1;
      const std::int64_t eb = i < b.size() ? b[b.size() - 1 - i] : 1;
      if (ea != eb && ea != 1 && eb != 1) {
        throw std::invalid_argument("expected extents that broadcast, got " + to_string(a) +
                                    " and " + to_string(b));
      }
      y[y.size() - 1 - i] = ea == 1 ? eb : ea;
    }
    return y;
  }

  // With `rank` axes of ONNX, then all of kAxes; the channels, axis 1, last if the result has them there.
  template <class T>
  static View<T, kAxes> axes_view(const Tensor& t, std::size_t rank, bool channels_last) {
    std::array<index_t, kAxes> extents, strides{};
    extents.fill(1);
    index_t stride = 1;
    const auto put = [&](std::size_t axis) {  // of t, from the fastest in memory on
      const std::size_t at = kAxes - t.rank() + axis;
      extents[at] = static_cast<index_t>(t.shape[axis]);
      strides[at] = stride;
      stride *= extents[at];
    };
    if (t.channels_last) put(1);
    for (std::size_t axis = t.rank(); axis-- > 0;) {
      if (!(t.channels_last && axis == 1)) put(axis);
    }
    View<T, kAxes> view(t.as<T>(), extents, strides);
    if (channels_last) {
      const auto first = static_cast<index_t>(kAxes - rank + 1);
      std::rotate(view.extents.begin() + first, view.extents.begin() + first + 1,
                  view.extents.end());
      std::rotate(view.strides.begin() + first, view.strides.begin() + first + 1,
                  view.strides.end());
    }
    return view;
  }

  BinaryOp op_{};
};

}  // namespace

void add_elementwise(std::vector<Operator>& operators) {
  for (const Function::Entry& entry : Function::kEntries) {
    operators.push_back({kOnnx, entry.op, make_if_read<Function>});
  }
  operators.push_back({kMicrosoft, "Gelu", make_if_read<Function>});
  operators.push_back({kOnnx, "LeakyRelu", make_if_read<LeakyRelu>});
  operators.push_back({kOnnx, "Clip", make_if_read<Clip>});
  for (const auto& [op, function] : Binary::kOps) {
    operators.push_back({kOnnx, op, make_if_read<Binary>});
  }
}

}  // namespace tessera::ort
