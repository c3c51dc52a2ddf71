// SPDX-License-Identifier: Apache-2.0
// A convolution network as a list of layers, and how it is run by Tessera.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_NETWORK_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_NETWORK_H_

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../tfjs_model.h"
#include "conv.h"
#include "tessera/tessera.h"

namespace faces {

namespace ts = tessera;
using ts::index_t;
using Activations = ts::View<const float, 4>;  // [n, h, w, c]

// One layer. Its result is value `i + 1` of the network if it is layer i; value 0 is the input.
struct Layer {
  enum class Kind { kConvolution, kDepthwise, kMaxPool };
  enum class Activation { kNone, kLeakyRelu, kRelu6 };

  std::string name;
  Kind kind = Kind::kConvolution;
  std::size_t input = 0;  // a value
  // Tensors of the model file. Filters are [h, w, inputs, outputs], depthwise [h, w, channels, 1].
  std::string filter{}, bias{};
  std::string
      batch_norm{};  // in place of a bias: the prefix of gamma, beta, moving_mean, moving_variance
  index_t kernel = 1;  // of the pooling; convolutions have that of their filter
  index_t stride = 1;
  bool pads = true;  // "same" padding of TensorFlow: as many results as strides fit; or none
  Activation activation = Activation::kNone;
};

struct Architecture {
  std::vector<Layer> layers{};
  std::vector<std::size_t> outputs{};  // values

  // Appends the layer, which reads the last value or that of `layer.input`, and returns the number of its own.
  std::size_t add(Layer layer);
};

// The layers of an architecture with the weights of a model, ready to run on inputs of one size.
class Network {
 public:
  // Batch normalization becomes part of filters and biases. The input has extents [1, h, w, c].
  Network(const Architecture& architecture, const std::vector<tfjs::Tensor>& tensors,
          const std::array<index_t, 4>& input, ts::Context& context);

  // The value 0, to be filled before run().
  ts::View<float, 4> input() { return values_[0].view(); }
  void run();
  std::vector<Activations> outputs() const;

  struct LayerTime {
    std::string name;
    std::array<index_t, 4> extents;  // of the result
    double seconds, flops;           // of the last run; operations: two for each multiply-add
  };
  const std::vector<LayerTime>& times() const { return times_; }

 private:
  struct Value {
    std::array<index_t, 4> extents;
    std::vector<float> data;
    ts::View<float, 4> view() {
      return ts::View<float, 4>(
          ts::nhwc(data.data(), {extents[0], extents[1], extents[2], extents[3]}));
    }
  };
  struct Weights {
    std::optional<PackedFilter> filter{};
    std::vector<float> bias{};
  };

  ts::Context& context_;
  std::vector<Layer> layers_;
  std::vector<std::size_t> outputs_;
  std::vector<std::array<index_t, 4>> padding_;  // of each layer: top, left, bottom, right
  std::vector<Weights> weights_;                 // of each layer
  std::vector<Value> values_;
  std::vector<LayerTime> times_;
};

// The tensor of that name.
const tfjs::Tensor& find(const std::vector<tfjs::Tensor>& tensors, const std::string& name);

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_NETWORK_H_
