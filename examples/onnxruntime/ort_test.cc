// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "node_tests.h"
#include "runtime.h"

int main(int argc, char** argv) {
  using namespace tessera::ort;
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s LIBTESSERA_ORT DIRECTORY_OF_NODE_TESTS\n", argv[0]);
    return 2;
  }
  try {
    load_onnxruntime();
    std::unique_ptr<Runtime> runtime;
    silently([&] { runtime = std::make_unique<Runtime>(argv[1]); });
    std::printf("%zu devices\n", runtime->devices().size());
    return check_nodes(*runtime, argv[2]) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
