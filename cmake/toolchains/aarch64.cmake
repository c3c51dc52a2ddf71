# SPDX-License-Identifier: Apache-2.0
# Linux on Arm, 64 bits: NEON up to SVE2 in one binary, chosen at run time.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
include("${CMAKE_CURRENT_LIST_DIR}/cross.cmake")
