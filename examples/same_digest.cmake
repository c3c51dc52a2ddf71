# SPDX-License-Identifier: Apache-2.0
# Runs a program on every target with fused multiply-add, with one thread and with two: the digest that it prints must be
# the same. So must it be with each of several options, if they are given (on two threads the first of them), and the one
# that is expected.
#   cmake -DINFO=<info> -DPROGRAM=<program> "-DARGUMENTS=<options>" ["-DALTERNATIVES=<options>,<options>..."]
#     [-DDIGEST=<digest>] -P same_digest.cmake
separate_arguments(arguments UNIX_COMMAND "${ARGUMENTS}")
string(REPLACE "," ";" alternatives "${ALTERNATIVES}")
if(NOT alternatives)
  set(alternatives " ")
endif()
execute_process(COMMAND "${INFO}" --targets OUTPUT_VARIABLE targets COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" targets "${targets}")
list(REMOVE_ITEM targets sse2 ssse3 sse4)
foreach(target ${targets})
  foreach(threads 1 2)
    set(tried "${alternatives}")
    if(threads EQUAL 2)
      list(GET alternatives 0 tried)
    endif()
    foreach(alternative ${tried})
      separate_arguments(more UNIX_COMMAND "${alternative}")
      execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env TESSERA_TARGET=${target} "${PROGRAM}" ${arguments} ${more} --threads ${threads}
        OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
      if(NOT output MATCHES "[a-z]+ digest +([0-9a-f]+)")
        message(FATAL_ERROR "no digest in:\n${output}")
      endif()
      set(digest ${CMAKE_MATCH_1})
      message(STATUS "${digest}  ${target}, ${threads} thread(s) ${alternative}")
      list(APPEND digests ${digest})
    endforeach()
  endforeach()
endforeach()
list(REMOVE_DUPLICATES digests)
list(LENGTH digests count)
if(NOT count EQUAL 1)
  message(FATAL_ERROR "the digests differ")
endif()
if(DIGEST AND NOT digests STREQUAL DIGEST)
  message(FATAL_ERROR "expected ${DIGEST}")
endif()
