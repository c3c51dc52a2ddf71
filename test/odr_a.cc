// SPDX-License-Identifier: Apache-2.0
// One of two translation units with everything header-only: see odr_test.cc.

#include "tessera/tessera.h"

#include "odr_test.h"

namespace tessera::test {

OdrProbe odr_a() { return odr_probe(); }

void odr_set_active_target_in_a(const char* target) { set_active_target(target); }

}  // namespace tessera::test
