# SPDX-License-Identifier: Apache-2.0
# Everything that runs on this machine.

# One entry for each file of tests, so that they run side by side.
foreach(source ${kernel_tests} ${common_tests} ${dispatch_tests})
  cmake_path(GET source STEM file)
  string(REPLACE "_test" "" name ${file})
  tessera_add_run(${name} ARGS --filenames-as-tags "[#${file}]~[.]")  # hidden ones take minutes
  set_tests_properties(${name} PROPERTIES LABELS unit)
endforeach()
# The longest start first: alone at the end, they leave a core idle for minutes. (ctest knows by itself the next time.)
set_tests_properties(gemm_types PROPERTIES COST 100)
set_tests_properties(gemm PROPERTIES COST 50)
add_test(NAME unknown-target COMMAND "${CMAKE_COMMAND}" "-DSAYS=TESSERA_TARGET: expected one of"
  -P "${expect_failure}" -- "${CMAKE_COMMAND}" -E env TESSERA_TARGET=avx2000 "$<TARGET_FILE:tessera_test>" --filenames-as-tags "[#gemm_test]")

# Tuning profiles are read once per process: one for this machine is written, with tiles and blocks that nobody would
# choose, and used; results do not change by a bit. Others are refused.
set(profile "${PROJECT_BINARY_DIR}/odd.profile")
add_test(NAME profile-write COMMAND tessera_test [profile-write])
set_tests_properties(profile-write PROPERTIES FIXTURES_SETUP profiles
  ENVIRONMENT "TESSERA_PROFILE=;TESSERA_PROFILE_TO_WRITE=${profile}")
add_test(NAME profile-used COMMAND tessera_test [profile-used])
tessera_add_run(profile-results ARGS --filenames-as-tags "[#gemm_test]~[.],[#gemm_types_test]~[.],[#packed_test]~[.],[#reproducibility_test]~[.]")
foreach(run profile-used profile-results)
  set_property(TEST ${run} APPEND PROPERTY ENVIRONMENT "TESSERA_PROFILE=${profile}")
  set_property(TEST ${run} APPEND PROPERTY FIXTURES_REQUIRED profiles)
endforeach()
set_property(TEST profile-results APPEND PROPERTY ENVIRONMENT TESSERA_TEST_EFFORT=reduced)
set_tests_properties(profile-results PROPERTIES COST 100)
function(tessera_add_refused_profile name file why)
  add_test(NAME profile-refused-${name} COMMAND tessera_test [profile-refused])
  set_tests_properties(profile-refused-${name} PROPERTIES FIXTURES_REQUIRED profiles
    ENVIRONMENT "TESSERA_PROFILE=${file};TESSERA_PROFILE_REFUSAL=${why}")
endfunction()
tessera_add_refused_profile(stale "${profile}.stale" "stale: expected version 0.1.0, got 0.0.0")
tessera_add_refused_profile(truncated "${profile}.truncated" "damaged: expected a last line")
tessera_add_refused_profile(empty "${profile}.empty" "damaged: line 1: expected a first line")
tessera_add_refused_profile(missing "${profile}.missing" "unreadable: expected a file, got No such file")
tessera_add_refused_profile(directory "${PROJECT_BINARY_DIR}" "unreadable: expected a file, got Is a directory")

# The other ways to use the library: header-only in two translation units, in static mode, without exceptions. With -O1, and
# on x86 for AVX2 only, as all kernels are compiled in each for the sake of the link.
set(for_the_link -O1)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  set(disabled HWY_AVX3+HWY_AVX3_DL+HWY_AVX3_ZEN4+HWY_AVX3_SPR+HWY_AVX10_2)  # + for |: no shell sees anything special
  list(APPEND for_the_link -march=haswell -DHWY_DISABLED_TARGETS=${disabled})
endif()
tessera_add_test_executable(tessera_header_only_test tessera odr_a.cc odr_b.cc odr_test.cc)
target_compile_options(tessera_header_only_test PRIVATE ${for_the_link})
add_test(NAME header-only COMMAND tessera_header_only_test)

