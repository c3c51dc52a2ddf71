// SPDX-License-Identifier: Apache-2.0
// Functions of each element, and of two tensors that are broadcast against each other.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "kernel.h"

namespace tessera::ort {
namespace {

using Kind = Activation::Kind;

// One of the functions that follow each other in a formula: of the number so far alone, or of it and of a constant or x.
struct FormulaStep {
  FormulaStep(UnaryOp op) : unary(op) {}  // NOLINT: implicit, so that formulas are lists
  FormulaStep(BinaryOp op, float value) : binary(op), constant(value) {}
  static FormulaStep with_x(BinaryOp op) {
    FormulaStep step(op, 0);
    step.constant.reset();
    return step;
  }

  UnaryOp unary{};
  std::optional<BinaryOp> binary;
  std::optional<float> constant;  // none: x
};

struct Formula {
  std::vector<FormulaStep> steps;  // none: not known
  Activation activation{};         // what epilogues have for it
};

struct Function {
  const char* op;
  UnaryOp function;
  Kind activation = Kind::kNone;
};
constexpr Function kFunctions[] = {
    {"Relu", UnaryOp::kRelu, Kind::kRelu},
    {"Sigmoid", UnaryOp::kSigmoid, Kind::kSigmoid},
    {"Tanh", UnaryOp::kTanh, Kind::kTanh},
    {"HardSwish", UnaryOp::kHardSwish, Kind::kHardSwish},
    {"Erf", UnaryOp::kErf},
    {"Exp", UnaryOp::kExp},
    {"Log", UnaryOp::kLog},
    {"Sin", UnaryOp::kSin},
    {"Cos", UnaryOp::kCos},
    {"Sqrt", UnaryOp::kSqrt},
    {"Abs", UnaryOp::kAbs},
    {"Neg", UnaryOp::kNeg},
    {"Reciprocal", UnaryOp::kReciprocal},
};

Formula gelu(const NodeView& node) {
  if (node.get<std::string>("approximate", "none") == "tanh") {
    return {{UnaryOp::kGeluTanh}, {.kind = Kind::kGeluTanh}};
  }
  return {{UnaryOp::kGelu}, {.kind = Kind::kGelu}};
}

Formula leaky_relu(const NodeView& node) {
  const float slope = node.get<float>("alpha", 0.01f);
  const BinaryOp choice = slope <= 1 ? BinaryOp::kMax : BinaryOp::kMin;
  return {{{BinaryOp::kMul, slope}, FormulaStep::with_x(choice)},
          {.kind = Kind::kLeakyRelu, .low = slope}};
}

// The one number of a constant, which may be of any float type or s64.
std::optional<float> constant_number(const NodeView& node, std::size_t i) {
  const Tensor* const t = node.constant(i);
  if (t == nullptr || t->data == nullptr || count(t->shape) != 1) return {};
  if (t->type == kInt64) return static_cast<float>(*t->as<const std::int64_t>());
  std::optional<float> number;
  if (is_real(t->type)) {
    with_real(t->type, [&]<class T>(T) { number = static_cast<float>(*t->as<const T>()); });
  }
  return number;
}

// Bounds are attributes before version 11, then inputs, which are left to the host unless they are constants.
Formula clip(const NodeView& node) {
  float bounds[] = {node.get<float>("min", std::numeric_limits<float>::lowest()),
                    node.get<float>("max", std::numeric_limits<float>::max())};
  for (std::size_t i = 1; i <= 2; ++i) {
    if (!node.has_input(i)) continue;
    const auto bound = constant_number(node, i);
    if (!bound) return {};
    bounds[i - 1] = *bound;
  }
  const auto [low, high] = bounds;
  if (!(low <= high)) return {};
  return {{{BinaryOp::kMax, low}, {BinaryOp::kMin, high}},
          {.kind = Kind::kClamp, .low = low, .high = high}};
}

Formula hard_sigmoid(const NodeView& node) {
  return {{{BinaryOp::kMul, node.get<float>("alpha", 0.2f)},
           {BinaryOp::kAdd, node.get<float>("beta", 0.5f)},
           {BinaryOp::kMax, 0},
           {BinaryOp::kMin, 1}}};
}

// max(x, alpha (e^min(x, 0) - 1)), which is right for slopes up to 1.
Formula elu(const NodeView& node) {
  const float alpha = node.get<float>("alpha", 1);
  if (alpha < 0 || alpha > 1) return {};
  return {{{BinaryOp::kMin, 0},
           UnaryOp::kExp,
           {BinaryOp::kSub, 1},
           {BinaryOp::kMul, alpha},
           FormulaStep::with_x(BinaryOp::kMax)}};
}

// ln(1 + e^x) = -ln(sigmoid(-x)); for large x the logarithm's argument is kept above 0, and x is the result.
Formula softplus() {
  return {{UnaryOp::kNeg,
           UnaryOp::kSigmoid,
           {BinaryOp::kMax, std::numeric_limits<float>::min()},
           UnaryOp::kLog,
           UnaryOp::kNeg,
           FormulaStep::with_x(BinaryOp::kMax)}};
}

// x tanh(softplus(x)).
Formula mish() {
  Formula formula = softplus();
  formula.steps.push_back(UnaryOp::kTanh);
  formula.steps.push_back(FormulaStep::with_x(BinaryOp::kMul));
  return formula;
}

// x sigmoid(alpha x).
Formula quick_gelu(const NodeView& node) {
  return {{{BinaryOp::kMul, node.get<float>("alpha", 1.702f)},
           UnaryOp::kSigmoid,
           FormulaStep::with_x(BinaryOp::kMul)}};
}

// Of a constant exponent.
Formula power(const NodeView& node) {
  const auto exponent = constant_number(node, 1);
  if (!exponent || node.rank(1) > node.rank(0)) return {};
  if (*exponent == 2) return {{UnaryOp::kSquare}};
  if (*exponent == 3) return {{UnaryOp::kSquare, FormulaStep::with_x(BinaryOp::kMul)}};
  if (*exponent == 0.5f) return {{UnaryOp::kSqrt}};
  if (*exponent == -0.5f) return {{UnaryOp::kRsqrt}};
  if (*exponent == -1) return {{UnaryOp::kReciprocal}};
  return {};
}

Formula formula_of(const NodeView& node) {
  for (const Function& f : kFunctions) {
    if (node.op() == f.op) return {{f.function}, {.kind = f.activation}};
  }
  if (node.op() == "Gelu") return gelu(node);
  if (node.op() == "LeakyRelu") return leaky_relu(node);
  if (node.op() == "Clip") return clip(node);
  if (node.op() == "HardSigmoid") return hard_sigmoid(node);
  if (node.op() == "Elu") return elu(node);
  if (node.op() == "Softplus") return softplus();
  if (node.op() == "Mish") return mish();
  if (node.op() == "QuickGelu") return quick_gelu(node);
  if (node.op() == "Pow") return power(node);
  return {};
}

// A formula of one operand; the layout stays. Numbers between its steps are f32.
class Unary : public Glue {
 public:
  bool read(const NodeView& node) {
    formula_ = formula_of(node);
    return node.is_real(0) && !formula_.steps.empty();
  }

