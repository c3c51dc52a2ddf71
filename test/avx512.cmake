# SPDX-License-Identifier: Apache-2.0
# AVX-512 on the hardware where there is some, and a small set of tests on emulated cores everywhere.
set(TESSERA_TEST_BOCHS_ARGS "[reproducibility]" CACHE STRING "Catch2 arguments of the runs under Bochs")
target_link_options(tessera_test PRIVATE -static)

file(STRINGS /proc/cpuinfo avx512 REGEX "^flags.* avx512f .* avx512vl( |$)")
if(avx512)
  tessera_add_run(avx512-hardware ARGS ${TESSERA_TEST_ARGS})
else()
  message(STATUS "AVX-512: this machine has none, emulated runs only")
endif()

set(bochs "${TESSERA_DOWNLOAD_DIR}/bochs")
add_test(NAME bochs-setup COMMAND "${PROJECT_SOURCE_DIR}/cmake/bochs/bochs-setup" "${bochs}")
set_tests_properties(bochs-setup PROPERTIES FIXTURES_SETUP bochs TIMEOUT 600)
function(tessera_add_bochs target model)
  tessera_add_run(${target}-bochs TARGET ${target} ARGS ${TESSERA_TEST_BOCHS_ARGS} EMULATOR
    "${PROJECT_SOURCE_DIR}/cmake/bochs/bochs-run" "${bochs}" -m ${model} -t 1400)
  set_property(TEST ${target}-bochs APPEND PROPERTY FIXTURES_REQUIRED bochs)
endfunction()
tessera_add_bochs(avx3 corei7_skylake_x)
tessera_add_bochs(avx3_dl tigerlake)
