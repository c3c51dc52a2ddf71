// SPDX-License-Identifier: Apache-2.0
// Contenders for whole networks: Tessera and its peers.
#ifndef TESSERA_BENCH_NETWORK_CONTENDER_H_
#define TESSERA_BENCH_NETWORK_CONTENDER_H_

#include <functional>
#include <string>
#include <vector>

#include "bench/network_types.h"
#include "bench/peers.h"

namespace tessera::bench {

struct NetworkContender {
  std::string name;         // of the library
  std::string description;  // version, kernels in use
  // Makes the weights ready, and puts x into the layout that the library wants.
  std::function<GemmRun(const NetworkOperands&)> prepare;

  std::string label() const { return name; }
};

using NetworkContenders = std::vector<NetworkContender>;

NetworkContenders tessera_networks(int threads);

// As find_peers().
NetworkContenders find_network_peers(int threads, Lines& missing);

void find_onnxruntime_networks(int threads, NetworkContenders& found, Lines& missing);

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_NETWORK_CONTENDER_H_