set(include_dirs "$<TARGET_PROPERTY:tessera,INTERFACE_INCLUDE_DIRECTORIES>;$<TARGET_PROPERTY:hwy::hwy,INTERFACE_INCLUDE_DIRECTORIES>")
add_executable(tessera_static_test static_test.cc)  # links nothing
target_include_directories(tessera_static_test SYSTEM PRIVATE ${include_dirs})
target_compile_features(tessera_static_test PRIVATE cxx_std_20)
target_compile_definitions(tessera_static_test PRIVATE TESSERA_STATIC)
target_compile_options(tessera_static_test PRIVATE $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-march=haswell>)
add_test(NAME static COMMAND tessera_static_test)

add_executable(tessera_no_exceptions_test no_exceptions_test.cc)
target_link_libraries(tessera_no_exceptions_test PRIVATE tessera)
target_compile_options(tessera_no_exceptions_test PRIVATE -fno-exceptions ${for_the_link})
add_test(NAME no-exceptions COMMAND "${CMAKE_COMMAND}" -DABORTS=ON "-DSAYS=tessera: gemm: b: expected 3 rows"
  -P "${expect_failure}" -- "$<TARGET_FILE:tessera_no_exceptions_test>")
add_test(NAME profile-no-exceptions COMMAND "${CMAKE_COMMAND}" -DABORTS=ON "-DSAYS=tessera: TESSERA_PROFILE: none: unreadable"
  -P "${expect_failure}" -- "$<TARGET_FILE:tessera_no_exceptions_test>")
set_tests_properties(profile-no-exceptions PROPERTIES ENVIRONMENT TESSERA_PROFILE=none)

# The block formats against ggml: one that is installed, or that of Debian sid, taken through apt with the C library it
# was built for, whose loader then runs the test. Skipped where there is neither.
add_executable(tessera_ggml_formats_test ggml_formats_test.cc)
target_include_directories(tessera_ggml_formats_test SYSTEM PRIVATE ${include_dirs})
target_compile_features(tessera_ggml_formats_test PRIVATE cxx_std_20)
target_link_libraries(tessera_ggml_formats_test PRIVATE ${CMAKE_DL_LIBS})
tessera_find_llama()
add_test(NAME ggml-formats COMMAND ${TESSERA_LLAMA_LOADER} "$<TARGET_FILE:tessera_ggml_formats_test>")
set_tests_properties(ggml-formats PROPERTIES SKIP_RETURN_CODE 77)

# Every header compiles on its own, and twice, but those that are parts of another: *-inl.h, which is compiled once
# per target, and the modes of dispatch.h.
file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}/include" CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/include/tessera/*.h")
list(FILTER headers EXCLUDE REGEX "-inl\\.h$|dispatch/(dynamic|static|test_targets)\\.h$")
foreach(header ${headers})
  string(MAKE_C_IDENTIFIER "${header}" name)
  set(source "${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.cc")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"${header}\"\n#include \"${header}\"\n")
  list(APPEND header_sources "${source}")
endforeach()
add_library(tessera_headers_test OBJECT ${header_sources})
target_link_libraries(tessera_headers_test PRIVATE tessera)
target_compile_definitions(tessera_headers_test PRIVATE TESSERA_COMPILED)
target_compile_options(tessera_headers_test PRIVATE -O0)