  Activation as_activation() const override { return formula_.activation; }

  void run(Step& step) const override {
    const Tensor& given = *step.input(0);
    const Tensor& y = *step.output(0, given.shape, layout_of(given));
    const Tensor& x = given.channels_last == y.channels_last ? given : *step.dense_input(0);
    with_real(x.type,
              [&]<class T>(T) { run_on(step, vector_view<const T>(x), vector_view<T>(y)); });
  }

 private:
  template <class T>
  void run_on(Step& step, const View<const T, 1>& x, const View<T, 1>& y) const {
    const auto& steps = formula_.steps;
    if (steps.size() == 1) return apply(steps[0], x, x, y, step);
    const auto numbers = row_major(step.scratch_of<float>(x.extent(0)), {x.extent(0)});
    apply(steps.front(), x, x, numbers, step);
    for (std::size_t i = 1; i + 1 < steps.size(); ++i) apply(steps[i], numbers, x, numbers, step);
    apply(steps.back(), numbers, x, y, step);
  }

  template <class From, class X, class To>
  static void apply(const FormulaStep& f, const From& from, const X& x, const To& to, Step& step) {
    const ElementwiseOptions options{.context = &step.context()};
    if (!f.binary) return elementwise(f.unary, from, to, options);
    if (!f.constant) return elementwise(*f.binary, from, x, to, options);
    elementwise(*f.binary, from, View<const float, 1>(&*f.constant, {1}, {0}), to, options);
  }

