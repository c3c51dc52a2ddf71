// SPDX-License-Identifier: Apache-2.0
// Built with -fno-exceptions: what works, works; an error calls the handler, prints and aborts.
// This program ends that way itself, and says so; anything else that goes wrong is exit code 1.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tessera/tessera.h"

#if TESSERA_EXCEPTIONS
#error "compile with -fno-exceptions"
#endif

namespace ts = tessera;

namespace {

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::exit(1);
}

struct Child {
  int status;
  std::string output;  // of stderr
};

// Runs f in a child process.
template <class F>
Child in_child(F f) {
  int ends[2];
  expect(pipe(ends) == 0, "pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDERR_FILENO);
    f();
    _exit(0);
  }
  close(ends[1]);
  Child child{};
  char buffer[256];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    child.output.append(buffer, static_cast<std::size_t>(n));
  }
  close(ends[0]);
  waitpid(pid, &child.status, 0);
  return child;
}

void wrong_call() {
  const float a[6] = {}, b[6] = {};
  float c[4];
  ts::gemm(ts::row_major(a, {2, 3}), ts::row_major(b, {2, 3}), ts::row_major(c, {2, 3}));
}

constexpr const char* kMessage = "tessera: gemm: b: expected 3 rows (the columns of a), got 2\n";

}  // namespace

int main() {
  const float a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8};
  float c[4];
  ts::gemm(ts::row_major(a, {2, 2}), ts::row_major(b, {2, 2}), ts::row_major(c, {2, 2}));
  expect(c[0] == 19 && c[1] == 22 && c[2] == 43 && c[3] == 50, "gemm");

  const Child plain = in_child(wrong_call);
  expect(WIFSIGNALED(plain.status) && WTERMSIG(plain.status) == SIGABRT, "an error aborts");
  expect(plain.output == kMessage, "and says why");

  const Child handled = in_child([] {
    ts::set_error_handler(
        [](const ts::Error& e) { std::fprintf(stderr, "handler: %s\n", e.argument().c_str()); });
    wrong_call();
  });
  expect(WIFSIGNALED(handled.status) && WTERMSIG(handled.status) == SIGABRT,
         "an error aborts after a handler that returns");
  expect(handled.output == std::string("handler: b\n") + kMessage, "which is called first");

  const Child ended = in_child([] {
    ts::set_error_handler([](const ts::Error&) { _exit(42); });
    wrong_call();
  });
  expect(WIFEXITED(ended.status) && WEXITSTATUS(ended.status) == 42,
         "a handler may end the program");

  wrong_call();
  return 1;  // not reached
}
