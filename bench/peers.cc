// SPDX-License-Identifier: Apache-2.0
#include "bench/peers.h"

#include "bench/attention_contender.h"
#include "bench/conv_contender.h"
#include "bench/network_contender.h"
#include "bench/nn_contender.h"
#include "bench/weights_contender.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {
namespace {

// CMakeLists.txt says which libraries it has found.
template <class Contender>
using Find = void (*)(int threads, std::vector<Contender>& found, Lines& missing);
struct Peer {
  const char* name;
  const char* package;
  // Keeps to the instructions of Tessera's target, where that is not the machine's best.
  bool obedient;
  // Products with quantized weights, convolutions, whole networks; attention and functions of rows.
  bool has_weights, has_conv, has_networks, has_nn;
  // Null: was not there, or has no such products.
  Find<GemmContender> find_gemm;
  Find<WeightsContender> find_weights;
  Find<ConvContender> find_conv;
  Find<NetworkContender> find_networks;
  Find<AttentionContender> find_attention;
  Find<NnContender> find_nn;
};
constexpr Peer kPeers[] = {
#if TESSERA_BENCH_ONEDNN
    {"onednn", "libdnnl-dev", true, false, true, false, true, &find_onednn, nullptr,
     &find_onednn_conv, nullptr, &find_onednn_attention, &find_onednn_nn},
#else
    {"onednn", "libdnnl-dev", true, false, true, false, true, nullptr, nullptr, nullptr, nullptr,
     nullptr, nullptr},
#endif
#if TESSERA_BENCH_EIGEN
    {"eigen", "libeigen3-dev", false, false, false, false, false, &find_eigen, nullptr, nullptr,
     nullptr, nullptr, nullptr},
#else
    {"eigen", "libeigen3-dev", false, false, false, false, false, nullptr, nullptr, nullptr,
     nullptr, nullptr, nullptr},
#endif
#if TESSERA_BENCH_XNNPACK
    {"xnnpack", "libxnnpack-dev", false, true, true, false, true, &find_xnnpack,
     &find_xnnpack_weights, &find_xnnpack_conv, nullptr, &find_xnnpack_attention, &find_xnnpack_nn},
#else
    {"xnnpack", "libxnnpack-dev", false, true, true, false, true, nullptr, nullptr, nullptr,
     nullptr, nullptr, nullptr},
#endif
#if TESSERA_BENCH_LIBXSMM
    {"libxsmm", "libxsmm-dev", true, false, false, false, false, &find_libxsmm, nullptr, nullptr,
     nullptr, nullptr, nullptr},
#else
    {"libxsmm", "libxsmm-dev", true, false, false, false, false, nullptr, nullptr, nullptr, nullptr,
     nullptr, nullptr},
#endif
#if TESSERA_BENCH_GGML
    {"ggml", "libggml-dev", false, true, true, false, true, &find_ggml, &find_ggml_weights,
     &find_ggml_conv, nullptr, &find_ggml_attention, &find_ggml_nn},
#else
    {"ggml", "libggml-dev", false, true, true, false, true, nullptr, nullptr, nullptr, nullptr,
     nullptr, nullptr},
#endif
#if TESSERA_BENCH_ONNXRUNTIME
    {"onnxruntime", "libonnxruntime-dev", false, true, true, true, true, &find_onnxruntime,
     &find_onnxruntime_weights, &find_onnxruntime_conv, &find_onnxruntime_networks,
     &find_onnxruntime_attention, &find_onnxruntime_nn},
#else
    {"onnxruntime", "libonnxruntime-dev", false, true, true, true, true, nullptr, nullptr, nullptr,
     nullptr, nullptr, nullptr},
#endif
};

template <class Contender>
void find_all(Find<Contender> Peer::* find, int threads, std::vector<Contender>& found,
              Lines& missing) {
  const Target best = available_targets().back();
  for (const Peer& peer : kPeers) {
    if (std::is_same_v<Contender, WeightsContender> && !peer.has_weights) continue;
    if (std::is_same_v<Contender, ConvContender> && !peer.has_conv) continue;
    if (std::is_same_v<Contender, NetworkContender> && !peer.has_networks) continue;
    if (std::is_same_v<Contender, AttentionContender> && !peer.has_nn) continue;
    if (std::is_same_v<Contender, NnContender> && !peer.has_nn) continue;
    if (peer.*find != nullptr && (peer.obedient || active_target() == best)) {
      (peer.*find)(threads, found, missing);
    } else if (peer.*find != nullptr) {
      missing.push_back(std::string(peer.name) + ": can't be limited to the instructions of " +
                        std::string(name(active_target())));
    } else {
      missing.push_back(std::string(peer.name) +
                        ": not found when this was built (Debian: " + peer.package + ")");
    }
  }
}

}  // namespace

std::vector<GemmContender> find_peers(int threads, std::vector<std::string>& missing) {
  std::vector<GemmContender> found;
  find_cblas(threads, found, missing);
  find_all(&Peer::find_gemm, threads, found, missing);
  return found;
}

WeightsContenders find_weights_peers(int threads, Lines& missing) {
  WeightsContenders found;
  find_all(&Peer::find_weights, threads, found, missing);
  return found;
}

ConvContenders find_conv_peers(int threads, Lines& missing) {
  ConvContenders found;
  find_all(&Peer::find_conv, threads, found, missing);
  return found;
}

NetworkContenders find_network_peers(int threads, Lines& missing) {
  NetworkContenders found;
  find_all(&Peer::find_networks, threads, found, missing);
  return found;
}

AttentionContenders find_attention_peers(int threads, Lines& missing) {
  AttentionContenders found;
  find_all(&Peer::find_attention, threads, found, missing);
  return found;
}

NnContenders find_nn_peers(int threads, Lines& missing) {
  NnContenders found;
  find_all(&Peer::find_nn, threads, found, missing);
  return found;
}

}  // namespace tessera::bench
