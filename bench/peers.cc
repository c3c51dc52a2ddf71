// SPDX-License-Identifier: Apache-2.0
#include "bench/peers.h"

namespace tessera::bench {
namespace {

// CMakeLists.txt says which libraries it has found.
using Find = void (*)(int threads, Contenders& found, Lines& missing);
struct Peer {
  const char* name;
  const char* package;
  Find find;  // null: was not there
};
constexpr Peer kPeers[] = {
#if TESSERA_BENCH_ONEDNN
    {"onednn", "libdnnl-dev", &find_onednn},
#else
    {"onednn", "libdnnl-dev", nullptr},
#endif
#if TESSERA_BENCH_EIGEN
    {"eigen", "libeigen3-dev", &find_eigen},
#else
    {"eigen", "libeigen3-dev", nullptr},
#endif
#if TESSERA_BENCH_XNNPACK
    {"xnnpack", "libxnnpack-dev", &find_xnnpack},
#else
    {"xnnpack", "libxnnpack-dev", nullptr},
#endif
#if TESSERA_BENCH_LIBXSMM
    {"libxsmm", "libxsmm-dev", &find_libxsmm},
#else
    {"libxsmm", "libxsmm-dev", nullptr},
#endif
#if TESSERA_BENCH_GGML
    {"ggml", "libggml-dev", &find_ggml},
#else
    {"ggml", "libggml-dev", nullptr},
#endif
#if TESSERA_BENCH_ONNXRUNTIME
    {"onnxruntime", "libonnxruntime-dev", &find_onnxruntime},
#else
    {"onnxruntime", "libonnxruntime-dev", nullptr},
#endif
};

}  // namespace

std::vector<GemmContender> find_peers(int threads, std::vector<std::string>& missing) {
  std::vector<GemmContender> found;
  find_cblas(threads, found, missing);
  for (const Peer& peer : kPeers) {
    if (peer.find != nullptr) {
      peer.find(threads, found, missing);
    } else {
      missing.push_back(std::string(peer.name) +
                        ": not found when this was built (Debian: " + peer.package + ")");
    }
  }
  return found;
}

}  // namespace tessera::bench
