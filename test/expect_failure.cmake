# SPDX-License-Identifier: Apache-2.0
# cmake -DSAYS=<text> [-DABORTS=ON] -P expect_failure.cmake -- <command>...
# The command must end with an exit code that is not 0 (or abort), and say why: <text> is in its output.
include("${CMAKE_CURRENT_LIST_DIR}/../cmake/command_after_dashes.cmake")
execute_process(COMMAND ${command} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
message("${output}")
set(expected "^[1-9][0-9]*$")
if(ABORTS)
  set(expected "abort")
endif()
if(NOT code MATCHES "${expected}")
  message(FATAL_ERROR "it ended with \"${code}\"")
endif()
string(FIND "${output}" "${SAYS}" position)
if(SAYS STREQUAL "" OR position LESS 0)
  message(FATAL_ERROR "it ended with \"${code}\" as expected, but did not say \"${SAYS}\"")
endif()
