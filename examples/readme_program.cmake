# SPDX-License-Identifier: Apache-2.0
# The program that README.md shows is quickstart.cc, and prints what README.md says.
#   cmake -DREADME=<README.md> -DSOURCE=<quickstart.cc> -DPROGRAM=<quickstart> -P readme_program.cmake
file(READ "${README}" readme)
file(READ "${SOURCE}" source)
string(REGEX REPLACE "^(//[^\n]*\n)+\n" "" source "${source}")
execute_process(COMMAND "${PROGRAM}" OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
foreach(expected "```cpp\n${source}```" "```\n${output}```")
  string(FIND "${readme}" "${expected}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "README.md does not contain\n${expected}")
  endif()
endforeach()
