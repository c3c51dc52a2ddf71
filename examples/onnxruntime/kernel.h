// SPDX-License-Identifier: Apache-2.0
// What an operator is: made of a node, prepared once with the constants of the model, run many times.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_KERNEL_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_KERNEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "graph.h"
#include "tensor.h"

namespace tessera::ort {

// Where a kernel finds what it adds to its result: behind the inputs of any operator.
inline constexpr std::size_t kResidualInput = 14;

enum class Layout { kAsOnnx, kChannelsLast };

inline Layout layout_of(const Tensor& x) {
  return x.channels_last ? Layout::kChannelsLast : Layout::kAsOnnx;
}

// One run of one kernel.
class Step {
 public:
  virtual ~Step() = default;

  // As it lies in memory; null if it is left out.
  virtual const Tensor* input(std::size_t i) = 0;
  // In the order of ONNX.
  virtual const Tensor* dense_input(std::size_t i) = 0;
  // Null if nobody wants it. The layout is a wish: look at the tensor.
  virtual Tensor* output(std::size_t i, const Shape& shape, Layout layout = Layout::kAsOnnx) = 0;
  // For as many elements as wanted, until the end of the step.
  virtual void* scratch(std::size_t bytes) = 0;
  virtual Context& context() = 0;

  template <class T>
  T* scratch_of(std::int64_t elements) {
    return static_cast<T*>(scratch(static_cast<std::size_t>(elements) * sizeof(T)));
  }
};

// Constants at the creation of a session.
class Preparation {
 public:
  virtual ~Preparation() = default;

  // Null if it is no constant.
  virtual const Tensor* constant(std::size_t i) = 0;
  // The kernel has what it needs of it, and won't ask for it in run(). Of inputs that are left out, nothing.
  virtual void release(std::size_t i) = 0;
};

// Results are changed on the way to memory: what the epilogues of Tessera do.
struct Activation {
  enum class Kind {
    kNone,
    kRelu,
    kClamp,
    kLeakyRelu,
    kSigmoid,
    kTanh,
    kHardSwish,
    kGelu,
    kGeluTanh
  };
  Kind kind = Kind::kNone;
  double low = 0, high = 0;  // of kClamp; low is the slope of kLeakyRelu

  Epilogue epilogue() const {
    switch (kind) {
      case Kind::kNone:
        return {};
      case Kind::kRelu:
        return epi::relu();
      case Kind::kClamp:
        return epi::clamp(low, high);
      case Kind::kLeakyRelu:
        return epi::leaky_relu(low);
      case Kind::kSigmoid:
        return epi::sigmoid();
      case Kind::kTanh:
        return epi::tanh();
      case Kind::kHardSwish:
        return epi::hard_swish();
      case Kind::kGelu:
        return epi::gelu();
      case Kind::kGeluTanh:
        return epi::gelu_tanh();
    }
    return {};
  }
};

class Kernel {
 public:
  virtual ~Kernel() = default;

  virtual void prepare(Preparation&) {}
  // Called from several threads at a time.
  virtual void run(Step&) const = 0;

  // Not worth a visit by itself: taken only beside kernels that are.
  virtual bool is_glue() const { return false; }
  // Elementwise functions that a kernel before this one can take over.
  virtual Activation as_activation() const { return {}; }
  virtual bool is_sum() const { return false; }

  // Its result is the channels of its inputs, one after the other.
  virtual bool joins_channels() const { return false; }
  // Its result, with channels last, can be some of the channels of a larger tensor.
  virtual bool writes_channels() const { return false; }

  // The kernel does it from now on.
  virtual bool take_activation(const Activation&) { return false; }
  // It adds kResidualInput, of the shape of its result, before the activation.
  virtual bool take_residual() { return false; }
};

// Not worth a visit by itself, but good to have beside others.
class Glue : public Kernel {
 public:
  bool is_glue() const final { return true; }
};

// Null if it is not for us: an unknown operator, types, attributes or ranks that no kernel takes.
std::unique_ptr<Kernel> make_kernel(const NodeView& node);

using Maker = std::unique_ptr<Kernel> (*)(const NodeView& node);
struct Operator {
  std::string_view domain, op;
  Maker make;
};

// A kernel that reads the node, or null if that says no.
template <class K>
std::unique_ptr<Kernel> make_if_read(const NodeView& node) {
  auto kernel = std::make_unique<K>();
  if (!kernel->read(node)) return nullptr;
  return kernel;
}

// Likewise of a kernel for elements of the type of the first input, which is f32, f16 or bf16.
template <template <class> class K>
std::unique_ptr<Kernel> make_for_real(const NodeView& node) {
  std::unique_ptr<Kernel> kernel;
  if (!node.is_real(0)) return kernel;
  with_real(node.type(0), [&]<class T>(T) { kernel = make_if_read<K<T>>(node); });
  return kernel;
}

inline constexpr std::string_view kOnnx = "", kMicrosoft = "com.microsoft";

// Each file of operators adds its own.
void add_convolutions(std::vector<Operator>& operators);
void add_products(std::vector<Operator>& operators);
void add_quantized_products(std::vector<Operator>& operators);
void add_rows(std::vector<Operator>& operators);
void add_attention(std::vector<Operator>& operators);
void add_group_query_attention(std::vector<Operator>& operators);
void add_elementwise(std::vector<Operator>& operators);
void add_pooling(std::vector<Operator>& operators);
void add_channels(std::vector<Operator>& operators);
void add_images(std::vector<Operator>& operators);
void add_selection(std::vector<Operator>& operators);
void add_shapes(std::vector<Operator>& operators);

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_KERNEL_H_
