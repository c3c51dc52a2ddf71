// SPDX-License-Identifier: Apache-2.0
// The other one. One header, not all, and another header of the standard library before it.

#include <vector>

#include "tessera/ops/gemm.h"

#include "odr_test.h"

namespace tessera::test {

OdrProbe odr_b() { return odr_probe(); }

}  // namespace tessera::test
