// EXPECT: TESSERA_COMPILED uses the library's run-time dispatch
// SPDX-License-Identifier: Apache-2.0
#define TESSERA_STATIC 1
#include "tessera/config.h"
