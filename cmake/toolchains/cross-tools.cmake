# SPDX-License-Identifier: Apache-2.0
# Sets <clang> to the cross compiler for <arch>, or <missing> to one sentence that says what to install.
# clang 22 is the first that builds Highway's RVV targets without -march.
function(tessera_find_cross arch clang missing)
  find_program(TESSERA_CLANG NAMES clang++-22 clang++-23 clang++-24)
  find_program(TESSERA_LLD NAMES ld.lld-22 ld.lld-23 ld.lld-24)
  file(GLOB crtbegin /usr/lib/gcc-cross/${arch}-linux-gnu/*/crtbegin.o)
  set(${clang} "${TESSERA_CLANG}" PARENT_SCOPE)
  set(${missing} "" PARENT_SCOPE)
  if(NOT TESSERA_CLANG OR NOT TESSERA_LLD OR NOT crtbegin)
    set(${missing} "${arch} builds need clang 22, lld and a cross libstdc++; on Debian: apt-get install clang-22 lld-22 g++-12-${arch}-linux-gnu"
      PARENT_SCOPE)
  endif()
endfunction()
