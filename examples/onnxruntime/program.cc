// SPDX-License-Identifier: Apache-2.0
#include "program.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tessera::ort {
namespace {

// A copy of x with its channels where ONNX has them.
void to_onnx_order(const Tensor& x, void* to, Context& context) {
  Tensor y = x;
  y.data = to;
  y.channels_last = false;
  with_bits(x.type, [&]<class T>(T) {
    copy(axes_view<const T>(x), axes_view<T>(y), {.context = &context});
  });
}

std::mutex counts_mutex;
std::map<std::string, std::uint64_t>& counts() {
  static std::map<std::string, std::uint64_t> map;
  return map;
}

}  // namespace

void count_run(const std::string& op) {
  const std::lock_guard lock(counts_mutex);
  ++counts()[op];
}

std::uint64_t runs_of(const std::string& op) {
  const std::lock_guard lock(counts_mutex);
  const auto found = counts().find(op);
  return found == counts().end() ? 0 : found->second;
}

std::unique_ptr<Kernel> make_kernel(const NodeView& node) {
  static const std::vector<Operator> operators = [] {
    std::vector<Operator> all;
    add_convolutions(all);
    add_products(all);
    add_quantized_products(all);
    add_rows(all);
    add_attention(all);
    add_group_query_attention(all);
    add_elementwise(all);
    add_pooling(all);
    add_channels(all);
    add_images(all);
    add_selection(all);
    add_shapes(all);
    return all;
  }();
  for (const Operator& o : operators) {
    if (o.op == node.op() && o.domain == node.node().domain) return o.make(node);
  }
  return nullptr;
}

struct Program::Workspace {
  // Memory that grows, and is not cleared.
  struct Buffer {
    detail::AlignedBytes memory;
    std::size_t size = 0;

    void* at_least(std::size_t bytes) {
      if (bytes > size || memory == nullptr) {
        memory = detail::allocate_aligned(std::max<std::size_t>(bytes, 64));
        size = bytes;
      }
      return memory.get();
    }
  };
  std::vector<Buffer> buffers;  // between kernels
  std::vector<Buffer> scratch;  // of the step that runs
  std::vector<Tensor> values;
  Context context;
};

// One run.
class Program::Running : public Step {
 public:
  Running(Program& program, Workspace& workspace, Host& host)
      : program_(program), workspace_(workspace), host_(host) {
    workspace.buffers.resize(static_cast<std::size_t>(program.buffers_));
    workspace.values.resize(program.places_.size());
    for (std::size_t id = 0; id < program.places_.size(); ++id) {
      const Place& place = program.places_[id];
      if (place.kind == Place::Kind::kInput) {
        workspace.values[id] = host.input(static_cast<std::size_t>(place.index));
      } else if (place.kind == Place::Kind::kConstant) {
        workspace.values[id] = {program.constants_.at(static_cast<int>(id)).data(),
                                program.types_[id], program.constant_shapes_[id]};
      }
    }
  }

  void run(const Instruction& instruction) {
    instruction_ = &instruction;
    scratch_used_ = 0;
    instruction.kernel->run(*this);
    for (const std::string& op : instruction.ops) count_run(op);
  }

  const Tensor* input(std::size_t i) override {
    if (i >= instruction_->inputs.size() || instruction_->inputs[i] == kNoValue) return nullptr;
    return &workspace_.values[static_cast<std::size_t>(instruction_->inputs[i])];
  }

  const Tensor* dense_input(std::size_t i) override {
    const Tensor* const x = input(i);
    if (x == nullptr || !x->channels_last) return x;
    converted_.resize(std::max(converted_.size(), i + 1));
    converted_[i] = *x;
    converted_[i].data = scratch(x->bytes());
    converted_[i].channels_last = false;
    to_onnx_order(*x, converted_[i].data, context());
    return &converted_[i];
  }

