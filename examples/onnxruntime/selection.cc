// SPDX-License-Identifier: Apache-2.0
// Elements chosen: Slice, Split, Gather, Where; and of other types, Cast.
#include <cstring>

#include "kernel.h"

namespace tessera::ort {
namespace {

bool has_axes(const NodeView& node) {
  return size_of_element(node.type(0)) != 0 && node.rank(0) >= 1 &&
         node.rank(0) <= static_cast<int>(kMostAxes);
}

// Where axis `axis` of t is among those of axes_view().
std::size_t view_axis(const Tensor& t, std::size_t axis) { return kMostAxes - t.rank() + axis; }

// Starts, ends, axes and steps are inputs, attributes before version 10.
class Slice : public Glue {
 public:
  bool read(const NodeView& node) {
    starts_ = node.get<Shape>("starts");
    ends_ = node.get<Shape>("ends");
    axes_ = node.get<Shape>("axes");
    for (std::size_t i = 1; i < node.input_count(); ++i) {
      if (node.has_input(i) && !is_index(node.type(i))) return false;
    }
    return has_axes(node) && node.has_input(1) == (node.version() >= 10);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    const auto list = [&](std::size_t i, const Shape& attribute) {
      const Tensor* const given = step.dense_input(i);
      return given == nullptr ? attribute : integers(*given);
    };
    const Shape starts = list(1, starts_), ends = list(2, ends_), steps = list(4, {});
    Shape axes = list(3, axes_);
    for (std::size_t i = axes.size(); i < starts.size(); ++i) {
      axes.push_back(static_cast<std::int64_t>(i));
    }
    Shape shape = x.shape, first(x.rank(), 0), stride(x.rank(), 1);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const std::size_t axis = axis_of(axes[i], x.rank());
      stride.at(axis) = steps.empty() ? 1 : steps.at(i);
      const std::int64_t extent = x.shape[axis], by = stride[axis];
      if (by == 0) throw std::invalid_argument("steps: expected none of 0");
      const auto clamped = [&](std::int64_t at, std::int64_t low, std::int64_t high) {
        return std::clamp(at < 0 ? at + extent : at, low, std::max(low, high));
      };
      first[axis] = by > 0 ? clamped(starts[i], 0, extent) : clamped(starts[i], 0, extent - 1);
      const std::int64_t end =
          by > 0 ? clamped(ends.at(i), 0, extent) : clamped(ends.at(i), -1, extent - 1);
      const std::int64_t length = by > 0 ? end - first[axis] : first[axis] - end;
      shape[axis] =
          extent == 0 ? 0 : std::max<std::int64_t>(0, (length + std::abs(by) - 1) / std::abs(by));
    }
    const Tensor& y = *step.output(0, shape, layout_of(x));
    if (count(shape) == 0) return;
    with_bits(x.type, [&]<class T>(T) {
      auto from = axes_view<const T>(x);
      for (std::size_t axis = 0; axis < x.rank(); ++axis) {
        const std::size_t at = view_axis(x, axis);
        from.data += static_cast<index_t>(first[axis]) * from.strides[at];
        from.strides[at] *= static_cast<index_t>(stride[axis]);
        from.extents[at] = static_cast<index_t>(shape[axis]);
      }
      copy(from, axes_view<T>(y), {.context = &step.context()});
    });
  }

 private:
  Shape starts_, ends_, axes_;
};

// Extents are an input, an attribute before version 13, or as equal as they can be.
class Split : public Glue {
 public:
  bool read(const NodeView& node) {
    axis_ = node.integer("axis", 0);
    extents_ = node.get<Shape>("split");
    parts_ = node.node().outputs.size();
    return has_axes(node) && (!node.has_input(1) || is_index(node.type(1)));
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    const std::size_t axis = axis_of(axis_, x.rank());
    const Tensor* const given = step.dense_input(1);
    const Shape extents = given != nullptr   ? integers(*given)
                          : extents_.empty() ? equal_parts(x.shape.at(axis))
                                             : extents_;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < parts_; ++i) {
      Shape shape = x.shape;
      shape[axis] = extents.at(i);
      if (shape[axis] < 0 || first + shape[axis] > x.shape[axis]) {
        throw std::invalid_argument("split: expected parts of " + std::to_string(x.shape[axis]) +
                                    ", got " + to_string(extents));
      }
      if (const Tensor* const y = step.output(i, shape, layout_of(x))) {
        with_bits(x.type, [&]<class T>(T) {
          copy(part(axes_view<const T>(x), view_axis(x, axis), static_cast<index_t>(first),
                    static_cast<index_t>(shape[axis])),
               axes_view<T>(*y), {.context = &step.context()});
        });
      }
      first += shape[axis];
    }
  }

 private:
  // The last one may be smaller.
  Shape equal_parts(std::int64_t extent) const {
    const auto parts = static_cast<std::int64_t>(parts_);
    const std::int64_t each = (extent + parts - 1) / parts;
    Shape extents(parts_, each);
    extents.back() = extent - each * (parts - 1);
    return extents;
  }

  std::int64_t axis_ = 0;
  Shape extents_;
  std::size_t parts_ = 0;
};

// Slices of x that indices say, such as the rows of a table of words.
class Gather : public Glue {
 public:
  bool read(const NodeView& node) {
    axis_ = node.integer("axis", 0);
    return size_of_element(node.type(0)) != 0 && node.rank(0) >= 1 && is_index(node.type(1));
  }

