// SPDX-License-Identifier: Apache-2.0
// Images of other extents: Resize, Upsample, Pad.
#include <cmath>
#include <optional>

#include "kernel.h"

namespace tessera::ort {
namespace {

// Of the last two of four axes, to the next pixel or linear between four.
class Resize : public Glue {
 public:
  bool read(const NodeView& node) {
    is_upsample_ = node.op() == "Upsample";
    const bool is_old = is_upsample_ || node.version() < 11;
    scales_input_ = is_old ? 1 : 2;
    const auto mode = node.get<std::string>("mode", "nearest");
    is_linear_ = mode == "linear" || mode == "bilinear";
    if ((!is_linear_ && mode != "nearest") || node.rank(0) != 4) return false;
    if (node.integer("antialias", 0) != 0 || node.has("axes") || !has_type(node.type(0)) ||
        node.get<std::string>("keep_aspect_ratio_policy", "stretch") != "stretch") {
      return false;
    }
    const auto coordinates =
        coordinates_of(node.get<std::string>("coordinate_transformation_mode", "half_pixel"));
    const auto nearest = nearest_of(node.get<std::string>("nearest_mode", "round_prefer_floor"));
    if (!coordinates || !nearest) return false;
    is_old_ = is_old;
    coordinates_ = is_old ? Coordinates::kAsymmetric : *coordinates;
    nearest_ = is_old ? NearestPixel::kFloor : *nearest;
    return reads_extents(node);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    Shape shape = sizes_.empty() ? x.shape : sizes_;
    for (std::size_t i = 0; i < scales_.size(); ++i) {
      shape[i] =
          static_cast<std::int64_t>(std::floor(static_cast<float>(x.shape.at(i)) * scales_[i]));
    }
    const Tensor& y = *step.output(0, shape, Layout::kChannelsLast);
    with_real_or_byte(x.type, [&]<class T>(T) {
      const auto from = channels_view<const T, 4>(x);
      const auto to = channels_view<T, 4>(y);
      if (is_linear_) {
        resize_bilinear2d(from, to, {.coordinates = coordinates_, .context = &step.context()});
      } else {
        resize_nearest2d(
            from, to,
            {.coordinates = coordinates_, .nearest = nearest_, .context = &step.context()});
      }
    });
  }

 private:
  static bool has_type(ElementType type) {
    return with_real_or_byte(type, [](auto) {});
  }

  static std::optional<Coordinates> coordinates_of(const std::string& mode) {
    if (mode == "half_pixel") return Coordinates::kHalfPixel;
    if (mode == "align_corners") return Coordinates::kAlignCorners;
    if (mode == "asymmetric") return Coordinates::kAsymmetric;
    return {};
  }
  static std::optional<NearestPixel> nearest_of(const std::string& mode) {
    if (mode == "round_prefer_floor") return NearestPixel::kRoundPreferFloor;
    if (mode == "round_prefer_ceil") return NearestPixel::kRoundPreferCeil;
    if (mode == "floor") return NearestPixel::kFloor;
    if (mode == "ceil") return NearestPixel::kCeil;
    return {};
  }

  // Constant sizes, or scales that make whole pixels: of others ONNX takes the scale, Tessera that of the extents.
  bool reads_extents(const NodeView& node) {
    const Shape& x = node.input(0)->tensor.shape;
    const Tensor* const sizes = is_upsample_ ? nullptr : node.constant(3);
    if (sizes != nullptr && count(sizes->shape) == 4) {
      sizes_ = integers(*sizes);
      return sizes_[0] == x[0] && sizes_[1] == x[1];
    }
    if (!is_upsample_ && node.has_input(3)) return false;
    scales_ = node.get<std::vector<float>>("scales");
    if (const Tensor* const scales = node.constant(scales_input_)) {
      scales_.assign(scales->as<const float>(), scales->as<const float>() + count(scales->shape));
    }
    if (scales_.size() != 4 || scales_[0] != 1 || scales_[1] != 1) return false;
    for (std::size_t i = 2; i < 4; ++i) {
      const float pixels = x[i] < 0 ? scales_[i] : static_cast<float>(x[i]) * scales_[i];
      // What is next to a pixel of a smaller image was another one before version 11.
      const float least = is_old_ ? 1 : 0;
      if (!(scales_[i] > 0) || scales_[i] < least || pixels != std::floor(pixels)) return false;
    }
    return true;
  }

