# SPDX-License-Identifier: Apache-2.0
# Cross builds with clang, on the headers and libraries of Debian's cross g++ packages. Static binaries:
# they run under qemu-user without a root file system. CMAKE_SYSTEM_PROCESSOR is set by the including file.
set(CMAKE_SYSTEM_NAME Linux)
set(triple ${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/cross-tools.cmake")
tessera_find_cross(${CMAKE_SYSTEM_PROCESSOR} clang missing)
if(missing)
  message(FATAL_ERROR "${missing}")
endif()

set(CMAKE_CXX_COMPILER "${clang}")
string(REPLACE "clang++" "clang" CMAKE_C_COMPILER "${clang}")
foreach(lang C CXX)
  set(CMAKE_${lang}_COMPILER_TARGET ${triple})
  set(CMAKE_${lang}_FLAGS_INIT "${TESSERA_CROSS_FLAGS}")
endforeach()
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -fuse-ld=lld")
set(CMAKE_SHARED_LINKER_FLAGS_INIT -fuse-ld=lld)

set(CMAKE_FIND_ROOT_PATH /usr/${triple})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
