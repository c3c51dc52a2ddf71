# SPDX-License-Identifier: Apache-2.0
# Ports: shared objects with the interface of another library, over tessera::compiled.
include_guard(GLOBAL)
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag(-fno-gnu-unique TESSERA_HAS_NO_GNU_UNIQUE)

# The shared object lib<name>.so, which exports what it declares visible and nothing of what it is made of. dlclose() takes it out of
# memory again: one symbol that g++ makes unique in the process, such as a table in an inline function, would keep it there.
function(tessera_add_port name)
  add_library(${name} SHARED ${ARGN})
  target_link_libraries(${name} PRIVATE tessera::compiled)
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_options(${name} PRIVATE "LINKER:--exclude-libs,ALL" "LINKER:--no-undefined")
  if(TESSERA_HAS_NO_GNU_UNIQUE)
    target_compile_options(${name} PRIVATE -fno-gnu-unique)
  endif()
  if(TESSERA_INSTALL)
    install(TARGETS ${name} LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  endif()
endfunction()

# Programs that are added after this open libraries, also those of cross builds, which are static otherwise.
macro(tessera_link_dynamically)
  string(REPLACE "-static" "" CMAKE_EXE_LINKER_FLAGS "${CMAKE_EXE_LINKER_FLAGS}")
endmacro()

# The command that runs a program of a cross build, with vectors of `vlen` bits; nothing in native builds.
function(tessera_port_emulator vlen result)
  set(${result} "" PARENT_SCOPE)
  if(CMAKE_CROSSCOMPILING)
    include("${PROJECT_SOURCE_DIR}/cmake/Emulators.cmake")
    tessera_find_qemu(${CMAKE_SYSTEM_PROCESSOR} qemu)
    set(cpu "rv64,v=true,vext_spec=v1.0,vlen=${vlen},rvv_ta_all_1s=true,rvv_ma_all_1s=true")
    set(${result} "${qemu}" -cpu "${cpu}" PARENT_SCOPE)
  endif()
endfunction()

# The ctest entry port-<name>: `COMMAND loader program arguments...`, with TESSERA_TEST_PORTS, as the loader is that of a library of
# Debian sid. In cross builds one entry for each VLEN (by default all), under qemu: port-<name>-vlen<VLEN>. A WRAPPER is a command
# that runs the rest of the line, emulator included, as it needs to. FIXTURES are those that the test requires.
function(tessera_add_port_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "COMMAND;ENVIRONMENT;FIXTURES;VLENS;WRAPPER")
  if(NOT CMAKE_CROSSCOMPILING)
    add_test(NAME port-${name} COMMAND ${arg_WRAPPER} ${arg_COMMAND})
    set_tests_properties(port-${name} PROPERTIES LABELS port ENVIRONMENT "${arg_ENVIRONMENT}"
      FIXTURES_REQUIRED "${arg_FIXTURES}")
    return()
  endif()
  if(NOT arg_VLENS)
    set(arg_VLENS 128 256 512 1024)
  endif()
  foreach(vlen ${arg_VLENS})
    tessera_port_emulator(${vlen} emulator)
    add_test(NAME port-${name}-vlen${vlen} COMMAND ${arg_WRAPPER} ${emulator} ${arg_COMMAND})
    set_tests_properties(port-${name}-vlen${vlen} PROPERTIES LABELS port ENVIRONMENT "${arg_ENVIRONMENT}"
      FIXTURES_REQUIRED "${arg_FIXTURES}")
  endforeach()
endfunction()