  Tensor* output(std::size_t i, const Shape& shape, Layout layout) override {
    if (i >= instruction_->outputs.size() || instruction_->outputs[i] == kNoValue) return nullptr;
    const std::size_t id = static_cast<std::size_t>(instruction_->outputs[i]);
    const Place& place = program_.places_[id];
    Tensor& y = workspace_.values[id];
    y.shape = shape;
    y.type = program_.types_[id];
    y.channels_last = false;
    y.row = 0;
    if (place.kind == Place::Kind::kOutput) {
      y.data = host_.output(static_cast<std::size_t>(place.index), shape);
    } else if (place.kind == Place::Kind::kBuffer) {
      y.data = workspace_.buffers[static_cast<std::size_t>(place.index)].at_least(y.bytes());
      y.channels_last = layout == Layout::kChannelsLast && shape.size() >= 3 && shape.size() <= 5;
    } else if (place.kind == Place::Kind::kPart) {
      Tensor whole = y;
      whole.shape[1] = place.channels;
      const Place& home = program_.places_[static_cast<std::size_t>(place.index)];
      std::byte* const memory = static_cast<std::byte*>(
          workspace_.buffers[static_cast<std::size_t>(home.index)].at_least(whole.bytes()));
      y.data = memory + static_cast<std::size_t>(place.channel) * size_of_element(y.type);
      y.channels_last = true;
      y.row = place.channels;
    } else {
      return nullptr;
    }
    return &y;
  }

  void* scratch(std::size_t bytes) override {
    if (scratch_used_ == workspace_.scratch.size()) workspace_.scratch.emplace_back();
    return workspace_.scratch[scratch_used_++].at_least(bytes);
  }

  Context& context() override { return workspace_.context; }

 private:
  Program& program_;
  Workspace& workspace_;
  Host& host_;
  const Instruction* instruction_ = nullptr;
  std::vector<Tensor> converted_ =
      std::vector<Tensor>(16);  // no reallocation: kernels keep pointers
  std::size_t scratch_used_ = 0;
};

Program::Program(const Graph& graph, const std::vector<std::string>& inputs,
                 const std::vector<std::string>& outputs) {
  add_kernels(graph);
  place(graph, inputs, outputs);
  fuse(graph);
  prepare(graph);
  join_in_place(graph);
  assign_buffers();
}

Program::~Program() = default;

void Program::add_kernels(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    Instruction instruction{
        make_kernel({graph, node}), node.name, {node.op}, node.inputs, node.outputs};
    if (instruction.kernel == nullptr) {
      throw std::runtime_error("tessera: no kernel for " + node.op + " " + node.name);
    }
    instructions_.push_back(std::move(instruction));
  }
}

void Program::place(const Graph& graph, const std::vector<std::string>& inputs,
                    const std::vector<std::string>& outputs) {
  places_.resize(graph.values.size());
  constant_shapes_.resize(graph.values.size());
  for (const Value& value : graph.values) types_.push_back(value.tensor.type);
  const auto put = [&](const std::vector<std::string>& names, Place::Kind kind) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      const int id = graph.find(names[i]);
      if (id == kNoValue || graph.values[static_cast<std::size_t>(id)].is_constant) continue;
      places_[static_cast<std::size_t>(id)] = {kind, static_cast<int>(i)};
    }
  };
  put(inputs, Place::Kind::kInput);
  put(outputs, Place::Kind::kOutput);
}

// Elementwise nodes become a part of the kernel whose result they change, if nobody else reads that result.
void Program::fuse(const Graph& graph) {
  for (std::size_t at = 0; at < instructions_.size(); ++at) {
    while (fuse_into(graph, at)) {
    }
  }
  std::erase_if(instructions_, [](const Instruction& i) { return i.kernel == nullptr; });
}

