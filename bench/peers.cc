// SPDX-License-Identifier: Apache-2.0
#include "bench/peers.h"
#include "tessera/dispatch/dispatch.h"

namespace tessera::bench {
namespace {

// CMakeLists.txt says which libraries it has found.
using Find = void (*)(int threads, Contenders& found, Lines& missing);
struct Peer {
  const char* name;
  const char* package;
  bool
      obedient;  // keeps to the instructions of Tessera's target, where that is not the machine's best
  Find find;     // null: was not there
};
constexpr Peer kPeers[] = {
#if TESSERA_BENCH_ONEDNN
    {"onednn", "libdnnl-dev", true, &find_onednn},
#else
    {"onednn", "libdnnl-dev", true, nullptr},
#endif
#if TESSERA_BENCH_EIGEN
    {"eigen", "libeigen3-dev", false, &find_eigen},
#else
    {"eigen", "libeigen3-dev", false, nullptr},
#endif
#if TESSERA_BENCH_XNNPACK
    {"xnnpack", "libxnnpack-dev", false, &find_xnnpack},
#else
    {"xnnpack", "libxnnpack-dev", false, nullptr},
#endif
#if TESSERA_BENCH_LIBXSMM
    {"libxsmm", "libxsmm-dev", true, &find_libxsmm},
#else
    {"libxsmm", "libxsmm-dev", true, nullptr},
#endif
#if TESSERA_BENCH_GGML
    {"ggml", "libggml-dev", false, &find_ggml},
#else
    {"ggml", "libggml-dev", false, nullptr},
#endif
#if TESSERA_BENCH_ONNXRUNTIME
    {"onnxruntime", "libonnxruntime-dev", false, &find_onnxruntime},
#else
    {"onnxruntime", "libonnxruntime-dev", false, nullptr},
#endif
};

}  // namespace

std::vector<GemmContender> find_peers(int threads, std::vector<std::string>& missing) {
  std::vector<GemmContender> found;
  find_cblas(threads, found, missing);
  const Target best = available_targets().back();
  for (const Peer& peer : kPeers) {
    if (peer.find != nullptr && (peer.obedient || active_target() == best)) {
      peer.find(threads, found, missing);
    } else if (peer.find != nullptr) {
      missing.push_back(std::string(peer.name) + ": can't be limited to the instructions of " +
                        std::string(name(active_target())));
    } else {
      missing.push_back(std::string(peer.name) +
                        ": not found when this was built (Debian: " + peer.package + ")");
    }
  }
  return found;
}

}  // namespace tessera::bench
