// SPDX-License-Identifier: Apache-2.0
// Other extents and orders of the same elements, so that a network stays in one piece.
#include <algorithm>
#include <cstring>
#include <limits>

#include "kernel.h"

namespace tessera::ort {
namespace {

// Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout as it is after training: the same elements with other extents.
class NewShape : public Glue {
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

  void run(Step& step) const override {
    const Tensor& x = *step.dense_input(0);
    const Tensor* const given = keeps_shape() ? nullptr : step.dense_input(1);
    Shape values = axes_;
    if (given != nullptr) values = integers(*given);
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

class Transpose : public Glue {
 public:
  bool read(const NodeView& node) {
    axes_ = node.get<Shape>("perm");
    return size_of_element(node.type(0)) != 0 && node.rank(0) >= 1 &&
           node.rank(0) <= static_cast<int>(kMostAxes);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    Shape shape = x.shape;
    std::array<std::size_t, kMostAxes> order;
    const std::size_t missing = kMostAxes - x.rank();
    for (std::size_t i = 0; i < kMostAxes; ++i) {
      order[i] = i;
      if (i < missing) continue;
      const std::size_t axis =
          axes_.empty() ? kMostAxes - 1 - i : axis_of(axes_.at(i - missing), x.rank());
      order[i] = missing + axis;
      shape[i - missing] = x.shape.at(axis);
    }
    const Tensor& y = *step.output(0, shape);
    with_bits(x.type, [&]<class T>(T) {
      const auto from = axes_view<const T>(x);
      auto moved = from;
      for (std::size_t i = 0; i < kMostAxes; ++i) {
        moved.extents[i] = from.extents[order[i]];
        moved.strides[i] = from.strides[order[i]];
      }
      copy(moved, axes_view<T>(y), {.context = &step.context()});
    });
  }

 private:
  Shape axes_;
};

class Concat : public Glue {
 public:
  bool read(const NodeView& node) {
    axis_ = node.integer("axis", 0);
    inputs_ = node.input_count();
    const int rank = node.rank(0);
    joins_channels_ = rank >= 3 && (axis_ == 1 || axis_ == 1 - rank);
    return size_of_element(node.type(0)) != 0 && inputs_ <= kResidualInput && rank >= 1 &&
           rank <= static_cast<int>(kMostAxes);
  }

  bool joins_channels() const override { return joins_channels_; }

  void run(Step& step) const override {
    const Tensor& first = *step.input(0);
    const std::size_t axis = axis_of(axis_, first.rank());
    Shape shape = first.shape;
    bool all_last = first.channels_last, some_in_place = first.row != 0;
    for (std::size_t i = 1; i < inputs_; ++i) {
      const Tensor& x = *step.input(i);
      Shape expected = shape;
      expected[axis] = x.shape.at(axis);
      if (x.shape != expected) {
        throw std::invalid_argument("expected extents that differ in the axis only, got " +
                                    to_string(x.shape));
      }
      all_last = all_last && x.channels_last;
      some_in_place = some_in_place || x.row != 0;
      shape[axis] += x.shape[axis];
    }
    const bool is_last = all_last || some_in_place;
    const Tensor& y = *step.output(0, shape, is_last ? Layout::kChannelsLast : Layout::kAsOnnx);
    with_bits(y.type, [&]<class T>(T) {
      auto to = axes_view<T>(y);
      const std::size_t at = kMostAxes - shape.size() + axis;
      for (std::size_t i = 0; i < inputs_; ++i) {
        const auto from = axes_view<const T>(*step.input(i));
        if (from.data != to.data) {  // else it was made there
          copy(from, part(to, at, 0, from.extents[at]), {.context = &step.context()});
        }
        to.data += from.extents[at] * to.strides[at];
      }
    });
  }

 private:
  std::int64_t axis_ = 0;
  std::size_t inputs_ = 0;
  bool joins_channels_ = false;
};

// The extents themselves, of the axes [start, end).
class ShapeOf : public Glue {
 public:
  bool read(const NodeView& node) {
    start_ = node.integer("start", 0);
    end_ = node.integer("end", std::numeric_limits<std::int64_t>::max());
    return size_of_element(node.type(0)) != 0;
  }

  void run(Step& step) const override {
    const Shape& x = step.input(0)->shape;
    const auto rank = static_cast<std::int64_t>(x.size());
    const auto bound = [rank](std::int64_t at) {
      return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank);
    };
    const std::int64_t first = bound(start_), last = std::max(first, bound(end_));
    const Tensor& y = *step.output(0, {last - first});
    std::copy(x.begin() + first, x.begin() + last, y.as<std::int64_t>());
  }

 private:
  std::int64_t start_ = 0, end_ = 0;
};

class Expand : public Glue {
 public:
  bool read(const NodeView& node) {
    const auto most = static_cast<std::int64_t>(kMostAxes);
    if (node.type(1) != kInt64 || node.rank(1) != 1) return false;
    const std::int64_t axes = node.input(1)->tensor.shape[0];
    return size_of_element(node.type(0)) != 0 && node.rank(0) >= 0 && node.rank(0) <= most &&
           axes >= 0 && axes <= most;
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    const Shape shape = broadcast(x.shape, integers(*step.dense_input(1)));
    const Tensor& y = *step.output(0, shape);
    with_bits(x.type, [&]<class T>(T) {
      copy(broadcast_view<const T>(x, shape), axes_view<T>(y), {.context = &step.context()});
    });
  }
};

}  // namespace

void add_shapes(std::vector<Operator>& operators) {
  for (const char* op : {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}) {
    operators.push_back({kOnnx, op, make_if_read<NewShape>});
  }
  operators.push_back({kOnnx, "Transpose", make_if_read<Transpose>});
  operators.push_back({kOnnx, "Concat", make_if_read<Concat>});
  operators.push_back({kOnnx, "Shape", make_if_read<ShapeOf>});
  operators.push_back({kOnnx, "Expand", make_if_read<Expand>});
}

}  // namespace tessera::ort
