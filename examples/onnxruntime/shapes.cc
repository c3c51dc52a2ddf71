// SPDX-License-Identifier: Apache-2.0
// Glue that moves elements: so that a network stays in one piece.
#include <cstring>

#include "kernel.h"

namespace tessera::ort {
namespace {

// Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout as it is after training: the same elements with other extents.
class NewShape : public Kernel {
 public:
  bool read(const NodeView& node) {
    op_ = node.op();
    axis_ = node.integer("axis", 1);
    keeps_zeros_ = node.integer("allowzero", 0) != 0;
    axes_ = node.get<Shape>("axes");
    const bool from_input = op_ == "Reshape" || op_ == "Squeeze" || op_ == "Unsqueeze";
    if (from_input && node.has_input(1) && node.type(1) != kInt64) return false;
    if (op_ == "Reshape" && !node.has_input(1)) return false;
    if (op_ == "Dropout" && (node.has_input(2) || node.output(1) != nullptr)) return false;
    return size_of_element(node.type(0)) != 0;
  }

  bool is_glue() const override { return true; }

  void run(Step& step) const override {
    const Tensor& x = *step.dense_input(0);
    const Tensor* const given = keeps_shape() ? nullptr : step.dense_input(1);
    Shape values = axes_;
    if (given != nullptr) {
      values.assign(given->as<const std::int64_t>(),
                    given->as<const std::int64_t>() + count(given->shape));
    }
    const Shape shape = new_shape(x.shape, values);
    if (count(shape) != count(x.shape)) {
      throw std::invalid_argument("shape: expected " + std::to_string(count(x.shape)) +
                                  " elements, got " + to_string(shape));
    }
    const Tensor& y = *step.output(0, shape);
    if (x.bytes() != 0) std::memcpy(y.data, x.data, x.bytes());
  }

 private:
  bool keeps_shape() const { return op_ == "Identity" || op_ == "Dropout"; }

  Shape new_shape(const Shape& x, Shape values) const {
    if (keeps_shape()) return x;
    if (op_ == "Flatten") {
      const std::size_t axis = axis_of(axis_, x.size());
      return {count(x, 0, axis), count(x, axis, x.size())};
    }
    if (op_ == "Reshape") return reshaped(x, std::move(values));
    const bool adds = op_ == "Unsqueeze";
    const std::size_t rank = adds ? x.size() + values.size() : x.size();
    std::vector<bool> is_listed(rank, false);
    for (const std::int64_t axis : values) is_listed.at(axis_of(axis, rank)) = true;
    Shape y;
    std::size_t next = 0;
    for (std::size_t i = 0; i < rank; ++i) {
      if (adds) {
        y.push_back(is_listed[i] ? 1 : x.at(next++));
      } else if (!(values.empty() ? x[i] == 1 : is_listed[i])) {
        y.push_back(x[i]);
      }
    }
    return y;
  }

  Shape reshaped(const Shape& x, Shape y) const {
    std::int64_t known = 1;
    std::int64_t* unknown = nullptr;
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (y[i] == 0 && !keeps_zeros_) y[i] = x.at(i);
      if (y[i] == -1) {
        unknown = &y[i];
      } else {
        known *= y[i];
      }
    }
    if (unknown != nullptr) *unknown = known == 0 ? 0 : count(x) / known;
    return y;
  }

  std::string op_;
  std::int64_t axis_ = 1;
  bool keeps_zeros_ = false;
  Shape axes_;
};

// Calls f with a number of the size of an element.
template <class F>
void with_element(ElementType type, F&& f) {
  switch (size_of_element(type)) {
    case 1:
      return f(std::uint8_t());
    case 4:
      return f(std::uint32_t());
    default:
      return f(std::uint64_t());
  }
}

class Transpose : public Kernel {
 public:
  bool read(const NodeView& node) {
    axes_ = node.get<Shape>("perm");
    return size_of_element(node.type(0)) != 0 && node.rank(0) >= 1 && node.rank(0) <= kMostAxes;
  }

  bool is_glue() const override { return true; }

