// SPDX-License-Identifier: Apache-2.0
// For tests that compile code of their own once per target: each pass registers its table, and the
// test runs over those of this machine.
#ifndef TESSERA_TEST_REGISTERED_TARGETS_H_
#define TESSERA_TEST_REGISTERED_TARGETS_H_

#include <cstdint>
#include <vector>

#include "tessera/config.h"
#include "tessera/core/isa.h"
#if !TESSERA_STATIC
#include "hwy/targets.h"
#endif

namespace tessera::test {

template <class Table>
struct RegisteredTarget {
  Target target;
  int64_t highway_target;  // its bit; 0 for targets that run everywhere
  Table (*table)();        // compiled for the target: to be called only where that is supported
};

template <class Table>
std::vector<RegisteredTarget<Table>>& registered_targets() {
  static std::vector<RegisteredTarget<Table>> all;
  return all;
}

template <class Table>
bool register_target(Target target, int64_t highway_target, Table (*table)()) {
  registered_targets<Table>().push_back({target, highway_target, table});
  return true;
}

template <class Table>
std::vector<RegisteredTarget<Table>> supported_targets() {
#if TESSERA_STATIC
  return registered_targets<Table>();
#else
  std::vector<RegisteredTarget<Table>> list;
  for (const RegisteredTarget<Table>& t : registered_targets<Table>()) {
    if (t.highway_target == 0 || (hwy::SupportedTargets() & t.highway_target) != 0) {
      list.push_back(t);
    }
  }
  return list;
#endif
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_REGISTERED_TARGETS_H_
