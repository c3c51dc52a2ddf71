// SPDX-License-Identifier: Apache-2.0
// What a call was refused for.
#ifndef TESSERA_TEST_ERRORS_H_
#define TESSERA_TEST_ERRORS_H_

#include <string>

#include "tessera/core/check.h"

namespace tessera::test {

// The message of the Error that `call` raises, or "no error".
template <class F>
std::string error_of(F call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_ERRORS_H_
