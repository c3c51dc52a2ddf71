// SPDX-License-Identifier: Apache-2.0
// Which nodes of a graph are taken, and which of them together.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_PARTITION_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_PARTITION_H_

#include <algorithm>
#include <exception>
#include <map>
#include <memory>
#include <vector>

#include "graph.h"
#include "kernel.h"

namespace tessera::ort {

// Null also of a node with attributes that cannot be: the host has better words for it.
inline std::unique_ptr<Kernel> kernel_or_null(const Graph& graph, const Node& node) {
  try {
    return node.provider.empty() ? make_kernel({graph, node}) : nullptr;
  } catch (const std::exception&) {
    return nullptr;
  }
}

// Groups of nodes that there are kernels for, each of which can run as one node: no path leaves a group and comes back. A node's
// group is the number of changes from nodes of others to nodes of ours on the way to it, at most; so a path out of a group
// ends in a later one. Groups of glue alone are left to the host.
inline std::vector<std::vector<const Node*>> partition(const Graph& graph) {
  std::map<int, std::vector<const Node*>> groups;
  std::map<int, bool> is_worth_it;
  std::vector<int> level(graph.nodes.size(), 0);
  std::vector<bool> is_ours(graph.nodes.size(), false);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const std::unique_ptr<Kernel> kernel = kernel_or_null(graph, node);
    is_ours[i] = kernel != nullptr;
    const auto follow = [&](int id) {
      const int producer =
          id == kNoValue ? -1 : graph.values[static_cast<std::size_t>(id)].producer;
      if (producer < 0) return;
      const std::size_t from = static_cast<std::size_t>(producer);
      level[i] = std::max(level[i], level[from] + (is_ours[i] && !is_ours[from] ? 1 : 0));
    };
    std::for_each(node.inputs.begin(), node.inputs.end(), follow);
    std::for_each(node.implicit_inputs.begin(), node.implicit_inputs.end(), follow);
    if (!is_ours[i]) continue;
    groups[level[i]].push_back(&node);
    is_worth_it[level[i]] |= !kernel->is_glue() || graph.settings.takes_glue_alone;
  }
  std::vector<std::vector<const Node*>> result;
  for (auto& [level_of_group, nodes] : groups) {
    if (is_worth_it[level_of_group]) result.push_back(std::move(nodes));
  }
  return result;
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_PARTITION_H_
