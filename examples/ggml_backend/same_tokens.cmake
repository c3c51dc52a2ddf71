# SPDX-License-Identifier: Apache-2.0
# llama.cpp generates the same text of a random model with its own backend and with ours, and ours has all of its graph.
execute_process(COMMAND "${GENERATOR}" --generate --size small --type ${TYPE} "${FILE}" COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
foreach(backend "" "${BACKEND}")
  set(ENV{GGML_BACKEND_PATH} "${backend}")
  execute_process(COMMAND ${LOADER} "${PROGRAM}" -m "${FILE}" -p "the art of small hints" -n 24 --temp 0 -no-cnv -t 2 -v
    WORKING_DIRECTORY "${BACKENDS}" OUTPUT_VARIABLE text ERROR_VARIABLE log COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND texts "${text}")
endforeach()
list(GET texts 0 expected)
if(NOT text STREQUAL expected)
  message(FATAL_ERROR "expected ${expected}\ngot ${text}")
endif()
if(NOT "${text}${log}" MATCHES "splits = 1," OR NOT log MATCHES "using device Tessera")
  message(FATAL_ERROR "expected a graph that is not split, on the device Tessera, got\n${log}")
endif()
file(REMOVE "${FILE}")