  Formula formula_;
};

// Two operands that are broadcast against each other.
class Binary : public Glue {
 public:
  static constexpr std::pair<const char*, BinaryOp> kOps[] = {
      {"Add", BinaryOp::kAdd}, {"Sum", BinaryOp::kAdd},  {"Sub", BinaryOp::kSub},
      {"Mul", BinaryOp::kMul}, {"Div", BinaryOp::kDiv},  {"Max", BinaryOp::kMax},
      {"Min", BinaryOp::kMin}, {"PRelu", BinaryOp::kMul}};

  bool read(const NodeView& node) {
    for (const auto& [op, function] : kOps) {
      if (node.op() == op) op_ = function;
    }
    is_prelu_ = node.op() == "PRelu";
    const auto fits = [&](std::size_t i) {
      return node.is_real(i) && node.rank(i) >= 0 && node.rank(i) <= kAxes;
    };
    // Before version 7 broadcasting was another; some have any number of operands.
    const bool had_attributes =
        node.version() < 7 && node.op() != "Sum" && node.op() != "Max" && node.op() != "Min";
    return fits(0) && fits(1) && node.is_like_first(1) && node.input_count() == 2 &&
           !had_attributes;
  }

  bool is_sum() const override { return op_ == BinaryOp::kAdd; }

  void run(Step& step) const override {
    const Tensor &a = *step.input(0), &b = *step.input(1);
    const Shape shape = broadcast(a.shape, b.shape);
    const bool wishes_last = (a.channels_last && a.rank() == shape.size()) ||
                             (b.channels_last && b.rank() == shape.size());
    const Tensor& y = *step.output(0, shape, wishes_last ? Layout::kChannelsLast : Layout::kAsOnnx);
    with_real(y.type, [&]<class T>(T) {
      const auto view = [&](const Tensor& t, std::size_t i) {
        // Of less axes, the channels are elsewhere.
        const bool is_short = t.channels_last && t.rank() != shape.size();
        return operand_view<const T>(is_short ? *step.dense_input(i) : t, y);
      };
      apply(step, view(a, 0), view(b, 1), operand_view<T>(y, y));
    });
  }

 private:
  static constexpr int kAxes = 4;

  template <class T>
  void apply(Step& step, const View<const T, kAxes>& a, const View<const T, kAxes>& b,
             const View<T, kAxes>& y) const {
    const ElementwiseOptions options{.context = &step.context()};
    if (!is_prelu_) return elementwise(op_, a, b, y, options);
    // max(a, 0) + b min(a, 0); the slopes b are broadcast.
    const auto negative =
        row_major(step.scratch_of<float>(a.extent(0) * a.extent(1) * a.extent(2) * a.extent(3)),
                  {a.extent(0), a.extent(1), a.extent(2), a.extent(3)});
    const float zero = 0;
    elementwise(BinaryOp::kMin, a, View<const float, 1>(&zero, {1}, {0}), negative, options);
    elementwise(BinaryOp::kMul, negative, b, negative, options);
    elementwise(UnaryOp::kRelu, a, y, options);
    elementwise(BinaryOp::kAdd, y, negative, y, options);
  }

  // All axes; the channels last if y has them there.
  template <class T>
  static View<T, kAxes> operand_view(const Tensor& t, const Tensor& y) {
    const auto all = axes_view<T>(t);
    View<T, kAxes> view;
    view.data = all.data;
    std::copy(all.extents.begin() + 1, all.extents.end(), view.extents.begin());
    std::copy(all.strides.begin() + 1, all.strides.end(), view.strides.begin());
    if (y.channels_last) {
      const auto channels = static_cast<index_t>(kAxes - y.rank() + 1);
      const auto move_last = [&](auto& values) {
        std::rotate(values.begin() + channels, values.begin() + channels + 1, values.end());
      };
      move_last(view.extents);
      move_last(view.strides);
    }
    return view;
  }

  BinaryOp op_{};
  bool is_prelu_ = false;
};

}  // namespace

void add_elementwise(std::vector<Operator>& operators) {
  for (const Function& f : kFunctions) operators.push_back({kOnnx, f.op, make_if_read<Unary>});
  for (const char* op :
       {"Gelu", "LeakyRelu", "Clip", "HardSigmoid", "Elu", "Softplus", "Mish", "Pow"}) {
    operators.push_back({kOnnx, op, make_if_read<Unary>});
  }
  for (const char* op : {"Gelu", "QuickGelu"}) {
    operators.push_back({kMicrosoft, op, make_if_read<Unary>});
  }
  for (const auto& [op, function] : Binary::kOps) {
    operators.push_back({kOnnx, op, make_if_read<Binary>});
  }
}

}  // namespace tessera::ort