  bool is_upsample_ = false, is_old_ = false, is_linear_ = false;
  std::size_t scales_input_ = 2;
  Coordinates coordinates_{};
  NearestPixel nearest_{};
  Shape sizes_;
  std::vector<float> scales_;
};

class Pad : public Glue {
 public:
  bool read(const NodeView& node) {
    const auto mode = node.get<std::string>("mode", "constant");
    if (mode == "reflect") mode_ = PadMode::kReflect;
    if (mode == "edge") mode_ = PadMode::kEdge;
    const bool has_mode = mode == "constant" || mode_ != PadMode::kConstant;
    const int rank = node.rank(0);
    if (!has_mode || rank < 1 || rank > static_cast<int>(kMostAxes)) return false;
    value_ = node.get<float>("value", 0);
    if (node.has_input(2) && !reads_value(node)) return false;
    return with_real_or_byte(node.type(0), [](auto) {}) && reads_padding(node);
  }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    Shape shape = x.shape;
    for (std::size_t i = 0; i < kMostAxes; ++i) {
      const std::size_t missing = kMostAxes - x.rank();
      if (i >= missing) shape[i - missing] += padding_[i] + padding_[kMostAxes + i];
    }
    const Tensor& y = *step.output(0, shape, layout_of(x));
    PadOptions<kMostAxes> options{
        .padding = padding_, .mode = mode_, .value = value_, .context = &step.context()};
    with_real_or_byte(x.type, [&]<class T>(T) {
      View<const T, kMostAxes> from = axes_view<const T>(x);
      View<T, kMostAxes> to = axes_view<T>(y);
      if (y.channels_last) {  // rows along the axis that is the last in memory are fast
        const auto channels = static_cast<index_t>(kMostAxes - x.rank() + 1);
        const auto move_last = [&](auto first) {
          std::rotate(first + channels, first + channels + 1, first + kMostAxes);
        };
        for (auto* const values : {&from.extents, &from.strides, &to.extents, &to.strides}) {
          move_last(values->begin());
        }
        move_last(options.padding.begin());
        move_last(options.padding.begin() + kMostAxes);
      }
      pad(from, to, options);
    });
  }

 private:
  bool reads_value(const NodeView& node) {
    const Tensor* const value = node.constant(2);
    if (value == nullptr || value->type != node.type(0) || count(value->shape) != 1) return false;
    return with_real_or_byte(
        value->type, [&]<class T>(T) { value_ = static_cast<float>(*value->as<const T>()); });
  }

  // Constant and not negative, behind the first axes that there are not.
  bool reads_padding(const NodeView& node) {
    Shape pads = node.get<Shape>("pads"), axes;
    if (node.has_input(1)) {
      if (node.constant(1) == nullptr) return false;
      pads = integers(*node.constant(1));
    }
    const auto rank = static_cast<std::size_t>(node.rank(0));
    for (std::size_t i = 0; i < rank; ++i) axes.push_back(static_cast<std::int64_t>(i));
    if (node.has_input(3)) {
      if (node.constant(3) == nullptr) return false;
      axes = integers(*node.constant(3));
    }
    if (pads.size() != 2 * axes.size()) return false;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::size_t at = kMostAxes - rank + axis_of(axes[i], rank);
      padding_[at] = static_cast<index_t>(pads[i]);
      padding_[kMostAxes + at] = static_cast<index_t>(pads[axes.size() + i]);
    }
    return std::all_of(pads.begin(), pads.end(), [](std::int64_t p) { return p >= 0; });
  }

  PadMode mode_ = PadMode::kConstant;
  float value_ = 0;
  std::array<index_t, 2 * kMostAxes> padding_{};
};

}  // namespace

void add_images(std::vector<Operator>& operators) {
  for (const char* op : {"Resize", "Upsample"}) {
    operators.push_back({kOnnx, op, make_if_read<Resize>});
  }
  operators.push_back({kOnnx, "Pad", make_if_read<Pad>});
}

}  // namespace tessera::ort
