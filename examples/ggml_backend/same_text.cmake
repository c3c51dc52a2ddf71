# SPDX-License-Identifier: Apache-2.0
# Runs a program of llama.cpp with the backend of the CPU alone, then on libggml-tessera.so, and expects the same text.
#   cmake -DBACKENDS=<directory of the CPU's> -DLIBRARY=<libggml-tessera.so> -P same_text.cmake -- <command>...
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/command_after_dashes.cmake")

foreach(who host ours)
  unset(ENV{GGML_BACKEND_PATH})
  if(who STREQUAL "ours")
    set(ENV{GGML_BACKEND_PATH} "${LIBRARY}")
  endif()
  execute_process(COMMAND ${command} WORKING_DIRECTORY "${BACKENDS}" INPUT_FILE /dev/null RESULT_VARIABLE status
    OUTPUT_VARIABLE ${who} ERROR_VARIABLE errors)
  if(NOT status EQUAL 0 OR ${who} STREQUAL "")
    message(FATAL_ERROR "${who}: exit status ${status}, output '${${who}}'\n${errors}")
  endif()
endforeach()
if(NOT errors MATCHES "using device Tessera")
  message(FATAL_ERROR "llama.cpp did not take Tessera's device:\n${errors}")
endif()
if(NOT host STREQUAL ours)
  message(FATAL_ERROR "with the CPU's backend:\n${host}\nwith Tessera's:\n${ours}")
endif()
message(STATUS "${ours}")
