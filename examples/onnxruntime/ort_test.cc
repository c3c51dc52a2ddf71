// SPDX-License-Identifier: Apache-2.0
// The provider in ONNX Runtime. `ort_test LIBRARY DATA` checks it, DATA being the data of ONNX's tests;
// `ort_test LIBRARY --time FILE.onnx THREADS ROUNDS` times a model with and without it, and
// `ort_test LIBRARY --count FILE.onnx tessera|host` runs one for a counter of instructions.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "graph_tests.h"
#include "host_tests.h"
#include "model_tests.h"
#include "node_tests.h"
#include "bench/silently.h"
#include "runtime.h"

int main(int argc, char** argv) {
  using namespace tessera::ort;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 2) {
    std::fprintf(stderr,
                 "usage: %s LIBTESSERA_ORT DATA [MODELS] | --time FILE.onnx THREADS ROUNDS |\n     "
                 "  --count FILE.onnx tessera|host\n",
                 argv[0]);
    return 2;
  }
  try {
    std::unique_ptr<Runtime> runtime;
    tessera::bench::silently([&] {
      load_onnxruntime();
      runtime = std::make_unique<Runtime>(arguments[0]);
      small_network(runtime->env(), runtime->options(false));
    });
    if (arguments[1] == "--time") {
      time_model(*runtime, arguments.at(2), std::stoi(arguments.at(3)), std::stoi(arguments.at(4)));
      return 0;
    }
    if (arguments[1] == "--count") {
      run_marked(*runtime, arguments.at(2), arguments.at(3) == "tessera");
      return 0;
    }
    int failures = check_host(*runtime) + check_graphs(*runtime);
    failures += check_nodes(*runtime, arguments[1] + "/node");
    failures +=
        check_models(*runtime, arguments[1] + "/light", arguments.size() > 2 ? arguments[2] : "");
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
