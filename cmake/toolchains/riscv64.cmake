# SPDX-License-Identifier: Apache-2.0
# Linux on RISC-V, plain rv64gc: the vector unit is found at run time, so one binary holds RVV and its fallback.
set(CMAKE_SYSTEM_PROCESSOR riscv64)
# Highway 1.3 builds RVV without -march=...v only when told to; 1.4 does so by itself.
set(TESSERA_CROSS_FLAGS -DHWY_HAVE_RUNTIME_DISPATCH_RVV=1)
include("${CMAKE_CURRENT_LIST_DIR}/cross.cmake")
