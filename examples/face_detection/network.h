// SPDX-License-Identifier: Apache-2.0
// A convolution network as a list of layers, and how it is run by Tessera: in f32, or in integers of 8 bits.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_NETWORK_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_NETWORK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../tfjs_model.h"
#include "tessera/tessera.h"

namespace faces {

namespace ts = tessera;
using ts::index_t;
using Extents = std::array<index_t, 4>;
using Activations = ts::View<const float, 4>;  // [n, h, w, c]

// One layer. Its result is value `i + 1` of the network if it is layer i; value 0 is the input.
struct Layer {
  enum class Kind { kConvolution, kDepthwise, kMaxPool, kAveragePool, kActivation };
  enum class Activation { kNone, kLeakyRelu, kRelu, kRelu6 };

  std::string name;
  Kind kind = Kind::kConvolution;
  std::size_t input = 0;  // a value
  // Tensors of the model file. Filters are [h, w, inputs, outputs] or [inputs, outputs], depthwise [h, w, channels, 1].
  std::string filter{}, bias{};
  std::string
      batch_norm{};  // in place of a bias: the prefix of gamma, beta, moving_mean, moving_variance
  std::string
      scale{};  // behind the bias: the prefix of weights, that it is multiplied by, and biases
  // Of a convolution: a value that is added before the activation, which gives the result its extents; 0: none. Where
  // the residual reaches further down or to the right it is the result, and must not be negative.
  std::size_t residual = 0;
  index_t channels =
      0;  // of the result of an average pooling: behind those of the input, of zeros; 0: no more
  index_t kernel = 1;  // of a pooling; convolutions have that of their filter
  index_t stride = 1;
  bool pads = true;  // "same" padding of TensorFlow: as many results as strides fit; or none
  Activation activation = Activation::kNone;
};

struct Architecture {
  std::vector<Layer> layers{};
  std::vector<std::size_t> outputs{};  // values, of convolutions, that no layer reads

  // Appends the layer, which reads the last value or that of `layer.input`, and returns the number of its own.
  std::size_t add(Layer layer);
};

// A layer with its weights and all extents.
struct Step {
  Layer layer;
  Extents extents{};  // of the result
  Extents
      written{};  // by the layer itself: less than the result with wider residuals and with channels of zeros
  Extents padding{};  // top, left, bottom, right
  index_t groups = 1;
  Extents filter_extents{};     // [outputs, h, w, inputs]
  std::vector<float> filter{};  // in memory [h, w, inputs, outputs]
  std::vector<float> bias{};
  double operations = 0;  // two for each multiply-add

  ts::View<const float, 4> filter_view() const;
  ts::ConvOptions<2> conv_options(ts::Context& context) const;
};

// An architecture with the weights of a model file, for inputs of one size.
struct Model {
  // Batch normalization becomes part of filters and biases. The input has extents [1, h, w, c].
  Model(const Architecture& architecture, const std::vector<tfjs::Tensor>& tensors,
        const Extents& input_extents);

  // Of a value.
  const Extents& extents(std::size_t value) const {
    return value == 0 ? input : steps[value - 1].extents;
  }
  // Whether each value must be there in f32 even if convolutions read integers: the input, outputs, residuals, and
  // what is averaged.
  std::vector<bool> needed_in_f32() const;

  Extents input;
  std::vector<Step> steps{};
  std::vector<std::size_t> outputs;
};

// An array [n, h, w, c] that owns its memory.
template <class T>
class Tensor {
 public:
  explicit Tensor(const Extents& extents)
      : extents_(extents),
        data_(static_cast<std::size_t>(extents[0] * extents[1] * extents[2] * extents[3])) {}
  bool is_empty() const { return data_.empty(); }

  ts::View<T, 4> view() { return nhwc(data_.data()); }
  ts::View<const T, 4> view() const { return nhwc(data_.data()); }
  std::vector<T>& data() { return data_; }
  const std::vector<T>& data() const { return data_; }

 private:
  template <class U>
  ts::View<U, 4> nhwc(U* data) const {
    return ts::nhwc(data, {extents_[0], extents_[1], extents_[2], extents_[3]});
  }

  Extents extents_;
  std::vector<T> data_;
};

// A model that is ready to run. It refers to the model and the context.
class Network {
 public:
  virtual ~Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void run(const Tensor<float>& input);
  // Views of what the next run overwrites.
  std::vector<Activations> outputs() const;

  // Of each step, in the last run.
  const std::vector<double>& seconds() const { return seconds_; }
  const Model& model() const { return model_; }

 protected:
  // With memory for some values in f32.
  Network(const Model& model, const std::vector<bool>& in_f32, ts::Context& context);

  ts::Context& context() const { return context_; }
  const Tensor<float>& value(std::size_t i) const { return values_[i]; }  // may be empty
  // What layer i writes to, in f32.
  ts::View<float, 4> written(std::size_t i);
  void max_pool_f32(std::size_t i, const ts::MaxPool2dOptions& options);

 private:
  // Step i, with the options and the part of the epilogue that do not depend on the type of values.
  virtual void max_pool(std::size_t i, const ts::MaxPool2dOptions& options) = 0;
  virtual void convolve(std::size_t i, const ts::ConvOptions<2>& options,
                        const ts::Epilogue& epilogue) = 0;
  // Value i, which is there in f32, is complete.
  virtual void completed(std::size_t /*i*/) {}

  void run_step(std::size_t i);

  const Model& model_;
  ts::Context& context_;
  std::vector<Tensor<float>> values_{};
  std::vector<double> seconds_{};
};

class FloatNetwork final : public Network {
 public:
  FloatNetwork(const Model& model, ts::Context& context);

  // Of each value, in the last run: what holds this fraction of its elements.
  std::vector<ts::ValueRange> ranges(double kept) const;

 private:
  void max_pool(std::size_t i, const ts::MaxPool2dOptions& options) override;
  void convolve(std::size_t i, const ts::ConvOptions<2>& options,
                const ts::Epilogue& epilogue) override;

  std::vector<ts::PackedFilters<float, 2>> filters_{};  // of each step
};

// Convolutions read values of u8 with a scale and a zero point for all, and weights of s8 with a scale per output
// channel; biases, residuals, means and outputs stay f32.
class QuantizedNetwork final : public Network {
 public:
  // `ranges` are those that each value should cover: FloatNetwork::ranges(), of typical inputs.
  QuantizedNetwork(const Model& model, const std::vector<ts::ValueRange>& ranges,
                   ts::Context& context);

 private:
  void max_pool(std::size_t i, const ts::MaxPool2dOptions& options) override;
  void convolve(std::size_t i, const ts::ConvOptions<2>& options,
                const ts::Epilogue& epilogue) override;
  void completed(std::size_t i) override;

  struct Weights {
    ts::PackedFilters<std::int8_t, 2> filter{};
    std::vector<float> scales{};  // of the sums of each output channel: scale of x * scale of w
  };
  std::vector<Weights> weights_{};             // of each step
  std::vector<ts::AffineParams> params_{};     // of each value
  std::vector<Tensor<std::uint8_t>> codes_{};  // of each value; empty where nobody reads them
};

// The tensor of that name.
const tfjs::Tensor& find(const std::vector<tfjs::Tensor>& tensors, const std::string& name);

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_NETWORK_H_
