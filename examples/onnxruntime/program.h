// SPDX-License-Identifier: Apache-2.0
// A part of the host's graph, compiled: kernels in order, and the memory between them.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_PROGRAM_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_PROGRAM_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "graph.h"
#include "kernel.h"

namespace tessera::ort {

// Inputs and results of one run, as the host has them.
class Host {
 public:
  virtual ~Host() = default;
  virtual Tensor input(std::size_t i) = 0;
  virtual void* output(std::size_t i, const Shape& shape) = 0;
  virtual Executor executor() = 0;
};

class Program {
 public:
  // `inputs` and `outputs`: names, in the order of the host.
  Program(const Graph& graph, const std::vector<std::string>& inputs,
          const std::vector<std::string>& outputs);
  ~Program();

  // Thread-safe. Errors: any exception.
  void run(Host& host);

  // What its nodes became, in order: "Conv + residual + Relu".
  std::vector<std::string> description() const;

 private:
  struct Instruction {
    std::unique_ptr<Kernel> kernel;
    std::string name;                  // of its node, for errors
    std::vector<std::string> ops;      // it does
    std::vector<int> inputs, outputs;  // values
  };
  // Where a value is while the program runs.
  struct Place {
    enum class Kind { kNowhere, kConstant, kInput, kOutput, kBuffer, kPart } kind = Kind::kNowhere;
    int index = 0;  // of an input, an output or a buffer; of a part, the value that it is a part of
    index_t channel = 0, channels = 0;  // of a part: the first of its own, and all
  };
  struct Workspace;
  class Running;

  void add_kernels(const Graph& graph);
  void fuse(const Graph& graph);
  bool fuse_into(const Graph& graph, std::size_t at);
  void prepare(const Graph& graph);
  void place(const Graph& graph, const std::vector<std::string>& inputs,
             const std::vector<std::string>& outputs);
  void join_in_place(const Graph& graph);
  bool can_be_part(const Value& value, int id) const;
  void assign_buffers();

  std::unique_ptr<Workspace> borrow_workspace();
  void return_workspace(std::unique_ptr<Workspace> workspace);

  std::vector<Instruction> instructions_;
  std::vector<Place> places_;                        // of the values
  std::vector<ElementType> types_;                   // likewise
  std::map<int, std::vector<std::byte>> constants_;  // that kernels read in runs
  std::vector<Shape> constant_shapes_;
  int buffers_ = 0;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> workspaces_;  // not in use
};

// How often kernels of an operator ran in this process, since the library was loaded.
void count_run(const std::string& op);
std::uint64_t runs_of(const std::string& op);

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_PROGRAM_H_
