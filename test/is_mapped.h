// SPDX-License-Identifier: Apache-2.0
#ifndef TESSERA_TEST_IS_MAPPED_H_
#define TESSERA_TEST_IS_MAPPED_H_

#include <fstream>
#include <string>

namespace tessera::test {

// Is a shared library, named by its path, in this process?
inline bool is_mapped(const std::string& library) {
  const std::string file = library.substr(library.rfind('/') + 1);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(file) != std::string::npos) return true;
  }
  return false;
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_IS_MAPPED_H_