bool Program::fuse_into(const Graph& graph, std::size_t at) {
  Instruction& first = instructions_[at];
  if (first.kernel == nullptr || first.outputs.empty() || first.outputs[0] == kNoValue)
    return false;
  const int id = first.outputs[0];
  const Value& value = graph.values[static_cast<std::size_t>(id)];
  if (places_[static_cast<std::size_t>(id)].kind == Place::Kind::kOutput ||
      value.consumers.size() != 1) {
    return false;
  }
  const auto reads = [id](const Instruction& i) {
    return i.kernel != nullptr && std::count(i.inputs.begin(), i.inputs.end(), id) == 1;
  };
  const auto second = std::find_if(instructions_.begin(), instructions_.end(), reads);
  if (second == instructions_.end()) return false;
  const Activation activation = second->kernel->as_activation();
  if (activation.kind != Activation::Kind::kNone) {
    if (second->inputs[0] != id || !first.kernel->take_activation(activation)) return false;
    first.ops.insert(first.ops.end(), second->ops.begin(), second->ops.end());
    first.outputs = second->outputs;
    *second = {};
    return true;
  }
  if (!second->kernel->is_sum()) return false;
  const int other = second->inputs[second->inputs[0] == id ? 1 : 0];
  const Value& added = graph.values[static_cast<std::size_t>(other)];
  const bool same = value.has_rank && added.has_rank && !added.is_constant &&
                    value.tensor.shape == added.tensor.shape &&
                    value.dimension_names == added.dimension_names;
  // Unknown extents without a name could be anything.
  const auto is_known = [&](std::size_t i) {
    return value.tensor.shape[i] >= 0 || !value.dimension_names[i].empty();
  };
  if (!same) return false;
  for (std::size_t i = 0; i < value.tensor.shape.size(); ++i) {
    if (!is_known(i)) return false;
  }
  if (!first.kernel->take_residual()) return false;
  // It runs where the sum did: the other summand may be made between the two.
  first.inputs.resize(kResidualInput, kNoValue);
  first.inputs.push_back(other);
  first.ops.insert(first.ops.end(), second->ops.begin(), second->ops.end());
  first.outputs = second->outputs;
  const std::size_t sum = static_cast<std::size_t>(second - instructions_.begin());
  instructions_[sum] = std::move(instructions_[at]);
  instructions_[at] = {};
  return false;  // the loop comes to it there
}

void Program::prepare(const Graph& graph) {
  class Constants : public Preparation {
   public:
    Constants(const Graph& graph, Instruction& instruction)
        : graph_(graph), inputs_(instruction.inputs) {}

    const Tensor* constant(std::size_t i) override {
      if (i >= inputs_.size() || inputs_[i] == kNoValue) return nullptr;
      const Value& value = graph_.values[static_cast<std::size_t>(inputs_[i])];
      return value.is_constant ? &value.tensor : nullptr;
    }
    void release(std::size_t i) override {
      if (i < inputs_.size()) inputs_[i] = kNoValue;
    }

   private:
    const Graph& graph_;
    std::vector<int>& inputs_;
  };
  for (Instruction& instruction : instructions_) {
    Constants constants(graph, instruction);
    instruction.kernel->prepare(constants);
  }
  for (const Instruction& instruction : instructions_) {
    for (const int id : instruction.inputs) {
      if (id == kNoValue || constants_.count(id) != 0) continue;
      const std::size_t at = static_cast<std::size_t>(id);
      const Value& value = graph.values[at];
      if (!value.is_constant) continue;
      std::vector<std::byte> bytes(value.tensor.bytes());
      if (!bytes.empty()) std::memcpy(bytes.data(), value.tensor.data, bytes.size());
      constants_.emplace(id, std::move(bytes));
      constant_shapes_[at] = value.tensor.shape;
      places_[at].kind = Place::Kind::kConstant;
    }
  }
}