  void run(Step& step) const override {
    const Tensor &x = *step.dense_input(0), &given = *step.dense_input(1);
    const std::size_t axis = axis_of(axis_, x.rank());
    const std::int64_t extent = x.shape.at(axis), outer = count(x.shape, 0, axis);
    Shape shape(x.shape.begin(), x.shape.begin() + static_cast<index_t>(axis));
    shape.insert(shape.end(), given.shape.begin(), given.shape.end());
    shape.insert(shape.end(), x.shape.begin() + static_cast<index_t>(axis) + 1, x.shape.end());
    const std::size_t bytes =
        static_cast<std::size_t>(count(x.shape, axis + 1, x.rank())) * size_of_element(x.type);
    std::byte* to = step.output(0, shape)->as<std::byte>();
    const Shape indices = integers(given);
    for (std::int64_t o = 0; o < outer; ++o) {
      for (const std::int64_t index : indices) {
        const std::int64_t at = index < 0 ? index + extent : index;
        if (at < 0 || at >= extent) {
          throw std::invalid_argument("indices: expected less than " + std::to_string(extent) +
                                      ", got " + std::to_string(index));
        }
        std::memcpy(to, x.as<const std::byte>() + static_cast<std::size_t>(o * extent + at) * bytes,
                    bytes);
        to += bytes;
      }
    }
  }

 private:
  std::int64_t axis_ = 0;
};

// x where a condition holds, y elsewhere, all broadcast.
class Where : public Glue {
 public:
  bool read(const NodeView& node) {
    for (std::size_t i = 0; i < 3; ++i) {
      if (node.rank(i) < 0 || node.rank(i) > static_cast<int>(kMostAxes)) return false;
    }
    return node.type(0) == kBool && size_of_element(node.type(1)) != 0 &&
           node.type(1) == node.type(2);
  }

  void run(Step& step) const override {
    const Tensor &condition = *step.input(0), &x = *step.input(1), &y = *step.input(2);
    const Shape shape = broadcast(broadcast(condition.shape, x.shape), y.shape);
    const Tensor& result = *step.output(0, shape);
    with_bits(result.type, [&]<class T>(T) {
      const auto c = broadcast_view<const bool>(condition, shape);
      const auto a = broadcast_view<const T>(x, shape), b = broadcast_view<const T>(y, shape);
      T* to = result.as<T>();
      const index_t cols = c.extents.back();
      const index_t rows = cols == 0 ? 0 : static_cast<index_t>(count(shape)) / cols;
      for (index_t row = 0; row < rows; ++row) {
        const auto start = [&](const auto& view) {
          index_t rest = row, offset = 0;
          for (std::size_t axis = kMostAxes - 1; axis-- > 0;) {
            offset += rest % view.extents[axis] * view.strides[axis];
            rest /= view.extents[axis];
          }
          return view.data + offset;
        };
        const bool* const rc = start(c);
        const T *const ra = start(a), *const rb = start(b);
        for (index_t i = 0; i < cols; ++i) {
          *to++ = rc[i * c.strides.back()] ? ra[i * a.strides.back()] : rb[i * b.strides.back()];
        }
      }
    });
  }
};

// Numbers of another type: any to f32, f16 and bf16, integers to integers. What floats too large for an integer become is
// the host's matter.
class Cast : public Glue {
 public:
  bool read(const NodeView& node) {
    to_ = static_cast<ElementType>(node.integer("to", 0));
    return size_of_element(node.type(0)) != 0 && size_of_element(to_) != 0 &&
           (is_real(to_) || (!node.is_real(0) && to_ != kBool));
  }

  void run(Step& step) const override {
    const Tensor& given = *step.input(0);
    const Tensor& y = *step.output(0, given.shape, layout_of(given));
    const Tensor& x = given.channels_last == y.channels_last ? given : *step.dense_input(0);
    const std::int64_t n = count(x.shape);
    with_number(x.type, [&]<class From>(From) {
      with_number(y.type, [&]<class To>(To) {
        const From* const from = x.as<const From>();
        To* const to = y.as<To>();
        for (std::int64_t i = 0; i < n; ++i) to[i] = converted<To>(from[i]);
      });
    });
  }

 private:
  template <class F>
  static void with_number(ElementType type, F&& f) {
    if (with_real_or_byte(type, f)) return;
    if (type == kInt32) return f(std::int32_t());
    if (type == kInt64) return f(std::int64_t());
    f(bool());
  }

  template <class To, class From>
  static To converted(From x) {
    if constexpr (std::is_integral_v<From> && std::is_integral_v<To>) {
      return static_cast<To>(x);
    } else {
      return static_cast<To>(static_cast<float>(x));
    }
  }

  ElementType to_{};
};

}  // namespace

void add_selection(std::vector<Operator>& operators) {
  operators.push_back({kOnnx, "Slice", make_if_read<Slice>});
  operators.push_back({kOnnx, "Split", make_if_read<Split>});
  operators.push_back({kOnnx, "Gather", make_if_read<Gather>});
  operators.push_back({kOnnx, "Where", make_if_read<Where>});
  operators.push_back({kOnnx, "Cast", make_if_read<Cast>});
}

}  // namespace tessera::ort