  void run(Step& step) const override {
    const Tensor& x = *step.dense_input(0);
    const std::size_t rank = x.rank();
    Shape axes = axes_;
    for (std::size_t i = 0; axes_.empty() && i < rank; ++i) {
      axes.push_back(static_cast<std::int64_t>(rank - 1 - i));
    }
    std::array<std::int64_t, kMostAxes> extents;
    std::array<int, kMostAxes> order;
    Shape shape;
    const std::size_t missing = kMostAxes - rank;
    for (std::size_t i = 0; i < kMostAxes; ++i) {
      extents[i] = i < missing ? 1 : x.shape[i - missing];
      order[i] = static_cast<int>(
          i < missing ? i : missing + static_cast<std::size_t>(axes.at(i - missing)));
      if (i >= missing) shape.push_back(x.shape.at(static_cast<std::size_t>(axes[i - missing])));
    }
    const Tensor& y = *step.output(0, shape);
    with_element(x.type, [&]<class T>(T) {
      std::int64_t e[kMostAxes], moved[kMostAxes];
      for (std::size_t i = 0; i < kMostAxes; ++i) {
        e[i] = extents[i];
        moved[i] = extents[static_cast<std::size_t>(order[i])];
      }
      permute(row_major(x.as<const T>(), e), row_major(y.as<T>(), moved), order,
              {.context = &step.context()});
    });
  }

 private:
  static constexpr int kMostAxes = 5;
  Shape axes_;
};

class Concat : public Kernel {
 public:
  bool read(const NodeView& node) {
    axis_ = node.integer("axis", 0);
    inputs_ = node.input_count();
    return size_of_element(node.type(0)) != 0 && inputs_ <= kResidualInput;
  }

  bool is_glue() const override { return true; }

  void run(Step& step) const override {
    const Tensor& first = *step.input(0);
    const std::size_t axis = axis_of(axis_, first.rank());
    Shape shape = first.shape;
    bool all_last = first.channels_last;
    for (std::size_t i = 1; i < inputs_; ++i) {
      const Tensor& x = *step.input(i);
      all_last = all_last && x.channels_last;
      shape.at(axis) += x.shape.at(axis);
    }
    const Tensor& y = *step.output(0, shape, all_last ? Layout::kChannelsLast : Layout::kAsOnnx);
    // Elements before and behind the axis, in memory.
    const std::size_t rank = shape.size();
    Shape memory = shape;
    std::size_t at = axis;
    if (y.channels_last) {
      memory = {shape[0]};
      memory.insert(memory.end(), shape.begin() + 2, shape.end());
      memory.push_back(shape[1]);
      at = axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1;
    }
    const std::size_t outer = static_cast<std::size_t>(count(memory, 0, at));
    const std::size_t inner =
        static_cast<std::size_t>(count(memory, at + 1, rank)) * size_of_element(first.type);
    const std::size_t row = inner * static_cast<std::size_t>(shape[axis]);
    std::byte* to = y.as<std::byte>();
    for (std::size_t i = 0; i < inputs_; ++i) {
      const Tensor& x = y.channels_last ? *step.input(i) : *step.dense_input(i);
      const std::size_t part = inner * static_cast<std::size_t>(x.shape[axis]);
      if (part * outer != x.bytes()) {
        throw std::invalid_argument("expected extents that differ in the axis only, got " +
                                    to_string(x.shape));
      }
      for (std::size_t j = 0; part != 0 && j < outer; ++j) {
        std::memcpy(to + j * row, x.as<const std::byte>() + j * part, part);
      }
      to += part;
    }
  }

 private:
  std::int64_t axis_ = 0;
  std::size_t inputs_ = 0;
};

}  // namespace

void add_shapes(std::vector<Operator>& operators) {
  for (const char* op : {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}) {
    operators.push_back({kOnnx, op, make_if_read<NewShape>});
  }
  operators.push_back({kOnnx, "Transpose", make_if_read<Transpose>});
  operators.push_back({kOnnx, "Concat", make_if_read<Concat>});
}

}  // namespace tessera::ort