# Wrong uses must not compile, and the compiler must print the sentence that the file names (// EXPECT: ...).
file(GLOB wrong_uses CONFIGURE_DEPENDS compile_fail/*.cc)
foreach(source ${wrong_uses})
  cmake_path(GET source STEM name)
  file(STRINGS "${source}" sentence REGEX "^// EXPECT: ")
  string(REGEX REPLACE "^// EXPECT: *" "" sentence "${sentence}")
  add_test(NAME compile-fail-${name} COMMAND "${CMAKE_COMMAND}" "-DSAYS=${sentence}" -P "${expect_failure}" --
    "${CMAKE_CXX_COMPILER}" -std=c++20 -fsyntax-only -DTESSERA_COMPILED "-I$<JOIN:${include_dirs},;-I>" "${source}"
    COMMAND_EXPAND_LISTS)
endforeach()

# The loops of the main register tiles must keep everything in registers: whatever compiler there is.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND CMAKE_BUILD_TYPE STREQUAL "Release")
  set(tiles "N_AVX2::gemm_tile<.*FloatProducts<float>, 4, 3, " "N_AVX2::gemm_tile<.*FloatProducts<float>, 6, 2, " "N_AVX3::gemm_tile<.*FloatProducts<float>, 8, 3, ")
  set(inner_loop "${PROJECT_SOURCE_DIR}/cmake/check_inner_loop.sh")
  add_test(NAME inner-loop COMMAND "${inner_loop}" "$<TARGET_FILE:tessera_compiled_test>" ${tiles})
  find_program(TESSERA_CLANG_19 clang++-19)
  if(TESSERA_CLANG_19)
    add_test(NAME inner-loop-clang-compile COMMAND "${TESSERA_CLANG_19}" -std=c++20 -O3 -DNDEBUG "-I$<JOIN:${include_dirs},;-I>"
      "-I${CMAKE_CURRENT_SOURCE_DIR}" -c "${CMAKE_CURRENT_SOURCE_DIR}/inner_loop.cc" -o clang.o COMMAND_EXPAND_LISTS)
    add_test(NAME inner-loop-clang COMMAND "${inner_loop}" clang.o ${tiles})
    set_tests_properties(inner-loop-clang-compile PROPERTIES FIXTURES_SETUP clang-object)
    set_tests_properties(inner-loop-clang PROPERTIES FIXTURES_REQUIRED clang-object)
  endif()
endif()

# Who includes what.
add_test(NAME include-directions COMMAND "${PROJECT_SOURCE_DIR}/cmake/check_includes.sh" "${PROJECT_SOURCE_DIR}/include")

# Other projects: each way to find Tessera builds and runs consumer/.
if(TESSERA_INSTALL)
  set(stage "${PROJECT_BINARY_DIR}/stage")
  set(prefix "${stage}${CMAKE_INSTALL_PREFIX}")
  add_test(NAME install COMMAND "${CMAKE_COMMAND}" --install "${PROJECT_BINARY_DIR}")
  set_tests_properties(install PROPERTIES ENVIRONMENT "DESTDIR=${stage}" FIXTURES_SETUP installed)
  function(tessera_add_consumer way)
    add_test(NAME consumer-${way} COMMAND "${CMAKE_CTEST_COMMAND}"
      --build-and-test "${CMAKE_CURRENT_SOURCE_DIR}/consumer" "${CMAKE_CURRENT_BINARY_DIR}/consumer-${way}"
      --build-generator "${CMAKE_GENERATOR}" --build-options -DWAY=${way} -DCMAKE_BUILD_TYPE=Release
        -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER} ${ARGN}
      --test-command consumer)
    set_tests_properties(consumer-${way} PROPERTIES FIXTURES_REQUIRED installed TIMEOUT 600)
  endfunction()
  set(sources "-DTESSERA_SOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DTESSERA_DOWNLOAD_DIR=${TESSERA_DOWNLOAD_DIR}")
  tessera_add_consumer(find_package "-DCMAKE_PREFIX_PATH=${prefix}")
  list(JOIN for_the_link " " flags)  # these two compile the library anew
  tessera_add_consumer(add_subdirectory ${sources} "-DCMAKE_CXX_FLAGS_RELEASE=${flags}")
  tessera_add_consumer(fetch_content ${sources} "-DCMAKE_CXX_FLAGS_RELEASE=${flags}")
  find_package(PkgConfig QUIET)
  if(PKG_CONFIG_FOUND)
    tessera_add_consumer(pkg_config)
    set_property(TEST consumer-pkg_config PROPERTY ENVIRONMENT "PKG_CONFIG_SYSROOT_DIR=${stage}"
      "PKG_CONFIG_PATH=${prefix}/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
  else()
    message(STATUS "consumer test of the pkg-config file: skipped, install pkg-config")
  endif()
endif()
