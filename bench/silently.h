// SPDX-License-Identifier: Apache-2.0
#ifndef TESSERA_BENCH_SILENTLY_H_
#define TESSERA_BENCH_SILENTLY_H_

#include <fcntl.h>
#include <unistd.h>

namespace tessera::bench {

// Runs f with stderr closed. Some packages of ONNX Runtime register every operator twice when the first session is made, and
// complain in a thousand lines.
template <class F>
void silently(F&& f) {
  const int saved = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);
  dup2(nowhere, STDERR_FILENO);
  f();
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(nowhere);
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_SILENTLY_H_