// What is only made to be joined with others is made where they are joined.
void Program::join_in_place(const Graph& graph) {
  for (const Instruction& instruction : instructions_) {
    if (!instruction.kernel->joins_channels()) continue;
    const int home = instruction.outputs[0];
    if (places_[static_cast<std::size_t>(home)].kind != Place::Kind::kNowhere) continue;
    index_t channels = 0;
    bool are_known = true;
    for (const int id : instruction.inputs) {
      const Value& value = graph.values[static_cast<std::size_t>(id)];
      are_known = are_known && value.has_rank && value.tensor.shape[1] >= 0;
      if (are_known) channels += static_cast<index_t>(value.tensor.shape[1]);
    }
    if (!are_known) continue;
    index_t channel = 0;
    for (const int id : instruction.inputs) {
      const Value& value = graph.values[static_cast<std::size_t>(id)];
      if (can_be_part(value, id)) {
        places_[static_cast<std::size_t>(id)] = {Place::Kind::kPart, home, channel, channels};
      }
      channel += static_cast<index_t>(value.tensor.shape[1]);
    }
  }
}

bool Program::can_be_part(const Value& value, int id) const {
  if (places_[static_cast<std::size_t>(id)].kind != Place::Kind::kNowhere) return false;
  const auto makes = [id](const Instruction& i) {
    return i.kernel->writes_channels() && i.outputs[0] == id;
  };
  return value.consumers.size() == 1 &&
         std::any_of(instructions_.begin(), instructions_.end(), makes);
}

// Values that are not needed at the same time share buffers.
void Program::assign_buffers() {
  std::vector<std::size_t> last_use(places_.size(), 0);
  for (std::size_t i = 0; i < instructions_.size(); ++i) {
    for (const int id : instructions_[i].inputs) {
      if (id != kNoValue) last_use[static_cast<std::size_t>(id)] = i;
    }
  }
  std::vector<int> unused;
  for (std::size_t i = 0; i < instructions_.size(); ++i) {
    const Instruction& instruction = instructions_[i];
    for (const int id : instruction.outputs) {
      if (id == kNoValue) continue;
      const Place& own = places_[static_cast<std::size_t>(id)];
      const bool is_part = own.kind == Place::Kind::kPart;
      Place& place = places_[static_cast<std::size_t>(is_part ? own.index : id)];
      if (place.kind != Place::Kind::kNowhere) continue;
      place = {Place::Kind::kBuffer, unused.empty() ? buffers_++ : unused.back()};
      if (!unused.empty()) unused.pop_back();
    }
    // A value that is read twice is given back once; one that nobody reads, at once.
    std::vector<int> ends;
    for (const int id : instruction.inputs) {
      if (id != kNoValue && last_use[static_cast<std::size_t>(id)] == i) ends.push_back(id);
    }
    for (const int id : instruction.outputs) {
      if (id != kNoValue && last_use[static_cast<std::size_t>(id)] <= i) ends.push_back(id);
    }
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
    for (const int id : ends) {
      const Place& place = places_[static_cast<std::size_t>(id)];
      if (place.kind == Place::Kind::kBuffer) unused.push_back(place.index);
    }
  }
}

std::unique_ptr<Program::Workspace> Program::borrow_workspace() {
  const std::lock_guard lock(mutex_);
  if (workspaces_.empty()) return std::make_unique<Workspace>();
  std::unique_ptr<Workspace> workspace = std::move(workspaces_.back());
  workspaces_.pop_back();
  return workspace;
}

void Program::return_workspace(std::unique_ptr<Workspace> workspace) {
  const std::lock_guard lock(mutex_);
  workspaces_.push_back(std::move(workspace));
}

void Program::run(Host& host) {
  std::unique_ptr<Workspace> workspace = borrow_workspace();  // lost after an error
  workspace->context.executor = host.executor();
  Running running(*this, *workspace, host);
  for (const Instruction& instruction : instructions_) {
    try {
      running.run(instruction);
    } catch (const std::exception& error) {
      throw std::runtime_error(instruction.ops[0] + " " + instruction.name + ": " + error.what());
    }
  }
  return_workspace(std::move(workspace));
}

std::vector<std::string> Program::description() const {
  std::vector<std::string> lines;
  for (const Instruction& instruction : instructions_) {
    std::string line;
    for (const std::string& op : instruction.ops) line += (line.empty() ? "" : " + ") + op;
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace tessera::ort
