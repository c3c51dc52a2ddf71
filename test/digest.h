// SPDX-License-Identifier: Apache-2.0
// Digests of results, and the environment that concerns tests of every kind:
//   TESSERA_TEST_EFFORT=reduced  a sample of the cases, the same each time: for emulators
//   TESSERA_DIGEST_FILE=<file>   where to append a line "<case>/<target> <digest>" for each digest,
//                                to compare the runs on several machines and emulated cores
#ifndef TESSERA_TEST_DIGEST_H_
#define TESSERA_TEST_DIGEST_H_

#include <catch2/catch_test_macros.hpp>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "tessera/core/isa.h"

namespace tessera::test {

inline bool reduced_effort() {
  static const bool reduced = [] {
    const char* effort = std::getenv("TESSERA_TEST_EFFORT");
    return effort != nullptr && std::string_view(effort) == "reduced";
  }();
  return reduced;
}

// FNV-1a of 64 bits.
class Digest {
 public:
  // The bits of a value, in the byte order of x86, RISC-V and Arm: little-endian.
  template <class T>
  void add(T value) {
    unsigned char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    for (const unsigned char byte : bytes) hash_ = (hash_ ^ byte) * 0x100000001b3u;
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

// To TESSERA_DIGEST_FILE, if it is set. `item` is the name of the case.
inline void append_digest(const char* item, Target target, std::uint64_t digest) {
  const char* path = std::getenv("TESSERA_DIGEST_FILE");
  if (path == nullptr || *path == '\0') return;
  std::FILE* file = std::fopen(path, "a");
  REQUIRE(file != nullptr);
  std::fprintf(file, "%s/%s %016" PRIx64 "\n", item, name(target).data(), digest);
  std::fclose(file);
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_DIGEST_H_
