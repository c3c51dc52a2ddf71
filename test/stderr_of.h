// SPDX-License-Identifier: Apache-2.0
#ifndef TESSERA_TEST_STDERR_OF_H_
#define TESSERA_TEST_STDERR_OF_H_

#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace tessera::test {

// Runs f with stderr going to a file, and returns what came.
template <class F>
std::string stderr_of(const F& f) {
  std::FILE* const file = std::tmpfile();
  if (file == nullptr) throw std::runtime_error("no temporary file");
  const int before = dup(STDERR_FILENO);
  std::fflush(stderr);
  dup2(fileno(file), STDERR_FILENO);
  f();
  std::fflush(stderr);
  dup2(before, STDERR_FILENO);
  close(before);
  std::rewind(file);
  std::string text;
  for (int c; (c = std::fgetc(file)) != EOF;) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_STDERR_OF_H_
